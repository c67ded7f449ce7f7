//! What is typed after `vms`, `images` and `drain`.
//!
//! Owns words and their forms. Never does what they say.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// `vms …`. A VM is meant by its id, or by its name where only one has it.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Vms {
    /// List the VMs, oldest first.
    #[command(visible_alias = "ls")]
    List,
    /// Show one VM.
    Show {
        /// Name or id.
        vm: String,
    },
    /// Shut a VM down; its disk and its port are kept.
    Stop {
        /// Name or id.
        vm: String,
    },
    /// Boot a VM that is stopped.
    Start {
        /// Name or id.
        vm: String,
    },
    /// Shut a VM down and boot it again.
    Restart {
        /// Name or id.
        vm: String,
    },
    /// Delete a VM and its disk. Its renter may have paid for it.
    #[command(visible_alias = "rm")]
    Delete {
        /// Name or id.
        vm: String,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Print what a VM wrote to its serial console, what the process that runs it said, and, for a day, how its
    /// last failed boot went, also where the VM is gone. On a terminal control characters are shown and not sent.
    Logs {
        /// Name or id, or the id of the job that made it.
        vm: String,
        /// Print the console alone, every byte as it is: a guest can then change the terminal.
        #[arg(long)]
        raw: bool,
        /// Go on with what is added to the console, until Ctrl-C.
        #[arg(long, short)]
        follow: bool,
    },
    /// Log in to a VM through its port, with ssh.
    Ssh {
        /// Name or id.
        vm: String,
        /// User to log in as.
        #[arg(long, short, default_value = "ubuntu")]
        user: String,
        /// File of the private key to log in with.
        #[arg(long, short)]
        identity: Option<PathBuf>,
        /// Command to run there.
        #[arg(last = true)]
        command: Vec<String>,
    },
}

/// `drain …`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum OnOff {
    /// No new rentals.
    On,
    /// New rentals.
    Off,
}

/// `images …`.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Images {
    /// List the images that renters can name.
    #[command(visible_alias = "ls")]
    List,
    /// Download an image of the catalogue, or what its publisher has in its place now; VMs keep what they
    /// started from.
    Pull {
        /// Name in the catalogue.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Every image that was downloaded before.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Add an image of your own, or put it in place of another: a bootable qcow2 file with cloud-init.
    Add {
        /// Name by which renters ask for it.
        name: String,
        /// The file; it is copied.
        file: PathBuf,
    },
    /// Remove an image from this machine; VMs keep what they started from.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name of the image.
        name: String,
    },
}
