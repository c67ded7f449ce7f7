//! `wallet …`: the node's key and what it has.

use std::time::Duration;

use anyhow::{Context, bail};
use golem_chain::faucet::{ENOUGH, Work};
use golem_chain::network::{self, PaymentNetwork};
use golem_chain::{Rpc, Sender};
use golem_node::payment::PaymentConfig;
use golem_types::wire::Exact;
use ruint::aliases::U256;
use serde::Serialize;
use serde_json::json;

use super::amount::{Money, coins};
use super::arguments::Wallet;
use super::{Exit, Invocation};
use crate::identity;
use crate::payments;

/// `wallet faucet-l2`.
async fn faucet(invocation: &Invocation, config: Option<PaymentConfig>) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let Some((config, faucet)) =
        config.and_then(|config| config.faucet.clone().map(|faucet| (config, faucet)))
    else {
        let text = "Faucet is disabled for current payments network.";
        printer.answer(&json!({ "requested": false, "reason": text }), || text.to_owned());
        return Ok(Exit::Done);
    };
    let sender = Sender::new(Rpc::new(&config.rpc_url)?, config.wallet.clone(), config.chain_id);
    // A chain that does not tell is asked for more all the same: the faucet has its own limits.
    let before = sender.balance().await.ok();
    if before.is_some_and(|balance| balance >= ENOUGH) {
        let text = format!("The wallet has {} already.", coins(Exact(before.unwrap_or_default())));
        printer.answer(&json!({ "requested": false, "reason": text }), || text.clone());
        return Ok(Exit::Done);
    }
    let work = Work::default();
    let transaction = {
        let waiting = printer.waiting("Asking the faucet");
        let request = faucet.request(config.wallet.address(), &work);
        tokio::pin!(request);
        loop {
            tokio::select! {
                done = &mut request => break done,
                _ = tokio::signal::ctrl_c() => {
                    work.cancel();
                    bail!("given up; no money was asked for");
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {
                    let (solved, all) = work.progress();
                    waiting.say(format!("Solving the captcha: {solved} of {all}"));
                }
            }
        }
    };
    let transaction = transaction.context("the faucet sent nothing")?;
    let arrived = async {
        while sender.balance().await.ok() <= before {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    // Told either way: the transaction is sent.
    let _ = tokio::time::timeout(Duration::from_secs(30), arrived).await;
    let after = sender.balance().await.ok();
    let answer = json!({
        "requested": true,
        "transaction": transaction,
        "balance_before_wei": before.map(|wei| wei.to_string()),
        "balance_wei": after.map(|wei| wei.to_string()),
    });
    printer.answer(&answer, || {
        let shown = |wei: Option<U256>| wei.map_or_else(|| "unknown".to_owned(), |wei| coins(Exact(wei)));
        format!("Faucet tx: {transaction}\nBalance: {}, before {}", shown(after), shown(before))
    });
    Ok(Exit::Done)
}

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
    /// US dollars for a coin, where the node that runs knows it; `None` if it is test money.
    usd_per_coin: Option<String>,
}

/// US dollars for a coin of the chain of `profile`, as the node that runs last believed.
async fn rate(invocation: &Invocation, profile: &PaymentNetwork) -> Option<String> {
    if profile.network.testnet {
        return None;
    }
    invocation.client().ok()?.pricing().await.ok()?.coin_usd
}

/// `wallet …`.
pub(super) async fn wallet(invocation: &Invocation, command: Wallet) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let printer = invocation.printer;
    let identity = identity::of_node(&settings.node)?;
    let address = identity.address().to_owned();
    if matches!(command, Wallet::FaucetL2)
        && network::load(&settings.node.data_dir, &settings.payments.payments_network)
            .is_ok_and(|network| !network.testnet)
    {
        // Whatever else the profile lacks: nobody gives real money away.
        return faucet(invocation, None).await;
    }
    let profile = payments::profile(settings)?;
    match command {
        Wallet::FaucetL2 => {
            let config =
                profile.map(|profile| payments::config(&profile, settings, identity.wallet().clone()));
            return faucet(invocation, config).await;
        }
        Wallet::Show => {
            let key_file = settings.node.data_dir.join("keys/provider_key.json").display().to_string();
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
            let usd_per_coin = rate(invocation, &profile).await;
            let symbol = profile.network.symbol.clone();
            let balance =
                Balance { address, network: profile.name, symbol, balance_wei: Exact(wei), usd_per_coin };
            printer.answer(&balance, || {
                let usd = balance.usd_per_coin.as_deref().and_then(|usd| usd.parse().ok());
                let money = Money { symbol: &balance.symbol, usd };
                format!("{} on {}", money.show(balance.balance_wei), balance.network)
            });
        }
    }
    Ok(Exit::Done)
}
