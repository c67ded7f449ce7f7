//! Whether renters can reach this node, found out from outside.
//!
//! ```text
//!   settings ─► look (no node runs) ─┐
//!               task (in the node) ──┴─► round ─► sources ─► report
//! ```
//! Owns asking check servers, when that is done, and the report of it. Never judges a verdict and
//! never decides which port a rental gets: [`golem_node::ports`] does.

mod display;
mod holder;
mod knock;
mod look;
mod mapping;
mod peers;
mod problem;
mod report;
mod round;
mod source;
mod task;

pub(crate) use display::Display;
pub use look::{look, look_here};
pub(crate) use mapping::{
    AGAIN, Holding, Kept, LeftPort, Mapper, MappingError, MappingReport, News, UnmappingReport,
    keep as keep_mapped,
};
pub(crate) use problem::ranges;
pub use problem::{Cause, ProblemReport};
pub use report::{LocalState, PortReport, PortsReport, ProgressReport, Reach, SourceReport};
pub use task::Verifier;

use std::net::{IpAddr, UdpSocket};
use std::ops::Range;

use golem_node::ports::PortPolicy;
use problem::HostFacts;

use crate::public_ip;
use crate::settings::{Environment, Settings};

/// The ports that VMs get.
pub(crate) fn ssh_ports(settings: &Settings) -> Range<u16> {
    settings.port_range_start.get()..settings.port_range_end.get()
}

/// Every port that renters have to reach: that of the API first.
fn all_ports(settings: &Settings) -> Vec<u16> {
    std::iter::once(settings.port.get()).chain(ssh_ports(settings)).collect()
}

/// What this host knows of its place, with `address` its public one.
fn host_facts(settings: &Settings, address: IpAddr) -> HostFacts {
    HostFacts {
        lan: Some(public_ip::own(settings.host)).filter(|address| !address.is_loopback()),
        has_public_address: UdpSocket::bind((address, 0)).is_ok(),
        only_ipv4: settings.host.is_ipv4(),
        development: settings.environment == Environment::Development,
        knocked: None,
    }
}

/// What has to be known of a port before a rental gets it.
pub(crate) fn policy(settings: &Settings) -> PortPolicy {
    match settings.environment {
        _ if settings.skip_port_verification => PortPolicy::Free,
        Environment::Development => PortPolicy::Lenient,
        Environment::Production => PortPolicy::Verified,
    }
}
