//! The books as comma-separated values, for taxes: every entry, with a column for everything.
//!
//! Owns that amounts are exact, and that what others gave a name to is harmless in a spreadsheet. Never sums up.

use std::collections::BTreeMap;

use golem_host::documents::cell;
use golem_node::entry::EntryKind;
use golem_types::Decimal;
use golem_types::amount::units;
use golem_types::wire::Exact;
use jiff::Timestamp;
use ruint::aliases::U256;

use super::EntryView;

pub(super) const fn is_gas(entry: &EntryView) -> bool {
    matches!(entry.kind, EntryKind::Gas | EntryKind::L1Fee)
}

pub(super) const fn is_received(entry: &EntryView) -> bool {
    matches!(entry.kind, EntryKind::Withdrawn | EntryKind::Terminated)
}

const COLUMNS: &str = "date,kind,state,vm,renter,stream,chain,contract,token,token_symbol,amount,amount_wei,to_account,\
                       from_account,transaction,block,gas_of_transaction,usd_rate,usd_value,source,entry,reverses";

/// Every entry since `since`, one a line below the names of the columns.
#[must_use]
pub fn csv(entries: &[EntryView], since: Timestamp) -> String {
    let mut gas: BTreeMap<&str, U256> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| is_gas(entry) && entry.counts()) {
        let Some(transaction) = &entry.transaction else { continue };
        let sum = gas.entry(transaction).or_default();
        *sum = sum.saturating_add(entry.amount_wei.0);
    }
    let mut lines = vec![COLUMNS.to_owned()];
    for entry in entries.iter().filter(|entry| entry.at >= since) {
        let amount = entry.decimals.map(|decimals| units(entry.amount_wei, decimals)).unwrap_or_default();
        let rate: Option<Decimal> = entry.usd_per_coin.as_deref().and_then(|usd| usd.parse().ok());
        let worth = rate.zip(entry.decimals).map(|(rate, decimals)| {
            Decimal::from_units(entry.amount_wei.0, decimals).times(rate).to_string()
        });
        let state = match (entry.reversed, entry.reverses, entry.pending) {
            (true, ..) => "taken back",
            (_, Some(_), _) => "takes back",
            (_, _, true) => "pending",
            _ => "settled",
        };
        let own_gas =
            entry.transaction.as_deref().and_then(|hash| gas.get(hash)).filter(|_| is_received(entry));
        let text = |text: Option<String>| text.unwrap_or_default();
        let cells = [
            entry.at.to_string(),
            entry.kind.to_string(),
            state.to_owned(),
            text(entry.vm_id.as_ref().map(ToString::to_string)),
            text(entry.renter.clone()),
            text(entry.stream_id.map(|id| id.0.to_string())),
            entry.chain_id.to_string(),
            text(entry.contract.clone()),
            entry.token.clone(),
            text(entry.symbol.clone()),
            amount,
            entry.amount_wei.0.to_string(),
            entry.debit.clone(),
            entry.credit.clone(),
            text(entry.transaction.clone()),
            text(entry.block.map(|block| block.to_string())),
            text(own_gas.map(|wei| units(Exact(*wei), 18))),
            text(entry.usd_per_coin.clone()),
            text(worth),
            entry.source.as_str().to_owned(),
            entry.id.to_string(),
            text(entry.reverses.map(|id| id.to_string())),
        ];
        lines.push(cells.iter().map(|text| cell(text)).collect::<Vec<_>>().join(","));
    }
    lines.join("\n")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn entry(kind: &str, at: &str, amount: &str, more: Value) -> EntryView {
        let mut value = json!({
            "id": 1, "at": at, "kind": kind, "vm_id": null, "renter": "0xaa", "stream_id": 7, "chain_id": 5,
            "contract": "0x51", "token": "0x00", "symbol": "MINE", "decimals": 18, "debit": "wallet",
            "credit": "receivable", "source": "event", "transaction": "0xab", "log_index": 0, "block": 9, "pending": false,
            "usd_per_coin": null, "reverses": null, "reversed": false,
        });
        value["amount_wei"] = json!(0);
        for (name, content) in more.as_object().unwrap() {
            value[name] = content.clone();
        }
        let amount_wei = Exact(amount.parse().unwrap());
        EntryView { amount_wei, ..serde_json::from_value(value).unwrap() }
    }

    /// M-16: whatever the token is called, whatever its digits; a rate that is not known is no zero.
    #[test]
    fn the_table_for_taxes_is_exact_and_harmless() {
        let most = U256::MAX.to_string();
        let entries = [
            entry(
                "withdrawn",
                "2026-11-25T10:00:00Z",
                "1500000",
                json!({ "decimals": 6, "usd_per_coin": "1.5" }),
            ),
            entry(
                "withdrawn",
                "2026-11-25T10:00:00Z",
                &most,
                json!({ "decimals": 0, "symbol": "=1+1,\"x\"" }),
            ),
            entry(
                "withdrawn",
                "2026-11-25T10:00:00Z",
                "1",
                json!({ "decimals": null, "symbol": "@SUM(A1)" }),
            ),
            entry("gas", "2026-11-25T10:00:00Z", "21000", json!({ "debit": "gas", "credit": "wallet" })),
        ];
        let text = csv(&entries, Timestamp::UNIX_EPOCH);
        let lines: Vec<&str> = text.lines().collect();
        let width = COLUMNS.split(',').count();
        assert_eq!((lines.len(), lines[1].split(',').count()), (5, width));
        // M-16
        assert!(lines[1].contains(",1.5,1500000,") && lines[1].contains(",1.5,2.25,event,"), "{}", lines[1]);
        assert!(lines[1].contains(",0.000000000000021,"), "its gas: {}", lines[1]);
        assert!(lines[2].contains(&format!(",{most},{most},")), "{}", lines[2]);
        assert!(lines[2].contains(",\"'=1+1,\"\"x\"\"\","), "{}", lines[2]);
        assert!(lines[3].contains(",'@SUM(A1),,1,"), "{}", lines[3]);
        assert!(lines[3].contains(",,,event,"), "no rate is no zero: {}", lines[3]);
    }
}
