//! Guests of QEMU in tests: their keys, their processes, and what a failed test would leave.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{DEADLINE, Home};

/// The image that guests boot from.
pub fn image() -> String {
    std::env::var("GOLEM_TEST_IMAGE").expect("GOLEM_TEST_IMAGE names a bootable image")
}

/// Makes an SSH key without passphrase, of the kind that the `options` of ssh-keygen say, and gives the path of its
/// private half.
pub fn keypair(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen").args(options).args(["-q", "-N", "", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    path
}

/// The command that runs `script` at `login` (`user@address`) and `port` with the key at `key`, as existing
/// clients do.
pub fn ssh(login: &str, port: u16, key: &Path, script: &str) -> Command {
    let mut command = Command::new("ssh");
    command
        .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"])
        // A guest that reboots says no farewell.
        .args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"])
        .args(["-o", "LogLevel=ERROR", "-i"])
        .arg(key)
        .args(["-p", &port.to_string(), login, script]);
    command
}

/// The process whose id the file at `path` has; `None` if there is no such file.
pub fn process(path: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(path).ok()?;
    text.trim().parse().ok().and_then(Pid::from_raw)
}

/// Kills the process whose id the file at `path` has.
pub fn kill(path: &Path) {
    kill_process(process(path).unwrap(), Signal::KILL).unwrap();
}

/// Whether guests of other nodes run on this host, whose rules stay.
pub fn other_guests() -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
        uid.is_some_and(|uid: u32| (1_900_000_000..1_900_065_536).contains(&uid))
    })
}

/// The control groups of the guest whose files are in `machine`.
pub fn groups(machine: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(machine.join("groups.json")).unwrap_or_default();
    let record: Value = serde_json::from_str(&text).unwrap_or_default();
    record["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from).collect()
}

/// Ends the guest whose files are in `machine`, if it runs, and removes its control groups.
pub fn clear(machine: &Path) {
    if let Some(pid) = process(&machine.join("qemu.pid")) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let end = Instant::now() + DEADLINE;
    for group in groups(machine) {
        while std::fs::remove_dir(&group).is_err() && group.exists() && Instant::now() < end {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// Ends a guest that a failed test would leave behind.
pub struct NoGuestLeft<'a>(pub &'a Home);

impl Drop for NoGuestLeft<'_> {
    fn drop(&mut self) {
        for machine in std::fs::read_dir(self.0.data().join("vms")).into_iter().flatten().flatten() {
            clear(&machine.path());
        }
    }
}
