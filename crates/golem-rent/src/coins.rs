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
        return match &network.faucet {
            Some(faucet) => format!("its coins are for tests and free: {}", faucet.url),
            None => format!("its coins are for tests and free: look for a faucet of {name}"),
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
