//! Rate-limited log lines: for those that untrusted clients can cause, or something that stays broken.
//!
//! Owns the bound: one line a site in [`INTERVAL`], and the number of those that were left out. A site
//! is a place in the source, so a flood of one kind hides no other kind. Where it matters whose line it is (each VM
//! is somebody's), a site has one line for each of the first [`EACH`], and one for all others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Least time between two lines of one site.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// `error` with all of its causes, in one line: for a text that is not a log line's, whose `error` field has them. A
/// cause that only repeats what it caused is left out.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// How many may have a line each of one site, in one [`INTERVAL`].
pub const EACH: usize = 16;

/// The time since the process first asked.
fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// One place in the source that writes a log line.
#[derive(Debug, Default)]
pub struct LogSite {
    /// When the next line may come, in milliseconds since the process first asked.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl LogSite {
    /// A site that has written nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// How many lines were left out since the last, if a line may be written now.
    pub fn due(&self) -> Option<u64> {
        self.due_at(since_start())
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

/// One place in the source that writes a log line about one of many.
#[derive(Debug, Default)]
pub struct SiteOfEach {
    seats: Mutex<Vec<Seat>>,
    /// Those that found no seat.
    others: LogSite,
}

/// One of those that have a line of their own.
#[derive(Debug)]
struct Seat {
    whose: u64,
    /// When its next line may come.
    next: Duration,
    left_out: u64,
}

impl SiteOfEach {
    /// A site that has written nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { seats: Mutex::new(Vec::new()), others: LogSite::new() }
    }

    /// How many lines about `whose` were left out since the last, if one may be written now. Of those that have
    /// no line of their own, all count.
    pub fn due(&self, whose: impl Hash) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        whose.hash(&mut hasher);
        self.due_at(hasher.finish(), since_start())
    }

    fn due_at(&self, whose: u64, now: Duration) -> Option<u64> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let seat = Seat { whose, next: now + INTERVAL, left_out: 0 };
        if let Some(known) = seats.iter_mut().find(|seat| seat.whose == whose) {
            if now < known.next {
                known.left_out += 1;
                return None;
            }
            return Some(std::mem::replace(known, seat).left_out);
        }
        if seats.len() < EACH {
            seats.push(seat);
            return Some(0);
        }
        // A seat whose time is over is free: so it never has more than one line in an interval.
        let Some(free) = seats.iter_mut().min_by_key(|seat| seat.next).filter(|seat| seat.next <= now) else {
            return self.others.due_at(now);
        };
        let before = std::mem::replace(free, seat);
        self.others.left_out.fetch_add(before.left_out, Ordering::Relaxed);
        Some(0)
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
        static SITE: $crate::log::LogSite = $crate::log::LogSite::new();
        if let Some(left_out) = SITE.due() {
            $crate::tracing::$level!(left_out, $($line)+);
        }
    }};
}

/// As [`log_limited`](crate::log_limited), at most one in [`INTERVAL`](crate::log::INTERVAL) about each of the
/// first [`EACH`](crate::log::EACH), and one about all others. What tells them apart comes first.
///
/// ```
/// # let (id, error) = ("a-vm", std::io::Error::other("no room"));
/// golem_service::log_limited_each!(id, warn, vm = id, error = &error as &dyn std::error::Error, "a step failed");
/// ```
#[macro_export]
macro_rules! log_limited_each {
    ($whose:expr, $level:ident, $($line:tt)+) => {{
        static SITE: $crate::log::SiteOfEach = $crate::log::SiteOfEach::new();
        if let Some(left_out) = SITE.due(&$whose) {
            $crate::tracing::$level!(left_out, $($line)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn causes_stand_in_one_line_and_each_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Told {
            text: &'static str,
            source: Option<Box<Self>>,
        }
        let chain = ["no route", "no route", "it failed"].into_iter();
        let error = chain.fold(None, |source, text| Some(Box::new(Told { text, source }))).unwrap();
        assert_eq!(with_causes(&*error), "it failed: no route");
    }

    #[test]
    fn h_18_a_site_writes_one_line_an_interval_and_counts_the_rest() {
        let site = LogSite::new();
        assert_eq!(site.due_at(Duration::ZERO), Some(0));
        for _ in 0..1000 {
            assert_eq!(site.due_at(INTERVAL / 2), None);
        }
        assert_eq!(site.due_at(INTERVAL), Some(1000));
        assert_eq!(site.due_at(INTERVAL), None);
        assert_eq!(site.due_at(INTERVAL * 2), Some(1));
    }

    #[test]
    fn h_18_the_noise_of_one_hides_no_line_of_another() {
        let site = SiteOfEach::new();
        for noisy in 0..15 {
            assert_eq!(site.due_at(noisy, Duration::ZERO), Some(0));
            assert!((0..1000).all(|_| site.due_at(noisy, INTERVAL / 2).is_none()));
        }
        assert_eq!(site.due_at(99, INTERVAL / 2), Some(0));
        assert_eq!(site.due_at(3, INTERVAL), Some(1000));
    }

    proptest! {
        /// However many there are, and whenever they come: a bounded number of lines in an interval, and
        /// every line was written, or is counted.
        #[test]
        fn h_18_lines_about_many_are_bounded_and_all_are_counted(
            calls in prop::collection::vec((0..40_u64, 0..3000_u64), 1..2000),
        ) {
            let site = SiteOfEach::new();
            let mut now = Duration::ZERO;
            let mut written: Vec<Duration> = Vec::new();
            let mut counted = 0;
            for (whose, pause) in &calls {
                now += Duration::from_millis(*pause / 10);
                if let Some(left_out) = site.due_at(*whose, now) {
                    counted += 1 + left_out;
                    written.push(now);
                }
            }
            let most = (0..written.len()).map(|first| {
                written[first..].iter().take_while(|at| **at < written[first] + INTERVAL).count()
            });
            prop_assert!(most.max().unwrap_or_default() <= EACH + 1);
            let seats = site.seats.lock().unwrap();
            let waiting = seats.iter().map(|seat| seat.left_out).sum::<u64>();
            let waiting = waiting + site.others.left_out.load(Ordering::Relaxed);
            prop_assert_eq!(counted + waiting, calls.len() as u64);
        }
    }
}
