//! What the renter's wallet has on each network.
//!
//! Owns the questions, all at once. Never prints.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use golem_chain::network::PaymentNetwork;
use golem_chain::{Payer, Rpc};
use golem_types::Wallet;
use golem_types::wire::Exact;
use serde::Serialize;

use super::coins;

/// What the wallet has on one network.
#[derive(Debug, Serialize)]
pub struct NetworkBalance {
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
pub struct Balances {
    pub address: String,
    pub networks: Vec<NetworkBalance>,
}

async fn of(profile: &PaymentNetwork, wallet: &Wallet) -> NetworkBalance {
    let funds = async {
        let rpc = Rpc::new(&profile.rpc_url)?;
        let place = (profile.contract, profile.token);
        Payer::new(rpc, wallet.clone(), profile.network.chain_id, place).funds().await
    };
    let funds = funds.await;
    NetworkBalance {
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
        coins_from: coins::source(profile),
        error: funds.err().map(|error| error.to_string()),
    }
}

/// What `wallet` has on each of `networks`, which are asked at once; one that does not answer is told in it.
pub async fn balances(networks: &[PaymentNetwork], wallet: &Wallet) -> Balances {
    let mut seen = BTreeSet::new();
    let once = networks.iter().filter(|profile| seen.insert(profile.name.clone()));
    let networks = join_all(once.map(|profile| of(profile, wallet))).await;
    Balances { address: wallet.address().to_string(), networks }
}
