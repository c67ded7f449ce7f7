//! The cloud-init seed: what a guest is told at its first boot.
//!
//! Owns the NoCloud data (user-data, meta-data) and the small FAT image, labelled `CIDATA`, in
//! which the guest finds it. All of it is JSON (which YAML contains), written by a serialiser, so
//! no text of a renter can become structure. Never holds a private key.

use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use golem_types::AuthorizedKey;
use serde_json::{Value, json};

use crate::machine::MachineSpec;

/// Size of the image: the smallest that FAT12 and cloud-init agree on, with room for 64 keys.
const IMAGE_BYTES: usize = 1 << 20;

/// The label by which cloud-init's NoCloud data source finds its disk.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// The user that existing clients log in as, whatever the image.
pub const USER: &str = "ubuntu";

/// Keys only. Written before the SSH server starts: cloud-init's own switch for this writes its
/// file later and restarts the server, which cuts off a renter's first login.
/// The node lets 48 strangers at a time reach the guest; a server left as it is (`MaxStartups 10:30:100`)
/// would refuse some of ten already, renters included.
const SSHD: &str = "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
                    MaxStartups 200:30:300\n";

/// Tells a recent SSH server (OpenSSH 9.8 or later) not to punish whole sources for failed logins: behind
/// QEMU's network all the world has one address, so that one stranger would lock the renter out. Older servers
/// refuse to start on a word that they do not know. So the server itself is asked, by an option (`-G`) that
/// is older than the word and needs no host keys; what it does not know, and a configuration that it would not
/// take as a whole, is not left behind. Runs at every boot, before the server: a guest may be upgraded.
const NO_PENALTIES: &str = "\
sshd=$(command -v sshd || echo /usr/sbin/sshd)
file=/etc/ssh/sshd_config.d/10-no-source-penalties.conf
if test -d \"${file%/*}\" && \"$sshd\" -G -f /dev/null -o PerSourcePenalties=no >/dev/null 2>&1; then
    echo 'PerSourcePenalties no' >\"$file\"
    \"$sshd\" -G >/dev/null 2>&1 || rm -f \"$file\"
else
    rm -f \"$file\"
fi
exit 0
";

/// The guest's user-data. The renter's keys work for [`USER`], who may become root without a
/// password, and for root; passwords are off. Packages are neither listed nor upgraded at first
/// boot: that is the known cause of slow and failed starts.
#[must_use]
pub fn user_data(spec: &MachineSpec) -> String {
    let keys: Vec<&str> = spec.keys.iter().map(AuthorizedKey::as_str).collect();
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
        "bootcmd": [["sh", "-c", NO_PENALTIES]],
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

/// The keys that the seed at `path` lets in.
///
/// # Errors
/// Any error of reading it; `InvalidData` when it is none of ours.
pub fn keys(path: &Path) -> io::Result<Vec<AuthorizedKey>> {
    let disk = golem_files::read(path, IMAGE_BYTES as u64)?;
    let volume = fatfs::FileSystem::new(Cursor::new(disk), fatfs::FsOptions::new())?;
    let mut text = String::new();
    volume.root_dir().open_file("user-data")?.take(IMAGE_BYTES as u64).read_to_string(&mut text)?;
    let text = text.strip_prefix("#cloud-config\n").ok_or(io::ErrorKind::InvalidData)?;
    let data: Value = serde_json::from_str(text)?;
    let keys = data["users"][0]["ssh_authorized_keys"].as_array();
    Ok(keys.into_iter().flatten().filter_map(|key| key.as_str()?.parse().ok()).collect())
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
    fn the_seed_reads_back_as_it_was_meant() {
        let image = image(&spec("my-webserver", &format!("{KEY} me@home"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seed.img");
        std::fs::write(&file, &image).unwrap();
        // S-089
        assert_eq!(keys(&file).unwrap().iter().map(AuthorizedKey::as_str).collect::<Vec<_>>(), [KEY]);
        std::fs::write(&file, vec![0; IMAGE_BYTES]).unwrap();
        assert!(keys(&file).is_err() && keys(folder.path()).is_err());
        let volume = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
        // S-088
        assert_eq!(volume.volume_label(), "CIDATA");
        let read = |name: &str| {
            let mut text = String::new();
            volume.root_dir().open_file(name).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let user = read("user-data");
        let data: Value = serde_json::from_str(user.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        // S-087
        assert_eq!(data["hostname"], "my-webserver");
        // S-089
        assert!(data["write_files"][0]["content"].as_str().unwrap().contains("PasswordAuthentication no"));
        assert_eq!(data["package_upgrade"], false);
        for user in 0..2 {
            assert_eq!(data["users"][user]["ssh_authorized_keys"], json!([KEY]));
            assert_eq!(data["users"][user]["lock_passwd"], true);
        }
        let meta: Value = serde_json::from_str(&read("meta-data")).unwrap();
        assert_eq!(meta["instance-id"], "golem-my-webserver-20250219-130424-a4dqobyha4dqobyh");
    }

    /// Runs the script against a server that answers as `sshd` says, and returns what it left behind.
    fn penalties(sshd: &str, before: Option<&str>) -> Option<String> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sshd_config.d")).unwrap();
        std::fs::write(at("sshd"), format!("#!/bin/sh\n{sshd}")).unwrap();
        std::fs::set_permissions(at("sshd"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = at("sshd_config.d/10-no-source-penalties.conf");
        if let Some(text) = before {
            std::fs::write(&file, text).unwrap();
        }
        let script = NO_PENALTIES.replace("/etc/ssh", folder.path().to_str().unwrap());
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let status = std::process::Command::new("sh").args(["-c", &script]).env("PATH", path).status();
        assert!(status.unwrap().success(), "a boot goes on whatever happens");
        std::fs::read_to_string(file).ok()
    }

    #[test]
    fn i_16_only_a_server_that_knows_penalties_is_told_to_leave_them() {
        const WORD: &str = "PerSourcePenalties no\n";
        // As OpenSSH 9.8 and later, 9.3 to 9.7, and before that.
        assert_eq!(penalties("exit 0", None).as_deref(), Some(WORD));
        let middle = "case \"$*\" in *Penalties*) exit 255;; esac";
        assert_eq!(penalties(middle, None), None);
        let old = "echo 'unknown option -- G' >&2; exit 1";
        assert_eq!(penalties(old, None), None);
        assert_eq!(penalties(old, Some(WORD)), None, "a server that was put back");
        // One whose whole configuration is not taken with it.
        assert_eq!(penalties("test \"$2\" = -f", None), None);
    }

    /// I-16: the server of this machine, whatever its version, takes the configuration that is left.
    #[test]
    fn i_16_a_real_server_takes_what_is_left_behind() {
        let left = penalties("exec /usr/sbin/sshd \"$@\"", None);
        let folder = tempfile::tempdir().unwrap();
        let (config, key) = (folder.path().join("config"), folder.path().join("key"));
        let mut keygen = std::process::Command::new("ssh-keygen");
        assert!(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap().success());
        std::fs::write(&config, left.unwrap_or_default()).unwrap();
        let mut sshd = std::process::Command::new("/usr/sbin/sshd");
        let taken = sshd.arg("-t").arg("-f").arg(&config).arg("-h").arg(&key).output().unwrap();
        let said = String::from_utf8_lossy(&taken.stderr);
        // Its folder in /run is there only once it was started as a service.
        assert!(taken.status.success() || said.contains("Missing privilege separation directory"), "{said}");
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
