//! What the node asks for a month, in each currency.
//!
//! Owns the way from what the operator asks in US dollars to the price list: what the same is in coins at rates that
//! are believed, and what streams then have to pay.

use golem_types::Decimal;
use golem_types::price::{MonthlyPrice, Rate};

use super::PricingConfig;
use crate::payment::StreamPrices;

/// What streams have to pay: from the prices in GLM, and in the chain's own money where its rate is
/// known. `None` while no price in GLM is known, or nothing is asked: then any rate will do.
fn prices(usd: MonthlyPrice, glm: MonthlyPrice, native: Option<Decimal>) -> Option<StreamPrices> {
    if glm.is_zero() {
        return None;
    }
    let native = native.and_then(|rate| usd.in_coins(rate)).filter(|native| !native.is_zero());
    Some(StreamPrices { glm, native })
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
    pub usd: MonthlyPrice,
    /// In GLM; zero while no rate is known.
    pub glm: MonthlyPrice,
    /// In the chain's own money, where its rate is known.
    pub ether: Option<MonthlyPrice>,
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
    pub fn of_streams(&self) -> Option<StreamPrices> {
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
        let asked = MonthlyPrice { core: usd("12"), memory: usd("4"), storage: usd("0.1") };
        let glm = asked.in_coins(usd("0.25")).unwrap();
        assert_eq!(glm, MonthlyPrice { core: usd("48"), memory: usd("16"), storage: usd("0.4") });
        assert!(prices(asked, MonthlyPrice::default(), None).is_none(), "no rate, no price");
        let prices = prices(asked, glm, Some(usd("3000"))).unwrap();
        assert!(prices.native.unwrap().core < prices.glm.core);
        assert!(asked.in_coins(Decimal::ZERO).is_none());
    }
}
