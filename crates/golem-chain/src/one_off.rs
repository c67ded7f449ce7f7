//! A transaction that nobody has to remember: what it does shows on the chain, and a crash costs its gas at most.
//!
//! Owns sending it once and waiting until it is in a block. Its fee is never raised. Never decides that it is worth sending.

use std::time::Duration;

use alloy_primitives::B256;

use crate::pursuit::{Attempt, Fate, LOST_AFTER, Limits, Pursuit, Unrecorded};
use crate::rpc::ChainError;
use crate::sender::{Plan, Receipt, SendError, Sender};

/// How long it is waited for. Of what fails, a few answers may be lost on the way.
const LIMITS: Limits = Limits {
    poll: Duration::from_millis(100),
    stuck: Duration::MAX,
    attempts: 1,
    deadline: Duration::from_secs(300),
    failures: 10,
    lost: LOST_AFTER,
};

/// Why it did nothing, or is not known to have done it.
#[derive(Debug, thiserror::Error)]
pub enum OneOffError {
    /// It cannot be made, or the chain's node does not take it.
    #[error("the transaction cannot be sent")]
    Send(#[from] SendError),
    /// The contract refused it.
    #[error("transaction {0} failed: the chain refused it")]
    Failed(B256),
    /// Another transaction took its number.
    #[error("another transaction of the wallet took the number of {0}; is the key used elsewhere?")]
    Lost(B256),
    /// It may still be mined.
    #[error("transaction {0} was sent and is in no block yet; fix: look for it before you try again")]
    UnderWay(B256, #[source] Option<ChainError>),
}

/// Sends what `plan` says, and waits for its receipt. `signed` is told its hash before it is sent.
///
/// # Errors
/// [`OneOffError`].
pub async fn carry_out(
    sender: &Sender,
    plan: Plan,
    signed: impl FnOnce(B256),
) -> Result<Receipt, OneOffError> {
    let transaction = sender.sign(&plan)?;
    let hash = transaction.hash;
    signed(hash);
    let sent = sender.send(&transaction.raw).await;
    let pursuit = Pursuit::new(vec![Attempt { transaction: plan.transaction, signed: transaction }], LIMITS);
    let pursuit = match sent {
        Ok(()) => pursuit.sent(),
        // It may have been taken, though the answer is lost: it is followed, and sent again.
        Err(SendError::Chain(_)) => pursuit,
        Err(error) => return Err(error.into()),
    };
    match pursuit.follow(sender, &mut Unrecorded).await? {
        Fate::Mined(receipt) if receipt.succeeded => Ok(receipt),
        Fate::Mined(_) => Err(OneOffError::Failed(hash)),
        Fate::Lost => Err(OneOffError::Lost(hash)),
        Fate::UnderWay(problem) => Err(OneOffError::UnderWay(hash, problem)),
    }
}
