//! `cargo xtask test`: everything that must hold before a change is taken.
//!
//! Everything is compiled once. Tests with short deadlines have the machine to themselves. Real guests, which mostly have
//! one processor, boot at the end, beside what the compiler says of everything and tests that mostly wait. A gate's output
//! goes to a file, and is shown if it fails.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::programs::{Kind, Program, compile, not_tried};
use crate::run::{cargo, root, step};
use crate::{circles, log_lines, monitoring, package, policy, promises, setup};

/// Modules of the target `it` that need root, real guests, a chain or published clients. Each has a gate of its own;
/// every other module is quick.
const SLOW: [&str; 13] = [
    "browser",
    "chain",
    "crash",
    "guest",
    "install",
    "interop",
    "isolation",
    "multipass",
    "network",
    "package",
    "published_sdk",
    "rent",
    "service",
];

/// How many tests run at once where they mostly wait: for programs to start and end, for blocks, for leases. Eight take
/// a third of the time of two, on two cores.
const WAITING_TESTS: &str = "8";

/// As many where guests have one of the cores: with more, a slow machine answers too late for some.
const WAITING_TESTS_BESIDE_GUESTS: &str = "4";

/// The longest that a program of a gate may run: one that hangs is named, and the others still have their turn. The slowest
/// takes a third of it on two cores.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The gates that have run.
struct Gates {
    began: Instant,
    done: Mutex<Vec<Gate>>,
}

struct Gate {
    name: String,
    seconds: f32,
    passed: bool,
}

impl Gates {
    fn new() -> Self {
        let _ = std::fs::remove_file(not_tried());
        Self { began: Instant::now(), done: Mutex::default() }
    }

    /// Runs a gate. What `run` starts writes to the file that it gets.
    fn gate(&self, name: &str, run: impl FnOnce(&File) -> anyhow::Result<()>) {
        println!("==> {name}");
        let began = Instant::now();
        let log = log_of(name);
        let result = std::fs::create_dir_all(root().join("target/gates"))
            .and_then(|()| File::create(&log))
            .context("the gate's log cannot be made")
            .and_then(|file| run(&file));
        let seconds = began.elapsed().as_secs_f32();
        match &result {
            Ok(()) => println!("    {name}: passed{}, {seconds:.0} s", counted(passed_tests(&log))),
            Err(error) => {
                let said = std::fs::read(&log).unwrap_or_default();
                println!("{}FAILED {name}: {error:#}, {seconds:.0} s", String::from_utf8_lossy(&said));
            }
        }
        let gate = Gate { name: name.to_owned(), seconds, passed: result.is_ok() };
        self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(gate);
    }

    /// Runs the tests in the modules `names` of each crate; `prepare` says what they need.
    fn modules(
        &self,
        gate: &str,
        names: &[&str],
        programs: &[Program],
        prepare: impl Fn(Command) -> Command,
    ) {
        self.gate(gate, |log| {
            let commands = of(Kind::Test, programs).map(|program| {
                let mut command = prepare(program.command());
                command.args(names.iter().map(|name| format!("{name}::")));
                // What is tried with published clients may have the name of what is tried with ours.
                command.args(["--skip", "interop::"]);
                command
            });
            all(commands, log)?;
            // A module that was renamed would pass in silence.
            if passed_tests(&log_of(gate)) == 0 { bail!("no test ran") } else { Ok(()) }
        });
    }

    fn end(self) -> anyhow::Result<()> {
        let gates = self.done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        println!("\n{:<28} {:>8}", "gate", "seconds");
        for Gate { name, seconds, passed } in &gates {
            println!("{name:<28} {seconds:>8.0}{}", if *passed { "" } else { "  FAILED" });
        }
        println!("{:<28} {:>8.0}", "all, some side by side", self.began.elapsed().as_secs_f32());
        if let Ok(tests) = std::fs::read_to_string(not_tried()) {
            println!("\nnot tried on this machine:\n{tests}");
        }
        let failed: Vec<_> = gates.into_iter().filter(|gate| !gate.passed).map(|gate| gate.name).collect();
        if failed.is_empty() {
            println!("every gate passed");
            return Ok(());
        }
        bail!("these gates failed: {}", failed.join(", "))
    }
}

