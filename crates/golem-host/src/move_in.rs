//! A node that moves to the service's place.
//!
//! ```text
//!   one file system:   small files copied beside ─► what is in the way put aside ─► FROM renamed to TO ─► owners
//!   several:           copied and compared beside TO, VMs by a link ─► as above ─► TO ─► small files of FROM put beside, owners
//! ```
//! Owns that the node's data is at one of the two places whenever the process ends, whole, that a second run goes on where the
//! first was cut off, and that of two places never both can be started with the same key. VMs run on: what a guest's process has
//! open goes with the folder, and it names nothing by the whole way. Never looks whether a node runs: its caller holds the lock.

mod copy;

use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use golem_node::import::FILES;
use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, RenameFlags, StatxFlags};
use serde::{Deserialize, Serialize};

use crate::backup;
use crate::crash::crash_point;
use crate::node::{GROUP, group_id};
use crate::place::{Begun, LEDGER_FILES, PID_FILE, begin, beside, give, real, sync};
use crate::settings_file;

/// The file that says that a folder moves, or has moved and not yet to the end.
const MARK: &str = "move-in-unfinished.json";

/// The folder of VMs, whose disks are not copied.
const VMS: &str = "vms";

/// What is copied beside before a rename, with the ledger: what cannot be made again.
const SMALL: [&str; 5] = ["keys", "networks", "markets", "certificates", ".env"];

/// What makes a folder a node's.
const MARKS: [&str; 2] = ["keys/provider_key.json", "provider.db"];

/// Free bytes that a copy leaves.
const MARGIN: u64 = 64 << 20;

/// Why a node does not move.
#[derive(Debug, thiserror::Error)]
pub enum MoveInError {
    /// Another node is there.
    #[error("{} has a node's data already; fix: decide which of the two keys goes on, and move the other folder away", .0.display())]
    Occupied(PathBuf),
    /// A restore was cut short.
    #[error("a restore of {} was cut short; fix: run `golem-provider restore` with the same file again", .0.display())]
    Restoring(PathBuf),
    /// A file system is mounted there.
    #[error("{} is where a file system is mounted, which cannot be put aside; fix: unmount it, or use a folder in it", .0.display())]
    MountPoint(PathBuf),
    /// There is not enough room.
    #[error("{} has no room for {bytes} bytes; fix: free some", .path.display())]
    Room {
        /// Where.
        path: PathBuf,
        /// What is needed, in bytes.
        bytes: u64,
    },
    /// A copy is not what was copied.
    #[error("{} changed while it was copied; fix: stop what writes to it, and try again", .0.display())]
    Changed(PathBuf),
    /// Another process moves it.
    #[error("another move is under way; fix: wait for its end")]
    Busy,
    /// What stands where it is worked is not its own.
    #[error("{} is not of a move that was cut short; fix: look at it, then move it away", .0.display())]
    Stranger(PathBuf),
    /// A file or folder cannot be read, written or renamed.
    #[error("{} cannot be moved", .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is to be moved, and whereto.
#[derive(Debug, Clone)]
pub struct Move {
    /// The data directory as it is.
    pub from: PathBuf,
    /// The data directory that it becomes.
    pub to: PathBuf,
    /// User and group whose it becomes; `None`: those of the folder that is there, or as a package has them.
    pub owner: Option<(u32, u32)>,
    /// Whether a node's data that is at `to` is put aside: the two have different keys.
    pub replace: bool,
}

/// What a move would do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Where the data is before.
    pub from: PathBuf,
    /// Where it is then.
    pub to: PathBuf,
    /// Where the old place's small files are kept.
    pub kept: PathBuf,
    /// Where what was at `to` is kept; `None` if there was nothing.
    pub aside: Option<PathBuf>,
    /// Whether all of it is renamed, and nothing copied.
    pub renamed: bool,
    /// Bytes that are copied.
    pub copied: u64,
    /// Folders that stay where they are and are linked; the service has to be let into them.
    pub linked: Vec<PathBuf>,
    /// What there is to say.
    pub notes: Vec<String>,
}

/// What is written down for whoever goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mark {
    from: PathBuf,
    kept: PathBuf,
    aside: PathBuf,
    /// User whose it was, user and group whose it becomes.
    owner: (u32, u32, u32),
    /// Whether files were copied, and those at the old place go beside it.
    copied: bool,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> MoveInError {
    let path = path.to_owned();
    move |source| MoveInError::Io { path: path.clone(), source }
}

