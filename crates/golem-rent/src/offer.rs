//! What a provider offers: its quote, checked.
//!
//! Owns what is believed of a quote: its numbers are what the provider has signed, it is for what was
//! asked, and it is paid on a network that the renter knows. What contract version 4 calls a quote is a lease
//! ([`super::lease`]). Never asks anybody.

use alloy_primitives::{Address, hex};
use golem_chain::contract::v4::OpenLease;
use golem_chain::network::PaymentNetwork;
use golem_chain::{Place, Quote, SignedQuote, Version};
use golem_types::wire::{Exact, QuoteInfo};
use golem_types::{Decimal, ImageName, Resources};
use ruint::aliases::U256;
use serde::Serialize;

use super::shown::shown;

/// Seconds of the month for which prices are told: 730 hours.
const MONTH_SECONDS: u64 = 730 * 3600;

/// Why a quote is not believed, or cannot be paid.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// Something is missing or no number.
    #[error("the provider's quote makes no sense: {0}")]
    Nonsense(&'static str),
    /// Another one than was looked for.
    #[error("the provider there is {found}, not {wanted}")]
    Other {
        /// Who answers.
        found: Address,
        /// Who was looked for.
        wanted: Address,
    },
    /// Whoever answers is not who it says it is, or something changed the quote on its way.
    #[error("the quote is not signed by {0}, whom it names as the provider; nothing was paid")]
    Forged(Address),
    /// It costs something.
    #[error("it costs {price} {symbol} a month, and --free was given")]
    NotFree {
        /// The price.
        price: Decimal,
        /// What the coins are called.
        symbol: String,
    },
    /// It costs more than the renter wants to pay.
    #[error("it costs {price} {symbol} a month, more than {most}; nothing was paid")]
    Dear {
        /// The price.
        price: Decimal,
        /// What the coins are called.
        symbol: String,
        /// The most that may be paid.
        most: Decimal,
    },
    /// Nothing can be paid with it any more, by the chain's clock.
    #[error(
        "the provider's quote ended at {ended}, and the chain's clock says {now}; nothing was paid; fix: run the command again; \
         if that does not help, the provider's clock is wrong"
    )]
    Expired {
        /// When it ended, in seconds since the epoch.
        ended: u64,
        /// The time of the chain's newest block, in seconds since the epoch.
        now: u128,
    },
    /// The renter knows no such network.
    #[error(
        "the provider is paid on chain {}, by contract {} of version {version}, in token {token}, which none of your networks \
         is; fix: if you trust that contract, `golem-provider networks add NAME --chain-id {} --rpc-url URL --contract {} \
         --contract-version {version}`",
        .place.chain_id, .place.contract, .place.chain_id, .place.contract
    )]
    Network {
        /// The chain and contract.
        place: Place,
        /// The version of the contract.
        version: Version,
        token: Address,
    },
}

/// What a provider offers.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Who offers it.
    pub provider_id: Address,
    /// The resources.
    pub resources: Resources,
    /// What it costs; `None` if it is free.
    pub paying: Option<Paying>,
    /// What the provider asks in US dollars for a month, in its words.
    pub usd_per_month: Option<String>,
}

/// A lease that a provider has signed, for what was asked.
#[derive(Debug, Clone)]
pub struct OfferedLease {
    /// What opens its stream.
    pub open: OpenLease,
    /// How long it is paid for, in seconds.
    pub duration: u64,
    /// The image that it is for.
    pub image: ImageName,
}

/// What the provider has signed.
#[derive(Debug, Clone)]
pub enum Signed {
    /// A price, which a stream of contract version 1 pays.
    Quote(SignedQuote),
    /// A lease, with which a stream of contract version 4 is opened.
    Lease(OfferedLease),
}

/// What an offer costs.
#[derive(Debug, Clone)]
pub struct Paying {
    /// What the provider has signed.
    pub signed: Signed,
    /// Where it is paid.
    pub place: Place,
    /// In what it is paid; zero is the chain's own money.
    pub token: Address,
    /// The token's smallest units a second.
    pub rate: u128,
    /// Until when it may be paid, in seconds since the epoch.
    pub expires_at: u64,
    /// What the coins are called, in the provider's words.
    pub symbol: String,
}

