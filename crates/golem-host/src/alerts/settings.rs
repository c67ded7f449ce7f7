//! Where alerts go, and when not.
//!
//! Owns these types. Where their texts come from, `crate::settings` knows.

use std::time::Duration;

use jiff::civil::Time;

/// How a webhook wants its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// JSON of our own, for scripts.
    Generic,
    /// ntfy: plain text, with a title and a priority.
    Ntfy,
    /// Slack, and what takes the same.
    Slack,
    /// Discord.
    Discord,
    /// A room of Matrix, by the client-server API.
    Matrix,
}

/// Somebody who is told by HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where. It may hold a secret: it is shown to nobody but the receiver.
    pub url: String,
    /// How.
    pub shape: Shape,
    /// The bearer token, where one is needed.
    pub token: Option<String>,
}

/// Somebody who is told by e-mail.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    /// `smtps://user:password@host:port` or `smtp://…`, which begins TLS by STARTTLS. It may hold a secret.
    pub server: String,
    /// The sender.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// Where alerts go, and how often.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AlertSettings {
    /// By HTTP.
    pub webhook: Option<Webhook>,
    /// By e-mail.
    pub email: Option<Email>,
    /// Hours in which only what is critical is told.
    pub quiet: Option<Quiet>,
    /// After which time what goes on is told again; `None`: never.
    pub repeat: Option<Duration>,
    /// Whether receivers may be at addresses that are not public: on this machine or in its networks.
    pub may_be_private: bool,
}

impl AlertSettings {
    /// Whether anybody is told at all.
    #[must_use]
    pub const fn is_anybody(&self) -> bool {
        self.webhook.is_some() || self.email.is_some()
    }
}

/// Hours of the day, by the clock of this machine; over midnight where the end is not after the begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// The first minute.
    pub from: Time,
    /// The minute after the last.
    pub to: Time,
}

impl Quiet {
    /// Whether `clock` is in these hours.
    #[must_use]
    pub fn contains(self, clock: Time) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&clock)
        } else {
            clock >= self.from || clock < self.to
        }
    }
}
