//! Both APIs while the disk under the data directory is full.

use reqwest::StatusCode;
use serde_json::Value;

use crate::world::{World, create_body};

/// A disk of a few MiB at a folder; unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(folder: &std::path::Path) -> Option<Self> {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=40m,mode=700", "golem-small-disk"])
            .arg(folder)
            .status();
        mount.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Needs root, as whole runs of the suite have: for a disk of its own.
#[tokio::test]
async fn h_16_a_full_disk_is_told_to_renter_and_operator_and_passes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::at(folder.path()) else {
        return golem_test_support::not_tried("a disk in memory cannot be mounted");
    };
    let world = World::start_in(folder).await;
    let (status, vm) = world.post("/vms", &create_body("before")).await;
    assert_eq!(status, StatusCode::OK, "{vm}");
    let id = vm["id"].as_str().unwrap();
    assert_eq!(world.operator().summary().await.unwrap().disk_trouble, None);

    disk.fill();
    let full = "the provider's disk is full";
    for path in ["/vms", "/vms?async=true"] {
        let (status, said) = world.post(path, &create_body("during")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{said}");
        assert!(said["detail"].as_str().unwrap().starts_with(full), "{said}");
    }
    // What is there can be looked at, and what cannot be recorded is refused with the reason.
    assert_eq!(world.get(&format!("/vms/{id}")).await.0, StatusCode::OK);
    let summary = world.operator().summary().await.unwrap();
    assert_eq!(summary.disk_trouble.as_deref(), Some(full));
    let refused = loop {
        // The ledger's own log has some room left from before.
        let (status, said) = world.post(&format!("/vms/{id}/stop"), &Value::Null).await;
        if status != StatusCode::OK {
            break (status, said);
        }
        world.post(&format!("/vms/{id}/start"), &Value::Null).await;
    };
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.1);
    assert!(refused.1["detail"].as_str().unwrap().starts_with("the provider's disk is"), "{}", refused.1);

    disk.free();
    assert_eq!(world.operator().summary().await.unwrap().disk_trouble, None, "a write was tried again");
    let (status, vm) = world.post("/vms", &create_body("after")).await;
    assert_eq!(status, StatusCode::OK, "{vm}");
    world.stop().await;
    drop(disk);
}
