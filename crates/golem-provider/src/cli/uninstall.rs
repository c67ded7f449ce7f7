//! `uninstall`: takes the node off this machine.
//!
//! Owns what is asked before, and what is printed. Never decides what is a node's: `golem_host::uninstall` does.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use golem_host::pid_file::PidFile;
use golem_host::uninstall::{Installation, Trace, UninstallError, copy_key, holds_a_node, key_copies};
use serde::Serialize;

use super::arguments::Uninstall;
use super::confirm::confirmed;
use super::{Exit, Invocation, stop};
use crate::backend;

#[derive(Debug, Default, Serialize)]
struct UninstallReport {
    /// Whether a node ran.
    running: bool,
    found: Vec<Trace>,
    /// Whether what was found was removed; with `keep_data`, what is outside of the data directory.
    removed: bool,
    /// Where keys are now.
    keys: Vec<PathBuf>,
    failed: Vec<Failure>,
    /// In the data directory, and no node's.
    left: Vec<PathBuf>,
}

/// What could not be removed.
#[derive(Debug, Serialize)]
struct Failure {
    what: String,
    error: String,
}

/// `uninstall`.
pub(super) async fn uninstall(invocation: &Invocation, typed: Uninstall) -> anyhow::Result<Exit> {
    let (settings, printer) = (&invocation.resolved.settings, invocation.printer);
    let data_dir = &settings.node.data_dir;
    let holds = holds_a_node(data_dir).with_context(|| format!("{} cannot be read", data_dir.display()))?;
    let backend = match holds {
        true => Some(backend::open(&settings.backend()).context("the VMs on this machine cannot be seen")?),
        false => None,
    };
    let here = Installation {
        data_dir,
        pid_file: &invocation.node.pid_file,
        backend: backend.as_ref(),
        api: settings.api.port.get(),
        ssh: settings.ports.ssh_ports(),
    };
    let held = invocation.node.running()?;
    let mut report =
        UninstallReport { running: held.is_some(), found: here.find().await?, ..Default::default() };
    if report.found.is_empty() && !report.running {
        printer.answer(&report, || {
            format!("Nothing of a provider in {} is on this machine.", data_dir.display())
        });
        return Ok(Exit::Done);
    }
    let copy = match typed.keep_data || typed.dry_run {
        true => None,
        false => Some(copy(invocation, typed.key_file)?),
    };
    let plan = shown(&report, typed.keep_data);
    if typed.dry_run {
        printer.answer(&report, || plan);
        return Ok(Exit::Done);
    }
    if !typed.yes {
        printer.note(&plan);
        let question =
            if typed.keep_data { "Shut all of it down?" } else { "Remove all of it? VMs' disks are lost." };
        if !confirmed(question, "removing needs a yes; fix: look with --dry-run, then add --yes")? {
            printer.answer(&report, || "Nothing was changed.".to_owned());
            return Ok(Exit::Failed);
        }
    }
    if let Some(held) = &held {
        stop::end(invocation, held, None, true).await?;
    }
    // None is started meanwhile.
    let lock = PidFile::take(&invocation.node.pid_file).await?;
    report.found = here.find().await?;
    // Before anything is lost.
    if let Some(copy) = copy {
        for (from, to) in copies(data_dir, &copy)? {
            copy_key(&from, &to)?;
            report.keys.push(to);
        }
    }
    let waiting = printer.waiting("Shutting the VMs down");
    for (id, error) in here.shut_down(&report.found, settings.vms.stop_grace).await {
        report.note(id.as_str(), Err(error));
    }
    drop(waiting);
    // What a VM leaves outside is seen only now.
    report.found = here.find().await?;
    for trace in report.found.clone() {
        let goes = !typed.keep_data || trace.is_outside();
        if !goes || (trace.is_mark() && !report.failed.is_empty()) {
            continue;
        }
        match here.remove(&trace).await {
            Ok(left) => report.left.extend(left),
            Err(error) => report.note(&trace.describe(), Err(error)),
        }
    }
    drop(lock);
    if !typed.keep_data {
        match here.close() {
            Ok(left) => report.left.extend(left),
            Err(error) => report.note(&data_dir.display().to_string(), Err(error)),
        }
    }
    report.removed = report.failed.is_empty();
    let exit = if report.removed { Exit::Done } else { Exit::Failed };
    printer.answer(&report, || outcome(&report, typed.keep_data));
    Ok(exit)
}

