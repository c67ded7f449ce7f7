//! Renting, from the renter's side: a small client for scripts, demos and tests.
//!
//! ```text
//!   find ─► offer (quote, checked) ─► purse (record, send, follow) ─► create ─► running ─► ssh
//!                                           │                            │
//!                                           └──── refused, lost ─────────┴──► end: delete, terminate, refund
//! ```
//! Owns what a renter keeps (a file for each rental, written before anything that it tells of is done) and the
//! order of its steps, so that a crash between any two loses no money: the next command goes on, or undoes.
//! Believes no provider: who is paid, where, in what and how much is checked before a wei moves. Never
//! decides anything of a node, and never prints.

mod create;
mod end;
mod find;
mod keep;
mod offer;
mod provider;
mod purse;
mod rental;
mod store;

pub use create::{CreateError, Wanted, create};
pub use end::{EndError, Ended, end};
pub use find::{Found, Market, Search, address_of, find};
pub use keep::{Bounds, Kept, keep};
pub use offer::{Offer, OfferError};
pub use provider::{Provider, ProviderError, Seen};
pub use purse::{MoneyError, Purse, stream_of};
pub use rental::{Rental, Step};
pub use store::{Store, StoreError};

use std::time::Duration;

use golem_chain::Wallet;

/// Kills the process here, as `kill -9` would, when the failpoint is set to `return` (for crash tests).
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        if fail::eval($name, |_| ()).is_some() {
            std::process::abort();
        }
    };
}
pub(crate) use crash_point;

/// What a renter is told while something takes its time.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// A step is done.
    Step(&'a str),
    /// Something goes on for so long already.
    Waiting(&'a str, Duration),
}

/// What every step of renting knows.
pub struct Renter<'a> {
    /// What the renter keeps.
    pub store: &'a Store,
    /// Who pays.
    pub wallet: &'a Wallet,
    /// The endpoint that counts in place of the one that a rental remembers.
    pub rpc_url: Option<&'a str>,
    /// Who is told.
    pub tell: &'a dyn Fn(Told<'_>),
}

impl Renter<'_> {
    fn step(&self, text: &str) {
        (self.tell)(Told::Step(text));
    }
}
