//! What can be typed.
//!
//! Owns the words of the command line. Never holds a default of a setting: the settings table
//! does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod backup;
mod config;
mod kinds;
mod money;
mod servers;
mod setup;
mod vms;

pub(super) use backup::{Backup, Restore};
pub(super) use config::{Config, Form};
pub(super) use money::{
    AddNetwork, Books, DeployContract, Earnings, Keys, Networks, Period, Pricing, Streams, Wallet,
};
pub(super) use servers::{Discovery, PortChecker};
pub(super) use setup::Setup;
pub(super) use vms::{Images, OnOff, Vms};

/// Rents out this machine as virtual machines.
#[derive(Debug, Parser)]
#[command(name = "golem-provider", version)]
#[command(disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// table, json, yaml, or csv of lists.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, hide_possible_values = true)]
    #[arg(value_name = "FORM")]
    pub format: Format,
    /// The same as --format json.
    #[arg(long, global = true, conflicts_with = "format")]
    pub json: bool,
    /// No notes; of a list its names, of what was done nothing.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Tell on standard error what is done.
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

impl Arguments {
    /// How the answer is printed.
    pub(super) const fn form(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Text for people.
    Table,
    /// One JSON document.
    Json,
    /// Rows of comma-separated values, of commands that list something.
    Csv,
    /// One YAML document.
    Yaml,
}

/// What the command line can do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set a node up, or look at one that is set up.
    ///
    /// Asks what to rent out and for what, tries its ports, fetches the image, and starts the service.
    Setup(Setup),
    /// Start the provider.
    Start(Start),
    /// Stop the provider; its VMs run on, unless it was told otherwise.
    Stop {
        /// Seconds to wait until it has ended by itself [default: a minute more than its VMs have to shut down].
        #[arg(long)]
        timeout: Option<u64>,
        /// Take the node off its markets first, so that no new renter is sent here.
        #[arg(long)]
        withdraw_advert: bool,
    },
    /// Take new settings while VMs run on, and tell what is different.
    ///
    /// Exits with 1 where it refuses the settings, and goes on with those that it has.
    Reload,
    /// Show how the provider is; exits with 3 when it is not running.
    Status(Status),
    /// Look closely at everything that the node needs.
    ///
    /// Works whether or not the provider runs; exits with 1 when something is broken.
    Doctor(Doctor),
    /// Print what the provider logged.
    ///
    /// Of one in the background its log file; of this machine's service what systemd's journal has of it.
    Logs(Logs),
    /// Look at the provider in a browser.
    ///
    /// By a login link that works once, within a minute. From another machine: by the `ssh -L` line that is printed.
    Dashboard(Dashboard),
    /// See and manage the VMs that are rented out.
    Vms {
        /// What to do with them.
        #[command(subcommand)]
        command: Vms,
    },
    /// Take no new rentals, or take them again; survives a restart.
    Drain {
        /// `on`: no new rentals; `off`: new rentals.
        state: OnOff,
        /// With `on`: return when no VM is left.
        #[arg(long)]
        wait: bool,
    },
    /// See and manage the images that VMs start from.
    Images {
        /// What to do with them.
        #[command(subcommand)]
        command: Images,
    },
    /// See how VMs are paid for, and withdraw what was earned.
    Streams {
        /// What to see or do.
        #[command(subcommand)]
        command: Streams,
    },
    /// Sum up what was earned and received.
    Earnings(Earnings),
    /// Compare the node's books with the chain.
    Books {
        /// What to do with them.
        #[command(subcommand)]
        command: Books,
    },
    /// See the node's wallet.
    Wallet {
        /// What to see.
        #[command(subcommand)]
        command: Wallet,
    },
    /// See and add the chains that VMs can be paid on.
    Networks {
        /// What to see or do.
        #[command(subcommand)]
        command: Networks,
    },
    /// See the node's advert as renters do, and what others ask.
    Market(Market),
    /// Take over the VMs of a Python provider on this machine.
    ///
    /// A first start does so by itself.
    Import {
        /// Only tell what would be taken over.
        #[arg(long)]
        dry_run: bool,
    },
    /// Rebuild a lost ledger from the VMs that are on this host.
    ///
    /// Asks for confirmation.
    Recover {
        /// Only tell what would be taken back.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Write key, ledger and settings into one encrypted file.
    ///
    /// Payment and market profiles, too; whether or not the provider runs.
    Backup(Backup),
    /// Put what a backup holds in its place, while no provider runs.
    ///
    /// Asks before it replaces anything.
    Restore(Restore),
    /// Rent VMs from other providers, or from this one.
    Rent(super::rent::Rent),
    /// See and set what VMs cost.
    Pricing {
        /// What to see or do.
        #[command(subcommand)]
        command: Pricing,
    },
    /// See what is wrong with the running node, and who is told.
    Alerts {
        /// What to see or do.
        #[command(subcommand)]
        command: super::alerts::Alerts,
    },
    /// See whether renters can reach this node's ports.
    Ports {
        /// What to see or do.
        #[command(subcommand)]
        command: Ports,
    },
    /// See what guests of this node can reach.
    Isolation {
        /// What to see.
        #[command(subcommand)]
        command: Isolation,
    },
    /// Run a discovery server, where renters find providers.
    Discovery(Discovery),
    /// Run a server that tries other nodes' ports from outside.
    PortChecker(PortChecker),
    /// See the settings, and change those about money.
    Config {
        /// What to see.
        #[command(subcommand)]
        command: Config,
    },
    /// Tell more of a command, or of the settings.
    Help {
        /// The command, or `settings` and a word that their names or texts have.
        topic: Vec<String>,
    },
    /// Tell the version; with --verbose, whose program it is.
    Version,
    /// Remove the provider, its VMs and all it made on this machine.
    ///
    /// Copies its keys first, and asks for confirmation.
    Uninstall(Uninstall),
    /// Print a script with which a shell completes commands and flags.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write a man page for each command into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
}

/// `start`.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// Market in which the provider offers itself: mainnet, testnet or development.
    #[arg(long)]
    network: Option<String>,
    /// Run in the background; returns when the provider is ready.
    #[arg(long)]
    pub daemon: bool,
    /// Hand out ports whether or not anyone has seen that they are reachable.
    #[arg(long)]
    no_verify_port: bool,
    /// Shut the VMs down when the provider stops.
    #[arg(long, conflicts_with = "keep_vms_on_exit")]
    stop_vms_on_exit: bool,
    /// Leave the VMs running when the provider stops.
    #[arg(long)]
    keep_vms_on_exit: bool,
    /// This process was started by `--daemon`, which waits for its report.
    #[arg(long, hide = true, conflicts_with = "daemon")]
    pub detached: bool,
}

