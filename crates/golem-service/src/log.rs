//! Log lines that strangers can cause.
//!
//! Owns the bound: one line a site in [`INTERVAL`], and the number of those that were left out. A site
//! is a place in the source, so a flood of one kind hides no other kind.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Least time between two lines of one site.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// One place in the source that writes a log line.
#[derive(Debug, Default)]
pub struct Site {
    /// When the next line may come, in milliseconds since the process first asked.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl Site {
    /// A site that has written nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// How many lines were left out since the last, if a line may be written now.
    pub fn due(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        self.due_at(START.get_or_init(Instant::now).elapsed())
    }

    fn due_at(&self, now: Duration) -> Option<u64> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let later = milliseconds(now + INTERVAL);
        // Of two threads that ask at once, one writes.
        let won = milliseconds(now) >= next
            && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Writes a log line of level `trace` to `error`, at most one in [`INTERVAL`](crate::log::INTERVAL) from this
/// place of the source. The field `left_out` says how many were not written since the last.
///
/// ```
/// # let error = std::io::Error::other("no room");
/// golem_service::log_limited!(warn, error = &error as &dyn std::error::Error, "connection not accepted");
/// ```
#[macro_export]
macro_rules! log_limited {
    ($level:ident, $($line:tt)+) => {{
        static SITE: $crate::log::Site = $crate::log::Site::new();
        if let Some(left_out) = SITE.due() {
            $crate::tracing::$level!(left_out, $($line)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_18_a_site_writes_one_line_an_interval_and_counts_the_rest() {
        let site = Site::new();
        assert_eq!(site.due_at(Duration::ZERO), Some(0));
        for _ in 0..1000 {
            assert_eq!(site.due_at(INTERVAL / 2), None);
        }
        assert_eq!(site.due_at(INTERVAL), Some(1000));
        assert_eq!(site.due_at(INTERVAL), None);
        assert_eq!(site.due_at(INTERVAL * 2), Some(1));
    }
}
