//! A rental: what its renter wants it to be, where it stands, and how it changes.
//!
//! Owns the words between the ledger and those that change rentals. What may follow what, the ledger decides.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use golem_types::VmState;

use crate::vm::Vm;

/// What a rental should be; only its renter, the operator or the end of money changes it, and its guest by
/// shutting itself down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Running, for as long as it is rented.
    Running,
    /// Stopped, disk kept.
    Stopped,
    /// Gone.
    Deleted,
}

impl Goal {
    const ALL: [Self; 3] = [Self::Running, Self::Stopped, Self::Deleted];

    /// The goal as the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no goal.
#[derive(Debug, thiserror::Error)]
#[error("no goal is called {0:?}")]
pub struct UnknownGoal(String);

impl FromStr for Goal {
    type Err = UnknownGoal;

    fn from_str(text: &str) -> Result<Self, UnknownGoal> {
        Self::ALL.into_iter().find(|goal| goal.as_str() == text).ok_or_else(|| UnknownGoal(text.to_owned()))
    }
}

/// A row: the rental as the outside sees it, and what the node wants with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rental {
    /// The rental as the outside sees it.
    pub vm: Arc<Vm>,
    /// What its renter wants it to be.
    pub goal: Goal,
    /// Whether it ran once: from then on its disk is the renter's, and is never made anew.
    pub has_booted: bool,
}

impl Rental {
    /// What the machine should be: what its renter wants, as long as that is paid for and there is room.
    #[must_use]
    pub fn aim(&self) -> Goal {
        match self.goal {
            Goal::Running if self.vm.unpaid.is_some() || self.vm.held => Goal::Stopped,
            goal => goal,
        }
    }

    /// Whether its renter had it suspended: it needs neither CPU nor memory until it is resumed.
    #[must_use]
    pub fn is_set_aside(&self) -> bool {
        self.goal == Goal::Stopped && self.vm.suspends
    }

    /// Whether it is paid for again, and waits for CPU and memory.
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        self.vm.held && self.vm.unpaid.is_none() && self.goal != Goal::Deleted && !self.is_set_aside()
    }
}

/// What a machine's task reports of its rental.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The new state; `None` keeps it.
    pub state: Option<VmState>,
    /// The new error text; the outer `None` keeps it.
    pub error: Option<Option<String>>,
    /// The guest's address, once known.
    pub ip_address: Option<IpAddr>,
    /// Set with the first time that it runs: ends the job as ready.
    pub has_booted: bool,
}

impl Change {
    /// A move to `state`, without error.
    #[must_use]
    pub fn to(state: VmState) -> Self {
        Self { state: Some(state), error: Some(None), ..Self::default() }
    }

    /// A move to `error`, and why.
    #[must_use]
    pub fn error(reason: impl Into<String>) -> Self {
        Self { state: Some(VmState::Error), error: Some(Some(reason.into())), ..Self::default() }
    }
}

/// What the ledger knows of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A live rental.
    Live,
    /// A rental that ended: whatever is left of it is to be removed.
    Ended,
    /// Nothing. A machine with such an id is not ours to touch: the ledger may have been lost.
    Unknown,
}
