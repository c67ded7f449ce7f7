//! The throw-away guest.
//!
//! ```text
//!   <data directory>/isolation-check/
//!     lock     held while a check goes on
//!     key      with which the check logs in; made for it
//!     vms/     as the backend keeps it
//! ```
//!
//! Owns that folder, from before the guest is made until it is gone. A check that was killed leaves its guest; the
//! next removes it, and after half an hour it ends by itself. Never touches a machine of the node.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use golem_types::{ImageName, Resources, VmId, VmName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::CheckStage;
use super::judge::GuestReport;
use crate::{Backend, Guest, MachineSpec, NetworkState};

/// What the guest has: the least that a rental can have, with a disk that every image fits on.
const SIZE: Resources = Resources { cpu: 1, memory: 1, storage: 10 };

/// Memory that the host has to have: the guest's own, and what QEMU needs beside it.
const MEMORY_KIB: u64 = (1 << 20) + (512 << 10);

/// How often a login is tried again, while the guest still makes its users.
const LOGINS: u32 = 10;
const LOGIN_AGAIN: Duration = Duration::from_secs(3);

/// Most bytes of the guest's report, and of its complaints.
const REPORT_BYTES: u64 = 1 << 20;
const COMPLAINT_BYTES: u64 = 4096;

/// How ssh says that it did not get in.
const NO_LOGIN: i32 = 255;

/// How long the machine may take to be removed.
const REMOVAL: Duration = Duration::from_secs(60);

/// What the guest said of each attempt so far.
pub(super) type Outcomes = Mutex<BTreeMap<usize, GuestReport>>;

/// The guest, and the lock on its place.
pub(super) struct ThrowAway {
    backend: Backend,
    spec: MachineSpec,
    folder: PathBuf,
    guest: OnceLock<Guest>,
    _lock: File,
}

impl ThrowAway {
    /// Takes the place, and removes whatever an earlier check left there. Makes no machine.
    ///
    /// # Errors
    /// When another check goes on, or something is missing; the message names the fix.
    pub(super) async fn prepare(folder: PathBuf, backend: Backend, image: ImageName) -> anyhow::Result<Self> {
        backend.check().await?;
        if !backend.has_image(&image) {
            bail!(
                "image {image} is not here; fix: `golem-provider images pull {image}`, or name another with --image"
            );
        }
        let free = available_memory().context("the host's memory cannot be seen")?;
        if free < MEMORY_KIB {
            bail!(
                "a guest needs {} MB of memory and {} are free; fix: stop something and try again",
                MEMORY_KIB >> 10,
                free >> 10
            );
        }
        std::fs::DirBuilder::new()
            .mode(0o711)
            .create(&folder)
            .or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let lock = lock(&folder.join("lock"))?;
        for id in backend.list().await?.into_keys() {
            backend.delete(&id).await.context("what an earlier check left cannot be removed")?;
        }
        let public = key(&folder).await.context("no key can be made for the guest")?;
        let name: VmName = "isolation-check".parse().context("the guest has no name")?;
        let mut random = [0; 10];
        getrandom::fill(&mut random).context("the system has no randomness")?;
        let spec = MachineSpec {
            id: VmId::new(&name, jiff::Timestamp::now(), random),
            name,
            resources: SIZE,
            image,
            keys: vec![public.parse().context("ssh-keygen made no key")?],
            first_boot: golem_types::FirstBoot::default(),
            rebuild_at: 0,
        };
        Ok(Self { backend, spec, folder, guest: OnceLock::new(), _lock: lock })
    }

    /// Makes the machine.
    ///
    /// # Errors
    /// Those of the backend.
    pub(super) async fn create(&self) -> anyhow::Result<()> {
        Ok(self.backend.create(&self.spec).await?)
    }

    /// Boots it, for `deadline` at most.
    pub(super) async fn boot(&self, deadline: Duration) -> anyhow::Result<()> {
        let boot = async {
            self.backend.start(&self.spec).await?;
            self.backend.wait_ready(&self.spec.id).await
        };
        match timeout(deadline, boot).await {
            Ok(guest) => {
                let guest = guest.context("the guest does not start")?;
                self.guest.get_or_init(|| guest);
            }
            Err(_) => {
                let console = self.backend.console(&self.spec.id).await.unwrap_or_default();
                let last: Vec<&str> = console.lines().rev().take(3).collect();
                bail!(
                    "the guest did not boot in {} s (GOLEM_PROVIDER_BOOT_TIMEOUT_SECONDS); the last it said: {:?}",
                    deadline.as_secs(),
                    last.into_iter().rev().collect::<Vec<_>>().join(" / ")
                );
            }
        }
        Ok(())
    }

