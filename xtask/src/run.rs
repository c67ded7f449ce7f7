//! Running other programs, and saying so.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or_else(|| own.clone(), ToOwned::to_owned)
}

/// Cargo, in the project's folder.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).current_dir(root());
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The program `name` as cargo built it for development.
pub(crate) fn built(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

/// Says and runs `command`, and how long it took.
pub(crate) fn step(what: &str, mut command: Command) -> anyhow::Result<()> {
    println!("==> {what}");
    let began = Instant::now();
    let status = command.status().with_context(|| format!("{what}: did not start"))?;
    println!("    {what}: {status}, {:.0} s", began.elapsed().as_secs_f32());
    if status.success() { Ok(()) } else { bail!("{what} failed") }
}

/// Runs the benchmark `name`.
pub(crate) fn bench(name: &str) -> anyhow::Result<()> {
    let image = crate::setup::setup()?;
    step("build for release", cargo(&["build", "--release", "-p", "golem-provider", "-p", "bench"]))?;
    let mut run = cargo(&["run", "--release", "-p", "bench", "--bin", name]);
    run.env("GOLEM_TEST_IMAGE", image);
    step(&format!("bench {name}"), run)
}

/// Rewrites the files that are generated from the tables of settings and of messages, and from the APIs.
pub(crate) fn generate() -> anyhow::Result<()> {
    for (form, path) in [
        ("env-example", ".env.example"),
        ("markdown", "docs/configuration.md"),
        ("openapi-public", "docs/openapi/public.json"),
        ("openapi-operator", "docs/openapi/operator.json"),
        ("troubleshooting", "docs/troubleshooting.md"),
    ] {
        let output = cargo(&["run", "-q", "-p", "golem-provider", "--", "config", "render", form])
            .output()
            .context("the node's program did not start")?;
        if !output.status.success() {
            bail!("config render {form}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::write(root().join(path), output.stdout)
            .with_context(|| format!("{path} cannot be written"))?;
        println!("wrote {path}");
    }
    crate::promises::write()
}
