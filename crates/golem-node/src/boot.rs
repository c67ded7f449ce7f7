//! How far a boot came, and what is kept of one that failed.
//!
//! ```text
//!   reserved ─► disk ─► launch ─► boot ─► port ─► running
//! ```
//! A node that was killed on the way takes the same steps again. Owns these words. They are said by a rental's
//! task and kept by the ledger.

use std::fmt;
use std::str::FromStr;

use golem_types::{JobId, VmId, VmName};
use jiff::Timestamp;

/// A step on the way to a guest that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Taken into the ledger; nothing is made yet.
    Reserved,
    /// Its disk is being made.
    Disk,
    /// Its process is being launched.
    Launch,
    /// The guest boots; its SSH server is waited for.
    Boot,
    /// Its port is being opened.
    Port,
    /// It runs.
    Running,
}

impl Stage {
    const ALL: [Self; 6] = [Self::Reserved, Self::Disk, Self::Launch, Self::Boot, Self::Port, Self::Running];

    /// The stage as clients and the ledger write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Disk => "disk",
            Self::Launch => "launch",
            Self::Boot => "boot",
            Self::Port => "port",
            Self::Running => "running",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no stage.
#[derive(Debug, thiserror::Error)]
#[error("no stage is called {0:?}")]
pub struct UnknownStage(String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| UnknownStage(text.to_owned()))
    }
}

/// That a stage was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub stage: Stage,
    /// When.
    pub at: Timestamp,
}

/// Most stages that are kept of one boot; a node that is killed again and again repeats them.
pub const STAGES: usize = 64;

/// Adds that `stage` was reached at `at`, and lets the oldest go where there are too many.
pub fn reach(stages: &mut Vec<Reached>, stage: Stage, at: Timestamp) {
    stages.push(Reached { stage, at });
    let over = stages.len().saturating_sub(STAGES);
    stages.drain(..over);
}

/// The stages of the last boot among those that are told, oldest first; where none is known to have begun, nothing.
pub(crate) fn last_boot(told: impl Iterator<Item = Reached>) -> Vec<Reached> {
    let mut stages: Vec<Reached> = Vec::new();
    for reached in told {
        let last = stages.last().map(|last| last.stage);
        let goes_on = match reached.stage {
            Stage::Reserved => false,
            Stage::Disk => last == Some(Stage::Reserved),
            Stage::Launch => matches!(last, Some(Stage::Reserved | Stage::Disk)),
            // It runs again after an error without a boot, or its beginning is not known.
            Stage::Boot | Stage::Port | Stage::Running if matches!(last, None | Some(Stage::Running)) => {
                continue;
            }
            Stage::Boot | Stage::Port | Stage::Running => true,
        };
        if !goes_on {
            stages.clear();
        }
        stages.push(reached);
    }
    stages
}

/// Most bytes of the console that are kept of a failed boot: its end.
pub const CONSOLE_BYTES: usize = 65_536;

/// Most bytes that are kept of what the backend's process said: its end.
pub const PROCESS_LOG_BYTES: usize = 16_384;

/// Most failed boots that are kept, the newest.
pub const KEPT: u32 = 100;

/// What is left of a boot that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedBoot {
    /// The VM.
    pub vm_id: VmId,
    /// What its renter calls it.
    pub name: VmName,
    /// The job of its create, where that is known.
    pub job_id: Option<JobId>,
    /// When it failed.
    pub at: Timestamp,
    /// Why, as its renter reads it.
    pub reason: String,
    /// Why, with every cause, for the operator alone.
    pub cause: String,
    /// The stages that were reached, oldest first.
    pub stages: Vec<Reached>,
    /// The end of what the guest wrote to its serial console.
    pub console: String,
    /// The end of what the backend's process said, for the operator alone: it names what is on the host.
    pub process_log: String,
}

impl FailedBoot {
    /// The stage at which it failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stages.last().map_or(Stage::Reserved, |reached| reached.stage)
    }
}

/// The last `most` bytes of `text`, or a little less.
#[must_use]
pub fn tail(text: &str, most: usize) -> &str {
    let start = text.len().saturating_sub(most);
    (start..=text.len()).find_map(|start| text.get(start..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_boot_is_the_one_that_began_last() {
        use Stage::{Boot, Disk, Launch, Port, Reserved, Running};
        let of = |stages: &[Stage]| {
            let told = stages.iter().map(|stage| Reached { stage: *stage, at: Timestamp::UNIX_EPOCH });
            last_boot(told).iter().map(|reached| reached.stage).collect::<Vec<_>>()
        };
        let create = [Reserved, Disk, Launch, Boot, Port, Running];
        assert_eq!(of(&create), create);
        assert_eq!(of(&[create.as_slice(), &[Running, Port]].concat()), create, "no boot of it");
        let again = [Launch, Boot, Port, Running];
        assert_eq!(of(&[create.as_slice(), &again].concat()), again);
        assert_eq!(of(&[create.as_slice(), &[Launch, Boot]].concat()), [Launch, Boot], "under way");
        assert_eq!(of(&[Launch, Boot, Launch, Boot, Port]), [Launch, Boot, Port], "the first one failed");
        assert_eq!(of(&[Reserved, Disk, Launch, Disk, Launch, Boot]), [Disk, Launch, Boot], "a crash");
        // The beginning is not kept any more.
        assert_eq!(of(&[Boot, Port, Running]), []);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn h_14_what_is_kept_is_the_end_and_whole_letters() {
        assert_eq!(tail("abc", 3), "abc");
        assert_eq!(tail("abc", 2), "bc");
        assert_eq!(tail("aéc", 2), "c");
        assert_eq!(tail("aéc", 3), "éc");
        assert_eq!(tail("", 3), "");
        let mut stages = Vec::new();
        for n in 0..100 {
            reach(&mut stages, Stage::Boot, Timestamp::from_second(n).unwrap());
        }
        assert_eq!((stages.len(), stages.last().unwrap().at.as_second()), (STAGES, 99));
        assert!(Stage::ALL.iter().all(|stage| stage.as_str().parse::<Stage>().unwrap() == *stage));
    }
}
