//! Snapshots of disks, and what others may have beside them.

use golem_types::{SnapshotConsistency, SnapshotName, SnapshotState};
use proptest::prelude::*;

use super::super::disk_snapshots::SnapshotOutcome;
use super::*;

/// Most snapshots of a VM.
const MOST: u32 = 2;

/// GiB that there are.
const DISK: u32 = 100;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody rents a VM with so much storage.
    Create(u32),
    /// The renter of one of them asks for the snapshot of that number.
    Grant(usize, u8),
    /// The renter asks that one be restored or deleted.
    Order(usize, u8, bool),
    /// Whatever is under way with one of them ends, well or not.
    Settle(usize, bool),
    /// The renter of one of them deletes it.
    Delete(usize),
    /// The node is killed and starts again.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::sample::select(vec![10u32, 20, 45]).prop_map(Step::Create),
        4 => (any::<usize>(), 0u8..4).prop_map(|(which, name)| Step::Grant(which, name)),
        2 => (any::<usize>(), 0u8..4, any::<bool>()).prop_map(|(which, name, restore)| Step::Order(which, name, restore)),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, well)| Step::Settle(which, well)),
        1 => any::<usize>().prop_map(Step::Delete),
        1 => Just(Step::Kill),
    ]
}

/// What each VM has, by the simplest rules: its disk, and its snapshots that are on the disk or may be.
type Model = BTreeMap<VmId, (u32, BTreeMap<SnapshotName, SnapshotState>)>;

fn rented(model: &Model) -> u32 {
    model.values().map(|(storage, snapshots)| storage * (1 + u32::try_from(snapshots.len()).unwrap())).sum()
}

fn name(number: u8) -> SnapshotName {
    format!("s{number}").parse().unwrap()
}

fn is_busy(snapshots: &BTreeMap<SnapshotName, SnapshotState>) -> bool {
    snapshots.values().any(|state| *state != SnapshotState::Ready)
}

async fn take(step: &Step, open: &mut Open, model: &mut Model, made: &mut u32) {
    let some = |model: &Model, which: usize| {
        (!model.is_empty()).then(|| model.keys().nth(which % model.len()).cloned()).flatten()
    };
    let offer = HostOffer::fixed(Resources::new(50, 50, DISK));
    match *step {
        Step::Create(storage) => {
            *made += 1;
            let resources = Resources::new(1, 1, storage);
            let request = CreateVm { resources, ..wanted(&format!("vm-{made}")) };
            let context = AdmissionContext { offer, ..room(50, ports(50)) };
            let image = "24.04".parse().unwrap();
            let reserved = open.ledger.reserve(request, image, Paid::free(), context, now()).await.unwrap();
            assert_eq!(reserved.is_ok(), rented(model) + storage <= DISK, "{reserved:?}");
            if let Ok((vm, _)) = reserved {
                model.insert(vm.id.clone(), (storage, BTreeMap::new()));
            }
        }
        Step::Grant(which, number) => {
            let Some(id) = some(model, which) else { return };
            let fits = rented(model) + model[&id].0 <= DISK;
            let (_, snapshots) = model.get_mut(&id).unwrap();
            let may = fits
                && !is_busy(snapshots)
                && !snapshots.contains_key(&name(number))
                && snapshots.len() < MOST as usize;
            let granted = open.ledger.grant_snapshot(&id, name(number), MOST, offer, now()).await.unwrap();
            assert_eq!(granted.is_ok(), may, "{granted:?}");
            if may {
                snapshots.insert(name(number), SnapshotState::Creating);
            }
        }
        Step::Order(which, number, restore) => {
            let Some(id) = some(model, which) else { return };
            let (_, snapshots) = model.get_mut(&id).unwrap();
            let order = if restore { SnapshotState::Restoring } else { SnapshotState::Deleting };
            let is_failed = open
                .ledger
                .now()
                .get(&id)
                .unwrap()
                .vm
                .snapshot(&name(number))
                .is_some_and(|s| !s.takes_room());
            let may = !is_busy(snapshots) && snapshots.contains_key(&name(number));
            // What failed is nothing any more, and can be cleared away.
            let may = may || (is_failed && !restore && !is_busy(snapshots));
            let ordered = open.ledger.order_snapshot(&id, name(number), order, now()).await.unwrap();
            assert_eq!(ordered.is_ok(), may, "{ordered:?}");
            if may && !is_failed {
                snapshots.insert(name(number), order);
            }
        }
        Step::Settle(which, well) => {
            let Some(id) = some(model, which) else { return };
            let (_, snapshots) = model.get_mut(&id).unwrap();
            let Some((name, state)) =
                snapshots.clone().into_iter().find(|(_, state)| *state != SnapshotState::Ready)
            else {
                return;
            };
            let why = || "why".to_owned();
            let outcome = match (state, well) {
                (SnapshotState::Creating, true) => SnapshotOutcome::Made(SnapshotConsistency::PowerCut),
                (SnapshotState::Creating, false) => SnapshotOutcome::NotMade(why()),
                (SnapshotState::Deleting, true) => SnapshotOutcome::Gone,
                (_, true) => SnapshotOutcome::Restored,
                (_, false) => SnapshotOutcome::NotDone(why()),
            };
            if matches!(outcome, SnapshotOutcome::NotMade(_) | SnapshotOutcome::Gone) {
                snapshots.remove(&name);
            } else {
                snapshots.insert(name.clone(), SnapshotState::Ready);
            }
            open.ledger.settle_snapshot(&id, name, outcome, now()).await.unwrap();
        }
        Step::Delete(which) => {
            let Some(id) = some(model, which) else { return };
            open.ledger.end(&id, now()).await.unwrap();
            model.remove(&id);
        }
        Step::Kill => open.ledger = open.again(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// I6: what is on the disk, or may come to be, is counted as rented, no more and no less, and never more than there is.
    #[test]
    fn i6_a_snapshot_counts_as_a_disk_while_it_may_be_there(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut open, mut model, mut made) = (Open::new(), Model::new(), 0);
            for step in &steps {
                take(step, &mut open, &mut model, &mut made).await;
                let held = open.ledger.now().held().storage;
                assert_eq!(held, rented(&model), "after {step:?}");
                assert!(held <= DISK);
            }
        });
    }
}
