//! The cloud-init seed: what a guest is told at its first boot.
//!
//! Owns the NoCloud data (user-data, meta-data) and the small FAT image, labelled `CIDATA`, in
//! which the guest finds it. All of it is JSON (which YAML contains), written by a serialiser, so
//! no text of a renter can become structure. Never holds a private key.

use std::io::{self, Cursor, Write};

use serde_json::{Value, json};

use crate::backend::MachineSpec;

/// Size of the image: the smallest that FAT12 and cloud-init agree on, with room for 64 keys.
const IMAGE_BYTES: usize = 1 << 20;

/// The label by which cloud-init's NoCloud data source finds its disk.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// The user that existing clients log in as, whatever the image.
pub const USER: &str = "ubuntu";

/// Keys only. Written before the SSH server starts: cloud-init's own switch for this writes its
/// file later and restarts the server, which cuts off a renter's first login.
const SSHD: &str =
    "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n";

/// The guest's user-data. The renter's keys work for [`USER`], who may become root without a
/// password, and for root; passwords are off. Packages are neither listed nor upgraded at first
/// boot: that is the known cause of slow and failed starts.
#[must_use]
pub fn user_data(spec: &MachineSpec) -> String {
    let keys: Vec<&str> = spec.keys.iter().map(golem_types::AuthorizedKey::as_str).collect();
    let data = json!({
        "hostname": spec.name.hostname(),
        "preserve_hostname": false,
        "disable_root": false,
        "package_update": false,
        "package_upgrade": false,
        "users": [
            {
                "name": USER,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": true,
                "ssh_authorized_keys": keys,
            },
            { "name": "root", "lock_passwd": true, "ssh_authorized_keys": keys },
        ],
        "write_files": [{ "path": "/etc/ssh/sshd_config.d/10-keys-only.conf", "content": SSHD }],
    });
    format!("#cloud-config\n{data:#}\n")
}

/// The guest's meta-data. The id is the instance's, so a changed one would mean a new machine.
#[must_use]
pub fn meta_data(spec: &MachineSpec) -> String {
    let data: Value = json!({ "instance-id": spec.id.as_str(), "local-hostname": spec.name.hostname() });
    format!("{data:#}\n")
}

/// The disk image that carries both.
///
/// # Errors
/// Any error of the FAT library; none is expected in memory.
pub fn image(spec: &MachineSpec) -> io::Result<Vec<u8>> {
    let mut disk = Cursor::new(vec![0; IMAGE_BYTES]);
    fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new().volume_label(LABEL))?;
    let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new())?;
    for (name, text) in [("user-data", user_data(spec)), ("meta-data", meta_data(spec))] {
        let mut file = volume.root_dir().create_file(name)?;
        file.truncate()?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
    }
    volume.unmount()?;
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use golem_types::{Resources, VmName};
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn spec(name: &str, key: &str) -> MachineSpec {
        let name: VmName = name.parse().unwrap();
        let id = golem_types::VmId::new(&name, "2025-02-19T13:04:24Z".parse().unwrap(), [7; 10]);
        MachineSpec {
            id,
            name,
            resources: Resources::new(1, 1, 10),
            image: "24.04".parse().unwrap(),
            keys: vec![key.parse().unwrap()],
        }
    }

    #[test]
    fn s_087_s_088_s_089_the_seed_reads_back_as_it_was_meant() {
        let image = image(&spec("my-webserver", &format!("{KEY} me@home"))).unwrap();
        let volume = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "CIDATA");
        let read = |name: &str| {
            let mut text = String::new();
            volume.root_dir().open_file(name).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let user = read("user-data");
        let data: Value = serde_json::from_str(user.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        assert_eq!(data["hostname"], "my-webserver");
        assert!(data["write_files"][0]["content"].as_str().unwrap().contains("PasswordAuthentication no"));
        assert_eq!(data["package_upgrade"], false);
        for user in 0..2 {
            assert_eq!(data["users"][user]["ssh_authorized_keys"], json!([KEY]));
            assert_eq!(data["users"][user]["lock_passwd"], true);
        }
        let meta: Value = serde_json::from_str(&read("meta-data")).unwrap();
        assert_eq!(meta["instance-id"], "golem-my-webserver-20250219-130424-a4dqobyha4dqobyh");
    }

    proptest! {
        /// Whatever a key's comment holds, it reaches neither structure nor text of the seed.
        #[test]
        fn s_246_no_text_of_a_renter_becomes_structure(comment in "[ -~]{0,60}") {
            let plain = user_data(&spec("abc", KEY));
            prop_assert_eq!(user_data(&spec("abc", &format!("{KEY} {comment}"))), plain);
        }
    }
}