impl UninstallReport {
    /// Notes what became of `what`.
    fn note(&mut self, what: &str, result: Result<(), UninstallError>) {
        if let Err(error) = result {
            self.failed
                .push(Failure { what: what.to_owned(), error: format!("{:#}", anyhow::Error::new(error)) });
        }
    }
}

/// Where the node's key is copied to, by default into the home directory; made sure of while nothing is lost yet.
fn copy(invocation: &Invocation, named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let data_dir = &invocation.resolved.settings.node.data_dir;
    let copy = match named {
        Some(file) => file,
        None => {
            let home = invocation.environment.get("HOME").filter(|home| !home.is_empty());
            let home = home.context("HOME is not set; fix: name the key's copy with --key-file")?;
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            PathBuf::from(home).join(format!("golem-provider-key-{now}.json"))
        }
    };
    let copy = std::path::absolute(copy)?;
    // By their true names: a way through a link or by `..` leads there, too.
    let folder = copy.parent().and_then(|folder| folder.canonicalize().ok()).filter(|folder| folder.is_dir());
    let folder = folder.with_context(|| {
        format!("{} is in no folder that is there; fix: --key-file with another place", copy.display())
    })?;
    let of_node = data_dir.canonicalize().unwrap_or_else(|_| data_dir.clone());
    ensure!(
        !folder.starts_with(of_node),
        "{} is in the data directory, which is removed; fix: --key-file with another place",
        copy.display()
    );
    copies(data_dir, &copy)?;
    Ok(copy)
}

/// The node's keys, and where each is copied to, which is nothing yet.
fn copies(data_dir: &Path, copy: &Path) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let copies = key_copies(data_dir, copy).context("the keys cannot be looked at")?;
    for (_, to) in &copies {
        ensure!(
            std::fs::symlink_metadata(to).is_err(),
            "{} is there already, and no key is copied over a file; fix: --key-file with a file that is not there yet",
            to.display()
        );
    }
    Ok(copies)
}

/// What was found, for people.
fn shown(report: &UninstallReport, keep_data: bool) -> String {
    let mut lines = vec![match keep_data {
        true => "These are shut down, or taken away where they are outside of the data directory:".to_owned(),
        false => "These are on this machine and are removed:".to_owned(),
    }];
    if report.running {
        lines.push("  - the provider that runs".to_owned());
    }
    let found =
        report.found.iter().filter(|trace| !keep_data || trace.is_outside() || matches!(trace, Trace::Vm(_)));
    lines.extend(found.map(|trace| format!("  - {}", trace.describe())));
    lines.join("\n")
}

fn outcome(report: &UninstallReport, keep_data: bool) -> String {
    let mut lines = Vec::new();
    lines.extend(
        report.failed.iter().map(|failure| format!("Not removed: {}: {}", failure.what, failure.error)),
    );
    lines.extend(
        report.keys.iter().map(|key| format!("A key, which owns money, is kept in {}.", key.display())),
    );
    lines.extend(
        report.left.iter().map(|left| format!("Left, because it is no provider's: {}", left.display())),
    );
    lines.push(match (report.removed, keep_data) {
        (false, _) => "The rest is removed. Go on by: golem-provider uninstall".to_owned(),
        (true, true) => "The VMs are shut down; disks, keys and ledger stay.".to_owned(),
        (true, false) => {
            "Removed. The program itself goes by what brought it: `sudo apt purge golem-provider`, \
                          `cargo uninstall golem-provider`, or its file."
                .to_owned()
        }
    });
    lines.join("\n")
}
