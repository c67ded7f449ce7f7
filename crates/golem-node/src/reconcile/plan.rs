//! What a machine's task does next.
//!
//! Owns the decision, as one pure function, which is this table (a test compares the two):
//!
//! | wanted | has booted | state | unknown | absent | stopped | powered off | running | halted | resumable |
//! |---|---|---|---|---|---|---|---|---|---|
//! | running | no | any | make | make | make | make | make | make | make |
//! | running | yes | creating | rest | fault | boot | boot | meet | fault | resume |
//! | running | yes | running | rest | fault | boot | off | serve | fault | resume |
//! | running | yes | stopping | rest | fault | boot | boot | restart | restart | restart |
//! | running | yes | stopped | rest | fault | boot | boot | meet | fault | resume |
//! | running | yes | error | rest | fault | boot | off | meet | fault | resume |
//! | stopped | any | stopped | rest | rest | rest | stop | stop | stop | stop |
//! | stopped | any | any | stop | stop | stop | stop | stop | stop | stop |
//! | deleted | any | any | remove | remove | remove | remove | remove | remove | remove |
//!
//! and these five rules on top:
//!
//! - Every step but `fault`, `off` and `serve` rests while the pause after a failure lasts. `resume` has a pause
//!   of its own, and is `fault` meanwhile.
//! - `serve` rests where the port leads to that guest already; `meet` waits neither for a pause nor for an
//!   answer there: it gave one before. `fault` rests where its reason is shown already.
//! - `off` is `boot` where the operator wants guests to run whatever they do, and where a start was asked for
//!   since the guest was last seen to run: the later word counts, and which came first nobody saw.
//! - Where the guest was to be suspended, `stopping` is as `creating` while `running` is wanted: it need not end.
//! - A restart that was ordered, and not yet begun, is `restart` wherever `running` is wanted of a machine
//!   that has booted, and waits for no pause.
//!
//! Only `stop`, `restart` and `remove` end a guest that is alive, and only a goal or a restart, which are
//! somebody's order, lead to them: what is seen never does (`make` and `boot` leave a guest that is there as
//! it is). Never waits, never acts: because every backend call may be repeated, a step that was cut short
//! anywhere is simply planned again.

use std::net::SocketAddr;

use golem_types::VmState;
use golem_vm::Guest;

use crate::config::RestartPolicy;
use crate::rental::Goal;

/// What is known of the machine now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineView {
    /// The backend did not answer, or not since the last step. Never means "gone" (I3).
    Unknown,
    /// The backend has no such machine.
    Absent,
    /// Disk there, no guest, which did not shut itself down.
    Stopped,
    /// Disk there, no guest, which shut itself down.
    PoweredOff,
    /// A guest runs.
    Running(Guest),
    /// A guest is there and does not run.
    Halted {
        /// Why.
        reason: String,
        /// Whether it may be told to go on.
        resumable: bool,
    },
}

/// Everything that a decision takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// What the rental should be.
    pub goal: Goal,
    /// Where it stands.
    pub state: VmState,
    /// What is shown as the reason for that.
    pub shown: Option<String>,
    /// Whether it ran once.
    pub has_booted: bool,
    /// Whether what is in the guest's memory is kept, or is to be.
    pub suspends: bool,
    /// Whether a restart was asked for and not yet done.
    pub restart: bool,
    /// Whether a start was asked for since the guest was last seen to run.
    pub started: bool,
    /// What is known of the machine.
    pub seen: MachineView,
    /// Where its port leads, if this process has opened it.
    pub serving: Option<SocketAddr>,
    /// Whether the pause after the last failure is over.
    pub may_try: bool,
    /// Whether the pause after the last time that the guest was told to go on is over.
    pub may_resume: bool,
    /// What becomes of a guest that shut itself down.
    pub policy: RestartPolicy,
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
    /// Wait until the guest, which is there, answers; open its port; say that it runs.
    Meet(Guest),
    /// Point the port at the guest, which runs.
    Serve(Guest),
    /// Tell the guest, which is paused for a reason that is over, to go on.
    Resume,
    /// Take the guest's word that it is to be off.
    Off,
    /// Shut the guest down.
    Stop,
    /// Shut the guest down, then boot it.
    Restart,
    /// Say that it does not run, and why.
    Fault(String),
    /// Remove every trace.
    Remove,
}

/// What the renter reads when the backend has no trace of a machine that once ran.
const LOST: &str = "the machine's disk is missing on this host";

/// The next step.
#[must_use]
pub fn plan(situation: &Situation) -> Step {
    let Situation { state, seen, serving, may_try, .. } = situation;
    match wanted(situation) {
        Step::Restart if situation.restart => Step::Restart,
        Step::Off if situation.started || situation.policy == RestartPolicy::Always => match may_try {
            true => Step::Boot,
            false => Step::Rest,
        },
        Step::Meet(guest) | Step::Serve(guest) if *serving == Some(guest.ssh) => match state {
            VmState::Running => Step::Rest,
            _ => Step::Meet(guest),
        },
        Step::Resume if !situation.may_resume => match seen {
            MachineView::Halted { reason, .. } => show(reason, situation),
            _ => Step::Rest,
        },
        Step::Fault(reason) => show(&reason, situation),
        step @ (Step::Rest | Step::Off | Step::Serve(_) | Step::Resume) => step,
        step if *may_try => step,
        _ => Step::Rest,
    }
}

/// Shows `reason`, unless it is shown already.
fn show(reason: &str, situation: &Situation) -> Step {
    match (situation.state, situation.shown.as_deref()) {
        (VmState::Error, Some(shown)) if shown == reason => Step::Rest,
        _ => Step::Fault(reason.to_owned()),
    }
}

/// The table, without the rules on top.
fn wanted(situation: &Situation) -> Step {
    let Situation { goal, state, seen, .. } = situation;
    match (goal, state, seen) {
        (Goal::Deleted, ..) => Step::Remove,
        (
            Goal::Stopped,
            VmState::Stopped,
            MachineView::Unknown | MachineView::Absent | MachineView::Stopped,
        ) => Step::Rest,
        (Goal::Stopped, ..) => Step::Stop,
        (Goal::Running, ..) if !situation.has_booted => Step::Make,
        (Goal::Running, ..) if situation.restart => Step::Restart,
        (Goal::Running, _, MachineView::Unknown) => Step::Rest,
        (Goal::Running, _, MachineView::Absent) => Step::Fault(LOST.to_owned()),
        (Goal::Running, _, MachineView::Stopped) => Step::Boot,
        (Goal::Running, VmState::Running | VmState::Error, MachineView::PoweredOff) => Step::Off,
        (Goal::Running, _, MachineView::PoweredOff) => Step::Boot,
        // A restart that the node's end cut short.
        (Goal::Running, VmState::Stopping, MachineView::Running(_) | MachineView::Halted { .. })
            if !situation.suspends =>
        {
            Step::Restart
        }
        (Goal::Running, VmState::Running, MachineView::Running(guest)) => Step::Serve(*guest),
        (Goal::Running, _, MachineView::Running(guest)) => Step::Meet(*guest),
        (Goal::Running, _, MachineView::Halted { resumable: true, .. }) => Step::Resume,
        (Goal::Running, _, MachineView::Halted { reason, .. }) => Step::Fault(reason.clone()),
    }
}

#[cfg(test)]
mod tests;
