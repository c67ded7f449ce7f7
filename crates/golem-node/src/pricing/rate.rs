//! Which rates of a coin count.
//!
//! ```text
//!   feed ──► rate ──► within bounds? ──► near the last? ──► changed by 1 %? ──► taken
//!                          │ no               │ no               │ no
//!                          ▼                  ▼                  ▼
//!                       refused       doubted: believed      the last one
//!                                     when it is said again     stays
//! ```
//! Owns the judgement on rates: a feed that lies or slips must not sell VMs for nothing. The last good
//! rate stays while there is no better one. Never asks a feed: [`super::feeds`] does.

use golem_types::Decimal;
use golem_types::price::Rate;
use jiff::Timestamp;
use ruint::aliases::U256;

/// A rate that differs from the last by more than this factor is doubted.
const JUMP: u64 = 2;

/// How often in a row a doubted rate has to be said, each within a tenth of the last, until it is
/// believed.
const BELIEF: u32 = 3;

/// What a coin can be worth, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Least.
    pub least: Decimal,
    /// Most.
    pub most: Decimal,
}

impl Bounds {
    /// A GLM: from a thousandth of a dollar to a thousand.
    #[must_use]
    pub fn glm() -> Self {
        Self { least: atto(1_000_000_000_000_000), most: whole(1000) }
    }

    /// The coin that feeds call `id`: Ethereum's from a dollar to a million, any other from a millionth of a dollar.
    #[must_use]
    pub fn coin(id: &str) -> Self {
        let least = if id == "ethereum" { whole(1) } else { atto(1_000_000_000_000) };
        Self { least, most: whole(1_000_000) }
    }
}

fn atto(number: u64) -> Decimal {
    Decimal::from_atto(U256::from(number))
}

fn whole(number: u64) -> Decimal {
    Decimal::from_atto(U256::from(number).saturating_mul(U256::from(10).pow(U256::from(18))))
}

/// What became of a rate that a feed gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateOutcome {
    /// It is the rate now.
    Taken,
    /// It is so near the last that that stays.
    Kept,
    /// It is far from the last: once more is waited for.
    Doubted,
    /// No coin is worth that.
    Refused,
}

/// Follows the rate of one coin.
#[derive(Debug, Clone)]
pub struct Follower {
    bounds: Bounds,
    /// Least change that counts, in hundredths of a percent.
    threshold: u32,
    rate: Option<Rate>,
    doubted: Option<(Decimal, u32)>,
}

/// Whether `one` and `other` differ by more than `parts` of ten thousand of `other`.
fn differs(one: Decimal, other: Decimal, parts: u32) -> bool {
    let (one, other) = (one.atto(), other.atto());
    let difference = one.max(other) - one.min(other);
    difference.saturating_mul(U256::from(10_000)) >= other.saturating_mul(U256::from(parts)) && one != other
}

impl Follower {
    /// Follows from the rate `last` on, which was believed before.
    #[must_use]
    pub const fn new(bounds: Bounds, threshold: u32, last: Option<Rate>) -> Self {
        Self { bounds, threshold, rate: last, doubted: None }
    }

    /// The rate that is believed.
    #[must_use]
    pub const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Judges what a feed gave at `now`.
    pub fn judge(&mut self, usd: Decimal, now: Timestamp) -> RateOutcome {
        if usd < self.bounds.least || usd > self.bounds.most {
            self.doubted = None;
            return RateOutcome::Refused;
        }
        let Some(last) = self.rate else {
            self.rate = Some(Rate { usd, at: now });
            return RateOutcome::Taken;
        };
        let factor = U256::from(JUMP);
        let far = usd.atto() > last.usd.atto().saturating_mul(factor)
            || usd.atto().saturating_mul(factor) < last.usd.atto();
        if far {
            let times = match self.doubted {
                Some((before, times)) if !differs(usd, before, 1000) => times + 1,
                _ => 1,
            };
            if times < BELIEF {
                self.doubted = Some((usd, times));
                return RateOutcome::Doubted;
            }
        }
        self.doubted = None;
        if far || differs(usd, last.usd, self.threshold) {
            self.rate = Some(Rate { usd, at: now });
            RateOutcome::Taken
        } else {
            self.rate = Some(Rate { at: now, ..last });
            RateOutcome::Kept
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_feed_that_lies_or_slips_is_not_believed_and_one_that_insists_is() {
        let mut follower = Follower::new(Bounds::glm(), 100, None);
        assert_eq!(follower.judge(usd("0"), at(0)), RateOutcome::Refused);
        assert_eq!(follower.judge(usd("5000"), at(0)), RateOutcome::Refused);
        assert_eq!(follower.judge(usd("0.25"), at(1)), RateOutcome::Taken);
        assert_eq!(follower.judge(usd("0.2520"), at(2)), RateOutcome::Kept, "less than one percent");
        assert_eq!(follower.rate(), Some(Rate { usd: usd("0.25"), at: at(2) }));
        assert_eq!(follower.judge(usd("0.2525"), at(3)), RateOutcome::Taken);
        // A slip of the point, once.
        assert_eq!(follower.judge(usd("25"), at(4)), RateOutcome::Doubted);
        assert_eq!(follower.judge(usd("0.2525"), at(5)), RateOutcome::Kept);
        assert_eq!(follower.judge(usd("25"), at(6)), RateOutcome::Doubted);
        assert_eq!(follower.judge(usd("26"), at(7)), RateOutcome::Doubted);
        assert_eq!(follower.rate().unwrap().usd, usd("0.2525"), "the last good one stays");
        assert_eq!(follower.judge(usd("25.5"), at(8)), RateOutcome::Taken, "said three times");
        assert_eq!(follower.judge(usd("0.5"), at(9)), RateOutcome::Doubted);
        assert_eq!(follower.judge(usd("5"), at(9)), RateOutcome::Doubted, "another one begins anew");
        assert_eq!(follower.judge(usd("5"), at(9)), RateOutcome::Doubted);
        assert_eq!(follower.judge(usd("5"), at(9)), RateOutcome::Taken);
    }

    proptest! {
        /// One answer never moves the rate by more than the factor, and never out of the bounds.
        #[test]
        fn one_answer_never_moves_the_rate_far(offers in proptest::collection::vec(0u64..2_000_000, 1..30)) {
            let mut follower = Follower::new(Bounds::glm(), 100, None);
            let mut doubted = 0;
            for (second, offer) in (0i64..).zip(offers) {
                let before = follower.rate();
                let offer = Decimal::from_atto(U256::from(offer) * U256::from(10).pow(U256::from(15)));
                let outcome = follower.judge(offer, at(second));
                let after = follower.rate();
                if let (Some(before), Some(after)) = (before, after) {
                    let (low, high) = (before.usd.min(after.usd), before.usd.max(after.usd));
                    let far = high.atto() > low.atto() * U256::from(2);
                    prop_assert!(!far || doubted >= 2, "{before:?} {after:?}");
                }
                doubted = if outcome == RateOutcome::Doubted { doubted + 1 } else { 0 };
                prop_assert!(after.is_none_or(|rate| rate.usd >= Bounds::glm().least && rate.usd <= Bounds::glm().most));
            }
        }
    }
}
