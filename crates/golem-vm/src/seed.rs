//! The cloud-init seed: what a guest is told at its first boot.
//!
//! Owns the NoCloud data (user-data, meta-data) and the small FAT image, labelled `CIDATA`, in
//! which the guest finds it. What the provider needs is JSON (which YAML contains), written by a serialiser; a renter's
//! user-data is a part of its own beside it, so that no text of a renter can become structure of ours.

use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use base64::Engine as _;
use golem_types::{AuthorizedKey, UserData};
use serde_json::{Value, json};

use crate::machine::MachineSpec;

/// Size of the image: the smallest that FAT12 and cloud-init agree on, with room for 64 keys.
const IMAGE_BYTES: usize = 1 << 20;

/// The label by which cloud-init's NoCloud data source finds its disk.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// The provider's part of the user-data, where the renter has one as well. No guest reads it.
const OWN_FILE: &str = "provider-data";

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

/// The guest's user-data: the provider's part alone, or a message of several parts of which the renter's is the first.
///
/// cloud-init reads one part after the other and merges each into what came before it. The renter's stays as it is, but
/// for what lets its renter in: the provider's users, files and early commands go before those of the renter's lists, and
/// the switch that would close root's login is overridden.
#[must_use]
pub fn user_data(spec: &MachineSpec) -> String {
    let own = own_config(spec);
    match &spec.first_boot.user_data {
        None => cloud_config(&own),
        Some(renters) => message(renters, &own, &fixed_config(spec)),
    }
}

fn cloud_config(data: &Value) -> String {
    format!("#cloud-config\n{data:#}\n")
}

/// A MIME message of the renter's part, of lists to go before the renter's, and of values that replace the renter's.
fn message(renters: &UserData, lists: &Value, values: &Value) -> String {
    // In what order cloud-init merges is told to it in the part itself.
    let lists = with(
        lists,
        "merge_how",
        json!([
            { "name": "list", "settings": ["prepend"] },
            { "name": "dict", "settings": ["no_replace", "recurse_array"] },
        ]),
    );
    let values = with(values, "merge_how", json!([{ "name": "dict", "settings": ["replace"] }]));
    let renters = if renters.is_message() {
        renters.as_str().to_owned()
    } else {
        // What it is, cloud-init sees by its beginning. In base64 no text of the renter's becomes structure.
        let text = base64::engine::general_purpose::STANDARD.encode(renters.as_str());
        let lines: Vec<&str> =
            text.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let headers = "Content-Type: text/plain; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\n";
        format!("{headers}\n{}\n", lines.join("\n"))
    };
    let own = |data: &Value| format!("Content-Type: text/cloud-config\n\n{}", cloud_config(data));
    let boundary = (0_u32..)
        .map(|number| format!("golem-provider-{number}"))
        .find(|boundary| !renters.contains(boundary.as_str()))
        .unwrap_or_default();
    let parts = [renters, own(&lists), own(&values)].map(|part| format!("--{boundary}\n{part}\n"));
    let headers = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n");
    format!("{headers}\n{}--{boundary}--\n", parts.concat())
}

/// `data` with one member more.
fn with(data: &Value, name: &str, value: Value) -> Value {
    let mut data = data.clone();
    data[name] = value;
    data
}

/// What the renter asked for by name, and what would close root's login if the renter's user-data said otherwise. `ssh_pwauth`
/// is left as it is: the file that it writes comes after the provider's, and of two values the SSH server takes the first.
fn fixed_config(spec: &MachineSpec) -> Value {
    let mut data = json!({ "disable_root": false });
    name_guest(&mut data, spec);
    data
}

/// Sets the host name and the time zone that were asked for.
fn name_guest(data: &mut Value, spec: &MachineSpec) {
    if let Some(name) = &spec.first_boot.hostname {
        data["hostname"] = name.label().into();
        if name.label() != name.as_str() {
            data["fqdn"] = name.as_str().into();
        }
    }
    if let Some(zone) = &spec.first_boot.timezone {
        data["timezone"] = zone.as_str().into();
    }
}

