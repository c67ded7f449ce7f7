//! Developer commands. Never ships.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command line talks to its terminal"
)]

use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

/// Every gate, in the order in which a failure is cheapest to see.
const GATES: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    &["test", "--workspace"],
];

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let result = match command.as_deref() {
        Some("test") => test(),
        other => Err(anyhow::anyhow!("unknown command {other:?}; there is: cargo xtask test")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every gate and reports all that failed.
fn test() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for gate in GATES {
        println!("==> cargo {}", gate.join(" "));
        let status = Command::new(env!("CARGO")).args(*gate).status().context("cargo did not start")?;
        if !status.success() {
            failed.push(gate[0]);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}
