//! Renting in words.
//!
//! Owns the lines that people read. Never asks anybody.

use golem_chain::Funds;
use golem_chain::network::PaymentNetwork;
use golem_rent::balance::{Balances, NetworkBalance};
use golem_rent::view::RentalView;
use golem_rent::{Destroyed, Listing, Offer};
use golem_types::Decimal;
use golem_types::wire::Exact;

use crate::cli::layout::table;
use golem_types::amount::{coins, span};

/// `lines` of a name and a text, the texts below each other.
pub(super) fn lines(lines: Vec<(&str, String)>) -> String {
    lines.into_iter().map(|(name, text)| format!("{name:<10}{text}")).collect::<Vec<_>>().join("\n")
}

fn price(price: Option<f64>) -> String {
    price.map_or_else(|| "?".to_owned(), |price| format!("{price:.2}"))
}

pub(super) fn providers(found: &[Listing]) -> String {
    if found.is_empty() {
        return "No provider has room for that.".to_owned();
    }
    let rows = found.iter().map(|found| {
        [
            found.name.clone(),
            found.country.clone(),
            found.platform.clone(),
            found.cpu.to_string(),
            format!("{} GB", found.memory),
            format!("{} GB", found.storage),
            price(found.usd_month),
            price(found.glm_month),
            found.ip_address.clone(),
            found.provider_id.clone(),
        ]
    });
    table(
        [
            "NAME",
            "COUNTRY",
            "PLATFORM",
            "CPU",
            "MEMORY",
            "STORAGE",
            "USD/MONTH",
            "GLM/MONTH",
            "ADDRESS",
            "PROVIDER",
        ],
        rows,
    )
}

pub(super) fn offer(offer: &Offer, decimals: u8) -> String {
    let size = offer.resources;
    let mut all = vec![
        ("Provider", offer.provider_id.to_string()),
        ("For", format!("{} CPU, {} GB of memory, {} GB of storage", size.cpu, size.memory, size.storage)),
    ];
    match &offer.paying {
        None => all.push(("A month", "free".to_owned())),
        Some(paying) => {
            let usd =
                offer.usd_per_month.as_ref().map(|usd| format!(", about {usd} USD")).unwrap_or_default();
            let price = paying.price_for_people(decimals);
            let hour = paying.price(3600, decimals);
            all.push(("An hour", format!("{hour} {}", paying.symbol)));
            all.push(("A month", format!("{price} {}{usd}", paying.symbol)));
            all.push(("Rate", format!("{} wei/s", paying.rate)));
            all.push((
                "Paid on",
                format!(
                    "chain {}, contract {} of version {}",
                    paying.place.chain_id,
                    paying.place.contract,
                    paying.version()
                ),
            ));
            let until = i64::try_from(paying.expires_at).ok();
            let until = until.and_then(|second| jiff::Timestamp::from_second(second).ok());
            let until =
                until.map_or_else(|| "for ever".to_owned(), |until| until.strftime("%F %T UTC").to_string());
            all.push(("Until", format!("{until}, signed by the provider")));
        }
    }
    lines(all)
}

pub(super) fn created(created: &RentalView) -> String {
    let ssh = created.ssh.as_ref().map(|ssh| ssh.command.as_str()).unwrap_or_default();
    format!(
        "{0} runs. Log in:\n\n  golem-provider rent ssh {0}\n\nor, without this program:\n\n  {ssh}",
        created.name
    )
}

pub(super) fn list(all: &[RentalView]) -> String {
    if all.is_empty() {
        return "You rent nothing.".to_owned();
    }
    let rows = all.iter().map(|shown| {
        let dash = || "-".to_owned();
        [
            shown.name.clone(),
            shown.status.clone(),
            shown.ssh.as_ref().map_or_else(dash, |ssh| format!("{}:{}", ssh.host, ssh.port)),
            shown.resources.cpu.to_string(),
            format!("{} GB", shown.resources.memory),
            format!("{} GB", shown.resources.storage),
            match &shown.payment {
                None => "free".to_owned(),
                Some(paid) => paid.stream_id.map_or_else(dash, |id| id.0.to_string()),
            },
            shown.problem.clone().unwrap_or_default(),
        ]
    });
    table(["NAME", "STATE", "SSH", "CPU", "MEMORY", "STORAGE", "STREAM", "PROBLEM"], rows)
}

