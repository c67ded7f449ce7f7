//! `start`: in this terminal, or in the background.
//!
//! Owns what is done before the node starts where somebody can see it. Never starts a part of it: [`crate::start`] does.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use golem_chain::keystore::Passphrase;
use serde_json::json;

use super::{Exit, Invocation, arguments, status};
use crate::logs::{self, Destination};
use crate::passphrase::{Asking, Passphrases};
use crate::reload::Reload;
use crate::signals::{NotedSignals, hold_back};
use crate::start::{self, Ended, Start};
use crate::{backend, daemon, identity, image};
use golem_host::data_dir;
use golem_host::pid_file::PidFileError;
use golem_host::{
    backup,
    handover::{self, HandedOver},
    move_in,
};

/// `start`.
pub(super) fn start(invocation: &Invocation, typed: &arguments::Start) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let handed_over = handover::take().context("what the program before handed over cannot be taken")?;
    if typed.detached {
        daemon::leave_session()?;
    }
    let folder = settings.node.data_dir.join("logs");
    let destination =
        if typed.detached { Destination::Folder(folder.clone()) } else { Destination::Terminal };
    logs::begin(settings.logs.log_format, settings.logs.log_level, destination)
        .with_context(|| format!("logs cannot be written to {}", folder.display()))?;
    let data_dir = &settings.node.data_dir;
    ensure!(
        !backup::is_unfinished(data_dir),
        "a restore of {} was cut short; fix: run `golem-provider restore` with the same file again",
        data_dir.display()
    );
    ensure!(
        !move_in::is_unfinished(data_dir),
        "moving {} to the service's place was cut short; fix: run `golem-provider setup` again",
        data_dir.display()
    );
    // After the log begins: it tells what was open to others.
    data_dir::make(&settings.node.data_dir)
        .with_context(|| format!("the data directory {} cannot be used", settings.node.data_dir.display()))?;
    for warning in &invocation.resolved.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = || runtime().context("the asynchronous runtime cannot be started");
    if typed.daemon {
        return runtime()?.block_on(background(invocation, typed, folder));
    }
    // Before there are threads, which would keep signals that wait waiting for good.
    let noted = NotedSignals::begin().context("signals cannot be noted")?;
    let runtime = runtime()?;
    let reload = Reload::new(settings.node.environment, typed.flags(), invocation.environment.clone())?;
    let done = runtime.block_on(start::run(Start {
        settings: settings.clone(),
        pid_file: invocation.node.pid_file.clone(),
        detached: typed.detached,
        reload: reload.clone(),
        handed_over,
        noted: noted.clone(),
        judged_by: golem_api::status::StatusSettings::of(&invocation.node, settings),
        place: invocation.settings_place(),
    }));
    // Whoever stopped twice does not want to wait for what still runs.
    runtime.shutdown_background();
    if let (Err(error), true) = (&done, typed.detached) {
        tracing::error!("{error:#}");
    }
    match done? {
        Ended::Stopped => Ok(Exit::Done),
        Ended::Reload(files) => {
            hold_back().context("signals cannot be held back")?;
            let error = reload.start_anew(&HandedOver { is_stop: noted.is_stop(), ..files });
            // Standard error may be nobody's.
            tracing::error!("the node is gone: {error:#}");
            Err(error)
        }
    }
}

/// Starts the node in the background. What takes long and has something to show, the download of
/// the image, happens before, here.
async fn background(
    invocation: &Invocation,
    typed: &arguments::Start,
    logs: PathBuf,
) -> anyhow::Result<Exit> {
    if let Some(held) = invocation.node.running()? {
        return Err(PidFileError::Running(held.pid).into());
    }
    // Before a download: whatever is missing is told at once.
    invocation.resolved.settings.chain().check_money()?;
    let vms = invocation.resolved.settings.backend();
    backend::check(&vms).await.context("the VM backend cannot be used")?;
    image::ensure(&vms).await?;
    let passphrase = passphrase(invocation)?;
    let arguments = typed.for_background();
    let waiting = invocation.printer.waiting("Starting the provider");
    let started = tokio::task::spawn_blocking(move || daemon::spawn(arguments, passphrase.as_ref()))
        .await
        .context("the background process was lost")?;
    drop(waiting);
    let started = started?;
    let log = logs.join("provider.log");
    let checklist = status::checklist(invocation).await?;
    let log = log.display().to_string();
    invocation.printer.answer(
        &json!({ "pid": started.pid, "address": started.address, "log": log, "checklist": checklist }),
        || {
            format!(
                "The provider runs in the background (pid {}), listening on {}.\nLog: {log}\nStop it with: golem-provider \
                 stop\n\n{}",
                started.pid, started.address, golem_api::status::checklist_text(&checklist)
            )
        },
    );
    Ok(Exit::Done)
}

/// The passphrase of the key, if it has to be typed: a process in the background has no terminal. A wrong one is told here.
fn passphrase(invocation: &Invocation) -> anyhow::Result<Option<Passphrase>> {
    let settings = &invocation.resolved.settings.node;
    if settings.private_key.is_some() || !identity::keys_of_node(settings).is_encrypted()? {
        return Ok(None);
    }
    let passphrases = Passphrases::of_node(settings, Asking::Terminal);
    identity::of_node(settings, &passphrases)?;
    Ok(passphrases.typed())
}
