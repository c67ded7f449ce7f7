//! A real guest: made, booted, logged into with a real ssh client, watched, stopped, removed.
//!
//! One guest serves all of it, because a boot takes half a minute without hardware
//! virtualisation. It lives on a host of its own (a network and a mount namespace), so that the host's
//! firewall can be flushed. Needs root, QEMU, nftables and the image that `GOLEM_TEST_IMAGE` names.
mod console;
mod first_boot;
mod hosts;
mod snapshots;
mod suspend;
mod world;

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use golem_test_support::{guest as support, wait_until};
use golem_vm::images::Images;
use golem_vm::qemu::{Qemu, QemuConfig};
use golem_vm::{Backend, Guest, NetworkState, Observed};
use rustix::process::{Signal, kill_process};

use world::{
    BOOT, SmallVolume, Traps, World, boot, greets, must, network, on_own_host, says, ssh, table_exists, until,
};

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
    wait_until("QEMU is launched", || machine.join("run/qmp.sock").exists());
}

/// I-01: a machine that an older version launched is taken over, kept behind the host's table, and cut while that
/// is not in place. Its disk is empty: nothing boots.
#[tokio::test]
async fn i_01_a_machine_of_an_older_version_is_kept_behind_the_hosts_table_or_cut() {
    if !on_own_host("guest::i_01_a_machine_of_an_older_version_is_kept_behind_the_hosts_table_or_cut") {
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
    let words = std::fs::read(format!("/proc/{}/cmdline", world.pid().as_raw_nonzero())).unwrap();
    world.signal(Signal::KILL);
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
    assert!(!table_exists() || support::other_guests(), "no guest, no rules");
}

/// I1, I4, I5.
#[tokio::test]
async fn a_real_guest_lives_as_it_was_sold() {
    if !on_own_host("guest::a_real_guest_lives_as_it_was_sold") {
        return;
    }
    let world = World::new();
    let (spec, key) = (&world.spec, world.key.as_path());
    let image = support::image();
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
    let stranger = support::keypair(world.folder(), "stranger", &["-t", "ed25519"]);
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
    let uplink = support::process(&world.machine().join("uplink.pid")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", uplink.as_raw_nonzero())).unwrap();
    assert!(status.contains("\nSeccomp:\t2\n") && status.contains("\nUid:\t19000"), "{status}");
    kill_process(uplink, Signal::KILL).unwrap();
    let mend = async {
        while !greets(guest) {
            assert_eq!(network(&backend, &spec.id).await.state, NetworkState::Own);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), mend).await.expect("mended in time");
    traps.stay_empty(guest, key, "with a new uplink");

    // The process is nobody: no capability, no way to one, a sandbox around it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid().as_raw_nonzero())).unwrap();
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

    // Its console is a way in.
    console::is_a_way_in(&world, &backend, guest).await;

    // The next node finds it as it is: the process is not ours to lose.
    assert!(says(guest, key, "echo kept | tee mine && sync").contains("kept"));
    drop(backend);
    let backend = world.backend();
    backend.start(spec).await.unwrap();
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Running(guest)));

    // What is paused is left as it is, and goes on where that is known to help.
    h_02_h_03_a_paused_guest_loses_nothing(&world, &backend, guest).await;

    // Frozen and killed are seen as such.
    world.signal(Signal::STOP);
    until(&backend, &spec.id, |seen| matches!(seen, Some(Observed::Halted { .. }))).await;
    world.signal(Signal::CONT);
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
    world.signal(Signal::KILL);
    until(&backend, &spec.id, |seen| seen == Some(&Observed::Stopped)).await;
    until(&backend, &spec.id, |_| groups.iter().all(|group| !group.exists())).await;
    backend.delete(&spec.id).await.unwrap();
    backend.delete(&spec.id).await.unwrap();
    // S-088, S-092
    assert!(!world.machine().exists() && backend.list().await.unwrap().is_empty());
    assert!(!table_exists() || support::other_guests(), "no guest, no rules");
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
