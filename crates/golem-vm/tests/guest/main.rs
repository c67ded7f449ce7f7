//! A real guest: made, booted, logged into with a real ssh client, watched, stopped, removed.
//!
//! One guest serves all of it, because a boot takes half a minute without hardware
//! virtualisation. It lives on a host of its own (a network and a mount namespace), so that the host's
//! firewall can be flushed. Needs root, QEMU, nftables and the image that `GOLEM_TEST_IMAGE` names.
#![cfg(test)]

mod hosts;

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use golem_types::{Resources, VmId, VmName};
use golem_vm::images::Images;
use golem_vm::qemu::{Qemu, QemuConfig};
use golem_vm::{Backend, Guest, MachineSpec, Network, NetworkLimits, NetworkState, Observed};

/// What the guests of these tests may do on the network.
const LIMITS: NetworkLimits = NetworkLimits { connections: Some(50), megabits: None, smtp: false };

/// Longest that a boot may take here; about 25 s on an idle machine of two cores.
const BOOT: Duration = Duration::from_secs(300);

struct World {
    /// Where the node's data is: small enough to be filled.
    volume: SmallVolume,
    /// Where its images are: on another file system.
    images: tempfile::TempDir,
    key: PathBuf,
    spec: MachineSpec,
}

impl World {
    fn new() -> Self {
        let volume = SmallVolume::mount("1300m");
        let images = tempfile::tempdir().unwrap();
        let folder = &volume.0;
        std::os::unix::fs::symlink(images.path(), folder.path().join("images")).unwrap();
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
        Self { volume, images, key, spec }
    }

    fn folder(&self) -> &Path {
        self.volume.0.path()
    }

    fn images(&self) -> Arc<Images> {
        Arc::new(Images::open(self.folder()).unwrap())
    }

    fn backend(&self) -> Backend {
        let config = QemuConfig { network: LIMITS, ..QemuConfig::new(self.folder().to_owned()) };
        Backend::Qemu(Qemu::open(config, self.images()))
    }

