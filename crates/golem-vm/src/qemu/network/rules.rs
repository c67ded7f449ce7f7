//! The rules of one guest's namespace, as text.
//!
//! Owns what a guest may send and receive, and the addresses inside its namespace. Never loads
//! anything. The order of the rules is the promise: nothing near before anything far.
//!
//! ```text
//!   guest 10.0.2.15 ─ QEMU ─ 10.0.3.100 ─ these rules ─ tap0 ─ slirp4netns 10.0.3.2 ─ the host's network
//!                      DNS 10.0.2.3 ───────► 10.0.3.3:53 ───────► the host's resolver
//!                      SSH :22 ◄──────────── 10.0.3.100:2222 ◄─── a loopback port of the host
//! ```

use super::local_networks::LocalNetworks;
use crate::machine::NetworkLimits;

/// The network between QEMU and the uplink.
pub(super) const CIDR: &str = "10.0.3.0/24";

/// The address that QEMU has in it.
pub(in crate::qemu) const ADDRESS: &str = "10.0.3.100";

/// The uplink's DNS forwarder in it.
pub(super) const DNS: &str = "10.0.3.3";

/// The port at which QEMU takes logins for the guest's SSH server.
pub(in crate::qemu) const SSH_PORT: u16 = 2222;

/// The uplink's device.
pub(super) const DEVICE: &str = "tap0";

/// How much of its bandwidth a guest may take at once, as a part of what passes in a second.
const BURST: u64 = 5;

/// Least of a burst in bytes: two of the largest packets.
const LEAST_BURST: u64 = 131_072;

/// The rules as text. What QEMU answers to logins is told by its flags, because the kernel forgets a connection that
/// the client has closed after a minute, before QEMU gives up a guest that does not answer; and the uplink would
/// hold what QEMU may not close for ever. Logins count by their port and not by where they come from: that is 10.0.3.2,
/// unless the host translates what is on its loopback (a `MASQUERADE` without a device), and nobody but the
/// uplink sends on its device. They replace what is there in one step and keep the counters; with `anew`
/// they replace those as well.
pub(super) fn of_guest(near: &LocalNetworks, limits: NetworkLimits, anew: bool) -> String {
    let (near_v4, _) = near.elements();
    let start = if anew { "table inet golem_vm\ndelete table inet golem_vm\n" } else { "" };
    let smtp = if limits.smtp { "" } else { "    tcp dport 25 goto refused\n" };
    let connections = limits
        .connections
        .map_or_else(String::new, |most| format!("    ct state new ct count over {most} goto refused\n"));
    // Names have a cap of their own: who has used up the other still resolves them.
    let names = limits.connections.map_or_else(String::new, |most| {
        format!(
            "    ip daddr {DNS} meta l4proto {{ tcp, udp }} th dport 53 ct state new ct count over {most} \
             goto refused\n"
        )
    });
    let bandwidth = limits.rate().map_or_else(String::new, |rate| {
        let burst = burst(rate);
        format!(
            "    iifname \"{DEVICE}\" limit rate over {rate} bytes/second burst {burst} bytes \
             counter name blocked drop\n"
        )
    });
    format!(
        "{start}table inet golem_vm {{
  counter in {{ }}
  counter out {{ }}
  counter blocked {{ }}
  chain guest {{ }}
  chain refused {{ }}
  chain output {{ type filter hook output priority 0; policy drop; }}
  chain forward {{ type filter hook forward priority 0; policy drop; }}
  chain input {{ type filter hook input priority 0; policy drop; }}
}}
flush table inet golem_vm
table inet golem_vm {{
  chain guest {{
    meta nfproto ipv6 counter name blocked drop
    ip saddr {ADDRESS} tcp sport {SSH_PORT} tcp flags & (syn | ack) != syn counter name out accept
{names}    ip daddr {DNS} meta l4proto {{ tcp, udp }} th dport 53 counter name out accept
    ip daddr {{ {near_v4} }} goto refused
    ct state established,related counter name out accept
{smtp}{connections}    oifname \"{DEVICE}\" counter name out accept
  }}
  chain refused {{
    counter name blocked
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain output {{
    oifname \"lo\" accept
    jump guest
  }}
  chain input {{
{bandwidth}    iifname \"lo\" accept
    ct state established,related counter name in accept
    iifname \"{DEVICE}\" tcp dport {SSH_PORT} counter name in accept
  }}
}}
"
    )
}

/// Bytes that may pass at once at `rate` bytes a second.
pub(super) fn burst(rate: u64) -> u64 {
    (rate / BURST).max(LEAST_BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: NetworkLimits = NetworkLimits { connections: None, megabits: None, smtp: true };

    #[test]
    fn s_247_i5_nothing_near_is_reached_but_dns() {
        let text = of_guest(&super::super::local_networks::now(None).unwrap(), OFF, false);
        for near in ["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"] {
            assert!(text.contains(near), "{near}");
        }
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"));
        assert!(at("nfproto ipv6 counter name blocked drop") < at("accept"));
        assert!(at("dport 53") < at("127.0.0.0/8"));
        // An address that becomes the host's ends what was connected to it before.
        assert!(at("127.0.0.0/8") < at("ct state established,related counter name out"));
        // Only what QEMU answers, however late, and nothing that it opens.
        assert!(text.contains("tcp sport 2222 tcp flags & (syn | ack) != syn counter name out accept"));
        assert_eq!(text.matches("policy drop").count(), 3);
        assert!(!text.contains("policy accept"));
    }

    #[test]
    fn i_13_i_04_mail_connections_and_bandwidth_are_closed_as_the_operator_says() {
        let near = super::super::local_networks::now(None).unwrap();
        let open = of_guest(&near, OFF, false);
        assert!(!open.contains("dport 25 ") && !open.contains("ct count") && !open.contains("limit rate"));
        let limits = NetworkLimits { connections: Some(7), megabits: Some(8), smtp: false };
        let text = of_guest(&near, limits, true);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"));
        assert!(at("tcp dport 25 goto refused") < at("oifname \"tap0\""));
        assert!(at("ct count over 7 goto refused") < at("oifname \"tap0\""));
        assert!(at("limit rate over 1000000 bytes/second burst 200000 bytes") < at("iifname \"lo\""));
        assert!(text.starts_with("table inet golem_vm\ndelete table inet golem_vm\n"));
    }
}
