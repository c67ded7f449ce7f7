//! What the tests of real guests stand on: a machine to be made, a host of its own, and what its guest can be asked.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use golem_test_support::{PAUSE, guest, in_own_process_by};
use golem_types::{Resources, VmId, VmName};
use golem_vm::images::Images;
use golem_vm::qemu::{Qemu, QemuConfig};
use golem_vm::{Backend, Guest, GuestNetwork, MachineSpec, NetworkLimits, Observed};
use rustix::process::{Pid, Signal, kill_process};

/// What the guests of these tests may do on the network.
pub(crate) const LIMITS: NetworkLimits = NetworkLimits { connections: Some(50), megabits: None, smtp: false };

/// Longest that a boot may take here; about 25 s on an idle machine of two cores.
pub(crate) const BOOT: Duration = Duration::from_secs(300);

pub(crate) struct World {
    /// Where the node's data is: small enough to be filled.
    volume: SmallVolume,
    /// Where its images are: on another file system.
    pub(crate) images: tempfile::TempDir,
    pub(crate) key: PathBuf,
    pub(crate) spec: MachineSpec,
}

impl World {
    pub(crate) fn new() -> Self {
        let volume = SmallVolume::mount("1300m");
        let images = tempfile::tempdir().unwrap();
        let folder = &volume.0;
        std::os::unix::fs::symlink(images.path(), folder.path().join("images")).unwrap();
        let key = guest::keypair(folder.path(), "renter", &["-t", "ed25519"]);
        let name: VmName = "guest-test".parse().unwrap();
        let random = std::array::from_fn(|n| folder.path().as_os_str().as_encoded_bytes()[n]);
        let id = VmId::new(&name, jiff::Timestamp::now(), random);
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let spec = MachineSpec {
            id,
            name,
            resources: Resources::new(2, 1, 10),
            image: "debian-12".parse().unwrap(),
            keys: vec![public.parse().unwrap()],
            first_boot: golem_types::FirstBoot::default(),
            rebuild_at: 0,
        };
        Self { volume, images, key, spec }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.volume.0.path()
    }

    pub(crate) fn images(&self) -> Arc<Images> {
        Arc::new(Images::open(self.folder()).unwrap())
    }

    pub(crate) fn backend(&self) -> Backend {
        let config = QemuConfig { network: LIMITS, ..QemuConfig::new(self.folder().to_owned()) };
        Backend::Qemu(Qemu::open(config, self.images()))
    }

    pub(crate) fn machine(&self) -> PathBuf {
        self.folder().join("vms").join(self.spec.id.as_str())
    }

    /// The guest's control groups.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        guest::groups(&self.machine())
    }

    pub(crate) fn pid(&self) -> Pid {
        guest::process(&self.machine().join("qemu.pid")).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }
}

/// A test that fails leaves no guest behind.
impl Drop for World {
    fn drop(&mut self) {
        guest::clear(&self.machine());
    }
}

/// Runs `script` in the guest as `user` with the key at `key`.
pub(crate) fn ssh(guest: Guest, user: &str, key: &Path, script: &str) -> Output {
    guest::ssh(&format!("{user}@{}", guest.ssh.ip()), guest.ssh.port(), key, script).output().unwrap()
}

/// What `script` prints in the guest.
pub(crate) fn says(guest: Guest, key: &Path, script: &str) -> String {
    let output = ssh(guest, "ubuntu", key, script);
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) async fn boot(backend: &Backend, spec: &MachineSpec) -> Guest {
    backend.start(spec).await.unwrap();
    match tokio::time::timeout(BOOT, backend.wait_ready(&spec.id)).await {
        Ok(guest) => guest.unwrap(),
        Err(_) => panic!("no boot in time: {:?}", backend.console(&spec.id).await),
    }
}

pub(crate) async fn until(backend: &Backend, id: &VmId, wanted: impl Fn(Option<&Observed>) -> bool) {
    let poll = async {
        while !wanted(backend.list().await.unwrap().get(id)) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.expect("seen in time");
}

pub(crate) fn must(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// Runs the test `name` again on a host of its own; true there.
pub(crate) fn on_own_host(name: &str) -> bool {
    let mut host = Command::new("unshare");
    host.args(["--net", "--mount", "--propagation", "private"]).arg(std::env::current_exe().unwrap());
    if !in_own_process_by(host, name) {
        return false;
    }
    must(&["ip", "link", "set", "lo", "up"]);
    must(&["ip", "link", "add", "lan", "type", "veth", "peer", "name", "far"]);
    must(&["ip", "address", "add", "203.0.113.2/24", "dev", "lan"]);
    must(&["ip", "link", "set", "lan", "up"]);
    must(&["ip", "link", "set", "far", "up"]);
    true
}

pub(crate) fn table_exists() -> bool {
    Command::new("nft").args(["list", "table", "inet", "golem_provider"]).output().unwrap().status.success()
}

/// A listener that a guest must not reach, and whether anything ever came in.
fn trap(address: Ipv4Addr) -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Listeners of the host, on its loopback and its own address, and which a guest tries to reach.
pub(crate) struct Traps([(std::net::TcpListener, Vec<String>); 2]);

impl Traps {
    pub(crate) fn set() -> Self {
        let host: Ipv4Addr = host_address();
        let (loopback, port) = trap(Ipv4Addr::LOCALHOST);
        let (own, own_port) = trap(host);
        Self([
            (
                loopback,
                vec![format!("10.0.2.2/{port}"), format!("127.0.0.1/{port}"), format!("10.0.3.2/{port}")],
            ),
            (own, vec![format!("{host}/{own_port}")]),
        ])
    }

    /// That the guest reaches neither the host's loopback nor the host itself, by whatever name.
    pub(crate) fn stay_empty(&self, guest: Guest, key: &Path, when: &str) {
        for address in self.0.iter().flat_map(|(_, addresses)| addresses) {
            let attempt = format!("timeout 8 bash -c 'exec 3<>/dev/tcp/{address}'");
            assert!(!ssh(guest, "ubuntu", key, &attempt).status.success(), "{address} was reached {when}");
        }
        assert!(self.0.iter().all(|(listener, _)| listener.accept().is_err()), "something came in {when}");
    }
}

/// How the guest is connected, looked at once.
pub(crate) async fn network(backend: &Backend, id: &VmId) -> GuestNetwork {
    backend.keep_networks().await.remove(id).unwrap()
}

/// Whether an SSH server greets at the guest's port, soon.
pub(crate) fn greets(guest: Guest) -> bool {
    use std::io::Read;
    let mut word = [0; 4];
    std::net::TcpStream::connect(guest.ssh)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.read_exact(&mut word)
        })
        .is_ok_and(|()| &word == b"SSH-")
}

/// A small file system in memory, unmounted at the end.
pub(crate) struct SmallVolume(pub(crate) tempfile::TempDir);

impl SmallVolume {
    pub(crate) fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let option = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &option, "none"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success());
        Self(folder)
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        // A guest that was just ended may hold it for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// An address of this host on a network other than loopback.
fn host_address() -> Ipv4Addr {
    let output = Command::new("ip").args(["-4", "-o", "addr", "show", "scope", "global"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let word = text.split_whitespace().skip_while(|word| *word != "inet").nth(1);
    word.and_then(|word| word.split('/').next()).expect("an address").parse().unwrap()
}
