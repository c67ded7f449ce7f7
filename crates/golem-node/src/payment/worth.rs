//! Whether a withdrawal is worth its gas.
//!
//! Owns what gas may cost, from what there is to fetch and what that is worth in the chain's own money (M-09). Never asks
//! anybody.

use golem_types::Decimal;
use ruint::aliases::U256;

/// What the streams' money is worth against the chain's own, which pays for gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is the chain's own money.
    Coin,
    /// US dollars for a token and for a coin.
    Rates {
        /// For a token.
        token: Decimal,
        /// For a coin.
        coin: Decimal,
    },
    /// Both are test money: a token counts as a coin.
    Test,
    /// Nobody knows.
    Unknown,
}

/// Most wei that gas may cost to fetch `amount` of the smallest units of a money with `decimals` digits after the point:
/// `percent` of what it is worth. `None` if that is not known.
pub(super) fn most_gas(amount: U256, decimals: u8, percent: u8, worth: Worth) -> Option<U256> {
    let atto = Decimal::from_units(amount, decimals).atto();
    let value = match worth {
        Worth::Coin => amount,
        Worth::Test => atto,
        Worth::Rates { token, coin } => {
            atto.checked_mul(token.atto()).unwrap_or(U256::MAX).checked_div(coin.atto())?
        }
        Worth::Unknown => return None,
    };
    Some(share(value, percent))
}

/// `percent` of `amount`; of the largest amounts a little less.
pub(crate) fn share(amount: U256, percent: u8) -> U256 {
    let percent = U256::from(percent);
    let hundred = U256::from(100);
    // Divided first where the product has no room.
    amount.checked_mul(percent).map_or_else(|| amount / hundred * percent, |all| all / hundred)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn m_09_gas_may_cost_a_share_of_what_the_token_is_worth() {
        let wei = |number: u64| U256::from(number);
        assert_eq!(most_gas(wei(1000), 18, 10, Worth::Coin), Some(wei(100)));
        // A token of 20 cents where a coin costs 2,000 dollars: a ten-thousandth.
        let rates = Worth::Rates { token: dollars("0.2"), coin: dollars("2000") };
        let one = U256::from(10).pow(U256::from(18));
        // M-09
        assert_eq!(most_gas(one, 18, 10, rates), Some(wei(10u64.pow(13))));
        // Six digits: a dollar is a two-thousandth of a coin.
        let rates = Worth::Rates { token: dollars("1"), coin: dollars("2000") };
        assert_eq!(most_gas(wei(1_000_000), 6, 100, rates), Some(wei(5 * 10u64.pow(14))));
        assert_eq!(most_gas(wei(1_000_000), 6, 100, Worth::Test), Some(one));
        assert_eq!(most_gas(one, 18, 10, Worth::Unknown), None);
        // A coin that is worth nothing buys no gas that is known.
        let free = Worth::Rates { token: dollars("1"), coin: Decimal::default() };
        assert_eq!(most_gas(one, 18, 10, free), None);
        assert!(most_gas(U256::MAX, 0, 100, Worth::Coin) >= Some(U256::MAX / U256::from(100)));
        assert!(most_gas(U256::MAX, 18, 10, rates).is_some());
    }
}
