//! What a month costs, exactly.
//!
//! Owns the arithmetic of monthly prices, in US dollars or in a coin, and the one float64 computation that is part of
//! the market: the published requestor's. Never decides a price.

use jiff::Timestamp;
use ruint::aliases::U256;

use crate::{Decimal, Resources};

/// Hours of the month with which the published requestor counts.
const CLIENT_MONTH_HOURS: f64 = 730.0;

/// What a coin is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// US dollars for a coin.
    pub usd: Decimal,
    /// When a feed last said so, or nearly so.
    pub at: Timestamp,
}

/// The price of a month, in US dollars or in a coin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MonthlyPrice {
    /// Of a CPU.
    pub core: Decimal,
    /// Of a GiB of memory.
    pub memory: Decimal,
    /// Of a GiB of storage.
    pub storage: Decimal,
}

impl MonthlyPrice {
    /// The same in a coin that is worth `rate` dollars; `None` if that is zero.
    #[must_use]
    pub fn in_coins(self, rate: Decimal) -> Option<Self> {
        Some(Self {
            core: self.core.per(rate)?,
            memory: self.memory.per(rate)?,
            storage: self.storage.per(rate)?,
        })
    }

    /// Whether nothing is asked.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// What `resources` cost in a month.
    #[must_use]
    pub fn of(self, resources: Resources) -> Decimal {
        let part = |price: Decimal, count: u32| price.atto().saturating_mul(U256::from(count));
        let sum = part(self.core, resources.cpu)
            .saturating_add(part(self.memory, resources.memory))
            .saturating_add(part(self.storage, resources.storage));
        Decimal::from_atto(sum)
    }

    /// What the published requestor computes from this price, in wei a second: its float64
    /// arithmetic to the bit, so that whoever asks for a quote pays what its users pay. At least 1,
    /// because no stream has the rate 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the client cuts the rest off, too")]
    #[expect(clippy::cast_sign_loss, reason = "no price is below 0")]
    pub fn client_rate(self, resources: Resources) -> u128 {
        let part = |price: Decimal, count: u32| price.to_float() * f64::from(count);
        // Not fused: the client's sums are rounded one by one, and then to eight digits.
        let month = part(self.core, resources.cpu)
            + part(self.memory, resources.memory)
            + part(self.storage, resources.storage);
        let month: f64 = format!("{month:.8}").parse().unwrap_or(f64::MAX);
        let rate = month / (CLIENT_MONTH_HOURS * 3600.0) * 1e18;
        (rate as u128).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(core: &str, memory: &str, storage: &str) -> MonthlyPrice {
        let decimal = |text: &str| text.parse().unwrap();
        MonthlyPrice { core: decimal(core), memory: decimal(memory), storage: decimal(storage) }
    }

    #[test]
    fn a_month_is_the_exact_sum_of_its_parts() {
        let month = price("25", "10", "0.5").of(Resources::new(2, 4, 11));
        assert_eq!(month.to_string(), "95.5");
        assert_eq!(price("1e-18", "0", "0").of(Resources::new(3, 1, 10)).atto(), U256::from(3));
        let most = MonthlyPrice { core: Decimal::from_atto(U256::MAX), ..MonthlyPrice::default() };
        assert_eq!(most.of(Resources::new(2, 1, 1)).atto(), U256::MAX);
    }

    #[test]
    fn a_price_in_dollars_is_one_in_coins_at_a_rate() {
        assert_eq!(
            price("12", "2.5", "0.1").in_coins("0.25".parse().unwrap()),
            Some(price("48", "10", "0.4"))
        );
        assert_eq!(price("12", "2.5", "0.1").in_coins(Decimal::ZERO), None);
        for (asked, nothing) in [("0", true), ("1e-18", false)] {
            assert_eq!(price(asked, "0", "0").is_zero(), nothing);
            assert_eq!(price("0", asked, "0").is_zero(), nothing);
            assert_eq!(price("0", "0", asked).is_zero(), nothing);
        }
    }

    /// What the published requestor's own lines give, run in Python.
    #[test]
    fn a_quotes_rate_is_the_requestors_to_the_bit() {
        for (core, memory, storage, (cpu, gb, disk), wanted) in [
            ("25", "10", "0.5", (1, 1, 10), 15_220_700_152_207),
            ("16.66666667", "6.66666667", "0.33333333", (4, 8, 40), 50_735_667_138_508),
            ("0.1", "0.2", "0.3", (2, 2, 11), 1_484_018_264_840),
            ("48", "16", "0.4", (16, 64, 333), 732_572_298_325_723),
            ("1e-8", "0", "0", (1, 1, 10), 3805),
        ] {
            assert_eq!(
                price(core, memory, storage).client_rate(Resources::new(cpu, gb, disk)),
                wanted,
                "{core} {memory} {storage}"
            );
        }
    }
}
