//! New settings, or a new program, for a node that runs.
//!
//! ```text
//!   SIGHUP, or in development a file that changed ─► settings good? ── no ──► told; the node goes on as it is
//!                                                        │ yes
//!                                                        ▼
//!                        the node stops and this process becomes the program anew; VMs run on
//! ```
//! Owns what is watched, and starting anew under the same process id. Never stops the node: `start` does.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use golem_host::handover::{self, HandedOver};
use golem_host::settings::{self, Environment, Settings};

/// How often watched files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the node was started with, and can be started anew with.
#[derive(Debug, Clone)]
pub struct Reload {
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
    pub fn new(
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
    pub async fn changed(&mut self) {
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
    pub fn check(&self) -> anyhow::Result<Settings> {
        Ok(settings::load(self.flags.clone(), self.environment.clone(), &self.directory)?.settings)
    }

    /// Makes this process the program anew, with the same arguments, and hands `files` over to it. Returns only when that
    /// fails.
    #[must_use]
    pub fn start_anew(&self, files: &HandedOver) -> anyhow::Error {
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
