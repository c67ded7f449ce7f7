//! What the ledger promises, against a real database.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use golem_reach::verdict::{PortVerdict, UnreachableReason};
use golem_types::{Resources, VmState};
use jiff::Timestamp;

use super::columns::rounded;
use super::*;
use crate::admit::AdmissionLimits;
use crate::host::{HostOffer, HostUse};
use crate::paid::{Paid, StreamCopy};
use crate::ports::PortPolicy;
use crate::vm::{JobState, Refusal};

mod booked;
mod claims;
mod disk_snapshots;
mod held;
mod promised;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn wanted(name: &str) -> CreateVm {
    CreateVm {
        name: name.parse().unwrap(),
        resources: Resources::new(1, 1, 10),
        image: None,
        ssh_key: KEY.parse().unwrap(),
        more_keys: Vec::new(),
        first_boot: golem_types::FirstBoot::default(),
        stream_id: None,
        quote_id: None,
        stream_proof: None,
        payment: None,
        renter: None,
    }
}

/// Room for `vms` machines, on `ports` that are all free.
pub(super) fn room(vms: u32, ports: Range<u16>) -> AdmissionContext {
    AdmissionContext {
        limits: AdmissionLimits { max_vms: 1000, ..AdmissionLimits::default() },
        offer: HostOffer::fixed(Resources::new(vms, vms, vms * 10)),
        host: HostUse::default(),
        free_ports: ports.clone().collect(),
        ports,
        port_policy: PortPolicy::Free,
    }
}

/// Reserves a VM called `name` for whoever has [`KEY`].
pub(super) async fn reserve(
    ledger: &Ledger,
    name: &str,
    room: &AdmissionContext,
    now: Timestamp,
) -> Result<(Arc<Vm>, Job), Refusal> {
    let image = "24.04".parse().unwrap();
    ledger.reserve(wanted(name), image, Paid::free(), room.clone(), now).await.unwrap()
}

/// A range of `count` ports; nobody listens anywhere here.
pub(super) fn ports(count: u16) -> Range<u16> {
    50_800..50_800 + count
}

pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

pub(super) struct Open {
    pub(super) ledger: Ledger,
    folder: tempfile::TempDir,
}

impl Open {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { ledger: Ledger::open(&folder.path().join("ledger.db")).unwrap(), folder }
    }

    /// The ledger as the next process would find it.
    pub(super) fn again(&self) -> Ledger {
        Ledger::open(&self.folder.path().join("ledger.db")).unwrap()
    }
}

#[tokio::test]
async fn s_079_i6_capacity_is_what_the_rows_leave_and_comes_back_exactly() {
    let open = Open::new();
    let room = room(2, ports(5));
    let (first, _) = reserve(&open.ledger, "one", &room, now()).await.unwrap();
    reserve(&open.ledger, "two", &room, now()).await.unwrap();
    let refusal = reserve(&open.ledger, "three", &room, now()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Insufficient { wanted: 1, free: 0, .. }), "{refusal:?}");
    open.ledger.end(&first.id, now()).await.unwrap();
    assert_eq!(open.ledger.now().held(), Resources::new(1, 1, 10));
    assert_eq!(open.again().now().held(), Resources::new(1, 1, 10));
    reserve(&open.ledger, "three", &room, now()).await.unwrap();
}

#[tokio::test]
async fn s_080_concurrent_creates_never_oversell_and_never_share_a_port_or_name() {
    let open = Open::new();
    let room = room(7, ports(30));
    let create = async |n| reserve(&open.ledger, &format!("vm-{}", n / 2), &room, now()).await;
    let granted: Vec<_> = futures_util::future::join_all((0..40).map(create))
        .await
        .into_iter()
        .filter_map(Result::ok)
        .map(|(vm, _)| vm)
        .collect();
    assert_eq!(granted.len(), 7);
    let ports: BTreeSet<u16> = granted.iter().map(|vm| vm.ssh_port).collect();
    let names: BTreeSet<_> = granted.iter().map(|vm| vm.name.clone()).collect();
    assert_eq!((ports.len(), names.len()), (7, 7));
}

