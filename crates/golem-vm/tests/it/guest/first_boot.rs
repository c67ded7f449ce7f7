//! What a renter wants of the first boot, in a real guest.

use std::path::Path;

use golem_test_support::{guest as support, wait_up_to};

use super::snapshots::keep_a_disk_and_give_it_back;
use super::suspend::keep_a_memory_and_give_it_back;
use super::world::{BOOT, World, boot, on_own_host, says, ssh};

/// Everything that would shut the renter or the provider's settings out, and something of each list that the provider adds
/// to. The image of the tests leaves modules out to boot sooner: those that are needed are named.
const USER_DATA: &str = "#cloud-config
cloud_init_modules: [bootcmd, write-files, growpart, resizefs, set_hostname, update_hostname, update_etc_hosts, users-groups, ssh]
cloud_config_modules: [set-passwords, timezone, runcmd]
manage_etc_hosts: true
ssh_pwauth: true
disable_root: true
hostname: not-this
preserve_hostname: true
users:
  - name: bob
    shell: /bin/sh
  - name: ubuntu
    ssh_authorized_keys: []
    lock_passwd: false
bootcmd:
  - echo early >/run/early
write_files:
  - path: /etc/renter
    permissions: '0640'
    content: |
      größe: 1
runcmd:
  - [sh, -c, 'cat /etc/renter >/run/late']
";

fn public_key(folder: &Path, name: &str, kind: &[&str]) -> (std::path::PathBuf, golem_types::AuthorizedKey) {
    let key = support::keypair(folder, name, kind);
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    (key, public.parse().unwrap())
}

#[tokio::test]
async fn what_a_renter_wants_of_the_first_boot_and_of_its_disk_is_done() {
    if !on_own_host("guest::first_boot::what_a_renter_wants_of_the_first_boot_and_of_its_disk_is_done") {
        return;
    }
    let mut world = World::new();
    let (second, public) = public_key(world.folder(), "second", &["-t", "ecdsa", "-b", "384"]);
    world.spec.keys.push(public);
    world.spec.first_boot = golem_types::FirstBoot {
        user_data: Some(USER_DATA.parse().unwrap()),
        hostname: Some("web-1.example.org".parse().unwrap()),
        timezone: Some("Asia/Tokyo".parse().unwrap()),
    };
    let (spec, key) = (&world.spec, world.key.as_path());
    world.images().add(&spec.image, Path::new(&support::image())).unwrap();
    let backend = world.backend();
    backend.create(spec).await.unwrap();
    let guest = boot(&backend, spec).await;

    // Until then cloud-init may start the SSH server anew.
    wait_up_to(BOOT, "the first boot is over", || {
        ssh(guest, "ubuntu", key, "test -e /run/cloud-init/result.json").status.success()
    });

    // The provider's users, keys and settings are there.
    for (user, key) in [("ubuntu", key), ("root", key), ("ubuntu", &second), ("root", &second)] {
        // S-089
        assert!(ssh(guest, user, key, "true").status.success(), "{user} {}", key.display());
    }
    let offered = says(
        guest,
        key,
        "sudo sshd -T 2>/dev/null | grep -iE '^(passwordauthentication|permitrootlogin|maxstartups)'",
    );
    // S-089
    assert!(
        offered.contains("passwordauthentication no") && offered.contains("maxstartups 200:30:300"),
        "{offered}"
    );
    assert_eq!(says(guest, key, "sudo id -u"), "0");

    // So is the renter's.
    assert_eq!(says(guest, key, "hostname; hostname -f"), "web-1\nweb-1.example.org");
    assert_eq!(says(guest, key, "readlink /etc/localtime | sed s,.*zoneinfo/,,"), "Asia/Tokyo");
    assert_eq!(says(guest, key, "getent passwd bob | cut -d: -f7; cat /run/early"), "/bin/sh\nearly");
    assert_eq!(
        says(guest, key, "sudo cat /etc/renter; cat /run/late; sudo stat -c %a /etc/renter"),
        "größe: 1\ngröße: 1\n640"
    );
    // S-089
    assert!(says(guest, key, "sudo passwd -S ubuntu").starts_with("ubuntu L"), "its password stays locked");

    // One guest serves both, because a boot takes long.
    let guest = keep_a_memory_and_give_it_back(&world, &backend, guest, key).await;
    keep_a_disk_and_give_it_back(&world, &backend, guest, key).await;
    backend.delete(&spec.id).await.unwrap();
}
