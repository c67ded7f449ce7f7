//! `pricing …`: what the node asks, and what renters will pay.
//!
//! Owns whom to ask for rates, and what is printed. Never decides a price: [`golem_node::pricing`] does.

use anyhow::bail;
use golem_api::views::{PriceExample, PricingView, UnitPrices};
use golem_node::pricing::{PriceList, Quoted, Rates};
use golem_service::log::with_causes;
use golem_types::Resources;
use golem_types::price::Rate;
use golem_types::wire::Exact;
use jiff::Timestamp;
use ruint::aliases::U256;
use serde_json::json;

use super::arguments::Pricing;
use super::layout::table;
use super::{Exit, Invocation, config};
use crate::{payments, pricing};
use golem_types::amount::coins;

/// What is asked now: the node that runs knows, else the feed is asked.
async fn current(invocation: &Invocation) -> anyhow::Result<PriceList> {
    let settings = &invocation.resolved.settings;
    let network = payments::profile(&settings.chain()).ok().flatten();
    let config = pricing::config(&settings.prices, network.as_ref());
    if !config.follow {
        return Ok(PriceList::at(&config, Rates::default()));
    }
    let asked = {
        let _waiting = invocation.printer.waiting("Asking for rates");
        config.feeds()?.ask().await
    };
    let rates = match asked {
        Ok(Quoted { glm, coin, token }) => {
            let rate = |usd| Rate { usd, at: Timestamp::now() };
            Rates { glm: Some(rate(glm)), coin: coin.map(rate), token: token.map(rate) }
        }
        Err(error) => {
            invocation.printer.warning(&with_causes(&error));
            Rates::default()
        }
    };
    Ok(PriceList::at(&config, rates))
}

/// `pricing …`.
pub(super) async fn pricing(invocation: &Invocation, command: Pricing) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    match command {
        Pricing::Show => {
            let shown = if invocation.runs()? {
                invocation.client()?.pricing().await?
            } else {
                PricingView::of(&current(invocation).await?)
            };
            printer.answer(&shown, || show(&shown));
        }
        Pricing::Set { usd_per_core, usd_per_mem, usd_per_disk } => {
            let changes = [
                ("GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH", usd_per_core),
                ("GOLEM_PROVIDER_PRICE_USD_PER_GB_RAM_MONTH", usd_per_mem),
                ("GOLEM_PROVIDER_PRICE_USD_PER_GB_STORAGE_MONTH", usd_per_disk),
            ];
            return config::change(invocation, changes);
        }
        Pricing::Quote { cpu, memory, storage, hours } => {
            let resources = Resources::new(cpu, memory, storage);
            if cpu == 0 || memory == 0 || storage == 0 || hours == 0 {
                bail!("a VM has at least one core, one GB of memory and of storage, for an hour");
            }
            let prices = current(invocation).await?;
            let example = PriceExample::of(&prices, "quote", resources);
            let deposit = example
                .rate_wei_per_second
                .map(|rate| Exact(rate.0.saturating_mul(U256::from(hours)).saturating_mul(U256::from(3600))));
            let answer = json!({
                "resources": resources,
                "hours": hours,
                "usd_month": example.usd_month,
                "glm_month": example.glm_month,
                "rate_wei_per_second": example.rate_wei_per_second.map(|rate| rate.0.to_string()),
                "deposit_wei": deposit.map(|deposit| deposit.0.to_string()),
            });
            printer.answer(&answer, || {
                let unknown = || "unknown: no rate can be had".to_owned();
                [
                    ("A month", format!("{} USD", example.usd_month)),
                    ("In GLM", example.glm_month.clone().unwrap_or_else(unknown)),
                    (
                        "Rate",
                        example.rate_wei_per_second.map_or_else(unknown, |rate| format!("{} wei/s", rate.0)),
                    ),
                    ("Deposit", deposit.map_or_else(unknown, |wei| format!("{} for {hours} h", coins(wei)))),
                ]
                .map(|(name, text)| format!("{name:<9}{text}"))
                .join("\n")
            });
        }
    }
    Ok(Exit::Done)
}

fn show(view: &PricingView) -> String {
    let row = |name: &str, unit: &UnitPrices| {
        [name.to_owned(), unit.per_core.clone(), unit.per_gb_ram.clone(), unit.per_gb_storage.clone()]
    };
    let mut rows = vec![row("USD", &view.usd)];
    rows.extend(view.glm.as_ref().map(|glm| row("GLM", glm)));
    rows.extend(view.streams.as_ref().map(|streams| row("Streams", streams)));
    let mut text = table(["A MONTH", "CORE", "GB OF MEMORY", "GB OF STORAGE"], rows);
    text.push_str(&match (&view.glm_usd, view.rates_at) {
        (Some(rate), Some(at)) => {
            format!("\n\nA GLM is worth {rate} USD, as of {}.", at.strftime("%Y-%m-%d %H:%M:%SZ"))
        }
        _ => "\n\nNo rate of GLM is known.".to_owned(),
    });
    text.push_str("\n\nWhat a VM that is rented for a whole month earns:\n\n");
    let examples = view.examples.iter().map(|example| {
        let Resources { cpu, memory, storage } = example.resources;
        [
            example.size.clone(),
            format!("{cpu} / {memory} GB / {storage} GB"),
            example.usd_month.clone(),
            example.glm_month.clone().unwrap_or_else(|| "-".to_owned()),
            example.rate_wei_per_second.map_or_else(|| "-".to_owned(), |rate| rate.0.to_string()),
        ]
    });
    text.push_str(&table(["SIZE", "CPU / MEMORY / STORAGE", "USD", "GLM", "WEI A SECOND"], examples));
    text
}
