//! Feeds of rates: servers that speak the API of CoinGecko.
//!
//! Owns how they are asked, bounded and untrusted: the next when one fails. Never judges a rate: [`super::rate`] does.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use golem_service::http::{self, HttpError, Options};
use golem_service::log::with_causes;
use golem_types::Decimal;
use serde_json::value::RawValue;

/// Longest that a feed may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer of a feed.
const ANSWER_BYTES: usize = 64 << 10;

/// Why no rate can be had.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// No client can be made.
    #[error(transparent)]
    Client(#[from] HttpError),
    /// No feed gave one: why, one after the other.
    #[error("no feed gives a rate ({0})")]
    NoRate(String),
}

/// Why an address is none.
type UrlError = <http::Url as FromStr>::Err;

/// Why one feed gave no rate.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Url(UrlError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("it answers with HTTP status {0}")]
    Status(u16),
    #[error("its answer makes no sense")]
    Answer(#[source] serde_json::Error),
    #[error("it knows no rate of GLM")]
    Unknown,
}

/// Feeds of rates.
pub struct Feeds {
    http: http::Client,
    urls: Vec<String>,
    glm_ids: Vec<String>,
    coin_id: Option<String>,
    token_id: Option<String>,
}

/// What a feed says that coins are worth, in US dollars.
#[derive(Debug, Clone, Copy)]
pub struct Quoted {
    /// A GLM.
    pub glm: Decimal,
    /// A coin of the chain's own money.
    pub coin: Option<Decimal>,
    /// A coin of the streams' token.
    pub token: Option<Decimal>,
}

type Coins = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

impl Feeds {
    /// The feeds at `urls`, which call a GLM by one of `glm_ids`, the chain's own money `coin_id` and the streams'
    /// token `token_id`, where these have a price.
    ///
    /// # Errors
    /// [`FeedError::Client`].
    pub fn new(
        urls: Vec<String>,
        glm_ids: Vec<String>,
        coin_id: Option<String>,
        token_id: Option<String>,
    ) -> Result<Self, FeedError> {
        let http = http::Client::new(Options::within(DEADLINE))?;
        Ok(Self { http, urls, glm_ids, coin_id, token_id })
    }

    /// US dollars for each coin, from the first feed that knows GLM.
    ///
    /// # Errors
    /// [`FeedError::NoRate`].
    pub async fn ask(&self) -> Result<Quoted, FeedError> {
        let mut problems = Vec::new();
        for url in &self.urls {
            match self.ask_one(url).await {
                Ok(rates) => return Ok(rates),
                Err(error) => problems.push(format!("{url}: {}", with_causes(&error))),
            }
        }
        Err(FeedError::NoRate(problems.join("; ")))
    }

    async fn ask_one(&self, url: &str) -> Result<Quoted, Failure> {
        let url = format!("{}/simple/price", url.trim_end_matches('/'));
        let ids: Vec<&str> =
            self.glm_ids.iter().chain(&self.coin_id).chain(&self.token_id).map(String::as_str).collect();
        let ids = ids.join(",");
        let url = http::Url::parse_with_params(&url, [("ids", ids.as_str()), ("vs_currencies", "usd")])
            .map_err(Failure::Url)?;
        let answer = self.http.get(url.as_str()).send(ANSWER_BYTES).await?;
        if !answer.status.is_success() {
            return Err(Failure::Status(answer.status.as_u16()));
        }
        let coins: Coins = answer.json().map_err(Failure::Answer)?;
        // The digits themselves: a float would round them.
        let rate = |id: &str| coins.get(id)?.get("usd")?.get().parse::<Decimal>().ok();
        let glm = self.glm_ids.iter().find_map(|id| rate(id)).ok_or(Failure::Unknown)?;
        let of = |id: &Option<String>| id.as_deref().and_then(rate);
        Ok(Quoted { glm, coin: of(&self.coin_id), token: of(&self.token_id) })
    }
}
