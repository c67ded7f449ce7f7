//! Why a create gives no VM.
//!
//! Owns the words. Has no behaviour.

use golem_types::VmName;

use super::destroy::{DestroyError, Destroyed};
use super::offer::OfferError;
use super::payment_error::PaymentError;
use super::provider::ProviderError;
use super::store::StoreError;

/// Why there is no VM.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is taken.
    #[error(
        "you rent a VM called {0} already; fix: choose another name, or see `golem-provider rent show {0}`"
    )]
    Exists(VmName),
    /// An earlier create of the name waits to be finished, and it was another one.
    #[error(
        "an earlier create of {0} was cut off after its stream was opened, for another size or provider; fix: `golem-provider \
         rent destroy {0}` gets the money back"
    )]
    Unfinished(VmName),
    /// The provider gives no quote.
    #[error("no quote")]
    Quote(#[source] ProviderError),
    /// The provider's address is not a URL.
    #[error(transparent)]
    Provider(ProviderError),
    /// The renter does not want it at this price.
    #[error("{0}; nothing was paid")]
    Declined(String),
    /// The quote expired while it was thought about, and the next one is dearer.
    #[error(
        "the provider asks for more now than when you agreed; nothing was paid; fix: run the command again"
    )]
    Dearer,
    /// The provider lets nobody in, so that no VM could be asked for.
    #[error("the provider opens no session for your wallet; nothing was paid")]
    Session(#[source] ProviderError),
    /// The quote is not acceptable.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The wallet could not pay it; nothing was sent.
    #[error("nothing was paid")]
    Unpaid(#[source] PaymentError),
    /// It could not be paid.
    #[error(transparent)]
    Money(#[from] PaymentError),
    /// The renter's folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It failed, and nothing of it is left.
    #[error("{why}; {}", .ended.summary())]
    Undone {
        /// Why it failed.
        why: String,
        /// What came back.
        ended: Box<Destroyed>,
    },
    /// It failed, and something of it may be left.
    #[error("{why}; and it could not be undone")]
    Left {
        /// Why it failed.
        why: String,
        /// Why it was not undone.
        #[source]
        source: DestroyError,
    },
    /// What an earlier run left could not be undone.
    #[error("what an earlier create left could not be undone")]
    Earlier(#[source] DestroyError),
    /// Another command destroyed it.
    #[error("{0} was destroyed meanwhile")]
    Destroyed(VmName),
    /// The VM did not run in time; it may still come up.
    #[error(
        "{0} does not run yet; it is rented: see `golem-provider rent show {0}`, or `golem-provider rent destroy {0}`"
    )]
    Late(VmName),
}