impl Start {
    /// The settings that were given as flags.
    pub(super) fn flags(&self) -> BTreeMap<&'static str, String> {
        let stop_vms = match (self.stop_vms_on_exit, self.keep_vms_on_exit) {
            (true, _) => Some("true".to_owned()),
            (_, true) => Some("false".to_owned()),
            _ => None,
        };
        let skip = self.no_verify_port.then(|| "true".to_owned());
        given([
            ("GOLEM_PROVIDER_NETWORK", self.network.clone()),
            ("GOLEM_PROVIDER_STOP_VMS_ON_EXIT", stop_vms),
            ("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", skip),
        ])
    }

    /// The arguments with which the background process does the same.
    pub(super) fn for_background(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["start".into()];
        if let Some(network) = &self.network {
            arguments.push(format!("--network={network}").into());
        }
        for (given, flag) in [
            (self.no_verify_port, "--no-verify-port"),
            (self.stop_vms_on_exit, "--stop-vms-on-exit"),
            (self.keep_vms_on_exit, "--keep-vms-on-exit"),
        ] {
            if given {
                arguments.push(flag.into());
            }
        }
        arguments
    }
}

/// `logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on with what is added, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// How many of the last lines are printed first.
    #[arg(long, short = 'n', default_value_t = 100)]
    pub lines: usize,
}

