//! `reload`: new settings for the node that runs, and what came of them.
//!
//! ```text
//!   would it take them? ── no ──► told, exit 1; nothing is asked of it
//!        │ yes
//!        ▼
//!   SIGHUP ─► a summary of a later start ─► what is different from the one before ─► told
//!        └──► the log says "not reloaded", or it ended, or it takes too long ─► told, exit 1
//! ```
//! Owns the wait. Never starts the node anew: that does it by itself.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::FromArgMatches;
use golem_api::operator::{Client, OperatorError};
use golem_api::views::{PricingView, Summary};
use golem_host::process::Process;
use golem_host::settings;
use golem_service::log_file::LogReader;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::arguments::Arguments;
use super::{Exit, Invocation, help, logs, stop};
use crate::reload::NOT_RELOADED;

/// Longest that a node may take to end and start: a slow router undoes its mappings in 45 s.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often it is looked whether it runs anew.
const LOOK: Duration = Duration::from_millis(100);

/// What a node tells of its settings, by its place in the summary.
const TOLD: [(&str, &str); 16] = [
    ("/summary/version", "Version"),
    ("/summary/name", "Name"),
    ("/summary/environment", "Environment"),
    ("/summary/network", "Market"),
    ("/summary/backend/name", "VM backend"),
    ("/summary/max_vms", "VMs at most"),
    ("/summary/total/cpu", "Cores"),
    ("/summary/total/memory", "Memory, GB"),
    ("/summary/total/storage", "Storage, GB"),
    ("/summary/ports/start", "SSH ports from"),
    ("/summary/ports/end", "SSH ports until"),
    ("/summary/payments/network", "Payments"),
    ("/summary/https/endpoint", "https"),
    ("/usd/per_core", "USD a core"),
    ("/usd/per_gb_ram", "USD a GB of memory"),
    ("/usd/per_gb_storage", "USD a GB of storage"),
];

/// `reload`.
pub(super) async fn reload(invocation: &Invocation) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let Some(held) = invocation.node.running()? else { return Err(invocation.not_running().into()) };
    let pid = held.pid.context("the PID file holds no process id; fix: find golem-provider with ps")?;
    ensure!(
        !Process(pid).is_on_terminal(),
        "the provider runs in a terminal, where this would end it; fix: end it there with Ctrl-C, and start it again"
    );
    let client = invocation.client()?;
    let before = told(&client).await?;
    would_be_taken(Process(pid))
        .map_err(|error| anyhow!("not reloaded, the provider goes on as it is: {error:#}"))?;
    let mut log = logs::folder(invocation).and_then(|folder| Ok(LogReader::open(&folder, 0)?.0)).ok();
    stop::signal(Some(pid), rustix::process::Signal::HUP)?;
    let waiting = printer.waiting("The provider starts anew");
    let after = anew(&client, &before, log.as_mut()).await?;
    drop(waiting);
    let changed = changes(&before, &after);
    let document: Map<String, Value> =
        changed.iter().map(|(name, both)| ((*name).to_owned(), json!(both))).collect();
    printer.done(&json!({ "reloaded": true, "pid": pid, "changed": document }), || {
        let lines = changed.iter().map(|(name, [before, after])| format!("\n  {name:<20}{before} → {after}"));
        let lines: String = lines.collect();
        match &*lines {
            "" => "The provider has read its settings; what it tells of them is as before.".to_owned(),
            lines => format!("The provider has read its settings:{lines}"),
        }
    });
    Ok(Exit::Done)
}

/// What the node that runs tells of itself.
async fn told(client: &Client) -> Result<Value, OperatorError> {
    let summary: Summary = client.summary().await?;
    let pricing: Option<PricingView> = client.pricing().await.ok();
    Ok(json!({ "summary": summary, "usd": pricing.map(|pricing| pricing.usd) }))
}

/// Whether `process` would find its settings good, as it would read them.
///
/// # Errors
/// What is wrong with them.
fn would_be_taken(process: Process) -> anyhow::Result<()> {
    // Another user's says so itself, if it may be signalled at all.
    let (Ok(environment), Ok(directory)) = (process.environment(), process.directory()) else {
        return Ok(());
    };
    let typed = process.arguments().context("the provider has ended")?;
    let flags = help::command()
        .try_get_matches_from(typed)
        .and_then(|typed| Arguments::from_arg_matches(&typed))
        .map(|typed| typed.command.flags())
        .unwrap_or_default();
    settings::load(flags, environment, &directory)?;
    Ok(())
}

/// What the node tells once it runs anew.
async fn anew(client: &Client, before: &Value, mut log: Option<&mut LogReader>) -> anyhow::Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        sleep(LOOK).await;
        let new = log.as_mut().and_then(|log| log.more().ok()).unwrap_or_default();
        if let Some((_, why)) = String::from_utf8_lossy(&new).split_once(NOT_RELOADED) {
            bail!("not reloaded, the provider goes on as it is: {}", why.lines().next().unwrap_or_default());
        }
        match told(client).await {
            Ok(now) if now["summary"]["started_at"] != before["summary"]["started_at"] => return Ok(now),
            Err(OperatorError::Ended) => {
                bail!("the provider ended while it started anew; fix: `golem-provider logs` tells why")
            }
            _ => {}
        }
        ensure!(
            Instant::now() < end,
            "the provider has not started anew within {} s; fix: `golem-provider logs` tells what it does",
            PATIENCE.as_secs()
        );
    }
}

/// What is different, by what people call it.
fn changes(before: &Value, after: &Value) -> Vec<(&'static str, [String; 2])> {
    let at = |told: &Value, place: &str| match told.pointer(place) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let both = TOLD.iter().map(|(place, name)| (*name, [at(before, place), at(after, place)]));
    both.filter(|(_, [before, after])| before != after).collect()
}
