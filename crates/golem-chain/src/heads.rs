//! Which newest block is believed, and what time it is on the chain.
//!
//! ```text
//!   block ─┬─ follows from the believed one ──────────────► believed, unless it is too old
//!          └─ does not (earlier, far ahead, another time) ─► asked for again, of other endpoints
//!                └─ said again and again ─┬─ its time is ours, or the one that the chain should have ─► believed
//!                                         └─ it is neither ─► only once it has gone on like a clock for long
//! ```
//! Owns the belief, as pure functions of blocks and clocks: no block is too high or too late for ever, because what is said
//! by all takes its place. The chain's time is that of the last block that came while we looked, and the seconds since then
//! by the machine's steady clock, which nobody sets: so money runs out on a chain that stands still, and a wrong clock of
//! the host ends nothing. Never asks a chain.

use std::time::Duration;

use tokio::time::Instant;

use crate::block::Block;
use crate::elapsed::{Offset, Seconds};
use crate::rpc::ChainError;

/// How far ahead of this machine's clock a block may be, in seconds. Chains allow 15; the rest is for this clock.
const AHEAD: u128 = 900;

/// How far a block may be from the time that the chain should have, where its profile does not say.
const SLACK: u128 = 180;

/// Blocks that may come at once, and in each second.
const JUMP: u64 = 1000;
const JUMP_PER_SECOND: u64 = 100;

/// How long blocks of another time than ours have to go on until they are believed: where nothing is known of the chain, and
/// where they contradict what was.
const TRIAL: Duration = Duration::from_secs(60);
const TRIAL_AGAINST_BELIEF: Duration = Duration::from_secs(3600);

/// A block, and when it was first seen.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    block: Block,
    at: Instant,
}

/// The belief in one chain's newest block.
#[derive(Debug)]
pub(crate) struct Heads {
    /// Whether the chain's clock may be anywhere.
    local: bool,
    /// How old the newest block may be.
    maximum_age: Option<Duration>,
    believed: Option<Sighting>,
    /// The chain's time when a block came that was not old.
    clock: Option<(u128, Instant)>,
    /// Blocks of another time than ours: the first and the last of them.
    trial: Option<(Sighting, Sighting)>,
}

impl Heads {
    pub(crate) const fn new(local: bool) -> Self {
        Self { local, maximum_age: None, believed: None, clock: None, trial: None }
    }

    /// The newest block may be as old as `maximum`; of any age if that is `None`.
    pub(crate) const fn limit_age(&mut self, maximum: Option<Duration>) {
        self.maximum_age = maximum;
    }

    /// The time on the chain, in seconds since the epoch; `None` before the first block.
    pub(crate) fn time(&self, now: Instant) -> Option<u128> {
        let (time, at) = self.clock?;
        Some(time.saturating_add(u128::from(now.saturating_duration_since(at).as_secs())))
    }

    /// Whether `block` follows from what is believed, or from blocks that are on trial: then there is no need to ask
    /// again. `wall` is this machine's time, in seconds since the epoch.
    pub(crate) fn follows(&self, block: &Block, now: Instant, wall: u128) -> bool {
        match (&self.believed, &self.trial) {
            (None, None) => self.local || self.is_ours(block, None, wall),
            (Some(believed), _) if self.is_next(believed, block, now) => true,
            (_, Some((_, last))) => self.is_next(last, block, now),
            _ => false,
        }
    }

    /// Believes `block`, which follows or was said again and again; gives the time on the chain.
    ///
    /// # Errors
    /// [`ChainError::Halted`], [`ChainError::OutOfTime`].
    pub(crate) fn believe(&mut self, block: Block, now: Instant, wall: u128) -> Result<u128, ChainError> {
        let seen = Sighting { block, at: now };
        match self.believed {
            Some(believed) if self.is_next(&believed, &block, now) => {
                let is_new = block.number > believed.block.number || block.hash != believed.block.hash;
                if is_new {
                    self.believed = Some(seen);
                    // A block that is old when it comes tells no time: the chain is being caught up with.
                    let slack = self.slack().saturating_add(15);
                    if self.local
                        || self.time(now).is_none_or(|time| block.time.saturating_add(slack) >= time)
                    {
                        self.clock = Some((block.time, now));
                    }
                }
                self.trial = None;
            }
            _ if self.local || self.is_ours(&block, self.time(now), wall) || self.has_gone_on(&seen) => {
                (self.believed, self.clock, self.trial) = (Some(seen), Some((block.time, now)), None);
            }
            _ => {
                let first = match self.trial {
                    Some((first, last)) if self.is_next(&last, &block, now) => first,
                    _ => seen,
                };
                self.trial = Some((first, seen));
                return Err(ChainError::OutOfTime(Offset::of(block.time, wall)));
            }
        }
        let time = self.time(now).unwrap_or(block.time);
        let age = time.saturating_sub(block.time);
        match self.maximum_age {
            Some(most) if age > u128::from(most.as_secs()) => {
                Err(ChainError::Halted(Seconds(u64::try_from(age).unwrap_or(u64::MAX))))
            }
            _ => Ok(time.max(block.time)),
        }
    }

