//! A real guest: made, booted, logged into with a real ssh client, watched, stopped, removed.
//!
//! One guest serves all of it, because a boot takes half a minute without hardware
//! virtualisation. Needs root, QEMU, nftables and the image that `GOLEM_TEST_IMAGE` names.
#![cfg(test)]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use golem_types::{Resources, VmId, VmName};
use golem_vm::images::Images;
use golem_vm::qemu::{Qemu, QemuConfig};
use golem_vm::{Backend, Guest, MachineSpec, NetworkLimits, Observed};

/// What the guests of these tests may do on the network.
const LIMITS: NetworkLimits = NetworkLimits { connections: Some(50), megabits: None, smtp: false };

/// Longest that a boot may take here; about 25 s on an idle machine of two cores.
const BOOT: Duration = Duration::from_secs(300);

struct World {
    folder: tempfile::TempDir,
    key: PathBuf,
    spec: MachineSpec,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = keypair(folder.path(), "renter");
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
        };
        Self { folder, key, spec }
    }

    fn images(&self) -> Arc<Images> {
        Arc::new(Images::open(self.folder.path()).unwrap())
    }

    fn backend(&self) -> Backend {
        let config = QemuConfig { network: LIMITS, ..QemuConfig::new(self.folder.path().to_owned()) };
        Backend::Qemu(Qemu::open(config, self.images()))
    }

    fn machine(&self) -> PathBuf {
        self.folder.path().join("vms").join(self.spec.id.as_str())
    }

    /// The guest's control groups.
    fn groups(&self) -> Vec<PathBuf> {
        let text = std::fs::read_to_string(self.machine().join("groups.json")).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let groups = record["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().map(|group| PathBuf::from(group.as_str().unwrap())).collect()
    }

    fn pid(&self) -> i32 {
        std::fs::read_to_string(self.machine().join("qemu.pid")).unwrap().trim().parse().unwrap()
    }
}

