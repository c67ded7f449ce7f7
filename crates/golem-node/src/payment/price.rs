//! What a rental costs, as a rate of a stream.
//!
//! Owns the arithmetic from monthly prices to the smallest units of the streams' money a second, and how far a renter's
//! may be from ours. Existing clients compute a rate in native money in two ways: some send the number of GLM as wei of
//! the chain's own money, some convert from USD; their months differ too. On test networks, whose money is worth
//! nothing, either will do.

use golem_types::Resources;
use golem_types::price::MonthlyPrice;
use ruint::aliases::U256;

/// Seconds of the longest month that clients count with, 30.4167 days, rounded up; the others
/// count 730 hours. A longer month is a lower rate.
const MONTH_SECONDS: u64 = 2_628_003;

/// Seconds of the month that prices are for: 730 hours.
const PRICE_MONTH_SECONDS: u64 = 730 * 3600;

/// How far below the price a rate may be, in thousandths: clients round, and feeds differ.
const TOLERANCE: u64 = 10;

/// Digits after the point with which existing clients count, whatever the token.
const CLIENT_DECIMALS: u8 = 18;

/// A rate in whole units a second may be no more than so many times the price: else the money is too coarse for it.
const COARSE: u64 = 2;

/// What a stream has to pay for a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPrices {
    /// In the money of the streams.
    pub month: MonthlyPrice,
    /// Other numbers that will do as well, where they are lower: those of GLM, which old clients send as if they were
    /// of the chain's own money. Only on test networks.
    pub numbers: Option<MonthlyPrice>,
}

impl StreamPrices {
    /// `month`, in the money of the streams.
    #[must_use]
    pub const fn of(month: MonthlyPrice) -> Self {
        Self { month, numbers: None }
    }

    /// The least rate for `resources`, in the smallest units a second of money with `decimals` digits after the point.
    #[must_use]
    pub fn least_rate(&self, resources: Resources, decimals: u8) -> u128 {
        let month = self.month.of(resources);
        let month = self.numbers.map_or(month, |numbers| numbers.of(resources).min(month));
        let exact = month.units(decimals).saturating_mul(U256::from(1000 - TOLERANCE));
        // At least one unit: no stream has the rate 0.
        let rate = exact.div_ceil(U256::from(MONTH_SECONDS * 1000)).max(U256::ONE);
        u128::try_from(rate).unwrap_or(u128::MAX)
    }

    /// What a quote asks for `resources`, in the smallest units a second of money with `decimals` digits after the
    /// point: what existing clients compute, as far as they can. `None` if no whole number of units is near the price.
    #[must_use]
    pub fn quoted_rate(&self, resources: Resources, decimals: u8) -> Option<u128> {
        if decimals == CLIENT_DECIMALS {
            let rate = self.month.client_rate(resources);
            return Some(self.numbers.map_or(rate, |numbers| numbers.client_rate(resources).min(rate)));
        }
        self.lease_rate(resources, decimals)
    }

    /// What a lease asks for `resources`, in the smallest units a second of money with `decimals` digits after the point: the
    /// exact price of a month, by its seconds, rounded up. `None` if no whole number of units is near the price.
    #[must_use]
    pub fn lease_rate(&self, resources: Resources, decimals: u8) -> Option<u128> {
        let units = self.month.of(resources).units(decimals);
        let rate = units.div_ceil(U256::from(PRICE_MONTH_SECONDS)).max(U256::ONE);
        let month = rate.saturating_mul(U256::from(PRICE_MONTH_SECONDS));
        let near = month <= units.saturating_mul(U256::from(COARSE));
        near.then(|| u128::try_from(rate).unwrap_or(u128::MAX))
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
            let least = StreamPrices::of(glm).least_rate(resources, 18);
            // The command line: float64, truncated, 730 hours. The web: 30.4167 days.
            let month = (core * u64::from(cpu) + memory * u64::from(gb) + storage * u64::from(disk)) as f64 / 1000.0;
            for seconds in [730.0 * 3600.0, 30.4167 * 24.0 * 3600.0] {
                let rate = (month / seconds * 1e18) as u128;
                prop_assert!(rate >= least, "{rate} {least}");
                prop_assert!(rate / 10 * 9 < least, "{rate} {least}");
            }
            // A quote is never below what would be taken without one, nor above what clients send.
            let quoted = StreamPrices::of(glm).quoted_rate(resources, 18).unwrap();
            prop_assert!(quoted >= least, "{quoted} {least}");
            let exact = glm.of(resources).atto() / U256::from(730 * 3600);
            let difference = U256::from(quoted).abs_diff(exact);
            prop_assert!(difference <= exact / U256::from(1_000_000_000) + U256::from(10_000), "{quoted} {exact}");
        }

