//! What `doctor` looks at on this machine beyond what `status` knows.
//!
//! Owns the looks: files of the data directory, what a dead node left, room on the disks, the clock. Changes nothing.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use jiff::SignedDuration;
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::check::{Check, Row, State};
use crate::data_dir::MARKS;
use crate::node::Node;
use crate::settings::Resolved;
use crate::setup::clock;
use crate::setup::prerequisites::{self, PackageManager};

/// Fewer free bytes than this, and guests are paused before their disks are full.
const FULL: u64 = 256 << 20;

/// Fewer free bytes than this are worth a look: one more image, or a small VM, fills them.
const TIGHT: u64 = 5 << 30;

/// Share of inodes, one in so many, that should be free.
const INODES: u64 = 50;

/// Files and folders of the data directory that others may look into or write: most that are listed.
const MOST: usize = 1000;

/// Marks of what was begun in the data directory, what it was, and how it goes on.
const UNFINISHED: [(&str, &str, &str); 2] = [
    (
        "restore-unfinished.json",
        "a restore was cut short",
        "`golem-provider restore` with the same file again",
    ),
    (
        "move-in-unfinished.json",
        "a move to the service's place was cut short",
        "`sudo golem-provider setup` again",
    ),
];

/// A file or folder whose mode is wider than its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenMode {
    /// Where it is.
    pub path: PathBuf,
    /// Its mode, as `chmod` writes it.
    pub mode: u32,
}

/// Everything of the data directory that others may look into: itself, what is in it, and its keys. It may be a link; links in it
/// are not followed.
///
/// # Errors
/// Any error of reading it but its absence.
pub fn open_modes(data_dir: &Path) -> io::Result<Vec<OpenMode>> {
    let mut found = Vec::new();
    let add = |found: &mut Vec<OpenMode>, path: &Path| -> io::Result<bool> {
        let seen = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            seen => seen?,
        };
        let kind = seen.file_type();
        let mode = seen.permissions().mode() & 0o7777;
        // A socket's mode is the node's to choose, and a link has none.
        if (kind.is_dir() || kind.is_file()) && mode & 0o077 != 0 && found.len() < MOST {
            found.push(OpenMode { path: path.to_owned(), mode });
        }
        Ok(kind.is_dir())
    };
    // What a link leads to is what others may look into.
    let data_dir = match data_dir.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        led => led?,
    };
    if !add(&mut found, &data_dir)? {
        return Ok(found);
    }
    for folder in [data_dir.clone(), data_dir.join("keys")] {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            add(&mut found, &path)?;
        }
    }
    Ok(found)
}

/// Whether `data_dir`, or what it links to, is a node's and this user's, so that its modes are this program's to set.
#[must_use]
pub fn is_own(data_dir: &Path) -> bool {
    let own = data_dir
        .metadata()
        .is_ok_and(|seen| seen.is_dir() && seen.uid() == rustix::process::geteuid().as_raw());
    own && MARKS.iter().any(|mark| data_dir.join(mark).symlink_metadata().is_ok())
}

/// The data directory.
#[must_use]
pub fn data_directory(node: &Node) -> Row {
    let (check, path) = (Check::DataDirectory, &node.data_dir);
    let shown = path.display();
    let seen = match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Row::ok(check, format!("{shown} is not there yet; the first start makes it"));
        }
        Err(error) => {
            let seen = format!("{shown} cannot be looked at: {error}");
            return Row::new(check, State::Unknown, seen).fix("`sudo golem-provider doctor`");
        }
        Ok(_) if !node.is_readable() => {
            let seen = format!("{shown} may not be looked into by this user");
            return Row::new(check, State::Unknown, seen).fix("`sudo golem-provider doctor`");
        }
        Ok(seen) => seen,
    };
    let user = rustix::process::geteuid().as_raw();
    if seen.uid() != user {
        let seen = format!("{shown} belongs to user {}, and this process runs as user {user}", seen.uid());
        return Row::new(check, State::Notice, seen).fix("run commands as the user who runs the node");
    }
    match open_modes(path) {
        Err(error) => Row::new(check, State::Unknown, format!("{shown} cannot be read: {error}"))
            .fix("look at the file system: `dmesg`"),
        Ok(open) if open.is_empty() => Row::ok(check, format!("{shown} is this user's alone")),
        Ok(open) => {
            let first = &open[0];
            let more = match open.len() {
                1 => String::new(),
                count => format!(", and {} more", count - 1),
            };
            let seen =
                format!("others may look into {} (mode {:04o}){more}", first.path.display(), first.mode);
            let row = Row::new(check, State::Broken, seen);
            if is_own(path) {
                Row { repairable: true, ..row.fix(format!("`chmod -R go= {shown}`")) }
            } else {
                row.fix("set GOLEM_PROVIDER_DATA_DIR to a folder that is the node's alone")
            }
        }
    }
}