/// A test that fails leaves no guest behind.
impl Drop for World {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.machine().join("qemu.pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Makes an ed25519 key without passphrase and returns the private half's path.
fn keypair(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    path
}

/// Runs `script` in the guest as `user` with the key at `key`, as existing clients do.
fn ssh(guest: Guest, user: &str, key: &Path, script: &str) -> Output {
    Command::new("ssh")
        .args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"])
        .args(["-o", "LogLevel=ERROR", "-i"])
        .arg(key)
        .args(["-p", &guest.ssh.port().to_string(), &format!("{user}@{}", guest.ssh.ip()), script])
        .output()
        .unwrap()
}

/// What `script` prints in the guest.
fn says(guest: Guest, key: &Path, script: &str) -> String {
    let output = ssh(guest, "ubuntu", key, script);
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn boot(backend: &Backend, spec: &MachineSpec) -> Guest {
    backend.start(spec).await.unwrap();
    match tokio::time::timeout(BOOT, backend.wait_ready(&spec.id)).await {
        Ok(guest) => guest.unwrap(),
        Err(_) => panic!("no boot in time: {:?}", backend.console(&spec.id).await),
    }
}

async fn until(backend: &Backend, id: &VmId, wanted: impl Fn(Option<&Observed>) -> bool) {
    let poll = async {
        while !wanted(backend.list().await.unwrap().get(id)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.expect("seen in time");
}

fn table_exists() -> bool {
    Command::new("nft").args(["list", "table", "inet", "golem_provider"]).output().unwrap().status.success()
}

/// Whether guests of other nodes run on this host, whose rules stay.
fn other_guests() -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
        uid.is_some_and(|uid: u32| (1_900_000_000..1_900_065_536).contains(&uid))
    })
}

/// A listener that a guest must not reach, and whether anything ever came in.
fn trap(address: Ipv4Addr) -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// S-085, S-087, S-089, S-090, S-091, S-092, S-093, S-245, S-246, S-247, I1, I4, I5.
#[tokio::test]
async fn s_087_s_089_s_091_s_092_s_245_s_247_a_real_guest_lives_as_it_was_sold() {
    let world = World::new();
    let (spec, key) = (&world.spec, world.key.as_path());
    let image = std::env::var("GOLEM_TEST_IMAGE").expect("GOLEM_TEST_IMAGE names a bootable image");
    world.images().add(&spec.image, Path::new(&image)).unwrap();
    let backend = world.backend();
    backend.check().await.unwrap();

    // Made and booted; made twice is fine.
    backend.create(spec).await.unwrap();
    backend.create(spec).await.unwrap();
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Stopped));
    let guest = boot(&backend, spec).await;
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Running(guest)));

    // It is what was sold, under the name that it was given.
    assert_eq!(says(guest, key, "hostname"), "guest-test");
    assert_eq!(says(guest, key, "nproc"), "2");
    let memory: u64 = says(guest, key, "awk '/MemTotal/ {print $2}' /proc/meminfo").parse().unwrap();
    assert!((900_000..=1 << 20).contains(&memory), "{memory} kB");
    assert_eq!(says(guest, key, "lsblk -bdno SIZE /dev/vda"), (10u64 << 30).to_string());
    assert_eq!(says(guest, key, "sudo id -u"), "0");

    // Its key works for both users; nothing else does.
    assert!(ssh(guest, "root", key, "true").status.success());
    let stranger = keypair(world.folder.path(), "stranger");
    assert!(!ssh(guest, "ubuntu", &stranger, "true").status.success());
    let offered = says(guest, key, "sudo sshd -T 2>/dev/null | grep -i ^passwordauthentication");
    assert_eq!(offered, "passwordauthentication no");

    // A key that is added works at once.
    let public = std::fs::read_to_string(stranger.with_extension("pub")).unwrap();
    backend.add_key(&spec.id, &public.parse().unwrap()).await.unwrap();
    assert!(ssh(guest, "ubuntu", &stranger, "true").status.success());

    // It reaches neither the host's loopback nor the host itself, by whatever name.
    assert!(table_exists());
    let host: Ipv4Addr = host_address();
    let (loopback, port) = trap(Ipv4Addr::LOCALHOST);
    let (lan, lan_port) = trap(host);
    for (address, port) in
        [("10.0.2.2".to_owned(), port), (host.to_string(), lan_port), ("127.0.0.1".to_owned(), port)]
    {
        let attempt = format!("timeout 8 bash -c 'exec 3<>/dev/tcp/{address}/{port}'");
        assert!(!ssh(guest, "ubuntu", key, &attempt).status.success(), "{address} was reached");
    }
    assert!(loopback.accept().is_err() && lan.accept().is_err(), "something came in");

    // The process is nobody: no capability, no way to one, a sandbox around it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
    let uid: u32 = field("Uid:").split_whitespace().next().unwrap().parse().unwrap();
    assert!((1_900_000_000..1_900_065_536).contains(&uid));
    // I-04: QEMU and its uplink are in the guest's control group, and among the first to go.
    let groups = world.groups();
    assert!(!groups.is_empty(), "this test needs control groups that can be written");
    for file in ["qemu.pid", "uplink.pid"] {
        let pid = std::fs::read_to_string(world.machine().join(file)).unwrap();
        for group in &groups {
            let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
            assert!(processes.lines().any(|line| line == pid.trim()), "{file} in {}", group.display());
        }
        let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", pid.trim())).unwrap();
        assert_eq!(score.trim(), "500", "{file}");
    }
    // It can write its disk and its sockets' folder, and no record of the node's.
    for (file, owner) in [("disk.qcow2", uid), ("run", uid), ("", 0), ("machine.json", 0), ("qemu.pid", 0)] {
        let found = std::fs::metadata(world.machine().join(file)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&found), owner, "{file:?}");
    }

    // The next node finds it as it is: the process is not ours to lose.
    assert!(says(guest, key, "echo kept | tee mine && sync").contains("kept"));
    drop(backend);
    let backend = world.backend();
    backend.start(spec).await.unwrap();
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Running(guest)));

    // Frozen, paused and killed are seen as such.
    let pid = rustix::process::Pid::from_raw(world.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    until(&backend, &spec.id, |seen| matches!(seen, Some(Observed::Broken { .. }))).await;
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    until(&backend, &spec.id, |seen| seen == Some(&Observed::Running(guest))).await;
    assert!(backend.console(&spec.id).await.is_ok());

    // Shut down by its power button, well within the grace; its disk is kept.
    let began = tokio::time::Instant::now();
    let grace = Duration::from_secs(200);
    backend.stop(&spec.id, grace).await.unwrap();
    assert!(began.elapsed() < grace, "it was killed, not shut down");
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Stopped));
    let guest = boot(&backend, spec).await;
    assert_eq!(says(guest, key, "cat mine"), "kept");

    // Killed from outside: seen, and what is left goes without a trace.
    let pid = rustix::process::Pid::from_raw(world.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until(&backend, &spec.id, |seen| seen == Some(&Observed::Stopped)).await;
    until(&backend, &spec.id, |_| groups.iter().all(|group| !group.exists())).await;
    backend.delete(&spec.id).await.unwrap();
    backend.delete(&spec.id).await.unwrap();
    assert!(!world.machine().exists() && backend.list().await.unwrap().is_empty());
    assert!(!table_exists() || other_guests(), "no guest, no rules");
}

/// A small file system in memory, unmounted at the end.
struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    fn mount(size: &str) -> Self {
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
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// S-092: a volume without room refuses a machine in words that its renter may read, and leaves
/// nothing of it.
#[tokio::test]
async fn s_092_a_full_disk_is_said_and_leaves_nothing() {
    let world = World::new();
    let volume = SmallVolume::mount("64m");
    let images = Arc::new(Images::open(volume.0.path()).unwrap());
    let file = world.folder.path().join("empty.qcow2");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&file).arg("1G").status();
    assert!(made.unwrap().success());
    images.add(&world.spec.image, &file).unwrap();
    let config = QemuConfig::new(volume.0.path().to_owned());
    let backend = Backend::Qemu(Qemu::open(config, images));
    let refused = backend.create(&world.spec).await.unwrap_err();
    assert_eq!(refused.to_string(), "looking for disk space: the provider's disk is full");
    backend.delete(&world.spec.id).await.unwrap();
    assert!(backend.list().await.unwrap().is_empty());
}

/// An address of this host on a network other than loopback.
fn host_address() -> Ipv4Addr {
    let output = Command::new("ip").args(["-4", "-o", "addr", "show", "scope", "global"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let word = text.split_whitespace().skip_while(|word| *word != "inet").nth(1);
    word.and_then(|word| word.split('/').next()).expect("an address").parse().unwrap()
}
