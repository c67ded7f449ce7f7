//! What quotes keep, against a simple model of it.

use alloy_primitives::{Address, B256};
use golem_types::StreamId;
use golem_types::net::Source;
use golem_types::wire::LeasePayment;
use proptest::prelude::*;
use ruint::aliases::U256;

use super::*;
use crate::promise::Promise;

/// How long a quote counts, in seconds.
const LIFE: i64 = 900;

const TOTAL: Resources = Resources::new(9, 9, 90);

const MAX_VMS: u32 = 7;

#[derive(Debug, Clone)]
enum Step {
    /// A renter asks from an address for a quote of so many CPUs.
    Quote(u8, u8, u32),
    /// A stranger rents so many CPUs.
    Create(u32),
    /// Somebody rents with one of the leases that were quoted: its renter, or another.
    Use(usize, bool),
    /// One of the VMs is gone.
    Delete(usize),
    /// Seconds pass.
    Pass(i64),
    /// The process is killed and starts again.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, 0u8..6, 1u32..5).prop_map(|(who, from, cpu)| Step::Quote(who, from, cpu)),
        2 => (1u32..4).prop_map(Step::Create),
        3 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(which, own)| Step::Use(which, own)),
        2 => any::<usize>().prop_map(Step::Delete),
        2 => prop::sample::select(vec![1, 300, 899, 900, 901]).prop_map(Step::Pass),
        1 => Just(Step::Kill),
    ]
}

const fn size(cpu: u32) -> Resources {
    Resources::new(cpu, cpu, cpu * 10)
}

/// Two customers in each network.
fn source(from: u8) -> Source {
    Source::of([192, 0, from / 2, from].into())
}

#[derive(Debug, Clone, Copy)]
struct Quoted {
    number: u64,
    who: u8,
    from: u8,
    cpu: u32,
    until: i64,
}

impl Quoted {
    fn lease(&self) -> B256 {
        B256::from(U256::from(self.number))
    }
}

struct World {
    open: Open,
    ledger: Ledger,
    clock: i64,
    made: u64,
    /// All that were quoted, and those that keep something.
    quoted: Vec<Quoted>,
    kept: Vec<Quoted>,
    vms: Vec<(VmId, u32)>,
}

impl World {
    fn new() -> Self {
        let open = Open::new();
        let ledger = open.ledger.clone();
        let (quoted, kept, vms) = Default::default();
        Self { open, ledger, clock: 1_800_000_000, made: 0, quoted, kept, vms }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(self.clock).unwrap()
    }

    fn context() -> AdmissionContext {
        let room = room(0, ports(30));
        let limits = AdmissionLimits { max_vms: MAX_VMS, ..room.limits };
        AdmissionContext { offer: HostOffer::fixed(TOTAL), limits, ..room }
    }

    /// CPUs that are rented and kept; everything else is as many times them.
    fn taken(&self) -> (u32, u32) {
        let cpu = self.vms.iter().map(|(_, cpu)| cpu).sum::<u32>();
        let kept = self.kept.iter().map(|quoted| quoted.cpu).sum::<u32>();
        (cpu + kept, u32::try_from(self.vms.len() + self.kept.len()).unwrap())
    }

    fn fits(&self, cpu: u32) -> bool {
        let (taken, vms) = self.taken();
        taken + cpu <= TOTAL.cpu && vms < MAX_VMS
    }

    async fn quote(&mut self, who: u8, from: u8, cpu: u32) {
        self.made += 1;
        let quoted = Quoted { number: self.made, who, from, cpu, until: self.clock + LIFE };
        let promise = Promise {
            lease: quoted.lease(),
            requestor: Address::repeat_byte(who),
            source: source(from),
            resources: size(cpu),
            until: Timestamp::from_second(quoted.until).unwrap(),
        };
        let AdmissionContext { limits, offer, host, .. } = Self::context();
        let is_kept = self.ledger.promise(promise, limits, offer, host, self.at()).await.unwrap();
        // An earlier one of the same renter, from the same address, makes room for this one.
        let before = self.kept.iter().position(|kept| (kept.who, kept.from) == (who, from));
        let before = before.map(|place| self.kept.remove(place));
        let of = |is_it: &dyn Fn(&Quoted) -> bool| self.kept.iter().filter(|kept| is_it(kept)).count();
        let kept: u32 = self.kept.iter().map(|kept| kept.cpu).sum();
        let may = self.fits(cpu)
            && of(&|kept| kept.who == who) == 0
            && of(&|kept| kept.from == from) == 0
            && of(&|kept| kept.from / 2 == from / 2) < 2
            && self.kept.len() < 3
            && kept + cpu <= 4;
        assert_eq!(is_kept, may, "{quoted:?} for {before:?} beside {:?}", self.kept);
        self.quoted.push(quoted);
        self.kept.extend(if may { Some(quoted) } else { before });
    }

    /// A create of `cpu` CPUs, with the lease `quoted` as `renter`, if any.
    async fn create(&mut self, cpu: u32, lease: Option<(Quoted, Address)>) -> bool {
        self.made += 1;
        let payment = lease.map(|(quoted, _)| LeasePayment {
            stream_id: StreamId(U256::from(quoted.number)),
            lease_id: quoted.lease(),
            terms_hash: B256::ZERO,
            rate: 1,
            duration: 3600,
        });
        let request = CreateVm {
            resources: size(cpu),
            payment,
            renter: lease.map(|(_, renter)| renter),
            ..wanted(&format!("vm-{}", self.made))
        };
        let image = "24.04".parse().unwrap();
        let made =
            self.ledger.reserve(request, image, Paid::free(), Self::context(), self.at()).await.unwrap();
        if let Ok((vm, _)) = &made {
            self.vms.push((vm.id.clone(), cpu));
        }
        made.is_ok()
    }

