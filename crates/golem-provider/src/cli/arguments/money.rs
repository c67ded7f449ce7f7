//! What is typed after `streams`, `pricing`, `wallet` and `networks`.
//!
//! Owns words and their forms. Never does what they say.

use std::path::PathBuf;

use alloy_primitives::Address;
use clap::{Args, Subcommand, ValueEnum};

/// `streams …`. A VM is meant by its id, by the start of it, or by its name.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Streams {
    /// List the streams, oldest first.
    #[command(visible_alias = "ls")]
    List,
    /// Show the stream that pays for one VM.
    Show {
        /// Name or id.
        vm: String,
    },
    /// Sum up what was earned.
    Earnings(Earnings),
    /// List the withdrawals, oldest first.
    History {
        /// Since then: 36h, 7d, 4w, or a day as 2026-11-01.
        #[arg(long)]
        since: Option<String>,
        /// The same as --format csv.
        #[arg(long, conflicts_with_all = ["json", "format"])]
        csv: bool,
    },
    /// Withdraw what has vested.
    Withdraw {
        /// From the stream of this VM: its name or id.
        #[arg(long, required_unless_present = "all")]
        vm_id: Option<String>,
        /// From every stream.
        #[arg(long, conflicts_with = "vm_id")]
        all: bool,
        /// Whatever gas costs of it.
        #[arg(long)]
        force: bool,
    },
}

/// `earnings`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Earnings {
    /// Count what was earned and received since then: 36h, 7d, 4w, or a day as 2026-11-01.
    #[arg(long)]
    pub since: Option<String>,
    /// Sum it up by this.
    #[arg(long, value_enum, default_value_t = Period::Day)]
    pub by: Period,
    /// The same as --format csv: every entry of the books, for taxes.
    #[arg(long, conflicts_with_all = ["json", "format"])]
    pub csv: bool,
}

/// `books …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Books {
    /// Compare the books with the chain, from the first stream on; exits with 1 where they differ, and with 2 where the
    /// chain cannot be read.
    Check {
        /// Book what is missing, and take back what the chain does not have.
        #[arg(long)]
        repair: bool,
    },
}

/// A span of days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Period {
    /// From midnight, UTC.
    Day,
    /// From Monday.
    Week,
    /// From the first.
    Month,
}

/// `pricing …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Pricing {
    /// Show prices, rates, and what usual VMs earn.
    Show,
    /// Set prices for a month in US dollars; takes effect at the next start.
    Set {
        /// For a CPU core.
        #[arg(long, allow_negative_numbers = true)]
        usd_per_core: Option<String>,
        /// For a GB of memory.
        #[arg(long, allow_negative_numbers = true)]
        usd_per_mem: Option<String>,
        /// For a GB of storage.
        #[arg(long, allow_negative_numbers = true)]
        usd_per_disk: Option<String>,
    },
    /// Tell what one VM costs, and the stream that pays for it.
    Quote {
        /// CPU cores.
        #[arg(long, default_value_t = 1)]
        cpu: u32,
        /// Memory in GB.
        #[arg(long, default_value_t = 1)]
        memory: u32,
        /// Storage in GB.
        #[arg(long, default_value_t = 10)]
        storage: u32,
        /// For how long the deposit lasts, in hours.
        #[arg(long, default_value_t = 1)]
        hours: u32,
    },
}

/// `wallet …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Wallet {
    /// Show the addresses, where their keys are, and where the money goes.
    Show,
    /// Ask the chain what the wallet has for gas.
    Balance,
    /// Get test money of the payment network: for gas from its faucet, tokens from their contract, or a link.
    #[command(visible_alias = "faucet-l2")]
    Faucet,
    /// List the transactions that wait, and what each is for.
    Transactions {
        /// Also the last ones that ended.
        #[arg(long)]
        all: bool,
    },
    /// Have transactions that wait do nothing; asks on a terminal.
    Cancel {
        /// Number of the transaction among those of the wallet.
        #[arg(required_unless_present = "all")]
        nonce: Option<u64>,
        /// All that wait.
        #[arg(long, conflicts_with = "nonce")]
        all: bool,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// What changes keys.
    #[command(flatten)]
    Keys(Keys),
}

