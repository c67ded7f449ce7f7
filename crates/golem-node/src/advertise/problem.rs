//! What can be in the way of an advert, in the operator's words.

use alloy_primitives::B256;
use golem_chain::{ChainError, SendError};
use golem_market::arkiv::AdvertError;
use jiff::Timestamp;

use crate::ledger::LedgerError;

/// What is in the way.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdvertProblem {
    /// The network cannot be asked.
    #[error("the market's network cannot be asked")]
    Chain(#[from] ChainError),
    /// A transaction cannot be sent.
    #[error("the advert cannot be written")]
    Send(#[source] SendError),
    /// What should be said cannot be.
    #[error("the advert cannot be made")]
    Advert(#[from] AdvertError),
    /// The endpoint has not seen what was written.
    #[error("the market's endpoint is at block {seen}, behind block {written} in which this node wrote")]
    Behind {
        /// The endpoint's block.
        seen: u64,
        /// The block of the last write.
        written: u64,
    },
    /// An earlier transaction waits.
    #[error("an earlier transaction of this wallet still waits for a block")]
    Waiting,
    /// It cannot be sent yet.
    #[error("the advert is not yet written: {0}")]
    Held(String),
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// It was in a block, and did nothing.
    #[error("the network refused the transaction {0}, for which gas was paid")]
    Refused(B256),
    /// Something is wrong when so much is written.
    #[error("{0} transactions within an hour are too many; the endpoint may be lying")]
    TooMany(usize),
    /// After several writes there is still something to write.
    #[error("the network does not show what was written to it")]
    Unsettled,
}

impl From<SendError> for AdvertProblem {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Chain(error) => Self::Chain(error),
            error => Self::Send(error),
        }
    }
}

impl AdvertProblem {
    /// What is wrong on `network`, what it costs, and what mends it. Causes are left out: they can hold the
    /// endpoint's address, and that a secret.
    pub(super) fn describe(&self, network: &str, lapses: Option<Timestamp>) -> String {
        let cost = match lapses {
            Some(lapses) => {
                format!(
                    "renters go on reading an earlier advert, until about {}",
                    lapses.strftime("%F %R UTC")
                )
            }
            None => "new renters do not find this node".to_owned(),
        };
        let fix = match self {
            Self::Send(SendError::NoFunds { .. }) => "; fix: send gas to the node's wallet",
            Self::Chain(ChainError::WrongChain { .. }) => "; fix: name an endpoint of the right network",
            Self::Chain(ChainError::NoAnswer(_) | ChainError::Status(_)) => {
                "; fix: choose another market with GOLEM_PROVIDER_ADVERTISERS or GOLEM_PROVIDER_GOLEM_BASE_NETWORK, or an \
                 endpoint that answers with GOLEM_PROVIDER_GOLEM_BASE_RPC_URL"
            }
            Self::Advert(_) => "; fix: correct the setting",
            _ => "",
        };
        let what = match self {
            Self::Chain(cause @ (ChainError::NoAnswer(_) | ChainError::Status(_))) => {
                format!("the market {network} is gone, or cannot be reached: {cause}")
            }
            Self::Chain(cause) => format!("the market's network: {cause}"),
            Self::Send(cause) => format!("{self}: {cause}"),
            Self::Advert(cause) => format!("{self}: {cause}"),
            _ => self.to_string(),
        };
        format!("{what}; {cost}; rentals go on, and it is tried again{fix}")
    }
}
