//! A host with an internet behind it, in network namespaces, for guests that are measured: without one they have
//! nobody to talk to, because everything near them is closed.
//!
//! ```text
//!   guest ── QEMU ── (the node's way) ── host 203.0.113.2 ──── 203.0.113.1 net 198.51.100.10:9000
//! ```
//!
//! The benchmark runs itself again in the host's namespace, and as the server on the internet.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::process::Process;
use crate::wait_for;

/// The server on the internet.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// Its port.
pub const PORT: u16 = 9000;

/// What says to the benchmark's own process which part it is.
const PART: &str = "GOLEM_BENCH_PART";

/// `/dev/net/tun` as udev makes it, for the users that guests run as, in a mount namespace of the benchmark's own.
const ENTER: &str = "mknod -m 666 \"$0/tun\" c 10 200 && mount --bind \"$0/tun\" /dev/net/tun && exec \"$@\"";

/// Bytes that are sent or read at once.
const BLOCK: usize = 256 << 10;

struct Hosts {
    name: String,
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Hosts {
    fn new() -> anyhow::Result<Self> {
        let hosts = Self { name: format!("golembench{}", std::process::id()) };
        let (host, net) = (hosts.of("host"), hosts.of("net"));
        let ip = |words: &str| run(Command::new("ip").args(words.split_whitespace()));
        ip(&format!("netns add {host}"))?;
        ip(&format!("netns add {net}"))?;
        ip(&format!("link add eth0 netns {host} type veth peer name eth0 netns {net}"))?;
        for (at, device, address) in [
            (&host, "eth0", "203.0.113.2/24"),
            (&net, "eth0", "203.0.113.1/24"),
            (&net, "lo", "198.51.100.10/32"),
        ] {
            ip(&format!("-n {at} address add {address} dev {device}"))?;
        }
        for (at, device) in [(&host, "lo"), (&net, "lo"), (&host, "eth0"), (&net, "eth0")] {
            ip(&format!("-n {at} link set {device} up"))?;
        }
        ip(&format!("-n {host} route add default via 203.0.113.1"))?;
        Ok(hosts)
    }

    fn of(&self, host: &str) -> String {
        format!("{}{host}", self.name)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in ["host", "net"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.of(host)]).output();
        }
    }
}

/// Runs `inside` on the host, with the server up. In the process that was started by hand, that is another one.
///
/// # Errors
/// When the hosts cannot be made, which takes root, or what `inside` says.
pub fn on_the_host(inside: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    match std::env::var(PART).as_deref() {
        Ok("server") => serve(),
        Ok("host") => inside(),
        _ => {
            let status = outside()?;
            ensure!(status.success(), "the measurement failed");
            Ok(())
        }
    }
}

fn outside() -> anyhow::Result<ExitStatus> {
    let hosts = Hosts::new()?;
    let folder = tempfile::tempdir()?;
    let own = std::env::current_exe()?;
    let at = |host: &str, words: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &hosts.of(host)]).args(words);
        command
    };
    let _server = Process::start(at("net", &[]).arg(&own).env(PART, "server").stdin(Stdio::null()))?;
    wait_for("the server listens", Duration::from_secs(30), || {
        let connect = format!("exec 3<>/dev/tcp/{SERVER}/{PORT}");
        Ok(at("host", &["bash", "-c", &connect]).output()?.status.success())
    })?;
    // Not by `ip netns exec`, which mounts a /sys without control groups.
    let mut host = Command::new("nsenter");
    host.arg(format!("--net=/run/netns/{}", hosts.of("host")));
    host.args(["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER]);
    host.arg(folder.path()).arg(&own).env(PART, "host");
    host.status().context("the host's part did not start")
}

/// Serves whoever connects: after `d` it sends, after `u` it reads, after `e` it sends back.
fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind((SERVER, PORT))?;
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        std::thread::spawn(move || {
            // Who goes away ends its conversation.
            let _ = converse(stream);
        });
    }
    Ok(())
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut block = vec![0; BLOCK];
    let mut word = [0];
    stream.read_exact(&mut word)?;
    match word {
        [b'd'] => loop {
            stream.write_all(&block)?;
        },
        [b'u'] => {
            let mut all: u64 = 0;
            loop {
                match stream.read(&mut block)? {
                    0 => break,
                    length => all += length as u64,
                }
            }
            // So that the sender knows that all has arrived.
            stream.write_all(&all.to_be_bytes())
        }
        _ => loop {
            let length = stream.read(&mut block)?;
            if length == 0 {
                return Ok(());
            }
            stream.write_all(block.get(..length).unwrap_or_default())?;
        },
    }
}
