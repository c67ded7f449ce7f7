//! The node's advert as a market tells it, and what others ask.
//!
//! Owns the comparison. Asks the market itself, so that it shows what renters see and not what the node believes. Never
//! decides a price.

use alloy_primitives::Address;
use golem_chain::ChainError;
use golem_service::log::with_causes;
use golem_types::Resources;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::arkiv::offer::{Filter, cheaper_percent, month};
use crate::arkiv::{AdvertPrices, FoundAdvert, MarketNetwork};
use crate::discovery::live::provider::LiveError;
use crate::discovery::live::requestor;
use crate::discovery::{self, DiscoveryError, Listed};

/// Most adverts of others that are looked at.
const OFFERS: usize = 500;

/// Why a market tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The payments network has a name with other letters than networks have.
    #[error("the name of the payments network cannot stand in a query")]
    Query,
    /// The market's network does not answer as it should.
    #[error(transparent)]
    Network(#[from] ChainError),
    /// The discovery server does not.
    #[error(transparent)]
    Server(#[from] DiscoveryError),
    /// Nor does the one that shows who is connected.
    #[error(transparent)]
    Socket(#[from] LiveError),
}

/// Which markets are asked, and for whom.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The node that asks.
    pub own: Address,
    /// What it asks where it has no advert.
    pub asked: AdvertPrices,
    /// Where to ask.
    pub places: Vec<SurveyPlace>,
}

/// A market that can be asked.
#[derive(Debug, Clone)]
pub enum SurveyPlace {
    /// A network, on which those of an environment and a payments network count.
    Network { market: Box<MarketNetwork>, environment: String, payments_network: String },
    /// A discovery server that shows who is connected.
    Socket(String),
    /// A discovery server of the other kind.
    Server(String),
}

impl SurveyPlace {
    /// What the network is called, or where the server is.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Network { market, .. } => &market.name,
            Self::Socket(url) | Self::Server(url) => url,
        }
    }
}

impl Survey {
    /// What `place` says of VMs of this size; one that does not answer is no error but in the view.
    pub async fn look(&self, place: &SurveyPlace, size: Resources) -> MarketView {
        let Self { own, asked, .. } = *self;
        match place {
            SurveyPlace::Network { market, environment, payments_network } => {
                MarketView::of_network((**market).clone(), (environment, payments_network), own, size, asked)
                    .await
            }
            SurveyPlace::Socket(url) => MarketView::of_socket(url.clone(), own, size, asked).await,
            SurveyPlace::Server(url) => MarketView::of_server(url.clone(), own, size, asked).await,
        }
    }
}

/// One market, as it tells itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarketView {
    pub market: &'static str,
    /// What the network is called, or where the server is.
    pub place: String,
    /// Why it cannot be asked; then nothing is known.
    pub error: Option<String>,
    pub block: Option<u64>,
    pub own: Option<OwnAdvert>,
    /// Those whose adverts could be the same renter's choice.
    pub others: Vec<AdvertTerms>,
    /// Whether there are more than were looked at.
    pub more: bool,
    pub usd_month: PriceRank,
}

/// The node's own advert.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnAdvert {
    /// Its key on a network.
    pub key: Option<String>,
    pub expires_at_block: Option<u64>,
    pub blocks_left: Option<u64>,
    pub lapses_at: Option<Timestamp>,
    #[serde(flatten)]
    pub says: AdvertTerms,
}

/// What an advert offers.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdvertTerms {
    pub provider_id: String,
    pub name: String,
    pub country: String,
    pub platform: String,
    pub cpu: u64,
    pub memory: u64,
    pub storage: u64,
    pub usd_month: Option<f64>,
    pub glm_month: Option<f64>,
}

/// Where the node's price stands among those of others.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceRank {
    pub own: f64,
    pub others: usize,
    pub lowest: Option<f64>,
    pub median: Option<f64>,
    pub cheaper_percent: Option<u8>,
}

/// What `size` costs in a month.
fn of_month(prices: AdvertPrices, size: Resources) -> f64 {
    month(prices, size.cpu, size.memory, size.storage)
}

impl AdvertTerms {
    fn of(offer: FoundAdvert, wanted: Resources) -> Self {
        let of_month = |prices| of_month(prices, wanted);
        Self {
            usd_month: offer.usd.map(of_month),
            glm_month: offer.glm.map(of_month),
            provider_id: offer.provider_id,
            name: offer.name,
            country: offer.country,
            platform: offer.platform,
            cpu: offer.cpu,
            memory: offer.memory,
            storage: offer.storage,
        }
    }

    fn listed(listed: Listed, wanted: Resources) -> Self {
        let of_month = |prices| of_month(prices, wanted);
        Self {
            usd_month: listed.usd().map(of_month),
            glm_month: listed.glm().map(of_month),
            cpu: listed.free("cpu"),
            memory: listed.free("memory"),
            storage: listed.free("storage"),
            provider_id: listed.provider_id,
            name: listed.provider_name.unwrap_or_default(),
            country: listed.country,
            platform: listed.platform.unwrap_or_default(),
        }
    }
}

impl OwnAdvert {
    /// The one on a discovery server.
    fn listed(lapses_at: Option<Timestamp>, listed: Listed, wanted: Resources) -> Self {
        let says = AdvertTerms::listed(listed, wanted);
        Self { key: None, expires_at_block: None, blocks_left: None, lapses_at, says }
    }
}

