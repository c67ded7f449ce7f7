//! What follows from how a rental's stream stands.
//!
//! ```text
//!            runway short           ran out, halted, terminated          hold over
//!   paid ───────────────► warned ──────────────────────────────► stopped ─────────► deleted
//!     ▲                      │                                      │
//!     └──────── topped up ───┴──── topped up, or another stream ────┘
//! ```
//! Owns the decision, as one pure function. Never acts. A chain that cannot be asked deletes nothing
//! and resumes nothing (I3): the last stop time that was read rules until it passes, and a grace after it.

use std::time::Duration;

use golem_chain::judge::judge;
use golem_chain::{Bad, StreamTerms};
use golem_types::Stream;
use jiff::Timestamp;
use ruint::aliases::U256;

use crate::vm::Unpaid;

/// When a rental is warned about, stopped and deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Least payment that has to be left for a rental to run.
    pub least_runway: Duration,
    /// Least payment that has to be left for a rental to begin, or to run again after it was stopped.
    pub create_runway: Duration,
    /// How much above that a rental is warned about.
    pub warning: Duration,
    /// How long the disk of a stopped rental is held, by this machine's clock and by the chain's.
    pub hold: Duration,
    /// How long a rental runs on after its last known stop time while the chain cannot be asked.
    pub grace: Duration,
}

impl Rules {
    /// Least payment that has to be left for a rental to begin, in seconds.
    #[must_use]
    pub fn runway_of_create(&self) -> u128 {
        u128::from(self.create_runway.max(self.least_runway).as_secs())
    }

    /// Whether a rental that was stopped runs again, and its hold ends, by `stream`, which pays at `now`. A top-up of
    /// seconds is no reason to (M-06). One that was stopped while the chain could not be asked was paid for all along:
    /// its stream has no gap.
    fn resumes(&self, stream: &Stream, unpaid: &Unpaid, now: u128) -> bool {
        let wanted = self.runway_of_create();
        let has_gap = stream
            .stop
            .saturating_sub(stream.start)
            .checked_mul(stream.rate)
            .is_none_or(|paid| U256::from(paid) > stream.deposit);
        stream.remaining_seconds(now) >= wanted
            || (!has_gap && stream.stop.saturating_sub(chain_since(unpaid)) >= wanted)
    }
}

/// When a rental ceased to be paid for, by the chain's time, in seconds since the epoch. Of what an older version recorded
/// only this machine's time is known.
fn chain_since(unpaid: &Unpaid) -> u128 {
    let host = || u128::try_from(unpaid.since.as_second()).unwrap_or(0);
    unpaid.chain_time.map_or_else(host, u128::from)
}

/// What is known of the stream.
#[derive(Debug, Clone, Copy)]
pub enum Evidence<'a> {
    /// Read at the newest block.
    Read {
        stream: &'a Stream,
        /// The chain's time, in seconds since the epoch.
        now: u128,
    },
    /// Read before; the chain cannot be asked now.
    Remembered {
        /// The stream as it was.
        stream: &'a Stream,
        /// The chain's time as this machine's clock has it, in seconds since the epoch.
        now: u128,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Rest,
    /// Tell the operator that the payment will end, in this many seconds.
    Warn(u128),
    /// Stop the machine, for this reason.
    Stop(String),
    /// Let it run again.
    Resume,
    /// Delete it.
    Delete,
}

/// The words for a renter whose stream does not pay any more.
fn reason(bad: Bad) -> String {
    match bad {
        Bad::Recipient => "its stream was terminated".to_owned(),
        Bad::Halted => "its stream was halted".to_owned(),
        Bad::Runway => "its stream has run out".to_owned(),
        other => format!("its stream is not valid ({other})"),
    }
}

