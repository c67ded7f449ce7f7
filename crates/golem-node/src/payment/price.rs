//! What a rental costs, as a rate of a stream.
//!
//! Owns the arithmetic from monthly prices to wei a second, and how far a renter's may be from ours.
//! Existing clients compute a native-money rate in two ways: some send the number of GLM as wei of the
//! chain's own money, some convert from USD; their months differ too. Either will do. Integers only.

use golem_types::Resources;
use ruint::aliases::U256;

/// Seconds of the longest month that clients count with, 30.4167 days, rounded up; the others
/// count 730 hours. A longer month is a lower rate.
const MONTH_SECONDS: u64 = 2_628_003;

/// How far below the price a rate may be, in thousandths: clients round, and feeds differ.
const TOLERANCE: u64 = 10;

/// Prices for a month, in 10^-18 of a coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthPrices {
    /// Of one CPU.
    pub core: U256,
    /// Of a GiB of memory.
    pub memory: U256,
    /// Of a GiB of storage.
    pub storage: U256,
}

impl MonthPrices {
    /// What `resources` cost in a month, in 10^-18 of a coin.
    #[must_use]
    pub fn of(&self, resources: Resources) -> U256 {
        let part = |price: U256, count: u32| price.saturating_mul(U256::from(count));
        part(self.core, resources.cpu)
            .saturating_add(part(self.memory, resources.memory))
            .saturating_add(part(self.storage, resources.storage))
    }
}

/// What the node asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// In GLM.
    pub glm: MonthPrices,
    /// In the chain's own money, where its worth is known.
    pub native: Option<MonthPrices>,
}

impl Prices {
    /// The least rate for `resources`, in wei a second of the stream's token, which is the
    /// chain's own money if `native`.
    #[must_use]
    pub fn least_rate(&self, resources: Resources, native: bool) -> u128 {
        let glm = self.glm.of(resources);
        let month = match self.native.filter(|_| native) {
            Some(prices) => prices.of(resources).min(glm),
            None => glm,
        };
        let rate = month / U256::from(MONTH_SECONDS) * U256::from(1000 - TOLERANCE) / U256::from(1000);
        u128::try_from(rate).unwrap_or(u128::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coins(thousandths: u64) -> U256 {
        U256::from(thousandths) * U256::from(1_000_000_000_000_000u64)
    }

    proptest! {
        /// What any existing client computes from the advertised price is enough, and a tenth less
        /// is not.
        #[test]
        fn every_clients_arithmetic_is_accepted_and_an_underpayment_is_not(
            core in 1u64..100_000, memory in 0u64..100_000, storage in 0u64..1000,
            cpu in prop::sample::select(vec![1u32, 2, 4, 8, 16]), gb in 1u32..64, disk in 10u32..500,
        ) {
            let glm = MonthPrices { core: coins(core), memory: coins(memory), storage: coins(storage) };
            let resources = Resources::new(cpu, gb, disk);
            let least = Prices { glm, native: None }.least_rate(resources, true);
            // The command line: float64, truncated, 730 hours. The web: 30.4167 days.
            let month = (core * u64::from(cpu) + memory * u64::from(gb) + storage * u64::from(disk)) as f64 / 1000.0;
            for seconds in [730.0 * 3600.0, 30.4167 * 24.0 * 3600.0] {
                let rate = (month / seconds * 1e18) as u128;
                prop_assert!(rate >= least, "{rate} {least}");
                prop_assert!(rate / 10 * 9 < least, "{rate} {least}");
            }
        }
    }

    #[test]
    fn the_cheaper_of_both_readings_counts_in_native_money_only() {
        let same =
            |thousandths| MonthPrices { core: coins(thousandths), memory: U256::ZERO, storage: U256::ZERO };
        let prices = Prices { glm: same(48_000), native: Some(same(2)) };
        let one = Resources::new(1, 1, 10);
        assert!(prices.least_rate(one, true) < prices.least_rate(one, false) / 1000);
        let dear = Prices { native: Some(same(96_000)), ..prices };
        assert_eq!(dear.least_rate(one, true), dear.least_rate(one, false));
        let most = Prices { glm: MonthPrices { core: U256::MAX, ..same(1) }, native: None };
        assert_eq!(most.least_rate(one, true), u128::MAX);
    }
}
