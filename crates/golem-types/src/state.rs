//! The states of a rental, as existing clients know them, and the moves between them.
//!
//! ```text
//!    ┌───────────────────── start ──────────────────────┐
//!    ▼                                                  │
//!  creating ──► running ──► stopping ──► stopped ───────┤
//!    ▲             │           │                        │
//!    └── reboot ───┴── restart ┘                      error ◄── any of them, when it cannot run
//!
//!  deleted ◄── any of them
//! ```
//!
//! Owns which move is legal. Never makes one: the node's machine task does, in the ledger.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of a rental.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VmState {
    /// Reserved; the guest is being made or booted, for the first time or again.
    Creating,
    /// The guest answers on its SSH port, and the port is open.
    Running,
    /// The guest was asked to shut down.
    Stopping,
    /// No guest process; disk and port are kept.
    Stopped,
    /// The guest cannot run; the message says why. Disk and port are kept.
    Error,
    /// Gone. The row stays for the record; disk, port and capacity are free.
    Deleted,
}

impl VmState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Creating, Self::Running, Self::Stopping, Self::Stopped, Self::Error, Self::Deleted];

    /// The state as clients read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Deleted => "deleted",
        }
    }

    /// Whether a rental may go from `self` to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use VmState::{Creating, Deleted, Error, Running, Stopped, Stopping};
        match self {
            Creating => matches!(next, Running | Stopping | Stopped | Error | Deleted),
            Running => matches!(next, Creating | Stopping | Stopped | Error | Deleted),
            Stopping => matches!(next, Creating | Running | Stopped | Error | Deleted),
            Stopped => matches!(next, Creating | Running | Error | Deleted),
            Error => matches!(next, Creating | Running | Stopping | Stopped | Deleted),
            Deleted => false,
        }
    }

    /// Whether the rental holds capacity, a port and a disk.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Deleted)
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no VM state is called {0:?}")]
pub struct UnknownState(String);

impl FromStr for VmState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// A move that the drawing does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {from} VM cannot become {to}")]
pub struct IllegalMove {
    /// Where it stood.
    pub from: VmState,
    /// Where it should have gone.
    pub to: VmState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_deleted_and_everything_reaches_it() {
        for state in VmState::ALL {
            assert!(!VmState::Deleted.may_become(state));
            assert_eq!(state.may_become(VmState::Deleted), state.is_live());
            assert_eq!(state.as_str().parse::<VmState>().unwrap(), state);
        }
    }
}