/// The next action on a rental that is `unpaid` (or not), at `now` by this machine's clock.
#[must_use]
pub fn next(
    unpaid: Option<&Unpaid>,
    evidence: Evidence<'_>,
    terms: &StreamTerms,
    rules: &Rules,
    now: Timestamp,
) -> Action {
    match evidence {
        Evidence::Read { stream, now: chain_now } => match (judge(stream, terms, chain_now), unpaid) {
            (Ok(()), Some(unpaid)) if rules.resumes(stream, unpaid, chain_now) => Action::Resume,
            // Paid for a moment: neither a reason to run, nor a time to delete it.
            (Ok(()), Some(_)) => Action::Rest,
            (Ok(()), None) => {
                let left = stream.remaining_seconds(chain_now);
                let short = rules.least_runway.saturating_add(rules.warning).as_secs();
                if left < u128::from(short) { Action::Warn(left) } else { Action::Rest }
            }
            (Err(bad), None) => Action::Stop(reason(bad)),
            (Err(_), Some(unpaid)) => {
                // The slower of two clocks, each since its own time: one that was set wrong meanwhile, this machine's or
                // the chain's, holds longer and never shorter.
                let here = now.as_second().saturating_sub(unpaid.since.as_second());
                let there = chain_now.saturating_sub(chain_since(unpaid));
                let held = u128::try_from(here).unwrap_or(0).min(there);
                let over = held >= u128::from(rules.hold.as_secs());
                if over { Action::Delete } else { Action::Rest }
            }
        },
        Evidence::Remembered { stream, now: chain_now } => {
            let until = stream.stop.saturating_add(u128::from(rules.grace.as_secs()));
            if unpaid.is_none() && chain_now > until {
                let text = "its stream should have run out, and the payment chain cannot be asked";
                Action::Stop(text.to_owned())
            } else {
                Action::Rest
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruint::aliases::{U160, U256};

    use super::*;

    const RULES: Rules = Rules {
        least_runway: Duration::from_secs(100),
        create_runway: Duration::from_secs(200),
        warning: Duration::from_secs(50),
        hold: Duration::from_secs(1000),
        grace: Duration::from_secs(300),
    };

    const TERMS: StreamTerms = StreamTerms {
        recipient: U160::from_limbs([7, 0, 0]),
        token: U160::ZERO,
        least_rate: None,
        least_runway: 100,
        grace: 0,
        lease: None,
    };

    fn stream(stop: u128) -> Stream {
        Stream {
            token: U160::ZERO,
            sender: U160::from(1),
            recipient: U160::from(7),
            start: 1000,
            stop,
            rate: 1,
            deposit: U256::from(1_000_000),
            withdrawn: U256::ZERO,
            halted: false,
            lease: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(9_900 + second).unwrap()
    }

    fn unpaid(second: i64) -> Unpaid {
        let chain_time = Some(9_900);
        Unpaid { since: at(second), chain_time, reason: "its stream has run out".to_owned() }
    }

    fn read(stream: &Stream, now: u128, unpaid: Option<&Unpaid>, second: i64) -> Action {
        next(unpaid, Evidence::Read { stream, now }, &TERMS, &RULES, at(second))
    }

    #[test]
    fn s_125_it_warns_stops_holds_and_deletes_and_a_top_up_leads_back() {
        let stream = stream(10_000);
        assert_eq!(read(&stream, 5_000, None, 0), Action::Rest);
        assert_eq!(read(&stream, 9_850, None, 0), Action::Rest);
        assert_eq!(read(&stream, 9_851, None, 0), Action::Warn(149));
        assert_eq!(read(&stream, 9_900, None, 0), Action::Warn(100));
        assert_eq!(read(&stream, 9_901, None, 0), Action::Stop("its stream has run out".to_owned()));
        let stopped = unpaid(0);
        assert_eq!(read(&stream, 10_900, Some(&stopped), 999), Action::Rest);
        assert_eq!(read(&stream, 10_900, Some(&stopped), 1000), Action::Delete);
        assert_eq!(read(&stream, 10_900, Some(&stopped), -5000), Action::Rest, "the clock was set back");
        assert_eq!(read(&stream, 9_902, Some(&stopped), 99_999), Action::Rest, "the clock was set forward");
        assert_eq!(read(&stream, 5_000, Some(&stopped), 5000), Action::Resume);
        // M-06: seconds neither start it nor begin a new hold, and it is not deleted while they last.
        assert_eq!(read(&stream, 9_801, Some(&stopped), 500), Action::Rest);
        assert_eq!(read(&stream, 9_800, Some(&stopped), 500), Action::Resume);
        assert_eq!(read(&stream, 9_801, Some(&stopped), 5000), Action::Rest);
        for (bad, why) in [
            (Stream { halted: true, ..stream }, "its stream was halted"),
            (Stream { recipient: U160::ZERO, ..stream }, "its stream was terminated"),
        ] {
            assert_eq!(read(&bad, 5_000, None, 0), Action::Stop(why.to_owned()));
        }
    }

    #[test]
    fn a_stream_of_version_4_pays_for_thirty_seconds_more() {
        let terms = StreamTerms { least_runway: 0, grace: 30, ..TERMS };
        let rules = Rules { least_runway: Duration::ZERO, ..RULES };
        let stream = stream(10_000);
        let at_time = |now| next(None, Evidence::Read { stream: &stream, now }, &terms, &rules, at(0));
        assert_eq!(at_time(10_029), Action::Warn(0));
        assert_eq!(at_time(10_030), Action::Stop("its stream has run out".to_owned()));
    }

    /// I4: who paid all along is let run again, however little is left: the chain could not be asked meanwhile.
    #[test]
    fn i4_what_was_paid_without_a_gap_resumes() {
        let reason = "the chain cannot be asked".to_owned();
        let since = |second| Unpaid { since: at(second), chain_time: Some(9_900), reason: reason.clone() };
        let whole = Stream { deposit: U256::from(9_250), ..stream(10_250) };
        assert_eq!(read(&whole, 10_100, Some(&since(0)), 200), Action::Resume);
        let late = Stream { deposit: U256::from(9_200), ..whole };
        assert_eq!(read(&late, 10_100, Some(&since(0)), 200), Action::Rest, "a gap of 50 seconds");
    }

    /// M-02: however far off this machine's clock is, what follows is the same: chain time is compared with chain time.
    #[test]
    fn m_02_a_clock_that_is_an_hour_off_changes_nothing() {
        let stopped = |offset| Unpaid {
            since: at(offset),
            chain_time: Some(9_900),
            reason: "the chain cannot be asked".to_owned(),
        };
        let [whole, gone] = [Stream { deposit: U256::from(9_250), ..stream(10_250) }, stream(10_000)];
        let late = Stream { deposit: U256::from(9_050), ..stream(10_050) };
        for offset in [-3600, 0, 3600] {
            let action =
                |stream, chain_now, passed| read(stream, chain_now, Some(&stopped(offset)), offset + passed);
            // M-02
            assert_eq!(action(&whole, 10_100, 200), Action::Resume, "{offset}");
            assert_eq!(action(&late, 9_910, 10), Action::Rest, "{offset}: too little was paid for");
            assert_eq!(action(&gone, 10_899, 999), Action::Rest, "{offset}");
            assert_eq!(action(&gone, 10_900, 1000), Action::Delete, "{offset}: the hold is as long");
        }
    }

    #[test]
    fn i3_the_last_stop_time_rules_until_it_passes_and_then_there_is_a_grace() {
        let stream = stream(10_000);
        let remembered = |now, unpaid: Option<&Unpaid>| {
            next(unpaid, Evidence::Remembered { stream: &stream, now }, &TERMS, &RULES, at(9_999_999))
        };
        assert_eq!(remembered(9_950, None), Action::Rest);
        assert_eq!(remembered(10_300, None), Action::Rest);
        assert!(matches!(remembered(10_301, None), Action::Stop(_)));
        assert_eq!(remembered(10_301, Some(&unpaid(0))), Action::Rest, "nothing is deleted unseen");
    }

    proptest! {
        /// I3, I4: only a chain that was read deletes, and only what was stopped for the whole hold;
        /// a stream that pays is never stopped.
        #[test]
        fn i4_what_is_paid_for_is_never_taken(
            stop in 1000u128..20_000, chain_now in 1000u128..20_000, halted in any::<bool>(), gone in any::<bool>(),
            was_unpaid in any::<bool>(), second in -3000i64..3000, seen in any::<bool>(),
        ) {
            let stream = Stream {
                halted, recipient: if gone { U160::ZERO } else { U160::from(7) }, ..stream(stop)
            };
            let evidence = if seen {
                Evidence::Read { stream: &stream, now: chain_now }
            } else {
                Evidence::Remembered { stream: &stream, now: chain_now }
            };
            let before = unpaid(0);
            let action = next(was_unpaid.then_some(&before), evidence, &TERMS, &RULES, at(second));
            let pays = !halted && !gone && stop >= chain_now + 100;
            match action {
                Action::Delete => {
                    prop_assert!(seen && was_unpaid && !pays && second >= 1000 && chain_now >= 10_900);
                }
                Action::Stop(_) => {
                    prop_assert!(!was_unpaid);
                    prop_assert!(!pays || chain_now > stop);
                }
                Action::Resume => prop_assert!(seen && was_unpaid && pays),
                Action::Warn(left) => prop_assert!(seen && pays && left < 150),
                Action::Rest => {
                    prop_assert!(!(seen && !pays && !was_unpaid), "unpaid and left running");
                    let pays_long = pays && stop >= chain_now + 200;
                    prop_assert!(!(seen && pays_long && was_unpaid), "paid and left stopped");
                }
            }
        }
    }
}
