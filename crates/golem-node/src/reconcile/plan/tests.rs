use proptest::prelude::*;

use super::*;

fn guest(number: u16) -> Guest {
    Guest { ssh: ([127, 0, 0, 1], 2000 + number).into(), ip: "10.0.2.15".parse().unwrap() }
}

fn halted(resumable: bool) -> MachineView {
    MachineView::Halted { reason: "paused".to_owned(), resumable }
}

/// A rental that runs, with nothing to do.
fn settled() -> Situation {
    Situation {
        goal: Goal::Running,
        state: VmState::Running,
        shown: None,
        has_booted: true,
        suspends: false,
        restart: false,
        started: false,
        seen: MachineView::Running(guest(0)),
        serving: Some(guest(0).ssh),
        may_try: true,
        may_resume: true,
        policy: RestartPolicy::OnFailure,
    }
}

const STATES: &[VmState] =
    &[VmState::Creating, VmState::Running, VmState::Stopping, VmState::Stopped, VmState::Error];

fn word(step: &Step) -> &'static str {
    match step {
        Step::Rest => "rest",
        Step::Make => "make",
        Step::Boot => "boot",
        Step::Meet(_) => "meet",
        Step::Serve(_) => "serve",
        Step::Resume => "resume",
        Step::Off => "off",
        Step::Stop => "stop",
        Step::Restart => "restart",
        Step::Fault(_) => "fault",
        Step::Remove => "remove",
    }
}

