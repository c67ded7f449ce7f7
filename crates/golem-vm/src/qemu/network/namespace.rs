//! The namespace of one guest: how its QEMU gets into one, and how the node looks into it.
//!
//! Owns the words that make and enter it, and what a host must have for that. A namespace lives as
//! long as its QEMU: nothing is mounted or named for it, so nothing is left of it.
//!
//! ```text
//!   node                          wrapper (later QEMU), as the guest's user
//!    │ spawns ───────────────────► user, network and mount namespace; /etc of its own
//!    │ ◄─────────────────── "up"   waits at its standard input
//!    │ rules, uplink, port
//!    │ "go" ─────────────────────► becomes QEMU
//! ```
//!
//! A wrapper whose node dies reads the end of its input instead of "go", and ends.

use std::io;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Pid;

use super::{nft, rules};
use crate::machine::NetworkLimits;
use crate::qemu::programs::program;
use crate::qemu::user::{become_guest, become_guest_with_namespace};

/// The uplink's device node on the host.
pub(super) const TUN: &str = "/dev/net/tun";

/// What the wrapper does in its namespaces. QEMU gives the guest the resolver that its own
/// `/etc/resolv.conf` names, so it has an `/etc` of its own: a file mounted over the host's would come off when the
/// host replaces its own. The loader's cache and Debian's alternatives are all else that it needs of it. IPv6
/// is switched off where that may be done; the rules drop it anyway.
const WRAPPER: &str = "set -e
for part in all default; do
  { echo 1 >/proc/sys/net/ipv6/conf/$part/disable_ipv6; } 2>/dev/null || :
done
mount -t tmpfs -o mode=755,size=16m,nosuid,nodev tmpfs etc
cp -a /etc/ld.so.cache /etc/alternatives etc/ 2>/dev/null || :
echo \"nameserver $1\" >etc/resolv.conf
mount --bind etc /etc
shift
echo up
read go
exec </dev/null >/dev/null
exec \"$@\"";

/// Name of the folder over which the wrapper mounts, in the machine's.
pub(in crate::qemu) const ETC_FOLDER: &str = "etc";

/// Words that become the user `uid`; `None` if the node is not root.
pub(super) fn become_user(uid: Option<u32>) -> Vec<String> {
    uid.map(|uid| become_guest(uid, None)).unwrap_or_default()
}

/// Makes the namespaces. Mounts of the host come and go in
/// them, too, so that they keep none alive.
const MAKE: [&str; 6] = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--propagation=slave"];

/// Words that make the namespaces as `uid`; what follows runs in them.
fn make(uid: Option<u32>, group: Option<u32>) -> Vec<String> {
    let mut words = uid.map(|uid| become_guest_with_namespace(uid, group)).unwrap_or_default();
    words.extend(MAKE.map(str::to_owned));
    words
}

/// Words before QEMU's own that run it in namespaces of its own as `uid`, which keeps `group`, without
/// any capability.
pub(in crate::qemu) fn around_qemu(uid: Option<u32>, group: Option<u32>) -> Vec<String> {
    let mut words = make(uid, group);
    words.extend(["sh", "-c", WRAPPER, "sh", rules::DNS].map(str::to_owned));
    words.extend(["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"].map(str::to_owned));
    words
}

/// Words that run what follows in the network namespace of `qemu`, as root of that namespace only.
pub(super) fn enter(uid: Option<u32>, qemu: Pid) -> Vec<String> {
    let mut words = become_user(uid);
    let pid = qemu.as_raw_nonzero().to_string();
    words.extend(
        ["nsenter", "--target", &pid, "--user", "--net", "--preserve-credentials"].map(str::to_owned),
    );
    words
}

/// Whether a process has the uplink's device in its network namespace. The device lasts as long as
/// the uplink's process does.
///
/// # Errors
/// Any error of looking.
pub(super) fn has_device(qemu: Pid) -> io::Result<bool> {
    let text = std::fs::read_to_string(format!("/proc/{}/net/dev", qemu.as_raw_nonzero()))?;
    Ok(text.lines().any(|line| line.trim_start().starts_with(&format!("{}:", rules::DEVICE))))
}

/// Whether every user may use the uplink's device.
pub(super) fn tun_is_for_all() -> bool {
    std::fs::metadata(TUN).is_ok_and(|found| found.permissions().mode() & 0o006 == 0o006)
}

/// Why this host cannot give the user `uid` a namespace, with the fix; `None` if it can, which was
/// tried: a namespace was made, and the rules were loaded in it.
pub(super) async fn hindrance(uid: Option<u32>, limits: NetworkLimits, rules: &str) -> Option<String> {
    for (name, package) in
        [("nft", "nftables"), ("slirp4netns", "slirp4netns"), ("unshare", "util-linux"), ("tc", "iproute2")]
    {
        if program(name).is_none() && (name != "tc" || limits.megabits.is_some()) {
            return Some(format!("{name} is not installed; fix: apt-get install {package}"));
        }
    }
    if !std::fs::exists(TUN).unwrap_or_default() {
        return Some(format!("there is no {TUN}; fix: modprobe tun"));
    }
    if uid.is_none()
        && rustix::fs::access(TUN, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_err()
    {
        return Some(format!("{TUN} is not for this user; fix: sudo chmod 0666 {TUN}, as udev makes it"));
    }
    let make = make(uid, None);
    let mut try_make = make.clone();
    try_make.push("true".to_owned());
    if let Err(error) = nft::run(&try_make, "").await {
        return Some(format!("the kernel makes no user namespace ({error}); fix: {}", user_namespaces_fix()));
    }
    let try_mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/tmp"].map(str::to_owned);
    let try_mount: Vec<_> = make.iter().cloned().chain(try_mount).collect();
    if let Err(error) = nft::run(&try_mount, "").await {
        return Some(format!(
            "nothing can be mounted in a user namespace ({error}); fix: {}",
            user_namespaces_fix()
        ));
    }
    if let Err(error) = nft::load(&make, rules).await {
        return Some(format!(
            "nftables does not take the guests' rules in a user namespace ({error}); fix: {}",
            if has_apparmor_restriction() { user_namespaces_fix() } else { "update nftables and the kernel" }
        ));
    }
    None
}

/// Whether AppArmor keeps users without privileges from user namespaces, as in recent Ubuntu.
fn has_apparmor_restriction() -> bool {
    let path = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
}

/// What allows user namespaces on this host.
fn user_namespaces_fix() -> &'static str {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl -w user.max_user_namespaces=15000, and the same in /etc/sysctl.d"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sysctl -w kernel.unprivileged_userns_clone=1, and the same in /etc/sysctl.d"
    } else if has_apparmor_restriction() {
        "run the node as root, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "a kernel with CONFIG_USER_NS and CONFIG_NET_NS, and a container that allows them"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_node_that_is_not_root_becomes_nobody_else() {
        assert!(become_user(None).is_empty());
        assert!(around_qemu(None, None).join(" ").starts_with("unshare --user"));
        let words = around_qemu(Some(1_900_000_001), None).join(" ");
        assert!(
            words.starts_with("setpriv --reuid 1900000001 --regid 1900000001 --clear-groups --no-new-privs")
        );
        assert!(words.ends_with("setpriv --no-new-privs --inh-caps=-all --bounding-set=-all"), "{words}");
        assert!(!become_user(Some(1)).join(" ").contains("sys_admin"));
    }
}
