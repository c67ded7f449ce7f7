//! What can be typed after `setup`.

use std::collections::BTreeMap;

use clap::Args;

use super::given;

/// `setup`. What is not given is asked for on a terminal; with `--yes` it is what counts already, else what is good for this
/// machine.
#[derive(Debug, Args)]
pub(in crate::cli) struct Setup {
    /// Name shown to renters.
    #[arg(long)]
    name: Option<String>,
    /// Country in which the machine stands, two letters.
    #[arg(long, value_name = "CC")]
    country: Option<String>,
    // Negative numbers are let in to be refused as values, with what may be.
    /// Cores to rent out.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    rent_cpu: Option<String>,
    /// Memory to rent out, in GiB.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    rent_memory_gb: Option<String>,
    /// Storage to rent out, in GiB.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    rent_storage_gb: Option<String>,
    /// Price of a core for a month, in US dollars.
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    price_per_core: Option<String>,
    /// Price of a GiB of memory for a month, in US dollars.
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    price_per_gb_memory: Option<String>,
    /// Price of a GiB of storage for a month, in US dollars.
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    price_per_gb_storage: Option<String>,
    /// Market: testnet, mainnet or development.
    #[arg(long)]
    network: Option<String>,
    /// Address that earnings are sent to, or `none`: they stay in the node's wallet.
    #[arg(long, value_name = "ADDRESS")]
    payout: Option<String>,
    /// Have the router forward the ports while the node runs.
    #[arg(long)]
    map_ports: bool,
    /// Ports are forwarded by hand, or the machine has a public address.
    #[arg(long, conflicts_with = "map_ports")]
    no_map_ports: bool,
    /// Image that VMs start from: a qcow2 FILE, a name of the catalogue, or `none` to fetch none now.
    #[arg(long, value_name = "FILE|VERSION|none")]
    pub image: Option<String>,
    /// Ask nothing.
    #[arg(long, short)]
    pub yes: bool,
    /// Only tell what would be changed.
    #[arg(long)]
    pub dry_run: bool,
    /// Set up this user's own node (~/.golem/provider), and not the service of this machine.
    #[arg(long)]
    pub here: bool,
}

impl Setup {
    /// The settings that were given as flags.
    pub(in crate::cli) fn settings(&self) -> BTreeMap<&'static str, String> {
        let mapping = match (self.map_ports, self.no_map_ports) {
            (true, _) => Some("true".to_owned()),
            (_, true) => Some("false".to_owned()),
            _ => None,
        };
        given([
            ("GOLEM_PROVIDER_NAME", self.name.clone()),
            ("GOLEM_PROVIDER_COUNTRY", self.country.clone()),
            ("GOLEM_PROVIDER_RENT_CPU", self.rent_cpu.clone()),
            ("GOLEM_PROVIDER_RENT_MEMORY_GB", self.rent_memory_gb.clone()),
            ("GOLEM_PROVIDER_RENT_STORAGE_GB", self.rent_storage_gb.clone()),
            ("GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH", self.price_per_core.clone()),
            ("GOLEM_PROVIDER_PRICE_USD_PER_GB_RAM_MONTH", self.price_per_gb_memory.clone()),
            ("GOLEM_PROVIDER_PRICE_USD_PER_GB_STORAGE_MONTH", self.price_per_gb_storage.clone()),
            ("GOLEM_PROVIDER_NETWORK", self.network.clone()),
            ("GOLEM_PROVIDER_PAYOUT_ADDRESS", self.payout.clone()),
            ("GOLEM_PROVIDER_PORT_MAPPING", mapping),
        ])
    }
}
