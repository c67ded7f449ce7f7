//! Hosts that are unlike most: disks on another file system, and other processors.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use golem_vm::Accelerator;
use golem_vm::images::Images;
use golem_vm::qemu::{Qemu, QemuConfig};
use golem_vm::{Architecture, Backend, MachineSpec, NetworkState, Observed};

use super::world::{LIMITS, World, boot, must, network, on_own_host};

/// H-07: an image that has no room where machines lie is refused before anything is begun, and leaves nothing. On
/// a volume that is not mounted no machine is gone, and none is made.
#[tokio::test]
async fn h_07_an_image_that_has_no_room_where_machines_lie_is_refused() {
    if !on_own_host("guest::hosts::h_07_an_image_that_has_no_room_where_machines_lie_is_refused") {
        return;
    }
    let (world, data) = (World::new(), tempfile::tempdir().unwrap());
    let volume = world.folder();
    std::os::unix::fs::symlink(volume, data.path().join("vms")).unwrap();
    let images = Arc::new(Images::open(data.path()).unwrap());
    let file = data.path().join("large.qcow2");
    must(&[
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "preallocation=falloc",
        file.to_str().unwrap(),
        "1G",
    ]);
    let large = golem_types::ImageName::from_str("large").unwrap();
    images.add(&large, &file).unwrap();
    must(&["qemu-img", "create", "-q", "-f", "qcow2", file.to_str().unwrap(), "1G"]);
    images.add(&world.spec.image, &file).unwrap();
    let backend = Backend::Qemu(Qemu::open(QemuConfig::new(data.path().to_owned()), images));

    let no_room = "the provider's disk has no room for a copy of the image";
    assert_eq!(backend.disk_trouble(&large), Some(no_room));
    assert_eq!(backend.disk_trouble(&world.spec.image), None);
    let spec = MachineSpec { image: large.clone(), ..world.spec.clone() };
    let refused = backend.create(&spec).await.unwrap_err();
    assert_eq!(refused.to_string(), "giving the machine its image: the provider's disk is full");
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("takes 1024 MiB") && cause.contains("fix: "), "{cause}");
    backend.delete(&spec.id).await.unwrap();
    assert!(!volume.join(".bases").exists() && !volume.join(spec.id.as_str()).exists());

    backend.create(&world.spec).await.unwrap();
    assert_eq!(std::fs::read_dir(volume.join(".bases")).unwrap().count(), 1);
    std::fs::remove_file(data.path().join("vms")).unwrap();
    std::os::unix::fs::symlink("/nothing/there", data.path().join("vms")).unwrap();
    assert_eq!(backend.disk_trouble(&world.spec.image), Some("the provider's disk is not mounted"));
    assert!(backend.list().await.is_err(), "not seen is not gone");
}

/// H-12: a guest of 64-bit ARM, which UEFI firmware boots from its disk, with what was sold, its seed, its console
/// and its network; the image that `GOLEM_TEST_IMAGE_ARM64` names has no more in it.
#[tokio::test]
async fn h_12_a_guest_of_64_bit_arm_is_booted_by_its_firmware() {
    if !on_own_host("guest::hosts::h_12_a_guest_of_64_bit_arm_is_booted_by_its_firmware") {
        return;
    }
    let world = World::new();
    let spec = &world.spec;
    let image = std::env::var("GOLEM_TEST_IMAGE_ARM64").expect("GOLEM_TEST_IMAGE_ARM64 names an image");
    let of = |architecture| Images::open(world.folder()).unwrap().for_processors(architecture);
    let refused = of(Architecture::X86_64).add(&spec.image, Path::new(&image)).unwrap_err();
    assert!(refused.to_string().contains("is an image for 64-bit ARM (arm64) processors"), "{refused}");
    let images = Arc::new(of(Architecture::Aarch64));
    images.add(&spec.image, Path::new(&image)).unwrap();
    let config = QemuConfig {
        architecture: Some(Architecture::Aarch64),
        accelerator: Some(Accelerator::Tcg),
        network: LIMITS,
        ..QemuConfig::new(world.folder().to_owned())
    };
    let backend = Backend::Qemu(Qemu::open(config, images));
    backend.check().await.unwrap();
    backend.create(spec).await.unwrap();
    boot(&backend, spec).await;
    let console = backend.console(&spec.id).await.unwrap();
    let seen = format!("guest: aarch64 cpus=2 disk={} seed=cidata console=ttyAMA0", (10u64 << 30) / 512);
    assert!(console.contains("UEFI firmware") && console.contains(&seen), "{console}");
    assert_eq!(network(&backend, &spec.id).await.state, NetworkState::Own);
    // What the firmware remembers is the machine's own, and takes no more than was written.
    let variables = std::fs::metadata(world.machine().join("variables.fd")).unwrap();
    assert_eq!(variables.uid(), std::fs::metadata(world.machine().join("run")).unwrap().uid());
    assert!(variables.mode() & 0o7777 == 0o600 && variables.blocks() * 512 < 8 << 20);
    backend.stop(&spec.id, Duration::ZERO).await.unwrap();
    assert_eq!(backend.list().await.unwrap().get(&spec.id), Some(&Observed::Stopped));
    // The same again from what it remembers.
    boot(&backend, spec).await;
    backend.delete(&spec.id).await.unwrap();
}
