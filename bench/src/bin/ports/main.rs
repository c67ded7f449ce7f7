//! `cargo xtask bench ports`: how long it takes to verify 100 ports by three check servers of which none,
//! one or two are dead, beside the original's own verifier with the same servers.
//!
//! Both ask the same check servers, our own. Ours is the whole command `ports check`, the original's time is
//! that of its verification alone. Dead is either that the connection is refused, or that it is accepted and
//! nothing is ever answered.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bench::figures::{Figures, Table, Targets};
use bench::process::Process;

/// Ports that are verified: that of the API and the SSH ports behind it.
const PORTS: u16 = 100;

const SERVERS: usize = 3;

/// Where free ports are looked for: below those that the system takes for clients.
const FIRST: u16 = 20_000;
const LAST: u16 = 30_000;

/// Rounds where connections are refused; where nothing is answered, the original waits for its deadlines,
/// and one round says it all.
const ROUNDS: usize = 5;

/// Longest that anything may take; the original waits 30 s for each server.
const LIMIT: Duration = Duration::from_secs(150);

/// How a check server is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dead {
    /// Nobody listens.
    Refuses,
    /// Connections are accepted, and nothing comes.
    Hangs,
}

fn main() -> ExitCode {
    match compare() {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> anyhow::Result<ExitCode> {
    let python = bench::original::python()?;
    let binary = std::env::current_exe()?.with_file_name("golem-provider");
    ensure!(binary.exists(), "{} is not built", binary.display());
    let mut table = Table::new(&["dead of 3", "how", "ours, s", "original, s", "ratio"]);
    let mut targets = Targets::default();
    let (mut alive, mut hanging) = (f64::NAN, Vec::new());
    for (dead, how, rounds) in [
        (0, Dead::Refuses, ROUNDS),
        (1, Dead::Refuses, ROUNDS),
        (2, Dead::Refuses, ROUNDS),
        (1, Dead::Hangs, 1),
        (2, Dead::Hangs, 1),
    ] {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        let words = match (dead, how) {
            (0, _) => "-",
            (_, Dead::Refuses) => "refuses connections",
            (_, Dead::Hangs) => "accepts, never answers",
        };
        bench::say(&format!("{dead} of {SERVERS} dead ({words}) …"));
        for _ in 0..rounds {
            let servers = Servers::start(&binary, dead, how)?;
            ours.push(node(&binary, &servers.urls)?);
            theirs.push(original(&python, &servers.urls)?);
        }
        let ratio = theirs.median() / ours.median();
        bench::say(&format!("  ours {ours:.3} s, the original {theirs:.3} s"));
        table.row(vec![
            dead.to_string(),
            words.to_owned(),
            format!("{ours:.3}"),
            format!("{theirs:.3}"),
            format!("{ratio:.2}×"),
        ]);
        if dead == 0 {
            alive = ours.median();
        }
        if how == Dead::Hangs {
            hanging.push(ours.median());
            let target = format!("faster than the original, {dead} of {SERVERS} hang");
            targets.add(&target, format!("{ratio:.2}×"), ratio > 1.0);
        } else {
            // Ours is timed with the start of its program, the original without.
            let more = ours.median() - theirs.median();
            let target = format!("at most 0.1 s more than the original, {dead} of {SERVERS} dead");
            targets.add(&target, format!("{more:.3} s"), more <= 0.1);
        }
    }
    if let [one, two] = hanging.as_slice() {
        // A server may be slow without being dead: it is heard for a second after the others decided.
        let more = one - alive;
        targets.add("one server that hangs costs at most 2 s more", format!("{more:.2} s"), more <= 2.0);
        let limit = "two that hang are waited for as long as one may take, 30 s, and not one after the other";
        targets.add(limit, format!("{two:.2} s"), *two <= 32.0);
    }
    println!("\nBoth found all {PORTS} ports in every run.\n\n{table}\n{targets}");
    Ok(if targets.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

/// The check servers of a round, the dead ones first.
struct Servers {
    urls: Vec<String>,
    alive: Vec<Process>,
    /// Where those that live keep their keys.
    home: tempfile::TempDir,
    /// Nobody takes the connections that the kernel accepts for these.
    hanging: Vec<TcpListener>,
}

impl Servers {
    fn start(binary: &Path, dead: usize, how: Dead) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let mut servers = Self { urls: Vec::new(), alive: Vec::new(), home, hanging: Vec::new() };
        for number in 0..SERVERS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            servers.urls.push(format!("http://127.0.0.1:{port}"));
            if number < dead && how == Dead::Hangs {
                servers.hanging.push(listener);
                continue;
            }
            drop(listener);
            if number >= dead {
                let server = check_server(binary, servers.home.path(), port)?;
                servers.alive.push(server);
            }
        }
        Ok(servers)
    }
}

/// Starts a check server that dials this host, with its key in `home`.
fn check_server(binary: &Path, home: &Path, port: u16) -> anyhow::Result<Process> {
    let mut command = Command::new(binary);
    command.env_clear().env("HOME", home);
    command.args(["port-checker", "--host", "127.0.0.1", "--allow-private-targets", "--port"]);
    let mut server = Process::start(command.arg(port.to_string()).stderr(Stdio::piped()))?;
    let mut log = BufReader::new(server.child().stderr.take().context("no log")?);
    let mut line = String::new();
    while !line.contains("checking ports on") {
        line.clear();
        ensure!(log.read_line(&mut line)? > 0, "the check server did not start");
    }
    // What it says later is nobody's concern, and must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok(server)
}

/// The first of `PORTS` ports in a row that nobody uses.
fn free() -> anyhow::Result<u16> {
    let is_free = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    let step = usize::from(PORTS);
    (FIRST..LAST)
        .step_by(step)
        .find(|first| (*first..first + PORTS).all(is_free))
        .context("no ports are free")
}

/// Runs `command` to its end: what it printed, and the seconds that took.
fn run(command: &mut Command) -> anyhow::Result<(String, f64)> {
    let began = Instant::now();
    let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut output = process.child().stdout.take().context("no output")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let status = loop {
        if let Some(status) = process.child().try_wait()? {
            break status;
        }
        ensure!(began.elapsed() < LIMIT, "it did not end within {LIMIT:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    };
    let seconds = began.elapsed().as_secs_f64();
    let Ok(text) = reader.join() else { bail!("its output could not be read") };
    let text = text?;
    ensure!(status.success(), "it failed: {text}");
    Ok((text, seconds))
}

/// Verifies with the node's program, its start included.
fn node(binary: &Path, urls: &[String]) -> anyhow::Result<f64> {
    let home = tempfile::tempdir()?;
    let first = free()?;
    let mut command = Command::new(binary);
    command.args(["ports", "check", "--json"]).env_clear().env("HOME", home.path()).stderr(Stdio::null());
    for (name, text) in [
        ("HOST", "127.0.0.1".to_owned()),
        ("PUBLIC_IP", "127.0.0.1".to_owned()),
        ("VM_BACKEND", "sim".to_owned()),
        ("ADVERTISER_TYPE", "none".to_owned()),
        ("PORT", first.to_string()),
        ("PORT_RANGE_START", (first + 1).to_string()),
        ("PORT_RANGE_END", (first + PORTS).to_string()),
        ("PORT_CHECK_SERVERS", urls.join(",")),
    ] {
        command.env(format!("GOLEM_PROVIDER_{name}"), text);
    }
    let (text, seconds) = run(&mut command).context("the node's program")?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    let ports = report["ssh"].as_array().into_iter().flatten().chain([&report["provider"]]);
    let found = ports.filter(|port| port["status"] == "reachable").count();
    ensure!(found == usize::from(PORTS), "the node's program found {found} ports: {text}");
    Ok(seconds)
}

/// Verifies with the original; only its verification counts.
fn original(python: &PathBuf, urls: &[String]) -> anyhow::Result<f64> {
    let home = tempfile::tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/ports/original.py");
    let first = free()?;
    let mut command = Command::new(python);
    command.arg(script).args([first.to_string(), PORTS.to_string()]).args(urls);
    command.env("HOME", home.path()).env("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", "/bin/true");
    command.stderr(Stdio::null());
    let (text, _) = run(&mut command).context("the original")?;
    let line = text.lines().last().unwrap_or_default();
    let (seconds, found) = line.split_once(' ').with_context(|| format!("the original said {text}"))?;
    ensure!(found == PORTS.to_string(), "the original found {found} ports");
    Ok(seconds.parse()?)
}
