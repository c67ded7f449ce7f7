//! What guests reach, tried by the true command from real guests: of root and of a plain user, several at once,
//! before and after the host's firewall is flushed or replaced, with a resolver that changes, beside a connected
//! public network.
//!
//! One guest a user serves all of it, because a boot takes half a minute without hardware virtualisation. Needs root,
//! QEMU, nftables, iproute2, slirp4netns and the image that `GOLEM_TEST_IMAGE` names.
mod world;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use golem_test_support::{Home, wait_until};
use serde_json::Value;

use world::{World, run};

/// Longest that a boot with a round of attempts may take here, beside two others.
const ROUND: Duration = Duration::from_secs(600);

/// A user of the host that is not root.
const USER: u32 = 61_234;

/// What a check prints for a host whose guests get to the world's internet.
const INTERNET: &str = "shop.example:80";

/// As ufw and firewalld leave it after a reload: everything that was there is gone, theirs is there, and the host
/// forwards and translates what comes, as a container engine wants it.
const REPLACED: &str = "flush ruleset
    table ip filter {
        chain ufw-before-input { iifname lo accept; ct state established,related accept; ct state invalid drop; }
        chain input { type filter hook input priority 0; policy drop; jump ufw-before-input; tcp dport 22 accept; }
        chain output { type filter hook output priority 0; policy accept; }
        chain forward { type filter hook forward priority 0; policy accept; }
    }
    table inet firewalld {
        chain filter_INPUT { type filter hook input priority 10; policy accept; iifname lo accept;
            ct state established,related accept; reject with icmpx admin-prohibited; }
    }
    table ip nat {
        chain out { type nat hook postrouting priority 100; masquerade; }
    }";

/// A check that goes on, with its guest.
struct Check {
    name: &'static str,
    home: Home,
    child: Child,
    input: Option<ChildStdin>,
    reports: Receiver<Value>,
}

