//! The original's programs, in Python, installed from their registry as its users do.

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
    let package = format!("golem-vm-provider=={VERSION}");
    // Newer ones are of another contract, with which it fails at every stream.
    let packages = [package.as_str(), "golem-streaming-abi==0.1.1"];
    let environment = install(&format!("original-{VERSION}"), "complete-with-payments", &packages)?;
    Ok(environment.join("bin/python"))
}

/// Installs the published discovery server into a virtual environment of its own, once; gives its program.
///
/// # Errors
/// When Python is missing or the package cannot be installed.
pub fn discovery_server() -> anyhow::Result<PathBuf> {
    let environment = install("discovery-0.1.25", "complete", &["golem-vm-discovery==0.1.25"])?;
    Ok(environment.join("bin/golem-discovery"))
}

/// The environment `name` with `packages` in it; `mark` is there once it is complete.
fn install(name: &str, mark: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let environment = crate::folder().join(name);
    let complete = environment.join(mark);
    if complete.exists() {
        return Ok(environment);
    }
    crate::say(&format!("installing {} from PyPI …", packages.join(" and ")));
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment)
        .status()
        .context("python3 did not start: install python3 and python3-venv")?;
    ensure!(made.success(), "python3 -m venv failed: install python3-venv");
    let installed = Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "-q", "--disable-pip-version-check"])
        .args(packages)
        .status()
        .context("pip did not start")?;
    ensure!(installed.success(), "{} could not be installed from PyPI", packages.join(" and "));
    std::fs::write(&complete, "").context("the mark of a finished installation cannot be written")?;
    Ok(environment)
}
