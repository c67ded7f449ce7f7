//! `market`: the node's advert as the market tells it, and what others ask.
//!
//! Owns which markets are asked, and what is printed. Works whether or not the node runs. Never compares:
//! [`golem_market::survey`] does.

use std::time::Duration;

use futures_util::future::join_all;
use golem_market::survey::{AdvertTerms, MarketView};
use golem_types::Resources;
use serde::Serialize;
use tokio::time::timeout;

use super::arguments::Market as MarketArguments;
use super::layout::table;
use super::{Exit, Invocation};
use crate::identity;
use crate::market;
use golem_host::settings::{Advertiser, Settings};

/// Most adverts of others that people are shown.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct MarketsView {
    markets: Vec<MarketView>,
}

/// An advert and where it is.
#[derive(Serialize)]
struct MarketRow<'a> {
    place: &'a str,
    /// Whether it is this node's.
    own: bool,
    #[serde(flatten)]
    says: &'a AdvertTerms,
}

impl<'a> MarketRow<'a> {
    /// This node's first.
    fn of(market: &'a MarketView) -> impl Iterator<Item = Self> {
        let own = market.own.iter().map(|own| (true, &own.says));
        let others = market.others.iter().map(|other| (false, other));
        own.chain(others).map(|(own, says)| Self { place: &market.place, own, says })
    }
}

/// `market`.
pub(super) async fn market(invocation: &Invocation, wanted: &MarketArguments) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let own = identity::address_of_node(&settings.node)?.unwrap_or_default();
    let survey = market::survey(settings, own)?;
    let size = Resources::new(wanted.cpu, wanted.memory, wanted.storage);
    let mut markets = Vec::new();
    for place in &survey.places {
        let _waiting = invocation.printer.waiting(format!("Asking {}", place.name()));
        markets.push(survey.look(place, size).await);
    }
    let failed = markets.iter().any(|seen| seen.error.is_some());
    let answer = MarketsView { markets };
    let rows: Vec<_> = answer.markets.iter().flat_map(MarketRow::of).collect();
    let columns = "provider_id,name,country,platform,cpu,memory,storage,usd_month,glm_month,place,own";
    invocation.printer.list(&answer, &rows, columns, || {
        let texts: Vec<String> = answer.markets.iter().map(|seen| text(seen, wanted)).collect();
        texts.join("\n\n")
    });
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// What the markets in which the node is to offer itself tell of VMs of `size` within `deadline`. None where there is none, or its
/// profile cannot be read; all of them are asked at once, and one that is silent hides none that answers.
pub(super) async fn survey(settings: &Settings, size: Resources, deadline: Duration) -> Vec<MarketView> {
    let markets = settings.marketplace();
    let all = [Advertiser::Arkiv, Advertiser::Http, Advertiser::WebSocket];
    if !all.into_iter().any(|market| markets.advertises_in(market)) {
        return Vec::new();
    }
    let own = identity::address_of_node(&settings.node).ok().flatten().unwrap_or_default();
    let Ok(survey) = market::survey(settings, own) else { return Vec::new() };
    let asked = survey.places.iter().map(|place| timeout(deadline, survey.look(place, size)));
    join_all(asked).await.into_iter().filter_map(Result::ok).collect()
}

/// The answer for people.
fn text(seen: &MarketView, wanted: &MarketArguments) -> String {
    let block = seen.block.map_or_else(String::new, |block| format!(" at block {block}"));
    let mut lines = vec![format!("Market     {}{block}", seen.place)];
    if let Some(error) = &seen.error {
        lines.push(format!("           ❌ it cannot be asked: {error}"));
        return lines.join("\n");
    }
    match &seen.own {
        None => lines.push("Advert     ❌ renters do not find this node".to_owned()),
        Some(own) => {
            let key = own.key.as_deref().unwrap_or("renters find this node");
            lines.push(format!("Advert     ✅ {key}"));
            lines.push(format!(
                "  offers   {} cores, {} GiB of memory, {} GiB of storage",
                own.says.cpu, own.says.memory, own.says.storage
            ));
            let lapses = own.lapses_at.map(|at| at.strftime("%F %R UTC").to_string());
            let blocks = own.blocks_left.map_or_else(String::new, |blocks| format!(", in {blocks} blocks"));
            lines
                .extend(lapses.map(|at| format!("  lapses   about {at}{blocks}, unless the node renews it")));
        }
    }
    let place = &seen.usd_month;
    lines.push(format!(
        "Others     {}{} offer {} cores, {} GiB of memory and {} GiB of storage",
        seen.others.len(),
        if seen.more { " or more" } else { "" },
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
    if !seen.others.is_empty() {
        let mut cheapest: Vec<&AdvertTerms> = seen.others.iter().collect();
        let price = |other: &AdvertTerms| other.usd_month.unwrap_or(f64::MAX);
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
