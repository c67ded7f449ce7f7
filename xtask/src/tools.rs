//! Tools of others that a command here runs: one that is installed if it is of the right version, else one of our own.
//!
//! Owns where ours are kept, and how they are compiled.

use std::path::PathBuf;
use std::process::Command;

use crate::run::{cargo, root, step};

/// The program `name` of version `version`, which says so when it is run with `ask`. Compiled once, without its default
/// features, where it is not installed; unoptimized, because that takes a fifth of the time.
pub(crate) fn program(name: &str, version: &str, ask: &[&str]) -> anyhow::Result<PathBuf> {
    let is_it = |program: &PathBuf| {
        let output = Command::new(program).args(ask).output();
        output.is_ok_and(|output| output.stdout.trim_ascii() == format!("{name} {version}").as_bytes())
    };
    let installed = PathBuf::from(name);
    if is_it(&installed) {
        return Ok(installed);
    }
    let tools = root().join(".cache/tools");
    let own = tools.join("bin").join(name);
    if !is_it(&own) {
        let mut install =
            cargo(&["install", "--quiet", "--locked", "--debug", "--no-default-features", "--root"]);
        install.arg(tools).arg(format!("{name}@{version}")).env("CARGO_PROFILE_DEV_DEBUG", "0");
        step(&format!("install {name}"), install)?;
    }
    Ok(own)
}
