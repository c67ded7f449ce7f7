//! A machine with the root that the package is installed on: a copy that is in memory and gone afterwards.
//!
//! Owns its mounts and its processes. It is booted by systemd-nspawn, or only entered where no systemd is to run.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use golem_test_support::{DEADLINE, Home, guest};
use golem_vm::cgroup::CgroupPlaces;

use super::named;
use crate::service::systemd::{PAUSE, end, leader};

/// Mounts the root `$2` with a writable layer of at most `$3` in memory at `$1/root`, where nobody else sees it.
const MOUNTS: &str = "set -e; mount -t tmpfs -o size=$3,mode=755 tmpfs \"$1/layer\"; \
    mkdir \"$1/layer/upper\" \"$1/layer/work\"; \
    mount -t overlay overlay -o \"lowerdir=$2,upperdir=$1/layer/upper,workdir=$1/layer/work\" \"$1/root\"; \
    echo up; exec cat >/dev/null";

/// A machine. Ended, with all that runs in it, when dropped.
pub(super) struct Machine {
    pub(super) folder: tempfile::TempDir,
    /// Has the mounts, and ends with this test whatever becomes of it.
    holder: Child,
    groups: Vec<PathBuf>,
    container: Option<Child>,
}

impl Machine {
    /// One on which nothing runs, with room for `size` (`25g`).
    pub(super) fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["root", "layer", "files"] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
        }
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--propagation=private", "sh", "-c", MOUNTS, "sh"]).arg(folder.path());
        holder.arg(named("GOLEM_TEST_PACKAGE_ROOT")).arg(size);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).expect("mounts");
        Self { folder, holder, groups: Vec::new(), container: None }
    }

    /// One that runs, with the files of `folder/files` in `/opt`.
    pub(super) fn boot(files: impl FnOnce(&Path)) -> Self {
        let mut machine = Self::new("25g");
        files(&machine.folder.path().join("files"));
        // Below groups of its own, so that two containers at a time are not in each other's.
        let places = CgroupPlaces::of_this_process().unwrap();
        let place = |place: &golem_vm::cgroup::CgroupPlace| {
            place.own.join(format!("golem-test-package-{}", std::process::id()))
        };
        machine.groups = places.v1.get("name=systemd").into_iter().chain(&places.v2).map(place).collect();
        machine.container = Some(machine.container());
        machine.until("a machine that is up", |machine| {
            let state = machine.says(&["systemctl", "is-system-running"]);
            ["running", "degraded"].contains(&state.as_str())
        });
        machine
    }

    fn container(&self) -> Child {
        let folder = self.folder.path();
        let script = "set -e; n=$1; shift; \
            while [ $n -gt 0 ]; do mkdir -p \"$1\"; echo 0 >\"$1/cgroup.procs\"; shift; n=$((n - 1)); done; \
            exec systemd-nspawn --quiet \"$@\"";
        let mut container = Command::new("nsenter");
        container.args(["--mount", "--target", &self.holder.id().to_string()]);
        container.args(["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh"]);
        container.arg(self.groups.len().to_string()).args(&self.groups);
        container.arg(format!("--directory={}", folder.join("root").display()));
        container.args(["--register=no", "--keep-unit", "--private-network", "--capability=all"]);
        container.args([
            "--system-call-filter=@mount",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
        ]);
        container.arg(format!("--machine=golem-test-package-{}", std::process::id()));
        if Path::new("/dev/net/tun").exists() {
            container.arg("--bind=/dev/net/tun");
        }
        container.arg(format!("--bind-ro={}:/opt", folder.join("files").display()));
        container.args(["--boot", "--", "systemd.unit=multi-user.target"]);
        let console = std::fs::File::create(folder.join("console")).unwrap();
        let errors = console.try_clone().unwrap();
        container.stdin(Stdio::null()).stdout(console).stderr(errors).spawn().unwrap()
    }

    /// Waits until `level` holds.
    pub(super) fn until(&self, what: &str, level: impl Fn(&Self) -> bool) {
        let end = std::time::Instant::now() + 3 * DEADLINE;
        while !level(self) {
            assert!(std::time::Instant::now() < end, "never: {what}\n{}", self.story());
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Runs `words` on the machine: in its container, or else in its root alone.
    pub(super) fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        match &self.container {
            Some(container) => {
                let leader = leader(container).unwrap_or(0).to_string();
                command.args(["--target", &leader, "--all", "--wdns=/"]);
            }
            None => {
                let root = self.folder.path().join("root");
                command.args(["--mount", "--target", &self.holder.id().to_string(), "chroot"]).arg(root);
            }
        }
        command.args(words).env_clear();
        command
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root");
        // A locale that no machine has: dpkg, the scripts and the program take it as it comes.
        command.env("LANG", "xx_XX.UTF-8").env("DEBIAN_FRONTEND", "noninteractive").env("TERM", "dumb");
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What `words` print.
    pub(super) fn says(&self, words: &[&str]) -> String {
        String::from_utf8_lossy(&self.run(words).stdout).trim().to_owned()
    }

    /// Runs the shell's words `script`, which have to succeed; what they print, errors too.
    pub(super) fn must(&self, script: &str) -> String {
        let output = self.run(&["sh", "-c", &format!("exec 2>&1; {script}")]);
        assert!(output.status.success(), "{script}: {}\n{}", Home::show(&output), self.story());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `script` outside of the machine's root, where its mounts are.
    pub(super) fn beside(&self, script: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.id().to_string(), "sh", "-ec", script]);
        assert!(
            command.current_dir("/").env("MACHINE", self.folder.path()).status().unwrap().success(),
            "{script}"
        );
    }

    /// A property of the service.
    pub(super) fn property(&self, name: &str) -> String {
        self.says(&["systemctl", "show", "--value", "--property", name, "golem-provider"])
    }

    /// Runs `script` in the guest behind the machine's `port`, logged in with the key at `key`.
    pub(super) fn ssh(&self, port: u16, key: &Path, script: &str) -> Output {
        self.ssh_command(port, key, script).stdin(Stdio::null()).output().unwrap()
    }

    /// As [`Self::ssh`], not begun yet.
    pub(super) fn ssh_command(&self, port: u16, key: &Path, script: &str) -> Command {
        self.inside(&guest::ssh("ubuntu@127.0.0.1", port, key, script))
    }

    /// `command`, a program of this host, in the machine's network.
    fn inside(&self, command: &Command) -> Command {
        let leader = self.container.as_ref().and_then(leader).unwrap_or(0).to_string();
        let mut inside = Command::new("nsenter");
        inside.args(["--net", "--target", &leader]).arg(command.get_program()).args(command.get_args());
        inside
    }

    /// The first process, as this host calls it.
    pub(super) fn leader(&self) -> u32 {
        self.container.as_ref().and_then(leader).unwrap_or(0)
    }

    /// What the node logged, and what the machine showed.
    pub(super) fn story(&self) -> String {
        let console = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        let journal = match self.container {
            Some(_) => self.says(&["journalctl", "--no-pager", "--lines=120"]),
            None => String::new(),
        };
        format!("{}\n{journal}", String::from_utf8_lossy(&console))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(self.container.as_mut(), &mut self.holder, &self.groups);
    }
}