#[tokio::test]
async fn s_063_250_rentals_pass_through_100_ports() {
    let open = Open::new();
    let range = ports(100);
    let room = room(1, range.clone());
    let mut seen = BTreeSet::new();
    for n in 0..250 {
        let (vm, _) = reserve(&open.ledger, &format!("vm-{n}"), &room, now()).await.unwrap();
        assert!(range.contains(&vm.ssh_port));
        seen.insert(vm.ssh_port);
        open.ledger.end(&vm.id, now()).await.unwrap();
    }
    assert_eq!(seen.len(), 100, "ports are used in turn");
}

#[tokio::test]
async fn only_a_port_that_was_found_free_is_handed_out_and_the_next_one_if_it_is_taken_meanwhile() {
    let open = Open::new();
    let range = ports(4);
    let found = |free: &[u16]| AdmissionContext {
        free_ports: free.iter().map(|n| range.start + n).collect(),
        ..room(5, range.clone())
    };
    let (one, _) = reserve(&open.ledger, "one", &found(&[1, 2]), now()).await.unwrap();
    let (two, _) = reserve(&open.ledger, "two", &found(&[1, 2]), now()).await.unwrap();
    assert_eq!((one.ssh_port, two.ssh_port), (range.start + 1, range.start + 2));
    let refusal = reserve(&open.ledger, "three", &found(&[1, 2]), now()).await.unwrap_err();
    assert_eq!(refusal, Refusal::NoPort);
    let outside = AdmissionContext { free_ports: BTreeSet::from([range.end]), ..room(5, range.clone()) };
    assert_eq!(reserve(&open.ledger, "three", &outside, now()).await.unwrap_err(), Refusal::NoPort);
}

#[tokio::test]
async fn names_are_unique_per_owner_among_live_rentals() {
    let open = Open::new();
    let room = room(5, ports(5));
    let (vm, _) = reserve(&open.ledger, "one", &room, now()).await.unwrap();
    let refusal = reserve(&open.ledger, "one", &room, now()).await.unwrap_err();
    assert_eq!(refusal, Refusal::NameTaken(vm.name.clone()));
    let other = CreateVm { ssh_key: KEY.replace("eZJ", "eZK").parse().unwrap(), ..wanted("one") };
    let image = "24.04".parse().unwrap();
    open.ledger.reserve(other, image, Paid::free(), room.clone(), now()).await.unwrap().unwrap();
    open.ledger.end(&vm.id, now()).await.unwrap();
    reserve(&open.ledger, "one", &room, now()).await.unwrap();
}

#[tokio::test]
async fn a_rental_and_its_job_survive_a_restart_as_they_were() {
    let open = Open::new();
    let room = room(5, ports(5));
    let more_keys = vec![KEY.parse().unwrap(), KEY.replace("eZJ", "eZK").parse().unwrap()];
    let first_boot = golem_types::FirstBoot {
        user_data: Some("#!/bin/sh\nid\n".parse().unwrap()),
        hostname: Some("web.example.org".parse().unwrap()),
        timezone: None,
    };
    let wanted = CreateVm { more_keys, first_boot, ..wanted("one") };
    let image = "24.04".parse().unwrap();
    let (vm, job) = open.ledger.reserve(wanted, image, Paid::free(), room, now()).await.unwrap().unwrap();
    assert_eq!(vm.keys.len(), 2, "each key once");
    let ip = "10.0.2.15".parse().unwrap();
    let change = Change { ip_address: Some(ip), has_booted: true, ..Change::to(VmState::Running) };
    open.ledger.advance(&vm.id, change, now()).await.unwrap();
    open.ledger.set_draining(true).await.unwrap();
    let again = open.again();
    let row = again.now().get(&vm.id).unwrap().clone();
    assert_eq!(row, *open.ledger.now().get(&vm.id).unwrap());
    assert_eq!((row.vm.state, row.has_booted, row.vm.ip_address), (VmState::Running, true, Some(ip)));
    assert!(again.now().draining);
    assert_eq!(again.job(&job.id).await.unwrap().unwrap().state, JobState::Ready);
}

#[tokio::test]
async fn a_failed_create_keeps_its_reason_and_frees_everything() {
    let open = Open::new();
    let room = room(5, ports(5));
    let (vm, job) = reserve(&open.ledger, "one", &room, now()).await.unwrap();
    open.ledger.give_up(&vm.id, "no disk".to_owned(), now()).await.unwrap();
    assert_eq!(open.ledger.now().held(), vm.resources, "held until the machine is gone");
    open.ledger.end(&vm.id, now()).await.unwrap();
    assert_eq!(open.ledger.now().held(), Resources::default());
    let row = open.ledger.rental(&vm.id).await.unwrap().unwrap();
    assert_eq!((row.vm.state, row.vm.error.as_deref()), (VmState::Deleted, Some("no disk")));
    let job = open.ledger.job(&job.id).await.unwrap().unwrap();
    assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("no disk")));
}

