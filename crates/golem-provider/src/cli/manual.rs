//! What helps at the prompt: completions for shells, and man pages.
//!
//! Owns that both are made from the command line's own definition. Never installs them: the package and the archive bring
//! them along.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;
use super::printer::Printer;
use super::{Exit, help};

/// `completions`: a script that `shell` reads.
pub(super) fn completions(shell: Shell, printer: Printer) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), env!("CARGO_PKG_NAME"), &mut script);
    // Whoever wants its beginning only has it.
    let _ = printer.raw(&String::from_utf8_lossy(&script));
    Exit::Done
}

/// `manual`: a page for the program and for each command, in `folder`.
pub(super) fn manual(folder: &Path) -> anyhow::Result<Exit> {
    clap_mangen::generate_to(help::with_examples(), folder)
        .with_context(|| format!("man pages cannot be written to {}", folder.display()))?;
    Ok(Exit::Done)
}
