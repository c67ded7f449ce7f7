//! What an operator decides about a node, as plain values.
//!
//! Owns the numbers that the node's decisions take. Never reads the environment: settings are
//! resolved by the binary.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use golem_types::{ImageName, Resources};

use crate::admit::AdmissionLimits;
use crate::host::Rent;
use crate::payment::{KnownContract, PaymentConfig};
use crate::payout::PayoutConfig;
use crate::ports::PortPolicy;
use crate::proxy::ProxyLimits;
use crate::vm::Refusal;

/// What becomes of a guest that shut itself down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// It stays off until its renter starts it; one that crashed is booted again.
    OnFailure,
    /// It is booted again, too.
    Always,
}

/// Everything a node needs to know to run.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// How long ended rentals are remembered; `None` if for good.
    pub history: Option<Duration>,
    /// Folder of the ledger and of everything else the node writes.
    pub data_dir: PathBuf,
    /// SSH ports that may be handed out, end exclusive.
    pub ports: Range<u16>,
    /// Address on which the SSH ports listen.
    pub ssh_bind: IpAddr,
    /// What has to be known of an SSH port before a rental gets it.
    pub port_policy: PortPolicy,
    /// Limits on what is rented out.
    pub limits: AdmissionLimits,
    /// Why no new rental is taken, whatever is free; `None` if they are.
    pub closed: Option<Refusal>,
    /// Image of a create that names none.
    pub default_image: ImageName,
    /// How long a guest may take from its launch to its SSH banner.
    pub boot_deadline: Duration,
    /// How long a guest may take to shut down before it is killed.
    pub stop_grace: Duration,
    /// How often the backend is asked what runs.
    pub watch_interval: Duration,
    /// How long the node waits before it restarts a guest that died, doubled at each failure.
    pub restart_delay: Duration,
    /// What becomes of a guest that shut itself down.
    pub restart_policy: RestartPolicy,
    /// Connection caps and deadlines of the SSH proxy.
    pub proxy: ProxyLimits,
    /// What of the host is rented out.
    pub rent: Rent,
    /// What is rented out in place of what the host has, for tests; `None` if that is measured.
    pub totals: Option<Resources>,
    /// How rentals are paid for; `None` if they are not.
    pub payments: Option<PaymentConfig>,
    /// More ways in which they may be paid for, beside `payments`, which is for clients that name none.
    pub more_payments: Vec<PaymentConfig>,
    /// Other contracts whose profiles are known: earlier rentals may be paid in them.
    pub known_contracts: Vec<KnownContract>,
    /// Where what was earned goes.
    pub payout: PayoutConfig,
}
