//! What a rental costs, as a rate of a stream.
//!
//! Owns the arithmetic from monthly prices to wei a second, and how far a renter's may be from ours.
//! Existing clients compute a native-money rate in two ways: some send the number of GLM as wei of the
//! chain's own money, some convert from USD; their months differ too. Either will do.

use golem_types::Resources;
use golem_types::price::MonthlyPrice;
use ruint::aliases::U256;

/// Seconds of the longest month that clients count with, 30.4167 days, rounded up; the others
/// count 730 hours. A longer month is a lower rate.
const MONTH_SECONDS: u64 = 2_628_003;

/// How far below the price a rate may be, in thousandths: clients round, and feeds differ.
const TOLERANCE: u64 = 10;

/// What a stream has to pay for a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPrices {
    /// In GLM.
    pub glm: MonthlyPrice,
    /// In the chain's own money, where its worth is known.
    pub native: Option<MonthlyPrice>,
}

impl StreamPrices {
    /// The least rate for `resources`, in wei a second of the stream's token, which is the
    /// chain's own money if `native`.
    #[must_use]
    pub fn least_rate(&self, resources: Resources, native: bool) -> u128 {
        let glm = self.glm.of(resources);
        let month = match self.native.filter(|_| native) {
            Some(price) => price.of(resources).min(glm),
            None => glm,
        };
        let rate = month.atto() / U256::from(MONTH_SECONDS) * U256::from(1000 - TOLERANCE) / U256::from(1000);
        u128::try_from(rate).unwrap_or(u128::MAX)
    }

    /// What a quote asks for `resources`, in wei a second: what existing clients compute from the
    /// cheaper of the two readings of the price.
    #[must_use]
    pub fn quoted_rate(&self, resources: Resources, native: bool) -> u128 {
        let glm = self.glm.client_rate(resources);
        self.native.filter(|_| native).map_or(glm, |prices| prices.client_rate(resources).min(glm))
    }
}

#[cfg(test)]
mod tests {
    use golem_types::Decimal;
    use proptest::prelude::*;

    use super::*;

    fn coins(thousandths: u64) -> Decimal {
        Decimal::from_atto(U256::from(thousandths) * U256::from(1_000_000_000_000_000u64))
    }

    proptest! {
        /// What any existing client computes from the advertised price is enough, and a tenth less
        /// is not.
        #[test]
        fn every_clients_arithmetic_is_accepted_and_an_underpayment_is_not(
            core in 1u64..100_000, memory in 0u64..100_000, storage in 0u64..1000,
            cpu in prop::sample::select(vec![1u32, 2, 4, 8, 16]), gb in 1u32..64, disk in 10u32..500,
        ) {
            let glm = MonthlyPrice { core: coins(core), memory: coins(memory), storage: coins(storage) };
            let resources = Resources::new(cpu, gb, disk);
            let least = StreamPrices { glm, native: None }.least_rate(resources, true);
            // The command line: float64, truncated, 730 hours. The web: 30.4167 days.
            let month = (core * u64::from(cpu) + memory * u64::from(gb) + storage * u64::from(disk)) as f64 / 1000.0;
            for seconds in [730.0 * 3600.0, 30.4167 * 24.0 * 3600.0] {
                let rate = (month / seconds * 1e18) as u128;
                prop_assert!(rate >= least, "{rate} {least}");
                prop_assert!(rate / 10 * 9 < least, "{rate} {least}");
            }
            // A quote is never below what would be taken without one, nor above what clients send.
            let quoted = StreamPrices { glm, native: None }.quoted_rate(resources, true);
            prop_assert!(quoted >= least, "{quoted} {least}");
            let exact = glm.of(resources).atto() / U256::from(730 * 3600);
            let difference = U256::from(quoted).abs_diff(exact);
            prop_assert!(difference <= exact / U256::from(1_000_000_000) + U256::from(10_000), "{quoted} {exact}");
        }
    }

    #[test]
    fn the_cheaper_of_both_readings_counts_in_native_money_only() {
        let same = |thousandths| MonthlyPrice { core: coins(thousandths), ..MonthlyPrice::default() };
        let prices = StreamPrices { glm: same(48_000), native: Some(same(2)) };
        let one = Resources::new(1, 1, 10);
        assert!(prices.least_rate(one, true) < prices.least_rate(one, false) / 1000);
        let dear = StreamPrices { native: Some(same(96_000)), ..prices };
        assert_eq!(dear.least_rate(one, true), dear.least_rate(one, false));
        let most = StreamPrices {
            glm: MonthlyPrice { core: Decimal::from_atto(U256::MAX), ..same(1) },
            native: None,
        };
        assert_eq!(most.least_rate(one, true), u128::MAX);
    }
}
