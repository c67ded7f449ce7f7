//! What the node asks for a month, in each currency.
//!
//! Owns the way from what the operator asks in US dollars to the price list: what the same is in coins at rates that
//! are believed, and what streams then have to pay.

use golem_types::Decimal;

use super::PricingConfig;
use super::rate::Rate;
use crate::payment::{MonthPrices, Prices};

/// What the operator asks for a month, in US dollars or in a coin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// For a CPU.
    pub core: Decimal,
    /// For a GiB of memory.
    pub memory: Decimal,
    /// For a GiB of storage.
    pub storage: Decimal,
}

impl Asked {
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

    /// What a month costs, in 10^-18.
    #[must_use]
    pub const fn month(self) -> MonthPrices {
        MonthPrices { core: self.core.atto(), memory: self.memory.atto(), storage: self.storage.atto() }
    }
}

/// What streams have to pay: from the prices in GLM, and in the chain's own money where its rate is
/// known. `None` while no price in GLM is known, or nothing is asked: then any rate will do.
fn prices(usd: Asked, glm: Asked, native: Option<Decimal>) -> Option<Prices> {
    if glm.is_zero() {
        return None;
    }
    let native = native.and_then(|rate| usd.in_coins(rate)).filter(|native| !native.is_zero());
    Some(Prices { glm: glm.month(), native: native.map(Asked::month) })
}

/// Rates that are believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of a GLM.
    pub glm: Option<Rate>,
    /// Of the chain's own money.
    pub ether: Option<Rate>,
}

/// What is asked for a month, in each currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceList {
    /// In US dollars, as the operator set it.
    pub usd: Asked,
    /// In GLM; zero while no rate is known.
    pub glm: Asked,
    /// In the chain's own money, where its rate is known.
    pub ether: Option<Asked>,
    /// The rates that they follow from.
    pub rates: Rates,
}

impl PriceList {
    /// What is asked at `rates`. Without a rate of GLM, or where prices do not follow it, those that were
    /// set in GLM count.
    #[must_use]
    pub fn at(config: &PricingConfig, rates: Rates) -> Self {
        let follows = rates.glm.filter(|_| config.follow);
        let glm = follows.and_then(|rate| config.usd.in_coins(rate.usd)).unwrap_or(config.glm);
        let ether = rates.ether.and_then(|rate| config.usd.in_coins(rate.usd));
        Self { usd: config.usd, glm, ether, rates }
    }

    /// What streams have to pay. `None` while no price in GLM is known, or nothing is asked: then any
    /// rate will do.
    #[must_use]
    pub fn of_streams(&self) -> Option<Prices> {
        prices(self.usd, self.glm, self.rates.ether.map(|rate| rate.usd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn s_015_prices_in_glm_follow_from_dollars() {
        let asked = Asked { core: usd("12"), memory: usd("4"), storage: usd("0.1") };
        let glm = asked.in_coins(usd("0.25")).unwrap();
        assert_eq!(glm, Asked { core: usd("48"), memory: usd("16"), storage: usd("0.4") });
        assert!(prices(asked, Asked::default(), None).is_none(), "no rate, no price");
        let prices = prices(asked, glm, Some(usd("3000"))).unwrap();
        assert!(prices.native.unwrap().core < prices.glm.core);
        assert!(asked.in_coins(Decimal::ZERO).is_none());
    }
}
