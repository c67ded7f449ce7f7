//! Rentals that were stopped for want of payment, and what others may have meanwhile.

use std::time::Duration;

use golem_chain::{Block, StreamTerms};
use golem_types::{Stream, StreamId};
use proptest::prelude::*;
use ruint::aliases::{U160, U256};

use super::super::Room;
use super::*;
use crate::payment::Rules;
use crate::payment::billing_policy::{Action, Evidence, next};
use crate::rental::Change;

const RULES: Rules = Rules {
    least_runway: Duration::ZERO,
    create_runway: Duration::from_secs(600),
    warning: Duration::ZERO,
    hold: Duration::from_secs(86_400),
    grace: Duration::from_secs(3600),
};

const TERMS: StreamTerms = StreamTerms {
    recipient: U160::from_limbs([7, 0, 0]),
    token: U160::ZERO,
    least_rate: None,
    least_runway: 0,
    grace: 0,
    lease: None,
};

#[derive(Debug, Clone)]
enum Step {
    /// A stranger rents so many CPUs for so many seconds.
    Create(u32, u128),
    /// The renter of one of them pays so many seconds more.
    TopUp(usize, u128),
    /// Time passes, and the monitor looks.
    Pass(u128),
    /// The renter of one of them asks that it run.
    Start(usize),
    /// The renter of one of them deletes it.
    Delete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = || prop::sample::select(vec![1u128, 3, 30, 599, 600, 4000, 40_000]);
    prop_oneof![
        (1u32..4, seconds()).prop_map(|(cpu, seconds)| Step::Create(cpu, seconds)),
        (any::<usize>(), seconds()).prop_map(|(which, seconds)| Step::TopUp(which, seconds)),
        seconds().prop_map(Step::Pass),
        any::<usize>().prop_map(Step::Start),
        any::<usize>().prop_map(Step::Delete),
    ]
}

/// A node without machines: what follows from money is done at once.
struct World {
    open: Open,
    context: AdmissionContext,
    streams: BTreeMap<VmId, Stream>,
    clock: u128,
    made: u64,
    /// Where memory of what is not paid for is kept: what there is.
    keeps: Option<HostOffer>,
}

impl World {
    fn at(&self) -> Timestamp {
        Timestamp::from_second(i64::try_from(self.clock).unwrap()).unwrap()
    }

    fn room(&self) -> Room {
        Room { offer: self.context.offer, max_vms: self.context.limits.max_vms }
    }

    fn some(&self, which: usize) -> Option<VmId> {
        let count = self.streams.len();
        (count > 0).then(|| self.streams.keys().nth(which % count).cloned()).flatten()
    }

    async fn create(&mut self, cpu: u32, seconds: u128) {
        let stream = Stream {
            token: U160::ZERO,
            sender: U160::from(5),
            recipient: TERMS.recipient,
            start: self.clock,
            stop: self.clock + seconds,
            rate: 1,
            deposit: U256::from(seconds),
            withdrawn: U256::ZERO,
            halted: false,
            lease: None,
        };
        let terms = StreamTerms { least_runway: RULES.runway_of_create(), ..TERMS };
        if golem_chain::judge::judge(&stream, &terms, self.clock).is_err() {
            assert!(seconds < 600);
            return;
        }
        self.made += 1;
        let key = StreamKey { contract: "1:0xab".into(), id: StreamId(U256::from(self.made)) };
        let paid = Paid::by(
            key,
            stream,
            Block { number: 1, time: self.clock, hash: alloy_primitives::B256::ZERO },
            self.at(),
        );
        let request =
            CreateVm { resources: Resources::new(cpu, cpu, 10), ..wanted(&format!("vm-{}", self.made)) };
        let image = "24.04".parse().unwrap();
        let made = self.open.ledger.reserve(request, image, paid, self.context.clone(), self.at()).await;
        if let Ok((vm, _)) = made.unwrap() {
            let running = Change { has_booted: true, ..Change::to(VmState::Running) };
            self.open.ledger.advance(&vm.id, running, self.at()).await.unwrap();
            self.streams.insert(vm.id.clone(), stream);
        }
    }

    /// What the monitor does, and machines after it.
    async fn look(&mut self) {
        let ledger = &self.open.ledger;
        for (id, stream) in self.streams.clone() {
            let rental = ledger.now().get(&id).unwrap().clone();
            let evidence = Evidence::Read { stream: &stream, now: self.clock };
            match next(rental.vm.unpaid.as_ref(), evidence, &TERMS, &RULES, self.at()) {
                Action::Rest | Action::Warn(_) => {}
                Action::Stop(reason) => {
                    ledger.set_unpaid(&id, Some((reason, self.clock)), self.keeps, self.at()).await.unwrap();
                    self.stop(&id).await;
                }
                Action::Resume => {
                    ledger.set_unpaid(&id, None, None, self.at()).await.unwrap();
                }
                Action::Delete => {
                    let unpaid = rental.vm.unpaid.as_ref().unwrap();
                    let held = self.at().duration_since(unpaid.since);
                    assert!(held.as_secs() >= 86_400, "held for {held:?}");
                    ledger.end(&id, self.at()).await.unwrap();
                    self.streams.remove(&id);
                }
            }
        }
        for id in self.streams.keys() {
            self.start(id).await;
        }
    }

