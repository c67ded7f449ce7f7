//! What a machine's task does next.
//!
//! Owns the decision, as one pure function. Never waits, never acts: because every backend call
//! may be repeated, a step that was cut short anywhere is simply planned again.

use std::net::SocketAddr;

use golem_types::VmState;
use golem_vm::Guest;

use crate::ledger::Goal;

/// What is known of the machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The backend did not answer, or not since the last step. Never means "gone" (I3).
    Unknown,
    /// The backend has no such machine.
    Absent,
    /// Disk there, no process.
    Stopped,
    /// A process runs.
    Running(Guest),
    /// It does not run as it should, and why.
    Broken(String),
}

/// Everything that a decision takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// What the rental should be.
    pub goal: Goal,
    /// Where it stands.
    pub state: VmState,
    /// Whether it ran once.
    pub made: bool,
    /// Whether a restart was asked for and not yet done.
    pub restart: bool,
    /// What is known of the machine.
    pub seen: Seen,
    /// Where its port leads, if this process has opened it.
    pub serving: Option<SocketAddr>,
    /// Whether the pause after the last failure is over.
    pub may_try: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes.
    Rest,
    /// Make the machine, boot it, open its port.
    Make,
    /// Boot the machine, whose disk exists, and open its port.
    Boot,
    /// Point the port at the guest, which runs.
    Serve(Guest),
    /// Shut the guest down.
    Stop,
    /// Shut the guest down, then boot it.
    Restart,
    /// Say that it cannot run, and why.
    Fault(String),
    /// Remove every trace.
    Remove,
}

/// What the renter reads when the backend has no trace of a machine that once ran.
const LOST: &str = "the machine's disk is missing on this host";

