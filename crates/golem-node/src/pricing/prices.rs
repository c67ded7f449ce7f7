//! What the node asks for a month, in each currency.
//!
//! Owns the way from what the operator asks in US dollars to the price list: what the same is in coins at rates that
//! are believed, and what streams then have to pay.

use golem_types::price::{MonthlyPrice, Rate};

use super::{PricingConfig, StreamMoney};
use crate::payment::StreamPrices;

/// Rates that are believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of a GLM.
    pub glm: Option<Rate>,
    /// Of the chain's own money.
    pub coin: Option<Rate>,
    /// Of the token of the streams.
    pub token: Option<Rate>,
}

/// What is asked for a month, in each currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceList {
    /// In US dollars, as the operator set it.
    pub usd: MonthlyPrice,
    /// In GLM; zero while no rate is known.
    pub glm: MonthlyPrice,
    /// What streams have to pay; `None` while no price is known in their money, or nothing is asked.
    pub of_streams: Option<StreamPrices>,
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
        let network = config.network.as_ref();
        let of_streams = network.and_then(|network| {
            let at = |rate: Option<Rate>| rate.and_then(|rate| config.usd.in_coins(rate.usd));
            let glm = Some(glm).filter(|glm| !glm.is_zero());
            let (month, numbers) = match network.money {
                StreamMoney::Glm => (glm, None),
                StreamMoney::Token => (at(rates.token), None),
                StreamMoney::Coin if network.testnet => (at(rates.coin).or(glm), glm),
                StreamMoney::Coin => (at(rates.coin), None),
            };
            month.filter(|month| !month.is_zero()).map(|month| StreamPrices { month, numbers })
        });
        Self { usd: config.usd, glm, of_streams, rates }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use golem_types::Decimal;
    use jiff::Timestamp;

    use super::super::PricedNetwork;
    use super::*;

    fn usd(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn rate(text: &str) -> Option<Rate> {
        Some(Rate { usd: usd(text), at: Timestamp::UNIX_EPOCH })
    }

    fn config(money: StreamMoney, testnet: bool) -> PricingConfig {
        PricingConfig {
            usd: MonthlyPrice { core: usd("12"), memory: usd("4"), storage: usd("0.1") },
            glm: MonthlyPrice::default(),
            follow: true,
            threshold: 100,
            interval: Duration::from_secs(1),
            feed_urls: Vec::new(),
            glm_ids: Vec::new(),
            network: Some(PricedNetwork { coin_id: None, token_id: None, money, testnet }),
        }
    }

    #[test]
    fn s_015_prices_in_glm_follow_from_dollars() {
        let asked = config(StreamMoney::Glm, false);
        let glm = MonthlyPrice { core: usd("48"), memory: usd("16"), storage: usd("0.4") };
        let at = |rates| PriceList::at(&asked, rates).of_streams;
        assert_eq!(at(Rates::default()), None, "no rate, no price");
        let rates = Rates { glm: rate("0.25"), coin: rate("3000"), ..Rates::default() };
        assert_eq!(at(rates), Some(StreamPrices::of(glm)));
        assert!(asked.usd.in_coins(Decimal::ZERO).is_none());
    }

    /// M-03: each money is priced at its own rate, or not at all.
    #[test]
    fn m_03_streams_are_priced_at_the_rate_of_their_own_money() {
        let known = Rates { glm: rate("0.25"), coin: rate("0.1"), token: rate("1") };
        let core = |money, testnet, rates| {
            PriceList::at(&config(money, testnet), rates).of_streams.map(|prices| prices.month.core)
        };
        assert_eq!(core(StreamMoney::Coin, false, known), Some(usd("120")));
        assert_eq!(core(StreamMoney::Token, false, known), Some(usd("12")));
        assert_eq!(core(StreamMoney::Glm, false, known), Some(usd("48")));
        let no_coin = Rates { coin: None, ..known };
        assert_eq!(core(StreamMoney::Coin, false, no_coin), None, "never at another coin's rate");
        assert_eq!(core(StreamMoney::Token, false, Rates { token: None, ..known }), None);
        // Test money is worth nothing: the number of GLM that old clients send will do.
        assert_eq!(core(StreamMoney::Coin, true, no_coin), Some(usd("48")));
        assert_eq!(core(StreamMoney::Coin, true, known), Some(usd("120")));
    }
}