/// An offer for programs.
#[derive(Debug, Serialize)]
pub struct OfferView {
    provider_id: Address,
    resources: Resources,
    free: bool,
    quote_id: Option<String>,
    rate_wei_per_second: Exact,
    price_per_month: String,
    symbol: Option<String>,
    usd_per_month: Option<String>,
    chain_id: Option<u64>,
    stream_payment_address: Option<Address>,
    glm_token_address: Option<Address>,
    expires_at: Option<u64>,
}

/// `price` rounded to eight digits after the point.
fn for_people(price: Decimal) -> Decimal {
    let step = U256::from(10).pow(U256::from(10));
    let half = step / U256::from(2);
    Decimal::from_atto((price.atto().saturating_add(half) / step).saturating_mul(step))
}

pub(crate) fn address(text: &str) -> Option<Address> {
    text.parse().ok()
}

impl Offer {
    /// The offer in `info` for `resources`, by the provider `wanted` if it is known who that is.
    ///
    /// # Errors
    /// [`OfferError`].
    pub fn check(
        info: &QuoteInfo,
        resources: Resources,
        wanted: Option<Address>,
    ) -> Result<Self, OfferError> {
        let nonsense = OfferError::Nonsense;
        let provider_id = address(&info.provider_id).ok_or(nonsense("no id"))?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != provider_id) {
            return Err(OfferError::Other { found: provider_id, wanted });
        }
        if info.resources != resources {
            return Err(nonsense("it is for another size"));
        }
        let paying = if info.free { None } else { Some(Paying::check(info, provider_id)?) };
        let usd_per_month = info.usd_per_month.as_deref().filter(|_| !info.free).map(shown);
        Ok(Self { provider_id, resources, paying, usd_per_month })
    }

    /// The offer for programs, in coins with `decimals` digits after the point.
    pub fn view(&self, decimals: u8) -> OfferView {
        let paying = self.paying.as_ref();
        OfferView {
            provider_id: self.provider_id,
            resources: self.resources,
            free: paying.is_none(),
            quote_id: paying.map(Paying::id),
            rate_wei_per_second: paying.map_or(0, |paying| paying.rate).into(),
            price_per_month: paying
                .map_or(Decimal::ZERO, |paying| paying.price_per_month(decimals))
                .to_string(),
            symbol: paying.map(|paying| paying.symbol.clone()),
            usd_per_month: self.usd_per_month.clone(),
            chain_id: paying.map(|paying| paying.place.chain_id),
            stream_payment_address: paying.map(|paying| paying.place.contract),
            glm_token_address: paying.map(|paying| paying.token),
            expires_at: paying.map(|paying| paying.expires_at),
        }
    }
}

impl Paying {
    fn check(info: &QuoteInfo, provider: Address) -> Result<Self, OfferError> {
        let bytes = |text: &Option<String>| text.as_deref().and_then(|text| hex::decode(text).ok());
        let part = |part: Option<Address>, what| part.ok_or(OfferError::Nonsense(what));
        let contract = part(info.stream_payment_address.as_deref().and_then(address), "no contract")?;
        let token = part(info.glm_token_address.as_deref().and_then(address), "no token")?;
        let nonsense = || OfferError::Nonsense("no rate, time, nonce or signature");
        let quote = Quote {
            provider,
            resources: info.resources,
            token,
            rate: u128::try_from(info.rate_wei_per_second.0).map_err(|_| nonsense())?,
            expires_at: info.expires_at.ok_or_else(nonsense)?,
            nonce: bytes(&info.nonce).and_then(|bytes| bytes.try_into().ok()).ok_or_else(nonsense)?,
        };
        let signature =
            bytes(&info.signature).and_then(|bytes| bytes.try_into().ok()).ok_or_else(nonsense)?;
        let place = Place { chain_id: info.chain_id.ok_or_else(nonsense)?, contract };
        let signed = SignedQuote { quote, signature };
        if !signed.is_genuine(place) {
            return Err(OfferError::Forged(provider));
        }
        let symbol = info.symbol.as_deref().map_or_else(|| "coins".to_owned(), shown);
        let Quote { token, rate, expires_at, .. } = quote;
        Ok(Self { signed: Signed::Quote(signed), place, token, rate, expires_at, symbol })
    }

