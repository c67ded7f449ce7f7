//! Consoles of simulated guests, held by whoever likes.

use std::collections::BTreeSet;

use golem_types::Resources;
use golem_vm::MachineSpec;
use golem_vm::sim::{FLOOD, PROMPT, Sim, SimConfig, SimControl};
use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

const SHORT: ConsoleLimits =
    ConsoleLimits { open: 2, idle: Duration::from_secs(60), output: 4096, rate: 1 << 20 };

/// Machines that run, without a node.
struct Bench {
    _folder: tempfile::TempDir,
    consoles: Consoles,
    control: SimControl,
    ids: Vec<VmId>,
}

fn by(who: &str) -> OpenedBy {
    OpenedBy(who.to_owned())
}

impl Bench {
    async fn start(limits: ConsoleLimits, machines: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let images = BTreeSet::from(["24.04".parse().unwrap()]);
        let config = SimConfig { data_dir: folder.path().to_owned(), images, boot: Duration::ZERO };
        let sim = Sim::open(config).unwrap();
        let control = sim.control();
        let backend = Backend::Sim(sim);
        let mut ids = Vec::new();
        for number in 0..machines {
            let name: golem_types::VmName = format!("vm-{number}").parse().unwrap();
            let spec = MachineSpec {
                id: VmId::new(&name, "2026-02-19T13:04:24Z".parse().unwrap(), [number; 10]),
                name,
                resources: Resources::new(1, 1, 10),
                image: "24.04".parse().unwrap(),
                keys: Vec::new(),
                first_boot: golem_types::FirstBoot::default(),
                rebuild_at: 0,
            };
            backend.create(&spec).await.unwrap();
            backend.start(&spec).await.unwrap();
            ids.push(spec.id);
        }
        let ledger = Ledger::open(&folder.path().join("provider.db")).unwrap();
        let consoles = Consoles::new(limits, Arc::new(backend), ledger, Tasks::new());
        Self { _folder: folder, consoles, control, ids }
    }

    async fn events(&self, id: &VmId) -> Vec<(String, String)> {
        let events = self.consoles.ledger.events(Some(id.clone()), 100).await.unwrap();
        events.into_iter().rev().map(|event| (event.kind, event.detail)).collect()
    }

    /// Waits until nobody has the console of `id`.
    async fn is_closed(&self, id: &VmId) {
        let line = self.consoles.slot(id).lock().await.clone();
        if let Some(line) = line {
            timeout(DEADLINE, line.done()).await.expect("it is closed in time");
        }
    }
}

async fn types(session: &ConsoleSession, bytes: &'static [u8]) {
    let room = timeout(DEADLINE, session.room()).await.expect("there is room in time").unwrap();
    room.send(golem_service::web_socket::Bytes::from_static(bytes));
}

/// What is written until it ends with `end`.
async fn hears(session: &ConsoleSession, end: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let output = timeout(DEADLINE, session.next()).await.expect("something is written in time");
        heard.extend_from_slice(&output.unwrap().bytes);
    }
    heard
}

async fn ends(session: &ConsoleSession) -> ConsoleEnd {
    let end = async {
        loop {
            if let Err(end) = session.next().await {
                return end;
            }
        }
    };
    timeout(DEADLINE, end).await.expect("it ends in time")
}