#[tokio::test]
async fn nothing_comes_back_from_deletion() {
    let open = Open::new();
    let room = room(5, ports(5));
    let (vm, _) = reserve(&open.ledger, "one", &room, now()).await.unwrap();
    open.ledger.aim(&vm.id, Goal::Deleted, Some(VmState::Stopping), now()).await.unwrap();
    open.ledger.aim(&vm.id, Goal::Running, Some(VmState::Creating), now()).await.unwrap();
    assert_eq!(open.ledger.now().get(&vm.id).unwrap().goal, Goal::Deleted);
    open.ledger.end(&vm.id, now()).await.unwrap();
    let gone = open.ledger.aim(&vm.id, Goal::Running, None, now()).await;
    assert!(matches!(gone, Err(LedgerError::NoRental(_))));
    assert_eq!(open.ledger.known(&vm.id).await.unwrap(), Known::Ended);
    let stranger = "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa".parse().unwrap();
    assert_eq!(open.ledger.known(&stranger).await.unwrap(), Known::Unknown);
}

#[tokio::test]
async fn an_illegal_move_is_refused_and_changes_nothing() {
    let open = Open::new();
    let room = room(5, ports(5));
    let (vm, _) = reserve(&open.ledger, "one", &room, now()).await.unwrap();
    open.ledger.advance(&vm.id, Change::to(VmState::Stopped), now()).await.unwrap();
    let error = open.ledger.advance(&vm.id, Change::to(VmState::Stopping), now()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Illegal(_)));
    assert_eq!(open.again().now().get(&vm.id).unwrap().vm.state, VmState::Stopped);
}

#[test]
fn a_damaged_or_newer_ledger_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::write(&path, b"not a database, but long enough to be read as one: ".repeat(40)).unwrap();
    assert!(matches!(Ledger::open(&path), Err(LedgerError::Damaged(_))));
    let newer = folder.path().join("newer.db");
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let bytes = std::fs::read(&newer).unwrap();
    assert!(matches!(Ledger::open(&newer), Err(LedgerError::Newer { found: 999, .. })));
    assert_eq!(std::fs::read(&newer).unwrap(), bytes);
}

#[tokio::test]
async fn s_250_reads_cost_no_query_and_wait_for_no_write() {
    let open = Open::new();
    let room = room(5, ports(5));
    let (vm, _) = reserve(&open.ledger, "one", &room, now()).await.unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let ledger = open.ledger.clone();
    let blocked = ledger.ask(move |_| {
        released.recv().unwrap();
        Ok(())
    });
    let read = async {
        assert_eq!(open.ledger.now().get(&vm.id).unwrap().vm.name, vm.name);
        assert_eq!(open.ledger.now().held(), vm.resources);
        release.send(()).unwrap();
    };
    // The thread is busy with the first for as long as the second has not read.
    let (blocked, ()) = tokio::join!(blocked, read);
    blocked.unwrap();
}

fn verdict(port: u16, reachable: bool) -> PortVerdict {
    PortVerdict {
        port,
        problem: (!reachable).then_some(UnreachableReason::TimedOut),
        address: [203, 0, 113, 7].into(),
        sources: BTreeSet::from(["http://one".to_owned(), "http://two".to_owned()]),
        answered: 3,
        at: rounded(now()),
    }
}