/// `wallet export` and what else is about the key itself.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Keys {
    /// Write a copy of the key to a file.
    Export {
        /// Encrypt it with a passphrase, as a standard keystore (Web3 secret storage).
        #[arg(long)]
        keystore: bool,
        /// The file, which must not be there yet; `-` for standard output.
        #[arg(long)]
        out: PathBuf,
        /// File with the passphrase for it, in place of the one of the node's own key.
        #[arg(long, requires = "keystore")]
        passphrase_file: Option<PathBuf>,
    },
    /// Take another key, while no node runs; the one that is there is kept and goes on being withdrawn from.
    Import {
        /// File with a key: hexadecimal digits, a key file, or a keystore; `-` for standard input.
        file: PathBuf,
        /// File with the passphrase of that keystore; without it, it is asked for.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Make a new key; the one that is there is kept, and goes on being withdrawn from until its streams are spent.
    Rotate {
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Encrypt the key, and those that it replaced, with a passphrase.
    Encrypt,
    /// Undo that.
    Decrypt,
}

/// `networks …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Networks {
    /// List the networks; the one in use has a star.
    #[command(visible_alias = "ls")]
    List,
    /// Show one network.
    Show {
        /// Name of the network; by default, the one in use.
        name: Option<String>,
    },
    /// Add a network, or replace one.
    Add(Box<AddNetwork>),
    /// Make a payment contract on a network that has none, and write its profile; the node's wallet pays the gas.
    Deploy(DeployContract),
    /// Ask the endpoint of a network whether it is of the right chain and has the contract.
    Check {
        /// Name of the network; by default, the one in use.
        name: Option<String>,
    },
}

/// `networks deploy`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DeployContract {
    /// Name of the network; one that is not known yet needs an endpoint.
    pub name: String,
    /// Version of the contract: 1, or 4 for that of golem-streaming-abi 0.1.2.
    #[arg(long = "version", value_parser = clap::value_parser!(u8).range(1..))]
    pub contract_version: u8,
    /// The token of version 4; without it, the profile's.
    #[arg(long)]
    pub token: Option<Address>,
    /// Who gets what renters donate on version 4.
    #[arg(long)]
    pub donation_recipient: Option<Address>,
    /// URL of a JSON-RPC endpoint of the chain.
    #[arg(long)]
    pub rpc_url: Option<String>,
    /// It is a test network: its money is worth nothing.
    #[arg(long)]
    pub testnet: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

/// `networks add`.
#[derive(Debug, Args)]
pub(in crate::cli) struct AddNetwork {
    /// Name of the network.
    pub name: String,
    /// Id of the chain (EIP-155).
    #[arg(long)]
    pub chain_id: u64,
    /// URL of a JSON-RPC endpoint of the chain; can be given more than once.
    #[arg(long, required = true)]
    pub rpc_url: Vec<String>,
    /// How old the newest block may be until the chain counts as one that cannot be asked; 180 by default.
    #[arg(long)]
    pub maximum_head_age_seconds: Option<u64>,
    /// Address of the payment contract.
    #[arg(long)]
    pub contract: String,
    /// Version of the contract: 1, or 4 for that of golem-streaming-abi 0.1.2.
    #[arg(long, default_value_t = 1)]
    pub contract_version: u8,
    /// The token of the streams; without it, the chain's own money.
    #[arg(long)]
    pub token: Option<String>,
    /// Symbol of the chain's own coin.
    #[arg(long, default_value = "ETH")]
    pub symbol: String,
    /// What price feeds call the chain's own money, as "ethereum"; without it, the symbol has to tell.
    #[arg(long)]
    pub coin_price_id: Option<String>,
    /// Most gwei that a unit of gas may cost; without it, a bound that fits the coin.
    #[arg(long)]
    pub maximum_gas_price_gwei: Option<u64>,
    /// Symbol of the token.
    #[arg(long, default_value = "GLM")]
    pub token_symbol: String,
    /// What price feeds call the token, as "usd-coin"; without it, the symbol has to tell.
    #[arg(long)]
    pub token_price_id: Option<String>,
    /// Digits after the point of the token.
    #[arg(long, default_value_t = 18)]
    pub token_decimals: u8,
    /// It is a test network: its money is worth nothing.
    #[arg(long)]
    pub testnet: bool,
    /// It runs on this machine, and its clock may be moved.
    #[arg(long)]
    pub local: bool,
}
