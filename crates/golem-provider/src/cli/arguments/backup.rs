//! Words of `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;

/// `backup`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Backup {
    /// File to write; `-` is standard output.
    pub file: PathBuf,
    /// File with the passphrase on its only line, of mode 0600, instead of a terminal.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Replace the file, if it is there.
    #[arg(long)]
    pub force: bool,
}

/// `restore`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// File that `backup` wrote.
    pub file: PathBuf,
    /// File with the passphrase on its only line, of mode 0600, instead of a terminal.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Only check the backup, and tell what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before what is there is replaced.
    #[arg(long)]
    pub yes: bool,
}
