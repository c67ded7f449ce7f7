//! The control groups of this machine, with processes that stand in for guests.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio as StdStdio};
use std::time::Instant;

use super::*;

/// Longest that anything may take here.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a guest of no memory may have.
const OVERHEAD: Overhead = Overhead { per_machine: 200 << 20, per_gib: 8 << 20 };

struct Guest {
    folder: tempfile::TempDir,
    id: VmId,
    groups: Groups,
}

impl Guest {
    /// None, and said so, where nobody can bound a process: not as root, or without control groups.
    async fn new(random: u8) -> Option<Self> {
        let name: golem_types::VmName = "guest".parse().unwrap();
        let mut bytes = [random; 10];
        bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
        let id = VmId::new(&name, jiff::Timestamp::now(), bytes);
        let root = rustix::process::geteuid().is_root();
        let guest = Self { folder: tempfile::tempdir().unwrap(), id, groups: Groups::new(root, None) };
        let found = guest.groups.found().await;
        if found.way == Way::None {
            golem_test_support::not_tried(&format!("{:?}", found.problem));
            return None;
        }
        guest.record(0);
        Some(guest)
    }

    /// Writes down what the machine has: a guest of no memory has what runs it, and no more.
    fn record(&self, memory: u32) {
        let resources = Resources::new(1, memory, 1);
        let record =
            super::super::Record { resources, image: "debian-12".parse().unwrap(), uid: None, rebuilt_at: 0 };
        let text = serde_json::to_vec(&record).unwrap();
        std::fs::write(self.folder.path().join(super::super::RECORD_FILE), text).unwrap();
    }

    /// Runs `script` as the guest's process.
    async fn launch(&self, script: &str) -> Child {
        let resources = Resources::new(1, 0, 1);
        let launching = self.groups.launch(&self.id, self.folder.path(), resources, OVERHEAD);
        let launching = launching.await.unwrap();
        let words = &launching.words;
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).args(["sh", "-c", &format!("{FIRST_TO_GO}; echo up; {script}")]);
        let mut child = command.stdout(StdStdio::piped()).stderr(StdStdio::null()).spawn().unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        self.groups.launched(&self.id, self.folder.path(), Pid::from_child(&child)).await.unwrap();
        child
    }

    fn recorded(&self) -> Vec<PathBuf> {
        read_json::<Record>(&self.folder.path().join(FILE)).map(|record| record.groups).unwrap_or_default()
    }

    /// What `file` says in whichever group has it.
    fn told(&self, file: &str) -> Option<String> {
        self.recorded().iter().find_map(|group| read_text(&group.join(file)).unwrap())
    }
}

/// No test leaves a process or a group.
impl Drop for Guest {
    fn drop(&mut self) {
        let end = Instant::now() + DEADLINE;
        while self.groups.ended(&self.id, self.folder.path()).is_err() && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

async fn until(what: &str, level: impl Fn() -> bool) {
    let polled = async {
        while !level() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(DEADLINE, polled).await.is_ok(), "never: {what}");
}

#[tokio::test]
async fn i_04_a_guest_that_fills_its_memory_is_ended_alone_and_told_of() {
    let Some(guest) = Guest::new(1).await else { return };
    let mut child = guest.launch("exec tail /dev/zero").await;
    let pid = Pid::from_child(&child);
    let groups = guest.recorded();
    assert!(!groups.is_empty() && groups.iter().all(|group| group.is_dir()), "{groups:?}");
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero())).unwrap();
    assert_eq!(score.trim(), "500");
    let bound = guest.told("memory.max").or_else(|| guest.told("memory.limit_in_bytes")).unwrap();
    assert_eq!(bound, OVERHEAD.of_one(0).to_string());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.signal(), Some(9), "the kernel ended it");
    guest.groups.remove(&guest.id, guest.folder.path()).await.unwrap();
    assert!(guest.groups.was_ended_for_memory(&guest.id) && !guest.groups.was_ended_for_memory(&guest.id));
    assert!(groups.iter().all(|group| !group.exists()) && guest.recorded().is_empty(), "{groups:?}");
}

