//! The proxies that are compared, each started as its own process.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bench::process::Process;
use bench::{original, wait_for};

use crate::endpoints::Endpoints;

/// Debian's packages of the contenders.
const PACKAGES: [&str; 4] = ["nginx-light", "libnginx-mod-stream", "haproxy", "socat"];

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    Direct,
    Ours,
    Nginx,
    Haproxy,
    Socat,
    Original,
}

impl Contender {
    pub(crate) const ALL: [Self; 6] =
        [Self::Direct, Self::Ours, Self::Nginx, Self::Haproxy, Self::Socat, Self::Original];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct loopback",
            Self::Ours => "golem-provider",
            Self::Nginx => "nginx stream",
            Self::Haproxy => "haproxy",
            Self::Socat => "socat",
            Self::Original => "original (Python)",
        }
    }
}

/// A contender that runs: where its far ends are reached, and its processes.
pub(crate) struct Running {
    pub(crate) serve: SocketAddr,
    pub(crate) brief: SocketAddr,
    pub(crate) hold: SocketAddr,
    /// Empty for the direct way; several for those that serve one port a process.
    pub(crate) processes: Vec<Process>,
}

impl Running {
    pub(crate) fn memory(&self) -> anyhow::Result<f64> {
        self.processes.iter().map(Process::memory).sum()
    }

    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.processes.iter().map(Process::cpu_seconds).sum()
    }
}

/// Sees to it that the contenders are installed.
pub(crate) fn set_up() -> anyhow::Result<()> {
    let present = |program: &str| {
        ["/usr/sbin", "/usr/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
    };
    let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
    if present("nginx") && present("haproxy") && present("socat") && module.exists() {
        return Ok(());
    }
    bench::say(&format!("installing the proxies to compare with: {} …", PACKAGES.join(" ")));
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    };
    let status = command
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    if !status.is_ok_and(|status| status.success()) {
        bail!("install these packages, then start again: {}", PACKAGES.join(" "));
    }
    Ok(())
}

/// Starts `contender` before the far ends; its files go into `folder`.
pub(crate) fn start(contender: Contender, ends: &Endpoints, folder: &Path) -> anyhow::Result<Running> {
    let targets = [ends.serve, ends.brief, ends.hold];
    if contender == Contender::Direct {
        return Ok(Running { serve: ends.serve, brief: ends.brief, hold: ends.hold, processes: Vec::new() });
    }
    let pairs: Vec<(SocketAddr, SocketAddr)> =
        targets.iter().map(|target| Ok((free_port()?, *target))).collect::<anyhow::Result<_>>()?;
    let processes = match contender {
        Contender::Direct => Vec::new(),
        Contender::Ours => vec![ours(&pairs)?],
        Contender::Nginx => vec![nginx(&pairs, folder)?],
        Contender::Haproxy => vec![haproxy(&pairs, folder)?],
        Contender::Socat => pairs.iter().map(socat).collect::<anyhow::Result<_>>()?,
        Contender::Original => vec![original(&pairs, folder)?],
    };
    for (listen, _) in &pairs {
        wait_for("a proxy that listens", Duration::from_secs(60), || Ok(is_listening(*listen)))?;
    }
    ends.release();
    Ok(Running { serve: pairs[0].0, brief: pairs[1].0, hold: pairs[2].0, processes })
}

/// A free port below those that the kernel gives to outgoing connections, of which a round makes
/// thousands: each contender gets ports that no other had.
fn free_port() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(24_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(port < 32_000, "no free port is left");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

fn is_listening(address: SocketAddr) -> bool {
    // The kernel's table says so without a connection that the proxy would count.
    let port = format!(":{:04X}", address.port());
    std::fs::read_to_string("/proc/net/tcp").is_ok_and(|table| {
        table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some("0A")
        })
    })
}

fn ours(pairs: &[(SocketAddr, SocketAddr)]) -> anyhow::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
    for (listen, target) in pairs {
        command.arg(listen.to_string()).arg(target.to_string());
    }
    let mut process = Process::start(&mut command)?;
    let output = process.child().stdout.take().context("the proxy has no output")?;
    BufReader::new(output).read_line(&mut String::new())?;
    Ok(process)
}

fn nginx(pairs: &[(SocketAddr, SocketAddr)], folder: &Path) -> anyhow::Result<Process> {
    let servers: String = pairs
        .iter()
        .map(|(listen, target)| {
            format!("  server {{ listen {listen} backlog=4096; proxy_pass {target}; proxy_timeout 1h; tcp_nodelay on; }}\n")
        })
        .collect();
    let folder = folder.join("nginx");
    std::fs::create_dir_all(&folder)?;
    let configuration = folder.join("nginx.conf");
    // One worker for each core, as Debian sets it up.
    std::fs::write(
        &configuration,
        format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nworker_processes auto;\n\
             worker_rlimit_nofile 20000;\npid {0}/pid;\nerror_log {0}/error.log;\n\
             events {{ worker_connections 8192; }}\nstream {{\n{servers}}}\n",
            folder.display()
        ),
    )?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(&configuration).stderr(Stdio::null());
    Process::start(&mut command)
}

fn haproxy(pairs: &[(SocketAddr, SocketAddr)], folder: &Path) -> anyhow::Result<Process> {
    let listeners: String = pairs
        .iter()
        .enumerate()
        .map(|(index, (listen, target))| {
            format!("listen port{index}\n  bind {listen} backlog 4096\n  server guest {target}\n")
        })
        .collect();
    let configuration = folder.join("haproxy.cfg");
    std::fs::write(
        &configuration,
        format!(
            "global\n  maxconn 8192\ndefaults\n  mode tcp\n  maxconn 8192\n  timeout connect 10s\n  \
             timeout client 1h\n  timeout server 1h\n{listeners}"
        ),
    )?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-q").arg("-f").arg(&configuration);
    Process::start(&mut command)
}

fn socat((listen, target): &(SocketAddr, SocketAddr)) -> anyhow::Result<Process> {
    let mut command = Command::new("/usr/bin/socat");
    command
        .arg(format!("TCP-LISTEN:{},bind={},fork,reuseaddr,nodelay,backlog=4096", listen.port(), listen.ip()))
        .arg(format!("TCP:{target},nodelay"))
        .stderr(Stdio::null());
    Process::start(&mut command)
}

/// The original's own protocol class, on the loopback instead of every address.
const ORIGINAL: &str = "
import asyncio, sys
from provider.vm.proxy_manager import SSHProxyProtocol
async def main():
    loop = asyncio.get_running_loop()
    servers = []
    for listen, host, port in (argument.split(',') for argument in sys.argv[1:]):
        make = lambda host=host, port=int(port): SSHProxyProtocol(host, port)
        servers.append(await loop.create_server(make, '127.0.0.1', int(listen), backlog=4096))
    await asyncio.Event().wait()
asyncio.run(main())
";

fn original(pairs: &[(SocketAddr, SocketAddr)], folder: &Path) -> anyhow::Result<Process> {
    let home: PathBuf = folder.join("original");
    std::fs::create_dir_all(&home)?;
    let mut command = Command::new(original::python()?);
    command.args(["-c", ORIGINAL]).env("HOME", &home).current_dir(&home);
    // It looks for Multipass when it is imported, and never calls it here.
    command.env("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", "/bin/true");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for (listen, target) in pairs {
        command.arg(format!("{},{},{}", listen.port(), target.ip(), target.port()));
    }
    Process::start(&mut command)
}
