//! A guest's network without a guest: real namespaces, rules and uplinks around a program that stands for
//! QEMU, on a host of their own (a network and a mount namespace), so that its firewall, addresses,
//! resolver and programs can be spoiled.
//!
//! ```text
//!   stand-in ─ its namespace ─ uplink ─ host 203.0.113.2/24 ─ veth ─ 203.0.113.9, 198.51.100.10: the internet
//! ```

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::*;

const ID: &str = "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa";

/// Says `word` to whoever connects to TCP `port`s or asks UDP port 53 of `address`.
const SERVER: &str = "
import socket, sys, threading
word, address, ports = sys.argv[1].encode(), sys.argv[2], sys.argv[3].split(',')
def greet(port):
    listener = socket.create_server(('0.0.0.0', int(port)), backlog=100)
    kept = []
    while True:
        connection, _ = listener.accept()
        connection.sendall(word)
        kept.append(connection)
for port in ports:
    threading.Thread(target=greet, args=[port], daemon=True).start()
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.bind((address, 53))
print('up', flush=True)
while True:
    _, asker = dns.recvfrom(512)
    dns.sendto(word, asker)
";

/// Stands for QEMU: greets as an SSH server would, where the guest's logins arrive.
const STAND_IN: &str = "
import socket
listener = socket.create_server(('10.0.3.100', 2222))
while True:
    connection, _ = listener.accept()
    connection.sendall(b'SSH-')
    connection.close()
";

fn run(words: &[&str]) -> Output {
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().unwrap()
}

fn must(words: &[&str]) {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// Runs the test `name` again on a host of its own; true there.
fn on_own_host(name: &str) -> bool {
    if std::env::var_os("GOLEM_TEST_OWN_HOST").is_some() {
        return true;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("qemu::network::tests::{name}"), "--nocapture"])
        .env("GOLEM_TEST_OWN_HOST", "1")
        .status();
    assert!(status.unwrap().success());
    false
}

/// Children that end with the test.
#[derive(Default)]
struct Ended(Vec<Child>);

impl Drop for Ended {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    fn server(&mut self, before: &[&str], word: &str, address: &str, ports: &str) {
        let words = [before, &["python3", "-c", SERVER, word, address, ports]].concat();
        let mut child = Command::new(words[0]).args(&words[1..]).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        self.0.push(child);
    }
}

/// The host's wires, an internet behind them, an `/etc` that can be changed, and a `/dev/net/tun` for root only.
fn host(folder: &Path) -> Ended {
    let mut children = Ended::default();
    let internet = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
    let pid = internet.id().to_string();
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    children.0.push(internet);
    while std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|other| other == own) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    must(&["ip", "link", "set", "lo", "up"]);
    must(&["ip", "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", &pid]);
    must(&["ip", "address", "add", "203.0.113.2/24", "dev", "wan"]);
    must(&["ip", "link", "set", "wan", "up"]);
    let inside = ["nsenter", "--target", &pid, "--net"];
    for words in [
        &["ip", "link", "set", "lo", "up"][..],
        &["ip", "address", "add", "203.0.113.9/24", "dev", "wan"],
        &["ip", "address", "add", "198.51.100.10/32", "dev", "lo"],
        &["ip", "link", "set", "wan", "up"],
    ] {
        must(&[&inside, words].concat());
    }
    must(&["ip", "route", "add", "default", "via", "203.0.113.9"]);
    children.server(&inside, "far", "203.0.113.9", "80,25,53,587");
    children.server(&["env"], "own", "127.0.0.53", "80");
    let etc = folder.join("host-etc");
    must(&["cp", "--archive", "/etc", etc.to_str().unwrap()]);
    must(&["mount", "--bind", etc.to_str().unwrap(), "/etc"]);
    resolver("203.0.113.9");
    children
}

/// Has the host ask `address`, as a DHCP client or a VPN does: by a new file in the place of the old.
fn resolver(address: &str) {
    let fresh = "/etc/resolv.conf.fresh";
    std::fs::write(fresh, format!("nameserver {address}\n")).unwrap();
    std::fs::rename(fresh, "/etc/resolv.conf").unwrap();
}

/// A launched stand-in.
struct Launch {
    guest: Connected,
    wrapper: Child,
}

impl Drop for Launch {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.guest.qemu, rustix::process::Signal::KILL);
        let _ = self.wrapper.wait();
    }
}