    fn machine(&self) -> PathBuf {
        self.folder().join("vms").join(self.spec.id.as_str())
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
        let end = std::time::Instant::now() + Duration::from_secs(20);
        for group in self.groups() {
            while std::fs::remove_dir(&group).is_err() && group.exists() && std::time::Instant::now() < end {
                std::thread::park_timeout(Duration::from_millis(20));
            }
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
        // A guest that reboots says no farewell.
        .args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"])
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

fn must(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// Runs the test `name` again on a host of its own; true there.
fn on_own_host(name: &str) -> bool {
    if std::env::var_os("GOLEM_TEST_OWN_HOST").is_some() {
        must(&["ip", "link", "set", "lo", "up"]);
        must(&["ip", "link", "add", "lan", "type", "veth", "peer", "name", "far"]);
        must(&["ip", "address", "add", "203.0.113.2/24", "dev", "lan"]);
        must(&["ip", "link", "set", "lan", "up"]);
        must(&["ip", "link", "set", "far", "up"]);
        return true;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("GOLEM_TEST_OWN_HOST", "1")
        .status();
    assert!(status.unwrap().success());
    false
}

fn table_exists() -> bool {
    Command::new("nft").args(["list", "table", "inet", "golem_provider"]).output().unwrap().status.success()
}

/// Whether guests of other nodes run on this machine, whose rules would stay.
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

/// Listeners of the host, on its loopback and its own address, and which a guest tries to reach.
struct Traps([(std::net::TcpListener, Vec<String>); 2]);

impl Traps {
    fn set() -> Self {
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
    fn stay_empty(&self, guest: Guest, key: &Path, when: &str) {
        for address in self.0.iter().flat_map(|(_, addresses)| addresses) {
            let attempt = format!("timeout 8 bash -c 'exec 3<>/dev/tcp/{address}'");
            assert!(!ssh(guest, "ubuntu", key, &attempt).status.success(), "{address} was reached {when}");
        }
        assert!(self.0.iter().all(|(listener, _)| listener.accept().is_err()), "something came in {when}");
    }
}

/// How the guest is connected, looked at once.
async fn network(backend: &Backend, id: &VmId) -> Network {
    backend.keep_networks().await.remove(id).unwrap()
}

/// Whether an SSH server greets at the guest's port, soon.
fn greets(guest: Guest) -> bool {
    use std::io::Read;
    let mut word = [0; 4];
    std::net::TcpStream::connect(guest.ssh)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.read_exact(&mut word)
        })
        .is_ok_and(|()| &word == b"SSH-")
}

/// Launches the machine as versions did that knew no namespace: in the host's own, behind its table.
/// `words` are QEMU's as it was launched by this version.
fn launch_as_of_old(world: &World, words: &[u8]) {
    let words = String::from_utf8(words.to_vec()).unwrap();
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let old = words.replace("hostfwd=tcp:10.0.3.100:2222-:22", &format!("hostfwd=tcp:127.0.0.1:{port}-:22"));
    assert_ne!(old, words);
    let machine = world.machine();
    for file in ["qemu.pid", "run/qmp.sock", "run/agent.sock"] {
        let _ = std::fs::remove_file(machine.join(file));
    }
    std::fs::write(machine.join("launch.json"), format!("{{\"ssh_port\":{port}}}")).unwrap();
    let uid = std::fs::metadata(machine.join("run")).unwrap().uid().to_string();
    let status = Command::new("setsid")
        .args(["--fork", "sh", "-c", "echo $$ > qemu.pid && exec \"$@\"", "sh"])
        .args(["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "--no-new-privs"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .args(old.trim_end_matches('\0').split('\0'))
        .current_dir(&machine)
        .stdin(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while !machine.join("run/qmp.sock").exists() {
        assert!(std::time::Instant::now() < end, "QEMU was not launched in time");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// I-01: a machine that an older version launched is taken over, kept behind the host's table, and cut while that
/// is not in place. Its disk is empty: nothing boots.
#[tokio::test]
async fn i_01_a_machine_of_an_older_version_is_kept_behind_the_hosts_table_or_cut() {
    if !on_own_host("i_01_a_machine_of_an_older_version_is_kept_behind_the_hosts_table_or_cut") {
        return;
    }
    let world = World::new();
    let spec = &world.spec;
    let file = world.folder().join("empty.qcow2");
    must(&["qemu-img", "create", "-q", "-f", "qcow2", file.to_str().unwrap(), "1G"]);
    world.images().add(&spec.image, &file).unwrap();
    let backend = world.backend();
    backend.create(spec).await.unwrap();
    backend.start(spec).await.unwrap();
    assert_eq!(network(&backend, &spec.id).await.state, NetworkState::Own);
    let words = std::fs::read(format!("/proc/{}/cmdline", world.pid())).unwrap();
    let pid = rustix::process::Pid::from_raw(world.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until(&backend, &spec.id, |seen| seen == Some(&Observed::Stopped)).await;

    launch_as_of_old(&world, &words);
    until(&backend, &spec.id, |seen| matches!(seen, Some(Observed::Running(_)))).await;
    assert_eq!(network(&backend, &spec.id).await.state, NetworkState::Shared);
    must(&["nft", "flush", "ruleset"]);
    assert_eq!(network(&backend, &spec.id).await.state, NetworkState::Shared);
    assert!(table_exists());
    let nft = String::from_utf8(Command::new("which").arg("nft").output().unwrap().stdout).unwrap();
    must(&["mount", "--bind", "/bin/false", nft.trim()]);
    assert!(matches!(network(&backend, &spec.id).await.state, NetworkState::Cut { .. }));
    must(&["umount", nft.trim()]);
    assert_eq!(network(&backend, &spec.id).await.state, NetworkState::Shared);
    backend.delete(&spec.id).await.unwrap();
    assert!(!table_exists() || other_guests(), "no guest, no rules");
}

/// I1, I4, I5.
#[tokio::test]
async fn a_real_guest_lives_as_it_was_sold() {
    if !on_own_host("a_real_guest_lives_as_it_was_sold") {
        return;
    }
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
    // H-07: its image lies on another file system, and is there once for every machine.
    let base = std::fs::metadata(world.machine().join("base.img")).unwrap();
    assert_ne!(base.dev(), std::fs::metadata(world.images.path()).unwrap().dev());
    assert_eq!((base.nlink(), base.mode() & 0o7777, base.uid()), (2, 0o444, 0));
    let written = std::fs::metadata(world.machine().join("disk.qcow2")).unwrap().blocks() * 512;
    // S-251: a file of a few blocks, however large image and disk are.
    assert!(written < 1 << 20, "{written} bytes");
    let guest = boot(&backend, spec).await;
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Running(guest)));

    // It is what was sold, under the name that it was given.
    // S-087
    assert_eq!(says(guest, key, "hostname"), "guest-test");
    // S-245
    assert_eq!(says(guest, key, "nproc"), "2");
    let memory: u64 = says(guest, key, "awk '/MemTotal/ {print $2}' /proc/meminfo").parse().unwrap();
    // S-245
    assert!((900_000..=1 << 20).contains(&memory), "{memory} kB");
    // S-245
    assert_eq!(says(guest, key, "lsblk -bdno SIZE /dev/vda"), (10u64 << 30).to_string());
    assert_eq!(says(guest, key, "sudo id -u"), "0");

    // Its key works for both users; nothing else does.
    assert!(ssh(guest, "root", key, "true").status.success());
    let stranger = keypair(world.folder(), "stranger");
    // S-089
    assert!(!ssh(guest, "ubuntu", &stranger, "true").status.success());
    let offered = says(guest, key, "sudo sshd -T 2>/dev/null | grep -i ^passwordauthentication");
    // S-089
    assert_eq!(offered, "passwordauthentication no");

    // A key that is added works at once.
    let public = std::fs::read_to_string(stranger.with_extension("pub")).unwrap();
    backend.add_key(&spec.id, &public.parse().unwrap()).await.unwrap();
    // S-246
    assert!(ssh(guest, "ubuntu", &stranger, "true").status.success());

    // It reaches neither the host's loopback nor the host itself, whatever becomes of the firewall (I-01).
    assert!(table_exists());
    let traps = Traps::set();
    // S-247
    traps.stay_empty(guest, key, "at first");
    must(&["nft", "flush", "ruleset"]);
    traps.stay_empty(guest, key, "after a flush");
    let seen = network(&backend, &spec.id).await;
    assert!(
        seen.state == NetworkState::Own && seen.traffic.is_some_and(|traffic| traffic.bytes_in > 1000),
        "{seen:?}"
    );
    assert!(table_exists(), "the second layer is put back");

    // Its uplink is nobody, too, and is started again when it ends.
    let uplink = std::fs::read_to_string(world.machine().join("uplink.pid")).unwrap();
    let uplink = rustix::process::Pid::from_raw(uplink.trim().parse().unwrap()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", uplink.as_raw_nonzero())).unwrap();
    assert!(status.contains("\nSeccomp:\t2\n") && status.contains("\nUid:\t19000"), "{status}");
    rustix::process::kill_process(uplink, rustix::process::Signal::KILL).unwrap();
    let mend = async {
        while !greets(guest) {
            assert_eq!(network(&backend, &spec.id).await.state, NetworkState::Own);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), mend).await.expect("mended in time");
    traps.stay_empty(guest, key, "with a new uplink");

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
        assert_eq!(found.uid(), owner, "{file:?}");
    }

    // The next node finds it as it is: the process is not ours to lose.
    assert!(says(guest, key, "echo kept | tee mine && sync").contains("kept"));
    drop(backend);
    let backend = world.backend();
    backend.start(spec).await.unwrap();
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Running(guest)));

    // What is paused is left as it is, and goes on where that is known to help.
    h_02_h_03_a_paused_guest_loses_nothing(&world, &backend, guest).await;

    // Frozen and killed are seen as such.
    let pid = rustix::process::Pid::from_raw(world.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    until(&backend, &spec.id, |seen| matches!(seen, Some(Observed::Halted { .. }))).await;
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    until(&backend, &spec.id, |seen| seen == Some(&Observed::Running(guest))).await;
    assert!(backend.console(&spec.id).await.is_ok());

    // Rebooted from inside: another boot of the same process.
    let boot_id = |key: &Path| says(guest, key, "cat /proc/sys/kernel/random/boot_id");
    let (before, process) = (boot_id(key), world.pid());
    let _ = ssh(guest, "ubuntu", key, "sudo reboot");
    let again = async {
        loop {
            let output = ssh(guest, "ubuntu", key, "cat /proc/sys/kernel/random/boot_id");
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() && text != before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(BOOT, again).await.expect("rebooted in time");
    assert_eq!((world.pid(), says(guest, key, "cat mine").as_str()), (process, "kept"));

    // H-13: powered off from inside: known as that, by the next node, too, until it is started.
    let _ = ssh(guest, "ubuntu", key, "sudo poweroff");
    // S-091
    until(&backend, &spec.id, |seen| seen == Some(&Observed::PoweredOff)).await;
    drop(backend);
    let backend = world.backend();
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::PoweredOff));
    let guest = boot(&backend, spec).await;
    assert_eq!(says(guest, key, "cat mine"), "kept");

    // Shut down by its power button, well within the grace; its disk is kept.
    let began = tokio::time::Instant::now();
    let grace = Duration::from_secs(200);
    backend.stop(&spec.id, grace).await.unwrap();
    assert!(began.elapsed() < grace, "it was killed, not shut down");
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Stopped));
    assert!(backend.keep_networks().await.is_empty());

    let guest = boot(&backend, spec).await;
    assert_eq!(says(guest, key, "cat mine"), "kept");

    // Killed from outside: seen, and what is left goes without a trace.
    let pid = rustix::process::Pid::from_raw(world.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until(&backend, &spec.id, |seen| seen == Some(&Observed::Stopped)).await;
    until(&backend, &spec.id, |_| groups.iter().all(|group| !group.exists())).await;
    backend.delete(&spec.id).await.unwrap();
    backend.delete(&spec.id).await.unwrap();
    // S-088, S-092
    assert!(!world.machine().exists() && backend.list().await.unwrap().is_empty());
    assert!(!table_exists() || other_guests(), "no guest, no rules");
}

/// Says `command` to the machine's QEMU, in the one conversation that it has at a time.
fn qmp(world: &World, command: &str) {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(world.machine().join("run/qmp.sock")).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for command in ["qmp_capabilities", command] {
        stream.write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes()).unwrap();
        assert!(lines.by_ref().any(|line| line.unwrap().contains("return")), "{command}");
    }
}

/// H-02, H-03: neither a guest that somebody paused nor one that a full disk paused is ended by a start; the
/// first goes on when they say so, the second when there is room, with all that was in its memory.
async fn h_02_h_03_a_paused_guest_loses_nothing(world: &World, backend: &Backend, guest: Guest) {
    let (spec, key, process) = (&world.spec, world.key.as_path(), world.pid());
    let resumable = |seen: Option<&Observed>| match seen {
        Some(Observed::Halted { resumable, .. }) => Some(*resumable),
        _ => None,
    };
    let _ = says(guest, key, "echo unsynced >/dev/shm/memory");
    qmp(world, "stop");
    until(backend, &spec.id, |seen| resumable(seen) == Some(false)).await;
    backend.start(spec).await.unwrap();
    backend.resume(&spec.id).await.unwrap();
    assert_eq!(
        resumable(backend.list().await.unwrap().get(&spec.id)),
        Some(false),
        "it is somebody else's pause"
    );
    qmp(world, "cont");
    until(backend, &spec.id, |seen| seen == Some(&Observed::Running(guest))).await;

    let filler = world.folder().join("filler");
    let volume = rustix::fs::statvfs(world.folder()).unwrap();
    // Room for what a login writes, and for some of what follows.
    let left = volume.f_bavail * volume.f_frsize - (12 << 20);
    let file = std::fs::File::create(&filler).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, left).unwrap();
    // While it is open its space is taken, whatever becomes of its name.
    drop(file);
    let write = "nohup sh -c 'sleep 2; dd if=/dev/urandom of=big bs=1M count=24 conv=fsync; touch done' >/dev/null 2>&1 &";
    let _ = ssh(guest, "ubuntu", key, write);
    until(backend, &spec.id, |seen| resumable(seen) == Some(false)).await;
    backend.start(spec).await.unwrap();
    assert_eq!(world.pid(), process, "a start leaves it");
    std::fs::remove_file(&filler).unwrap();
    until(backend, &spec.id, |seen| resumable(seen) == Some(true)).await;
    backend.resume(&spec.id).await.unwrap();
    until(backend, &spec.id, |seen| seen == Some(&Observed::Running(guest))).await;
    let wait =
        "for n in $(seq 120); do test -e done && break; sleep 0.5; done; stat -c %s big; cat /dev/shm/memory";
    assert_eq!(says(guest, key, wait), format!("{}\nunsynced", 24 << 20));
    assert_eq!(world.pid(), process);
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
        // A guest that was just ended may hold it for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// S-092: a volume without room refuses a machine in words that its renter may read, and leaves
/// nothing of it.
#[tokio::test]
async fn s_092_a_full_disk_is_said_and_leaves_nothing() {
    let world = World::new();
    let volume = SmallVolume::mount("64m");
    let images = Arc::new(Images::open(volume.0.path()).unwrap());
    let file = world.folder().join("empty.qcow2");
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
