//! `rent balance`: what the renter's wallet has on each network.
//!
//! Owns the questions, all at once, and the words on what to do where there is too little.

use futures_util::future::join_all;
use golem_chain::network::PaymentNetwork;
use golem_chain::{Payer, Rpc};
use golem_types::wire::Exact;
use golem_types::{Decimal, Wallet};
use serde::Serialize;

/// What the wallet has on one network.
#[derive(Debug, Serialize)]
pub(super) struct Balance {
    pub network: String,
    pub chain_id: u64,
    /// What a wallet program needs to know to show this network.
    pub rpc_url: String,
    /// Whether its money is worth nothing.
    pub testnet: bool,
    /// What streams are paid in.
    pub symbol: String,
    pub decimals: u8,
    pub token_address: String,
    /// What the wallet has of that; `None` if the network does not answer.
    pub balance_wei: Option<Exact>,
    /// What gas is paid in.
    pub gas_symbol: String,
    pub gas_wei: Option<Exact>,
    /// Where coins come from.
    pub coins_from: String,
    /// Why it is not known what the wallet has.
    pub error: Option<String>,
}

/// What the wallet has on every network.
#[derive(Debug, Serialize)]
pub(super) struct Balances {
    pub address: String,
    pub networks: Vec<Balance>,
}

async fn of(profile: &PaymentNetwork, wallet: &Wallet) -> Balance {
    let funds = async {
        let rpc = Rpc::new(&profile.rpc_url)?;
        let place = (profile.contract, profile.token);
        Payer::new(rpc, wallet.clone(), profile.network.chain_id, place).funds().await
    };
    let funds = funds.await;
    Balance {
        network: profile.name.clone(),
        chain_id: profile.network.chain_id,
        rpc_url: profile.rpc_url.clone(),
        testnet: profile.network.testnet,
        symbol: profile.symbol().to_owned(),
        decimals: profile.decimals(),
        token_address: profile.token.to_string(),
        balance_wei: funds.as_ref().ok().map(|funds| Exact(funds.token)),
        gas_symbol: profile.network.symbol.clone(),
        gas_wei: funds.as_ref().ok().map(|funds| Exact(funds.native)),
        coins_from: golem_rent::source_of_coins(profile),
        error: funds.err().map(|error| error.to_string()),
    }
}

/// What `wallet` has on each of `networks`, which are asked at once.
pub(super) async fn all(networks: &[PaymentNetwork], wallet: &Wallet) -> Vec<Balance> {
    let mut seen = std::collections::BTreeSet::new();
    let once = networks.iter().filter(|profile| seen.insert(profile.name.clone()));
    join_all(once.map(|profile| of(profile, wallet))).await
}

/// The same in words.
pub(super) fn text(all: &Balances) -> String {
    let mut parts = vec![format!("Address   {}", all.address)];
    for balance in &all.networks {
        let Balance { network, chain_id, rpc_url, symbol, gas_symbol, coins_from, .. } = balance;
        let coins = |wei: Option<Exact>, decimals| {
            wei.map_or_else(|| "?".to_owned(), |wei| Decimal::from_units(wei.0, decimals).to_string())
        };
        let mut has = format!("{} {symbol}", coins(balance.balance_wei, balance.decimals));
        if symbol != gas_symbol {
            has += &format!(", and {} {gas_symbol} for gas", coins(balance.gas_wei, 18));
        }
        if let Some(error) = &balance.error {
            has = format!("not known: {error}");
        }
        parts.push(format!(
            "{network}\n  Has       {has}\n  Network   chain id {chain_id}, RPC {rpc_url}\n  Coins     {coins_from}"
        ));
    }
    parts.join("\n\n")
}
