//! A yes from whoever sits at the terminal.
//!
//! Owns the question and its answer. Never takes silence for one.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail};

/// Asks `question` on the terminal; without one nobody can be asked, and `refusal` says what to do.
///
/// # Errors
/// `refusal`; when the terminal cannot be read.
pub(in crate::cli) fn confirmed(question: &str, refusal: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{refusal}");
    }
    let _ = write!(anstream::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
