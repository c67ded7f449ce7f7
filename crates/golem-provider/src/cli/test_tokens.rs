//! `wallet faucet` and `rent faucet` where a contract gives test tokens.
//!
//! Owns what is printed. Never calls the contract: [`golem_chain::minter`] does.

use golem_chain::minter::{self, MintError};
use golem_chain::network::PaymentNetwork;
use golem_types::{Decimal, Wallet};
use serde_json::json;

use super::Exit;
use super::printer::Printer;

/// Gets tokens of `profile` for `wallet`, for at most `maximum_price` wei a unit of gas, and says where gas comes from.
pub(in crate::cli) async fn get(
    printer: Printer,
    profile: &PaymentNetwork,
    wallet: &Wallet,
    maximum_price: Option<u128>,
) -> anyhow::Result<Exit> {
    let page = profile.network.faucet_page.as_deref();
    let gas = page.map_or_else(String::new, |page| {
        format!("\nGas: {page} gives {} to {}", profile.network.symbol, wallet.address())
    });
    let minted = {
        let _waiting = printer.waiting("Calling the contract that gives test tokens");
        minter::mint(profile, wallet, maximum_price).await
    };
    match minted {
        Ok(minted) => {
            let answer = json!({
                "requested": true,
                "transaction": minted.transaction,
                "balance_before_wei": minted.before.to_string(),
                "balance_wei": minted.now.to_string(),
                "gas_from": page,
            });
            let [now, before] =
                [minted.now, minted.before].map(|wei| Decimal::from_units(wei, profile.decimals()));
            printer.answer(&answer, || {
                let symbol = profile.symbol();
                format!("Faucet tx: {}\nBalance: {now} {symbol}, before {before}{gas}", minted.transaction)
            });
            Ok(Exit::Done)
        }
        Err(error @ (MintError::NoGas | MintError::NoMinter(_))) => {
            let answer = json!({ "requested": false, "reason": error.to_string(), "gas_from": page });
            printer.answer(&answer, || format!("Nothing was asked for: {error}.{gas}"));
            Ok(Exit::Failed)
        }
        Err(error) => Err(error.into()),
    }
}