fn is_node(folder: &Path) -> bool {
    MARKS.iter().any(|mark| folder.join(mark).exists())
}

/// Within which a folder can be renamed: a device has several mounts where it is bound to another place. The second is 0 for
/// kernels before 5.8, which do not tell.
type Mounted = (u64, u64);

/// On what the folder `path` is; `None` if it is not there.
fn mounted(path: &Path) -> Option<Mounted> {
    let device = std::fs::metadata(path).ok()?.dev();
    let seen = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID);
    Some((device, seen.map_or(0, |seen| seen.stx_mnt_id)))
}

/// On what the nearest folder on the way to `path` is that is there.
fn mounted_outer(path: &Path) -> Option<Mounted> {
    path.ancestors().skip(1).find_map(mounted)
}

/// Whether `data_dir` moves, or has moved and not yet to the end: another process may be about to start at the other place.
#[must_use]
pub fn is_unfinished(data_dir: &Path) -> bool {
    data_dir.join(MARK).exists()
}

/// What moving would do; `None` if there is nothing to move, or to bring to its end. Writes nothing.
///
/// # Errors
/// [`MoveInError`].
pub fn look(wanted: &Move, now: Timestamp) -> Result<Option<Plan>, MoveInError> {
    let from = real(&wanted.from).map_err(failed(&wanted.from))?;
    let to = real(&wanted.to).map_err(failed(&wanted.to))?;
    if let Some(mark) = mark(&to)? {
        return Ok(Some(plan_of(&mark, &to)));
    }
    if from == to || !is_node(&from) {
        return Ok(None);
    }
    if backup::is_unfinished(&from) {
        return Err(MoveInError::Restoring(from));
    }
    if is_node(&to) && !wanted.replace {
        return Err(MoveInError::Occupied(to));
    }
    let (own, outer, there) = (mounted(&from), mounted_outer(&from), mounted_outer(&to));
    if mounted(&to).is_some_and(|folder| Some(folder) != there) {
        return Err(MoveInError::MountPoint(to));
    }
    let renamed = own == outer && own == there;
    let vms = from.join(VMS);
    let linked = if renamed || !vms.exists() { Vec::new() } else { vec![real(&vms).map_err(failed(&vms))?] };
    let everything = |name: &str| !renamed && name != VMS;
    let small = |name: &str| renamed && is_small(name);
    let copied = copy::size(&from, &|name| everything(name) || small(name)).map_err(failed(&from))?;
    let place = if renamed { &from } else { &to };
    let volume = place.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let bytes = copied.saturating_add(MARGIN);
    if golem_files::volume_trouble(volume, bytes).is_some() {
        return Err(MoveInError::Room { path: volume.to_owned(), bytes });
    }
    let mut notes = notes(&from, &wanted.from);
    for folder in &linked {
        let folder = folder.display();
        notes.push(format!(
            "VMs stay on their file system in {folder}, and run on; the service has to be let in: `ReadWritePaths={folder}`, \
             below /home and /root `BindPaths={folder}`"
        ));
    }
    // Of a move that was cut short before anything was renamed.
    let begun = mark(&from)?;
    let date = now.strftime("%Y%m%dT%H%M%SZ");
    let is_there = std::fs::read_dir(&to).is_ok_and(|mut entries| entries.next().is_some());
    Ok(Some(Plan {
        kept: begun.map_or_else(|| beside(&from, "", &format!("-before-service-{date}")), |mark| mark.kept),
        aside: is_there.then(|| beside(&to, "", &format!("-before-move-in-{date}"))),
        renamed,
        copied,
        linked,
        notes,
        from,
        to,
    }))
}

/// What there is to say of the settings in `from`, which somebody calls `called`.
fn notes(from: &Path, called: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    let file = from.join(".env");
    let text = settings_file::read(&file).ok().flatten().unwrap_or_default();
    for assignment in settings_file::parse(&text).0 {
        let named = Path::new(&assignment.value);
        if named.starts_with(from) || named.starts_with(called) || named.starts_with("~") {
            notes.push(format!(
                "{} in line {} of .env names a place below the old one: change it",
                assignment.name, assignment.line
            ));
        }
    }
    let vms = from.join(VMS);
    if vms.exists() && !vms.is_symlink() && mounted(&vms) != mounted(from) {
        notes.push(format!(
            "a file system is mounted at {}: have it mounted at the new place from the next boot on",
            vms.display()
        ));
    }
    notes
}

fn is_small(name: &str) -> bool {
    SMALL.contains(&name) || LEDGER_FILES.contains(&name)
}