/// H-02: the table in the module's head is what the code does, cell by cell.
#[test]
fn h_02_the_table_in_the_head_is_the_code() {
    let source = include_str!("../plan.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("//! | "));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_end_matches(" |").split(" | ").collect()).collect();
    let seen = [
        MachineView::Unknown,
        MachineView::Absent,
        MachineView::Stopped,
        MachineView::PoweredOff,
        MachineView::Running(guest(1)),
        halted(false),
        halted(true),
    ];
    let (mut cells, mut covered) = (0, std::collections::BTreeSet::new());
    for row in &rows[1..] {
        let goal: Goal = row[0].parse().unwrap();
        let has_booted: &[bool] = match row[1] {
            "yes" => &[true],
            "no" => &[false],
            _ => &[true, false],
        };
        for state in STATES.iter().filter(|state| row[2] == "any" || row[2] == state.as_str()) {
            for has_booted in has_booted {
                // The first row that fits counts.
                if !covered.insert((goal.as_str(), *has_booted, state.as_str())) {
                    continue;
                }
                for (seen, expected) in seen.iter().zip(&row[3..]) {
                    let situation = Situation {
                        goal,
                        state: *state,
                        has_booted: *has_booted,
                        seen: seen.clone(),
                        serving: None,
                        ..settled()
                    };
                    assert_eq!(word(&plan(&situation)), *expected, "{situation:?}");
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, 3 * 2 * STATES.len() * seen.len(), "every situation is in the table");
}

#[test]
fn the_rules_on_top_of_the_table() {
    let with = |change: fn(&mut Situation)| {
        let mut situation = settled();
        change(&mut situation);
        plan(&situation)
    };
    assert_eq!(with(|_| {}), Step::Rest);
    // A guest that answered before, and goes on: nothing is waited for.
    let again = |situation: &mut Situation| {
        situation.state = VmState::Error;
        situation.may_try = false;
    };
    assert_eq!(with(again), Step::Meet(guest(0)));
    let shown = |situation: &mut Situation| {
        situation.state = VmState::Error;
        situation.shown = Some("paused".to_owned());
        situation.seen = halted(false);
    };
    assert_eq!(with(shown), Step::Rest);
    let waits = |situation: &mut Situation| {
        situation.seen = halted(true);
        situation.may_resume = false;
    };
    assert_eq!(with(waits), Step::Fault("paused".to_owned()));
    let always = |situation: &mut Situation| {
        situation.seen = MachineView::PoweredOff;
        situation.policy = RestartPolicy::Always;
    };
    assert_eq!(with(always), Step::Boot);
    // Called off before its memory was written, or after.
    let called_off = |situation: &mut Situation| {
        situation.state = VmState::Stopping;
        situation.suspends = true;
    };
    assert_eq!(with(called_off), Step::Meet(guest(0)));
    let started = |situation: &mut Situation| {
        situation.seen = MachineView::PoweredOff;
        situation.started = true;
    };
    assert_eq!(with(started), Step::Boot);
    assert_eq!(with(|situation| situation.restart = true), Step::Restart);
}

/// What waits for the pause after a failure, and what does not.
#[test]
fn an_order_and_what_a_guest_did_itself_wait_for_no_pause() {
    let pausing = |change: fn(&mut Situation)| {
        let mut situation = Situation { may_try: false, ..settled() };
        change(&mut situation);
        plan(&situation)
    };
    assert_eq!(pausing(|situation| situation.serving = None), Step::Serve(guest(0)));
    assert_eq!(pausing(|situation| situation.seen = MachineView::PoweredOff), Step::Off);
    assert_eq!(pausing(|situation| situation.seen = halted(true)), Step::Resume);
    assert_eq!(pausing(|situation| situation.restart = true), Step::Restart);
    let another_reason = |situation: &mut Situation| {
        situation.state = VmState::Error;
        situation.shown = Some("another reason".to_owned());
        situation.seen = halted(false);
    };
    assert_eq!(pausing(another_reason), Step::Fault("paused".to_owned()));
    assert_eq!(pausing(|situation| situation.seen = MachineView::Stopped), Step::Rest);
}

proptest! {
    /// After a failure nothing is tried before the pause is over.
    #[test]
    fn a_failing_backend_is_not_hammered(
        goal in proptest::sample::select(&[Goal::Running, Goal::Stopped, Goal::Deleted][..]),
        state in proptest::sample::select(STATES),
        has_booted: bool,
        seen in proptest::sample::select(vec![
            MachineView::Unknown, MachineView::Absent, MachineView::Stopped, MachineView::PoweredOff, MachineView::Running(guest(1)), halted(false),
        ]),
        always: bool,
    ) {
        let policy = if always { RestartPolicy::Always } else { RestartPolicy::OnFailure };
        let situation = Situation { goal, state, has_booted, seen, may_try: false, policy, ..settled() };
        let step = plan(&situation);
        prop_assert!(
            matches!(step, Step::Rest | Step::Fault(_) | Step::Off | Step::Serve(_)), "{step:?}"
        );
    }
}

/// What is true of the machine, which nobody sees directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Absent,
    /// Disk there, no guest; whether the last one shut itself down.
    Off {
        by_guest: bool,
    },
    /// A guest is there; which one, and what keeps it from running.
    There {
        number: u16,
        pause: Option<Pause>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    DiskFull,
    DiskFailed,
    Somebody,
}

/// What may happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The backend is asked, and answers or not.
    Look(bool),
    /// The task does what it planned; the backend fails at it, or not.
    Act {
        works: bool,
    },
    GuestCrashes,
    GuestPowersOff,
    Paused(Pause),
    Unpaused,
    TimePasses,
    NodeRestarts,
    RenterStarts,
    RenterStops,
    RenterRestarts,
    MoneyEnds(bool),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any::<bool>().prop_map(Event::Look),
        8 => any::<bool>().prop_map(|works| Event::Act { works }),
        1 => Just(Event::GuestCrashes),
        1 => Just(Event::GuestPowersOff),
        1 => Just(Event::Paused(Pause::DiskFull)),
        1 => Just(Event::Paused(Pause::DiskFailed)),
        1 => Just(Event::Paused(Pause::Somebody)),
        2 => Just(Event::Unpaused),
        2 => Just(Event::TimePasses),
        1 => Just(Event::NodeRestarts),
        1 => Just(Event::RenterStarts),
        1 => Just(Event::RenterStops),
        1 => Just(Event::RenterRestarts),
        1 => any::<bool>().prop_map(Event::MoneyEnds),
    ]
}

/// A machine, its row and its task, as `crate::machine` and the backends treat them.
struct Model {
    truth: Truth,
    situation: Situation,
    /// What the renter wants, which counts while it is paid for.
    goal: Goal,
    paid: bool,
    /// Guests that were started so far.
    guests: u16,
    /// Whether an order to end the guest was given that was not yet carried out.
    ordered: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            truth: Truth::There { number: 0, pause: None },
            situation: settled(),
            goal: Goal::Running,
            paid: true,
            guests: 1,
            ordered: false,
        }
    }

    fn show(&mut self, state: VmState, shown: Option<String>) {
        self.situation.state = state;
        self.situation.shown = shown;
    }

    fn aim(&mut self, goal: Goal, state: Option<VmState>) {
        self.goal = goal;
        self.retarget();
        if let Some(state) = state.filter(|state| self.situation.state.may_become(*state)) {
            self.show(state, None);
        }
    }

    fn retarget(&mut self) {
        let goal = if self.paid { self.goal } else { Goal::Stopped };
        self.ordered |= goal == Goal::Stopped;
        self.situation.goal = goal;
    }

    /// The backend's `stop`; an error where a guest that is alive ends and nobody ordered it.
    fn stop(&mut self) -> Result<(), String> {
        if matches!(self.truth, Truth::There { .. }) {
            if !self.ordered {
                return Err("a guest that was alive was ended, and nobody ordered it".to_owned());
            }
            self.truth = Truth::Off { by_guest: false };
        }
        if let Truth::Off { by_guest } = &mut self.truth {
            *by_guest = false;
        }
        Ok(())
    }

    /// The backend's `start`, which leaves a guest that is there as it is. False where the machine is lost.
    fn start(&mut self) -> bool {
        if let Truth::Off { .. } = self.truth {
            self.truth = Truth::There { number: self.guests, pause: None };
            self.guests += 1;
        }
        self.truth != Truth::Absent
    }

    fn failed(&mut self) {
        self.situation.may_try = false;
        if self.situation.goal == Goal::Running {
            self.show(VmState::Error, Some("failed".to_owned()));
        }
    }

    /// What `Machine::boot` does.
    fn boot(&mut self) {
        self.show(VmState::Creating, None);
        self.situation.serving = None;
        match (self.start(), self.truth) {
            (true, Truth::There { number, pause: None }) => self.answered(number),
            _ => self.failed(),
        }
    }

    fn answered(&mut self, number: u16) {
        self.situation.serving = Some(guest(number).ssh);
        self.show(VmState::Running, None);
    }

    fn act(&mut self, works: bool) -> Result<(), String> {
        let step = plan(&self.situation);
        if step == Step::Rest {
            return Ok(());
        }
        if matches!(step, Step::Restart) {
            self.situation.restart = false;
        }
        match step {
            // The ledger, which works.
            Step::Fault(reason) => self.show(VmState::Error, Some(reason)),
            Step::Off => self.aim(Goal::Stopped, Some(VmState::Stopping)),
            Step::Serve(guest) => self.situation.serving = Some(guest.ssh),
            Step::Meet(guest) if self.situation.serving == Some(guest.ssh) => {
                self.show(VmState::Running, None);
            }
            _ if !works => {
                if matches!(step, Step::Stop | Step::Restart) {
                    self.show(VmState::Stopping, None);
                    self.situation.serving = None;
                }
                self.failed();
            }
            Step::Meet(_) => match self.truth {
                Truth::There { number, pause: None } => self.answered(number),
                _ => self.failed(),
            },
            Step::Resume => {
                self.situation.may_resume = false;
                if let Truth::There { pause: pause @ Some(Pause::DiskFull | Pause::DiskFailed), .. } =
                    &mut self.truth
                {
                    *pause = None;
                }
            }
            Step::Stop => {
                self.situation.restart = false;
                self.stop()?;
                self.ordered = false;
                self.situation.serving = None;
                self.show(VmState::Stopped, None);
            }
            Step::Restart => {
                self.show(VmState::Stopping, None);
                self.stop()?;
                self.ordered = false;
                self.boot();
            }
            Step::Boot if matches!(self.truth, Truth::There { .. }) => {
                return Err("a guest that is there was taken for gone".to_owned());
            }
            Step::Boot | Step::Make => self.boot(),
            Step::Remove | Step::Rest => return Err(format!("{step:?} was never wanted")),
        }
        // What was seen before says nothing of what is now.
        self.situation.seen = MachineView::Unknown;
        Ok(())
    }

    fn look(&mut self, answers: bool) {
        self.situation.seen = match self.truth {
            _ if !answers => MachineView::Unknown,
            Truth::Absent => MachineView::Absent,
            Truth::Off { by_guest: true } => MachineView::PoweredOff,
            Truth::Off { by_guest: false } => MachineView::Stopped,
            Truth::There { number, pause: None } => MachineView::Running(guest(number)),
            Truth::There { pause: Some(pause), .. } => halted(pause == Pause::DiskFailed),
        };
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match (event, self.truth) {
            (Event::Look(answers), _) => self.look(answers),
            (Event::Act { works }, _) => self.act(works)?,
            (Event::GuestCrashes, Truth::There { .. }) => self.truth = Truth::Off { by_guest: false },
            (Event::GuestPowersOff, Truth::There { pause: None, .. }) => {
                self.truth = Truth::Off { by_guest: true }
            }
            (Event::Paused(why), Truth::There { number, pause: None }) => {
                self.truth = Truth::There { number, pause: Some(why) };
            }
            (Event::Unpaused, Truth::There { number, .. }) => {
                self.truth = Truth::There { number, pause: None }
            }
            (Event::TimePasses, _) => {
                self.situation.may_try = true;
                self.situation.may_resume = true;
            }
            (Event::NodeRestarts, _) => {
                self.situation.serving = None;
                self.situation.restart = false;
                self.situation.may_try = true;
                self.situation.may_resume = true;
                self.look(true);
            }
            (Event::RenterStarts, _) => {
                let next = matches!(self.situation.state, VmState::Stopped | VmState::Error);
                self.aim(Goal::Running, next.then_some(VmState::Creating));
            }
            (Event::RenterStops, _) => {
                let next = (self.situation.state != VmState::Stopped).then_some(VmState::Stopping);
                self.aim(Goal::Stopped, next);
            }
            (Event::RenterRestarts, _)
                if !matches!(self.situation.state, VmState::Creating | VmState::Stopping) && self.paid =>
            {
                self.ordered = true;
                self.situation.restart = true;
                let is_off = self.situation.state == VmState::Stopped;
                self.aim(Goal::Running, Some(if is_off { VmState::Creating } else { VmState::Stopping }));
            }
            (Event::MoneyEnds(ended), _) => {
                self.paid = !ended;
                self.retarget();
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets the task do its work undisturbed.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..12 {
            self.happen(Event::TimePasses)?;
            self.look(true);
            self.act(true)?;
        }
        self.look(true);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// H-02, I3, I4: whatever is seen or not seen, fails, passes or starts anew, in whatever order: without
    /// an order of the renter, or the end of money, no guest that is alive is ended. And once things are left
    /// alone, everything is where it is wanted.
    #[test]
    fn h_02_nothing_that_is_seen_ever_ends_a_guest_that_is_alive(
        events in proptest::collection::vec(any_event(), 0..60)
    ) {
        let mut model = Model::new();
        for event in &events {
            let happened = model.happen(*event);
            prop_assert!(happened.is_ok(), "{happened:?} at {event:?}");
        }
        prop_assert!(model.settle().is_ok());
        let state = model.situation.state;
        match (model.situation.goal, model.truth) {
            (Goal::Stopped, truth) => {
                prop_assert_eq!(state, VmState::Stopped);
                prop_assert_eq!(truth, Truth::Off { by_guest: false });
            }
            (_, Truth::There { number, pause: None }) => {
                prop_assert_eq!(state, VmState::Running);
                prop_assert_eq!(model.situation.serving, Some(guest(number).ssh));
            }
            (_, Truth::There { pause: Some(_), .. }) => prop_assert_eq!(state, VmState::Error),
            (_, truth) => prop_assert!(false, "{truth:?} where it should run"),
        }
    }
}
