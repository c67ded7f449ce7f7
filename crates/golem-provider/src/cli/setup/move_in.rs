//! The node of an operator who ran from source, taken over by the service.
//!
//! ```text
//!   a node in the home of root, or of who called sudo? ─► shown, asked ─► all else is decided ─► its process ends, VMs run on ─► moved
//! ```
//! Owns where is looked, and what is asked and printed. Never moves a file: [`golem_host::move_in`] does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use golem_host::move_in::{self, Move, MoveInError, Plan};
use golem_host::node::{self, Node, SOCKET};
use golem_host::pid_file::PidFile;
use golem_host::setup::form::Answers;
use golem_host::setup::service;
use jiff::Timestamp;

use super::{Target, questions};
use crate::cli::arguments::Setup;
use crate::cli::{Invocation, stop};
use golem_host::settings;

/// A node that somebody ran, and what moving it would do.
pub(super) struct Moving {
    /// Its settings, which come along; `None` where a move was cut short that has brought them already.
    pub source: Option<Target>,
    pub plan: Plan,
    wanted: Move,
    of_source: Invocation,
}

/// The node of this operator that the service takes over, if the service has none; only tells of it where nothing is to be
/// changed. `None` if there is none, or it is declined. Changes nothing.
pub(super) async fn ask(
    target: &Target,
    typed: &Setup,
    asks: bool,
    invocation: &Invocation,
) -> anyhow::Result<Option<Moving>> {
    let Some(moving) = find(target, invocation).await? else { return Ok(None) };
    let quiet = invocation.printer.json || invocation.printer.quiet;
    let mut form = questions::form(target, Answers::new(), asks, quiet);
    form.tell(&told(&moving.plan));
    if typed.dry_run {
        return Ok(Some(moving));
    }
    moving.plan.linked.iter().try_for_each(|folder| service::check_name(folder))?;
    if moving.of_source.node.running()?.is_none()
        && let Some(pid) = original(&moving.of_source.node.pid_file)
    {
        bail!(
            "the Python provider runs (pid {pid}); fix: stop it as it was started, its VMs run on, then go on here"
        );
    }
    Ok(form.yes_or_no("Move it?", true).await?.then_some(moving))
}

/// Ends the node's process, and moves it. `None` if there was nothing left to do.
pub(super) async fn run(moving: Moving, invocation: &Invocation) -> anyhow::Result<Option<Plan>> {
    let Moving { plan, wanted, of_source, .. } = moving;
    if let Some(running) = of_source.node.running()? {
        stop::end(&of_source, &running, None, false).await?;
    }
    // None is started meanwhile.
    let lock = PidFile::take(&of_source.node.pid_file).await?;
    ensure!(
        node::listening(plan.from.join(SOCKET)).is_none(),
        "a provider runs with {}; fix: stop it",
        plan.from.display()
    );
    let waiting = invocation.printer.waiting("Moving the node");
    let work = move || move_in::run(&wanted, Timestamp::now());
    let plan = tokio::task::spawn_blocking(work).await.context("the move was lost")??;
    drop((waiting, lock));
    let Some(plan) = plan else { return Ok(None) };
    invocation.printer.note(&format!("The node was moved to {}.", plan.to.display()));
    plan.notes.iter().for_each(|note| invocation.printer.warning(note));
    Ok(Some(plan))
}

/// The first node that can be moved: root's, or that of whoever called sudo.
async fn find(target: &Target, invocation: &Invocation) -> anyhow::Result<Option<Moving>> {
    for home in homes(&invocation.environment) {
        // The settings' `HOME` is where it ran.
        let environment = BTreeMap::from([("HOME".to_owned(), home.display().to_string())]);
        let Some(node) = Node::own(&environment) else { continue };
        let (from, to) = (node.data_dir.clone(), target.node.data_dir.clone());
        let wanted = Move { from, to, owner: None, replace: false };
        let look = {
            let wanted = wanted.clone();
            tokio::task::spawn_blocking(move || move_in::look(&wanted, Timestamp::now()))
        };
        match look.await.context("the look was lost")? {
            Ok(Some(plan)) => {
                let directory = PathBuf::from("/");
                let resolved =
                    settings::load_of(Some(&node), BTreeMap::new(), environment.clone(), &directory)?;
                let file = target.file.clone();
                let source = Target { service: true, node, file, environment, directory, resolved };
                let of_source = source.invocation(invocation);
                let has_come = move_in::is_unfinished(&plan.to);
                return Ok(Some(Moving { source: (!has_come).then_some(source), plan, wanted, of_source }));
            }
            Ok(None) => {}
            // It is the operator's, who may want it.
            Err(MoveInError::Occupied(_)) => invocation.printer.note(&format!(
                "There is another node in {}, with a key of its own; it is left alone.",
                node.data_dir.display()
            )),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// The process of the original, which writes its number into the same file and takes no lock.
fn original(pid_file: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    command.contains("golem-provider").then_some(pid)
}

/// Where an operator's own node may be.
fn homes(environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let own = environment.get("HOME").map(PathBuf::from);
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let caller = environment.get("SUDO_USER").and_then(|user| home_of(&users, user));
    let mut homes: Vec<_> = own.into_iter().chain(caller).collect();
    homes.dedup();
    homes
}

/// The home of `user`, as `/etc/passwd`'s text has it.
fn home_of(users: &str, user: &str) -> Option<PathBuf> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(4).map(PathBuf::from)).flatten()
    })
}

fn told(plan: &Plan) -> String {
    let Plan { from, to, kept, aside, linked, .. } = plan;
    let mut lines = vec![
        format!("There is a node in {}. It can become this machine's service:", from.display()),
        format!("  its key, ledger, settings and VMs go to {}; VMs run on", to.display()),
        format!("  a copy of what cannot be made again stays in {}", kept.display()),
    ];
    lines.extend(aside.iter().map(|aside| format!("  what is there now goes to {}", aside.display())));
    lines.extend(linked.iter().map(|folder| format!("  disks stay in {}", folder.display())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_called_sudo_has_a_home() {
        let users = "root:x:0:0:root:/root:/bin/sh\nop:x:1000:1000:Op,,,:/home/op:/bin/bash\nshort:x\n";
        assert_eq!(home_of(users, "op"), Some("/home/op".into()));
        assert_eq!((home_of(users, "o"), home_of(users, "short")), (None, None));
    }

    #[test]
    fn the_original_is_told_from_whoever_got_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("provider.pid");
        assert_eq!(original(&file), None);
        let mut program = std::process::Command::new("python3");
        program.args(["-c", "import sys; sys.stdin.read()", "/venv/bin/golem-provider", "start"]);
        let mut process = program.stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::fs::write(&file, process.id().to_string()).unwrap();
        golem_test_support::wait_until("it is the program", || original(&file) == Some(process.id()));
        drop(process.stdin.take());
        process.wait().unwrap();
        assert_eq!(original(&file), None);
        std::fs::write(&file, "1").unwrap();
        assert_eq!(original(&file), None);
    }
}