fn plan_of(mark: &Mark, to: &Path) -> Plan {
    let linked = std::fs::read_link(to.join(VMS)).ok().into_iter().collect();
    Plan {
        from: mark.from.clone(),
        to: to.to_owned(),
        kept: mark.kept.clone(),
        aside: Some(mark.aside.clone()).filter(|aside| aside.exists()),
        renamed: !mark.copied,
        copied: 0,
        linked,
        notes: vec!["a move that was cut short is brought to its end".to_owned()],
    }
}

fn mark(folder: &Path) -> Result<Option<Mark>, MoveInError> {
    let file = folder.join(MARK);
    match golem_files::read(&file, 1 << 20) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        read => read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)).map(Some).map_err(failed(&file)),
    }
}

fn write_mark(folder: &Path, mark: &Mark) -> Result<(), MoveInError> {
    let file = folder.join(MARK);
    let write = || golem_files::replace(&file, &serde_json::to_vec(mark)?);
    write().map_err(failed(&file))
}

/// Moves the node, as [`look`] says; `None` if there was nothing to do.
///
/// # Errors
/// [`MoveInError`]. What was begun goes on in the next run.
pub fn run(wanted: &Move, now: Timestamp) -> Result<Option<Plan>, MoveInError> {
    let Some(plan) = look(wanted, now)? else { return Ok(None) };
    let Plan { from, to, kept, .. } = &plan;
    if mark(to)?.is_some() {
        finish(to)?;
        return Ok(Some(plan));
    }
    let found = std::fs::metadata(from).map_err(failed(from))?;
    let there = std::fs::metadata(to).map_or_else(|_| of_service(), |there| (there.uid(), there.gid()));
    let begun = mark(from)?;
    // What is at the new place may have been put aside already: then it is known from before whose it was.
    let owner = wanted.owner.or(begun.as_ref().map(|mark| (mark.owner.1, mark.owner.2))).unwrap_or(there);
    let mark = Mark {
        from: from.clone(),
        kept: kept.clone(),
        aside: plan.aside.clone().unwrap_or_else(|| beside(to, "", "-before-move-in")),
        owner: (found.uid(), owner.0, owner.1),
        copied: !plan.renamed,
    };
    if let Some(outer) = to.parent().filter(|outer| !outer.exists()) {
        golem_files::private_folder(outer).map_err(failed(outer))?;
    }
    if plan.renamed {
        if begun.is_none() {
            keep_copies(from, kept)?;
        }
        write_mark(from, &mark)?;
        crash_point!("move-in-kept");
        keep_links(from).map_err(failed(from))?;
        clear(to, &mark.aside)?;
        crash_point!("move-in-aside");
        rename(from, to).inspect_err(|_| as_before(from, to, &mark.aside))?;
    } else {
        let staging = beside(to, ".", ".moving-in");
        let _lock = begun_in(&staging)?;
        write_mark(&staging, &mark)?;
        copy::copy(from, &staging, &|name| !matches!(name, VMS | PID_FILE | MARK))?;
        link_vms(&plan.linked, &staging).map_err(failed(&staging))?;
        sync(&staging).map_err(failed(&staging))?;
        // Known, too, where only this place is left of the two.
        write_mark(from, &mark)?;
        crash_point!("move-in-kept");
        clear(to, &mark.aside)?;
        crash_point!("move-in-aside");
        rename(&staging, to)?;
    }
    crash_point!("move-in-moved");
    finish(to)?;
    Ok(Some(plan))
}

fn begun_in(staging: &Path) -> Result<std::fs::File, MoveInError> {
    begin(staging, MARK).map_err(|error| match error {
        Begun::Busy => MoveInError::Busy,
        Begun::Stranger => MoveInError::Stranger(staging.to_owned()),
        Begun::Io(source) => failed(staging)(source),
    })
}

/// User and group whose the package makes the service's folder.
fn of_service() -> (u32, u32) {
    let group = std::fs::read_to_string("/etc/group").ok().and_then(|text| group_id(&text, GROUP));
    let (user, own) = (rustix::process::geteuid(), rustix::process::getegid());
    (user.as_raw(), group.unwrap_or_else(|| own.as_raw()))
}

/// Has the node start where it was: the kernel renames nothing between the two, whatever was looked at.
fn as_before(from: &Path, to: &Path, aside: &Path) {
    // Another try finds out whose it becomes by what is there; where that cannot be put back, the mark goes on knowing it.
    if !aside.exists() || rename(aside, to).is_ok() {
        let _ = std::fs::remove_file(from.join(MARK));
    }
}