    fn slack(&self) -> u128 {
        self.maximum_age.map_or(SLACK, |age| u128::from(age.as_secs()))
    }

    /// Whether `block` can come after `before`, as far as numbers and times go.
    fn is_next(&self, before: &Sighting, block: &Block, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(before.at).as_secs();
        let highest =
            before.block.number.saturating_add(JUMP).saturating_add(elapsed.saturating_mul(JUMP_PER_SECOND));
        let latest = before.block.time.saturating_add(u128::from(elapsed)).saturating_add(self.slack());
        (before.block.number..=highest).contains(&block.number)
            && block.time >= before.block.time
            && (self.local || block.time <= latest)
    }

    /// Whether the time of `block` is this machine's, or the one that the chain should have.
    fn is_ours(&self, block: &Block, chain: Option<u128>, wall: u128) -> bool {
        let is_near = |time: u128, ahead: u128| {
            block.time <= time.saturating_add(ahead) && block.time.saturating_add(self.slack()) >= time
        };
        is_near(wall, AHEAD) || chain.is_some_and(|time| is_near(time, self.slack()))
    }

    /// Whether blocks of another time than ours have gone on like a clock, up to this one, for long enough.
    fn has_gone_on(&self, seen: &Sighting) -> bool {
        let Some((first, last)) = &self.trial else { return false };
        let needed = if self.believed.is_some() { TRIAL_AGAINST_BELIEF } else { TRIAL };
        let elapsed = seen.at.saturating_duration_since(first.at);
        let passed = seen.block.time.saturating_sub(first.block.time);
        let seconds = u128::from(elapsed.as_secs());
        self.is_next(last, &seen.block, seen.at)
            && elapsed >= needed
            && seen.block.number > first.block.number
            && passed <= seconds + seconds / 2 + 15
            && passed.saturating_add(30) >= seconds / 2
    }
}