        /// M-13: whatever the token's digits, a month at the quoted rate is the price, or none is quoted.
        #[test]
        fn m_13_a_month_costs_the_price_whatever_the_tokens_digits(
            core in 1u64..1_000_000, cpu in 1u32..64, decimals in 0u8..36,
        ) {
            let price = MonthlyPrice { core: coins(core), ..MonthlyPrice::default() };
            let (prices, resources) = (StreamPrices::of(price), Resources::new(cpu, 1, 10));
            let asked = price.of(resources);
            let least = prices.least_rate(resources, decimals);
            let Some(rate) = prices.quoted_rate(resources, decimals) else {
                prop_assert!(asked.units(decimals) < U256::from(PRICE_MONTH_SECONDS), "{asked}");
                return Ok(());
            };
            prop_assert!(rate >= least, "{rate} {least}");
            let month = Decimal::from_units(U256::from(rate) * U256::from(PRICE_MONTH_SECONDS), decimals);
            let most = asked.atto().saturating_mul(U256::from(COARSE)) + U256::from(10u64.pow(10));
            prop_assert!(month.atto() <= most, "{month} {asked}");
            let tenth = asked.atto() / U256::from(10);
            prop_assert!(month.atto() >= asked.atto() - tenth, "{month} {asked}");
        }
    }

    /// M-13: 8 USD a month in a token with 6 digits were 3.2 * 10^13 of it.
    #[test]
    fn m_13_usdc_is_counted_in_millionths() {
        let price = MonthlyPrice { core: coins(12_000), ..MonthlyPrice::default() };
        let one = Resources::new(1, 1, 10);
        let prices = StreamPrices::of(price);
        assert_eq!((prices.quoted_rate(one, 6), prices.least_rate(one, 6)), (Some(5), 5));
        assert_eq!(prices.quoted_rate(one, 0), None, "one a second would be 2.6 million a month");
        assert_eq!(prices.quoted_rate(one, 18), Some(4_566_210_045_662));
    }

    #[test]
    fn a_leases_rate_is_the_month_by_its_seconds_rounded_up() {
        let price = |core, memory, storage| MonthlyPrice {
            core: coins(core),
            memory: coins(memory),
            storage: coins(storage),
        };
        let rate = |price, size, decimals| StreamPrices::of(price).lease_rate(size, decimals);
        let one = Resources::new(1, 1, 10);
        // 5.256 coins a month are 2 * 10^12 wei a second; a wei more a month is one more a second.
        assert_eq!(rate(price(5_256, 0, 0), one, 18), Some(2_000_000_000_000));
        let more = MonthlyPrice {
            core: Decimal::from_atto(U256::from(5_256_000_000_000_000_001u64)),
            ..price(0, 0, 0)
        };
        assert_eq!(rate(more, one, 18), Some(2_000_000_000_001));
        assert_eq!(
            rate(price(12_000, 0, 0), one, 0),
            None,
            "M-13: one a second would be 2.6 million a month"
        );
    }

    #[test]
    fn the_number_of_glm_will_do_where_it_is_lower() {
        let same = |thousandths| MonthlyPrice { core: coins(thousandths), ..MonthlyPrice::default() };
        let one = Resources::new(1, 1, 10);
        let rate = |month, numbers| StreamPrices { month: same(month), numbers }.least_rate(one, 18);
        assert_eq!(rate(2, Some(same(48_000))), rate(2, None));
        assert_eq!(rate(96_000, Some(same(48_000))), rate(48_000, None));
        // M-03: a coin that is cheaper than GLM costs more of them.
        assert!(rate(96_000, None) > rate(48_000, None));
        let most = MonthlyPrice { core: Decimal::from_atto(U256::MAX), ..same(1) };
        assert_eq!(StreamPrices::of(most).least_rate(one, 18), u128::MAX);
    }
}