/// A wrapper that has made its namespaces and waits for the word to go.
fn launch(folder: &Path) -> Launch {
    let uid = rustix::process::geteuid().is_root().then(|| uids(folder).start);
    std::os::unix::fs::chown(folder, None, uid).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o710)).unwrap();
    for (name, owner) in [("run", uid), ("etc", None)] {
        std::fs::DirBuilder::new().mode(0o755).create(folder.join(name)).unwrap();
        std::os::unix::fs::chown(folder.join(name), owner, owner).unwrap();
    }
    let id: VmId = ID.parse().unwrap();
    let mut words = ["sh", "-c", "echo $$ > qemu.pid && exec \"$@\"", "sh"].map(str::to_owned).to_vec();
    words.extend(around_qemu(uid, None));
    words.extend(["python3", "-c", STAND_IN].map(str::to_owned));
    words.push(format!("{},debug-threads=on", name_word(&id)));
    let mut wrapper = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(folder)
        .env("PATH", crate::qemu::programs::search_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    wrapper.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    assert_eq!(&up, b"up\n");
    let (qemu, _) = process::of(folder, &id).unwrap().unwrap();
    let ssh_port = free_port().unwrap();
    Launched::note(folder, ssh_port, &Way::Namespace).unwrap();
    let guest = Connected { id, folder: folder.to_owned(), uid, qemu, ssh_port };
    Launch { guest, wrapper }
}

