//! What is typed after `config`.
//!
//! Owns words and their forms. Never does what they say.

use clap::{Subcommand, ValueEnum};

/// `config …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Config {
    /// Set when VMs are stopped for want of payment; takes effect at the next start.
    Monitor {
        /// Whether streams are followed.
        #[arg(long)]
        enable: Option<bool>,
        /// How often, in seconds.
        #[arg(long, allow_negative_numbers = true)]
        interval: Option<String>,
        /// Least payment that has to be left, in seconds.
        #[arg(long, allow_negative_numbers = true)]
        min_remaining: Option<String>,
    },
    /// Set when vested money is withdrawn; takes effect at the next start.
    Withdraw {
        /// Whether it is withdrawn without being asked.
        #[arg(long)]
        enable: Option<bool>,
        /// How often from each stream, in seconds.
        #[arg(long, allow_negative_numbers = true)]
        interval: Option<String>,
        /// Least amount that is withdrawn, in wei.
        #[arg(long, allow_negative_numbers = true)]
        min_wei: Option<String>,
    },
    /// Set where what was earned goes; takes effect at the next start.
    Payout {
        /// The address to which it is sent.
        #[arg(long)]
        address: Option<String>,
        /// Coins of the chain that stay in the node's wallet for gas.
        #[arg(long, allow_negative_numbers = true)]
        float: Option<String>,
    },
    /// Show every setting, its value and where it came from, without secrets.
    #[command(visible_alias = "list")]
    Show {
        /// Only those that have this in their name or their text.
        word: Option<String>,
    },
    /// Print a file of the repository that is made from the settings table.
    #[command(hide = true)]
    Render {
        /// Which file.
        form: Form,
    },
}

/// What can be made from the settings table, and from the APIs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Form {
    /// `.env.example`.
    EnvExample,
    /// `docs/configuration.md`.
    Markdown,
    /// `docs/openapi/public.json`.
    OpenapiPublic,
    /// `docs/openapi/operator.json`.
    OpenapiOperator,
    /// `docs/troubleshooting.md`.
    Troubleshooting,
}