#[tokio::test]
async fn i_04_a_guest_that_makes_processes_without_end_is_bounded_and_leaves_none() {
    let Some(guest) = Guest::new(2).await else { return };
    // Each goes into the background of one that ends: nobody's children.
    let mut child = guest.launch("while :; do (sleep 600 &) || sleep 0.1; done 2>/dev/null").await;
    let groups = guest.recorded();
    let count = || groups.iter().map(|group| group::processes(group).len()).max().unwrap_or(0);
    let most = guest.told("pids.max").unwrap().parse::<usize>().unwrap();
    assert_eq!(most, 257);
    until("as many as it may have", || count() >= most - 2).await;
    assert!(count() <= most);
    // A helper of the guest is bounded with it.
    let beside = beside(&short_hash(&guest.id), Pid::from_child(&child));
    assert!(beside.iter().any(|word| word.contains(&short_hash(&guest.id))), "{beside:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    guest.groups.remove(&guest.id, guest.folder.path()).await.unwrap();
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    assert!(!guest.groups.was_ended_for_memory(&guest.id));
}

#[tokio::test]
async fn i_04_a_guest_that_is_adopted_is_bounded_anew_and_one_without_a_group_gets_one() {
    let Some(guest) = Guest::new(3).await else { return };
    let mut child = guest.launch("exec sleep 600").await;
    let pid = Pid::from_child(&child);
    let bound = || guest.told("memory.max").or_else(|| guest.told("memory.limit_in_bytes")).unwrap();
    // Another node, after its guest was made larger.
    guest.record(2);
    let next = Groups::new(true, None);
    next.alive(&guest.id, guest.folder.path(), pid, OVERHEAD).await.unwrap();
    assert_eq!(bound(), ((2 << 30) + OVERHEAD.of_one(2)).to_string());
    let _ = child.kill();
    child.wait().unwrap();
    guest.groups.remove(&guest.id, guest.folder.path()).await.unwrap();

    // One of a version that knew no groups. (systemd makes no scope for a process that runs.)
    if matches!(guest.groups.found().await.way, Way::Groups(_)) {
        let mut old = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&old);
        next.alive(&guest.id, guest.folder.path(), pid, OVERHEAD).await.unwrap();
        assert!(groups_of(&name_of(&guest.id), pid).unwrap().is_empty(), "it was seen to already");
        let next = Groups::new(true, None);
        next.alive(&guest.id, guest.folder.path(), pid, OVERHEAD).await.unwrap();
        let groups = groups_of(&name_of(&guest.id), pid).unwrap();
        assert!(
            !groups.is_empty() && groups.iter().all(|group| group::processes(group) == [pid]),
            "{groups:?}"
        );
        old.kill().unwrap();
        old.wait().unwrap();
    }
}

#[tokio::test]
async fn i_04_what_a_crash_left_is_removed_and_what_is_launched_is_not() {
    let Some(guest) = Guest::new(4).await else { return };
    let folder = guest.folder.path();
    let launch = |groups| Groups::launch(groups, &guest.id, folder, Resources::new(1, 0, 1), OVERHEAD);
    let launching = launch(&guest.groups).await.unwrap();
    let groups = guest.recorded();
    // A look at the machine before its process is there.
    guest.groups.ended(&guest.id, folder).unwrap();
    assert_eq!(guest.recorded(), groups);
    assert!(groups.iter().all(|group| group.is_dir()));
    // The node dies here; the next one looks.
    std::mem::forget(launching);
    Groups::new(true, None).ended(&guest.id, folder).unwrap();
    assert!(groups.iter().all(|group| !group.exists()) && guest.recorded().is_empty());
    drop(launch(&guest.groups).await.unwrap());
}
