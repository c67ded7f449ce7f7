//! What an operator decides about a node, as plain values.
//!
//! Owns the numbers that the node's decisions take. Never reads the environment: settings are
//! resolved by the binary.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use golem_types::{ImageName, Resources};

use crate::payment::PaymentConfig;
use crate::ports::PortPolicy;
use crate::proxy::ProxyLimits;
use crate::vm::Refusal;

/// Limits on what is rented out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most live VMs (`GOLEM_PROVIDER_MAX_VMS`).
    pub max_vms: u32,
    /// Least that one VM may ask for (`GOLEM_PROVIDER_MIN_*`).
    pub minimum: Resources,
    /// Percent of CPU in use above which no create is granted.
    pub cpu_threshold: u8,
    /// Percent of memory in use above which no create is granted.
    pub memory_threshold: u8,
    /// Percent of the VM volume in use above which no create is granted.
    pub storage_threshold: u8,
}

impl Default for Limits {
    /// The original's documented defaults: 10 VMs, 1 CPU / 1 GiB / 10 GiB, 90 / 85 / 90 %.
    fn default() -> Self {
        Self {
            max_vms: 10,
            minimum: Resources::new(1, 1, 10),
            cpu_threshold: 90,
            memory_threshold: 85,
            storage_threshold: 90,
        }
    }
}

/// What of the host an operator rents out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rent {
    /// Cores (`GOLEM_PROVIDER_RENT_CPU`); none means all less the host's reserve.
    pub cpu: Option<u32>,
    /// Memory in GiB (`GOLEM_PROVIDER_RENT_MEMORY_GB`); none means all less the host's reserve.
    pub memory_gib: Option<u32>,
    /// Storage in GiB (`GOLEM_PROVIDER_RENT_STORAGE_GB`); none means all less the host's reserve.
    pub storage_gib: Option<u32>,
    /// Virtual CPUs for each hundred cores (`GOLEM_PROVIDER_CPU_OVERCOMMIT`).
    pub cpu_overcommit_percent: u32,
}

impl Default for Rent {
    fn default() -> Self {
        Self { cpu: None, memory_gib: None, storage_gib: None, cpu_overcommit_percent: 100 }
    }
}

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
    /// How long ended rentals are remembered; none means for good.
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
    pub limits: Limits,
    /// Why no new rental is taken, whatever is free; none where they are.
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
    /// What is rented out in place of what the host has, for tests; none means measured.
    pub totals: Option<Resources>,
    /// How rentals are paid for; none means that they are not.
    pub payments: Option<PaymentConfig>,
}
