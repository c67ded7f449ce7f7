use jiff::civil::Time;
use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_secs(15);

fn condition(rule: Rule, subject: &str) -> Condition {
    Condition { rule, subject: subject.to_owned(), text: format!("{subject} is off"), fix: None }
}

struct World {
    engine: Engine,
    now: Duration,
    local: Time,
}

impl World {
    fn new(repeat_hours: u32, quiet: Option<&str>) -> Self {
        let quiet = quiet.map(|text| text.parse().unwrap());
        Self {
            engine: Engine::new("n".to_owned(), repeat_hours, quiet),
            now: Duration::ZERO,
            local: Time::midnight(),
        }
    }

    fn step(&mut self, conditions: &[Condition]) -> Option<Message> {
        self.now += STEP;
        let at = Timestamp::UNIX_EPOCH + self.now;
        let seen = Seen { conditions: conditions.to_vec(), unknown: BTreeSet::new() };
        self.engine.look(self.now, (at, self.local), seen)
    }

    fn run(&mut self, conditions: &[Condition], length: Duration) -> Vec<Message> {
        let steps = length.as_secs() / STEP.as_secs();
        (0..steps).filter_map(|_| self.step(conditions)).collect()
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

#[test]
fn what_holds_is_told_once_then_rarely_and_its_end_is_told() {
    let mut world = World::new(12, None);
    let paused = [condition(Rule::VmPaused, "vm-1")];
    assert_eq!(world.run(&paused, minutes(2)), []);
    assert_eq!(world.engine.list()[0].state, "pending");
    let told = world.run(&paused, minutes(10 * 60));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(!told[0].resolved);
    assert_eq!(world.run(&paused, minutes(3 * 60)).len(), 1, "again after twelve hours");
    let over = world.run(&[], minutes(10));
    assert_eq!(over.len(), 1);
    assert!(over[0].resolved);
    assert_eq!(world.engine.list(), []);
}

#[test]
fn what_does_not_hold_is_never_told() {
    let mut world = World::new(12, None);
    for _ in 0..100 {
        assert_eq!(world.run(&[condition(Rule::PortLost, "")], minutes(4)), []);
        assert_eq!(world.run(&[], minutes(1)), []);
    }
}

#[test]
fn a_burst_is_one_message() {
    let mut world = World::new(12, None);
    let many: Vec<Condition> = (0..1000).map(|vm| condition(Rule::VmDown, &vm.to_string())).collect();
    assert_eq!(world.run(&many[..1], STEP), []);
    let told = world.run(&many, minutes(30));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].entries.len() + told[0].more, 1000);
}

#[test]
fn quiet_hours_keep_what_can_wait_and_let_pass_what_is_critical() {
    let mut world = World::new(12, Some("22:00-07:00"));
    let (vm, disk) = (condition(Rule::VmDown, "vm-1"), condition(Rule::DiskFull, ""));
    let gone = condition(Rule::VmPaused, "vm-2");
    assert_eq!(world.run(&[vm.clone(), gone], minutes(60)), []);
    let told = world.run(&[vm.clone(), disk.clone()], minutes(60));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].entries.iter().map(|entry| entry.rule).collect::<Vec<_>>(), [Rule::DiskFull]);
    world.local = Time::new(7, 0, 0, 0).unwrap();
    let told = world.run(&[vm, disk], minutes(10));
    // What was over before the morning is not told at all.
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].entries.iter().map(|entry| entry.subject.as_str()).collect::<Vec<_>>(), ["vm-1"]);
}

#[test]
fn what_nobody_can_tell_now_is_not_over() {
    let mut world = World::new(0, None);
    assert_eq!(world.run(&[condition(Rule::PortLost, "")], minutes(10)).len(), 1);
    for _ in 0..1000 {
        world.now += STEP;
        let seen = Seen { conditions: Vec::new(), unknown: BTreeSet::from([Rule::PortLost]) };
        let at = (Timestamp::UNIX_EPOCH, Time::midnight());
        assert_eq!(world.engine.look(world.now, at, seen), None);
    }
    assert_eq!(world.engine.list()[0].state, "firing");
}

#[test]
fn what_flaps_all_day_is_told_ever_more_rarely() {
    let mut world = World::new(0, None);
    let mut messages = 0;
    while world.now < Duration::from_secs(24 * 3600) {
        messages += world.run(&[condition(Rule::VmDown, "vm-1")], minutes(5)).len();
        messages += world.run(&[], minutes(5)).len();
    }
    assert!((2..=8).contains(&messages), "{messages}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes and goes in a day, in whatever rhythm: news of one thing alternates between trouble and its end, what
    /// is told as trouble has held, and there are few messages.
    #[test]
    fn a_flapping_level_sends_a_bounded_number_of_messages(
        lengths in (2_u64..400).prop_flat_map(|most| proptest::collection::vec(1..most, 1..200)),
        rule in prop::sample::select(Rule::ALL.to_vec()),
        repeat in prop::sample::select(vec![0_u32, 6, 12]),
    ) {
        let mut world = World::new(repeat, None);
        let held = [condition(rule, "x")];
        let (mut is_on, mut on_for, mut told, mut messages) = (false, Duration::ZERO, false, 0);
        'day: for length in lengths.iter().cycle() {
            is_on = !is_on;
            for _ in 0..*length {
                if world.now > Duration::from_secs(24 * 3600) {
                    break 'day;
                }
                on_for = if is_on { on_for + STEP } else { Duration::ZERO };
                let Some(message) = world.step(if is_on { &held } else { &[] }) else { continue };
                messages += 1;
                prop_assert_eq!(message.entries.len(), 1);
                let resolved = message.entries[0].resolved;
                prop_assert!(!resolved || told, "an end of what was never told");
                prop_assert!(resolved || !told || repeat > 0, "told twice");
                prop_assert!(!resolved || !is_on, "told as over while it is there");
                told = !resolved;
            }
        }
        prop_assert!(messages <= 36, "{} messages in a day", messages);
    }
}
