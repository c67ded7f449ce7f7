//! Guests that are measured: keys, logins, and the processes that belong to one.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Longest that one boot may take.
pub const BOOT: Duration = Duration::from_secs(400);

/// A key to log in with, made in `folder`: the private half's path, and the public half.
///
/// # Errors
/// When ssh-keygen fails.
pub fn keypair(folder: &Path) -> anyhow::Result<(PathBuf, String)> {
    let path = folder.join("key");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status()?;
    ensure!(made.success(), "ssh-keygen failed");
    let public = fs::read_to_string(path.with_extension("pub"))?;
    Ok((path, public.trim().to_owned()))
}

/// How one logs in to a guest.
#[derive(Debug, Clone)]
pub struct Login {
    /// Where its SSH server is reached.
    pub at: SocketAddr,
    /// The private key.
    pub key: PathBuf,
    /// The socket over which later logins share the first one's connection; `None` if each has its own.
    pub shared: Option<PathBuf>,
}

impl Login {
    /// ssh, about to run `script` as root.
    #[must_use]
    pub fn command(&self, script: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"])
            .args(["-o", "ConnectTimeout=120", "-o", "ServerAliveInterval=30", "-i"])
            .arg(&self.key);
        if let Some(shared) = &self.shared {
            ssh.arg("-o").arg(format!("ControlPath={}", shared.display()));
            ssh.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=600"]);
        }
        ssh.args(["-p", &self.at.port().to_string(), &format!("root@{}", self.at.ip()), script]);
        ssh
    }

    /// What `script` prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn says(&self, script: &str) -> anyhow::Result<String> {
        let Output { status, stdout, stderr } = self.command(script).output().context("ssh did not start")?;
        ensure!(status.success(), "in the guest: {status}: {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8(stdout)?.trim().to_owned())
    }

    /// Waits until the guest takes a login.
    ///
    /// # Errors
    /// When it does not in [`BOOT`].
    pub fn wait(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let Err(error) = self.says("true") else { return Ok(()) };
            if began.elapsed() > BOOT {
                bail!("no login: {error:#}");
            }
            std::thread::park_timeout(Duration::from_millis(500));
        }
    }
}

/// Every process of the user `uid`.
///
/// # Errors
/// When the processes cannot be listed.
pub fn processes_of(uid: u32) -> anyhow::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is nobody's.
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let own = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
        if own == Some(uid) {
            found.insert(id);
        }
    }
    Ok(found)
}

/// The name of the process `id`.
#[must_use]
pub fn name_of(id: u32) -> String {
    fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().to_owned()
}

/// Processor seconds of `processes` so far.
#[must_use]
pub fn cpu_seconds(processes: &BTreeSet<u32>) -> f64 {
    let of = |id: &u32| {
        let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
        tasks
            .filter_map(|task| {
                let schedule = fs::read_to_string(task.path().join("schedstat")).ok()?;
                schedule.split_whitespace().next()?.parse::<f64>().ok()
            })
            .sum::<f64>()
            / 1e9
    };
    processes.iter().map(of).sum()
}

/// Memory of the process `id` in MiB: private pages, and its share of shared ones.
#[must_use]
pub fn memory_mib(id: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(f64::NAN) / 1024.0
}
