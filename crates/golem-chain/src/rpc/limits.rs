//! What one endpoint takes: calls in a batch, blocks in a question for logs, requests a second.
//!
//! ```text
//!   works at a size ──► asked so again ──(rarely, after a pause that grows)──► a larger one is tried
//!   refused at a size ─► a smaller one, at once
//! ```
//! Owns the learning, as pure functions of what happened and when. Providers document such limits in as many ways as there
//! are providers, and refuse with any words, code or status: so a limit is learnt from what works, never from words.
//! Never asks anything.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long after a limit was learnt a larger one is tried; doubled with each try that fails.
const TRY_AFTER: Duration = Duration::from_secs(20);

/// Longest pause between two tries.
const TRY_AT_MOST: Duration = Duration::from_secs(6 * 3600);

/// A size that an endpoint takes, learnt from what it refuses.
#[derive(Debug, Clone)]
pub(super) struct Learnt {
    /// Sizes to try, the largest first.
    steps: &'static [u64],
    /// What is taken, as far as is known.
    size: u64,
    /// When a larger one is tried.
    next_try: Option<Instant>,
    pause: Duration,
}

/// Calls in a batch.
pub(super) const BATCHES: &[u64] = &[100, 50, 20, 10, 5, 3, 2, 1];

/// Blocks in a question for logs.
pub(super) const RANGES: &[u64] = &[1000, 500, 250, 100, 50, 20, 10, 5, 3, 2, 1];

impl Learnt {
    pub(super) fn new(steps: &'static [u64]) -> Self {
        let size = steps.first().copied().unwrap_or(1);
        Self { steps, size, next_try: None, pause: TRY_AFTER }
    }

    /// What is taken, as far as is known.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// How many to ask for now, of `wanted`.
    pub(super) fn ask(&self, wanted: u64, now: Instant) -> u64 {
        let is_due = self.next_try.is_some_and(|at| now >= at);
        let larger = self.steps.iter().rev().find(|size| **size > self.size);
        wanted.min(larger.filter(|_| is_due).copied().unwrap_or(self.size))
    }

    /// `asked` were answered.
    pub(super) fn worked(&mut self, asked: u64, now: Instant) {
        if asked > self.size {
            // So may more be.
            self.size = asked;
            self.pause = TRY_AFTER;
            self.next_try = Some(now + Duration::from_secs(1));
        }
    }

    /// `asked` were answered after more were refused: no more than this is asked for.
    pub(super) fn settle(&mut self, asked: u64, now: Instant) {
        if asked < self.size {
            self.size = asked.max(1);
            self.next_try = Some(now + self.pause);
        }
    }

    /// `asked` were refused: the size to ask for next; `None` if it was one.
    pub(super) fn refused(&mut self, asked: u64, now: Instant) -> Option<u64> {
        if asked > self.size {
            // A try that failed.
            self.pause = (self.pause * 2).min(TRY_AT_MOST);
        } else {
            self.size = self.steps.iter().copied().find(|size| *size < asked)?;
        }
        self.next_try = Some(now + self.pause);
        Some(self.size)
    }
}

/// Something that an endpoint has not: it is asked for it again after a pause that grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lack {
    until: Option<Instant>,
    pause: Duration,
}

impl Lack {
    /// Whether it is to be asked for.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// It was not there.
    pub(crate) fn found(&mut self, now: Instant) {
        self.pause = (self.pause * 2).clamp(TRY_AFTER, TRY_AT_MOST);
        self.until = Some(now + self.pause);
    }

    /// It was there.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }
}

/// Requests whose times are kept to see how many were let through in a second.
const REMEMBERED: usize = 200;

/// A rate above which none is kept to.
const FAST: f64 = 100.0;

/// The slowest that an endpoint is asked, in requests a second: after a refusal, which may be a whim, and after several in a
/// row.
const SLOW: f64 = 5.0;
const SLOWEST: f64 = 0.5;

/// How long a rate is kept to until a little more is tried.
const CREEP: Duration = Duration::from_secs(5);

/// How many requests a second an endpoint takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Rate {
    /// Requests a second; `None` while it has refused none.
    per_second: Option<f64>,
    /// When the next one may go.
    next: Option<Instant>,
    /// When the rate was last changed.
    changed: Option<Instant>,
    recent: VecDeque<Instant>,
    /// Refusals in a row.
    refusals: u32,
}

impl Rate {
    /// Requests a second; `None` if no limit has shown.
    pub(super) fn per_second(&self) -> Option<u32> {
        // Only told to people, and far below what does not fit.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0.5 and 100")]
        self.per_second.map(|rate| rate.ceil() as u32)
    }

