//! What gas costs now.
//!
//! Owns the arithmetic from what an endpoint says to a fee that is within bounds (M-17). Never asks a chain.

use serde_json::Value;

use crate::rpc::wei;
use crate::transaction::Fee;

/// Most wei for a unit of gas where nobody set a bound: 10,000 gwei. An endpoint that asks for more lies, on any chain that is
/// known.
pub const ABSURD_PRICE: u128 = 10_000_000_000_000;

/// Gas costs more than may be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooDear {
    /// What it costs, in wei.
    pub price: u128,
    /// Most that may be paid, in wei.
    pub maximum: u128,
}

/// The price of a unit of gas, in wei, that `value` says.
pub(crate) fn price(value: &Value) -> Option<u128> {
    wei(value).and_then(|price| u128::try_from(price).ok())
}

/// The base fee of the next block and the usual tip, as an answer to `eth_feeHistory` has them; `None` if it has not.
#[must_use]
pub fn of_history(history: &Value) -> Option<(u128, u128)> {
    let base = price(history["baseFeePerGas"].as_array()?.last()?)?;
    let rewards = history["reward"].as_array()?.iter().map(|block| block.get(0).and_then(price));
    let mut rewards = rewards.collect::<Option<Vec<_>>>()?;
    rewards.sort_unstable();
    let tip = *rewards.get(rewards.len() / 2)?;
    Some((base, tip))
}

/// The fee of a transaction, and what a unit of gas will probably cost. `base` is the base fee, if the chain has one, and
/// `price` what the endpoint says that gas costs with the usual tip.
///
/// # Errors
/// [`TooDear`].
pub fn fee(base: Option<u128>, price: u128, maximum: u128) -> Result<(Fee, u128), TooDear> {
    if price.max(base.unwrap_or_default()) > maximum {
        return Err(TooDear { price: price.max(base.unwrap_or_default()), maximum });
    }
    let fee = base.map_or(Fee::Legacy { price }, |base| {
        let priority = price.saturating_sub(base);
        // The base fee can grow by an eighth in a block: twice it lasts for six full ones.
        let most = base.saturating_mul(2).saturating_add(priority);
        Fee::Market { maximum: most.min(maximum), priority }
    });
    Ok((fee, price))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn m_17_a_fee_is_never_above_what_may_be_paid() {
        let dear = |base, price| fee(base, price, 100).unwrap_err();
        assert_eq!(dear(Some(101), 5), TooDear { price: 101, maximum: 100 });
        assert_eq!(dear(None, u128::MAX), TooDear { price: u128::MAX, maximum: 100 });
        // M-17
        assert_eq!(fee(Some(60), 63, 100).unwrap().0, Fee::Market { maximum: 100, priority: 3 });
        assert_eq!(fee(Some(20), 23, 100).unwrap(), (Fee::Market { maximum: 43, priority: 3 }, 23));
        assert_eq!(fee(None, 100, 100).unwrap().0, Fee::Legacy { price: 100 });
    }

    #[test]
    fn the_usual_tip_is_the_median_and_what_makes_no_sense_is_not_used() {
        let history = json!({
            "baseFeePerGas": ["0x9", "0xa", "0xb", "0xc"],
            "reward": [["0x1"], ["0xffffffffffffffffff"], ["0x2"]],
        });
        assert_eq!(of_history(&history), Some((12, 2)));
        for wrong in [
            json!(null),
            json!({ "baseFeePerGas": [], "reward": [] }),
            json!({ "baseFeePerGas": ["0x1"], "reward": [[]] }),
            json!({ "baseFeePerGas": ["1"], "reward": [["0x1"]] }),
            json!({ "baseFeePerGas": ["0x1"], "reward": null }),
            json!({ "baseFeePerGas": [format!("0x{}", "f".repeat(80))], "reward": [["0x1"]] }),
        ] {
            assert_eq!(of_history(&wrong), None, "{wrong}");
        }
    }
}