/// A PID file and sockets that nobody holds.
///
/// # Errors
/// When it cannot be seen whether the node runs.
pub fn stale(node: &Node) -> Result<Vec<PathBuf>, crate::pid_file::PidFileError> {
    if node.running()?.is_some() || node.is_coming() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if node.pid_file.symlink_metadata().is_ok_and(|seen| seen.is_file()) {
        found.push(node.pid_file.clone());
    }
    let is_dead = |socket: &PathBuf| {
        let refused = UnixStream::connect(socket);
        socket.symlink_metadata().is_ok()
            && refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    found.extend(node.sockets().into_iter().filter(is_dead));
    Ok(found)
}

/// What a node that died left, and what was begun and not finished.
#[must_use]
pub fn leftovers(node: &Node) -> Vec<Row> {
    let mut rows: Vec<_> = UNFINISHED
        .iter()
        .filter(|(mark, ..)| node.data_dir.join(mark).exists())
        .map(|(_, seen, fix)| Row::new(Check::Leftovers, State::Broken, *seen).fix(*fix))
        .collect();
    let left = left_by_the_dead(node);
    // Not "nothing" beside something.
    if left.state != State::Ok || rows.is_empty() {
        rows.push(left);
    }
    rows
}

fn left_by_the_dead(node: &Node) -> Row {
    let check = Check::Leftovers;
    match stale(node) {
        Err(error) => {
            Row::new(check, State::Unknown, format!("it cannot be seen whether the node runs: {error}"))
                .fix("`sudo golem-provider doctor`")
        }
        Ok(found) if found.is_empty() => Row::ok(check, "nothing is left of a node that died"),
        Ok(found) => {
            let shown: Vec<_> = found.iter().map(|path| path.display().to_string()).collect();
            let seen = format!("a node that died left {}; the next start takes them over", shown.join(", "));
            Row { repairable: true, ..Row::new(check, State::Notice, seen).fix("`golem-provider start`") }
        }
    }
}

/// Room where the node writes: the data directory, its VMs and its images, each volume once.
#[must_use]
pub fn disks(data_dir: &Path) -> Vec<Row> {
    let mut volumes = BTreeSet::new();
    let mut rows = Vec::new();
    for folder in [data_dir.to_owned(), data_dir.join("vms"), data_dir.join("images")] {
        let mut there = folder.as_path();
        while !there.exists() {
            // A link that leads nowhere is a volume that is not mounted.
            if there.is_symlink() {
                let seen = format!("{} leads nowhere", there.display());
                rows.push(Row::new(Check::Disk, State::Broken, seen).fix("mount its volume"));
                break;
            }
            let Some(above) = there.parent() else { break };
            there = above;
        }
        let Ok(seen) = std::fs::metadata(there) else { continue };
        if volumes.insert(seen.dev())
            && let Ok(volume) = statvfs(there)
        {
            rows.push(disk(&there.display().to_string(), &Room::of(&volume)));
        }
    }
    rows
}

/// What a volume has left.
struct Room {
    free: u64,
    total: u64,
    inodes_free: u64,
    inodes: u64,
    read_only: bool,
}

impl Room {
    fn of(volume: &rustix::fs::StatVfs) -> Self {
        Self {
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
            total: volume.f_blocks.saturating_mul(volume.f_frsize),
            inodes_free: volume.f_favail,
            inodes: volume.f_files,
            read_only: volume.f_flag.contains(StatVfsMountFlags::RDONLY),
        }
    }
}

fn disk(place: &str, room: &Room) -> Row {
    let check = Check::Disk;
    if room.read_only {
        let seen = format!("{place} is on a volume that is read-only");
        return Row::new(check, State::Broken, seen)
            .fix("`dmesg` says why; mend the volume, and mount it for writing");
    }
    let gib = |bytes: u64| bytes >> 30;
    let seen = format!("{} of {} GiB are free in {place}", gib(room.free), gib(room.total));
    // Some kinds of volume count no files.
    if room.inodes > 0 && room.inodes_free < room.inodes / INODES {
        let (free, all) = (room.inodes_free, room.inodes);
        let state = if free == 0 { State::Broken } else { State::Notice };
        let seen = format!("{seen}, and {free} of {all} inodes");
        return Row::new(check, state, seen).fix("remove small files there (`df -i`)");
    }
    let make_room = "make room: `golem-provider images list` and `images remove`, other files of the volume";
    match room.free {
        free if free < FULL => Row::new(check, State::Broken, seen).fix(make_room),
        free if free < TIGHT => Row::new(check, State::Notice, seen).fix(make_room),
        _ => Row::ok(check, seen),
    }
}

/// The clock, against the dates of `urls`, which the node asks anyway.
pub async fn clock(urls: &[String]) -> Row {
    if urls.is_empty() {
        return Row::new(Check::Clock, State::Unknown, "the settings name nobody who tells the time")
            .fix("`timedatectl` tells whether it is synchronised");
    }
    let asked = urls.iter().map(|url| clock::ahead(url));
    let answered: Vec<SignedDuration> = join_all(asked).await.into_iter().flatten().collect();
    clock_row(urls.len(), answered)
}

fn clock_row(asked: usize, mut answered: Vec<SignedDuration>) -> Row {
    answered.sort();
    // One that is wrong is outvoted.
    let Some(median) = answered.get(answered.len() / 2) else {
        let seen = format!("none of {asked} servers told the time");
        return Row::new(Check::Clock, State::Unknown, seen)
            .fix("`timedatectl` tells whether it is synchronised");
    };
    match clock::told(*median) {
        Some(told) => Row::told(Check::Clock, State::Broken, &told),
        None => Row::ok(Check::Clock, format!("as {} of {asked} servers have it", answered.len())),
    }
}

/// Programs and files that are `missing`, each with Debian's package.
#[must_use]
pub fn prerequisites(missing: &[(&str, &str)], path: &str) -> Row {
    let root = rustix::process::geteuid().is_root();
    match prerequisites::told(missing, PackageManager::of_host(path), root) {
        Some(told) => Row::told(Check::Prerequisites, State::Broken, &told),
        None => Row::ok(Check::Prerequisites, "everything that guests need is installed"),
    }
}

/// What is wrong with the settings, and what has no effect.
#[must_use]
pub fn settings(resolved: &Resolved) -> Vec<Row> {
    let check = Check::Settings;
    let mut rows: Vec<_> = resolved
        .mistakes
        .iter()
        .map(|mistake| Row::told(check, State::Broken, &format!("{mistake}")))
        .chain(resolved.warnings.iter().map(|warning| Row::told(check, State::Notice, warning)))
        .collect();
    for row in rows.iter_mut().filter(|row| row.fixes.is_empty()) {
        row.fixes
            .push("`golem-provider config show` tells what is in force, and where it came from".to_owned());
    }
    if rows.is_empty() {
        rows.push(Row::ok(check, "all are good, and all have an effect"));
    }
    rows
}

#[cfg(test)]
mod tests;