#[tokio::test]
async fn s_062_only_ports_seen_to_be_reachable_are_handed_out() {
    let open = Open::new();
    let ports = ports(4);
    let verified = AdmissionContext { port_policy: PortPolicy::Verified, ..room(10, ports.clone()) };
    let refused = async |name| reserve(&open.ledger, name, &verified, now()).await.unwrap_err();
    assert_eq!(refused("early").await, Refusal::Unverified);
    let (bad, good) = (ports.start, [ports.start + 1, ports.start + 2]);
    let known = vec![verdict(bad, false), verdict(good[0], true), verdict(good[1], true)];
    open.ledger.keep_port_verdicts(known.clone()).await.unwrap();
    let mut got = BTreeSet::new();
    for name in ["one", "two"] {
        got.insert(reserve(&open.ledger, name, &verified, now()).await.unwrap().0.ssh_port);
    }
    assert_eq!(got, BTreeSet::from(good));
    assert_eq!(refused("three").await, Refusal::NoPort);
    // The next process knows the same.
    let known: BTreeMap<u16, PortVerdict> = known.into_iter().map(|known| (known.port, known)).collect();
    assert_eq!(*open.again().now().port_verdicts, known);
    // A port that stops being reachable is not handed out again, and its rental goes on.
    let (vm, _) = reserve(&open.ledger, "free", &room(10, ports), now()).await.unwrap();
    open.ledger.keep_port_verdicts(vec![verdict(good[0], false)]).await.unwrap();
    assert!(open.ledger.now().get(&vm.id).is_some());
    for rental in open.ledger.now().iter().filter(|rental| rental.vm.ssh_port == good[0]) {
        open.ledger.end(&rental.vm.id, now()).await.unwrap();
    }
    assert_eq!(refused("four").await, Refusal::NoPort);
}

#[tokio::test]
async fn verdicts_on_another_address_are_forgotten() {
    let open = Open::new();
    let moved = PortVerdict { address: [203, 0, 113, 8].into(), ..verdict(50801, true) };
    open.ledger.keep_port_verdicts(vec![verdict(50800, true), moved.clone()]).await.unwrap();
    assert_eq!(open.ledger.forget_port_verdicts_but_of(moved.address).await.unwrap(), 1);
    let left: Vec<u16> = open.ledger.now().port_verdicts.keys().copied().collect();
    assert_eq!(left, [50801]);
    assert_eq!(open.again().now().port_verdicts.len(), 1);
}