    /// How long to wait until the next request may go.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// A request goes out.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if let Some(rate) = self.per_second {
            let from = self.next.map_or(now, |next| next.max(now));
            self.next = Some(from + Duration::from_secs_f64(1.0 / rate));
        }
    }

    /// It was answered, whatever with.
    pub(super) fn let_through(&mut self, now: Instant) {
        self.refusals = 0;
        if let (Some(rate), Some(changed)) = (self.per_second, self.changed)
            && now.saturating_duration_since(changed) >= CREEP
        {
            let faster = rate * 1.2;
            (self.per_second, self.changed) = ((faster < FAST).then_some(faster), Some(now));
        }
    }

    /// It was refused because there were too many; `after` is how long the endpoint wants to be left alone.
    pub(super) fn refused(&mut self, after: Option<Duration>, now: Instant) {
        self.refusals = self.refusals.saturating_add(1);
        let second = Duration::from_secs(1);
        let through = self.recent.iter().filter(|at| now.saturating_duration_since(**at) < second).count();
        let through = f64::from(u32::try_from(through).unwrap_or(u32::MAX)) * 0.8;
        let least = if self.refusals < 3 { SLOW } else { SLOWEST };
        let slower = self.per_second.map_or(through, |rate| (rate * 0.7).min(through.max(least)));
        self.per_second = Some(slower.clamp(least, FAST));
        self.changed = Some(now);
        let growing = second / 4 * 2u32.saturating_pow(self.refusals.saturating_sub(1).min(5));
        self.next = Some(now + after.unwrap_or(growing).min(LONGEST_REST));
    }
}

/// Longest that an endpoint is left alone because it asks for it.
const LONGEST_REST: Duration = Duration::from_secs(120);

/// Failures in a row, each after a pause, after which an endpoint is taken to be gone.
const GONE: u32 = 5;

/// First and longest pause of an endpoint that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Whether an endpoint answers at all.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    failures: u32,
    until: Option<Instant>,
}

impl Health {
    pub(super) const fn worked(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    pub(super) fn failed(&mut self, now: Instant) {
        // Several that were under way fail together, and count as one.
        if self.until.is_some_and(|until| now < until) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = FIRST_PAUSE * 2u32.saturating_pow(self.failures.saturating_sub(1).min(9));
        self.until = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// Until when others are asked first; `None` if it is well.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    pub(super) const fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Whether it failed so often in a row that it is rather gone than busy: one call tells whether it is back.
    pub(super) const fn seems_gone(&self) -> bool {
        self.failures >= GONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a pretended endpoint that takes `limit` for `wanted`, and counts the refusals.
    fn converge(learnt: &mut Learnt, limit: u64, wanted: u64, now: Instant) -> u32 {
        let mut refusals = 0;
        loop {
            let asked = learnt.ask(wanted, now);
            if asked <= limit {
                learnt.worked(asked, now);
                return refusals;
            }
            refusals += 1;
            assert!(refusals < 20, "never found");
            if learnt.refused(asked, now).is_none() {
                return refusals;
            }
        }
    }

    /// M-08: any limit is found in a few refusals, kept to, and left when the endpoint takes more.
    #[test]
    fn a_limit_is_found_kept_and_left_again() {
        for steps in [BATCHES, RANGES] {
            for limit in [1, 2, 3, 4, 5, 7, 10, 50, 99, 999] {
                let mut now = Instant::now();
                let mut learnt = Learnt::new(steps);
                assert!(converge(&mut learnt, limit, 1000, now) <= 10);
                let size = learnt.size();
                assert!(size <= limit.min(steps[0]) && (size * 3 > limit.min(steps[0])), "{limit}: {size}");
                assert_eq!(converge(&mut learnt, limit, 1000, now), 0, "kept to");
                // Larger sizes are tried rarely: four hours see a handful of refusals.
                let refusals: u32 = (0..240)
                    .map(|_| {
                        now += Duration::from_secs(60);
                        converge(&mut learnt, limit, 1000, now)
                    })
                    .sum();
                assert!(refusals <= 10 && learnt.size() == size, "{limit}: {refusals}");
                // The limit goes away.
                for _ in 0..1000 {
                    now += Duration::from_secs(60);
                    converge(&mut learnt, u64::MAX, 1000, now);
                }
                assert_eq!(learnt.size(), steps[0], "{limit}");
            }
        }
        let mut learnt = Learnt::new(RANGES);
        assert_eq!(learnt.refused(1, Instant::now()), None, "there is nothing smaller");
    }

    /// M-08: an endpoint of ten requests a second is asked at about that rate.
    #[test]
    fn a_rate_is_found_and_kept_to() {
        let start = Instant::now();
        let (mut now, mut rate) = (start, Rate::default());
        let mut through: VecDeque<Instant> = VecDeque::new();
        let (mut answered, mut refused) = (0, 0);
        while now < start + Duration::from_secs(120) {
            now += rate.wait(now).max(Duration::from_millis(5));
            while through.front().is_some_and(|at| now - *at >= Duration::from_secs(1)) {
                through.pop_front();
            }
            rate.sent(now);
            if through.len() < 10 {
                through.push_back(now);
                rate.let_through(now);
                answered += 1;
            } else {
                rate.refused(None, now);
                refused += 1;
            }
        }
        assert!(answered > 600 && refused < 20, "{answered} answered, {refused} refused");
        rate.refused(Some(Duration::from_secs(9)), now);
        assert_eq!(rate.wait(now), Duration::from_secs(9));
        rate.refused(Some(Duration::from_secs(1 << 40)), now);
        assert_eq!(rate.wait(now), LONGEST_REST, "no endpoint says that it is never asked again");
    }

    #[test]
    fn a_pause_grows_and_ends_with_the_first_answer() {
        let mut now = Instant::now();
        let mut health = Health::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            health.failed(now);
            health.failed(now);
            let until = health.paused_until(now).unwrap();
            pauses.push((until - now).as_secs());
            now = until;
            assert!(health.paused_until(now).is_none() && !health.is_well());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        health.worked();
        assert!(health.is_well());
    }
}