/// Where the output of the gate `name` is kept.
fn log_of(name: &str) -> PathBuf {
    root().join("target/gates").join(name.replace([' ', '\''], "-")).with_extension("log")
}

/// How many tests the log of a gate tells of that passed.
fn passed_tests(log: &Path) -> usize {
    let said = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&said)
        .lines()
        .filter(|line| line.starts_with("test ") && line.ends_with(" ... ok"))
        .count()
}

fn counted(tests: usize) -> String {
    if tests == 0 { String::new() } else { format!(", {tests} tests") }
}

/// Runs `command` with its output in `log`.
pub(crate) fn run(mut command: Command, log: &File) -> anyhow::Result<()> {
    let program = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).spawn();
    let mut program =
        program.with_context(|| format!("{} did not start", command.get_program().display()))?;
    let end = Instant::now() + PROGRAM_DEADLINE;
    let status = loop {
        match program.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > end => {
                program.kill()?;
                program.wait()?;
                bail!("{} did not end in {} s", command.get_program().display(), PROGRAM_DEADLINE.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    if status.success() { Ok(()) } else { bail!("{status}") }
}

/// Runs every command, also after one that failed.
fn all(commands: impl IntoIterator<Item = Command>, log: &File) -> anyhow::Result<()> {
    let results: Vec<_> = commands.into_iter().map(|command| run(command, log)).collect();
    results.into_iter().collect()
}

/// Those of `programs` that are of this kind.
fn of(kind: Kind, programs: &[Program]) -> impl Iterator<Item = &Program> {
    programs.iter().filter(move |program| program.kind == kind)
}

/// `cargo test` with the features of every crate, so that everything is compiled once and for all gates.
fn tests() -> Command {
    cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"])
}

/// `command`, whose tests mostly wait.
fn waiting(command: Command) -> Command {
    at_once(command, WAITING_TESTS)
}

/// As [`waiting`], beside guests.
fn waiting_beside_guests(command: Command) -> Command {
    at_once(command, WAITING_TESTS_BESIDE_GUESTS)
}

fn at_once(mut command: Command, tests: &str) -> Command {
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", tests);
    }
    command
}

/// What reads the sources only.
fn sources(gates: &Gates) {
    gates.gate("format", |log| run(cargo(&["fmt", "--all", "--check"]), log));
    gates.gate("log lines", |_| log_lines::check());
    gates.gate("circles of files", |_| circles::check());
    gates.gate("promises", |_| promises::check());
}

/// The test programs; empty if they do not compile, which is a gate that failed.
fn compiled(gates: &Gates, incremental: bool) -> Vec<Program> {
    let mut programs = Vec::new();
    gates.gate("tests compiled", |log| {
        let mut tests = tests();
        if !incremental {
            tests.env("CARGO_INCREMENTAL", "0");
        }
        programs = compile(tests, log)?;
        Ok(())
    });
    programs
}

/// What is cheap: no root, no guests, no chain, nothing installed.
fn quick_tests(gates: &Gates, programs: &[Program]) {
    gates.gate("unit tests", |log| {
        let units = programs.iter().filter(|program| program.kind != Kind::Test).map(|program| {
            let mut command = program.command();
            // Those need root, and are run as a gate of their own.
            command.args(["--skip", "qemu::network::tests"]);
            command
        });
        all(units, log)
    });
    gates.gate("running programs", |log| {
        let commands = of(Kind::Test, programs).map(|program| {
            let mut command = waiting(program.command());
            command.args(SLOW.iter().flat_map(|name| ["--skip".to_owned(), format!("{name}::")]));
            command
        });
        all(commands, log)
    });
}

/// Runs the gates that need nothing installed.
pub(crate) fn quick() -> anyhow::Result<()> {
    let gates = Gates::new();
    sources(&gates);
    let programs = compiled(&gates, true);
    if !programs.is_empty() {
        quick_tests(&gates, &programs);
    }
    gates.end()
}

/// Runs every gate, and names all that failed.
pub(crate) fn test() -> anyhow::Result<()> {
    let gates = Gates::new();
    setup::programs()?;
    sources(&gates);
    gates.gate("licences and layers", |_| policy::check());
    // Images and packages wait for disks and servers, the compiler for neither.
    let (programs, images) = std::thread::scope(|scope| {
        let images = scope.spawn(|| {
            let images = (setup::image()?, setup::arm64_image()?, setup::package_root()?);
            packages_of("contracts").and_then(|()| packages_of("dashboard")).map(|()| images)
        });
        // What a whole run compiles is seldom changed a little and compiled again.
        let programs = compiled(&gates, false);
        (programs, images.join())
    });
    let (image, arm64, package_root) =
        images.map_err(|_| anyhow::anyhow!("the image's builder panicked"))??;
    if programs.is_empty() {
        return gates.end();
    }
    let (programs, image) = (programs.as_slice(), image.as_path());
    quick_tests(&gates, programs);
    other_tests(&gates, programs, image);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            gates.modules("guests", &["guest"], programs, |mut command| {
                command.env("GOLEM_TEST_IMAGE_ARM64", &arm64);
                with_guests(command, image)
            });
            gates.modules("isolation", &["isolation"], programs, |command| with_guests(command, image));
            gates.gate("published clients", |log| clients(image, programs, log));
        });
        scope.spawn(|| {
            compiler(&gates);
            waiting_tests(&gates, programs);
            packages(&gates, programs, image, &package_root);
        });
    });
    // Last: it puts a program without crash points in the place of the one that tests run.
    gates.modules("installing", &["install"], programs, |command| command);
    print!("\n{}", std::fs::read_to_string(clients_table()).unwrap_or_default());
    gates.end()
}