/// Rows of a table.
fn count(open: &Open, table: &str) -> i64 {
    let connection = Connection::open(open.folder.path().join("ledger.db")).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn i_15_what_ended_is_forgotten_in_time_and_the_file_shrinks() {
    let open = Open::new();
    let room = room(500, ports(5));
    let long_ago = now() - jiff::SignedDuration::from_hours(100 * 24);
    let cutoff = now() - jiff::SignedDuration::from_hours(90 * 24);
    let (live, _) = reserve(&open.ledger, "live", &room, long_ago).await.unwrap();
    let mut last = None;
    for number in 0..500 {
        // The last ones ended just now.
        let at = if number < 490 { long_ago } else { now() };
        let (vm, _) = reserve(&open.ledger, "vm-of-many", &room, at).await.unwrap();
        open.ledger.note(&vm.id, "vm.noted", "x".repeat(500), at).await.unwrap();
        open.ledger.end(&vm.id, at).await.unwrap();
        if number == 0 {
            last = Some(vm.id.clone());
        }
    }
    let kept = last.unwrap();
    open.ledger.checkpoint().await.unwrap();
    let size = || std::fs::metadata(open.folder.path().join("ledger.db")).unwrap().len();
    let before = size();
    assert_eq!((count(&open, "vms"), count(&open, "jobs"), count(&open, "events")), (501, 501, 1501));

    // A machine that is still on the backend keeps its row: it is known as ended, and removed.
    let machines = BTreeSet::from([kept.clone()]);
    let mut steps = Vec::new();
    loop {
        let pruned = open.ledger.prune(cutoff, machines.clone(), now()).await.unwrap();
        if pruned.is_none() {
            break;
        }
        steps.push(pruned.rentals);
    }
    assert_eq!(steps, [200, 200, 89], "in bounded steps");
    assert_eq!((count(&open, "vms"), count(&open, "jobs"), count(&open, "events")), (12, 12, 34));
    assert_eq!(open.ledger.known(&kept).await.unwrap(), Known::Ended);
    assert_eq!(open.ledger.known(&live.id).await.unwrap(), Known::Live);
    open.ledger.checkpoint().await.unwrap();
    assert!(size() * 2 < before, "{} of {before} bytes", size());
    assert_eq!(open.again().now().iter().len(), 1);
}

/// A stream that pays `rate` wei a second for `seconds` from the beginning of time.
fn paid_by(number: u64, seconds: u64, withdrawn: u64) -> StreamCopy {
    let of = |number: u64| ruint::aliases::U256::from(number);
    StreamCopy {
        key: StreamKey { contract: "1:0x0".into(), id: golem_types::StreamId(of(number)) },
        vm: "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa".parse().unwrap(),
        stream: golem_types::Stream {
            token: Default::default(),
            sender: ruint::aliases::U160::from(1),
            recipient: ruint::aliases::U160::from(2),
            start: 0,
            stop: u128::from(seconds),
            rate: 1,
            deposit: of(seconds),
            withdrawn: of(withdrawn),
            halted: false,
            lease: None,
        },
        block: 1,
        block_time: 1_000_000,
        read_at: now(),
    }
}

#[tokio::test]
async fn the_lease_of_a_stream_is_kept_to_the_last_bit() {
    let open = Open::new();
    let (vm, _) = reserve(&open.ledger, "leased", &room(10, ports(5)), now()).await.unwrap();
    let lease = golem_types::Lease {
        id: alloy_primitives::B256::repeat_byte(0xfe),
        terms_hash: alloy_primitives::B256::repeat_byte(1),
        donation: golem_types::Donation {
            basis_points: 150,
            recipient: ruint::aliases::U160::MAX,
            deposit: ruint::aliases::U256::MAX,
            withdrawn: ruint::aliases::U256::from(u128::MAX),
        },
    };
    let mut copy = StreamCopy { vm: vm.id.clone(), ..paid_by(1, 10, 10) };
    copy.stream.lease = Some(lease);
    let kept = copy.clone();
    open.ledger.ask(move |writer| money::put_stream(&writer.connection, &kept)).await.unwrap();
    assert_eq!(open.ledger.streams("1:0x0").await.unwrap()[0].stream, copy.stream);
}

#[tokio::test]
async fn i_15_money_that_can_still_be_had_is_never_forgotten_and_the_sums_stay() {
    let open = Open::new();
    let room = room(10, ports(5));
    let long_ago = now() - jiff::SignedDuration::from_hours(100 * 24);
    let cutoff = now() - jiff::SignedDuration::from_hours(90 * 24);
    let mut ids = Vec::new();
    // Nothing left; some vested and not fetched; still running.
    for (number, copy) in
        [paid_by(1, 10, 10), paid_by(2, 10, 9), paid_by(3, 9_999_999_999, 0)].into_iter().enumerate()
    {
        let name = format!("vm-{number}");
        let (vm, _) = reserve(&open.ledger, &name, &room, long_ago).await.unwrap();
        let copy = StreamCopy { vm: vm.id.clone(), ..copy };
        open.ledger.ask(move |writer| money::put_stream(&writer.connection, &copy)).await.unwrap();
        open.ledger.end(&vm.id, long_ago).await.unwrap();
        ids.push(vm.id.clone());
    }
    for at in [long_ago, now()] {
        let write = AdvertWrite {
            at,
            network: "net".to_owned(),
            hash: Default::default(),
            kinds: "create".to_owned(),
            succeeded: at != long_ago,
            gas: 7,
            cost: ruint::aliases::U256::MAX / ruint::aliases::U256::from(4),
        };
        open.ledger.record_advert_write(write).await.unwrap();
    }
    let before = open.ledger.advert_spending("net").await.unwrap();
    assert_eq!((before.writes, before.failed, before.gas), (2, 1, 14));
    let pruned = open.ledger.prune(cutoff, BTreeSet::new(), now()).await.unwrap();
    assert_eq!((pruned.rentals, pruned.adverts), (1, 1));
    assert!(open.ledger.prune(cutoff, BTreeSet::new(), now()).await.unwrap().is_none());
    assert_eq!((count(&open, "streams"), count(&open, "advert_writes")), (2, 1));
    assert_eq!(open.ledger.advert_spending("net").await.unwrap(), before);
    let known: Vec<_> = futures_util::future::join_all(ids.iter().map(|id| open.ledger.known(id))).await;
    let known: Vec<_> = known.into_iter().map(Result::unwrap).collect();
    assert_eq!(known, [Known::Unknown, Known::Ended, Known::Ended]);
}

#[tokio::test]
async fn h_11_a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::write(&path, b"this is no database, and long enough to be looked at as one").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Ledger::open(&path), Err(LedgerError::Damaged(_))));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // An older version's file, which could not shrink, is made able to.
    std::fs::remove_file(&path).unwrap();
    let old = Connection::open(&path).unwrap();
    old.execute_batch("CREATE TABLE filler (x)").unwrap();
    drop(old);
    drop(Ledger::open(&path).unwrap());
    let mode: i64 =
        Connection::open(&path).unwrap().query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, 2);
}
