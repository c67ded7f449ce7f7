//! Alerts as the operator's own programs read them.
//!
//! Owns the JSON. Never changes anything.

use golem_host::alerts::Outcome;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is off, as the operator's own programs read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// What it is about: the same while it lasts.
    pub key: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// What it is.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Whether it has lasted long enough to be told.
    pub told: bool,
}

/// What became of the last message to a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverView {
    /// `webhook` or `email`.
    pub receiver: String,
    /// When it was taken, or tried last.
    pub at: Timestamp,
    /// Why it was not taken.
    pub problem: Option<String>,
}

/// Alerts, and who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertsView {
    /// Whether anybody is told.
    pub is_anybody_told: bool,
    /// What is off.
    pub alerts: Vec<AlertView>,
    /// What became of the last messages; empty before the first.
    pub receivers: Vec<ReceiverView>,
}

impl From<Outcome> for ReceiverView {
    fn from(Outcome { receiver, at, problem }: Outcome) -> Self {
        Self { receiver: receiver.to_owned(), at, problem }
    }
}