    /// What the provider's word is known by: a quote's whole text, or a lease's id.
    pub fn id(&self) -> String {
        match &self.signed {
            Signed::Quote(signed) => signed.id(),
            Signed::Lease(lease) => format!("{:#x}", lease.open.quote.lease_id),
        }
    }

    /// The version of the contract whose streams pay it.
    pub const fn version(&self) -> Version {
        match self.signed {
            Signed::Quote(_) => Version::V1,
            Signed::Lease(_) => Version::V4,
        }
    }

    /// Makes sure that no more than `most` coins with `decimals` digits after the point are paid a month.
    ///
    /// # Errors
    /// [`OfferError::Dear`].
    pub fn within(&self, most: Option<Decimal>, decimals: u8) -> Result<(), OfferError> {
        match most.filter(|most| self.price_per_month(decimals) > *most) {
            Some(most) => {
                let (price, symbol) = (self.price_for_people(decimals), self.symbol.clone());
                Err(OfferError::Dear { price, symbol, most })
            }
            None => Ok(()),
        }
    }

    /// What `seconds` cost, in coins with `decimals` digits after the point.
    pub fn price(&self, seconds: u64, decimals: u8) -> Decimal {
        Decimal::from_units(U256::from(self.rate).saturating_mul(U256::from(seconds)), decimals)
    }

    /// What a month of 730 hours costs, in coins with `decimals` digits after the point.
    pub fn price_per_month(&self, decimals: u8) -> Decimal {
        self.price(MONTH_SECONDS, decimals)
    }

    /// The same for people: a rate is cut off, and 40 coins a month are a bit less.
    pub fn price_for_people(&self, decimals: u8) -> Decimal {
        for_people(self.price_per_month(decimals))
    }

    /// Digits after the point of the coins, as the first of the renter's `networks` says that fits; 18 if none does.
    pub fn decimals(&self, networks: &[PaymentNetwork]) -> u8 {
        networks.iter().find(|profile| self.fits(profile)).map_or(18, PaymentNetwork::decimals)
    }

    /// Whether it is paid on the network of `profile`.
    pub fn fits(&self, profile: &PaymentNetwork) -> bool {
        profile.network.chain_id == self.place.chain_id
            && profile.contract == self.place.contract
            && profile.token == self.token
            && profile.network.contract_version == self.version()
    }

    /// What pays for `hours`, in wei.
    pub fn deposit(&self, hours: u32) -> U256 {
        U256::from(self.rate) * U256::from(hours) * U256::from(3600)
    }

    /// The renter's network on which it is paid: `networks`' first that fits.
    ///
    /// # Errors
    /// [`OfferError::Network`].
    pub fn network(&self, networks: Vec<PaymentNetwork>) -> Result<PaymentNetwork, OfferError> {
        let network = networks.into_iter().find(|profile| self.fits(profile));
        network.ok_or(OfferError::Network { place: self.place, version: self.version(), token: self.token })
    }
}

#[cfg(test)]
mod tests {
    use golem_chain::network::{self, Network};
    use golem_types::Wallet;

    use super::*;

    const PLACE: Place = Place { chain_id: 7, contract: Address::repeat_byte(9) };
    const SIZE: Resources = Resources::new(1, 2, 10);

    fn wallet() -> Wallet {
        Wallet::from_bytes(&[3; 32]).unwrap()
    }

    fn info() -> QuoteInfo {
        let quote = Quote {
            provider: wallet().address(),
            resources: SIZE,
            token: Address::ZERO,
            rate: 1_000_000,
            expires_at: 100,
            nonce: [4; 16],
        };
        let signed = quote.sign(PLACE, &wallet()).unwrap();
        QuoteInfo {
            quote_id: Some(signed.id()),
            provider_id: quote.provider.to_string(),
            resources: SIZE,
            free: false,
            rate_wei_per_second: quote.rate.into(),
            price_per_month: "anything".to_owned(),
            symbol: Some("ETH\x1b[2J".to_owned()),
            usd_per_month: None,
            chain_id: Some(PLACE.chain_id),
            stream_payment_address: Some(PLACE.contract.to_string()),
            glm_token_address: Some(Address::ZERO.to_string()),
            expires_at: Some(100),
            nonce: Some(hex::encode_prefixed(quote.nonce)),
            signature: Some(hex::encode_prefixed(signed.signature)),
        }
    }