/// The provider's part. The renter's keys work for [`USER`], who may become root without a
/// password, and for root; passwords are off. Packages are neither listed nor upgraded at first
/// boot: that is the known cause of slow and failed starts.
fn own_config(spec: &MachineSpec) -> Value {
    let keys: Vec<&str> = spec.keys.iter().map(AuthorizedKey::as_str).collect();
    let mut data = json!({
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
    name_guest(&mut data, spec);
    data
}

/// The guest's meta-data. The id is the instance's, so a changed one would mean a new machine.
#[must_use]
pub fn meta_data(spec: &MachineSpec) -> String {
    let hostname = spec.first_boot.hostname.as_ref().map_or(spec.name.hostname(), |name| name.as_str());
    let data: Value = json!({ "instance-id": spec.id.as_str(), "local-hostname": hostname });
    format!("{data:#}\n")
}

/// The keys that the seed at `path` lets in.
///
/// # Errors
/// Any error of reading it; `InvalidData` when it is none of ours.
pub fn keys(path: &Path) -> io::Result<Vec<AuthorizedKey>> {
    let disk = golem_files::read(path, IMAGE_BYTES as u64)?;
    let volume = fatfs::FileSystem::new(Cursor::new(disk), fatfs::FsOptions::new())?;
    let folder = volume.root_dir();
    // Where the renter has a part of the user-data, ours lies beside it.
    let file = folder.open_file(OWN_FILE).or_else(|_| folder.open_file("user-data"))?;
    let mut text = String::new();
    file.take(IMAGE_BYTES as u64).read_to_string(&mut text)?;
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
    let mut files = vec![("user-data", user_data(spec)), ("meta-data", meta_data(spec))];
    if spec.first_boot.user_data.is_some() {
        files.push((OWN_FILE, cloud_config(&own_config(spec))));
    }
    for (name, text) in files {
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
            first_boot: golem_types::FirstBoot::default(),
            rebuild_at: 0,
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

    /// The parts of the message `text`, each from its headers on.
    fn parts(text: &str) -> Vec<&str> {
        let boundary = text.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
        let body = text.split_once("\n\n").unwrap().1;
        let parts = body.strip_suffix(&format!("--{boundary}--\n")).unwrap();
        parts.split(&format!("--{boundary}\n")).skip(1).collect()
    }

    #[test]
    fn a_renters_user_data_is_a_part_of_its_own() {
        let mut spec = spec("my-webserver", KEY);
        spec.first_boot.hostname = Some("Other.example.org".parse().unwrap());
        spec.first_boot.timezone = Some("UTC".parse().unwrap());
        let alone: Value =
            serde_json::from_str(user_data(&spec).strip_prefix("#cloud-config\n").unwrap()).unwrap();
        assert_eq!((&alone["hostname"], &alone["fqdn"]), (&json!("other"), &json!("other.example.org")));
        assert_eq!(alone["timezone"], "UTC");
        for renters in [
            "#!/bin/sh\n--golem-provider-0\n#cloud-config\n",
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"golem-provider-0\"\n\n--golem-provider-0\n\nx\n--golem-provider-0--\n",
        ] {
            spec.first_boot.user_data = Some(renters.parse().unwrap());
            let text = user_data(&spec);
            let [first, lists, values] = parts(&text)[..] else { panic!("{text}") };
            let (headers, body) = first.split_once("\n\n").unwrap();
            if headers.contains("base64") {
                let bytes = base64::engine::general_purpose::STANDARD.decode(body.replace('\n', "")).unwrap();
                assert_eq!(bytes, renters.as_bytes());
            } else {
                assert_eq!(first.strip_suffix('\n'), Some(renters));
            }
            let own = |part: &str| {
                let text = part.strip_prefix("Content-Type: text/cloud-config\n\n#cloud-config\n").unwrap();
                serde_json::from_str::<Value>(text).unwrap()
            };
            let (lists, values) = (own(lists), own(values));
            assert_eq!(lists["users"], alone["users"]);
            assert_eq!((&values["disable_root"], &values["hostname"]), (&json!(false), &json!("other")));
            assert_eq!(values.get("users"), None, "it would replace the renter's");
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("seed.img");
            std::fs::write(&file, image(&spec).unwrap()).unwrap();
            assert_eq!(keys(&file).unwrap(), spec.keys);
        }
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