/// What needs root or another program, and no guest.
fn other_tests(gates: &Gates, programs: &[Program], image: &Path) {
    gates.modules("crashes", &["crash"], programs, waiting);
    gates.modules("multipass", &["multipass"], programs, waiting);
    gates.gate("guests' networks", |log| {
        let libraries = of(Kind::Library, programs).map(|program| {
            let mut command = with_guests(program.command(), image);
            command.arg("qemu::network::tests");
            command
        });
        all(libraries, log)
    });
    gates.modules("service", &["service"], programs, with_root);
    gates.gate("monitoring", monitoring::check);
}

/// The dashboard: whether its bytes are what its sources give, and what an operator does with it in a browser.
fn dashboard(gates: &Gates, programs: &[Program]) {
    gates.gate("dashboard's bytes", |log| {
        let mut npm = Command::new("npm");
        npm.args(["--silent", "run", "check"]).current_dir(root().join("dashboard"));
        run(npm, log)
    });
    gates.modules("dashboard in a browser", &["browser"], programs, |command| command);
    for file in ["tasks.txt", "thousand.txt"] {
        let measured = std::fs::read_to_string(root().join("target/dashboard").join(file));
        print!("{}", measured.unwrap_or_default());
    }
}

/// What mostly waits, for blocks and for leases.
fn waiting_tests(gates: &Gates, programs: &[Program]) {
    gates.modules("ports behind a router", &["network"], programs, |command| {
        with_root(waiting_beside_guests(command))
    });
    gates.gate("contracts", |log| {
        let mut npm = Command::new("npm");
        npm.args(["--silent", "test"]).current_dir(root().join("contracts"));
        run(npm, log)
    });
    gates.modules("real chains", &["chain", "rent"], programs, waiting_beside_guests);
    dashboard(gates, programs);
}