    async fn use_one(&mut self, quoted: Quoted, own: bool) {
        let renter = if own { Address::repeat_byte(quoted.who) } else { Address::repeat_byte(99) };
        let place = self.kept.iter().position(|kept| kept.number == quoted.number).filter(|_| own);
        if let Some(place) = place {
            assert!(self.create(quoted.cpu, Some((quoted, renter))).await, "what is promised is held");
            self.kept.remove(place);
        } else {
            // Another promise to the same renter is used up where it is needed.
            let other = self.kept.iter().position(|kept| own && kept.who == quoted.who);
            let other = other.filter(|_| !self.fits(quoted.cpu)).map(|place| self.kept.remove(place));
            let may = self.fits(quoted.cpu);
            assert_eq!(self.create(quoted.cpu, Some((quoted, renter))).await, may);
            self.kept.extend(other.filter(|_| !may));
        }
    }

    async fn pass(&mut self, seconds: i64) {
        self.clock += seconds;
        self.ledger.end_promises(self.at()).await.unwrap();
        self.kept.retain(|kept| kept.until > self.clock);
    }

    fn check(&self) {
        let (cpu, vms) = self.taken();
        let now = self.ledger.now();
        assert_eq!(now.held(), size(cpu), "what an advert leaves out");
        assert_eq!(now.with_room(), vms);
        assert!(now.held().fits(TOTAL) && vms <= MAX_VMS);
        assert_eq!(now.promised.len(), self.kept.len());
        assert!(self.kept.iter().all(|kept| now.promised.contains_key(&kept.lease())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever strangers and renters ask for in whatever order, across kills: no more is given and kept than there is,
    /// what is kept is had by its renter alone, and nobody keeps more than a share.
    #[test]
    fn what_a_quote_keeps_is_had_by_its_renter_and_by_nobody_else(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                match step {
                    Step::Quote(who, from, cpu) => world.quote(who, from, cpu).await,
                    Step::Create(cpu) => {
                        let may = world.fits(cpu);
                        assert_eq!(world.create(cpu, None).await, may);
                    }
                    Step::Use(which, own) => {
                        if let Some(quoted) = world.quoted.get(which % world.quoted.len().max(1)).copied() {
                            world.use_one(quoted, own).await;
                        }
                    }
                    Step::Delete(which) => {
                        if !world.vms.is_empty() {
                            let (id, _) = world.vms.remove(which % world.vms.len());
                            world.ledger.end(&id, world.at()).await.unwrap();
                        }
                    }
                    Step::Pass(seconds) => world.pass(seconds).await,
                    Step::Kill => {
                        let before = world.ledger.now().promised.clone();
                        world.ledger = world.open.again();
                        assert_eq!(world.ledger.now().promised, before);
                    }
                }
                world.check();
            }
        });
    }
}

/// However many addresses and networks strangers have, half of the node is left.
#[tokio::test]
async fn strangers_never_keep_more_than_half_and_a_wrong_clock_keeps_nothing_for_longer() {
    let mut world = World::new();
    for number in 0..40 {
        world.quote(number, number * 6, 1).await;
    }
    world.check();
    assert_eq!(world.kept.len(), 3, "half of the VMs, rounded down");
    assert!(world.create(4, None).await, "the rest is anybody's");
    // The clock was an hour ahead, and is right again.
    world.clock -= 3600;
    world.ledger.end_promises(world.at()).await.unwrap();
    assert!(world.ledger.now().promised.is_empty());
}

/// A rental that was held comes back only where it takes nothing that is promised.
#[tokio::test]
async fn a_promise_is_not_given_to_a_rental_that_comes_back() {
    use super::super::Room;
    use crate::rental::Change;
    let mut world = World::new();
    assert!(world.create(6, None).await);
    let (id, _) = world.vms[0].clone();
    let at = world.at();
    let running = Change { has_booted: true, ..Change::to(VmState::Running) };
    world.ledger.advance(&id, running, at).await.unwrap();
    world.ledger.set_unpaid(&id, Some(("over".to_owned(), 0)), None, at).await.unwrap();
    for state in [VmState::Stopping, VmState::Stopped] {
        world.ledger.advance(&id, Change::to(state), at).await.unwrap();
    }
    // Its disk is all that it has.
    let promise = Promise {
        lease: B256::repeat_byte(1),
        requestor: Address::repeat_byte(1),
        source: source(1),
        resources: Resources::new(4, 4, 10),
        until: Timestamp::from_second(world.clock + LIFE).unwrap(),
    };
    let AdmissionContext { limits, offer, host, .. } = World::context();
    let [kept, used] = [promise.clone(), promise];
    assert!(world.ledger.promise(kept, limits, offer, host, at).await.unwrap());
    world.ledger.set_unpaid(&id, None, None, at).await.unwrap();
    let room = Room { offer, max_vms: MAX_VMS };
    let refused = world.ledger.take_room(&id, room, at).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Insufficient { .. })), "{refused:?}");
    // That one waits for room takes none from whom it was promised.
    let payment = LeasePayment {
        stream_id: StreamId(U256::ONE),
        lease_id: used.lease,
        terms_hash: B256::ZERO,
        rate: 1,
        duration: 3600,
    };
    let renter = Some(used.requestor);
    let request =
        CreateVm { resources: used.resources, payment: Some(payment), renter, ..wanted("promised") };
    let image = "24.04".parse().unwrap();
    let made = world.ledger.reserve(request, image, Paid::free(), World::context(), at).await.unwrap();
    world.ledger.end(&made.unwrap().0.id, at).await.unwrap();
    world.pass(LIFE).await;
    assert!(!world.ledger.take_room(&id, room, world.at()).await.unwrap().unwrap().held);
}