/// `status`: how often, and how it ends.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Look again every two seconds, until it is interrupted.
    #[arg(long)]
    pub watch: bool,
    /// Exit with 0 when healthy, 1 with issues, 2 on errors, running or not.
    #[arg(long, conflicts_with = "watch")]
    pub exit_code: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Do what is safe about it, and write down what was done.
    #[arg(long)]
    pub fix: bool,
    /// Put back what --fix did.
    #[arg(long, conflicts_with_all = ["fix", "bundle"])]
    pub undo: bool,
    /// Write what a bug report needs into this file, without secrets.
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}

/// `dashboard`.
#[derive(Debug, Args)]
pub(super) struct Dashboard {
    /// Open it in a browser; on a desktop that happens anyway.
    #[arg(long)]
    pub open: bool,
}

/// `uninstall`.
#[derive(Debug, Args)]
pub(super) struct Uninstall {
    /// Only tell what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
    /// File to which the wallet's key is copied [default: golem-provider-key-DATE.json in the home directory].
    #[arg(long, value_name = "FILE", conflicts_with = "keep_data")]
    pub key_file: Option<PathBuf>,
    /// Only shut the VMs down and take away what is outside of the data directory; a start goes on from there.
    #[arg(long)]
    pub keep_data: bool,
}

/// `market`: the VM that prices are compared for.
#[derive(Debug, Args)]
pub(super) struct Market {
    /// CPU cores of the VM.
    #[arg(long, default_value_t = 2)]
    pub cpu: u32,
    /// Memory of the VM, in GiB.
    #[arg(long, default_value_t = 4)]
    pub memory: u32,
    /// Storage of the VM, in GiB.
    #[arg(long, default_value_t = 20)]
    pub storage: u32,
}

/// `ports …`.
#[derive(Debug, Subcommand)]
pub(super) enum Ports {
    /// Show what was last found out about each port.
    #[command(visible_alias = "ls")]
    List,
    /// Have the ports tried from outside now; works whether or not the provider runs.
    Check,
    /// Have the router forward the ports to this host until Ctrl-C. GOLEM_PROVIDER_PORT_MAPPING=true does
    /// it while the provider runs.
    Map,
    /// Have the router no longer forward the ports, where a node died that had asked for it.
    Unmap,
}

/// `isolation …`.
#[derive(Debug, Subcommand)]
pub(super) enum Isolation {
    /// Boot a guest that tries to reach this host, its networks and other guests; exits with 1 when it does. Works
    /// whether or not the provider runs.
    Check(IsolationCheck),
}

/// `isolation check`.
#[derive(Debug, Args)]
pub(super) struct IsolationCheck {
    /// Image that the guest starts from [default: that of VMs that ask for none].
    #[arg(long)]
    pub image: Option<String>,
    /// Where guests should get to: a name or an IPv4 address, and a port.
    #[arg(long, value_name = "HOST:PORT", default_value = "one.one.one.one:443", value_parser = host_and_port)]
    pub internet: String,
    /// Try again with the same guest at each Enter, until the end of the input.
    #[arg(long)]
    pub again: bool,
}

/// A name or IPv4 address with a port, as it was typed.
fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok_and(|p| p > 0) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("is no HOST:PORT".to_owned()),
    }
}

/// Those of `flags` that were given.
fn given<const N: usize>(flags: [(&'static str, Option<String>); N]) -> BTreeMap<&'static str, String> {
    flags.into_iter().filter_map(|(name, text)| text.map(|text| (name, text))).collect()
}

/// `seconds` as a duration.
pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
