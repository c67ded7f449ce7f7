//! A disk of a VM as it was at one moment, and what it is called.
//!
//! Owns the words between renter, node and backend. Never makes one.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::text_conversions;

/// Why a snapshot's name was refused. The text is shown to the renter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be 1 to {} characters of a-z, 0-9 and hyphens, beginning and ending with a letter or digit",
    SnapshotName::MAXIMUM
)]
pub struct SnapshotNameError;

/// What a renter calls a snapshot: 1 to 40 characters of `a-z0-9-`, beginning and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 40, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Most characters, so that a name with a time in it fits a column.
    pub const MAXIMUM: usize = 40;

    /// The name of one that its renter does not name.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self(time.strftime("%Y%m%d-%H%M%S").to_string())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotName {
    type Err = SnapshotNameError;

    fn from_str(text: &str) -> Result<Self, SnapshotNameError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = (1..=Self::MAXIMUM).contains(&text.len())
            && text.bytes().all(|byte| is_plain(byte) || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits { Ok(Self(text.to_owned())) } else { Err(SnapshotNameError) }
    }
}

text_conversions!(SnapshotName: SnapshotNameError);

/// What may be expected of a snapshot's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotConsistency {
    /// The VM was shut down.
    Stopped,
    /// The VM ran, and its guest agent held every file system still.
    FileSystem,
    /// The VM ran, and its disk is as after a power cut: no agent answered.
    PowerCut,
}

/// Where a snapshot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Being made.
    Creating,
    /// There.
    Ready,
    /// The VM's disk becomes what it was.
    Restoring,
    /// Being deleted.
    Deleting,
    /// It could not be made: nothing is there.
    Failed,
}

/// A snapshot of a VM's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSnapshot {
    /// What its renter calls it; one of a VM's at most has the name.
    pub name: SnapshotName,
    /// Where it stands.
    pub state: SnapshotState,
    /// What may be expected of its files, once it is there.
    pub consistency: Option<SnapshotConsistency>,
    /// Why the last that was asked of it was not done.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl DiskSnapshot {
    /// One that is to be made.
    #[must_use]
    pub const fn wanted(name: SnapshotName, now: Timestamp) -> Self {
        Self { name, state: SnapshotState::Creating, consistency: None, error: None, created_at: now }
    }

    /// Whether something is to be done with it.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        matches!(self.state, SnapshotState::Creating | SnapshotState::Restoring | SnapshotState::Deleting)
    }

    /// Whether it takes room on the disk, or may: as much as the VM's disk at most.
    #[must_use]
    pub const fn takes_room(&self) -> bool {
        !matches!(self.state, SnapshotState::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "1", "before-upgrade", &"a".repeat(40)] {
            assert_eq!(good.parse::<SnapshotName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "..", "a\n", "ä", &"a".repeat(41)] {
            assert_eq!(bad.parse::<SnapshotName>(), Err(SnapshotNameError), "{bad:?}");
        }
        let at = SnapshotName::at("2025-02-19T13:04:24Z".parse().unwrap());
        assert_eq!(at.as_str(), "20250219-130424");
        assert!(at.as_str().parse::<SnapshotName>().is_ok());
    }
}
