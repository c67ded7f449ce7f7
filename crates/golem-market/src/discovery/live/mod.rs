//! Adverts that are shown as long as their provider is connected: the protocol `central-discovery.ws.v1`.
//!
//! ```text
//!   provider  ─► hello ◄── authenticate (signed) ─► authenticated ◄── advertisement.upsert ─► accepted
//!   requestor ─► subscribe (filters) ◄── snapshot, provider.upsert, provider.remove …
//! ```
//! Owns the words of both ends, the clients, and the directory of a server. The server's sockets stand with its other
//! routes, and when something is advertised `golem-node` decides.

pub mod advert;
pub mod directory;
pub mod provider;
pub mod requestor;
pub mod words;

use std::time::Duration;

/// How often an end asks the other for a sign of life.
pub(in crate::discovery) const PING: Duration = Duration::from_secs(30);

/// How long an end may be silent: two pings and some.
pub(in crate::discovery) const SILENCE: Duration = Duration::from_secs(75);

/// What a message costs of a socket's rate: twelve may come at once, and then one every five seconds: each is told to every
/// renter who looks on. A node says a little less.
pub(in crate::discovery) const MESSAGE: f64 = 5.0;

/// What a subscription costs, which is answered with all that there is.
pub(in crate::discovery) const SUBSCRIPTION: f64 = 20.0;