impl PriceRank {
    fn of(own: f64, others: &[AdvertTerms]) -> Self {
        let mut prices: Vec<f64> = others.iter().filter_map(|other| other.usd_month).collect();
        prices.sort_by(f64::total_cmp);
        Self {
            own,
            others: prices.len(),
            lowest: prices.first().copied(),
            median: prices.get(prices.len() / 2).copied(),
            cheaper_percent: cheaper_percent(own, &prices),
        }
    }
}

/// The adverts of a market.
#[derive(Debug, Default)]
struct Adverts {
    block: Option<u64>,
    own: Option<OwnAdvert>,
    others: Vec<AdvertTerms>,
    more: bool,
}

impl Adverts {
    /// Those of a discovery server.
    fn listed(own: Option<OwnAdvert>, others: Vec<Listed>, wanted: Resources) -> Self {
        let more = others.len() > OFFERS;
        let others = others.into_iter().take(OFFERS);
        let others = others.map(|listed| AdvertTerms::listed(listed, wanted)).collect();
        Self { block: None, own, others, more }
    }
}

/// Asks the market's network.
async fn network(
    market: &MarketNetwork,
    (environment, payments_network): (&str, &str),
    own: Address,
    wanted: Resources,
) -> Result<Adverts, SurveyError> {
    let client = market.client()?;
    let filter = Filter {
        network: Some(environment.to_owned()),
        payments_network: Some(payments_network.to_owned()),
        cpu: Some(wanted.cpu),
        memory: Some(wanted.memory),
        storage: Some(wanted.storage),
        ..Filter::default()
    };
    let query = filter.query(client.generation()).ok_or(SurveyError::Query)?;
    let seen = client.own(own, own).await?;
    let found = client.find(&query, OFFERS).await?;
    let mine = seen.entities.iter().max_by_key(|entity| entity.expires_at).and_then(|entity| {
        let blocks_left = entity.expires_at.checked_sub(seen.block)?;
        let seconds = blocks_left.saturating_mul(u64::from(market.profile.block_seconds));
        let later = SignedDuration::from_secs(i64::try_from(seconds).ok()?);
        Some(OwnAdvert {
            key: Some(entity.key.to_string()),
            expires_at_block: Some(entity.expires_at),
            blocks_left: Some(blocks_left),
            lapses_at: Timestamp::now().checked_add(later).ok(),
            says: AdvertTerms::of(FoundAdvert::of(entity)?, wanted),
        })
    });
    let others = found.entities.iter().filter(|entity| entity.owner != own).filter_map(FoundAdvert::of);
    Ok(Adverts {
        block: Some(seen.block),
        own: mine,
        others: others.map(|offer| AdvertTerms::of(offer, wanted)).collect(),
        more: found.more,
    })
}

/// Asks the discovery server.
async fn server(url: &str, own: Address, wanted: Resources) -> Result<Adverts, SurveyError> {
    let client = discovery::Client::new(url)?;
    let own = own.to_string();
    let mine = client.get(&own).await?.map(|listed| OwnAdvert::listed(listed.lapses(), listed, wanted));
    let mut others = client.find(&room(wanted)).await?;
    others.retain(|listed| listed.provider_id != own);
    Ok(Adverts::listed(mine, others, wanted))
}

/// Asks a discovery server that shows who is connected.
async fn socket(url: &str, own: Address, wanted: Resources) -> Result<Adverts, SurveyError> {
    let own = own.to_string();
    let all = requestor::find(url, &discovery::Filter::default()).await?;
    let (mine, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(|listed| listed.provider_id == own);
    let mine = mine.into_iter().next().map(|listed| OwnAdvert::listed(None, listed, wanted));
    let filter = room(wanted);
    others.retain(|listed| listed.is_large_enough(&filter));
    Ok(Adverts::listed(mine, others, wanted))
}

/// What has room for `wanted`.
fn room(wanted: Resources) -> discovery::Filter {
    discovery::Filter {
        cpu: Some(wanted.cpu),
        memory: Some(wanted.memory),
        storage: Some(wanted.storage),
        ..discovery::Filter::default()
    }
}

impl MarketView {
    /// What the market's network tells of the advert of `own`, and of those of others in the same environment that are
    /// paid on the same network and have room for `wanted`. `asked` counts where there is no advert.
    pub async fn of_network(
        market: MarketNetwork,
        environment: (&str, &str),
        own: Address,
        wanted: Resources,
        asked: AdvertPrices,
    ) -> Self {
        let adverts = network(&market, environment, own, wanted).await;
        Self::of("golem_base", market.name, adverts, of_month(asked, wanted))
    }

    /// The same of the discovery server at `url`.
    pub async fn of_server(url: String, own: Address, wanted: Resources, asked: AdvertPrices) -> Self {
        let adverts = server(&url, own, wanted).await;
        Self::of("discovery_server", url, adverts, of_month(asked, wanted))
    }

    /// The same of the discovery server at `url` that shows who is connected.
    pub async fn of_socket(url: String, own: Address, wanted: Resources, asked: AdvertPrices) -> Self {
        let adverts = socket(&url, own, wanted).await;
        Self::of("websocket", url, adverts, of_month(asked, wanted))
    }

    fn of(market: &'static str, place: String, adverts: Result<Adverts, SurveyError>, asked: f64) -> Self {
        let (error, Adverts { block, own, others, more }) = match adverts {
            Ok(adverts) => (None, adverts),
            Err(error) => (Some(with_causes(&error)), Adverts::default()),
        };
        let price = own.as_ref().and_then(|own| own.says.usd_month).unwrap_or(asked);
        let usd_month = PriceRank::of(price, &others);
        Self { market, place, error, block, own, others, more, usd_month }
    }
}
