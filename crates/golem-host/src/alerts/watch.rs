//! When something that is off is told.
//!
//! ```text
//!             off                 off for its hold              told
//!   (nothing) ───► Waiting since ──────────────────► Due ────────────────► Told at ──┐ every `repeat`
//!       ▲             │ well again                    │ well again            ▲  │   │
//!       └─────────────┘ ◄─────────────────────────────┘                       └──│───┘
//!       └──────────────────────── told, once it was well for its hold ◄──────────┘
//! ```
//! Owns that a level that flaps makes few messages, that what begins at once is told at once, and that the night is quiet. Pure: it
//! knows neither clocks nor receivers.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use serde::Serialize;

use super::settings::Quiet;

/// Shortest time between two messages: what happens meanwhile is one message.
const GAP: Duration = Duration::from_secs(60);

/// Most troubles that are followed, and most lines of a message: a host that loses its disk has one cause and a thousand VMs.
pub(super) const MOST: usize = 500;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Money or renters will be lost if nobody looks.
    Warning,
    /// A customer or money is being lost now. Told at night as well.
    Critical,
}

impl Severity {
    /// In a message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something that is off now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// How much it matters.
    pub severity: Severity,
    /// What it is, as a sentence without its full stop.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
    /// How long it has to last until it is told, and to be over until that is.
    pub hold: Duration,
}

/// One line of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What it is about: the same while it lasts.
    pub key: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// What is to be told now; all three may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    /// What began.
    pub begun: Vec<Alert>,
    /// What was told before and goes on.
    pub still: Vec<Alert>,
    /// What was told and is over.
    pub over: Vec<Alert>,
}

impl News {
    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.begun.is_empty() && self.still.is_empty() && self.over.is_empty()
    }
}

#[derive(Debug, Clone)]
struct Followed {
    trouble: Trouble,
    /// Since when it is off.
    since: Timestamp,
    /// Since when it is well again.
    well_since: Option<Timestamp>,
    /// When it was told last.
    told_at: Option<Timestamp>,
}

/// What is off, and what was told of it.
#[derive(Debug, Clone)]
pub struct Watch {
    repeat: Option<Duration>,
    quiet: Option<Quiet>,
    followed: BTreeMap<String, Followed>,
    last_message: Option<Timestamp>,
}

impl Watch {
    /// Nothing is known. What goes on is told again every `repeat`; in `quiet` hours only what is critical is told.
    #[must_use]
    pub const fn new(repeat: Option<Duration>, quiet: Option<Quiet>) -> Self {
        Self { repeat, quiet, followed: BTreeMap::new(), last_message: None }
    }

    /// What is to be told at `now`, when it is `clock` where the operator lives, and `troubles` are off.
    pub fn look(&mut self, troubles: BTreeMap<String, Trouble>, now: Timestamp, clock: Time) -> News {
        let passed = |since: Timestamp, time: Duration| passed(since, now) >= time;
        for (key, followed) in &mut self.followed {
            if !troubles.contains_key(key) && followed.well_since.is_none() {
                followed.well_since = Some(now);
            }
        }
        for (key, trouble) in troubles {
            if let Some(followed) = self.followed.get_mut(&key) {
                followed.well_since = None;
                followed.trouble = trouble;
            } else if self.followed.len() < MOST {
                let followed = Followed { trouble, since: now, well_since: None, told_at: None };
                self.followed.insert(key, followed);
            }
        }
        // What nobody was told of ends at once: it has to last from the beginning the next time.
        self.followed.retain(|_, followed| followed.well_since.is_none() || followed.told_at.is_some());
        let mut news = News::default();
        if self.last_message.is_some_and(|last| !passed(last, GAP)) {
            return news;
        }
        let is_quiet = self.quiet.is_some_and(|quiet| quiet.contains(clock));
        let mut over = Vec::new();
        for (key, followed) in &mut self.followed {
            let hold = followed.trouble.hold;
            let list = match (followed.told_at, followed.well_since) {
                (Some(_), Some(well)) if passed(well, hold) => {
                    over.push(key.clone());
                    &mut news.over
                }
                (None, None) if passed(followed.since, hold) => &mut news.begun,
                (Some(told), None) if self.repeat.is_some_and(|repeat| passed(told, repeat)) => {
                    &mut news.still
                }
                _ => continue,
            };
            if is_quiet && followed.trouble.severity < Severity::Critical {
                over.retain(|quiet| quiet != key);
                continue;
            }
            followed.told_at = Some(now);
            list.push(followed.alert(key));
        }
        self.followed.retain(|key, _| !over.contains(key));
        if !news.is_none() {
            self.last_message = Some(now);
        }
        news
    }

    /// What was told and goes on, with what waits until it has lasted.
    #[must_use]
    pub fn known(&self) -> Vec<(Alert, bool)> {
        let all = self.followed.iter();
        all.map(|(key, followed)| (followed.alert(key), followed.told_at.is_some())).collect()
    }
}

impl Followed {
    fn alert(&self, key: &str) -> Alert {
        let Trouble { severity, text, fix, .. } = self.trouble.clone();
        Alert { key: key.to_owned(), severity, text, fix, since: self.since }
    }
}

/// The time from `since` to `now`; none if a clock was set back.
fn passed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
