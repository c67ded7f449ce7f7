//! Where coins come from.
//!
//! Owns the words for people who have too few. Never asks anybody.

use golem_chain::network::PaymentNetwork;

/// Where coins of the network `profile` can be had, as the end of a sentence.
pub(crate) fn source(profile: &PaymentNetwork) -> String {
    let (network, name) = (&profile.network, &profile.name);
    if network.local {
        return "it is a chain on a machine of your own, which gives coins to the accounts that it was started with".to_owned();
    }
    if network.testnet {
        let faucet = network.faucet.as_ref().map(|faucet| &faucet.url).or(network.faucet_page.as_ref());
        let place = faucet.map_or_else(|| format!("look for a faucet of {name}"), Clone::clone);
        let (coin, token) = (&network.symbol, profile.symbol());
        return match network.token_minter {
            Some(_) => format!(
                "its coins are for tests and free: {coin} for gas from {place}, then {token} by `golem-provider rent faucet`"
            ),
            None => format!("its coins are for tests and free: {place}"),
        };
    }
    let (chain, coin) = (network.chain_id, &network.symbol);
    let both = if profile.token.is_zero() {
        coin.clone()
    } else {
        format!("{}, and some {coin} for gas", network.token_symbol)
    };
    format!(
        "buy {both} at an exchange, and withdraw to the address above on the network with chain id {chain}"
    )
}
