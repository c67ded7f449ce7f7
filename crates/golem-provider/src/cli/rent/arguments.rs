//! What can be typed after `rent`.
//!
//! Owns words and their forms. Never does what they say.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use golem_node::HistoryRange;
use golem_types::{Decimal, HostName, ImageName, SnapshotName, TimeZoneName, VmName};

/// `rent …`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rent {
    /// Pay on this network only; without it, on any that `networks list` shows.
    #[arg(long, global = true)]
    pub payments_network: Option<String>,
    /// Ask the payment chain here, in place of the network's own endpoint.
    #[arg(long, global = true)]
    pub rpc_url: Option<String>,
    /// Look for providers on this discovery server alone, by HTTP (http://, https://) or by WebSocket (ws://, wss://).
    #[arg(long, global = true)]
    pub discovery: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

/// What a renter can do.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Find providers that have room, the cheapest first.
    Providers {
        #[command(flatten)]
        size: Size,
        /// In this country, as two letters.
        #[arg(long)]
        country: Option<String>,
        /// With this processor: x86_64 or arm64.
        #[arg(long)]
        platform: Option<String>,
    },
    /// Ask a provider for its price, signed.
    Quote {
        /// The provider's URL, or its id (0x…), which is looked for on the market.
        #[arg(long)]
        provider: String,
        #[command(flatten)]
        size: Size,
    },
    /// Rent a VM: get a quote, open a stream that pays it, and wait until the VM runs.
    Create(Create),
    /// List your rentals, oldest first.
    #[command(visible_alias = "ls")]
    List,
    /// Show one rental, its VM and its stream.
    Show {
        /// Name of the rental.
        vm: VmName,
    },
    /// Show what a VM uses, and with --range what it used.
    Stats {
        /// Name of the rental.
        vm: VmName,
        /// Of the past, too: so much of it.
        #[arg(long, value_parser = PossibleValuesParser::new(HistoryRange::ALL.map(HistoryRange::as_str)))]
        range: Option<String>,
    },
    /// Show what happened to a VM, newest first, and its last boot.
    Events {
        /// Name of the rental.
        vm: VmName,
        /// So many events at most.
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
    },
    /// Log in to a VM, or run a command in it.
    Ssh {
        /// Name of the rental.
        vm: VmName,
        /// User to log in as; by default, as the provider says, or ubuntu.
        #[arg(long, short)]
        user: Option<String>,
        /// Command to run there.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Open the serial console of a VM, as a way in where SSH fails; Ctrl-] leaves it.
    ///
    /// In a pipe, what comes is typed, and the answer is read until nothing more comes for 2 seconds.
    Console {
        /// Name of the rental.
        vm: VmName,
    },
    /// Pay for more time.
    Topup {
        /// Name of the rental.
        vm: VmName,
        /// For so many hours.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=87_600))]
        hours: u32,
    },
    /// Keep VMs paid: top up streams that run short, within bounds, until interrupted.
    Keep(Keep),
    /// Shut a VM down; its disk and its port are kept, and its stream goes on.
    Stop {
        /// Name of the rental.
        vm: VmName,
    },
    /// Boot a VM that is stopped.
    Start {
        /// Name of the rental.
        vm: VmName,
    },
    /// Keep what is in a VM's memory on the provider's disk, and let it not run; its stream goes on.
    Suspend {
        /// Name of the rental.
        vm: VmName,
    },
    /// Let a suspended VM go on where it was.
    Resume {
        /// Name of the rental.
        vm: VmName,
    },
    /// Make a VM's disk anew from an image: all that is on it is lost; keys, address and stream stay.
    Rebuild {
        /// Name of the rental.
        vm: VmName,
        /// The image; without it the one that the VM has.
        #[arg(long)]
        image: Option<ImageName>,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Keep a VM's disk as it is now, and make it that again.
    #[command(visible_alias = "snapshots")]
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Delete a VM and its disk, end its stream and get back what is left; undoes a create that was cut off.
    #[command(visible_aliases = ["delete", "rm"])]
    Destroy {
        /// Name of the rental.
        vm: VmName,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Show the wallet that pays.
    Wallet,
    /// Get tokens on a test network whose contract gives them, and be told where gas comes from.
    Faucet,
    /// Show what the wallet has on each network, and where coins come from.
    Balance,
}

/// `rent snapshot …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SnapshotCommand {
    /// List a VM's snapshots.
    #[command(visible_alias = "ls")]
    List {
        /// Name of the rental.
        vm: VmName,
    },
    /// Make a snapshot; the VM may run meanwhile. Memory is no part of it.
    Create {
        /// Name of the rental.
        vm: VmName,
        /// What the snapshot is called; without it, the time.
        name: Option<SnapshotName>,
    },
    /// Make the disk what it was. What was written since is lost; a VM that runs is shut down and booted again.
    Restore {
        /// Name of the rental.
        vm: VmName,
        /// The snapshot.
        name: SnapshotName,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Delete a snapshot; the VM stays as it is.
    #[command(visible_alias = "rm")]
    Delete {
        /// Name of the rental.
        vm: VmName,
        /// The snapshot.
        name: SnapshotName,
    },
}

impl Command {
    /// Whether its answer has rows.
    pub(in crate::cli) const fn is_list(&self) -> bool {
        matches!(
            self,
            Self::List
                | Self::Providers { .. }
                | Self::Balance
                | Self::Events { .. }
                | Self::Snapshot { command: SnapshotCommand::List { .. } }
        )
    }
}

/// The size of a VM.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct Size {
    /// CPU cores.
    #[arg(long, default_value_t = 1)]
    pub cpu: u32,
    /// Memory in GiB.
    #[arg(long, default_value_t = 1)]
    pub memory: u32,
    /// Storage in GiB.
    #[arg(long, default_value_t = 10)]
    pub storage: u32,
}

/// `rent create`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// What you call it.
    pub name: VmName,
    /// The provider's URL, or its id (0x…), which is looked for on the market.
    #[arg(long)]
    pub provider: String,
    #[command(flatten)]
    pub size: Size,
    /// The image, by its name in the provider's catalogue.
    #[arg(long)]
    pub image: Option<ImageName>,
    /// Pay for so many hours at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub hours: u32,
    /// Only if it costs nothing.
    #[arg(long, conflicts_with_all = ["hours", "most"])]
    pub free: bool,
    /// Only if it costs no more than so many coins a month. Needed, like --yes, where nobody can be asked.
    #[arg(long)]
    pub most: Option<Decimal>,
    /// Pay without asking.
    #[arg(long, short)]
    pub yes: bool,
    /// File of a public SSH key that may log in, several times for several keys; without it, one is made in the renter's
    /// folder.
    #[arg(long)]
    pub ssh_key: Vec<PathBuf>,
    /// File of what cloud-init is to do at the first boot: cloud-config, or a script. At most 64 KiB; - for standard input.
    #[arg(long)]
    pub user_data: Option<PathBuf>,
    /// What the VM calls itself, in place of its name.
    #[arg(long)]
    pub hostname: Option<HostName>,
    /// The VM's time zone, such as Europe/Berlin.
    #[arg(long)]
    pub timezone: Option<TimeZoneName>,
    /// How long the VM may take until it runs, in seconds.
    #[arg(long, default_value_t = 900)]
    pub timeout: u64,
}

/// `rent keep`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Keep {
    /// Names of the VMs.
    #[arg(required = true)]
    pub vms: Vec<VmName>,
    /// Pay no more than so many coins in all.
    #[arg(long)]
    pub most: Decimal,
    /// Top up when less than so many seconds are left.
    #[arg(long, default_value_t = 1800)]
    pub below: u64,
    /// By so many hours.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub hours: u32,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// Where to tell that money gets short: a URL, which gets JSON, or a program, which gets GOLEM_RENT_VM,
    /// GOLEM_RENT_REASON and GOLEM_RENT_MESSAGE in its environment, and 30 seconds.
    #[arg(long, value_name = "URL|PROGRAM")]
    pub warn: Option<String>,
    /// Look once and return, for a timer of your own.
    #[arg(long)]
    pub once: bool,
}
