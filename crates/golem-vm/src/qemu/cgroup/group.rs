//! Control groups as files: made, bounded, looked at, removed.
//!
//! Owns the choice of the groups below which guests get theirs, and every write to the hierarchy. Every path
//! comes from outside, so that all of it can be tried on a hierarchy that is made up. Touches no group that
//! is not named as a guest's.
//!
//! | the host has | guests get groups |
//! |---|---|
//! | v1 | below the node's own group, in each controller's hierarchy |
//! | v2 | beside the node's own group, where that is allowed; else below it, which v2 allows only once no process is in it: the node moves into a group of its own |

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::bounds::CgroupBounds;
use crate::cgroup::{CgroupPlace, CgroupPlaces, read_text};

/// Controllers that bound a guest, as v2 and v1 call them.
const CONTROLLERS: [(&str, &str); 4] =
    [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids"), ("io", "blkio")];

/// Into which the node moves where it has to leave its own group to guests.
const NODE_GROUP: &str = "golem-node";

/// What the groups of all guests of this project are called; followed by a hash of the guest's id.
pub(super) const PREFIX: &str = "golem-vm-";

/// The groups below which guests get theirs, in each hierarchy one, with what they bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parents {
    pub(super) folders: Vec<PathBuf>,
    /// Controllers that these bound guests by.
    pub(super) bounded: BTreeSet<&'static str>,
}

impl Parents {
    /// Controllers by which guests are not bounded.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        CONTROLLERS.iter().map(|(name, _)| *name).filter(|name| !self.bounded.contains(name)).collect()
    }
}

/// The best groups below which a process that stands at `places` can make some. With `moves` the process
/// `pid`, which is the node, may be moved within its own group for that.
///
/// # Errors
/// Why there are none for memory, without which a guest is not bounded.
pub(super) fn parents(places: &CgroupPlaces, pid: u32, moves: bool) -> io::Result<Parents> {
    let mut parents = Parents::default();
    let mut refused = None;
    for (name, old_name) in CONTROLLERS {
        if let Some(place) = places.v1.get(old_name) {
            if let Err(error) = may_make(&place.own) {
                refused = Some(error);
                continue;
            }
            if !parents.folders.contains(&place.own) {
                parents.folders.push(place.own.clone());
            }
            parents.bounded.insert(name);
        }
    }
    if let Some(place) = &places.v2 {
        let wanted: Vec<_> = CONTROLLERS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !parents.bounded.contains(name))
            .collect();
        match second_version(place, &wanted, pid, moves) {
            Ok((folder, enabled)) if !enabled.is_empty() => {
                parents.folders.push(folder);
                parents.bounded.extend(enabled);
            }
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    if parents.bounded.contains("memory") {
        return Ok(parents);
    }
    Err(refused.unwrap_or_else(|| io::Error::other("no control group of memory is mounted")))
}

/// The group of v2 below which others can be made that have those of `wanted` that there are; and which these are.
fn second_version(
    place: &CgroupPlace,
    wanted: &[&'static str],
    pid: u32,
    moves: bool,
) -> io::Result<(PathBuf, BTreeSet<&'static str>)> {
    let beside = place.own.parent().filter(|parent| parent.starts_with(&place.top));
    let tried = beside.map(|parent| (parent, enable(parent, wanted)));
    let refused = match tried {
        Some((parent, Ok(enabled))) => return Ok((parent.to_owned(), enabled)),
        Some((_, Err(error))) => Some(error),
        None => None,
    };
    match enable(&place.own, wanted) {
        Ok(enabled) => return Ok((place.own.clone(), enabled)),
        // Processes are in it.
        Err(error) if busy(&error) && moves => {}
        Err(error) => return Err(refused.unwrap_or(error)),
    }
    let node = place.own.join(NODE_GROUP);
    make(&node)?;
    write(&node, "cgroup.procs", &pid.to_string())?;
    enable(&place.own, wanted).map(|enabled| (place.own.clone(), enabled)).map_err(|error| {
        // Back to where it was: others are in the group beside the node.
        let _ = write(&place.own, "cgroup.procs", &pid.to_string());
        let _ = std::fs::remove_dir(&node);
        if busy(&error) {
            io::Error::other(format!("other processes are in the node's own group, {}", place.own.display()))
        } else {
            error
        }
    })
}

fn busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error())
}

