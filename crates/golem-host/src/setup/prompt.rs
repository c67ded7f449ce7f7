//! A line asked of whoever sits at the terminal.
//!
//! Owns the question, its default, and another try after a wrong answer. The terminal keeps its modes, so an interrupt leaves
//! nothing to restore, and any terminal will do. Never decides whether an answer is good.

use std::io::{self, IsTerminal, Write};

/// The input ended, so nobody answers any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody answers: the input ended")]
pub struct Ended;

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// Nobody is there any more.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The terminal cannot be read.
    #[error("the answer cannot be read")]
    Read(#[source] io::Error),
}

/// Whether somebody can be asked.
#[must_use]
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks `question` on standard error; an empty answer is `default`. Where that is empty, too, so is the answer.
///
/// # Errors
/// [`PromptError`].
pub async fn line(question: &str, default: &str) -> Result<String, PromptError> {
    let mut terminal = io::stderr();
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    let _ = write!(terminal, "{question}{shown}: ");
    let _ = terminal.flush();
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|bytes| (bytes > 0).then_some(answer))
    });
    match read.await {
        Ok(Ok(Some(answer))) if answer.trim().is_empty() => Ok(default.to_owned()),
        Ok(Ok(Some(answer))) => Ok(answer.trim().to_owned()),
        Ok(Ok(None)) | Err(_) => Err(Ended.into()),
        Ok(Err(error)) => Err(PromptError::Read(error)),
    }
}

/// What `answer` means as yes or no, in English; `None` if it is neither.
#[must_use]
pub fn yes_or_no(answer: &str) -> Option<bool> {
    match answer.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" | "none" => Some(false),
        _ => None,
    }
}
