//! `wallet …`: the node's address and what it has.
//!
//! Owns what is printed of them; replacing and encrypting keys is [`super::keys`]'. Never asks for a passphrase.

use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Context, bail};
use golem_chain::Rpc;
use golem_chain::balance::At;
use golem_chain::faucet::{ENOUGH, Work};
use golem_chain::network::{self, PaymentNetwork};
use golem_types::wire::Exact;
use ruint::aliases::U256;
use serde::Serialize;
use serde_json::json;

use super::arguments::Wallet;
use super::{Exit, Invocation, keys, layout, test_tokens, transactions};
use crate::identity;
use crate::passphrase::{Asking, Passphrases};
use crate::payments;
use golem_api::views::PayoutsView;
use golem_host::pid_file::PidFile;
use golem_types::amount::{Money, coins};

/// `wallet faucet`.
async fn faucet(invocation: &Invocation) -> anyhow::Result<Exit> {
    let (settings, printer) = (&invocation.resolved.settings, invocation.printer);
    let network = network::load(&settings.node.data_dir, &settings.chain().networks().swap_remove(0));
    // Whatever else the profile lacks: nobody gives real money away.
    let profile = match network.is_ok_and(|network| !network.testnet) {
        true => None,
        false => payments::profile(&settings.chain())?,
    };
    let is_empty = |profile: &PaymentNetwork| payments::faucet(profile, &settings.faucets).is_none();
    if let Some(profile) =
        profile.as_ref().filter(|profile| profile.network.token_minter.is_some() && is_empty(profile))
    {
        // A node that runs numbers the wallet's transactions.
        let _lock = PidFile::take(&invocation.node.pid_file).await?;
        let passphrases = Passphrases::of_node(&settings.node, Asking::Terminal);
        let identity = identity::existing_of_node(&settings.node, &passphrases)?;
        let most = payments::gas_rules(&profile.network, &settings.chain()).maximum_price;
        return test_tokens::get(printer, profile, identity.wallet(), most).await;
    }
    let faucet = profile
        .and_then(|profile| payments::faucet(&profile, &settings.faucets).map(|faucet| (profile, faucet)));
    let Some((profile, faucet)) = faucet else {
        let text = "Faucet is disabled for current payments network.";
        printer.done(&json!({ "requested": false, "reason": text }), || text.to_owned());
        return Ok(Exit::Done);
    };
    let address = address(invocation)?;
    let rpc = Rpc::new(&profile.rpc_url)?;
    let has = || golem_chain::balance::balance(&rpc, Address::ZERO, address, At::Latest);
    // A chain that does not tell is asked for more all the same: the faucet has its own limits.
    let before = has().await.ok();
    if before.is_some_and(|balance| balance >= ENOUGH) {
        let text = format!("The wallet has {} already.", coins(Exact(before.unwrap_or_default())));
        printer.done(&json!({ "requested": false, "reason": text }), || text.clone());
        return Ok(Exit::Done);
    }
    let work = Work::default();
    let transaction = {
        let waiting = printer.waiting("Asking the faucet");
        let request = faucet.request(address, &work);
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
        while has().await.ok() <= before {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    // Told either way: the transaction is sent.
    let _ = tokio::time::timeout(Duration::from_secs(30), arrived).await;
    let after = has().await.ok();
    let answer = json!({
        "requested": true,
        "transaction": transaction,
        "balance_before_wei": before.map(|wei| wei.to_string()),
        "balance_wei": after.map(|wei| wei.to_string()),
    });
    printer.done(&answer, || {
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
    encrypted: bool,
    /// Keys that were replaced, and are kept.
    former: Vec<FormerKey>,
    /// Where what was earned goes; `None` if it stays.
    payout_address: Option<String>,
    /// How that stands, as the node that runs tells; `None` if none runs.
    payouts: Option<PayoutsView>,
}

#[derive(Serialize)]
struct FormerKey {
    address: String,
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
    match command {
        Wallet::Show => show(invocation).await,
        Wallet::Balance => balance(invocation).await,
        Wallet::Faucet => faucet(invocation).await,
        Wallet::Transactions { all } => transactions::list(invocation, all).await,
        Wallet::Cancel { nonce, yes, .. } => transactions::cancel(invocation, nonce, yes).await,
        Wallet::Keys(command) => keys::keys(invocation, command).await,
    }
}

/// The address of the node's key; a look makes none.
fn address(invocation: &Invocation) -> anyhow::Result<Address> {
    let settings = &invocation.resolved.settings.node;
    identity::address_of_node(settings)?.with_context(|| identity::no_key(settings))
}

/// `wallet show`.
async fn show(invocation: &Invocation) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let address = address(invocation)?;
    let profile = payments::profile(&settings.chain())?;
    let keys = identity::keys_of_node(&settings.node);
    let former = keys.former_addresses()?;
    let former = former.into_iter().filter(|(former, _)| *former != address);
    let payouts = match invocation.client() {
        Ok(client) => client.payouts().await.ok(),
        Err(_) => None,
    };
    let shown = Shown {
        payout_address: settings.payments.payout_address.map(|address| address.0.to_string()),
        payouts,
        network: profile.map(|profile| profile.name),
        key_file: keys.path().display().to_string(),
        encrypted: keys.is_encrypted()?,
        former: former
            .map(|(address, path)| FormerKey {
                address: address.to_string(),
                key_file: path.display().to_string(),
            })
            .collect(),
        address: address.to_string(),
    };
    invocation.printer.answer(&shown, || {
        let mut text = format!(
            "Address   {}\nNetwork   {}\nKey       {}{}\n",
            shown.address,
            shown.network.as_deref().unwrap_or("payments are off"),
            shown.key_file,
            if shown.encrypted { ", encrypted" } else { "" },
        );
        for former in &shown.former {
            text += &format!("Former    {}, {}\n", former.address, former.key_file);
        }
        text += &payout(&shown);
        text += if shown.former.is_empty() {
            "\nKeep a copy of the key file: whoever has it has the money, and without it nobody has."
        } else {
            "\nKeep copies of the key files: whoever has them has the money, and without them nobody has. Streams that pay \
             a former address are withdrawn from as before."
        };
        text
    });
    Ok(Exit::Done)
}

/// Where the money goes, in lines.
fn payout(shown: &Shown) -> String {
    let mut text = match &shown.payout_address {
        Some(address) => format!("Payout    to {address}\n"),
        None => {
            "Payout    none: what is earned stays in the wallet (GOLEM_PROVIDER_PAYOUT_ADDRESS)\n".to_owned()
        }
    };
    let Some(payouts) = &shown.payouts else { return text };
    for wallet in &payouts.wallets {
        if let Some(float) = wallet.float_wei {
            text += &format!("Float     {} stay in {}\n", coins(float), wallet.wallet);
        }
        if let Some(problem) = &wallet.problem {
            text += &format!("Problem   {problem}\n");
        }
    }
    if let Some(last) = payouts.last.first() {
        let what = match last.token.parse() {
            Ok(Address::ZERO) => coins(last.left_wei),
            _ => format!("{} units of {}", last.left_wei.0, last.token),
        };
        text += &format!("Last      {what} to {}, {}\n", last.to, layout::time(last.at));
    }
    text
}

/// `wallet balance`.
async fn balance(invocation: &Invocation) -> anyhow::Result<Exit> {
    let (settings, printer) = (&invocation.resolved.settings, invocation.printer);
    let address = address(invocation)?;
    let profile = payments::profile(&settings.chain())?.context("payments are off: no chain is known")?;
    let rpc = Rpc::new(&profile.rpc_url)?;
    let wei = {
        let _waiting = printer.waiting("Asking the chain");
        golem_chain::balance::balance(&rpc, Address::ZERO, address, At::Latest)
            .await
            .with_context(|| format!("{} cannot be asked", profile.name))?
    };
    let usd_per_coin = rate(invocation, &profile).await;
    let symbol = profile.network.symbol.clone();
    let balance = Balance {
        address: address.to_string(),
        network: profile.name,
        symbol,
        balance_wei: Exact(wei),
        usd_per_coin,
    };
    printer.answer(&balance, || {
        let usd = balance.usd_per_coin.as_deref().and_then(|usd| usd.parse().ok());
        let money = Money { symbol: &balance.symbol, decimals: 18, usd };
        format!("{} on {}", money.show(balance.balance_wei), balance.network)
    });
    Ok(Exit::Done)
}
