//! A control group for each guest: what its processes may use of the host, together.
//!
//! ```text
//!   found out once: scopes of systemd ─► groups of our own ─► none, and why
//!
//!   launch ─► [record] ─► group, bounded ─► QEMU and its helpers run in it ─► no process any more
//!                                                │ adopted: bounded anew        │
//!                                                                              counters read, group and record removed
//! ```
//!
//! Owns the guests' groups, their bounds and `groups.json` in the machine's folder, which names them before
//! they are there. Never touches a group that is not named after the guest, and never ends a guest: where a bound
//! would, it is left out. A host on which guests cannot be bounded still runs them, and says so.

mod bounds;
mod group;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use golem_types::{Resources, VmId};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use super::name::short_hash;
use super::{absent_is_fine, read_json, replace};
use crate::cgroup::{CgroupPlaces, read_text};
use crate::machine::Overhead;

pub(super) use bounds::operations;
use bounds::{CgroupBounds, Disk};
use group::Parents;
use scope::Manager;

/// Where a guest's groups are written down, in the machine's folder.
const FILE: &str = "groups.json";

/// Longest that systemd may take for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Longest that a group may be waited for whose last process was ended.
const EMPTY: Duration = Duration::from_secs(5);

/// Shell words by which a guest's process is the first that the host ends for want of memory, before the node and
/// before what else the host runs.
pub(super) const FIRST_TO_GO: &str = "{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null";

/// Joins the groups that stand before the rest of the words, and becomes the rest. A group that cannot be
/// joined keeps nobody from running: the node looks afterwards.
const JOIN: &str = "n=$1; shift
while [ \"$n\" -gt 0 ]; do echo 0 >\"$1/cgroup.procs\" || :; shift; n=$((n - 1)); done
exec \"$@\"";

/// How guests are bounded on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Scopes(Manager),
    Groups(Parents),
    None,
}

/// How guests are bounded on this host, and what of it is missing.
#[derive(Debug)]
struct Found {
    way: Way,
    /// What guests are not bounded by, and what to do; `None` if all is well.
    problem: Option<String>,
}

/// `groups.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    groups: Vec<PathBuf>,
}

/// The guests' control groups.
#[derive(Debug)]
pub(super) struct Groups {
    /// Whether the node is root.
    root: bool,
    /// Most bytes that a guest may read from its disks in a second, and write.
    disk_rate: Option<u64>,
    found: OnceCell<Found>,
    /// Guests that are being launched: their groups are empty, and stay.
    launching: Mutex<BTreeSet<VmId>>,
    /// Guests that were bounded since this node was started.
    bounded: Mutex<BTreeSet<VmId>>,
    /// Guests whose process the host ended for want of memory, until that is told.
    for_memory: Mutex<BTreeSet<VmId>>,
    /// How many processes the host had ended for want of memory when the guest was last seen alive.
    ended_before: Mutex<BTreeMap<VmId, u64>>,
}

