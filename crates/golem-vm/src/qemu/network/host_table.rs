//! The packet filter in the host's own namespace: a second layer, and the first of old guests.
//!
//! Owns one nftables table, `inet golem_provider`. Guests' processes (QEMU, and the uplink of its
//! namespace) run as one of [`UIDS`], so the host's packet filter can decide what those users may
//! reach: not the host, its loopback, its LAN, link-local or metadata addresses, nor another guest's
//! port, but the internet, and DNS at the host's resolvers. Whoever may change the host's rules can
//! lift it, so guests with a namespace of their own do not depend on it. Never touches another table.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::local_networks::LocalNetworks;
use super::nft;

/// Users as which guests run, one each. systemd's list of user ids leaves 1879048192 to
/// 2147483647 unused by anyone.
pub(in crate::qemu) const UIDS: Range<u32> = 1_900_000_000..1_900_065_536;

/// How many of them one node has; which ones follows from where its data is, so that two nodes on
/// one host hardly ever share a user.
const UIDS_OF_A_NODE: u32 = 1024;

/// Name of the data directory of isolation checks, which is inside the node's.
pub const ISOLATION_FOLDER: &str = "isolation-check";

/// The users of the node whose machines are in `folder`. The last block is for the guests of isolation checks, so
/// that none has the user of a guest that is rented out.
pub(in crate::qemu) fn uids(folder: &Path) -> Range<u32> {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let number = u32::from(u16::from_be_bytes([digest[0], digest[1]]));
    let blocks = (UIDS.end - UIDS.start) / UIDS_OF_A_NODE - 1;
    if folder.parent().is_some_and(|parent| parent.ends_with(ISOLATION_FOLDER)) {
        let start = UIDS.start + blocks * UIDS_OF_A_NODE;
        return start + number % UIDS_OF_A_NODE..UIDS.end;
    }
    let start = UIDS.start + number % blocks * UIDS_OF_A_NODE;
    start..start + UIDS_OF_A_NODE
}

/// Whether guests run as the user `uid`, of whatever node.
#[must_use]
pub fn is_guest_user(uid: u32) -> bool {
    UIDS.contains(&uid)
}

const TABLE: &str = "inet golem_provider";

/// The table as text, which replaces the one that is there in one step. Of TCP only what opens a connection is judged:
/// where the host's rules were flushed, the kernel has forgotten which connections there are, and the first answer in
/// one that goes on, a renter's login, would look like a new one.
fn rules(resolvers: &BTreeSet<IpAddr>, near: &LocalNetworks) -> String {
    let (near_v4, near_v6) = near.elements();
    let mut allow = String::new();
    for resolver in resolvers {
        let family = if resolver.is_ipv4() { "ip" } else { "ip6" };
        for protocol in ["udp", "tcp"] {
            allow.push_str(&format!("    {family} daddr {resolver} {protocol} dport 53 accept\n"));
        }
    }
    format!(
        "table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n  chain guests_out {{\n    \
         type filter hook output priority filter; policy accept;\n    \
         meta skuid != {}-{} accept\n    \
         tcp flags & (syn | ack) != syn accept\n    \
         ct state established,related accept\n{allow}    \
         fib daddr type != unicast reject\n    \
         ip daddr {{ {near_v4} }} reject\n    \
         ip6 daddr {{ {near_v6} }} reject\n  }}\n}}\n",
        UIDS.start,
        UIDS.end - 1,
    )
}

/// The resolvers that the host asks, from the text of its `resolv.conf`.
fn resolvers(text: &str) -> BTreeSet<IpAddr> {
    let address =
        |line: &str| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse().ok();
    text.lines().filter_map(address).collect()
}

/// The resolvers that the host asks now.
///
/// # Errors
/// Any error of reading; a file that is missing names none.
pub(super) fn resolvers_now() -> io::Result<BTreeSet<IpAddr>> {
    match std::fs::read_to_string("/etc/resolv.conf") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        text => Ok(resolvers(&text.unwrap_or_default())),
    }
}

/// Puts the table that keeps guests from what is `near` in place if `in_place`, what was put there last, is
/// not what it should be or not what is there, and returns what is there then.
///
/// # Errors
/// `NotFound` without nftables; `Other` with its words when it refuses.
pub(super) async fn enforce(in_place: Option<&InPlace>, near: &LocalNetworks) -> io::Result<InPlace> {
    let text = rules(&resolvers_now()?, near);
    if let Some(in_place) = in_place.filter(|in_place| in_place.text == text)
        && nft::list(&[], Some(TABLE)).await.is_ok_and(|listing| listing.digest == in_place.digest)
    {
        return Ok(in_place.clone());
    }
    if in_place.is_some_and(|in_place| in_place.text == text) {
        golem_service::log_limited!(
            warn,
            "the guests' packet filter was changed or removed; it is put in place again"
        );
    }
    nft::load(&[], &text).await?;
    Ok(InPlace { text, digest: nft::list(&[], Some(TABLE)).await?.digest })
}

/// The table as it was put in place.
#[derive(Debug, Clone)]
pub(super) struct InPlace {
    text: String,
    digest: [u8; 32],
}

/// Whether any process of this host runs as a guest's user, in whatever node's name.
///
/// # Errors
/// Any error of reading the list of processes.
fn guests_run() -> io::Result<bool> {
    for process in std::fs::read_dir("/proc")? {
        // One that has ended meanwhile is nobody's.
        let status = std::fs::read_to_string(process?.path().join("status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
        if uid.is_some_and(|uid: u32| UIDS.contains(&uid)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the rules away if no guest is left on this host, and says whether it did: another node may
/// have some. The caller sees to it that its own node launches none meanwhile.
///
/// # Errors
/// As [`enforce`].
pub(super) async fn lift() -> io::Result<bool> {
    if guests_run()? {
        return Ok(false);
    }
    nft::load(&[], &format!("table {TABLE}\ndelete table {TABLE}\n")).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_each_node_has_users_of_its_own_all_behind_the_rules() {
        let (one, two) = (uids(Path::new("/srv/one")), uids(Path::new("/srv/two")));
        assert_ne!(one, two);
        assert_eq!(one, uids(Path::new("/srv/one")));
        let check = uids(Path::new("/srv/one/isolation-check/vms"));
        assert!(!check.is_empty() && check.start >= one.end.max(two.end));
        for range in [one, two, check] {
            assert!(UIDS.start <= range.start && range.end <= UIDS.end);
        }
    }

    #[test]
    fn s_247_i5_the_rules_name_every_network_that_is_not_the_internet() {
        let text = rules(
            &resolvers("# a comment\nnameserver 127.0.0.53 # stub\nnameserver fd00::1\nsearch lan\n"),
            &super::super::local_networks::now(None).unwrap(),
        );
        for near in ["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "fe80::/10", "fc00::/7"]
        {
            assert!(text.contains(near), "{near}");
        }
        assert!(text.contains("meta skuid != 1900000000-1900065535 accept"));
        assert!(text.contains("ip daddr 127.0.0.53 udp dport 53 accept"));
        assert!(text.contains("ip6 daddr fd00::1 tcp dport 53 accept"));
        assert!(text.contains("tcp flags & (syn | ack) != syn accept"), "logins outlive a flush");
        let dns = text.find("dport 53").unwrap();
        assert!(dns < text.find("reject").unwrap(), "DNS is allowed before the rest is refused");
    }
}
