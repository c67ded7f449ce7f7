//! When a condition is told, and when its end is.
//!
//! ```text
//!   ─► pending ──held──► firing ──over for long enough──► remembered for a day ─► forgotten
//!        └─over─► forgotten        (told once, then every few hours)   └─again─► pending
//! ```
//! Owns the states, as a pure function of monotonic time. What comes and goes is told ever more rarely: with each time that it
//! fired within a day it must be over for twice as long. One message holds all that came within half a minute. Never reads
//! a clock, and never sends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::message::{Entry, Message};
use crate::quiet::QuietHours;
use crate::rule::{Condition, Rule, Severity};

/// How long news waits for more of the same burst.
pub const GROUP: Duration = Duration::from_secs(30);

/// Least time between two messages that tell of nothing critical.
pub const APART: Duration = Duration::from_secs(5 * 60);

/// Longest that something must be over before that is told.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// How long it is remembered that something fired.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// What was seen in one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What is wrong.
    pub conditions: Vec<Condition>,
    /// Rules of which nobody could tell now: what was said of them stands.
    pub unknown: BTreeSet<Rule>,
}

/// One alert, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listed {
    /// By which rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// `pending` until it has held for long enough, then `firing`.
    pub state: String,
    /// With what.
    pub subject: String,
    /// What.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Whether it was told.
    pub told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Pending { since: Duration },
    Firing { over_since: Option<Duration> },
    Over { since: Duration },
}

/// Something that is not told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owed {
    since: Duration,
    resolved: bool,
}

#[derive(Debug)]
struct Alert {
    condition: Condition,
    since: Timestamp,
    level: Level,
    /// How often it fired since it was last forgotten.
    fired: u32,
    /// When people were told last that it fires; `None` once its end was.
    told: Option<Duration>,
    owed: Option<Owed>,
}

/// All alerts of a node.
#[derive(Debug)]
pub struct Engine {
    node: String,
    repeat: Option<Duration>,
    quiet: Option<QuietHours>,
    alerts: BTreeMap<(Rule, String), Alert>,
    last: Option<Duration>,
}

impl Engine {
    /// Without alerts. What is still wrong is told again every `repeat_hours`; 0 means never.
    #[must_use]
    pub fn new(node: String, repeat_hours: u32, quiet: Option<QuietHours>) -> Self {
        let repeat = (repeat_hours > 0).then(|| Duration::from_secs(u64::from(repeat_hours) * 3600));
        Self { node, repeat, quiet, alerts: BTreeMap::new(), last: None }
    }

    /// Takes what is seen at `now`, monotonic time since any start, which the clock calls `at` and people here `local`.
    /// What is to be told now, if anything.
    pub fn look(
        &mut self,
        now: Duration,
        (at, local): (Timestamp, jiff::civil::Time),
        seen: Seen,
    ) -> Option<Message> {
        let mut present = BTreeSet::new();
        for condition in seen.conditions {
            let key = (condition.rule, condition.subject.clone());
            present.insert(key.clone());
            let fresh = || Alert {
                condition: condition.clone(),
                since: at,
                level: Level::Pending { since: now },
                fired: 0,
                told: None,
                owed: None,
            };
            let alert = self.alerts.entry(key).or_insert_with(fresh);
            alert.condition = condition;
            alert.is_there(now, at, self.repeat);
        }
        self.alerts.retain(|key, alert| {
            present.contains(key) || seen.unknown.contains(&key.0) || alert.is_not_there(now)
        });
        self.message(now, at, local)
    }

    /// What pends and fires, the worst first.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let listed = |alert: &Alert| {
            let state = match alert.level {
                Level::Pending { .. } => "pending",
                Level::Firing { .. } => "firing",
                Level::Over { .. } => return None,
            };
            let Entry { rule, severity, subject, text, fix, since, .. } =
                Entry::of(&alert.condition, false, alert.since);
            let told = alert.told.is_some();
            Some(Listed { rule, severity, state: state.to_owned(), subject, text, fix, since, told })
        };
        let mut list: Vec<Listed> = self.alerts.values().filter_map(listed).collect();
        list.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
        list
    }

    fn message(&mut self, now: Duration, at: Timestamp, local: jiff::civil::Time) -> Option<Message> {
        let is_quiet = self.quiet.is_some_and(|quiet| quiet.contain(local));
        let may = |alert: &Alert| {
            // It may be about to fire again: then nothing was over.
            let is_back = matches!(alert.level, Level::Pending { .. });
            !is_back && (!is_quiet || alert.severity() == Severity::Critical)
        };
        let waited = |alert: &&Alert| alert.owed.is_some_and(|owed| now.saturating_sub(owed.since) >= GROUP);
        let ready: Vec<&Alert> = self.alerts.values().filter(|alert| may(alert)).filter(waited).collect();
        let urgent = ready.iter().any(|alert| alert.severity() == Severity::Critical);
        let is_apart = self.last.is_none_or(|last| now.saturating_sub(last) >= APART);
        if ready.is_empty() || !(urgent || is_apart) {
            return None;
        }
        let mut entries = Vec::new();
        for alert in self.alerts.values_mut().filter(|alert| may(alert)) {
            let Some(Owed { resolved, .. }) = alert.owed.take() else { continue };
            alert.told = (!resolved).then_some(now);
            entries.push(Entry::of(&alert.condition, resolved, alert.since));
        }
        self.last = Some(now);
        Some(Message::of(&self.node, at, entries))
    }
}

impl Alert {
    const fn severity(&self) -> Severity {
        self.condition.rule.severity()
    }

    /// For how long it must be over before it is.
    fn clears_after(&self) -> Duration {
        let doublings = self.fired.saturating_sub(1).min(16);
        (self.condition.rule.hold() * (1 << doublings)).min(LONGEST)
    }

    fn is_there(&mut self, now: Duration, at: Timestamp, repeat: Option<Duration>) {
        match self.level {
            Level::Pending { since } => {
                if now.saturating_sub(since) >= self.condition.rule.hold() {
                    self.level = Level::Firing { over_since: None };
                    self.fired = self.fired.saturating_add(1);
                    // Whoever was not told yet that it was over still knows that it fires.
                    self.owed = self.told.is_none().then_some(Owed { since: now, resolved: false });
                }
            }
            Level::Firing { .. } => {
                self.level = Level::Firing { over_since: None };
                let again =
                    self.told.zip(repeat).is_some_and(|(told, repeat)| now.saturating_sub(told) >= repeat);
                if again && self.owed.is_none() {
                    self.owed = Some(Owed { since: now, resolved: false });
                }
            }
            Level::Over { .. } => {
                self.level = Level::Pending { since: now };
                self.since = at;
            }
        }
    }

    /// Whether it is still remembered.
    fn is_not_there(&mut self, now: Duration) -> bool {
        match self.level {
            Level::Pending { .. } if self.fired == 0 => return false,
            Level::Pending { .. } => self.level = Level::Over { since: now },
            Level::Firing { over_since } => {
                let since = over_since.unwrap_or(now);
                self.level = Level::Firing { over_since: Some(since) };
                if now.saturating_sub(since) >= self.clears_after() {
                    self.level = Level::Over { since: now };
                    // What nobody was told of needs no end.
                    self.owed = self.told.is_some().then_some(Owed { since: now, resolved: true });
                }
            }
            Level::Over { since } => {
                return self.owed.is_some() || now.saturating_sub(since) < REMEMBERED;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
