//! Where the stand-in for `multipass` is, for tests that run it.
//!
//! Owns building it next to the test that asks, and the knobs that tests turn. Never runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// The variable that names the folder in which the stand-in keeps its instances.
pub const FOLDER: &str = "FAKE_MULTIPASS_DIR";

/// The file in that folder which says how it misbehaves.
pub const MODE: &str = "mode.json";

/// How the stand-in misbehaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mode {
    /// The daemon does not answer.
    pub down: bool,
    /// The program never ends.
    pub hangs: bool,
    /// `list` answers half of its JSON.
    pub half_list: bool,
    /// `launch` makes the instance, and gives up waiting for it.
    pub launch_times_out: bool,
    /// `launch` makes nothing and fails with these words.
    pub launch_fails: Option<String>,
    /// The state that `list` and `info` show for every instance.
    pub state: Option<String>,
    /// Instances are real SSH servers, on loopback addresses of their own, port 22.
    pub ssh_servers: bool,
    /// The version that it claims to be.
    pub version: Option<String>,
}

impl Mode {
    /// Lets the stand-in with its instances in `folder` behave so from now on.
    ///
    /// # Errors
    /// Any error of writing the file.
    pub fn set(&self, folder: &Path) -> std::io::Result<()> {
        let unfinished = folder.join("mode.json.new");
        std::fs::write(&unfinished, serde_json::to_vec(self)?)?;
        std::fs::rename(unfinished, folder.join(MODE))
    }
}

/// The stand-in, built with what the running test was built with.
///
/// # Panics
/// When it cannot be built.
#[must_use]
#[allow(clippy::expect_used, reason = "a test that lacks its program cannot go on")]
pub fn program() -> PathBuf {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = std::env::current_exe().expect("a test knows where it is");
        // target/debug/deps/test-1234
        let profile = own.ancestors().nth(2).expect("a test is below the target folder");
        let target = profile.parent().expect("a test is below the target folder");
        #[allow(clippy::disallowed_methods, reason = "a test may wait for a build")]
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "fake-multipass", "--bin", "fake-multipass"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the stand-in for multipass cannot be built");
        target.join("debug/fake-multipass")
    });
    PROGRAM.clone()
}

/// Puts a `multipass` into `folder` whose instances are kept there, too; gives its path.
///
/// # Errors
/// Any error of writing the file.
pub fn install(folder: &Path) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let (path, text) = (folder.join("multipass"), folder.join("multipass.text"));
    let script =
        format!("#!/bin/sh\n{FOLDER}='{}' exec '{}' \"$@\"\n", folder.display(), program().display());
    std::fs::write(&text, script)?;
    // Another process writes it: what this one starts meanwhile would hold it open for writing, and it could not be run.
    let copied = std::process::Command::new("cp").arg(&text).arg(&path).status()?;
    if !copied.success() {
        return Err(std::io::Error::other("the program was not written"));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
