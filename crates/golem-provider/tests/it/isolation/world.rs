//! A host with a LAN, a public network and an internet, in network namespaces of the test's own.
//!
//! ```text
//!   lan 10.88.0.2, .3 ──── 10.88.0.1 host 203.0.113.2 ──── 203.0.113.1, .9 net: 198.51.100.10 (the internet),
//!   22, 53, 80                                              22, 25, 80, 443   169.254.169.254, 100.64.0.1
//! ```
//!
//! On the host, programs listen on the loopback and on every address, as they do on the hosts of operators.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use golem_test_support::{Home, wait_until};

use super::USER;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/isolation/server.py");

/// Gives what is run on the host its own `/etc` and `/dev/net/tun`.
const ENTER: &str = "mount --bind \"$0/etc\" /etc && mount --bind \"$0/tun\" /dev/net/tun && exec \"$@\"";

/// The namespaces, and what runs in them.
pub(crate) struct World {
    name: String,
    children: Vec<Child>,
    /// The host's `/etc`, its `/dev/net/tun` and the servers' logs.
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", Home::show(&output));
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for host in ["host", "lan", "net"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.host(host)]).output();
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let mut world = Self { name: format!("golem{}i", std::process::id()), children: Vec::new(), folder };
        for host in ["host", "lan", "net"] {
            run(Command::new("ip").args(["netns", "add", &world.host(host)]));
            world.ip(host, "link set lo up");
        }
        for (inside, outside) in [("lan0", "lan"), ("wan0", "net")] {
            let (host, other) = (world.host("host"), world.host(outside));
            run(Command::new("ip").args([
                "link", "add", inside, "netns", &host, "type", "veth", "peer", "name", "eth0", "netns",
                &other,
            ]));
            world.ip("host", &format!("link set {inside} up"));
            world.ip(outside, "link set eth0 up");
        }
        for (host, device, addresses) in [
            ("host", "lan0", ["10.88.0.1/24"].as_slice()),
            ("host", "wan0", &["203.0.113.2/24"]),
            ("lan", "eth0", &["10.88.0.2/24", "10.88.0.3/24"]),
            ("net", "eth0", &["203.0.113.1/24", "203.0.113.9/24"]),
            ("net", "lo", &["198.51.100.10/32", "169.254.169.254/32", "100.64.0.1/32"]),
        ] {
            for address in addresses {
                world.ip(host, &format!("address add {address} dev {device}"));
            }
        }
        world.ip("host", "route add default via 203.0.113.1");
        world.ip("lan", "route add default via 10.88.0.1");
        // Who is on the LAN is known to the host.
        for (address, device, host) in
            [("10.88.0.2", "lan0", "lan"), ("10.88.0.3", "lan0", "lan"), ("203.0.113.9", "wan0", "net")]
        {
            let hardware = world.at(host, "cat").arg("/sys/class/net/eth0/address").output().unwrap();
            let hardware = String::from_utf8(hardware.stdout).unwrap();
            world.ip("host", &format!("neigh replace {address} lladdr {} dev {device}", hardware.trim()));
        }
        world.server("lan", &["0.0.0.0", "22", "53", "80"]);
        world.server("net", &["0.0.0.0", "22", "25", "80", "443"]);
        world.server("host", &["127.0.0.1", "5432"]);
        world.server("host", &["0.0.0.0", "8080"]);
        let etc = world.folder.path().join("etc");
        run(Command::new("cp").args(["-a", "/etc"]).arg(&etc));
        let _ = std::fs::remove_file(etc.join("resolv.conf"));
        // ssh wants to know who runs it.
        let mut users = std::fs::read_to_string("/etc/passwd").unwrap();
        users += &format!("operator-of-a-test:x:{USER}:{USER}::/:/bin/sh\n");
        std::fs::write(etc.join("passwd"), users).unwrap();
        world.resolver("10.88.0.2");
        let tun = world.folder.path().join("tun");
        run(Command::new("mknod").arg("-m").arg("666").arg(tun).args(["c", "10", "200"]));
        world
    }

    /// Writes the host's `resolv.conf` anew, as programs do: a file in the place of the other.
    pub(crate) fn resolver(&self, address: &str) {
        let path = self.folder.path().join("etc/resolv.conf");
        let fresh = path.with_extension("fresh");
        std::fs::write(&fresh, format!("nameserver {address}\n")).unwrap();
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(fresh, path).unwrap();
    }

    pub(crate) fn host(&self, host: &str) -> String {
        format!("{}{host}", self.name)
    }

    /// `program`, run on `host`.
    pub(crate) fn at(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]).arg(program);
        command
    }

    /// `program` on the host as its operator runs it, with its `/etc` and its devices, as `user`.
    pub(crate) fn operator(&self, user: Option<u32>, program: &Path) -> Command {
        let mut command = self.at("host", "sh");
        command.args(["-c", ENTER]).arg(self.folder.path());
        if let Some(user) = user {
            let user = user.to_string();
            command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
        }
        command.arg(program);
        command
    }

    pub(crate) fn ip(&self, host: &str, arguments: &str) {
        run(Command::new("ip").args(["-n", &self.host(host)]).args(arguments.split(' ')));
    }

    /// Loads `rules` into the host's packet filter.
    pub(crate) fn rules(&self, rules: &str) {
        run(self.at("host", "nft").arg(rules));
    }

    fn log(&self, host: &str, address: &str) -> PathBuf {
        self.folder.path().join(format!("{host}-{address}.log"))
    }

    /// Has something listen on `host`.
    pub(crate) fn server(&mut self, host: &str, arguments: &[&str]) {
        let log = self.log(host, arguments[0]);
        let mut command = self.at(host, "python3");
        command.arg(SERVER).args(arguments).stdout(File::create(&log).unwrap()).stderr(Stdio::null());
        self.children.push(command.spawn().unwrap());
        wait_until("a server of the world", || self.said(host, arguments[0]).contains("up"));
    }

    /// What the server of `host` at `address` printed.
    pub(crate) fn said(&self, host: &str, address: &str) -> String {
        std::fs::read_to_string(self.log(host, address)).unwrap_or_default()
    }
}
