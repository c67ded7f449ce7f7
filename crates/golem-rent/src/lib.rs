//! Renting, from the renter's side: a small client for scripts, demos and tests.
//!
//! ```text
//!   find ─► offer (quote or lease, checked) ─► payments (record, send, follow) ─► create ─► running ─► ssh
//!                                                  │                               │
//!                                                  └──── refused, lost ────────────┴──► destroy: delete, terminate, refund
//! ```
//! Owns the renter's records (a file for each rental, written before each step is taken) and the
//! order of its steps, so that a crash between any two loses no money: the next command goes on, or undoes.
//! Trusts no provider: who is paid, where, in what and how much is checked before a wei moves. Never
//! runs any part of a node, and never prints.

mod agree;
mod ask_offer;
pub mod balance;
mod coins;
mod console;
mod create;
mod create_error;
mod destroy;
mod find;
pub mod hook;
mod lease;
mod login_key;
mod offer;
mod payment_error;
mod payments;
mod provider;
mod rental;
mod seeing;
mod session;
mod shown;
mod snapshots;
mod store;
mod top_up;
mod use_vm;
pub mod view;

pub use agree::{Proposal, RentRequest};
pub use ask_offer::quote;
pub use console::{Console, ConsoleError, FromConsole, open_console};
pub use create::create;
pub use create_error::CreateError;
pub use destroy::{DestroyError, Destroyed, destroy};
pub use find::{Found, Listing, Market, Search, find, median_price, named};
pub use login_key::login_key;
pub use offer::{Offer, OfferError, Paying};
pub use payment_error::{PaymentError, TooFew};
pub use payments::Payments;
pub use provider::{Provider, ProviderError, VmStanding};
pub use rental::{Rental, RentalStep};
pub use seeing::{Stats, events, stats};
pub use snapshots::{SnapshotView, create_snapshot, delete_snapshot, restore_snapshot, snapshots};
pub use store::{Store, StoreError};
pub use top_up::{KeepEnd, Short, ShortReason, TopUpLimits, keep, top_up};
pub use use_vm::{UseError, order, reachable, rebuild};

use std::time::Duration;

use golem_types::Wallet;

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

/// Progress of a command, for whoever waits for it.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step is done.
    Step(&'a str),
    /// What is waited for, and for how long already.
    Waiting(&'a str, Duration),
}

/// The renter: records, wallet and progress reports, as every step needs them.
pub struct Renter<'a> {
    /// The renter's records.
    pub store: &'a Store,
    /// The wallet that pays.
    pub wallet: &'a Wallet,
    /// The endpoint that counts in place of the one that a rental remembers.
    pub rpc_url: Option<&'a str>,
    /// Called with the progress.
    pub tell: &'a dyn Fn(Event<'_>),
}

impl Renter<'_> {
    fn step(&self, text: &str) {
        (self.tell)(Event::Step(text));
    }
}
