//! What there is on a machine, so that two looks can be compared: files, users, units, rules, namespaces, groups, values of the
//! kernel, mounts, listeners.
//!
//! Left out is what package management and the journal write for themselves, and what changes by itself.

use std::collections::BTreeSet;

use super::machine::Machine;

/// Prints a line for each thing.
const LOOK: &str = r#"
cd /
find / -xdev \( -path /var/log -o -path /var/cache/apt -o -path /var/cache/debconf -o -path /var/cache/ldconfig \
  -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /opt \) -prune \
  -o -printf 'file %p %y %m %u:%g\n'
find /run /tmp /dev -xdev \( -path /run/systemd -o -path /run/log -o -path /dev/pts \) -prune -o -printf 'file %p %y %m %u:%g\n'
find /etc -xdev -type f ! -name '*-' ! -name ld.so.cache -exec sha256sum {} + | sed 's/^/text /'
getent passwd | sed 's/^/user /'
getent group | sed 's/^/group /'
systemctl list-units --all --plain --no-legend '*golem*' | sed 's/^/unit /'
systemctl list-unit-files --plain --no-legend | sed 's/^/unit-file /'
nft list ruleset | sed 's/^/nft /'
readlink /proc/[0-9]*/ns/net /proc/[0-9]*/ns/user | sort -u | sed 's/^/namespace /'
# Where groups are of version 1, those of the machine that the tests run on are seen, too: its nodes, which have no systemd, make
# theirs right below a controller. Nodes in here have scopes.
find /sys/fs/cgroup -type d -name '*golem*' | grep -Ev '^/sys/fs/cgroup/[^/]+/golem-(vm|test)-[^/.]+$' | sed 's/^/cgroup /'
find /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/core /proc/sys/user -type f -exec grep -Hs . {} + | sed 's/^/sysctl /'
sed 's/^[0-9]* [0-9]* [^ ]* //' /proc/1/mountinfo | sed 's/^/mount /'
ss -lntuH | sed 's/^/socket /'
readlink /proc/[0-9]*/exe | grep -E 'golem|qemu|slirp' | sed 's/^/process /'
true
"#;

/// The things on `machine`.
pub(super) fn look(machine: &Machine) -> BTreeSet<String> {
    let output = machine.run(&["bash", "-c", LOOK]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Those of this very look.
    let own = |line: &&str| !line.starts_with("file /dev/pts") && !line.contains("bash -c");
    text.lines().filter(own).map(|line| line.trim_end().to_owned()).collect()
}