impl Drop for Check {
    fn drop(&mut self) {
        // It removes its guest by itself when its input ends.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

impl Check {
    /// Begins a check as `user` in `world`, with the program at `binary`.
    fn begin(world: &World, binary: &Path, name: &'static str, user: Option<u32>) -> Self {
        let home = Home::new()
            .set("GOLEM_PROVIDER_VM_BACKEND", "qemu")
            .set("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "debian-12");
        let image = golem_test_support::guest::image();
        assert_eq!(home.json(&["images", "add", "debian-12", &image, "--json"])["here"], true);
        if let Some(user) = user {
            run(Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(home.folder.path()));
        }
        let own = home.command(&[]);
        let mut command = world.operator(user, binary);
        command.args(["isolation", "check", "--json", "--again", "--internet", INTERNET]).env_clear();
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(home.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, reports) = channel();
        let output = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let documents = serde_json::Deserializer::from_reader(output).into_iter::<Value>();
            documents.map_while(Result::ok).try_for_each(|document| sender.send(document))
        });
        Self { name, home, input: child.stdin.take(), child, reports }
    }

    fn again(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// The next report, which says that the guest is kept in and has what it should have.
    fn kept_in(&self, when: &str) -> Value {
        let report = self.reports.recv_timeout(ROUND);
        let report = report.unwrap_or_else(|error| panic!("{}, {when}: no report: {error}", self.name));
        let rows = |wanted: &[&str]| -> Vec<String> {
            let attempts = report["attempts"].as_array().unwrap_or_else(|| panic!("{report:#}"));
            let of = |row: &&Value| wanted.contains(&row["result"].as_str().unwrap());
            attempts.iter().filter(of).map(ToString::to_string).collect()
        };
        let wrong = rows(&["reached", "fails"]);
        assert!(wrong.is_empty(), "{}, {when}:\n{}", self.name, wrong.join("\n"));
        assert_eq!(report["isolated"], true, "{}, {when}: {report:#}", self.name);
        let refused = rows(&["refused"]).join("\n");
        // What has to have been tried, and shown.
        for what in [
            "host loopback",
            "programs of this host",
            "addresses of this host",
            "neighbours in this host's networks",
            "special addresses",
            "forged packets",
            "multicast and broadcast",
            "IPv6",
            "outgoing mail",
        ] {
            assert!(refused.contains(what), "{}, {when}: {what} was not tried: {report:#}", self.name);
        }
        for target in ["203.0.113.9", "203.0.113.1 ", "10.88.0.2 TCP 22", "169.254.169.254 TCP 80"] {
            assert!(refused.contains(target), "{}, {when}: {target} was not tried: {report:#}", self.name);
        }
        // A stub resolver is of this host's loopback, which is tried anyway.
        let stub = refused.contains("192.0.2.1 ");
        assert_eq!(refused.contains("resolvers of this host"), !stub, "{}, {when}: {report:#}", self.name);
        assert_eq!(report["works"], 2, "{}, {when}: names and the internet: {report:#}", self.name);
        report
    }
}

/// Has all of `checks` try again, at the same time.
fn all_kept_in(checks: &mut [Check], when: &str) -> Vec<Value> {
    for check in checks.iter_mut() {
        check.again();
    }
    checks.iter().map(|check| check.kept_in(when)).collect()
}

/// I-01, I-09, I-10, I-11, I-13, I5.
#[test]
fn i_01_i_09_i_10_i_11_i_13_guests_are_kept_in_whatever_becomes_of_the_firewall() {
    let mut world = World::new();
    let binary = world.folder.path().join("golem-provider");
    std::fs::copy(env!("CARGO_BIN_EXE_golem-provider"), &binary).unwrap();
    let mut checks = [("root", None), ("a user", Some(USER)), ("the same user again", Some(USER))]
        .map(|(name, user)| Check::begin(&world, &binary, name, user));
    for check in &checks {
        // S-247
        check.kept_in("at first");
    }

    world.rules("flush ruleset");
    for report in all_kept_in(&mut checks, "after the firewall was flushed, beside two other guests") {
        let text = report.to_string();
        assert!(text.contains("10.0.2.2 TCP 8080") && text.contains("10.0.2.2 TCP 5432"), "{report:#}");
    }

    world.rules(REPLACED);
    run(world.at("host", "sysctl").args(["-qw", "net.ipv4.ip_forward=1"]));
    all_kept_in(&mut checks, "after the firewall was replaced");

    // Other networks, one of them in another table of routes only, and a stub resolver, which asks the one in the LAN.
    world.server("host", &["127.0.0.53", "53"]);
    world.resolver("127.0.0.53");
    world.ip("host", "address add 192.0.2.1/24 dev wan0");
    world.ip("net", "address add 192.0.2.9/24 dev eth0");
    world.ip("host", "route add 203.0.112.0/24 dev wan0 table 100");
    world.ip("host", "rule add to 203.0.112.0/24 lookup 100");
    for report in all_kept_in(&mut checks, "after the resolver and the addresses changed") {
        for target in ["192.0.2.1 TCP", "203.0.112.1 TCP"] {
            assert!(report.to_string().contains(target), "{target}: {report:#}");
        }
    }
    assert!(!world.said("lan", "0.0.0.0").contains("nonsense"), "{}", world.said("lan", "0.0.0.0"));

    // Whoever came to a guest's SSH port while it booted and went away again is forgotten by its uplink.
    wait_until("no connection that its client has closed is held", || {
        let sockets = world.at("host", "cat").arg("/proc/net/tcp").output().unwrap();
        let sockets = String::from_utf8(sockets.stdout).unwrap();
        !sockets.lines().any(|line| line.split_whitespace().nth(3) == Some("08"))
    });

    // Nothing is left of them.
    let folders: Vec<PathBuf> =
        checks.iter().map(|check| check.home.data().join("isolation-check")).collect();
    for check in &mut checks {
        drop(check.input.take());
        assert_eq!(check.child.wait().unwrap().code(), Some(0), "{}", check.name);
    }
    for folder in folders {
        let left: BTreeSet<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, BTreeSet::from(["lock".into()]));
    }
    let pids = Command::new("ip").args(["netns", "pids"]).arg(world.host("host")).output().unwrap();
    let pids = String::from_utf8(pids.stdout).unwrap();
    assert_eq!(pids.lines().count(), 3, "the world's own servers and nothing else: {pids}");
}