impl Launch {
    fn go(&mut self) {
        self.wrapper.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// What `script` says in the guest's namespace, where all that a guest sends comes from.
    fn says(&self, script: &str) -> String {
        let mut words = namespace::enter(self.guest.uid, self.guest.qemu);
        words.extend(["timeout", "4", "bash", "-c", script].map(str::to_owned));
        let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        String::from_utf8(output.stdout).unwrap()
    }

    /// What greets at `address` (`198.51.100.10/80`), seen from the guest.
    fn greeting(&self, address: &str) -> String {
        self.says(&format!("exec 3<>/dev/tcp/{address} && head -c3 <&3"))
    }

    fn resolves(&self) -> String {
        self.says("exec 3<>/dev/udp/10.0.3.3/53 && echo what >&3 && head -c3 <&3")
    }

    /// Whether the SSH port leads to the guest.
    fn lets_in(&self) -> bool {
        let text = std::fs::read(self.guest.folder.join(LAUNCH_FILE)).unwrap();
        let launched: Launched = serde_json::from_slice(&text).unwrap();
        let mut word = [0; 4];
        std::net::TcpStream::connect(("127.0.0.1", launched.ssh_port))
            .and_then(|mut stream| stream.read_exact(&mut word))
            .is_ok_and(|()| &word == b"SSH-")
    }

    fn nft(&self, rules: &str) {
        let mut words = namespace::enter(self.guest.uid, self.guest.qemu);
        words.extend(["nft", rules].map(str::to_owned));
        must(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// That the guest reaches the internet and nothing nearer.
    fn is_kept_in(&self, when: &str) {
        for near in [
            "10.0.3.2/80",
            "127.0.0.1/80",
            "203.0.113.2/80",
            "203.0.113.9/80",
            "203.0.113.9/53",
            "198.51.100.10/25",
        ] {
            assert_eq!(self.greeting(near), "", "{near} was reached {when}");
        }
        assert_eq!(self.greeting("198.51.100.10/80"), "far", "{when}");
        assert_eq!(self.greeting("198.51.100.10/587"), "far", "{when}");
        assert!(self.lets_in(), "{when}");
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), poll)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn connected(seen: &GuestNetwork) -> NetworkTraffic {
    assert_eq!(seen.state, NetworkState::Own);
    seen.traffic.unwrap()
}

fn kill_uplink(guest: &Connected) {
    signal_uplink(guest, rustix::process::Signal::KILL);
}

fn freeze_uplink(guest: &Connected) {
    signal_uplink(guest, rustix::process::Signal::STOP);
}

fn signal_uplink(guest: &Connected, signal: rustix::process::Signal) {
    let pid = std::fs::read_to_string(guest.folder.join(uplink::PID_FILE)).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// I-01, I-04, I-09, I-10, I-11, I-13, I5.
#[tokio::test]
async fn i_01_i_09_i_10_i_11_i_13_nothing_that_becomes_of_the_host_opens_a_way_to_it() {
    if !on_own_host("i_01_i_09_i_10_i_11_i_13_nothing_that_becomes_of_the_host_opens_a_way_to_it") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let machine = folder.path().join("machine");
    std::fs::create_dir(&machine).unwrap();
    let _children = host(folder.path());
    let networks = Networks::new(NetworkLimits { connections: Some(20), megabits: Some(800), smtp: false });
    let mut launch = launch(&machine);
    let guest = launch.guest.clone();
    assert_eq!(networks.way(guest.uid).await, Way::Namespace);
    networks.enforce_host_table().await.unwrap();
    let mut known = Known::default();
    networks.mend(&mut known, &guest).await.unwrap();
    launch.go();
    until("the guest answers", || launch.lets_in()).await;
    let namespace = Some(Way::Namespace);
    let keep = async |known: &mut Known| networks.keep(known, &guest, namespace.clone(), &Ok(())).await;

    // It resolves names, and who sends other bytes to the resolver reaches nothing.
    // S-247
    launch.is_kept_in("at first");
    assert_eq!(launch.resolves(), "far");
    let first = connected(&keep(&mut known).await);
    assert!(first.bytes_in > 0 && first.bytes_out > 0 && first.packets_blocked > 0, "{first:?}");

    assert!(launch.says("tc qdisc show dev tap0").contains("tbf"), "what it sends is limited");

    // The firewall is reloaded, and replaced by one that lets everything pass.
    must(&["nft", "flush", "ruleset"]);
    launch.is_kept_in("after a flush");
    must(&[
        "nft",
        "add table inet filter; add chain inet filter output { type filter hook output priority -300; policy accept; }; \
                   add rule inet filter output accept",
    ]);
    launch.is_kept_in("behind another firewall");
    networks.enforce_host_table().await.unwrap();
    must(&["nft", "list", "table", "inet", "golem_provider"]);
    launch.is_kept_in("with both");
    assert_eq!(launch.resolves(), "far");

    // The host's resolver changes, to a stub on its loopback.
    resolver("127.0.0.53");
    networks.enforce_host_table().await.unwrap();
    until("the new resolver is asked", || launch.resolves() == "own").await;
    launch.is_kept_in("with a stub resolver");

    // What was far becomes near, and far again.
    must(&["ip", "address", "add", "198.51.100.200/24", "dev", "wan"]);
    connected(&keep(&mut known).await);
    assert_eq!(launch.greeting("198.51.100.10/80"), "");
    must(&["ip", "address", "delete", "198.51.100.200/24", "dev", "wan"]);
    connected(&keep(&mut known).await);
    launch.is_kept_in("after addresses came and went");

    // The address at which the internet sees this host leads back to it, behind a router that turns such
    // connections around, or to the router.
    networks.is_seen_at("198.51.100.10".parse().unwrap());
    connected(&keep(&mut known).await);
    assert_eq!(launch.greeting("198.51.100.10/80"), "");
    networks.is_seen_at("198.51.100.77".parse().unwrap());
    connected(&keep(&mut known).await);
    launch.is_kept_in("after the public address changed");

    // Somebody gets at the rules inside.
    for tampering in [
        "flush ruleset",
        "insert rule inet golem_vm guest accept",
        "flush chain inet golem_vm guest",
        "add chain inet golem_vm output { policy accept; }",
        "add table inet other",
    ] {
        launch.nft(tampering);
        let seen = connected(&keep(&mut known).await);
        assert!(tampering == "flush ruleset" || seen.bytes_out > 0, "counts are kept");
        launch.is_kept_in(tampering);
        launch.nft("list chain inet golem_vm guest");
    }

    // The uplink ends: closed, then mended, at the same port; at another where that is taken.
    kill_uplink(&guest);
    until("the uplink is gone", || !namespace::has_device(guest.qemu).unwrap()).await;
    assert_eq!(launch.greeting("198.51.100.10/80"), "");
    connected(&keep(&mut known).await);
    launch.is_kept_in("with a new uplink");
    // Frozen, it holds device and port, and carries nothing.
    freeze_uplink(&guest);
    assert_eq!(launch.greeting("198.51.100.10/80"), "");
    connected(&keep(&mut known).await);
    launch.is_kept_in("after its uplink was frozen");
    kill_uplink(&guest);
    until("its port is free", || !uplink::listens(guest.uid.unwrap(), guest.ssh_port).unwrap()).await;
    let squatter = std::net::TcpListener::bind(("127.0.0.1", guest.ssh_port)).unwrap();
    connected(&keep(&mut known).await);
    launch.is_kept_in("at another port");
    let text = std::fs::read(machine.join(LAUNCH_FILE)).unwrap();
    let moved: Launched = serde_json::from_slice(&text).unwrap();
    assert_ne!(moved.ssh_port, guest.ssh_port);
    let guest = Connected { ssh_port: moved.ssh_port, ..guest };
    let keep = async |known: &mut Known| networks.keep(known, &guest, namespace.clone(), &Ok(())).await;
    drop(squatter);

    // No more connections at a time than its cap.
    let many = "for n in $(seq 40); do exec {fd}<>/dev/tcp/198.51.100.10/80 && echo $n; done 2>/dev/null";
    assert!(launch.says(many).lines().count() <= 20);

    // The next node takes it over as it is, with what was counted.
    let before = connected(&keep(&mut known).await);
    let mut known = Known::default();
    assert!(connected(&keep(&mut known).await).bytes_out >= before.bytes_out);
    until("connections are free again", || launch.greeting("198.51.100.10/80") == "far").await;

    // What cannot be mended is cut, and mended once it can be.
    let nft = crate::qemu::programs::program("nft").unwrap();
    let nft = nft.to_str().unwrap();
    must(&["mount", "--bind", "/bin/false", nft]);
    let seen = keep(&mut known).await;
    assert!(matches!(seen.state, NetworkState::Cut { .. }), "{seen:?}");
    // The kernel takes the device away a moment after the process has ended.
    until("the uplink is gone", || !namespace::has_device(guest.qemu).unwrap()).await;
    assert_eq!(launch.greeting("198.51.100.10/80"), "");
    let way = networks.way(guest.uid).await;
    assert!(matches!(&way, Way::Restricted(why) if why.contains("nftables")), "{way:?}");
    must(&["umount", nft]);
    connected(&keep(&mut known).await);
    launch.is_kept_in("after a cut");

    // It ends, and nothing is left of it.
    let qemu = guest.qemu;
    drop(launch);
    until("the uplink ended with it", || !uplink::listens(guest.uid.unwrap(), guest.ssh_port).unwrap()).await;
    assert!(!Path::new(&format!("/proc/{}", qemu.as_raw_nonzero())).exists());
    end_uplink(&machine, &name_word(&guest.id)).await.unwrap();
}

/// I1: a node that is killed in the middle of a launch leaves nothing that runs.
#[tokio::test]
async fn i1_a_launch_without_its_node_ends_by_itself() {
    if !on_own_host("i1_a_launch_without_its_node_ends_by_itself") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let machine = folder.path().join("machine");
    std::fs::create_dir(&machine).unwrap();
    let networks = Networks::new(NetworkLimits::default());
    let mut launch = launch(&machine);
    networks.mend(&mut Known::default(), &launch.guest).await.unwrap();
    assert!(namespace::has_device(launch.guest.qemu).unwrap());
    drop(launch.wrapper.stdin.take());
    assert!(!launch.wrapper.wait().unwrap().success());
    assert_eq!(process::of(&machine, &launch.guest.id).unwrap(), None);
    let (uid, port) = (launch.guest.uid.unwrap(), launch.guest.ssh_port);
    until("the uplink ends, too", || !uplink::listens(uid, port).unwrap()).await;
}

/// I-01, the same without root. A user of no rights at all has what udev gives to every user: the device.
#[tokio::test]
async fn i_01_a_node_that_is_not_root_keeps_its_guests_in_as_well() {
    const NAME: &str = "i_01_a_node_that_is_not_root_keeps_its_guests_in_as_well";
    if rustix::process::geteuid().is_root() {
        if !on_own_host(NAME) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let _children = host(folder.path());
        let place = folder.path().join("users");
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::chown(&place, Some(64_000), Some(64_000)).unwrap();
        must(&["mount", "-t", "tmpfs", "tmpfs", "/dev/net"]);
        must(&["mknod", "-m", "666", "/dev/net/tun", "c", "10", "200"]);
        // It may not pass through the folders above this program.
        let program = folder.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let status = Command::new("setpriv")
            .args([
                "--reuid=64000",
                "--regid=64000",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ])
            .arg(&program)
            .args(["--exact", &format!("qemu::network::tests::{NAME}"), "--nocapture"])
            .env("TMPDIR", &place)
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let machine = folder.path().join("machine");
    std::fs::create_dir(&machine).unwrap();
    let networks = Networks::new(NetworkLimits::default());
    assert_eq!(networks.way(None).await, Way::Namespace);
    let mut launch = launch(&machine);
    let guest = launch.guest.clone();
    let mut known = Known::default();
    networks.mend(&mut known, &guest).await.unwrap();
    launch.go();
    until("the guest answers", || launch.lets_in()).await;
    launch.is_kept_in("without root");
    kill_uplink(&guest);
    until("the uplink is gone", || !namespace::has_device(guest.qemu).unwrap()).await;
    connected(&networks.keep(&mut known, &guest, Some(Way::Namespace), &Ok(())).await);
    launch.is_kept_in("with a new uplink");
}
