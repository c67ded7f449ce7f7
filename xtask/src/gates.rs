//! `cargo xtask test`: everything that must hold before a change is taken.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::run::{cargo, root, step};
use crate::{log_lines, policy, promises, setup};

/// Modules of the target `it` that need root, real guests, a chain or published clients. Each has a gate of its own;
/// every other module is quick.
const SLOW_MODULES: [&str; 10] = [
    "chain",
    "crash",
    "guest",
    "interop",
    "isolation",
    "multipass",
    "network",
    "published_sdk",
    "rent",
    "service",
];

/// The gates that have run.
#[derive(Default)]
struct Gates(Vec<(String, f32, bool)>);

impl Gates {
    fn gate(&mut self, name: &str, run: impl FnOnce() -> anyhow::Result<()>) {
        println!("==> {name}");
        let began = Instant::now();
        let result = run();
        let seconds = began.elapsed().as_secs_f32();
        if let Err(error) = &result {
            eprintln!("FAILED {name}: {error:#}");
        }
        self.0.push((name.to_owned(), seconds, result.is_ok()));
    }

    /// Runs the tests in the modules `names` of each crate's target `it`, as they are compiled already.
    fn modules(&mut self, gate: &str, names: &[&str], prepared: impl FnOnce(Command) -> Command) {
        self.gate(gate, || run(prepared(modules(names))));
    }

    fn end(self, began: Instant) -> anyhow::Result<()> {
        println!("\n{:<28} {:>8}", "gate", "seconds");
        for (name, seconds, passed) in &self.0 {
            println!("{name:<28} {seconds:>8.0}{}", if *passed { "" } else { "  FAILED" });
        }
        println!("{:<28} {:>8.0}", "all", began.elapsed().as_secs_f32());
        let failed: Vec<_> =
            self.0.into_iter().filter(|(.., passed)| !passed).map(|(name, ..)| name).collect();
        if failed.is_empty() {
            println!("every gate passed");
            return Ok(());
        }
        bail!("these gates failed: {}", failed.join(", "))
    }
}

/// `cargo test` with the features of every crate, so that everything is compiled once and for all gates.
fn tests() -> Command {
    cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"])
}

/// The tests in the modules `names` of each crate's target `it`.
fn modules(names: &[&str]) -> Command {
    let mut command = tests();
    command.args(["--test", "it", "--"]).args(names.iter().map(|name| format!("{name}::")));
    // What is tried with a published client may have the name of what is tried with our own.
    if names != ["interop"] {
        command.args(["--skip", "interop::"]);
    }
    command
}

fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().context("cargo did not start")?;
    if status.success() { Ok(()) } else { bail!("{status}") }
}

/// What is cheap: no root, no guests, no chain, nothing installed.
fn quick_gates(gates: &mut Gates) -> anyhow::Result<()> {
    gates.gate("format", || run(cargo(&["fmt", "--all", "--check"])));
    gates.gate("log lines", log_lines::check);
    gates.gate("tests compiled", || {
        let mut command = tests();
        command.args(["--no-run", "--quiet"]);
        run(command)
    });
    let mut units = tests();
    // Those need root, and are run as a gate of their own.
    units.args(["--lib", "--bins", "--", "--skip", "qemu::network::tests"]);
    gates.gate("unit tests", || run(units));
    let mut quick = tests();
    quick.args(["--test", "*", "--"]);
    for name in SLOW_MODULES {
        quick.args(["--skip", &format!("{name}::")]);
    }
    gates.gate("running programs", || run(quick));
    gates.gate("promises", promises::check);
    Ok(())
}

/// Runs the gates that need nothing installed.
pub(crate) fn quick() -> anyhow::Result<()> {
    let (began, mut gates) = (Instant::now(), Gates::default());
    quick_gates(&mut gates)?;
    gates.end(began)
}

/// Runs every gate, the cheapest first, and names all that failed.
pub(crate) fn test() -> anyhow::Result<()> {
    let (began, mut gates) = (Instant::now(), Gates::default());
    let image = setup::setup()?;
    let arm64 = setup::arm64_image()?;
    gates.gate("licences and layers", policy::check);
    quick_gates(&mut gates)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    gates.gate("clippy", || run(cargo(&clippy)));
    let mut docs = cargo(&["doc", "--workspace", "--all-features", "--no-deps", "--quiet"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    gates.gate("documentation", || run(docs));
    let mut examples = tests();
    examples.arg("--doc");
    gates.gate("documentation's examples", || run(examples));
    gates.modules("crashes", &["crash"], |command| command);
    gates.modules("multipass", &["multipass"], |command| command);
    let mut networks = with_guests(tests(), &image);
    networks.args(["--lib", "qemu::network::tests"]);
    gates.gate("guests' networks", || run(networks));
    gates.modules("guests", &["guest"], |mut command| {
        command.env("GOLEM_TEST_IMAGE_ARM64", arm64);
        with_guests(command, &image)
    });
    gates.modules("isolation", &["isolation"], |command| with_guests(command, &image));
    gates.modules("ports behind a router", &["network"], with_root);
    gates.modules("service", &["service"], with_root);
    gates.gate("contracts", contracts);
    // After the contracts: their packages have the chain.
    gates.modules("real chains", &["chain", "rent"], |command| command);
    gates.gate("published clients", || interop(&image));
    gates.gate("fuzz targets", || run(fuzz()));
    gates.end(began)
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
    run(npm(&["--silent", "test"]))
}

/// The clients that renters have, unmodified, do all they can with the true node; prints each step.
pub(crate) fn interop(image: &Path) -> anyhow::Result<()> {
    let table = root().join("target/interop.txt");
    std::fs::create_dir_all(root().join("target"))?;
    std::fs::write(&table, "")?;
    let mut command = with_guests(modules(&["interop"]), image);
    command.env("GOLEM_INTEROP_TABLE", &table);
    let clients = step("the published clients", command);
    let library = base_sdk(&table);
    print!("{}", std::fs::read_to_string(&table).unwrap_or_default());
    clients.and(library)
}

/// The library with which the original advertises, beside ours; adds a row for each test to `table`.
fn base_sdk(table: &Path) -> anyhow::Result<()> {
    println!("==> the published library");
    let mut command = tests();
    command.args(["--test", "it", "--", "published_sdk::"]);
    let output = command.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rows = said.lines().filter_map(|line| line.strip_prefix("test published_sdk::")?.split_once(" ... "));
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
