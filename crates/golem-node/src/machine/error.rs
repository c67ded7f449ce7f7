//! Why a step of a machine's task did not come to its end.
//!
//! Owns what of that a renter may read, and what may pass by itself.

use std::time::Duration;

use golem_vm::BackendError;

use crate::ledger::LedgerError;
use crate::proxy::ProxyError;

/// Why a step ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("the guest did not answer on its SSH port within {} s", .0.as_secs())]
    NotReady(Duration),
    #[error("the SSH port could not be opened")]
    Port(#[from] ProxyError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    #[error("something else is wanted now")]
    Overtaken,
}

impl StepError {
    /// What the renter may read.
    pub(super) fn public(&self) -> String {
        match self {
            Self::Backend(BackendError::Failed { step, message, .. }) => format!("{step}: {message}"),
            Self::Backend(BackendError::Unavailable { .. }) => "the VM backend does not answer".to_owned(),
            Self::Backend(BackendError::NoSuchMachine(_)) => {
                "the machine's disk is missing on this host".to_owned()
            }
            Self::Backend(error @ BackendError::NoSuchImage(_)) => error.to_string(),
            Self::NotReady(_) | Self::Port(_) | Self::Overtaken => self.to_string(),
            Self::Ledger(error) => error.disk_trouble().unwrap_or("the provider failed").to_owned(),
        }
    }

    /// Whether trying again may help a create.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Backend(BackendError::Unavailable { .. }) | Self::Ledger(_))
    }
}