/// A guest that is being launched.
pub(super) struct Launching<'a> {
    groups: &'a Groups,
    id: &'a VmId,
    /// Words that run what follows in the guest's group.
    pub(super) words: Vec<String>,
}

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        lock(&self.groups.launching).remove(self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the guest's groups are called.
fn name_of(id: &VmId) -> String {
    format!("{}{}", group::PREFIX, short_hash(id))
}

/// Runs `words` with nothing to read.
///
/// # Errors
/// That they cannot be run, or what they said when they failed.
async fn run(words: &[String]) -> io::Result<()> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    let output = timeout(ANSWER, command.output()).await.map_err(late)??;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

impl Groups {
    pub(super) fn new(root: bool, disk_rate: Option<u64>) -> Self {
        Self {
            root,
            disk_rate,
            found: OnceCell::new(),
            launching: Mutex::default(),
            bounded: Mutex::default(),
            for_memory: Mutex::default(),
            ended_before: Mutex::default(),
        }
    }

    /// How guests are bounded here; found out once, by trying.
    async fn found(&self) -> &Found {
        self.found.get_or_init(|| self.find()).await
    }

    async fn find(&self) -> Found {
        let found = self.look_around().await;
        match (&found.way, &found.problem) {
            (_, Some(problem)) => tracing::warn!("{problem}"),
            (Way::Scopes(manager), None) => tracing::info!("guests are bounded by {}", manager.as_text()),
            (_, None) => tracing::info!("guests are bounded by control groups"),
        }
        found
    }

    async fn look_around(&self) -> Found {
        let fix = if self.root {
            "mount cgroup v2 at /sys/fs/cgroup (in a container: writable)"
        } else {
            "run the node as root, or in a systemd of your own (loginctl enable-linger; systemctl --user)"
        };
        let unbounded = |why: &dyn std::fmt::Display| Found {
            way: Way::None,
            problem: Some(format!(
                "no control groups: nothing bounds what a guest's process takes of this machine ({why}); fix: {fix}"
            )),
        };
        let places = match CgroupPlaces::of_this_process() {
            Ok(places) => places,
            Err(error) => return unbounded(&error),
        };
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR");
        let mut refused = None;
        if let Some(manager) = Manager::find(self.root, &places, runtime_dir) {
            let bounds =
                CgroupBounds::of(Resources::new(1, 1, 1), Overhead::default(), Path::new("/proc"), None);
            let name = format!("{}try-{}", group::PREFIX, std::process::id());
            let mut words = manager.run(&name, &bounds, Path::new("/"));
            words.push("true".to_owned());
            match run(&words).await {
                Ok(()) => return Found { way: Way::Scopes(manager), problem: None },
                Err(error) => refused = Some(error),
            }
        }
        let own_service = Path::new("/run/systemd/system").is_dir();
        match group::parents(&places, std::process::id(), !own_service) {
            Ok(parents) => {
                parents.folders.iter().for_each(|folder| group::sweep(folder));
                let missing = parents.missing();
                let problem = (!missing.is_empty()).then(|| {
                    format!(
                        "guests are not bounded by control groups of {}: this machine has none for it here",
                        missing.join(", ")
                    )
                });
                Found { way: Way::Groups(parents), problem }
            }
            Err(error) => unbounded(&refused.unwrap_or(error)),
        }
    }

    /// What guests are not bounded by here, and what to do.
    pub(super) async fn problem(&self) -> Option<String> {
        self.found().await.problem.clone()
    }

    fn bounds(&self, resources: Resources, overhead: Overhead, folder: &Path) -> CgroupBounds {
        let disk = self.disk_rate.map(|rate| Disk::of(folder, rate));
        CgroupBounds::of(resources, overhead, folder, disk)
    }

    /// Prepares the group of a guest that is about to be launched. What is left of an earlier launch is
    /// removed first.
    ///
    /// # Errors
    /// When the record cannot be kept. That a group cannot be had is none.
    pub(super) async fn launch<'a>(
        &'a self,
        id: &'a VmId,
        folder: &Path,
        resources: Resources,
        overhead: Overhead,
    ) -> io::Result<Launching<'a>> {
        self.remove(id, folder).await?;
        let bounds = self.bounds(resources, overhead, folder);
        let name = name_of(id);
        lock(&self.launching).insert(id.clone());
        let mut launching = Launching { groups: self, id, words: Vec::new() };
        match &self.found().await.way {
            Way::None => {}
            Way::Scopes(manager) => launching.words = manager.run(&name, &bounds, folder),
            Way::Groups(parents) => {
                let groups: Vec<PathBuf> = parents.folders.iter().map(|parent| parent.join(&name)).collect();
                keep(folder, groups.clone())?;
                let made = tokio::task::spawn_blocking(move || {
                    groups.into_iter().filter(|group| make(group, &bounds)).collect::<Vec<_>>()
                });
                launching.words = join(&made.await.map_err(io::Error::other)?);
            }
        }
        Ok(launching)
    }

    /// Writes down in which groups the guest of the process `qemu` is, and says so where it is in none.
    pub(super) async fn launched(&self, id: &VmId, folder: &Path, qemu: Pid) -> io::Result<()> {
        if self.found().await.way == Way::None {
            return Ok(());
        }
        let groups = groups_of(&name_of(id), qemu)?;
        if groups.is_empty() {
            golem_service::log_limited_each!(
                id,
                error,
                vm = id.redacted(),
                "the guest is in no control group: nothing bounds what it takes"
            );
        } else {
            keep(folder, groups)?;
        }
        lock(&self.bounded).insert(id.clone());
        self.count(id)
    }

    /// Sees to the groups of a guest that lives: bounds it, if this node did not yet. One of a version that knew
    /// no groups gets one.
    ///
    /// # Errors
    /// That its groups cannot be seen, or not be had; which says nothing about the guest.
    pub(super) async fn alive(
        &self,
        id: &VmId,
        folder: &Path,
        qemu: Pid,
        overhead: Overhead,
    ) -> io::Result<()> {
        if lock(&self.launching).contains(id) {
            return Ok(());
        }
        self.count(id)?;
        if !lock(&self.bounded).insert(id.clone()) {
            return Ok(());
        }
        let record: super::Record = read_json(&folder.join(super::RECORD_FILE))?;
        let bounds = self.bounds(record.resources, overhead, folder);
        let name = name_of(id);
        let mut groups = groups_of(&name_of(id), qemu)?;
        match &self.found().await.way {
            Way::None => return Ok(()),
            Way::Scopes(manager) => {
                if groups.iter().any(|group| is_scope(group)) {
                    // Above what is used a bound would end the guest.
                    if let Err(error) = run(&manager.set(&name, &bounds, folder)).await {
                        tracing::warn!(
                            vm = id.redacted(),
                            error = &error as &dyn std::error::Error,
                            "the guest's bounds were not renewed"
                        );
                    }
                    return keep(folder, groups);
                }
                tracing::warn!(
                    vm = id.redacted(),
                    "the guest was launched without a control group, and gets one when it is started again"
                );
                return Ok(());
            }
            Way::Groups(parents) => {
                if groups.is_empty() {
                    groups = parents.folders.iter().map(|parent| parent.join(&name)).collect();
                    keep(folder, groups.clone())?;
                }
            }
        }
        let bounding = tokio::task::spawn_blocking(move || {
            for group in &groups {
                if make(group, &bounds) && !group::processes(group).contains(&qemu) {
                    group::join(group, qemu)?;
                }
            }
            Ok(())
        });
        bounding.await.map_err(io::Error::other)?
    }

    /// Notes how many processes the host has ended for want of memory so far.
    fn count(&self, id: &VmId) -> io::Result<()> {
        lock(&self.ended_before).insert(id.clone(), ended_by_the_host()?);
        Ok(())
    }

    /// Whether the host ended the guest's process for want of memory; told once.
    pub(super) fn was_ended_for_memory(&self, id: &VmId) -> bool {
        lock(&self.for_memory).remove(id)
    }

    /// Removes the groups of a guest that has no process any more, and ends what else is in them. One that is
    /// being launched keeps its own.
    ///
    /// # Errors
    /// As long as something is in them.
    pub(super) fn ended(&self, id: &VmId, folder: &Path) -> io::Result<()> {
        if lock(&self.launching).contains(id) || !folder.join(FILE).exists() {
            return Ok(());
        }
        lock(&self.bounded).remove(id);
        let record: Record = read_json(&folder.join(FILE)).unwrap_or_default();
        let name = name_of(id);
        let groups: Vec<_> = record.groups.iter().filter(|group| group::is_of(group, &name)).collect();
        let told = groups.iter().filter_map(|group| group::ended_for_memory(group)).max();
        let before = lock(&self.ended_before).remove(id);
        let is_for_memory = match (told, before) {
            (Some(count), _) => count > 0,
            // systemd has removed the group; then another process may have been the one.
            (None, Some(before)) => ended_by_the_host()? > before,
            (None, None) => false,
        };
        if is_for_memory && lock(&self.for_memory).insert(id.clone()) {
            golem_service::log_limited_each!(
                id,
                error,
                vm = id.redacted(),
                "the guest's process was ended by the host for want of memory: it needed more than its bound, or the \
                 host had none left"
            );
        }
        for group in groups {
            group::end_all(group);
            if !is_scope(group) {
                // Not, as long as something is in it.
                absent_is_fine(std::fs::remove_dir(group))?;
            } else if !group::processes(group).is_empty() {
                // systemd removes it, once nothing is in it.
                return Err(io::ErrorKind::ResourceBusy.into());
            }
        }
        absent_is_fine(std::fs::remove_file(folder.join(FILE)))
    }

    /// As [`Groups::ended`], and waits until it is done.
    ///
    /// # Errors
    /// When a group is not empty in time.
    pub(super) async fn remove(&self, id: &VmId, folder: &Path) -> io::Result<()> {
        let removed = async {
            loop {
                match self.ended(id, folder) {
                    Ok(()) => return,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        if timeout(EMPTY, removed).await.is_err() {
            return self.ended(id, folder);
        }
        Ok(())
    }
}

/// Words that run what follows in the groups of `qemu`, whose machine has the hash `hash`.
pub(super) fn beside(hash: &str, qemu: Pid) -> Vec<String> {
    join(&groups_of(&format!("{}{hash}", group::PREFIX), qemu).unwrap_or_default())
}

/// Whether systemd made `group`, and removes it.
fn is_scope(group: &Path) -> bool {
    group.extension().is_some_and(|word| word == "scope")
}

/// Makes `group` and bounds it; false where there is none.
fn make(group: &Path, bounds: &CgroupBounds) -> bool {
    if let Err(error) = group::make(group) {
        golem_service::log_limited_each!(group, error,
            group = %group.display(),
            error = &error as &dyn std::error::Error,
            "a guest's control group cannot be made: it does not bound the guest"
        );
        return false;
    }
    for (file, error) in group::bound(group, bounds) {
        golem_service::log_limited_each!((group, file), warn,
            group = %group.display(),
            file,
            error = &error as &dyn std::error::Error,
            "a guest is not bounded by this"
        );
    }
    true
}

/// Words that run what follows in `groups`.
fn join(groups: &[PathBuf]) -> Vec<String> {
    if groups.is_empty() {
        return Vec::new();
    }
    let mut words: Vec<String> = ["sh", "-c", JOIN, "sh"].map(str::to_owned).to_vec();
    words.push(groups.len().to_string());
    words.extend(groups.iter().map(|group| group.to_string_lossy().into_owned()));
    words
}

/// The groups called `name` that the process `qemu` is in.
fn groups_of(name: &str, qemu: Pid) -> io::Result<Vec<PathBuf>> {
    let places = CgroupPlaces::read(Path::new(&format!("/proc/{}", qemu.as_raw_nonzero())))?;
    let own: BTreeSet<_> = places.v1.into_values().chain(places.v2).map(|place| place.own).collect();
    Ok(own.into_iter().filter(|group| group::is_of(group, name)).collect())
}

fn keep(folder: &Path, groups: Vec<PathBuf>) -> io::Result<()> {
    let text = serde_json::to_vec(&Record { groups }).map_err(io::Error::other)?;
    replace(&folder.join(FILE), &text)
}

/// How many processes the host has ended for want of memory since it was started.
fn ended_by_the_host() -> io::Result<u64> {
    let text = read_text(Path::new("/proc/vmstat"))?.unwrap_or_default();
    Ok(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
