//! `stop`: ends the node, and returns when it has ended.
//!
//! ```text
//!   ask the operator API ─► gone? done
//!        │ no answer             └ not in time ─► SIGTERM twice: the second ends it at once
//!        └──────────────► SIGTERM ─► gone? …
//! ```
//! VMs run on, unless the node was told to stop them.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{Exit, Invocation};
use golem_api::operator::Client;
use golem_host::node::Running;

/// How often it is looked whether the node has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a node may take for all but its VMs: mapped ports alone, on a slow router, take 45 s.
const BESIDES: Duration = Duration::from_secs(60);

/// How long a node may take to answer, and to end at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// `stop`, with `patience` until the node is ended at once: by default as long as it may need.
pub(super) async fn stop(
    invocation: &Invocation,
    patience: Option<Duration>,
    withdraw_advert: bool,
) -> anyhow::Result<Exit> {
    let Some(held) = invocation.node.running()? else {
        invocation.printer.done(&json!({ "stopped": false, "running": false }), || {
            "The provider is not running; nothing to stop.".to_owned()
        });
        return Ok(Exit::Done);
    };
    let pid = held.pid;
    end(invocation, &held, patience, withdraw_advert).await?;
    invocation.printer.done(&json!({ "stopped": true, "running": false, "pid": pid }), || {
        "The provider has stopped.".to_owned()
    });
    Ok(Exit::Done)
}

/// Ends the node that holds the PID file as `held`, with `patience` until it is ended at once.
pub(super) async fn end(
    invocation: &Invocation,
    held: &Running,
    patience: Option<Duration>,
    withdraw_advert: bool,
) -> anyhow::Result<()> {
    let pid = held.pid;
    let settings = &invocation.resolved.settings;
    let patience = patience.unwrap_or(settings.vms.stop_grace.saturating_add(BESIDES));
    if withdraw_advert {
        let _waiting = invocation.printer.waiting("Taking the node off its markets");
        if let Err(error) = remove_adverts(invocation).await {
            invocation.printer.warning(&format!("{error:#}; adverts lapse by themselves"));
        }
    }
    let asked = match Client::open(invocation.node.clone(), settings.operator.operator_port.get()) {
        // It only says that it was heard.
        Ok(client) => match timeout(AT_ONCE, client.shutdown()).await {
            Ok(asked) => asked.map_err(anyhow::Error::from),
            Err(_) => Err(anyhow!("no answer within {} s", AT_ONCE.as_secs())),
        },
        Err(error) => Err(error.into()),
    };
    if let Err(error) = asked {
        tracing::warn!("the operator API does not answer ({error:#}); sending a signal instead");
        signal(pid, Signal::TERM)?;
    }
    let waiting = invocation.printer.waiting("Waiting for the provider to stop");
    let in_time = gone(held, patience).await?;
    drop(waiting);
    if !in_time {
        invocation.printer.note("The provider takes long to stop; ending it at once. Its VMs run on.");
        signal(pid, Signal::TERM)?;
        signal(pid, Signal::TERM)?;
        if !gone(held, AT_ONCE).await? {
            let pid = pid.map_or_else(|| "its pid".to_owned(), |pid| pid.to_string());
            bail!(
                "the provider does not end; fix: kill -9 {pid}, its VMs run on and are taken back at the next start"
            );
        }
    }
    Ok(())
}

async fn remove_adverts(invocation: &Invocation) -> anyhow::Result<()> {
    invocation.client()?.remove_adverts().await?;
    Ok(())
}

/// Sends `signal` to the process `pid`; one that has ended meanwhile is fine.
pub(super) fn signal(pid: Option<u32>, signal: Signal) -> anyhow::Result<()> {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pid = pid.context("the PID file holds no process id; fix: find golem-provider with ps and end it")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("process {} cannot be signalled", pid.as_raw_nonzero()))
        }
    }
}

/// Waits until the node has ended, at most for `patience`.
async fn gone(node: &Running, patience: Duration) -> anyhow::Result<bool> {
    let deadline = Instant::now() + patience;
    while node.still().context("the PID file cannot be watched")? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(true)
}