    /// Runs `script`, which makes `all` attempts, and adds to `outcomes` what it says of each, as it says it.
    pub(super) async fn run(
        &self,
        script: &str,
        all: usize,
        outcomes: &Outcomes,
        tell: &impl Fn(CheckStage<'_>),
    ) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            let ended = self.run_once(script, all, outcomes, tell).await?;
            if ended.status.success() {
                return Ok(());
            }
            tries += 1;
            let began = !outcomes.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if ended.status.code() != Some(NO_LOGIN) || began || tries >= LOGINS {
                let complaints = String::from_utf8_lossy(&ended.stderr);
                bail!("the guest could not try everything: {}", complaints.trim());
            }
            sleep(LOGIN_AGAIN).await;
        }
    }

    async fn run_once(
        &self,
        script: &str,
        all: usize,
        outcomes: &Outcomes,
        tell: &impl Fn(CheckStage<'_>),
    ) -> anyhow::Result<Output> {
        let guest = self.guest.get().context("the guest does not run")?;
        let mut child = Command::new("ssh")
            .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"])
            // A connection that was cut is noticed.
            .args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"])
            .args(["-o", "LogLevel=ERROR", "-i", "key", "-p", &guest.ssh.port().to_string()])
            .args([&format!("root@{}", guest.ssh.ip()), "python3", "-u", "-"])
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| missing("ssh", error))?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("ssh has no pipes");
        };
        let say = async {
            // One that did not get in reads nothing.
            let _ = stdin.write_all(script.as_bytes()).await;
            drop(stdin);
        };
        let hear = async {
            let mut lines = BufReader::new(stdout.take(REPORT_BYTES)).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // What a guest says is a guest's word: nonsense is nothing.
                let Ok(outcome) = serde_json::from_str::<GuestReport>(&line) else { continue };
                let done = {
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    outcomes.insert(outcome.id, outcome);
                    outcomes.len()
                };
                tell(CheckStage::Tried(done, all));
            }
        };
        let mut complaints = Vec::new();
        let complain = async {
            let _ = stderr.take(COMPLAINT_BYTES).read_to_end(&mut complaints).await;
        };
        tokio::join!(say, hear, complain);
        let status = child.wait().await.context("ssh is lost")?;
        Ok(Output { status, stdout: Vec::new(), stderr: complaints })
    }

    /// Sees to the guest's network as a node does, once, and tells how the guest is connected.
    pub(super) async fn keep_network(&self) -> Option<NetworkState> {
        self.backend.keep_networks().await.remove(&self.spec.id).map(|network| network.state)
    }

    /// Removes the machine, its key and its folder; what cannot be removed is told in the log.
    pub(super) async fn remove(&self) {
        match timeout(REMOVAL, self.backend.delete(&self.spec.id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the guest of the check was not removed; the next check does it");
            }
            Err(_) => tracing::warn!("the guest of the check does not end; the next check removes it"),
        }
        let _ = std::fs::remove_file(self.folder.join("key"));
        let _ = std::fs::remove_file(self.folder.join("key.pub"));
        // The lock stays: who waits for it holds this file.
        let _ = std::fs::remove_dir(self.folder.join("vms"));
    }
}

/// Takes the lock at `path`.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another isolation check of this node goes on; wait for its end")
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

/// Makes the key and returns its public half.
async fn key(folder: &Path) -> anyhow::Result<String> {
    for old in ["key", "key.pub"] {
        match std::fs::remove_file(folder.join(old)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "isolation-check", "-f", "key"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| missing("ssh-keygen", error))?;
    if !output.status.success() {
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(std::fs::read_to_string(folder.join("key.pub"))?)
}

fn missing(program: &str, error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound {
        return anyhow::anyhow!("{program} is not installed; fix: apt-get install openssh-client");
    }
    anyhow::Error::new(error).context(format!("{program} cannot be started"))
}

/// Memory that a new process can have, in KiB.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
