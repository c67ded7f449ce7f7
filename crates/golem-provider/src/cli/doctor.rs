//! `doctor`: everything that a node needs, looked at.
//!
//! Owns what is looked at side by side, and what is printed. Never judges and never repairs: `golem_api::status` and
//! `golem_host::doctor` do.

use std::path::Path;
use std::time::Duration;

use golem_api::status::{Seen, Status, StatusSettings, examine, judge};
use golem_host::doctor::bundle;
use golem_host::doctor::check::worst;
use golem_host::doctor::repair::{self, Repair};
use golem_host::doctor::{Redactor, Row, State, machine, text};
use golem_types::Resources;
use jiff::Timestamp;
use serde::Serialize;

use super::arguments::Doctor;
use super::{Exit, Invocation, market, status};
use crate::{backend, payments};

/// Longest that a market is waited for.
const MARKETS: Duration = Duration::from_secs(10);

/// The VM that prices are compared for, as `market` has it: cores, GiB of memory and of storage.
const SIZE: Resources = Resources::new(2, 4, 20);

#[derive(Serialize)]
struct DoctorReport {
    /// The worst of the rows.
    state: State,
    rows: Vec<Row>,
    /// What was repaired by this command.
    repaired: Vec<Repair>,
    bundle: Option<String>,
}

/// `doctor`.
pub(super) async fn doctor(invocation: &Invocation, typed: &Doctor) -> anyhow::Result<Exit> {
    let (node, printer) = (&invocation.node, invocation.printer);
    if typed.undo {
        let undone = repair::undo(node)?;
        printer.answer(&undone, || text::undone(&undone));
        return Ok(Exit::Done);
    }
    // Before anything else: whatever looks at the node's files may close them to others.
    let repaired = if typed.fix { repair::fix(node, Timestamp::now()).await? } else { Vec::new() };
    let (rows, status) = look(invocation).await?;
    let state = worst(&rows);
    let bundle = match &typed.bundle {
        Some(path) => {
            write_bundle(invocation, path, &rows, &status).await?;
            Some(path.display().to_string())
        }
        None => None,
    };
    let report = DoctorReport { state, rows, repaired, bundle };
    printer.answer(&report, || text::rows(&report.rows, &report.repaired, report.bundle.as_deref()));
    Ok(if state == State::Broken { Exit::Failed } else { Exit::Done })
}

/// Looks at everything, side by side.
async fn look(invocation: &Invocation) -> anyhow::Result<(Vec<Row>, Status)> {
    let (node, settings) = (&invocation.node, &invocation.resolved.settings);
    let mut rows = vec![machine::data_directory(node)];
    rows.extend(machine::leftovers(node));
    rows.extend(machine::disks(&node.data_dir));
    rows.extend(machine::settings(&invocation.resolved));
    let vms = settings.backend();
    let path = std::env::var("PATH").unwrap_or_default();
    rows.push(machine::prerequisites(&backend::missing(&vms), &path));
    let _waiting = invocation.printer.waiting("Looking at everything");
    let urls = dated(invocation);
    let (clock, facts, markets, without_kvm, network_problem) = tokio::join!(
        machine::clock(&urls),
        status::facts(invocation),
        market::survey(settings, SIZE, MARKETS),
        backend::without_kvm(&vms),
        backend::network_problem(&vms),
    );
    rows.push(clock);
    let status = judge(&StatusSettings::of(node, settings), facts?);
    let seen = Seen { status: &status, markets: &markets, without_kvm, network_problem };
    rows.extend(examine(&seen, Timestamp::now()));
    rows.sort_by_key(|row| row.check);
    Ok((rows, status))
}

/// Servers that the node asks anyway, each of which tells the time.
fn dated(invocation: &Invocation) -> Vec<String> {
    let settings = &invocation.resolved.settings;
    let profile = payments::profile(&settings.chain()).ok().flatten();
    let chain = profile.map(|profile| profile.rpc_url).unwrap_or_default();
    let chain = chain.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
    let check = (!settings.ports.skip_port_verification).then_some(&settings.ports.port_check_servers.0);
    let prices = settings.prices.pricing_update_enabled.then_some(&settings.prices.coingecko_api_url.0);
    chain.chain(check.into_iter().chain(prices).flatten().cloned()).collect()
}

async fn write_bundle(
    invocation: &Invocation,
    path: &Path,
    rows: &[Row],
    status: &Status,
) -> anyhow::Result<()> {
    let (node, resolved) = (&invocation.node, &invocation.resolved);
    let seen = bundle::Seen {
        rows: serde_json::to_value(rows)?,
        status: serde_json::to_value(status)?,
        program_version: env!("CARGO_PKG_VERSION"),
        settings: bundle::settings(resolved),
        log: bundle::log(node).await,
    };
    let redactor = Redactor::of(node, resolved, &invocation.environment, &invocation.directory);
    bundle::write(path, &seen, &redactor, Timestamp::now())?;
    Ok(())
}
