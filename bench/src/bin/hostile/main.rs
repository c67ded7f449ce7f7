//! A guest that exhausts what it can, beside a second one of the same node: how long that one's owner waits for
//! an answer over ssh, before and meanwhile.
//!
//! `cargo xtask bench hostile`. Needs root, iproute2 and the image that `GOLEM_TEST_IMAGE` names.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bench::figures::{Figures, Table, Targets};
use bench::guests::{self, BOOT, Login, keypair};
use bench::internet;
use bench::node::Node;
use bench::process::Process;
use bench::say;

/// How often each thing is asked in one phase, and the pause between two keys that are typed.
const KEYS: usize = 200;
const COMMANDS: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// How long a guest is let loose before its neighbour is asked.
const LOOSE: Duration = Duration::from_secs(5);

/// What the neighbour's owner may wait, as often as before.
const GOAL: f64 = 2.0;

/// What the hostile guest does; each runs until it is ended.
const DEEDS: [(&str, &str); 5] = [
    ("burns its CPU", "for n in 1 2 3 4; do (while :; do :; done) & done; wait"),
    (
        "fills its memory and keeps it moving",
        "python3 -c '
blocks = []
size = int(next(l for l in open(\"/proc/meminfo\") if l.startswith(\"MemAvailable\")).split()[1]) << 10
for _ in range(max(1, (size - (96 << 20)) >> 20)): blocks.append(bytearray(1 << 20))
while True:
    for block in blocks:
        for page in range(0, 1 << 20, 4096): block[page] = (block[page] + 1) & 255
'",
    ),
    ("opens connections without end", CONNECTIONS),
    (
        "writes to its disk without end",
        "while :; do dd if=/dev/urandom of=/var/tmp/full bs=1M count=1024 conv=notrunc oflag=direct 2>/dev/null; done",
    ),
    ("floods its console", "while :; do head -c 1000000 /dev/zero | tr '\\0' x > /dev/ttyS0; done"),
];

/// To the server of [`internet`], half of them UDP.
const CONNECTIONS: &str = "python3 -c '
import socket
where = \"198.51.100.10\"
while True:
    held = []
    for port in range(20000, 24000):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((where, 9000))
        held.append(s)
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try: u.sendto(b\"x\" * 1000, (where, port))
        except OSError: pass
        u.close()
    for s in held: s.close()
'";

fn main() -> anyhow::Result<()> {
    internet::on_the_host(measure)
}

fn measure() -> anyhow::Result<()> {
    let image =
        PathBuf::from(std::env::var_os("GOLEM_TEST_IMAGE").context("GOLEM_TEST_IMAGE has to name an image")?);
    let node = Node::start(&image)?;
    let (key, public) = keypair(node.home())?;
    say("two guests boot …");
    let ids = [node.create("neighbour", &public)?, node.create("hostile", &public)?];
    let result = beside(&node, &key, &ids);
    for id in &ids {
        node.delete(id)?;
    }
    result
}

/// What the neighbour's owner waits, in milliseconds.
#[derive(Default)]
struct Waits {
    key: Figures,
    command: Figures,
}

fn beside(node: &Node, key: &std::path::Path, ids: &[String; 2]) -> anyhow::Result<()> {
    let mut logins = Vec::new();
    for (id, name) in ids.iter().zip(["neighbour", "hostile"]) {
        node.runs(id, BOOT)?;
        let at = (Ipv4Addr::LOCALHOST, node.port_of(id)?).into();
        let login = Login { at, key: key.to_owned(), shared: Some(node.home().join(name)) };
        login.wait()?;
        login.says("cloud-init status --wait >/dev/null 2>&1; true")?;
        logins.push(login);
    }
    let [neighbour, hostile] = logins.as_slice() else { anyhow::bail!("two guests") };
    let mut busy = (Instant::now(), 0.0);
    told(node, &ids[1], &mut busy);
    let mut phases = vec![("idle", ask(neighbour)?, String::new())];
    for (deed, script) in DEEDS {
        say(&format!("the hostile guest {deed} …"));
        phases.push((deed, while_doing(neighbour, hostile, &[script])?, told(node, &ids[1], &mut busy)));
        // Each deed is measured beside a fresh look at the neighbour alone.
        phases.push(("idle", ask(neighbour)?, String::new()));
        told(node, &ids[1], &mut busy);
    }
    say("the hostile guest does all of it …");
    let all: Vec<&str> = DEEDS.iter().map(|(_, script)| *script).collect();
    phases.push(("does all of it", while_doing(neighbour, hostile, &all)?, told(node, &ids[1], &mut busy)));
    ensure!(neighbour.says("true").is_ok(), "the neighbour did not live to the end");
    report(&phases);
    Ok(())
}

fn report(phases: &[(&str, Waits, String)]) {
    let idle = |of: fn(&Waits) -> &Figures| -> Figures {
        phases.iter().filter(|(deed, ..)| *deed == "idle").map(|(_, waits, _)| of(waits).median()).collect()
    };
    let (key, command) = (idle(|waits| &waits.key), idle(|waits| &waits.command));
    let mut table = Table::new(&[
        "the hostile guest",
        "a key, ms (95 of 100 within)",
        "ratio",
        "a command, ms",
        "ratio",
        "its QEMU",
    ]);
    table.row(vec![
        "idle".to_owned(),
        format!("{key:.1}"),
        "1".to_owned(),
        format!("{command:.0}"),
        "1".to_owned(),
    ]);
    let mut targets = Targets::default();
    for (deed, waits, told) in phases.iter().filter(|(deed, ..)| *deed != "idle") {
        let ratios = [waits.key.median() / key.median(), waits.command.median() / command.median()];
        table.row(vec![
            (*deed).to_owned(),
            format!("{:.1} ({:.1})", waits.key.median(), waits.key.rank(0.95)),
            format!("{:.2}×", ratios[0]),
            format!("{:.0}", waits.command.median()),
            format!("{:.2}×", ratios[1]),
            told.clone(),
        ]);
        for (what, ratio) in ["a key", "a command"].into_iter().zip(ratios) {
            targets.add(&format!("{deed}: {what} ≤ {GOAL}×"), format!("{ratio:.2}×"), ratio <= GOAL);
        }
    }
    println!("\n{table}\n{targets}");
}

/// What the hostile guest's QEMU takes of the host: its memory, and of the processors since `busy`, the last look.
fn told(node: &Node, id: &str, busy: &mut (Instant, f64)) -> String {
    let pid = std::fs::read_to_string(node.machine(id).join("qemu.pid")).unwrap_or_default();
    let Ok(pid) = pid.trim().parse() else { return "gone".to_owned() };
    let (now, seconds) = (Instant::now(), guests::cpu_seconds(&[pid].into()));
    let share = (seconds - busy.1) / now.duration_since(busy.0).as_secs_f64();
    *busy = (now, seconds);
    format!("{:.0} MiB, {share:.1} processors", guests::memory_mib(pid))
}

/// Asks the neighbour while the hostile guest runs `scripts`.
fn while_doing(neighbour: &Login, hostile: &Login, scripts: &[&str]) -> anyhow::Result<Waits> {
    for (number, script) in scripts.iter().enumerate() {
        // A guest that starves may not hear that it should end; a deed ends by itself as well.
        let limits = "-p RuntimeMaxSec=240 -p LimitNOFILE=20000 -p OOMPolicy=continue";
        hostile.says(&format!(
            "systemd-run -q --collect --unit=deed{number} {limits} bash -c {}",
            quoted(script)
        ))?;
    }
    std::thread::park_timeout(LOOSE);
    let waits = ask(neighbour)?;
    let began = Instant::now();
    while hostile.says("systemctl kill -s KILL 'deed*'; sleep 1; ! systemctl -q is-active 'deed*'").is_err() {
        ensure!(began.elapsed() < BOOT, "the hostile guest does not end what it does");
    }
    hostile.says("rm -f /var/tmp/full; sync")?;
    Ok(waits)
}

/// How long the neighbour's owner waits for what is typed, and for a command.
fn ask(neighbour: &Login) -> anyhow::Result<Waits> {
    let mut waits = Waits::default();
    let mut shell = Process::start(neighbour.command("cat").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut typed = shell.child().stdin.take().context("no pipe")?;
    let mut shown = BufReader::new(shell.child().stdout.take().context("no pipe")?);
    let mut line = String::new();
    for key in 0..=KEYS {
        let began = Instant::now();
        typed.write_all(b"x\n")?;
        line.clear();
        shown.read_line(&mut line)?;
        ensure!(line == "x\n", "the neighbour's shell ended");
        // The first waits for the shell itself.
        if key > 0 {
            waits.key.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        std::thread::park_timeout(PAUSE);
    }
    for _ in 0..COMMANDS {
        let began = Instant::now();
        neighbour.says("true")?;
        waits.command.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(waits)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
