//! Lengths of time as people read them.
//!
//! Owns the words. Never reads a clock.

/// A length of time, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds @ 7200..172_800 => write!(f, "{} h", seconds / 3600),
            seconds => write!(f, "{} days", seconds / 86_400),
        }
    }
}

/// How far a block's time is from this machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    is_ahead: bool,
    by: Seconds,
}

impl Offset {
    pub(crate) fn of(block: u128, wall: u128) -> Self {
        Self { is_ahead: block > wall, by: Seconds(u64::try_from(block.abs_diff(wall)).unwrap_or(u64::MAX)) }
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.by, if self.is_ahead { "ahead of" } else { "behind" })
    }
}
