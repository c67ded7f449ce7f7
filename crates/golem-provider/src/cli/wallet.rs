//! `wallet …`: the node's key and what it has.

use anyhow::Context;
use golem_chain::{Rpc, Sender};
use golem_types::wire::Exact;
use serde::Serialize;

use super::amount::coins;
use super::arguments::Wallet;
use super::{Exit, Invocation};
use crate::identity::Identity;
use crate::payments;

#[derive(Serialize)]
struct Shown {
    address: String,
    network: Option<String>,
    key_file: String,
}

#[derive(Serialize)]
struct Balance {
    address: String,
    network: String,
    symbol: String,
    balance_wei: Exact,
}

/// `wallet …`.
pub(super) async fn wallet(invocation: &Invocation, command: Wallet) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    let identity = Identity::load(&settings.data_dir, settings.private_key.as_ref())?;
    let address = identity.address().to_owned();
    let profile = payments::profile(settings)?;
    match command {
        Wallet::Show => {
            let key_file = settings.data_dir.join("keys/provider_key.json").display().to_string();
            let shown = Shown { address, network: profile.map(|profile| profile.name), key_file };
            printer.answer(&shown, || {
                format!(
                    "Address   {}\nNetwork   {}\nKey       {}\n\nKeep a copy of the key file: whoever has it has the \
                     money, and without it nobody has.",
                    shown.address,
                    shown.network.as_deref().unwrap_or("payments are off"),
                    shown.key_file
                )
            });
        }
        Wallet::Balance => {
            let profile = profile.context("payments are off: no chain is known")?;
            let rpc = Rpc::new(&profile.rpc_url)?;
            let sender = Sender::new(rpc, identity.wallet().clone(), profile.network.chain_id);
            let wei = {
                let _waiting = printer.waiting("Asking the chain");
                sender.balance().await.with_context(|| format!("{} cannot be asked", profile.name))?
            };
            let symbol = profile.network.symbol.clone();
            let balance = Balance { address, network: profile.name, symbol, balance_wei: Exact(wei) };
            printer.answer(&balance, || {
                format!("{} {} on {}", coins(balance.balance_wei), balance.symbol, balance.network)
            });
        }
    }
    Ok(Exit::Done)
}
