//! Installation where something is in the way.

use super::machine::Machine;
use super::{archive, package};

fn machine(size: &str) -> Machine {
    let machine = Machine::new(size);
    let folder = machine.folder.path();
    machine.beside(&format!("mount --bind {} $MACHINE/root/opt", folder.join("files").display()));
    std::fs::copy(package(), folder.join("files/golem-provider.deb")).unwrap();
    // What dpkg and its scripts need; a container or an image that is being made has them, too.
    machine.beside("mount -t proc proc $MACHINE/root/proc; mount --bind /dev $MACHINE/root/dev");
    machine
}

const INSTALL: &str = "dpkg -i /opt/golem-provider.deb";

/// Issue 17: without systemd (an image that is made, a container) the package installs, says how to go on, and leaves again.
#[test]
fn without_systemd_and_beside_another_installation() {
    let machine = machine("1g");
    machine.must("touch /usr/local/bin/golem-provider /etc/systemd/system/golem-provider.service");
    let said = machine.must(INSTALL);
    assert!(said.contains("sudo golem-provider setup --here"), "{said}");
    for other in ["/usr/local/bin/golem-provider", "/etc/systemd/system/golem-provider.service"] {
        assert!(said.contains(&format!("{other} is another installation's")), "{said}");
    }
    machine.must("getent group golem-provider && test -d /var/lib/golem-provider");
    // A key of the operator's, in the settings: it is not lost either.
    machine.must("echo GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY=ab >> /etc/golem-provider/env");
    machine.must("mkdir -p /var/lib/golem-provider/keys/former && echo former > /var/lib/golem-provider/keys/former/0xab.json");
    machine.must("chmod -R go= /var/lib/golem-provider && rm /usr/local/bin/golem-provider");
    let said = machine.must("dpkg --purge golem-provider");
    assert!(said.contains("the node's keys are kept"), "{said}");
    let kept = machine.must("cat /root/golem-provider-key-*-former-0xab.json /root/golem-provider-key-*.env");
    assert!(kept.starts_with("former\n") && kept.contains("PRIVATE_KEY=ab"), "{kept}");
    machine.must(
        "! test -e /var/lib/golem-provider && ! test -e /etc/golem-provider && ! getent group golem-provider",
    );
    // Purged again, it finds nothing.
    machine.must("dpkg --purge golem-provider");
}

/// Issue 17: an installation that is stopped by a read-only /etc or a full disk goes on once there is room.
#[test]
fn a_read_only_etc_and_a_full_disk_are_mended_by_installing_again() {
    let machine = machine("48m");
    machine.beside(
        "mount --bind $MACHINE/root/etc $MACHINE/root/etc; mount -o remount,ro,bind $MACHINE/root/etc",
    );
    let refused = machine.run(&["sh", "-c", INSTALL]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Read-only file system"), "{refused:?}");
    machine.beside("umount $MACHINE/root/etc");
    let refused = machine.run(&["sh", "-c", INSTALL]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("No space left on device"), "{refused:?}");
    machine.beside("mount -o remount,size=1g $MACHINE/layer");
    machine.must(INSTALL);
    machine.must("golem-provider --version && dpkg --verify golem-provider");
    machine.must("dpkg --purge golem-provider && ! test -e /var/lib/golem-provider");
}

/// Issue 17: on other distributions the program runs from wherever the archive was unpacked, with what belongs to it.
#[test]
fn the_archive_runs_from_where_it_lies() {
    let machine = machine("1g");
    std::fs::copy(archive(), machine.folder.path().join("files/archive.tar.gz")).unwrap();
    machine.must("mkdir -p /srv/deep && tar -xzf /opt/archive.tar.gz -C /srv/deep --strip-components=1");
    let said = machine.must("cd /srv/deep && ./golem-provider --version && ./golem-provider uninstall");
    assert!(said.contains("is on this machine"), "{said}");
    for file in [
        "README.md",
        "golem-provider.service",
        "env.example",
        "man/golem-provider.1",
        "completions/_golem-provider",
        "copyright",
        "sbom.cdx.json",
    ] {
        machine.must(&format!("test -s /srv/deep/{file}"));
    }
    machine.must("! test -e /root/.golem");
}