/// The next step.
#[must_use]
pub fn plan(situation: &Situation) -> Step {
    let Situation { goal, state, made, restart, seen, serving, may_try } = situation;
    match goal {
        Goal::Deleted => {
            if *may_try {
                Step::Remove
            } else {
                Step::Rest
            }
        }
        Goal::Stopped => match (state, seen) {
            (VmState::Stopped, Seen::Unknown | Seen::Absent | Seen::Stopped) => Step::Rest,
            _ if *may_try => Step::Stop,
            _ => Step::Rest,
        },
        Goal::Running if *restart && *made => Step::Restart,
        Goal::Running => match (state, seen) {
            (VmState::Running, Seen::Unknown) => Step::Rest,
            (VmState::Running, Seen::Running(guest)) if *serving == Some(guest.ssh) => Step::Rest,
            (VmState::Running, Seen::Running(guest)) => Step::Serve(*guest),
            (VmState::Running, Seen::Broken(reason)) => Step::Fault(reason.clone()),
            (VmState::Running, Seen::Absent) => Step::Fault(LOST.to_owned()),
            // A guest that hangs is left as it is: killing it could lose what is in its memory.
            (VmState::Error, Seen::Broken(_)) if *made => Step::Rest,
            _ if !may_try => Step::Rest,
            _ if *made => Step::Boot,
            _ => Step::Make,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guest() -> Guest {
        Guest { ssh: "127.0.0.1:2222".parse().unwrap(), ip: "10.0.2.15".parse().unwrap() }
    }

    fn any_seen() -> impl Strategy<Value = Seen> {
        prop_oneof![
            Just(Seen::Unknown),
            Just(Seen::Absent),
            Just(Seen::Stopped),
            Just(Seen::Running(guest())),
            Just(Seen::Broken("paused".to_owned())),
        ]
    }

    fn any_situation() -> impl Strategy<Value = Situation> {
        (
            prop_oneof![Just(Goal::Running), Just(Goal::Stopped), Just(Goal::Deleted)],
            proptest::sample::select(&VmState::ALL[..5]),
            any::<bool>(),
            any::<bool>(),
            any_seen(),
            prop_oneof![Just(None), Just(Some(guest().ssh))],
        )
            .prop_map(|(goal, state, made, restart, seen, serving)| Situation {
                goal,
                state,
                // A rental cannot have run without having been made.
                made: made || state == VmState::Running,
                restart,
                seen,
                serving,
                may_try: true,
            })
    }

    /// What a backend that works would make of the step; false when the rental is gone.
    fn carry_out(step: &Step, situation: &mut Situation) -> bool {
        match step {
            Step::Rest => {}
            Step::Make | Step::Restart => {
                *situation = Situation {
                    state: VmState::Running,
                    made: true,
                    restart: false,
                    seen: Seen::Running(guest()),
                    serving: Some(guest().ssh),
                    ..situation.clone()
                };
            }
            Step::Boot if situation.seen == Seen::Absent => situation.state = VmState::Error,
            Step::Boot => {
                situation.state = VmState::Running;
                situation.seen = Seen::Running(guest());
                situation.serving = Some(guest().ssh);
            }
            Step::Serve(guest) => situation.serving = Some(guest.ssh),
            Step::Stop => {
                situation.state = VmState::Stopped;
                situation.serving = None;
                if situation.seen != Seen::Absent {
                    situation.seen = Seen::Stopped;
                }
            }
            Step::Fault(_) => situation.state = VmState::Error,
            Step::Remove => return false,
        }
        true
    }

    proptest! {
        /// I1: from wherever a crash left things, a few steps lead to where the goal is.
        #[test]
        fn i1_every_situation_converges(start in any_situation()) {
            let mut situation = start.clone();
            let mut gone = false;
            for _ in 0..5 {
                let step = plan(&situation);
                if step == Step::Rest {
                    break;
                }
                if !carry_out(&step, &mut situation) {
                    gone = true;
                    break;
                }
            }
            match start.goal {
                Goal::Deleted => prop_assert!(gone),
                Goal::Stopped => prop_assert_eq!(situation.state, VmState::Stopped),
                Goal::Running => prop_assert!(
                    matches!(situation.state, VmState::Running | VmState::Error), "{:?} -> {:?}", start, situation
                ),
            }
        }

        /// I3, I4: a backend that cannot be seen changes nothing about a rental that runs.
        #[test]
        fn i3_cannot_see_is_never_gone(mut situation in any_situation()) {
            situation.goal = Goal::Running;
            situation.state = VmState::Running;
            situation.restart = false;
            situation.seen = Seen::Unknown;
            prop_assert_eq!(plan(&situation), Step::Rest);
        }

        /// Only a goal stops or removes a machine; no observation does.
        #[test]
        fn i4_nothing_seen_ever_stops_a_rental(mut situation in any_situation()) {
            situation.goal = Goal::Running;
            situation.restart = false;
            prop_assert!(!matches!(plan(&situation), Step::Stop | Step::Remove | Step::Restart));
        }

        /// After a failure nothing is tried before the pause is over.
        #[test]
        fn a_failing_backend_is_not_hammered(mut situation in any_situation()) {
            situation.may_try = false;
            situation.restart = false;
            prop_assert!(!matches!(plan(&situation), Step::Make | Step::Boot | Step::Stop | Step::Remove));
        }
    }

    #[test]
    fn s_091_a_guest_that_died_is_booted_again_and_one_that_hangs_is_shown() {
        let running = Situation {
            goal: Goal::Running,
            state: VmState::Running,
            made: true,
            restart: false,
            seen: Seen::Stopped,
            serving: Some(guest().ssh),
            may_try: true,
        };
        assert_eq!(plan(&running), Step::Boot);
        let hanging = Situation { seen: Seen::Broken("paused".to_owned()), ..running.clone() };
        assert_eq!(plan(&hanging), Step::Fault("paused".to_owned()));
        let shown = Situation { state: VmState::Error, ..hanging };
        assert_eq!(plan(&shown), Step::Rest);
        let recovered = Situation { seen: Seen::Running(guest()), ..shown };
        assert_eq!(plan(&recovered), Step::Boot);
        let moved = Situation {
            seen: Seen::Running(Guest { ssh: "127.0.0.1:3333".parse().unwrap(), ..guest() }),
            ..running
        };
        assert!(matches!(plan(&moved), Step::Serve(_)));
    }
}