/// Whether two answers can be of one chain at about one time: each may come after the other.
pub(crate) const fn agree(one: &Block, other: &Block) -> bool {
    one.number.abs_diff(other.number) <= JUMP && one.time.abs_diff(other.time) <= SLACK
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use proptest::prelude::*;

    use super::*;

    const WALL: u128 = 1_800_000_000;
    const MAXIMUM: Duration = Duration::from_secs(180);

    fn block(number: u64, time: u128) -> Block {
        Block { number, hash: B256::from(alloy_primitives::U256::from(number)), time }
    }

    /// A chain that makes a block every twelve seconds, and a host whose clock is `offset` seconds off.
    struct World {
        heads: Heads,
        start: Instant,
        offset: i64,
        seconds: u64,
    }

    impl World {
        fn new(offset: i64) -> Self {
            let mut heads = Heads::new(false);
            heads.limit_age(Some(MAXIMUM));
            Self { heads, start: Instant::now(), offset, seconds: 0 }
        }

        fn at(&self) -> (Instant, u128) {
            let wall = (WALL + u128::from(self.seconds)).checked_add_signed(self.offset.into()).unwrap();
            (self.start + Duration::from_secs(self.seconds), wall)
        }

        fn newest(&self) -> Block {
            let number = self.seconds / 12;
            block(1_000_000 + number, WALL + u128::from(number * 12))
        }

        fn say(&mut self, block: Block) -> Result<u128, ChainError> {
            let (now, wall) = self.at();
            self.heads.believe(block, now, wall)
        }

        fn run(&mut self, seconds: u64) -> Result<u128, ChainError> {
            let mut last = self.say(self.newest());
            let end = self.seconds + seconds;
            while self.seconds < end {
                self.seconds += 10;
                last = self.say(self.newest());
            }
            last
        }

        fn follows(&self, block: &Block) -> bool {
            let (now, wall) = self.at();
            self.heads.follows(block, now, wall)
        }
    }

    /// M-02: the chain's time goes on without blocks, until they are too old to know; and is never ahead of the truth.
    #[test]
    fn time_goes_on_while_a_chain_stands_still_and_then_is_unknown() {
        let mut world = World::new(0);
        let time = world.run(300).unwrap();
        let truth = WALL + u128::from(world.seconds);
        assert!(time <= truth && time + 12 >= truth, "{time} {truth}");
        let last = world.newest();
        for passed in [60, 170, 181, 240, 7200] {
            world.seconds = 300 + passed;
            let said = world.say(last);
            if passed < 180 {
                assert!(said.unwrap() >= last.time + u128::from(passed) - 12);
            } else {
                let error = said.unwrap_err();
                assert!(matches!(error, ChainError::Halted(_)), "{error}");
                if passed == 240 {
                    assert_eq!(error.to_string(), "the chain has made no block for 4 min");
                }
            }
        }
        assert!(world.run(10).is_ok(), "it goes on by itself");
    }

    /// A host whose clock is an hour off, or is set while the node runs, believes a chain that goes on, at its time.
    #[test]
    fn a_wrong_clock_of_the_host_ends_nothing() {
        for offset in [-3600, 3600] {
            let mut world = World::new(offset);
            assert!(matches!(world.run(30), Err(ChainError::OutOfTime(_))), "not known yet");
            let time = world.run(60).unwrap();
            let truth = WALL + u128::from(world.seconds);
            assert!(time <= truth && time + 12 >= truth, "{offset}: {time} {truth}");
            let mut world = World::new(0);
            world.run(100).unwrap();
            world.offset = offset;
            let time = world.run(100).unwrap();
            let truth = WALL + u128::from(world.seconds);
            assert!(time <= truth && time + 12 >= truth, "{offset}, set later: {time} {truth}");
        }
    }

    /// M-08: nothing that is said once changes what is believed, and nothing that is said again and again stays for ever.
    #[test]
    fn absurd_blocks_are_asked_for_again_and_leave_no_trace() {
        let mut world = World::new(0);
        world.run(100).unwrap();
        let honest = world.newest();
        for absurd in [
            block(1 << 60, honest.time),
            block(honest.number, 0),
            block(honest.number + 1, honest.time + 86_400),
            block(honest.number - 1, honest.time - 12),
            block(0, 0),
        ] {
            assert!(!world.follows(&absurd), "{absurd:?}");
        }
        // All say so, at the right time: a number is only a number.
        let high = block(1 << 60, honest.time);
        assert!(world.say(high).is_ok());
        world.seconds += 30;
        let honest = world.newest();
        assert!(!world.follows(&honest));
        assert!(world.say(honest).is_ok(), "and it is believed again, without a restart");
        // All speak of another time: nothing is known.
        for time in [0, WALL - 86_400, WALL + 86_400, u128::from(u64::MAX)] {
            let said = world.say(block(honest.number + 2, time));
            assert!(matches!(said, Err(ChainError::OutOfTime(_))), "{time}");
            world.seconds += 30;
            assert!(world.run(0).is_ok(), "recovered from {time}");
        }
        // Rewound by any number of blocks, as long as it makes new ones.
        for back in [1, 10, 300] {
            world.seconds += 30;
            let newest = world.newest();
            assert!(world.say(block(newest.number - back, newest.time)).is_ok(), "{back}");
        }
    }

    /// A developer's chain may be moved in time at will.
    #[test]
    fn a_local_chain_is_believed_at_any_time() {
        let mut heads = Heads::new(true);
        let now = Instant::now();
        for (number, time) in [(1, 1000), (2, 5_000_000), (3, 5_000_000), (1, 900)] {
            let hour = now + Duration::from_secs(3600);
            assert!(heads.believe(block(number, time), now, WALL).is_ok());
            assert_eq!(heads.time(hour), Some(time + 3600));
        }
    }

    #[test]
    fn lengths_are_told_to_people() {
        for (seconds, text) in [(5, "5 s"), (240, "4 min"), (7200, "2 h"), (200_000, "2 days")] {
            assert_eq!(Seconds(seconds).to_string(), text);
        }
        assert_eq!(Offset::of(WALL - 3600, WALL).to_string(), "60 min behind");
    }

    proptest! {
        /// Whatever is said, and confirmed: an honest chain is believed again within a few blocks, at its time.
        #[test]
        fn no_lie_lasts(
            lies in proptest::collection::vec((any::<u64>(), any::<u64>(), 0u64..400), 0..8), offset in -3600i64..3600,
        ) {
            let mut world = World::new(offset);
            let _ = world.run(90);
            for (number, time, pause) in lies {
                let _ = world.say(block(number, time.into()));
                world.seconds += pause;
            }
            // With clocks that agree at once; with a host's that is off, in an hour at most.
            let patience = if offset.abs() < 170 { 20 } else { 3700 };
            let time = world.run(patience);
            prop_assert!(time.is_ok(), "{time:?}");
            let (time, truth) = (time.unwrap(), WALL + u128::from(world.seconds));
            prop_assert!(time <= truth + 180 && time + 30 >= truth, "{time} {truth}");
        }
    }
}
