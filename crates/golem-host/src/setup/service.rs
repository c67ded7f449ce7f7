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
    /// A unit cannot name the folder of VMs.
    #[error(
        "VMs are in {}, and a unit cannot name what has a colon, a control character or no UTF-8 in it; fix: rename that folder",
        .0.display()
    )]
    Name(PathBuf),
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

/// Has the service run with the settings as they are now, after this boot as well. VMs run on where it ran before. What the unit
/// lets it into counts with a new process only.
///
/// # Errors
/// [`ServiceError`].
pub async fn start(settings_changed: bool, unit_changed: bool) -> Result<(), ServiceError> {
    let is_active = systemctl(&["is-active", "--quiet", UNIT]).await?.status.success();
    tell("enable", &["enable", UNIT]).await?;
    match (is_active, settings_changed) {
        (true, _) if unit_changed => tell("restart", &["restart", UNIT]).await,
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

/// Whether the service can be let into `folder`, below which VMs stay.
///
/// # Errors
/// [`ServiceError::Name`].
pub fn check_name(folder: &Path) -> Result<(), ServiceError> {
    in_unit(folder).map(drop)
}

/// `folder` as a unit names it.
fn in_unit(folder: &Path) -> Result<String, ServiceError> {
    // A colon would part it from where it is bound to.
    let plain =
        folder.to_str().filter(|name| !name.contains(|letter: char| letter == ':' || letter.is_control()));
    let name = plain.ok_or_else(|| ServiceError::Name(folder.to_owned()))?;
    let quoted = name.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    Ok(format!("\"{quoted}\""))
}

/// Lets the service into the folder of VMs of `data_dir` where that is a link to elsewhere, which its unit keeps it from: homes,
/// and what is outside of its data directory. Whether the unit had to be changed for it.
///
/// # Errors
/// [`ServiceError`].
pub async fn let_into_vms(data_dir: &Path) -> Result<bool, ServiceError> {
    let Some(text) = drop_in(data_dir)? else { return Ok(false) };
    let file = Path::new(DROP_IN);
    if std::fs::read_to_string(file).is_ok_and(|before| before == text) {
        return Ok(false);
    }
    let write = || {
        std::fs::create_dir_all(file.parent().unwrap_or(file))?;
        std::fs::write(file, text)?;
        // Units are everybody's to read.
        std::fs::set_permissions(file, Permissions::from_mode(0o644))
    };
    write().map_err(ServiceError::DropIn)?;
    tell("daemon-reload", &["daemon-reload"]).await?;
    Ok(true)
}

/// What the unit of the node in `data_dir` has to have beside the package's; `None` if nothing.
fn drop_in(data_dir: &Path) -> Result<Option<String>, ServiceError> {
    let vms = data_dir.join("vms");
    if !vms.is_symlink() {
        return Ok(None);
    }
    // A unit whose folder is not there does not start, and says so less clearly than the node.
    let Ok(folder) = std::fs::canonicalize(&vms) else { return Ok(None) };
    if std::fs::canonicalize(data_dir).is_ok_and(|data_dir| folder.starts_with(data_dir)) {
        return Ok(None);
    }
    let folder = in_unit(&folder)?;
    Ok(Some(format!(
        "# Written by golem-provider setup: VMs that stayed where they were.\n[Service]\nBindPaths={folder}\n"
    )))
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
    /// A second setup writes what the first could not: it goes by what is there, and by nothing that a move said.
    #[test]
    fn h_11_the_unit_is_let_into_vms_behind_a_link_whatever_they_are_called() {
        let root = tempfile::tempdir().unwrap();
        let data_dir = root.path().join("data");
        std::fs::create_dir_all(data_dir.join("inside")).unwrap();
        let vms = data_dir.join("vms");
        std::os::unix::fs::symlink(data_dir.join("inside"), &vms).unwrap();
        assert_eq!(drop_in(&data_dir).unwrap(), None, "that is in its reach");
        for (name, named) in [
            ("plain", Some("plain")),
            (r#"my 100% "disk"\"#, Some(r#"my 100%% \"disk\"\\"#)),
            ("a:b", None),
            ("a\nUser=nobody", None),
        ] {
            let folder = root.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::remove_file(&vms).unwrap();
            std::os::unix::fs::symlink(&folder, &vms).unwrap();
            let text = drop_in(&data_dir);
            let Some(named) = named else {
                let refused = text.unwrap_err().to_string();
                assert!(refused.contains("fix: rename"), "{refused}");
                assert!(check_name(&folder).is_err());
                continue;
            };
            let line = format!("BindPaths=\"{}/{named}\"\n", root.path().display());
            let text = text.unwrap().unwrap();
            assert!(text.ends_with(&line), "{text}");
            assert!(check_name(&folder).is_ok());
        }
    }
}