    #[test]
    fn a_quote_is_believed_if_the_provider_signed_every_number_of_it() {
        let offer = Offer::check(&info(), SIZE, Some(wallet().address())).unwrap();
        let paying = offer.paying.as_ref().unwrap();
        assert_eq!(paying.price_per_month(18).to_string(), "0.000002628");
        assert_eq!(paying.price_for_people(18).to_string(), "0.00000263");
        assert_eq!(paying.deposit(2), U256::from(7_200_000_000u64));
        assert_eq!(paying.symbol, "ETH[2J", "nothing steers a terminal");
        assert_eq!(Some(paying.id()), info().quote_id);
        for wrong in [
            QuoteInfo { rate_wei_per_second: 999_999u128.into(), ..info() },
            QuoteInfo { expires_at: Some(101), ..info() },
            QuoteInfo { chain_id: Some(8), ..info() },
            QuoteInfo { stream_payment_address: Some(Address::ZERO.to_string()), ..info() },
            QuoteInfo { glm_token_address: Some(PLACE.contract.to_string()), ..info() },
            QuoteInfo { provider_id: PLACE.contract.to_string(), ..info() },
            QuoteInfo { nonce: Some("0x00000000000000000000000000000000".to_owned()), ..info() },
        ] {
            assert!(matches!(Offer::check(&wrong, SIZE, None), Err(OfferError::Forged(_))), "{wrong:?}");
        }
        for wrong in [
            QuoteInfo { resources: Resources::new(1, 1, 10), ..info() },
            QuoteInfo { nonce: None, ..info() },
            QuoteInfo { signature: Some("0x12".to_owned()), ..info() },
            QuoteInfo { rate_wei_per_second: Exact(U256::MAX), ..info() },
            QuoteInfo { provider_id: "me".to_owned(), ..info() },
        ] {
            assert!(matches!(Offer::check(&wrong, SIZE, None), Err(OfferError::Nonsense(_))), "{wrong:?}");
        }
        let other = Offer::check(&info(), SIZE, Some(PLACE.contract));
        assert!(matches!(other, Err(OfferError::Other { .. })));
    }

    #[test]
    fn a_price_stays_within_the_renters_bounds() {
        let paying = Offer::check(&info(), SIZE, None).unwrap().paying.unwrap();
        let coins = |text: &str| Some(text.parse().unwrap());
        assert!(paying.within(None, 18).is_ok());
        assert!(paying.within(coins("0.000002628"), 18).is_ok());
        // M-12
        assert!(matches!(paying.within(coins("0.000002627"), 18), Err(OfferError::Dear { .. })));
        // M-13: the same rate in millionths is a fortune.
        assert!(matches!(paying.within(coins("2627999"), 6), Err(OfferError::Dear { .. })));
        assert!(paying.within(coins("2628000"), 6).is_ok());
        assert!(Offer::check(&QuoteInfo { free: true, ..info() }, SIZE, None).unwrap().paying.is_none());
    }

    #[test]
    fn money_goes_to_a_contract_that_the_renter_knows_only() {
        let paying = Offer::check(&info(), SIZE, None).unwrap().paying.unwrap();
        let profile = |contract, chain_id, token| {
            let network = Network { chain_id, ..network::shipped()["mainnet"].clone() };
            PaymentNetwork { name: "mine".to_owned(), network, rpc_url: String::new(), contract, token }
        };
        let right = || profile(PLACE.contract, 7, Address::ZERO);
        let wrong = || {
            vec![
                profile(Address::ZERO, 7, Address::ZERO),
                profile(PLACE.contract, 8, Address::ZERO),
                profile(PLACE.contract, 7, PLACE.contract),
            ]
        };
        assert!(matches!(paying.network(wrong()), Err(OfferError::Network { .. })));
        assert!(paying.network([wrong(), vec![right()]].concat()).is_ok());
        let mut newer = right();
        newer.network.contract_version = Version::V4;
        assert!(
            matches!(paying.network(vec![newer]), Err(OfferError::Network { .. })),
            "a price is no lease"
        );
    }
}
