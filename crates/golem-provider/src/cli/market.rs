//! `market`: the node's advert as the network tells it, and what others ask.
//!
//! Asks the network itself, so that it works whether or not the node runs, and shows what renters
//! see and not what the node believes.

use anyhow::Context;
use golem_chain::golem_base::market::{Filter, cheaper_percent, month};
use golem_chain::golem_base::{Offer, Prices};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::arguments::Market as Wanted;
use super::printer::table;
use super::{Exit, Invocation};
use crate::identity::Identity;
use crate::market::{Asked, Market};

/// Most adverts of others that are looked at.
const OFFERS: usize = 500;

/// Most of them that people are shown.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct Answer {
    network: String,
    block: u64,
    own: Option<Own>,
    /// Those whose adverts could be the same renter's choice.
    others: Vec<Other>,
    /// Whether there are more than were looked at.
    more: bool,
    usd_month: Place,
}

/// The node's own advert.
#[derive(Serialize)]
struct Own {
    key: String,
    expires_at_block: u64,
    blocks_left: u64,
    lapses_at: Timestamp,
    #[serde(flatten)]
    says: Other,
}

/// What an advert offers.
#[derive(Serialize)]
struct Other {
    provider_id: String,
    name: String,
    country: String,
    platform: String,
    cpu: u64,
    memory: u64,
    storage: u64,
    usd_month: Option<f64>,
    glm_month: Option<f64>,
}

/// Where the node's price stands among those of others.
#[derive(Serialize)]
struct Place {
    own: f64,
    others: usize,
    lowest: Option<f64>,
    median: Option<f64>,
    cheaper_percent: Option<u8>,
}

impl Other {
    fn of(offer: Offer, wanted: &Wanted) -> Self {
        let of_month = |prices: Prices| month(prices, wanted.cpu, wanted.memory, wanted.storage);
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
}

impl Place {
    fn of(own: f64, others: &[Other]) -> Self {
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

/// `market`.
pub(super) async fn market(invocation: &Invocation, wanted: &Wanted) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let identity = Identity::load(&settings.data_dir, settings.private_key.as_ref())?;
    let market = Market::of(settings)?;
    let client = market.client()?;
    let filter = Filter {
        network: Some(settings.network.as_str().to_owned()),
        payments_network: Some(settings.payments_network.clone()),
        cpu: Some(wanted.cpu),
        memory: Some(wanted.memory),
        storage: Some(wanted.storage),
        ..Filter::default()
    };
    let query = filter
        .query(client.generation())
        .context("the name of the payments network cannot stand in a query")?;
    let address = identity.wallet().address();
    let (own, found) = {
        let _waiting = invocation.printer.waiting(format!("Asking {}", market.name));
        let own = client.own(address, address).await;
        let own = own.with_context(|| format!("the market network {} cannot be asked", market.name))?;
        let found = client.find(&query, OFFERS).await;
        (own, found.with_context(|| format!("the market network {} cannot be asked", market.name))?)
    };
    let mine = own.entities.iter().max_by_key(|entity| entity.expires_at).and_then(|entity| {
        let blocks_left = entity.expires_at.checked_sub(own.block)?;
        let seconds = blocks_left.saturating_mul(u64::from(market.profile.block_seconds));
        let later = SignedDuration::from_secs(i64::try_from(seconds).ok()?);
        Some(Own {
            key: entity.key.to_string(),
            expires_at_block: entity.expires_at,
            blocks_left,
            lapses_at: Timestamp::now().checked_add(later).ok()?,
            says: Other::of(Offer::of(entity)?, wanted),
        })
    });
    let others: Vec<Other> = found
        .entities
        .iter()
        .filter(|entity| entity.owner != address)
        .filter_map(Offer::of)
        .map(|offer| Other::of(offer, wanted))
        .collect();
    let asked = month(Asked::given(settings).usd, wanted.cpu, wanted.memory, wanted.storage);
    let price = mine.as_ref().and_then(|own| own.says.usd_month).unwrap_or(asked);
    let answer = Answer {
        network: market.name,
        block: own.block,
        own: mine,
        usd_month: Place::of(price, &others),
        others,
        more: found.more,
    };
    invocation.printer.answer(&answer, || text(&answer, wanted));
    Ok(Exit::Done)
}

/// The answer for people.
fn text(answer: &Answer, wanted: &Wanted) -> String {
    let mut lines = vec![format!("Network    {} at block {}", answer.network, answer.block)];
    lines.extend(match &answer.own {
        None => vec!["Advert     ❌ renters do not find this node".to_owned()],
        Some(own) => vec![
            format!("Advert     ✅ {}", own.key),
            format!(
                "  offers   {} cores, {} GiB of memory, {} GiB of storage",
                own.says.cpu, own.says.memory, own.says.storage
            ),
            format!(
                "  lapses   about {}, in {} blocks, unless the node renews it",
                own.lapses_at.strftime("%F %R UTC"),
                own.blocks_left
            ),
        ],
    });
    let place = &answer.usd_month;
    lines.push(format!(
        "Others     {}{} offer {} cores, {} GiB of memory and {} GiB of storage",
        answer.others.len(),
        if answer.more { " or more" } else { "" },
        wanted.cpu,
        wanted.memory,
        wanted.storage
    ));
    let mut price = format!("A month    {:.2} USD here", place.own);
    if let (Some(lowest), Some(median), Some(cheaper)) = (place.lowest, place.median, place.cheaper_percent) {
        price +=
            &format!("; lowest {lowest:.2}, median {median:.2}; {cheaper} % of {} ask less", place.others);
    }
    lines.push(price);
    if !answer.others.is_empty() {
        let mut cheapest: Vec<&Other> = answer.others.iter().collect();
        let price = |other: &Other| other.usd_month.unwrap_or(f64::MAX);
        cheapest.sort_by(|one, other| price(one).total_cmp(&price(other)));
        let rows = cheapest.into_iter().take(SHOWN).map(|other| {
            [
                other.name.clone(),
                other.country.clone(),
                other.platform.clone(),
                other.usd_month.map_or_else(|| "?".to_owned(), |price| format!("{price:.2}")),
                other.glm_month.map_or_else(|| "?".to_owned(), |price| format!("{price:.2}")),
            ]
        });
        lines.push(String::new());
        lines.push(table(["NAME", "COUNTRY", "PLATFORM", "USD", "GLM"], rows));
    }
    lines.join("\n")
}
