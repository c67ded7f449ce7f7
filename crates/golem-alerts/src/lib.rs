//! Who is told when something is wrong with a node.
//!
//! ```text
//!   conditions ─► engine (held? told already? quiet?) ─► message ─► courier ─┬─► webhook
//!                                                                           └─► mail
//! ```
//! Owns when a condition is told and when its end is ([`engine`]), for how long it must have held ([`rule`]), how a message
//! looks to each service ([`shape`]), and that it arrives or is given up ([`courier`]). Never looks at a node: who does
//! hands in conditions.

pub mod address;
pub mod courier;
pub mod engine;
pub mod mail;
pub mod message;
pub mod quiet;
pub mod rule;
pub mod shape;
pub mod webhook;

pub use courier::{Courier, Delivery};
pub use engine::{Engine, Listed, Seen};
pub use mail::{Mail, MailSecurity};
pub use message::{Entry, Message};
pub use quiet::QuietHours;
pub use rule::{Condition, Rule, Severity};
pub use shape::Shape;
pub use webhook::Webhook;

/// Whom to tell, and when.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What the node is called in messages.
    pub node: String,
    /// Where messages are posted.
    pub webhook: Option<Webhook>,
    /// To whom they are mailed.
    pub mail: Option<Mail>,
    /// Whether either may be in a private network or on this machine.
    pub allow_private: bool,
    /// Between two messages on what is still wrong, in hours; 0 tells it once.
    pub repeat_hours: u32,
    /// When only what is critical is told.
    pub quiet: Option<QuietHours>,
}

impl Config {
    /// Whether anybody is told.
    #[must_use]
    pub const fn tells(&self) -> bool {
        self.webhook.is_some() || self.mail.is_some()
    }
}
