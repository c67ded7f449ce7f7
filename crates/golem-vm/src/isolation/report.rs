//! The report of all attempts, as JSON has it.
//!
//! Owns the report's form and what counts as failed.

use serde::Serialize;

use crate::NetworkState;

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptResult {
    /// It came through and must not.
    Reached,
    /// It should come through and does not.
    Fails,
    /// It could not be tried, or its refusal would show nothing.
    NotTried,
    /// It did not come through.
    Refused,
    /// It came through, as it should.
    Works,
}

/// One attempt.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptRow {
    /// The kind of thing that was tried.
    pub what: &'static str,
    /// Where to, and how.
    pub target: String,
    /// What should become of it: `refused` or `works`.
    pub wanted: &'static str,
    /// What became of it.
    #[serde(rename = "result")]
    pub verdict: AttemptResult,
    /// What the verdict rests on, or why there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub struct IsolationReport {
    /// Whether nothing was reached that must not be, and enough was tried to say so.
    pub isolated: bool,
    /// How many attempts ended so.
    pub reached: usize,
    pub refused: usize,
    pub not_tried: usize,
    pub works: usize,
    pub fails: usize,
    /// How the guest was connected, as `status` tells it of a rental; `None` if that was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Whether this host's network devices were watched meanwhile, which takes root.
    pub wire_watched: bool,
    /// Each attempt.
    pub attempts: Vec<AttemptRow>,
}

impl IsolationReport {
    /// Of `rows`. Where a program came to a trap on the loopback without the word of an attempt (`wordless`), that
    /// was the guest's forged greeting, because nobody else knows of it.
    pub(super) fn new(mut rows: Vec<AttemptRow>, wire_watched: bool, wordless: bool) -> Self {
        if wordless {
            for row in rows.iter_mut().filter(|row| row.target.starts_with("127.0.0.1 TCP")) {
                row.verdict = AttemptResult::Reached;
                "a connection arrived at a trap of this check".clone_into(&mut row.detail);
            }
        }
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        let (reached, refused) = (count(AttemptResult::Reached), count(AttemptResult::Refused));
        Self {
            // A guest that tried nothing has shown nothing.
            isolated: reached == 0 && refused > 0,
            reached,
            refused,
            not_tried: count(AttemptResult::NotTried),
            works: count(AttemptResult::Works),
            fails: count(AttemptResult::Fails),
            network: None,
            wire_watched,
            attempts: rows,
        }
    }

    /// The same, of a guest that was connected so.
    pub(super) fn connected(self, network: Option<NetworkState>) -> Self {
        let network = network.map(|state| match state {
            NetworkState::Own => "a network namespace of its own".to_owned(),
            NetworkState::Shared => "this host's own network namespace, behind its packet filter".to_owned(),
            NetworkState::Restricted { reason } => format!("no network but SSH in: {reason}"),
            NetworkState::Cut { reason } => format!("cut off: {reason}"),
        });
        Self { network, ..self }
    }
}
