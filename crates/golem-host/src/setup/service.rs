//! The service manager: whether the node is a service of this machine, and starting it.
//!
//! Owns what is asked of systemd. Never waits until the node is ready, and never installs a unit: the package does.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// The node's unit.
pub const UNIT: &str = "golem-provider.service";

/// What is added to the unit where VMs stay outside of its reach; a purge removes it.
const DROP_IN: &str = "/etc/systemd/system/golem-provider.service.d/vms.conf";

/// Where units are.
const UNITS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// Longest that a node takes to start anew, beside what its guests take.
const RELOAD: Duration = Duration::from_secs(60);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);

/// What there is only where systemd runs (`sd_booted`).
const BOOTED: &str = "run/systemd/system";

/// What setup finds of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The unit is installed, and systemd runs.
    Ready,
    /// The unit is installed, and systemd does not run here.
    NoManager,
    /// There is no unit.
    Nothing,
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// systemctl cannot be run.
    #[error("systemctl cannot be run; fix: install systemd, or set up with `--here`")]
    Run(#[source] io::Error),
    /// The unit cannot be added to.
    #[error("{DROP_IN} cannot be written")]
    DropIn(#[source] io::Error),
    /// It said why not.
    #[error("systemctl {what} failed ({said}); fix: `journalctl -u golem-provider -n 20` says why")]
    Refused {
        /// What it was told.
        what: &'static str,
        /// Its words.
        said: String,
    },
}

/// What there is of a service below `root`, which is `/`.
#[must_use]
pub fn find(root: &Path) -> Found {
    let has_unit = UNITS.iter().any(|folder| root.join(folder).join(UNIT).is_file());
    match (has_unit, root.join(BOOTED).is_dir()) {
        (false, _) => Found::Nothing,
        (true, true) => Found::Ready,
        (true, false) => Found::NoManager,
    }
}

/// Has the service run with the settings as they are now, after this boot as well. VMs run on where it ran before.
///
/// # Errors
/// [`ServiceError`].
pub async fn start(settings_changed: bool) -> Result<(), ServiceError> {
    let is_active = systemctl(&["is-active", "--quiet", UNIT]).await?.status.success();
    tell("enable", &["enable", UNIT]).await?;
    match (is_active, settings_changed) {
        (true, false) => Ok(()),
        (true, true) => reload().await,
        // It is waited for by whoever wants it: a first start may take minutes, and has nothing to show here.
        (false, _) => tell("start", &["start", "--no-block", UNIT]).await,
    }
}

/// Has the node that runs start anew, and waits until it has.
async fn reload() -> Result<(), ServiceError> {
    // What changes when the node says that it begins, and again when it is there.
    let state = || async {
        let shown =
            systemctl(&["show", "--property=ActiveState,StateChangeTimestampMonotonic", UNIT]).await?;
        Ok::<_, ServiceError>(String::from_utf8_lossy(&shown.stdout).into_owned())
    };
    let before = state().await?;
    tell("reload", &["reload", UNIT]).await?;
    let end = Instant::now() + RELOAD;
    loop {
        let now = state().await?;
        if now != before && now.contains("ActiveState=active") {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(ServiceError::Refused {
                what: "reload",
                said: "the node goes on as it was".to_owned(),
            });
        }
        sleep(LOOK).await;
    }
}

/// Why the service does not run any more; `None` if it runs or is starting.
///
/// # Errors
/// [`ServiceError::Run`].
pub async fn failure() -> Result<Option<String>, ServiceError> {
    let output = systemctl(&["show", "--property=ActiveState,SubState,Result,ExecMainStatus", UNIT]).await?;
    let said = String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", ");
    let is_gone = ["ActiveState=failed", "ActiveState=inactive", "SubState=auto-restart"];
    Ok(is_gone.iter().any(|state| said.contains(state)).then_some(said))
}

/// Lets the service into `folders`, which its unit keeps it from: homes, and what is outside of its data directory.
///
/// # Errors
/// [`ServiceError`].
pub async fn let_into(folders: &[PathBuf]) -> Result<(), ServiceError> {
    if folders.is_empty() {
        return Ok(());
    }
    let binds: String = folders.iter().map(|folder| format!("BindPaths={}\n", folder.display())).collect();
    let text =
        format!("# Written by golem-provider setup: VMs that stayed where they were.\n[Service]\n{binds}");
    let file = Path::new(DROP_IN);
    let write = || {
        std::fs::create_dir_all(file.parent().unwrap_or(file))?;
        std::fs::write(file, text)?;
        // Units are everybody's to read.
        std::fs::set_permissions(file, Permissions::from_mode(0o644))
    };
    write().map_err(ServiceError::DropIn)?;
    tell("daemon-reload", &["daemon-reload"]).await
}

async fn systemctl(arguments: &[&str]) -> Result<Output, ServiceError> {
    Command::new("systemctl").args(arguments).output().await.map_err(ServiceError::Run)
}

async fn tell(what: &'static str, arguments: &[&str]) -> Result<(), ServiceError> {
    let output = systemctl(arguments).await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(ServiceError::Refused { what, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_counts_where_systemd_runs() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(find(root.path()), Found::Nothing);
        let units = root.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        std::fs::write(units.join(UNIT), "").unwrap();
        assert_eq!(find(root.path()), Found::NoManager);
        std::fs::create_dir_all(root.path().join(BOOTED)).unwrap();
        assert_eq!(find(root.path()), Found::Ready);
    }
}