/// Lets groups below `parent` be bounded by those of `wanted` that `parent` has; those that then are.
fn enable(parent: &Path, wanted: &[&'static str]) -> io::Result<BTreeSet<&'static str>> {
    if let Some(kind) = read_text(&parent.join("cgroup.type"))?
        && kind != "domain"
    {
        // In a threaded group there are none for memory.
        return Err(io::Error::other(format!("{} is a group of type {kind:?}", parent.display())));
    }
    let words = |file: &str| -> io::Result<BTreeSet<String>> {
        let text = read_text(&parent.join(file))?.unwrap_or_default();
        Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
    };
    let there = words("cgroup.controllers")?;
    let before = words("cgroup.subtree_control")?;
    may_make(parent)?;
    let mut enabled = BTreeSet::new();
    for name in wanted.iter().filter(|name| there.contains(**name)) {
        if !before.contains(*name) {
            match write(parent, "cgroup.subtree_control", &format!("+{name}")) {
                Ok(()) => {}
                // What is not for memory can be missing.
                Err(_) if *name != "memory" => continue,
                Err(error) => return Err(error),
            }
        }
        enabled.insert(*name);
    }
    Ok(enabled)
}

/// Whether groups can be made in `parent`.
fn may_make(parent: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("no group can be made in {}: {error}", parent.display()))
    })
}

/// Makes the group `folder`; there already is fine.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Writes to a file that the kernel made.
fn write(group: &Path, file: &str, text: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).truncate(true).open(group.join(file))?.write_all(text.as_bytes())
}

/// Bounds `group`. What is not there, or is not taken, is left out: its names and why.
pub(super) fn bound(group: &Path, bounds: &CgroupBounds) -> Vec<(&'static str, io::Error)> {
    let mut refused = Vec::new();
    let crowded = used(group).is_some_and(|used| used > bounds.memory);
    for (file, text) in bounds.files() {
        if !group.join(file).exists() {
            continue;
        }
        if crowded && file.starts_with("memory.") {
            // Bounding it now would end a guest that lives.
            refused.push((file, io::Error::other("the guest's processes use more already")));
            continue;
        }
        let mut written = write(group, file, &text);
        if written.is_err() && file == "memory.limit_in_bytes" {
            // A bound is raised after the one that counts swap, which is never the lower one.
            written =
                write(group, "memory.memsw.limit_in_bytes", &text).and_then(|()| write(group, file, &text));
        }
        if let Err(error) = written {
            refused.push((file, error));
        }
    }
    refused
}

/// Memory that the processes in `group` use and that cannot be had back, in bytes.
fn used(group: &Path) -> Option<u64> {
    let number = |file: &str| read_text(&group.join(file)).ok()??.parse::<u64>().ok();
    let all = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let statistics = read_text(&group.join("memory.stat")).ok()?.unwrap_or_default();
    let files: u64 = ["inactive_file ", "active_file "]
        .iter()
        .filter_map(|name| {
            statistics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        })
        .sum();
    Some(all.saturating_sub(files))
}

/// Moves the process `pid` into `group`, with all of its threads.
pub(super) fn join(group: &Path, pid: Pid) -> io::Result<()> {
    write(group, "cgroup.procs", &pid.as_raw_nonzero().to_string())
}

/// How many processes the kernel ended in `group` for want of memory; `None` if it does not say.
pub(super) fn ended_for_memory(group: &Path) -> Option<u64> {
    ["memory.events", "memory.oom_control"].iter().find_map(|file| {
        let text = read_text(&group.join(file)).ok()??;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    })
}

