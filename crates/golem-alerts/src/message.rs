//! One message: everything of a burst, cleaned.
//!
//! Owns its text, how much of it there is at most, and that nothing in it is another's control character. Never knows how
//! a service wants it: [`crate::shape`] does.

use golem_types::visible::line_of;
use jiff::Timestamp;
use serde::Serialize;

use crate::rule::{Condition, Rule, Severity};

/// Most conditions that a message tells one by one.
const ENTRIES: usize = 10;

/// Most characters of one text.
const CHARACTERS: usize = 300;

/// One condition in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// By which rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it is over.
    pub resolved: bool,
    /// With what.
    pub subject: String,
    /// What.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

impl Entry {
    /// `condition`, cleaned.
    #[must_use]
    pub fn of(condition: &Condition, resolved: bool, since: Timestamp) -> Self {
        let Condition { rule, subject, text, fix } = condition;
        Self {
            rule: *rule,
            severity: rule.severity(),
            resolved,
            subject: line_of(subject, CHARACTERS),
            text: line_of(text, CHARACTERS),
            fix: fix.as_ref().filter(|_| !resolved).map(|fix| line_of(fix, CHARACTERS)),
            since,
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same for every try to deliver it, and no other message's.
    pub id: String,
    /// The node's name.
    pub node: String,
    /// When it was written.
    pub at: Timestamp,
    /// The worst first; at most ten.
    pub entries: Vec<Entry>,
    /// How many more there are.
    pub more: usize,
    /// The worst that is told of, among what is left out as well.
    pub severity: Severity,
    /// Whether all that it tells is over.
    pub resolved: bool,
}

impl Message {
    /// A message of `entries`.
    #[must_use]
    pub fn of(node: &str, at: Timestamp, mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| (a.resolved, b.severity, a.rule).cmp(&(b.resolved, a.severity, b.rule)));
        let resolved = entries.iter().all(|entry| entry.resolved);
        let open = entries.iter().filter(|entry| !entry.resolved).map(|entry| entry.severity).max();
        let more = entries.len().saturating_sub(ENTRIES);
        entries.truncate(ENTRIES);
        Self {
            id: format!("golem-{}", at.as_nanosecond()),
            node: line_of(node, CHARACTERS),
            at,
            entries,
            more,
            severity: open.unwrap_or(Severity::Info),
            resolved,
        }
    }

    /// A message by which an operator sees that messages arrive.
    #[must_use]
    pub fn test(node: &str, at: Timestamp) -> Self {
        let condition = Condition {
            rule: Rule::UpdateThere,
            subject: "test".to_owned(),
            text: "This is a test: alerts of this node arrive here".to_owned(),
            fix: None,
        };
        Self::of(node, at, vec![Entry::of(&condition, false, at)])
    }

    /// Its first line.
    #[must_use]
    pub fn title(&self) -> String {
        let count = self.entries.len() + self.more;
        let what = match (self.resolved, count) {
            (true, 1) => "resolved".to_owned(),
            (true, many) => format!("{many} resolved"),
            (false, 1) => self.severity.as_str().to_owned(),
            (false, many) => format!("{many} changes, {}", self.severity.as_str()),
        };
        format!("{}: {what}", self.node)
    }

    /// The rest, a line for each condition, every text of others written by `escaped`.
    #[must_use]
    pub fn body(&self, escaped: impl Fn(&str) -> String) -> String {
        let line = |entry: &Entry| {
            let mark = if entry.resolved { "Resolved: " } else { "" };
            let fix = entry.fix.as_ref().map_or_else(String::new, |fix| format!("; fix: {fix}"));
            format!("{mark}{}", escaped(&format!("{}{fix}", entry.text)))
        };
        let mut lines: Vec<String> = self.entries.iter().map(line).collect();
        if self.more > 0 {
            lines.push(format!("And {} more: `golem-provider alerts list`", self.more));
        }
        lines.join("\n")
    }
}