/// Copies what cannot be made again to `kept`, which is whole or not there.
fn keep_copies(from: &Path, kept: &Path) -> Result<(), MoveInError> {
    let staging = beside(from, ".", ".keeping");
    let _lock = begun_in(&staging)?;
    golem_files::replace(&staging.join(MARK), b"{}").map_err(failed(&staging))?;
    copy::copy(from, &staging, &is_small)?;
    keep_originals(from, &staging)?;
    std::fs::remove_file(staging.join(MARK)).map_err(failed(&staging))?;
    sync(&staging).map_err(failed(&staging))?;
    rename(&staging, kept)
}

/// Copies what a Python provider wrote in `from` to `kept`, but for what is there: a first start takes it over, and whoever goes
/// back needs it as it was.
fn keep_originals(from: &Path, kept: &Path) -> Result<(), MoveInError> {
    for place in FILES {
        let (file, copy) = (from.join(place), kept.join(place));
        if !file.is_file() || copy.exists() {
            continue;
        }
        if let Some(folder) = copy.parent() {
            golem_files::private_subfolder(folder).map_err(failed(folder))?;
        }
        // A copy that was cut short is none.
        let fresh = beside(&copy, ".", ".keeping");
        golem_files::absent_is_fine(std::fs::remove_file(&fresh)).map_err(failed(&fresh))?;
        copy::copy_file(&file, &fresh)?;
        rename(&fresh, &copy)?;
    }
    Ok(())
}

/// Has links in `from` lead where they lead, wherever the folder is.
fn keep_links(from: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Ok(target) = std::fs::read_link(&path) else { continue };
        let kept = copy::kept_target(&path, &target, from);
        if kept != target {
            let fresh = beside(&path, ".", ".moving-in");
            golem_files::absent_is_fine(std::fs::remove_file(&fresh))?;
            std::os::unix::fs::symlink(kept, &fresh)?;
            std::fs::rename(&fresh, &path)?;
        }
    }
    Ok(())
}

fn link_vms(linked: &[PathBuf], staging: &Path) -> io::Result<()> {
    linked.iter().try_for_each(|folder| std::os::unix::fs::symlink(folder, staging.join(VMS)))
}

/// Puts what is at `to` aside, if anything is.
fn clear(to: &Path, aside: &Path) -> Result<(), MoveInError> {
    match std::fs::remove_dir(to) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => rename(to, aside),
        removed => golem_files::absent_is_fine(removed).map_err(failed(to)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), MoveInError> {
    let renamed =
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from);
    renamed.and_then(|()| golem_files::sync_folder_of(to)).map_err(failed(from))
}

/// Does what is left to do when the data is at `to`.
fn finish(to: &Path) -> Result<(), MoveInError> {
    let Some(mark) = mark(to)? else { return Ok(()) };
    if mark.copied {
        put_beside(&mark.from, &mark.kept)?;
        crash_point!("move-in-beside");
    }
    let (before, user, group) = mark.owner;
    give(to, before, user, group).map_err(failed(to))?;
    let vms = to.join(VMS);
    if vms.is_symlink() && vms.exists() {
        let linked = real(&vms).map_err(failed(&vms))?;
        give(&linked, before, user, group).map_err(failed(&linked))?;
    }
    let file = to.join(MARK);
    std::fs::remove_file(&file).and_then(|()| golem_files::sync_folder_of(&file)).map_err(failed(&file))
}

/// Moves all that was copied from the folder `from` to `kept`: nobody starts a second node there.
fn put_beside(from: &Path, kept: &Path) -> Result<(), MoveInError> {
    // On the file system that it is on, also where that is mounted there.
    let is_mounted = mounted(from).is_some_and(|own| Some(own) != mounted_outer(from));
    let kept = if is_mounted { from.join("before-service") } else { kept.to_owned() };
    match std::fs::DirBuilder::new().mode(0o700).create(&kept) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&kept)(error)),
        _ => {}
    }
    let entries = match std::fs::read_dir(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(from))?,
    };
    for entry in entries {
        let path = entry.map_err(failed(from))?.path();
        let Some(name) =
            path.file_name().filter(|name| *name != VMS && *name != "lost+found" && path != kept)
        else {
            continue;
        };
        rename(&path, &kept.join(name))?;
    }
    keep_originals(from, &kept)?;
    golem_files::absent_is_fine(std::fs::remove_file(kept.join(MARK))).map_err(failed(&kept))
}

#[cfg(test)]
mod tests;
