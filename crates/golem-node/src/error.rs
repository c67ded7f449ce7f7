//! Why the node did not do what was asked.
//!
//! Owns the one error between the node and its edges. Its texts are shown to renters; causes go to the log.

use golem_chain::ChainError;
use golem_types::{VmState, VmStatus};
use golem_vm::BackendError;

use crate::ledger::LedgerError;
use crate::vm::Refusal;

/// Why the node could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A create was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No live VM is known by that id (or name, where names may be used).
    #[error("VM {0} not found")]
    NotFound(String),
    /// The VM is in a state in which this cannot be done.
    #[error("VM is {state}: cannot {action} it now")]
    WrongState {
        /// Where it stands.
        state: VmState,
        /// "start", "stop", …
        action: &'static str,
    },
    /// The backend failed or does not answer.
    #[error("the VM backend failed")]
    Backend(#[from] BackendError),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// The chain could not be asked about the stream: nothing is known against it.
    #[error("the payment chain cannot be asked now; try again later")]
    ChainUnknown(#[source] ChainError),
    /// What was asked of a snapshot was not done.
    #[error("{0}; the VM's disk is as it was")]
    Snapshot(String),
    /// The VM is suspended, and what is in its memory would be lost.
    #[error("VM is {status}: cannot {action} it now; resume it first")]
    Suspended {
        /// Suspended or suspending.
        status: VmStatus,
        /// "stop", "restart", …
        action: &'static str,
    },
    /// The memory of a VM's guest was not kept.
    #[error("the VM could not be suspended, and goes on; its events tell why")]
    NotSuspended,
    /// The rental is not paid for.
    #[error("VM is stopped: {0}; top up its stream, or attach another one, and it starts again")]
    Unpaid(String),
    /// The rental is paid for, and the CPU and memory that it gave back are with others now.
    #[error("{0}; the VM is paid for, and starts by itself as soon as there is room")]
    NoRoom(#[source] Refusal),
    /// Payments are off.
    #[error("streaming payments not enabled on this provider")]
    PaymentsOff,
    /// The rental is paid in a contract that no profile names.
    #[error("the VM is paid in the contract {0}, which this node has no network profile of")]
    UnknownContract(String),
    /// No price is known, so none can be promised, and nothing is rented.
    #[error(
        "this provider knows no price in the money of its streams, and rents out nothing until it does; try again later \
         (its operator: golem-provider status)"
    )]
    NoPrice,
    /// No whole number of the token's smallest units a second is near the price.
    #[error(
        "the token of this provider's streams is too coarse for the price of this VM; ask for a larger one"
    )]
    Coarse,
    /// The token has not the digits that the profile says.
    #[error(
        "this provider's payment token has {found} digits after the point, and its network profile says {expected}; \
         nothing is rented until its operator sets token_decimals there"
    )]
    TokenDigits {
        /// What the token says.
        found: u8,
        /// What the profile says.
        expected: u8,
    },
    /// A promise could not be signed.
    #[error("a quote cannot be signed")]
    Unsigned,
    /// No VM's console can be opened here.
    #[error("this provider offers no console: {0}")]
    NoConsole(&'static str),
    /// As many consoles are open as may be.
    #[error("too many consoles are open on this provider; try again later")]
    TooManyConsoles,
    /// The VM has no stream.
    #[error("no stream mapped for this VM")]
    NoStream,
    /// The node is stopping.
    #[error("the provider is shutting down")]
    ShuttingDown,
}
