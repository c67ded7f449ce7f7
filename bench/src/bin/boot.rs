//! From a create to a shell: a cold QEMU guest rented from the node, stage by stage, beside the
//! floor: the same image booted by a bare QEMU in the same run.
//!
//! Guests of one CPU: with two, translation now and then hangs a kernel in its first second, which the
//! node mends by a reset and a bare QEMU does not.
//!
//! `cargo xtask bench boot`. Needs root and the image that `GOLEM_TEST_IMAGE` names.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bench::figures::{Figures, Table};
use bench::guests::keypair;
use bench::node::Node;
use bench::plain::Plain;
use bench::{say, wait_for};

const ROUNDS: usize = 3;

/// Longest that one boot may take.
const BOOT: Duration = Duration::from_secs(300);

fn main() -> anyhow::Result<()> {
    let image = std::env::var_os("GOLEM_TEST_IMAGE").context("GOLEM_TEST_IMAGE has to name an image")?;
    let image = PathBuf::from(image);
    let mut ours: [Figures; 4] = std::array::from_fn(|_| Figures::default());
    let mut floor: [Figures; 3] = std::array::from_fn(|_| Figures::default());
    for round in 1..=ROUNDS {
        say(&format!("round {round} of {ROUNDS}: the node …"));
        for (figures, seconds) in ours.iter_mut().zip(node(&image)?) {
            figures.push(seconds);
        }
        say(&format!("round {round} of {ROUNDS}: a bare QEMU …"));
        for (figures, seconds) in floor.iter_mut().zip(bare(&image)?) {
            figures.push(seconds);
        }
    }
    let mut table = Table::new(&["seconds from the request", "node", "bare QEMU", "ratio"]);
    let [accepted, launched, running, shell] = &ours;
    let [bare_launched, bare_banner, bare_shell] = &floor;
    table.row(vec!["create answered (asynchronous)".to_owned(), format!("{accepted:.3}")]);
    for (stage, ours, floor) in [
        ("QEMU launched, disk and seed made", launched, bare_launched),
        ("SSH banner; the node says running", running, bare_banner),
        ("a command ran over ssh", shell, bare_shell),
    ] {
        let ratio = ours.median() / floor.median();
        table.row(vec![
            stage.to_owned(),
            format!("{ours:.2}"),
            format!("{floor:.2}"),
            format!("{ratio:.2}×"),
        ]);
    }
    println!("\n{table}");
    Ok(())
}

/// Runs `true` over ssh.
fn shell(key: &Path, port: u16) -> anyhow::Result<()> {
    let ran = Command::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "-i"])
        .arg(key)
        .args(["-p", &port.to_string(), "ubuntu@127.0.0.1", "true"])
        .status()?;
    ensure!(ran.success(), "ssh failed");
    Ok(())
}

/// Whether an SSH server greets on `port`.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut start = [0; 4];
    stream.set_read_timeout(Some(Duration::from_millis(1500))).is_ok()
        && stream.read_exact(&mut start).is_ok()
        && &start == b"SSH-"
}

/// Seconds until the create was answered, QEMU was launched, the VM ran, a command ran.
fn node(image: &Path) -> anyhow::Result<[f64; 4]> {
    let node = Node::start(image)?;
    let (key, public) = keypair(node.home())?;
    let began = Instant::now();
    let id = node.create("boot", &public)?;
    let answered = began.elapsed().as_secs_f64();
    let machine = node.machine(&id);
    wait_for("QEMU is launched", BOOT, || Ok(machine.join("run/qmp.sock").exists()))?;
    let launched = began.elapsed().as_secs_f64();
    node.runs(&id, BOOT)?;
    let running = began.elapsed().as_secs_f64();
    shell(&key, node.ssh())?;
    let ran = began.elapsed().as_secs_f64();
    node.delete(&id)?;
    Ok([answered, launched, running, ran])
}

/// Seconds until a bare QEMU was launched, its guest greeted, a command ran.
fn bare(image: &Path) -> anyhow::Result<[f64; 3]> {
    let plain = Plain::start(image)?;
    let launched = plain.began.elapsed().as_secs_f64();
    let port = plain.login.at.port();
    wait_for("the guest greets", BOOT, || Ok(greets(port)))?;
    let banner = plain.began.elapsed().as_secs_f64();
    shell(&plain.login.key, port)?;
    Ok([launched, banner, plain.began.elapsed().as_secs_f64()])
}
