//! What a rental costs, as a rate of a stream.
//!
//! Owns the arithmetic from monthly prices to wei a second, and how far a renter's may be from ours.
//! Existing clients compute a native-money rate in two ways: some send the number of GLM as wei of the
//! chain's own money, some convert from USD; their months differ too. Either will do. Integers only, but
//! where the clients' own floats are to be met to the bit.

use golem_types::{Decimal, Resources};
use ruint::aliases::U256;

/// Seconds of the longest month that clients count with, 30.4167 days, rounded up; the others
/// count 730 hours. A longer month is a lower rate.
const MONTH_SECONDS: u64 = 2_628_003;

/// Hours of the month with which the published requestor counts.
const CLIENT_MONTH_HOURS: f64 = 730.0;

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

    /// What the published requestor computes from these prices, in wei a second: its float64
    /// arithmetic to the bit, so that whoever asks for a quote pays what its users pay. At least 1,
    /// because no stream has the rate 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the client cuts the rest off, too")]
    #[expect(clippy::cast_sign_loss, reason = "no price is below 0")]
    pub fn client_rate(&self, resources: Resources) -> u128 {
        let price = |atto: U256| Decimal::from_atto(atto).to_float();
        let part = |atto: U256, count: u32| price(atto) * f64::from(count);
        // Not fused: the client's sums are rounded one by one, and then to eight digits.
        let month = part(self.core, resources.cpu)
            + part(self.memory, resources.memory)
            + part(self.storage, resources.storage);
        let month: f64 = format!("{month:.8}").parse().unwrap_or(f64::MAX);
        let rate = month / (CLIENT_MONTH_HOURS * 3600.0) * 1e18;
        (rate as u128).max(1)
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
            // A quote is never below what would be taken without one, nor above what clients send.
            let quoted = Prices { glm, native: None }.quoted_rate(resources, true);
            prop_assert!(quoted >= least, "{quoted} {least}");
            let exact = glm.of(resources) / U256::from(730 * 3600);
            let difference = U256::from(quoted).abs_diff(exact);
            prop_assert!(difference <= exact / U256::from(1_000_000_000) + U256::from(10_000), "{quoted} {exact}");
        }
    }

    /// What the published requestor's own lines give, run in Python.
    #[test]
    fn a_quotes_rate_is_the_requestors_to_the_bit() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap().atto();
        for (core, memory, storage, (cpu, gb, disk), wanted) in [
            ("25", "10", "0.5", (1, 1, 10), 15_220_700_152_207),
            ("16.66666667", "6.66666667", "0.33333333", (4, 8, 40), 50_735_667_138_508),
            ("0.1", "0.2", "0.3", (2, 2, 11), 1_484_018_264_840),
            ("48", "16", "0.4", (16, 64, 333), 732_572_298_325_723),
            ("1e-8", "0", "0", (1, 1, 10), 3805),
        ] {
            let prices =
                MonthPrices { core: decimal(core), memory: decimal(memory), storage: decimal(storage) };
            assert_eq!(
                prices.client_rate(Resources::new(cpu, gb, disk)),
                wanted,
                "{core} {memory} {storage}"
            );
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
