//! How a VM stands, as clients read it.
//!
//! Owns the words. A rental's state, which says what may follow, is [`VmState`].

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::VmState;

/// How a VM stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VmStatus {
    /// Reserved; it is being made, or boots, or goes on after it was suspended.
    Creating,
    /// It answers on its SSH port.
    Running,
    /// It shuts down.
    Stopping,
    /// It does not run; its disk is kept.
    Stopped,
    /// Its memory is being written to disk.
    Suspending,
    /// It does not run; its disk and its memory are kept.
    Suspended,
    /// It cannot run.
    Error,
    /// Gone.
    Deleted,
    /// What only other providers say.
    #[serde(other)]
    Unknown,
}

impl VmStatus {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Suspending => "suspending",
            Self::Suspended => "suspended",
            Self::Error => "error",
            Self::Deleted => "deleted",
            Self::Unknown => "unknown",
        }
    }
}

impl From<VmState> for VmStatus {
    fn from(state: VmState) -> Self {
        match state {
            VmState::Creating => Self::Creating,
            VmState::Running => Self::Running,
            VmState::Stopping => Self::Stopping,
            VmState::Stopped => Self::Stopped,
            VmState::Error => Self::Error,
            VmState::Deleted => Self::Deleted,
        }
    }
}

impl fmt::Display for VmStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_by_their_own_words_and_what_others_say_is_read() {
        for state in VmState::ALL {
            assert_eq!(VmStatus::from(state).as_str(), state.as_str());
        }
        for word in
            ["creating", "running", "stopping", "stopped", "suspending", "suspended", "error", "deleted"]
        {
            let status: VmStatus = serde_json::from_value(word.into()).unwrap();
            assert_eq!((status.as_str(), serde_json::to_value(status).unwrap()), (word, word.into()));
        }
        // Of other providers.
        for word in ["restarting", "delayed_shutdown", "terminated", "unknown", ""] {
            assert_eq!(serde_json::from_value::<VmStatus>(word.into()).unwrap(), VmStatus::Unknown);
        }
    }
}
