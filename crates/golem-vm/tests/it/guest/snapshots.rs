//! Snapshots of a real guest's disk.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use golem_types::{Resources, SnapshotConsistency, SnapshotName};
use golem_vm::{Backend, Guest, MachineSpec};
use serde_json::Value;

use super::world::{World, boot, says};

fn name(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

/// The snapshots that the file of the machine's disk has.
fn kept(world: &World) -> Vec<String> {
    let disk = world.machine().join("disk.qcow2");
    let output = Command::new("qemu-img").args(["info", "-U", "--output=json"]).arg(disk).output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    let snapshots = info["snapshots"].as_array().cloned().unwrap_or_default();
    snapshots.iter().map(|snapshot| snapshot["name"].as_str().unwrap().to_owned()).collect()
}

/// The disk of the guest that runs is kept, written on, and given back as it was.
pub(crate) async fn keep_a_disk_and_give_it_back(world: &World, backend: &Backend, guest: Guest, key: &Path) {
    let id = &world.spec.id;
    says(guest, key, "echo first >kept-file");
    let consistency = backend.create_snapshot(id, &name("1")).await.unwrap();
    assert_eq!(consistency, SnapshotConsistency::FileSystem, "its agent held its file systems still");
    says(guest, key, "echo second >kept-file; sync");
    // A node that died asks again.
    backend.create_snapshot(id, &name("1")).await.unwrap();
    assert_eq!(kept(world), ["golem-1"]);
    // Without an agent, too, and deleted while the guest runs.
    says(guest, key, "sudo systemctl stop qemu-guest-agent");
    let consistency = backend.create_snapshot(id, &name("two")).await.unwrap();
    assert_eq!(consistency, SnapshotConsistency::PowerCut);
    backend.delete_snapshot(id, &name("two")).await.unwrap();
    backend.delete_snapshot(id, &name("two")).await.unwrap();
    assert_eq!(kept(world), ["golem-1"]);
    assert_eq!(says(guest, key, "echo third >kept-file; sync; cat kept-file"), "third");
    assert!(backend.restore_snapshot(id, &name("1")).await.is_err(), "its guest runs");

    backend.stop(id, Duration::from_secs(60)).await.unwrap();
    let consistency = backend.create_snapshot(id, &name("off")).await.unwrap();
    assert_eq!(consistency, SnapshotConsistency::Stopped);
    assert!(backend.restore_snapshot(id, &name("never")).await.is_err());
    for _ in 0..2 {
        backend.restore_snapshot(id, &name("1")).await.unwrap();
    }
    backend.delete_snapshot(id, &name("off")).await.unwrap();
    assert_eq!(kept(world), ["golem-1"]);
    let check =
        Command::new("qemu-img").arg("check").arg(world.machine().join("disk.qcow2")).output().unwrap();
    assert!(check.status.success(), "{check:?}");
    // The guest gets more of the machine, and the disk of a snapshot from before that grows again.
    let larger = MachineSpec { resources: Resources::new(1, 2, 12), ..world.spec.clone() };
    assert!(larger.resources.storage > world.spec.resources.storage);
    let guest = boot(backend, &larger).await;
    assert_eq!(
        says(guest, key, "cat kept-file; nproc; lsblk -bdno SIZE /dev/vda"),
        format!("first\n1\n{}", 12_u64 << 30)
    );
    let memory: u64 = says(guest, key, "awk '/MemTotal/ {print $2}' /proc/meminfo").parse().unwrap();
    assert!(memory > 1_600_000, "{memory} KiB");
    backend.stop(id, Duration::from_secs(60)).await.unwrap();
    backend.restore_snapshot(id, &name("1")).await.unwrap();
    let info = Command::new("qemu-img")
        .args(["info", "--output=json"])
        .arg(world.machine().join("disk.qcow2"))
        .output()
        .unwrap();
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["virtual-size"].as_u64(), Some(12 << 30));

    // A disk that is made anew, once: the guest boots for the first time, and its next boot finds what it wrote.
    backend.delete_snapshot(id, &name("1")).await.unwrap();
    let anew = MachineSpec { rebuild_at: 7, ..larger };
    let guest = boot(backend, &anew).await;
    assert_eq!(
        says(guest, key, "ls kept-file 2>/dev/null; lsblk -bdno SIZE /dev/vda"),
        (12_u64 << 30).to_string()
    );
    says(guest, key, "echo anew >kept-file; sync");
    backend.stop(id, Duration::from_secs(60)).await.unwrap();
    // An older order is of a ledger from before.
    let guest = boot(backend, &MachineSpec { rebuild_at: 6, ..anew }).await;
    assert_eq!(says(guest, key, "cat kept-file"), "anew");
}
