//! `cargo xtask test`: everything that must hold before a change is taken.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::bail;

use crate::run::{cargo, root, step};
use crate::{log_lines, policy, promises, setup};

/// Runs every gate, the cheapest first, and names all that failed.
pub(crate) fn test() -> anyhow::Result<()> {
    let began = Instant::now();
    let image = setup::setup()?;
    let mut failed = Vec::new();
    let mut gate = |name: &str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            eprintln!("FAILED {name}: {error:#}");
            failed.push(name.to_owned());
        }
    };
    gate("format", step("format", cargo(&["fmt", "--all", "--check"])));
    gate("licences and layers", policy::check());
    gate("log lines", log_lines::check());
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    gate("clippy", step("clippy", cargo(&clippy)));
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    gate("documentation", step("documentation", docs));
    gate("tests", step("tests", cargo(&["test", "--workspace", "--no-fail-fast"])));
    let crashes = ["test", "-p", "golem-provider", "--features", "failpoints", "--test", "crash"];
    gate("crashes", step("crashes", cargo(&crashes)));
    let multipass = ["test", "-p", "golem-vm", "--features", "multipass-tests", "--test", "multipass"];
    gate("multipass", step("multipass", cargo(&multipass)));
    let networks = ["test", "-p", "golem-vm", "--features", "guest-tests", "--lib", "network::tests"];
    gate("guests' networks", step("guests' networks", with_guests(cargo(&networks), &image)));
    for (name, package) in [("guests", "golem-vm"), ("guests of the node", "golem-provider")] {
        let tests = ["test", "-p", package, "--features", "guest-tests", "--test", "guest"];
        let guests = setup::arm64_image().and_then(|arm64| {
            let mut tests = with_guests(cargo(&tests), &image);
            tests.env("GOLEM_TEST_IMAGE_ARM64", arm64);
            step(name, tests)
        });
        gate(name, guests);
    }
    let isolation =
        ["test", "-p", "golem-provider", "--features", "guest-tests,network-tests", "--test", "isolation"];
    gate("isolation", step("isolation", with_guests(cargo(&isolation), &image)));
    let features = "network-tests,peer-tests";
    let network = ["test", "-p", "golem-provider", "--features", features, "--test", "network"];
    gate("ports behind a router", step("ports behind a router", with_root(cargo(&network))));
    let service = ["test", "-p", "golem-provider", "--features", "service-tests", "--test", "service"];
    gate("service", step("service", with_root(cargo(&service))));
    gate("contracts", contracts());
    gate("interop", interop(&image));
    gate("fuzz targets", step("fuzz targets", fuzz()));
    gate("promises", promises::check());
    println!("==> {:.0} s in all", began.elapsed().as_secs_f32());
    if failed.is_empty() {
        println!("every gate passed");
        return Ok(());
    }
    bail!("these gates failed: {}", failed.join(", "))
}

/// Real guests need root for users and packet filter of their own.
fn with_guests(mut command: Command, image: &Path) -> Command {
    command.env("GOLEM_TEST_IMAGE", image);
    with_root(command)
}

/// Runs the tests themselves as root, and nothing else.
fn with_root(mut command: Command) -> Command {
    if !setup::is_root() {
        let target =
            format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
        command.env(target, "sudo --preserve-env");
    }
    command
}

/// The contracts compile to the artifacts that are checked in, and hold what they promise on anvil.
fn contracts() -> anyhow::Result<()> {
    let npm = |arguments: &[&str]| {
        let mut command = Command::new("npm");
        command.args(arguments).current_dir(root().join("contracts"));
        command
    };
    chain_packages()?;
    step("contracts", npm(&["--silent", "test"]))?;
    for (what, package, features, test) in [
        ("the contract as the node reads it", "golem-chain", "chain-tests", "chain"),
        ("rentals paid on a real chain", "golem-node", "chain-tests", "chain"),
        ("the node on a real chain, killed", "golem-provider", "chain-tests,failpoints", "chain"),
        ("renters on a real chain, killed", "golem-provider", "chain-tests,failpoints", "rent"),
    ] {
        step(what, cargo(&["test", "-p", package, "--features", features, "--test", test]))?;
    }
    Ok(())
}

/// The clients that renters have, unmodified, do all they can with the true node; prints each step.
pub(crate) fn interop(image: &Path) -> anyhow::Result<()> {
    let table = root().join("target/interop.txt");
    std::fs::create_dir_all(root().join("target"))?;
    std::fs::write(&table, "")?;
    let tests = ["test", "-p", "golem-provider", "--features", "peer-tests,guest-tests", "--test", "interop"];
    let mut command = with_guests(cargo(&tests), image);
    command.env("GOLEM_INTEROP_TABLE", &table);
    let clients = step("the published clients", command);
    let library = base_sdk(&table);
    print!("{}", std::fs::read_to_string(&table).unwrap_or_default());
    clients.and(library)
}

/// The library with which the original advertises, beside ours; adds a row for each test to `table`.
fn base_sdk(table: &Path) -> anyhow::Result<()> {
    let tests = ["test", "-p", "golem-chain", "--features", "peer-tests", "--test", "golem_base_sdk"];
    println!("==> the published library");
    let output = cargo(&tests).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rows = said.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    let mut text = "golem-base-sdk 0.1.0, beside the node's own code\n".to_owned();
    for (name, verdict) in rows {
        let verdict = if verdict == "ok" { "passed" } else { "FAILED" };
        text += &format!("  {}  {verdict}\n", name.replace('_', " "));
    }
    let mut file = std::fs::OpenOptions::new().append(true).open(table)?;
    writeln!(file, "{text}")?;
    if output.status.success() {
        return Ok(());
    }
    print!("{said}");
    bail!("the published library failed")
}

/// What tests of the chain and of published clients need.
pub(crate) fn chain_packages() -> anyhow::Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-progress"]).current_dir(root().join("contracts"));
    step("contracts' packages", npm)
}

fn fuzz() -> Command {
    let manifest = root().join("fuzz/Cargo.toml");
    let mut command = cargo(&["check", "--quiet", "--manifest-path"]);
    command.arg(manifest).env("CARGO_TARGET_DIR", root().join("target/fuzz"));
    command
}
