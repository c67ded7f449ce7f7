//! What an operator is told of without looking: by a webhook, or by e-mail.
//!
//! ```text
//!   what is off now ─► Watch (how long, told already, at night?) ─► Message ─► Delivery ─► webhook, e-mail
//! ```
//! Owns when something is told, how a message looks, and how it goes out. What is off, its caller knows. Never decides anything about a
//! rental, and never waits for a receiver where a caller waits.

mod delivery;
mod email;
mod message;
mod settings;
mod watch;
mod webhook;

pub use delivery::{Delivery, DeliveryError, Outcome};
pub use message::Message;
pub use settings::{AlertSettings, Email, Quiet, Shape, Webhook};
pub use watch::{Alert, News, Severity, Trouble, Watch};

#[cfg(test)]
mod tests;