#[tokio::test]
async fn a_console_is_held_by_one_and_whoever_comes_later_takes_over() {
    let bench = Bench::start(SHORT, 1).await;
    let [id] = &bench.ids[..] else { panic!("one") };
    let first = bench.consoles.open(id, by("one")).await.unwrap();
    types(&first, b"root\r").await;
    assert_eq!(hears(&first, PROMPT).await, [b"root".as_slice(), PROMPT].concat());
    let second = bench.consoles.open(id, by("two")).await.unwrap();
    assert_eq!(ends(&first).await, ConsoleEnd::TakenOver);
    // What the other one types does not come, and its going ends nothing.
    types(&first, b"evil").await;
    drop(first);
    types(&second, b"good\r").await;
    assert_eq!(hears(&second, PROMPT).await, [b"good".as_slice(), PROMPT].concat());
    drop(second);
    bench.is_closed(id).await;
    // The log has what both saw, and a console that was left can be opened again.
    let log = bench.consoles.backend.console(id).await.unwrap();
    assert!(log.contains("root") && log.contains("good") && !log.contains("evil"), "{log}");
    let third = bench.consoles.open(id, by("three")).await.unwrap();
    types(&third, b"\r").await;
    hears(&third, PROMPT).await;
    bench.control.crash(id).unwrap();
    assert_eq!(ends(&third).await, ConsoleEnd::GuestEnded);
    bench.is_closed(id).await;
    let refused = bench.consoles.open(id, by("four")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Backend(_)), "{refused:?}");

    let events = bench.events(id).await;
    let told: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    let [open, close] = ["console.opened", "console.closed"];
    assert_eq!(told, [open, close, open, close, open, close], "{events:?}");
    assert!(
        events[0].1 == "by one" && events[1].1.starts_with("by one, after 0 s: another session"),
        "{events:?}"
    );
    assert!(
        events[3].1 == "by two, after 0 s: it was left" && events[5].1.ends_with("started anew"),
        "{events:?}"
    );
    let said = format!("{events:?}");
    assert!(!said.contains("root") && !said.contains("good"), "{said}");
}

/// A guest that floods, with nobody who takes it: what is kept is bounded, how much was dropped is told, the guest waits, and
/// the console answers still.
#[tokio::test]
async fn a_flood_is_dropped_within_its_bound_and_slowed_down() {
    let limits = ConsoleLimits { rate: 200_000, ..SHORT };
    let bench = Bench::start(limits, 1).await;
    let [id] = &bench.ids[..] else { panic!("one") };
    let session = bench.consoles.open(id, by("one")).await.unwrap();
    types(&session, FLOOD).await;
    types(&session, b"\r").await;
    let began = tokio::time::Instant::now();
    let (mut taken, mut dropped) = (0, 0_u64);
    while dropped == 0 || began.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let output = timeout(DEADLINE, session.next()).await.unwrap().unwrap();
        assert!(output.bytes.len() <= limits.output, "{}", output.bytes.len());
        taken += output.bytes.len();
        dropped += output.dropped;
    }
    let seconds = began.elapsed().as_secs_f64() + 0.5;
    let written = (taken as u64 + dropped) as f64;
    assert!(written < limits.rate as f64 * seconds, "{written} bytes in {seconds} s");
    assert!(bench.consoles.backend.console(id).await.unwrap().len() <= 65_536);
    // Somebody else gets the console at once all the same.
    let other = bench.consoles.open(id, by("two")).await.unwrap();
    assert_eq!(ends(&session).await, ConsoleEnd::TakenOver);
    assert!(timeout(DEADLINE, other.next()).await.unwrap().unwrap().bytes.contains(&b'y'));
    bench.consoles.tasks.stop().await;
    assert_eq!(ends(&other).await, ConsoleEnd::NodeStops);
    assert!(bench.events(id).await.last().unwrap().1.contains("node stops"));
}

#[tokio::test]
async fn consoles_are_bounded_in_number_and_end_where_nothing_is_typed() {
    let limits = ConsoleLimits { idle: Duration::from_millis(300), ..SHORT };
    let bench = Bench::start(limits, 3).await;
    let [one, two, three] = &bench.ids[..] else { panic!("three") };
    let first = bench.consoles.open(one, by("x")).await.unwrap();
    let second = bench.consoles.open(two, by("x")).await.unwrap();
    let refused = bench.consoles.open(three, by("x")).await.unwrap_err();
    assert!(matches!(refused, NodeError::TooManyConsoles), "{refused:?}");
    // One that is taken over needs no place of its own.
    let again = bench.consoles.open(one, by("y")).await.unwrap();
    assert_eq!(ends(&first).await, ConsoleEnd::TakenOver);
    assert_eq!((ends(&second).await, ends(&again).await), (ConsoleEnd::Idle, ConsoleEnd::Idle));
    bench.is_closed(one).await;
    bench.is_closed(two).await;
    golem_test_support::until("a place is free", async || bench.consoles.places.available_permits() == 2)
        .await;
    bench.consoles.open(three, by("x")).await.unwrap();
    assert!(bench.consoles.slots.lock().unwrap().len() <= 3);
}