/// The package, of the program that was compiled for tests, on machines with the root `package_root`.
fn packages(gates: &Gates, programs: &[Program], image: &Path, package_root: &Path) {
    let mut made = None;
    gates.gate("package made", |_| {
        made = Some(package::pack(&package::Package { profile: "dev", target: None })?.debian);
        Ok(())
    });
    if let Some(file) = made {
        gates.modules("package", &["package"], programs, |mut command| {
            command.env("GOLEM_TEST_PACKAGE", &file).env("GOLEM_TEST_PACKAGE_ROOT", package_root);
            with_guests(command, image)
        });
    }
}

/// What the compiler says of everything, fuzz targets too. It has no deadlines.
fn compiler(gates: &Gates) {
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    gates.gate("clippy", |log| run(cargo(&clippy), log));
    gates.gate("documentation", |log| {
        let mut docs = cargo(&["doc", "--workspace", "--all-features", "--no-deps", "--quiet"]);
        docs.env("RUSTDOCFLAGS", "-D warnings");
        run(docs, log)
    });
    gates.gate("documentation's examples", |log| {
        let mut examples = tests();
        // As the tests were: what is compiled incrementally is another artifact, and all would be compiled once more.
        examples.arg("--doc").env("CARGO_INCREMENTAL", "0");
        run(examples, log)
    });
}

/// Real guests need root for users and packet filter of their own.
fn with_guests(mut command: Command, image: &Path) -> Command {
    command.env("GOLEM_TEST_IMAGE", image);
    with_root(command)
}

/// `command` as root.
fn with_root(command: Command) -> Command {
    if setup::is_root() {
        return command;
    }
    let mut root = setup::as_root(command.get_program());
    root.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            root.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        root.current_dir(folder);
    }
    root
}

/// Where the table of the published clients is written.
fn clients_table() -> PathBuf {
    root().join("target/interop.txt")
}

/// The clients that renters have, unmodified, do all they can with the true node; each step goes to the table.
fn clients(image: &Path, programs: &[Program], log: &File) -> anyhow::Result<()> {
    let table = clients_table();
    std::fs::write(&table, "")?;
    let commands = of(Kind::Test, programs).map(|program| {
        let mut command = with_guests(program.command(), image);
        command.arg("interop::").env("GOLEM_INTEROP_TABLE", &table);
        command
    });
    let clients = all(commands, log);
    clients.and(base_sdk(programs, &table, log))
}

/// `cargo xtask interop`.
pub(crate) fn interop() -> anyhow::Result<()> {
    let image = setup::setup()?;
    packages_of("contracts")?;
    let gates = Gates::new();
    let programs = compiled(&gates, true);
    gates.gate("published clients", |log| clients(&image, &programs, log));
    print!("\n{}", std::fs::read_to_string(clients_table()).unwrap_or_default());
    gates.end()
}

/// The library with which the original advertises, beside ours; adds a row for each test to `table`.
fn base_sdk(programs: &[Program], table: &Path, mut log: &File) -> anyhow::Result<()> {
    let mut text = "golem-base-sdk 0.1.0, beside the node's own code\n".to_owned();
    let mut passed = true;
    for program in of(Kind::Test, programs) {
        let mut command = program.command();
        command.arg("published_sdk::");
        let output = command.output()?;
        log.write_all(&[output.stdout.as_slice(), &output.stderr].concat())?;
        passed &= output.status.success();
        let said = String::from_utf8_lossy(&output.stdout);
        for (name, verdict) in said.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        {
            let verdict = if verdict == "ok" { "passed" } else { "FAILED" };
            let name = name.rsplit("::").next().unwrap_or(name);
            text += &format!("  {}  {verdict}\n", name.replace('_', " "));
        }
    }
    let mut file = std::fs::OpenOptions::new().append(true).open(table)?;
    writeln!(file, "{text}")?;
    if passed { Ok(()) } else { bail!("the published library failed") }
}

/// Installs what `folder` needs from the npm registry, as its lock file names it.
fn packages_of(folder: &str) -> anyhow::Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-progress"]).current_dir(root().join(folder));
    step(&format!("packages of {folder}"), npm)
}
