//! How a setup ends: the node answers, then has what it gets by itself, then a checklist tells how it is.
//!
//! Owns how long each is waited for, and what is shown meanwhile. Never judges: [`golem_api::status`] does.

use std::time::Duration;

use anyhow::bail;
use golem_api::status::{Awaited, awaited};
use golem_host::move_in::Plan;
use golem_host::setup::service;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Decision, Target};
use crate::cli::{Exit, Invocation, status};
use crate::logs;

/// Longest that the service may take until it answers: its first start compares nothing and fetches nothing, but may wait for a
/// chain.
const READY: Duration = Duration::from_secs(120);

/// Longest that is waited for what the node gets by itself: an authority of certificates, or a chain, may take a minute each.
const REST: Duration = Duration::from_secs(180);

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);

/// Waits until the service's node answers.
pub(super) async fn wait_until_ready(invocation: &Invocation) -> anyhow::Result<()> {
    let waiting = invocation.printer.waiting("Starting the service");
    let begun = Instant::now();
    loop {
        if let Ok(client) = invocation.client()
            && client.summary().await.is_ok()
        {
            return Ok(());
        }
        let why = service::failure().await?;
        if let Some(why) = why.or_else(|| (begun.elapsed() > READY).then(|| "it does not answer".to_owned()))
        {
            bail!("the service did not start ({why}); fix: `journalctl -u golem-provider -n 20` says why");
        }
        waiting.say(format!("Starting the service: {} s", begun.elapsed().as_secs()));
        sleep(LOOK).await;
    }
}

/// Waits until the node that runs has what it gets by itself, stage by stage, until that takes too long or whoever waits
/// interrupts it: it comes all the same then.
pub(super) async fn wait_for_rest(invocation: &Invocation) {
    let left = tokio::select! {
        left = follow(invocation) => left,
        _ = tokio::signal::ctrl_c() => Some("interrupted"),
    };
    if let Some(why) = left {
        let said = format!(
            "Not waited for any longer ({why}); the node goes on by itself, and `status` tells how far it is."
        );
        invocation.printer.note(&said);
    }
}

/// Follows the stages; why one is left for later, if it is.
async fn follow(invocation: &Invocation) -> Option<&'static str> {
    let printer = invocation.printer;
    let client = invocation.client().ok()?;
    let skip = invocation.resolved.settings.ports.skip_port_verification;
    let begun = Instant::now();
    let (mut waiting, mut last, mut is_over) = (None, None::<Awaited>, false);
    loop {
        // One that goes away meanwhile is the checklist's to tell.
        let (summary, ports) = (client.summary().await.ok()?, client.ports().await.ok()?);
        let Some(stage) = awaited(&summary, &ports, skip) else {
            // Between two stages there is a moment in which neither is seen: an advert may need the certificate.
            if last.is_none() || std::mem::replace(&mut is_over, true) {
                return None;
            }
            sleep(LOOK).await;
            continue;
        };
        is_over = false;
        let seconds = begun.elapsed().as_secs();
        if logs::can_redraw() {
            let waiting = waiting.get_or_insert_with(|| printer.waiting(""));
            waiting.say(format!("Waiting until {}: {seconds} s (Ctrl-C goes on)", stage.as_str()));
        } else if last != Some(stage) {
            printer.note(&format!("Waiting until {}.", stage.as_str()));
        }
        last = Some(stage);
        if begun.elapsed() > REST {
            return Some("it takes long");
        }
        sleep(LOOK).await;
    }
}

/// Tells what was done, and whether the node can be rented, found, reached and paid.
pub(super) async fn tell(
    invocation: &Invocation,
    target: &Target,
    decision: &Decision,
    moved: Option<&Plan>,
) -> anyhow::Result<Exit> {
    let running = invocation.node.running()?;
    let checklist = match &running {
        Some(_) => Some(status::checklist(invocation).await?),
        None => None,
    };
    let next = match &running {
        Some(_) if !target.service && !decision.changes.is_empty() => {
            Some("the node that runs takes the changes with: golem-provider reload".to_owned())
        }
        Some(_) => None,
        None => Some(format!("start the node with: {}", target.how_to_start())),
    };
    let is_blocked = checklist.as_ref().is_some_and(golem_api::status::Checklist::is_blocked);
    let answer = json!({
        "file": target.file.display().to_string(), "changes": decision.changes, "written": !decision.changes.is_empty(),
        "reach": decision.reach, "service": target.service, "running": running.is_some(), "next": next,
        "move_in": moved, "checklist": checklist,
    });
    invocation.printer.answer(&answer, || {
        let head = next.map(|next| format!("The node is set up; {next}"));
        let list = checklist.map(|list| golem_api::status::checklist_text(&list));
        head.into_iter().chain(list).collect::<Vec<_>>().join("\n\n")
    });
    Ok(if is_blocked { Exit::Failed } else { Exit::Done })
}
