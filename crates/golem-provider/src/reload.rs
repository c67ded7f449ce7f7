//! New settings, or a new program, for a node that runs.
//!
//! ```text
//!   SIGHUP, or in development a file that changed ─► would it start? ── no ──► told; the node goes on as it is
//!                                                        │ yes
//!                                                        ▼
//!                        the node stops and this process becomes the program anew; VMs run on
//! ```
//! Owns what is watched, and starting anew under the same process id. Never stops the node: `start` does.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use golem_host::handover::{self, HandedOver};
use golem_host::settings::{self, Environment, Settings};

use crate::passphrase::{Asking, Passphrases};
use crate::{identity, payments, ports};

/// Longest that a program may take to say its version.
const VERSION: Duration = Duration::from_secs(10);

/// What is logged before the reason for which a node goes on as it is.
pub(crate) const NOT_RELOADED: &str = "not reloaded, the node goes on as it is: ";

/// How often watched files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the node was started with, and can be started anew with.
#[derive(Debug, Clone)]
pub(crate) struct Reload {
    /// Settings given as flags.
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    /// This program, where it was when it started: an update puts another in its place.
    program: PathBuf,
    /// What starts the node anew when it changes, and how it was when the node last took notice.
    watched: BTreeMap<PathBuf, FileVersion>,
}

/// Tells one version of a file from another; `None` if it is not there.
type FileVersion = Option<(u64, i64, i64, u64)>;

impl Reload {
    /// For a node of this `kind`, whose settings come from `flags`, `environment` and the `.env` files.
    ///
    /// # Errors
    /// When this program's file or the working directory cannot be found.
    pub(crate) fn new(
        kind: Environment,
        flags: BTreeMap<&'static str, String>,
        environment: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's file cannot be found")?;
        let directory = std::env::current_dir().context("the working directory cannot be found")?;
        let watched = match kind {
            Environment::Development => {
                let node = settings::own_node(&environment, &directory);
                let files = settings::files(node.as_ref(), &environment, &directory);
                files.into_iter().chain([program.clone()]).collect()
            }
            Environment::Production => Vec::new(),
        };
        let watched = watched.into_iter().map(|file| (file.clone(), version(&file))).collect();
        Ok(Self { flags, environment, directory, program, watched })
    }

    /// Waits until a watched file has changed, and is no longer being written.
    pub(crate) async fn changed(&mut self) {
        let mut last = self.watched.clone();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = last.keys().map(|file| (file.clone(), version(file))).collect();
            if now != self.watched && now == last {
                self.watched = now;
                return;
            }
            last = now;
        }
    }

    /// The settings with which the node would be started anew.
    ///
    /// # Errors
    /// Every mistake in the settings as they are now.
    pub(crate) fn check(&self) -> anyhow::Result<Settings> {
        Ok(settings::load(self.flags.clone(), self.environment.clone(), &self.directory)?.settings)
    }

    /// The settings with which the node would be started anew, if that can be: it would have its key, since what was typed is not
    /// there any more; money would not go astray; what it would listen on, beside where it is `here` and now, is free; and the
    /// program runs.
    ///
    /// # Errors
    /// Why it would not start.
    pub(crate) async fn possible(&self, here: [SocketAddr; 2]) -> anyhow::Result<Settings> {
        let settings = self.check()?;
        let passphrases = Passphrases::of_node(&settings.node, Asking::Nobody);
        // It takes a second where it is encrypted, before a break that is no shorter.
        let identity = identity::of_node(&settings.node, &passphrases);
        let identity = identity.context("the node would start without its key")?;
        let chain = settings.chain();
        chain.check_money()?;
        payments::payout(&chain, &identity, payments::profile(&chain)?.as_ref())?;
        let public = SocketAddr::new(settings.api.host, settings.api.port.get());
        let operator = (Ipv4Addr::LOCALHOST, settings.operator.operator_port.get()).into();
        for (wanted, variable) in
            [(public, "GOLEM_PROVIDER_PORT"), (operator, "GOLEM_PROVIDER_OPERATOR_PORT")]
        {
            if !here.iter().any(|own| own.port() == wanted.port()) {
                ports::listen(wanted, variable).await?;
            }
        }
        self.program_runs().await?;
        Ok(settings)
    }

    /// An update may have gone wrong: the node would be gone with it.
    async fn program_runs(&self) -> anyhow::Result<()> {
        let mut program = tokio::process::Command::new(&self.program);
        program
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let name = self.program.display();
        let ended = tokio::time::timeout(VERSION, program.status()).await;
        let status = ended
            .with_context(|| format!("{name} does not say its version within {} s", VERSION.as_secs()))?
            .with_context(|| format!("{name} cannot be run; fix: install it again"))?;
        anyhow::ensure!(status.success(), "{name} does not run ({status}); fix: install it again");
        Ok(())
    }

    /// Makes this process the program anew, with the same arguments, and hands `files` over to it. Returns only when that
    /// fails.
    #[must_use]
    pub(crate) fn start_anew(&self, files: &HandedOver) -> anyhow::Error {
        let mut program = Command::new(&self.program);
        program.args(std::env::args_os().skip(1));
        match handover::give(files) {
            Ok(input) => _ = program.stdin(Stdio::from(input)),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "connections are refused until the node listens again"
            ),
        }
        anyhow::Error::new(program.exec())
            .context(format!("{} cannot be started anew", self.program.display()))
    }
}

/// A look at a few local files does not hold the runtime up.
fn version(file: &Path) -> FileVersion {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}