/// Processes in `group`. Those of another namespace have no id here and are left out.
pub(super) fn processes(group: &Path) -> Vec<Pid> {
    let text = read_text(&group.join("cgroup.procs")).ok().flatten().unwrap_or_default();
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .filter_map(Pid::from_raw)
        .collect()
}

/// Whether `group` is called as the guest's whose group is called `name`, or is a scope of that name.
pub(super) fn is_of(group: &Path, name: &str) -> bool {
    let last = group.file_name().and_then(|last| last.to_str()).unwrap_or_default();
    name.starts_with(PREFIX) && last.strip_suffix(".scope").unwrap_or(last) == name
}

/// How old a group is that nobody is about to launch a guest in.
const LEFT: Duration = Duration::from_secs(600);

/// Removes the guests' groups below `parent` that were left: nothing has been in them for long. (A machine whose folder
/// was removed by hand leaves one.) The kernel keeps those in which something is.
pub(super) fn sweep(parent: &Path) {
    for group in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_guests = group.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let age = group.metadata().and_then(|found| found.modified()).map(|made| made.elapsed());
        if is_guests && age.is_ok_and(|age| age.is_ok_and(|age| age >= LEFT)) {
            let _ = std::fs::remove_dir(group.path());
        }
    }
}

/// Ends what runs in `group`, which is a guest's. Signals go through a descriptor that was taken before the
/// process was seen there.
pub(super) fn end_all(group: &Path) {
    for pid in processes(group) {
        if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && processes(group).contains(&pid)
        {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use golem_types::Resources;

    use super::*;
    use crate::machine::Overhead;

    /// A hierarchy of v2 that is made up: `/`, and the groups of `paths`, each with `files`.
    fn fake(groups: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for (path, files) in groups {
            let group = top.path().join(path);
            std::fs::create_dir_all(&group).unwrap();
            for (file, text) in *files {
                std::fs::write(group.join(file), text).unwrap();
            }
        }
        top
    }

    fn v2(top: &tempfile::TempDir, own: &str) -> CgroupPlaces {
        let own = if own.is_empty() { top.path().to_owned() } else { top.path().join(own) };
        CgroupPlaces { v2: Some(CgroupPlace { top: top.path().to_owned(), own }), ..CgroupPlaces::default() }
    }

    fn text(top: &tempfile::TempDir, file: &str) -> String {
        std::fs::read_to_string(top.path().join(file)).unwrap()
    }

    const ALL: &str = "cpuset cpu io memory hugetlb pids";

    #[test]
    fn i_04_in_version_2_guests_are_beside_the_node() {
        let top = fake(&[
            ("", &[("cgroup.controllers", ALL), ("cgroup.subtree_control", "cpu memory pids")]),
            ("openrc.golem", &[("cgroup.type", "domain"), ("cgroup.controllers", "cpu memory pids")]),
        ]);
        let found = parents(&v2(&top, "openrc.golem"), 1, false).unwrap();
        assert_eq!(found.folders, [top.path()]);
        assert_eq!(found.missing(), Vec::<&str>::new());
        // What was on already is left as it is.
        assert_eq!(text(&top, "cgroup.subtree_control"), "+io");
    }

    #[test]
    fn i_04_at_the_top_of_what_is_seen_guests_are_below_the_node() {
        let top = fake(&[("", &[("cgroup.controllers", "memory pids"), ("cgroup.subtree_control", "")])]);
        let found = parents(&v2(&top, ""), 1, false).unwrap();
        assert_eq!(
            (found.folders.as_slice(), found.missing()),
            (&[top.path().to_owned()][..], vec!["cpu", "io"])
        );
    }

    #[test]
    fn i_04_where_memory_cannot_be_bounded_it_is_said() {
        // A hierarchy of v2 beside v1, in which memory is not.
        let top = fake(&[("", &[("cgroup.controllers", "hugetlb"), ("cgroup.subtree_control", "")])]);
        assert!(parents(&v2(&top, ""), 1, false).is_err());
        for kind in ["threaded", "domain threaded", "domain invalid"] {
            let files = [("cgroup.type", kind), ("cgroup.controllers", ALL), ("cgroup.subtree_control", "")];
            let top = fake(&[("", &files)]);
            let error = parents(&v2(&top, ""), 1, false).unwrap_err().to_string();
            assert!(error.contains(kind), "{error}");
        }
        assert!(parents(&CgroupPlaces::default(), 1, true).unwrap_err().to_string().contains("mounted"));
        let gone = CgroupPlace { top: "/nothing".into(), own: "/nothing/here".into() };
        assert!(parents(&CgroupPlaces { v2: Some(gone), ..CgroupPlaces::default() }, 1, true).is_err());
    }

    #[test]
    fn i_04_version_1_has_a_group_in_each_hierarchy_and_memory_of_version_2_is_not_asked_for() {
        let top = fake(&[
            ("memory/a", &[]),
            ("cpu,cpuacct", &[]),
            ("unified", &[("cgroup.controllers", "hugetlb")]),
        ]);
        let place =
            |top_: &str, own: &str| CgroupPlace { top: top.path().join(top_), own: top.path().join(own) };
        let v1 = [
            ("memory".to_owned(), place("memory", "memory/a")),
            ("cpu".to_owned(), place("cpu,cpuacct", "cpu,cpuacct")),
        ];
        let places = CgroupPlaces { v2: Some(place("unified", "unified")), v1: v1.into() };
        let found = parents(&places, 1, false).unwrap();
        assert_eq!(found.folders, [top.path().join("memory/a"), top.path().join("cpu,cpuacct")]);
        assert_eq!(found.missing(), ["pids", "io"]);
    }

    #[test]
    fn i_04_a_group_is_bounded_by_the_files_that_it_has() {
        let files =
            [("memory.max", "max"), ("pids.max", "max"), ("cpu.max", "max 100000"), ("cpu.weight", "100")];
        let top = fake(&[("g", &files)]);
        let group = top.path().join("g");
        let bounds =
            CgroupBounds::of(Resources::new(1, 1, 10), Overhead::default(), Path::new("/proc"), None);
        assert!(bound(&group, &bounds).is_empty());
        assert_eq!(text(&top, "g/memory.max"), bounds.memory.to_string());
        assert_eq!(text(&top, "g/cpu.max"), "150000 100000");
        assert!(!group.join("memory.limit_in_bytes").exists() && !group.join("io.max").exists());
        // One that uses more than it should have is not ended by the bound.
        std::fs::write(group.join("memory.max"), "max").unwrap();
        std::fs::write(group.join("memory.current"), (bounds.memory + 4096).to_string()).unwrap();
        std::fs::write(group.join("memory.stat"), "anon 1\nactive_file 1024\ninactive_file 1024\n").unwrap();
        let refused: Vec<_> = bound(&group, &bounds).into_iter().map(|(file, _)| file).collect();
        assert_eq!((refused, text(&top, "g/memory.max")), (vec!["memory.max"], "max".to_owned()));
        std::fs::write(group.join("memory.stat"), "active_file 4096\ninactive_file 0\n").unwrap();
        assert!(bound(&group, &bounds).is_empty());
    }

    /// CPU time that the process `pid` had, in clock ticks.
    fn ticks(pid: u32) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let words: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
        words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
    }

    /// Two groups of guests on one core, the larger with one thread that computes, the smaller with eight. Needs the
    /// right to make groups, as whole runs of the suite have.
    #[test]
    fn s_085_a_guest_keeps_the_share_of_the_processor_that_it_was_sold() {
        let Ok(found) = CgroupPlaces::of_this_process()
            .map_err(drop)
            .and_then(|places| parents(&places, std::process::id(), false).map_err(drop))
        else {
            return;
        };
        if !found.bounded.contains("cpu") {
            return;
        }
        /// Groups with processes in them; both go at the end.
        #[derive(Default)]
        struct Guest(Vec<PathBuf>, Vec<std::process::Child>);
        impl Drop for Guest {
            fn drop(&mut self) {
                for child in &mut self.1 {
                    let _ = child.kill().and_then(|()| child.wait());
                }
                for group in &self.0 {
                    let _ = std::fs::remove_dir(group);
                }
            }
        }
        let guest = |name: &str, cpus: u32, busy: usize| {
            let mut guest = Guest::default();
            let bounds =
                CgroupBounds::of(Resources::new(cpus, 1, 10), Overhead::default(), Path::new("/proc"), None);
            for parent in &found.folders {
                let group = parent.join(format!("{PREFIX}test-{}-{name}", std::process::id()));
                make(&group).unwrap();
                bound(&group, &bounds);
                guest.0.push(group);
            }
            for _ in 0..busy {
                let words = ["-c", "0", "sh", "-c", "while :; do :; done"];
                let child = std::process::Command::new("taskset").args(words).spawn().unwrap();
                let pid = Pid::from_child(&child);
                guest.1.push(child);
                guest.0.iter().for_each(|group| join(group, pid).unwrap());
            }
            guest
        };
        let (large, small) = (guest("large", 2, 1), guest("small", 1, 8));
        let had = |guest: &Guest| guest.1.iter().map(|child| ticks(child.id())).sum::<u64>();
        let before = (had(&large), had(&small));
        let end = std::time::Instant::now() + Duration::from_secs(120);
        let (mut more, mut others) = (0, 0);
        while more + others < 200 {
            assert!(std::time::Instant::now() < end, "no time on the processor");
            std::thread::park_timeout(Duration::from_millis(50));
            (more, others) = (had(&large) - before.0, had(&small) - before.1);
        }
        // Two thirds are sold to it; a ninth it would have by the number of threads, a half by that of guests.
        assert!(more * 100 >= (more + others) * 58, "{more} of {}", more + others);
    }

    #[test]
    fn i_04_an_end_for_want_of_memory_is_read_in_both_versions() {
        let top = fake(&[
            ("two", &[("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n")]),
            ("one", &[("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")]),
            ("none", &[]),
        ]);
        let told = |group: &str| ended_for_memory(&top.path().join(group));
        assert_eq!((told("two"), told("one"), told("none"), told("absent")), (Some(1), Some(2), None, None));
    }

    #[test]
    fn what_was_left_long_ago_goes_and_nothing_else() {
        let top = fake(&[("golem-vm-old", &[]), ("golem-vm-new", &[]), ("other-old", &[])]);
        let past = std::time::SystemTime::now() - LEFT - Duration::from_secs(60);
        for group in ["golem-vm-old", "other-old"] {
            std::fs::File::open(top.path().join(group)).unwrap().set_modified(past).unwrap();
        }
        sweep(top.path());
        let is_there = |group: &str| top.path().join(group).exists();
        assert_eq!(
            (is_there("golem-vm-old"), is_there("golem-vm-new"), is_there("other-old")),
            (false, true, true)
        );
    }

    #[test]
    fn only_a_guests_group_is_ours() {
        assert!(is_of(Path::new("/sys/fs/cgroup/golem-vm-0a"), "golem-vm-0a"));
        assert!(is_of(Path::new("/sys/fs/cgroup/golem.slice/golem-vm-0a.scope"), "golem-vm-0a"));
        for (path, name) in
            [("/x/golem-vm-0b", "golem-vm-0a"), ("/", ""), ("/x/init.scope", "init"), ("/x/y", "")]
        {
            assert!(!is_of(Path::new(path), name), "{path} {name}");
        }
    }
}
