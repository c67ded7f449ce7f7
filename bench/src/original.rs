//! The original provider, in Python, installed from its registry as its users do.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

/// The version that all baselines were measured with.
pub const VERSION: &str = "0.1.63";

/// Installs the original into a virtual environment of its own, once; gives its Python.
///
/// # Errors
/// When Python is missing or the package cannot be installed.
pub fn python() -> anyhow::Result<PathBuf> {
    let environment = crate::folder().join(format!("original-{VERSION}"));
    let python = environment.join("bin/python");
    let complete = environment.join("complete-with-payments");
    if complete.exists() {
        return Ok(python);
    }
    crate::say(&format!("installing the original provider {VERSION} from PyPI …"));
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment)
        .status()
        .context("python3 did not start: install python3 and python3-venv")?;
    ensure!(made.success(), "python3 -m venv failed: install python3-venv");
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check"])
        .arg(format!("golem-vm-provider=={VERSION}"))
        // Newer ones are of another contract, with which it fails at every stream.
        .arg("golem-streaming-abi==0.1.1")
        .status()
        .context("pip did not start")?;
    ensure!(installed.success(), "the original provider could not be installed from PyPI");
    std::fs::write(&complete, "").context("the mark of a finished installation cannot be written")?;
    Ok(python)
}
