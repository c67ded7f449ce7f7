//! This host, as a router sees it.
//!
//! Owns by which address and router it goes out, and what proves that a mapping is this node's. Never
//! asks anybody.

use std::net::Ipv4Addr;

use alloy_primitives::keccak256;
use crab_nat::pcp::Nonce;

/// This host, as a router sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// The address of this host in the local network.
    pub lan: Ipv4Addr,
    /// The router that it goes out by; `None` if that cannot be seen.
    pub router: Option<Ipv4Addr>,
    /// What proves to a router that a mapping is this node's.
    pub nonce: Nonce,
}

impl Client {
    /// This host, with `lan` its address. Mappings are its own by `secret`.
    pub(super) fn new(secret: &str, lan: Ipv4Addr) -> Self {
        Self { lan, router: router(), nonce: nonce(secret) }
    }
}

/// The first 96 bits of what only this node knows, the same after a restart: a router lets nobody
/// else renew or remove what it forwards (RFC 6887, 11.2).
fn nonce(secret: &str) -> Nonce {
    let hash = keccak256(format!("port mapping {secret}"));
    std::array::from_fn(|word| u32::from_be_bytes(std::array::from_fn(|byte| hash[4 * word + byte])))
}

/// The router by which this host goes out, as the kernel's table names it; `None` elsewhere than on
/// Linux, where only UPnP, which finds it by itself, is left.
fn router() -> Option<Ipv4Addr> {
    default_route(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the default route with the least metric in `table`.
pub(super) fn default_route(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (to, by) = (*columns.get(1)?, u32::from_str_radix(columns.get(2)?, 16).ok()?);
        let (metric, mask) = (columns.get(6)?.parse::<u32>().ok()?, *columns.get(7)?);
        (to == "00000000" && mask == "00000000" && by != 0)
            .then_some((metric, Ipv4Addr::from(by.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, address)| address)
}