pub(super) fn show(shown: &RentalView) -> String {
    let size = shown.resources;
    let mut all = vec![
        ("Name", shown.name.clone()),
        ("State", shown.status.clone()),
        ("Size", format!("{} CPU, {} GB of memory, {} GB of storage", size.cpu, size.memory, size.storage)),
        ("Provider", format!("{} at {}", shown.provider_id, shown.provider_url)),
    ];
    if let Some(id) = &shown.vm_id {
        all.push(("Id", id.to_string()));
    }
    if let Some(ssh) = &shown.ssh {
        all.push(("SSH", ssh.command.clone()));
    }
    match &shown.payment {
        None => all.push(("Price", "free".to_owned())),
        Some(paid) => {
            let gas = coins(paid.gas_wei);
            let coins = |wei: Exact| format!("{} {}", Decimal::from_units(wei.0, paid.decimals), paid.symbol);
            let stream = paid.stream_id.map_or_else(|| "none yet".to_owned(), |id| id.0.to_string());
            all.push((
                "Stream",
                format!("{stream} on {}, {} wei/s", paid.network, paid.rate_wei_per_second.0),
            ));
            all.push((
                "Paid in",
                format!("{}, and {gas} of the chain's own money for gas", coins(paid.deposit_wei)),
            ));
            if let Some(hash) = &paid.pending {
                all.push(("Pending", format!("transaction {hash}")));
            }
            match &paid.stream {
                Some(stream) if stream.ended => all.push(("Left", "the stream has ended".to_owned())),
                Some(stream) => all.push((
                    "Left",
                    format!(
                        "{}; {} are the provider's, {} would come back",
                        span(stream.remaining_seconds),
                        coins(stream.vested_wei),
                        coins(stream.refundable_wei)
                    ),
                )),
                None => {}
            }
        }
    }
    if let Some(problem) = &shown.problem {
        all.push(("Problem", problem.clone()));
    }
    lines(all)
}

pub(super) fn ended(ended: &Destroyed) -> String {
    format!("{} is destroyed: {}.", ended.name, ended.summary())
}

pub(super) fn wallet(
    address: &str,
    key_file: &str,
    network: Option<&PaymentNetwork>,
    funds: Result<Funds, String>,
) -> String {
    let mut all = vec![("Address", address.to_owned()), ("Key", key_file.to_owned())];
    if let Some(profile) = network {
        let has = match funds {
            Err(problem) => format!("unknown on {}: {problem}", profile.name),
            Ok(funds) if profile.token.is_zero() => {
                format!("{} {} on {}", coins(Exact(funds.native)), profile.network.symbol, profile.name)
            }
            Ok(funds) => format!(
                "{} {}, and {} {} for gas, on {}",
                coins(Exact(funds.token)),
                profile.network.token_symbol,
                coins(Exact(funds.native)),
                profile.network.symbol,
                profile.name
            ),
        };
        all.push(("Has", has));
    }
    lines(all)
}

/// What the wallet has on each network, and where more comes from.
pub(super) fn balances(all: &Balances) -> String {
    let mut parts = vec![format!("Address   {}", all.address)];
    for balance in &all.networks {
        let NetworkBalance { network, chain_id, rpc_url, symbol, gas_symbol, coins_from, .. } = balance;
        let coins = |wei: Option<Exact>, decimals| {
            wei.map_or_else(|| "?".to_owned(), |wei| Decimal::from_units(wei.0, decimals).to_string())
        };
        let mut has = format!("{} {symbol}", coins(balance.balance_wei, balance.decimals));
        if symbol != gas_symbol {
            has += &format!(", and {} {gas_symbol} for gas", coins(balance.gas_wei, 18));
        }
        if let Some(error) = &balance.error {
            has = format!("not known: {error}");
        }
        parts.push(format!(
            "{network}\n  Has       {has}\n  Network   chain id {chain_id}, RPC {rpc_url}\n  Coins     {coins_from}"
        ));
    }
    parts.join("\n\n")
}
