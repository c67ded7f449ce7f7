//! What of a wallet is to be sent away.
//!
//! Owns the decision, as pure functions of what is known. Never asks a chain.

use std::time::Duration;

use jiff::Timestamp;
use ruint::aliases::U256;

use crate::backoff::doubled;
use crate::payment::share;

/// Gas that a wallet keeps by default: of 50 withdrawals.
pub(super) const FLOAT_GAS: u64 = 5_000_000;

/// How long a token whose worth is not known stays in the wallet after it was last sent away.
pub(super) const TOKEN_INTERVAL: Duration = Duration::from_secs(86_400);

/// How long nothing is tried after a first failure; each further one doubles it.
const AGAIN: Duration = Duration::from_secs(600);

/// Longest such time.
const AGAIN_MOST: Duration = Duration::from_secs(86_400);

/// What a transfer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TransferCost {
    /// What it will probably cost, in wei.
    pub(super) expected: U256,
    /// What has to be there for it, in wei.
    pub(super) needed: U256,
    /// Most that it may cost, in percent of what is sent.
    pub(super) percent: u8,
}

impl TransferCost {
    /// Most wei that sending `amount` may cost.
    #[must_use]
    pub(super) fn most(&self, amount: U256) -> U256 {
        share(amount, self.percent)
    }
}

/// Wei of the chain's own coin to send away of `balance`, so that `float` stays; `None` if it is not worth it.
#[must_use]
pub(super) fn coin(balance: U256, float: U256, cost: &TransferCost) -> Option<U256> {
    // What the transfer itself takes is not to come out of what should stay.
    let stays =
        if float.is_zero() { cost.needed } else { float.max(cost.needed).saturating_add(cost.expected) };
    let amount = balance.saturating_sub(stays);
    (!amount.is_zero() && cost.expected <= cost.most(amount)).then_some(amount)
}

/// What the wallet keeps where nobody said: gas for some days, at `price` for a unit, or what the gas of the last week, `spent`,
/// cost twice over, because an endpoint may understate the price.
#[must_use]
pub(super) fn default_float(price: u128, spent: U256) -> U256 {
    U256::from(price).saturating_mul(U256::from(FLOAT_GAS)).max(spent.saturating_mul(U256::from(2)))
}

/// Whether what failed `failures` times in a row, the last time at `last`, may be tried again at `now`.
#[must_use]
pub(super) fn may_try(failures: u32, last: Timestamp, now: Timestamp) -> bool {
    let Some(times) = failures.checked_sub(1) else { return true };
    passed(last, now) >= doubled(AGAIN, times, AGAIN_MOST)
}

/// The time from `before` to `now`; none if the clock went back.
pub(super) fn passed(before: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(before)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COST: TransferCost = TransferCost {
        expected: U256::from_limbs([10, 0, 0, 0]),
        needed: U256::from_limbs([50, 0, 0, 0]),
        percent: 10,
    };

    fn wei(number: u64) -> U256 {
        U256::from(number)
    }

    /// M-15
    #[test]
    fn what_is_above_the_float_goes_when_it_is_worth_its_gas() {
        for (balance, float, amount) in [
            (0, 0, None),
            (50, 0, None),
            (149, 0, None),
            (150, 0, Some(100)),
            (1000, 0, Some(950)),
            // What the transfer takes comes on top of the float.
            (1000, 100, Some(890)),
            (209, 100, None),
            (210, 100, Some(100)),
            (100, 100, None),
            // A float below what a transfer needs keeps that.
            (1000, 1, Some(940)),
        ] {
            assert_eq!(coin(wei(balance), wei(float), &COST), amount.map(wei), "{balance} {float}");
        }
        let huge = coin(U256::MAX, U256::ZERO, &COST).unwrap();
        assert_eq!(huge, U256::MAX - wei(50));
        assert_eq!(coin(U256::MAX, U256::MAX, &COST), None);
    }

    #[test]
    fn the_float_does_not_believe_a_price_of_nothing() {
        assert_eq!(default_float(0, wei(7)), wei(14));
        assert_eq!(default_float(10, wei(7)), wei(50_000_000));
        assert_eq!(default_float(u128::MAX, U256::MAX), U256::MAX);
    }

    #[test]
    fn failures_are_backed_off_up_to_a_day() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds| now - Duration::from_secs(seconds);
        for (failures, seconds, may) in [
            (0, 0, true),
            (1, 599, false),
            (1, 600, true),
            (2, 1199, false),
            (2, 1200, true),
            (u32::MAX, 86_399, false),
            (u32::MAX, 86_400, true),
        ] {
            assert_eq!(may_try(failures, ago(seconds), now), may, "{failures} {seconds}");
        }
        assert!(!may_try(1, now + Duration::from_secs(60), now), "a clock that went back");
    }

    proptest! {
        /// Whatever is sent away, what stays pays for it and is at least the float; and it costs no more than allowed.
        #[test]
        fn the_float_stays(balance: [u64; 4], float: [u64; 2], expected: u64, more: u64, percent in 1u8..=100) {
            let [balance, float] = [U256::from_limbs(balance), U256::from_limbs([float[0], float[1], 0, 0])];
            let needed = wei(expected) + wei(more);
            let cost = TransferCost { expected: wei(expected), needed, percent };
            if let Some(amount) = coin(balance, float, &cost) {
                let left = balance - amount;
                prop_assert!(left >= needed && (float.is_zero() || left - cost.expected >= float));
                prop_assert!(cost.expected <= amount);
            }
        }
    }
}
