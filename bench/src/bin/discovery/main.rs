//! `cargo xtask bench discovery`: 10,000 providers and 2,000 renters who look on, at our server by WebSocket; beside
//! them the published server, which keeps as many adverts and is asked again and again by as many renters.
//!
//! Told are memory and processor time of the servers, how long renters wait for a list, and how long until all of them
//! know of one change. Servers and their clients share the machine. What the published server cannot do within its
//! time is told by how far it came.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

mod published;
mod sockets;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bench::figures::{Table, Targets};

/// Providers that are connected, or whose adverts are kept.
const PROVIDERS: usize = 10_000;

/// Renters who look on, or ask again and again.
const RENTERS: usize = 2000;

/// Changes whose way to all renters is measured.
const CHANGES: usize = 20;

/// Longest that either side may take.
const LIMIT: Duration = Duration::from_secs(400);

/// What was measured of a server.
struct Measured {
    adverts: usize,
    /// Seconds until all adverts were there.
    arrival: f64,
    /// Bytes, with all adverts and with all renters.
    memory: f64,
    /// Seconds for one list of all adverts.
    list: f64,
    /// Seconds until every renter knows of a change, and in words.
    change_seconds: f64,
    change: String,
    /// Processor seconds of the server for one change, told to all.
    change_cpu: f64,
}

impl Measured {
    fn row(&self, server: &str) -> Vec<String> {
        vec![
            server.to_owned(),
            self.adverts.to_string(),
            format!("{:.1}", self.arrival),
            format!("{:.1}", self.memory / 1e6),
            format!("{:.3}", self.list),
            self.change.clone(),
            format!("{:.3}", self.change_cpu),
        ]
    }
}

fn main() -> ExitCode {
    match compare() {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What `measuring` gives, if it does so in time.
async fn bounded(
    what: &str,
    measuring: impl Future<Output = anyhow::Result<Measured>>,
) -> anyhow::Result<Measured> {
    let measured = tokio::time::timeout(LIMIT, measuring).await;
    measured.with_context(|| format!("{what} took longer than {LIMIT:?}"))?
}

fn compare() -> anyhow::Result<ExitCode> {
    golem_service::descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ours = runtime.block_on(bounded("our server", sockets::measure()))?;
    let published = runtime.block_on(bounded("the published server", published::measure()));
    let mut table = Table::new(&[
        "server",
        "adverts",
        "arrived within, s",
        "memory, MB",
        "one list, s",
        "a change is known to all, s",
        "CPU for that, s",
    ]);
    table.row(ours.row("ours, WebSocket"));
    match &published {
        Ok(published) => table.row(published.row("golem-vm-discovery 0.1.25, polled")),
        Err(error) => bench::say(&format!("the published server was not measured: {error:#}")),
    }
    let mut targets = Targets::default();
    let memory = ours.memory / 1e6;
    targets.add("ours, with all providers and renters: ≤ 500 MB", format!("{memory:.1} MB"), memory <= 500.0);
    let change = ours.change_seconds;
    targets.add("ours, a change is known to all within 1 s", format!("{change:.3} s"), change <= 1.0);
    println!("\n{PROVIDERS} providers, {RENTERS} renters.\n\n{table}\n{targets}");
    Ok(if targets.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(4) })
}