    /// Takes room if there is some, and boots.
    async fn start(&self, id: &VmId) {
        let ledger = &self.open.ledger;
        let _ = ledger.take_room(id, self.room(), self.at()).await.unwrap();
        let rental = ledger.now().get(id).unwrap().clone();
        if rental.aim() == Goal::Running && rental.vm.state == VmState::Stopped {
            ledger.advance(id, Change::to(VmState::Creating), self.at()).await.unwrap();
            ledger.advance(id, Change::to(VmState::Running), self.at()).await.unwrap();
        }
    }

    async fn stop(&self, id: &VmId) {
        let state = self.open.ledger.now().get(id).unwrap().vm.state;
        if state == VmState::Running {
            self.open.ledger.advance(id, Change::to(VmState::Stopping), self.at()).await.unwrap();
            self.open.ledger.advance(id, Change::to(VmState::Stopped), self.at()).await.unwrap();
        }
    }

    fn check(&self) {
        let now = self.open.ledger.now();
        let mut taken = Resources::default();
        for rental in now.iter() {
            let whole = rental.vm.resources;
            let held = rental.vm.held;
            assert!(!rental.vm.suspends || held, "its memory is on disk, and it has CPU and memory");
            let whole = Resources { storage: rental.vm.storage_held(), ..whole };
            taken = taken.plus(if held { Resources { cpu: 0, memory: 0, ..whole } } else { whole });
            if held {
                assert_eq!((rental.vm.state, rental.aim()), (VmState::Stopped, Goal::Stopped));
            } else {
                assert!(rental.vm.unpaid.is_none(), "unpaid, off, and it keeps its CPU");
            }
        }
        assert!(taken.fits(self.context.offer.for_vms(1)), "{taken:?} taken");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// M-06, I6: whatever strangers open, let run out and top up, no more is held than there is, and what is not paid
    /// for keeps nobody from CPU and memory.
    #[test]
    fn m_06_held_rentals_take_no_cpu_and_no_memory(
        steps in prop::collection::vec(step(), 1..25),
        suspends in any::<bool>(),
        storage in 40u32..200,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let context = AdmissionContext {
                offer: HostOffer::fixed(Resources::new(6, 6, storage)),
                ..room(6, ports(30))
            };
            let mut world =
                World { open: Open::new(), context, streams: BTreeMap::new(), clock: 1_800_000_000, made: 0, keeps: None };
            world.keeps = suspends.then_some(world.context.offer);
            for step in steps {
                match step {
                    Step::Create(cpu, seconds) => world.create(cpu, seconds).await,
                    Step::TopUp(which, seconds) => {
                        let clock = world.clock;
                        if let Some(id) = world.some(which) {
                            let stream = world.streams.get_mut(&id).unwrap();
                            stream.stop = stream.stop.max(clock) + seconds;
                            stream.deposit += U256::from(seconds);
                        }
                    }
                    Step::Pass(seconds) => {
                        world.clock += seconds;
                        world.look().await;
                    }
                    Step::Start(which) => {
                        if let Some(id) = world.some(which) {
                            world.start(&id).await;
                        }
                    }
                    Step::Delete(which) => {
                        if let Some(id) = world.some(which) {
                            world.open.ledger.end(&id, world.at()).await.unwrap();
                            world.streams.remove(&id);
                        }
                    }
                }
                world.check();
            }
            let again = world.open.again().now();
            prop_assert_eq!(again.held(), world.open.ledger.now().held(), "a restart counts the same");
            Ok(())
        })?;
    }
}

/// M-06: two streams of the least length filled a node for a day.
#[tokio::test]
async fn m_06_a_held_rental_waits_for_room_and_comes_before_new_ones() {
    let context = room(2, ports(9));
    let mut world = World {
        open: Open::new(),
        context,
        streams: BTreeMap::new(),
        clock: 1_800_000_000,
        made: 0,
        keeps: None,
    };
    world.create(1, 600).await;
    world.create(1, 600).await;
    assert_eq!(world.streams.len(), 2);
    let first = world.some(0).unwrap();
    world.clock += 601;
    world.look().await;
    let now = world.open.ledger.now();
    // Disks stay, so that there is none left here.
    assert_eq!(now.held(), Resources::new(0, 0, 20));
    assert_eq!(now.with_room(), 0);
    world.context.offer = HostOffer::fixed(Resources::new(2, 2, 100));
    world.create(2, 700).await;
    assert_eq!(world.streams.len(), 3, "others may have what is not paid for");
    // 3 seconds begin no new hold.
    let since = |world: &World| world.open.ledger.now().get(&first).unwrap().vm.unpaid.clone();
    let held = since(&world);
    let top_up = |world: &mut World, seconds: u128| {
        let clock = world.clock;
        let stream = world.streams.get_mut(&first).unwrap();
        (stream.stop, stream.deposit) = (clock + seconds, stream.deposit + U256::from(seconds));
    };
    top_up(&mut world, 3);
    world.look().await;
    assert_eq!(since(&world), held);
    // Paid for in earnest, it waits, and nobody else gets before it.
    top_up(&mut world, 5000);
    world.look().await;
    let waiting = world.open.ledger.now().get(&first).unwrap().clone();
    assert_eq!((waiting.vm.held, &waiting.vm.unpaid, waiting.aim()), (true, &None, Goal::Stopped));
    assert!(waiting.vm.reason().unwrap().contains("as soon as the provider has room"));
    world.clock += 701;
    world.look().await;
    let running = world.open.ledger.now().get(&first).unwrap().clone();
    assert_eq!((running.vm.held, running.aim()), (false, Goal::Running));
    world.check();
}
