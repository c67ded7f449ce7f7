//! Adverts on a discovery server, as the original's servers and clients know them.
//!
//! ```text
//!   node ─► advert ─► client (signs) ─── HTTP ───► server ─► parse, identity ─► store
//!   renter ◄──────── list ◄───────────── HTTP ──────────────────────────────────┘
//!   live:  provider, requestor ──── WebSocket ───► server ─► live::directory, in memory
//! ```
//! Owns both ends: what an advert says, what a signature proves, the client, and the server with its database. Never
//! decides when something is advertised (`golem-node` does).

pub mod advert;
pub mod client;
pub mod identity;
pub mod live;
mod order;
pub mod server;
pub mod store;

pub use advert::{AdvertMistake, PostedAdvert, parse};
pub use client::{Client, DiscoveryError, Listed};
pub use identity::{Claim, NoId, ProviderId};
pub use order::Cursor;
pub use store::{AdvertRow, Filter, Page, Store, StoreError};

/// How long an advert is shown after it was posted, in seconds: the published server's.
pub const LIFETIME_SECONDS: i64 = 300;
