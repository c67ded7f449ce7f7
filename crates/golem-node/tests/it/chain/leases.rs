//! Rentals that are paid by leases of contract version 4, on a real EVM.

use golem_chain::contract::v4::OpenLease;
use golem_node::payment::{SignedLease, StreamPrices};
use golem_node::{AdmissionLimits, NodeError};
use golem_testchain::Leases;
use golem_types::price::MonthlyPrice;
use golem_types::wire::{AttachStream, LeasePayment, LeaseRequest};
use golem_types::{Resources, Wallet};

use super::*;

/// The renter's account.
const RENTER: usize = 1;

struct LeaseMarket<'a> {
    market: &'a Market,
    leases: Leases<'a>,
}

fn renter() -> Wallet {
    Anvil::wallet(RENTER).unwrap()
}

impl<'a> LeaseMarket<'a> {
    async fn new(market: &'a Market) -> Self {
        Self { market, leases: Leases::deploy(&market.chain, &contracts()).await.unwrap() }
    }

    fn payments(&self) -> PaymentConfig {
        PaymentConfig {
            contract: self.leases.contract,
            version: golem_chain::Version::V4,
            token: self.leases.token,
            symbol: "tGLM".to_owned(),
            ..self.market.payments()
        }
    }

    async fn start(&self, payments: PaymentConfig) -> Node {
        self.start_with(NodeConfig { payments: Some(payments), ..self.market.world.config() }).await
    }

    async fn start_with(&self, config: NodeConfig) -> Node {
        let node = Node::start(config, self.market.world.sim().0).await.unwrap();
        let month = MonthlyPrice { core: "5.256".parse().unwrap(), ..MonthlyPrice::default() };
        node.payments().unwrap().set_prices(Some(StreamPrices::of(month)));
        node
    }

    async fn open(&self, lease: &SignedLease) -> LeasePayment {
        let open = OpenLease { quote: lease.quote, signature: lease.signature, donation_basis_points: 150 };
        LeasePayment {
            stream_id: self.leases.open(RENTER, &open).await.unwrap(),
            lease_id: lease.quote.lease_id,
            terms_hash: lease.quote.terms_hash,
            rate: lease.quote.rate,
            duration: lease.duration,
        }
    }
}

fn request(name: &str, duration: u64) -> LeaseRequest {
    LeaseRequest {
        name: name.parse().unwrap(),
        image: None,
        resources: wanted(name).resources,
        duration,
        requestor: renter().address(),
        network: None,
    }
}

fn create(name: &str, payment: LeasePayment) -> CreateVm {
    CreateVm { payment: Some(payment), renter: Some(renter().address()), ..wanted(name) }
}

async fn refused(node: &Node, request: CreateVm) -> String {
    node.create(request).await.unwrap_err().to_string()
}

/// A quote, its stream, a VM; the same create again is the same VM; then every way in which a lease is not the VM's.
#[tokio::test]
async fn a_lease_rents_the_vm_that_it_was_quoted_for_and_no_other() {
    let market = Market::new(&[]).await;
    let world = LeaseMarket::new(&market).await;
    let node = world.start(world.payments()).await;
    let quoted = node.lease(&request("leased", 3600), None).await.unwrap();
    assert_eq!(quoted.quote.rate, 2_000_000_000_000 * u128::from(wanted("leased").resources.cpu));
    assert_eq!(quoted.quote.deposit, U256::from(quoted.quote.rate) * U256::from(3600));
    let payment = world.open(&quoted).await;

    let stranger = Some(market.chain.account(5));
    let larger = Resources { memory: 8, ..wanted("leased").resources };
    for (wrong, why) in [
        (CreateVm { renter: None, ..create("leased", payment) }, "needs a session"),
        (CreateVm { renter: stranger, ..create("leased", payment) }, "invalid stream: terms mismatch"),
        (create("another", payment), "invalid stream: terms mismatch"),
        (CreateVm { resources: larger, ..create("leased", payment) }, "invalid stream: terms mismatch"),
        (
            create("leased", LeasePayment { rate: payment.rate - 1, ..payment }),
            "invalid stream: terms mismatch",
        ),
        (create("leased", LeasePayment { duration: 3601, ..payment }), "invalid stream: terms mismatch"),
        (
            create("leased", LeasePayment { stream_id: StreamId(U256::from(9)), ..payment }),
            "recipient mismatch",
        ),
        (wanted("leased"), "paid by leases"),
        (CreateVm { stream_id: Some(payment.stream_id), ..wanted("leased") }, "paid by leases"),
    ] {
        let text = refused(&node, wrong).await;
        assert!(text.contains(why), "{text}");
    }
    // The stream of another lease of the same renter, with this one's numbers, is not its stream.
    let other = world.open(&node.lease(&request("leased", 3600), None).await.unwrap()).await;
    let mixed = LeasePayment { stream_id: other.stream_id, ..payment };
    assert!(refused(&node, create("leased", mixed)).await.contains("lease mismatch"));

    let (vm, job) = node.create(create("leased", payment)).await.unwrap();
    let (again, same) = node.create(create("leased", payment)).await.unwrap();
    assert_eq!((&again.id, &same.id), (&vm.id, &job.id));
    reaches(&node, &vm.id, VmState::Running).await;
    let status = node.stream(&vm.id).await.unwrap();
    assert_eq!(status.stream.lease.unwrap().id, payment.lease_id);
    assert!(status.verdict.is_ok());
    assert_eq!(vm.owner, golem_node::vm::owner_of(renter().address()));
    assert!(refused(&node, create("leased", other)).await.contains("already exists"));
    node.shutdown(false).await;
}

/// Too short a lease is not quoted; one without a price, or that nobody here takes, neither.
#[tokio::test]
async fn a_lease_is_quoted_only_where_a_create_would_be_granted() {
    let market = Market::new(&[]).await;
    let world = LeaseMarket::new(&market).await;
    let mut payments = world.payments();
    payments.rules.create_runway = Duration::from_secs(600);
    let node = world.start(payments).await;
    let said = async |request: LeaseRequest| node.lease(&request, None).await.unwrap_err().to_string();
    assert!(said(request("leased", 599)).await.contains("at least 600"));
    assert!(node.lease(&request("leased", 600), None).await.is_ok());
    let elsewhere = LeaseRequest { network: Some("elsewhere".to_owned()), ..request("leased", 600) };
    assert!(said(elsewhere).await.contains("takes no leases"));
    let huge = LeaseRequest { resources: Resources::new(1000, 1, 10), ..request("leased", 600) };
    assert!(said(huge).await.contains("Insufficient resources"));
    // Half of a short lease may pass until its create comes, and no more.
    let payment = world.open(&node.lease(&request("leased", 600), None).await.unwrap()).await;
    market.chain.warp(310).await.unwrap();
    assert!(refused(&node, create("leased", payment)).await.contains("runway below minimum"));
    let payment = world.open(&node.lease(&request("leased", 600), None).await.unwrap()).await;
    market.chain.warp(280).await.unwrap();
    assert!(node.create(create("leased", payment)).await.is_ok());
    node.payments().unwrap().set_prices(None);
    assert!(matches!(node.lease(&request("leased", 600), None).await, Err(NodeError::NoPrice)));
    node.shutdown(false).await;
}

/// In the grace a VM runs on; after it, it is held with its disk, and a stream of a new lease brings it back. What is
/// withdrawn is all of the first lease and what vested of the second.
#[tokio::test]
async fn a_leased_vm_is_held_when_its_stream_expires_and_comes_back_by_a_new_lease() {
    let market = Market::new(&[]).await;
    let world = LeaseMarket::new(&market).await;
    let mut payments = world.payments();
    payments.rules.least_runway = Duration::ZERO;
    let node = world.start(payments).await;
    let payment = world.open(&node.lease(&request("leased", 600), None).await.unwrap()).await;
    let (vm, _) = node.create(create("leased", payment)).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    let stop = node.stream(&vm.id).await.unwrap().stream.stop;
    let now = u128::from(market.chain.time().await.unwrap());
    market.chain.warp(u64::try_from(stop - now).unwrap() + 5).await.unwrap();
    // It has seen the grace.
    market.is_seen(node.payments().unwrap()).await;
    let status = node.stream(&vm.id).await.unwrap();
    assert_eq!(golem_chain::contract::v4::state(&status.stream, status.now), "grace");
    assert_eq!(node.vm(&vm.id).await.unwrap().state, VmState::Running);
    market.chain.warp(30).await.unwrap();
    reaches(&node, &vm.id, VmState::Stopped).await;

    let rescue = world.open(&node.lease(&request("leased", 3600), None).await.unwrap()).await;
    let attach = AttachStream {
        stream_id: rescue.stream_id,
        stream_proof: None,
        payment: Some(rescue),
        renter: Some(renter().address()),
    };
    let stranger = AttachStream { renter: None, ..attach.clone() };
    let refused = node.attach_stream(&vm.id, stranger).await.unwrap_err();
    assert!(refused.to_string().contains("needs a session"), "{refused}");
    node.attach_stream(&vm.id, attach).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;

    market.chain.warp(1000).await.unwrap();
    let provider = market.chain.account(PROVIDER);
    let before = world.leases.balance(provider).await.unwrap();
    for (payments, copy) in node.contracts().withdrawable(None) {
        payments.withdraw(&copy).await.unwrap();
    }
    let received = world.leases.balance(provider).await.unwrap() - before;
    let rate = U256::from(payment.rate);
    assert!(received > rate * U256::from(1600) && received < rate * U256::from(1700), "{received}");
    node.shutdown(false).await;
}

/// Two networks at once: whoever names a lease pays by it, whoever names a stream pays in the other contract, and both are followed.
#[tokio::test]
async fn both_generations_of_clients_rent_from_one_node() {
    let market = Market::new(&[]).await;
    let world = LeaseMarket::new(&market).await;
    for leases_first in [true, false] {
        let (first, second) = match leases_first {
            true => (world.payments(), market.payments()),
            false => (market.payments(), world.payments()),
        };
        let config = NodeConfig {
            payments: Some(first),
            more_payments: vec![second.clone(), second],
            ..market.world.config()
        };
        let node = Node::start(config, market.world.sim().0).await.unwrap();
        assert_eq!(node.contracts().offered().len(), 2, "the same contract twice is one");
        for payments in node.contracts().offered() {
            let month = MonthlyPrice { core: "5.256".parse().unwrap(), ..MonthlyPrice::default() };
            payments.set_prices(Some(StreamPrices::of(month)));
        }
        let (older, newer) = (format!("older-{leases_first}"), format!("newer-{leases_first}"));
        let stream = market.open(3600).await;
        let (one, _) = node.create(CreateVm { stream_id: Some(stream), ..wanted(&older) }).await.unwrap();
        let payment = world.open(&node.lease(&request(&newer, 3600), None).await.unwrap()).await;
        let (two, _) = node.create(create(&newer, payment)).await.unwrap();
        for vm in [&one, &two] {
            reaches(&node, &vm.id, VmState::Running).await;
            assert!(node.stream(&vm.id).await.unwrap().verdict.is_ok());
        }
        assert_eq!(node.streams().await.unwrap().len(), 2);
        market.chain.terminate(1, stream).await.unwrap();
        reaches(&node, &one.id, VmState::Stopped).await;
        assert_eq!(node.vm(&two.id).await.unwrap().state, VmState::Running);
        for vm in [one, two] {
            node.delete_vm(&vm.id).await.unwrap();
        }
        golem_test_support::until("both are gone", async || node.vms().is_empty()).await;
        node.shutdown(false).await;
    }
}

/// A quote keeps its VM's capacity for its renter alone, over a restart; what is left is what others see.
#[tokio::test]
async fn a_quote_keeps_capacity_for_its_renter_if_the_operator_wants_that() {
    let market = Market::new(&[]).await;
    let world = LeaseMarket::new(&market).await;
    let node = world.start(world.payments()).await;
    let source = Some(golem_types::net::Source::of([192, 0, 2, 1].into()));
    let before = node.capacity().free;
    let unkept = node.lease(&request("leased", 3600), source).await.unwrap();
    assert!(!unkept.reserved && node.capacity().free == before, "off by default");
    node.shutdown(false).await;

    let reserving = |payments| {
        let config = market.world.config();
        let one = wanted("leased").resources;
        let limits = AdmissionLimits { quotes_reserve: true, max_vms: 2, ..config.limits };
        NodeConfig { payments: Some(payments), limits, totals: Some(one.plus(one)), ..config }
    };
    let node = world.start_with(reserving(world.payments())).await;
    let one = wanted("leased").resources;
    let kept = node.lease(&request("leased", 3600), source).await.unwrap();
    assert!(kept.reserved);
    assert_eq!(node.capacity().free, one, "as an advert shows it");
    // The other half is anybody's, and keeps nothing more.
    let elsewhere = Some(golem_types::net::Source::of([192, 0, 2, 2].into()));
    let other = node.lease(&request("other", 3600), elsewhere).await.unwrap();
    assert!(!other.reserved);
    let other = world.open(&other).await;
    let (other_vm, _) = node.create(create("other", other)).await.unwrap();
    let full = node.lease(&request("third", 3600), elsewhere).await.unwrap_err().to_string();
    assert!(full.contains("capacity") || full.contains("limit"), "{full}");
    node.shutdown(false).await;

    let node = world.start_with(reserving(world.payments())).await;
    assert_eq!(node.capacity().free, Resources::default());
    let payment = world.open(&kept).await;
    let (vm, _) = node.create(create("leased", payment)).await.unwrap();
    assert_eq!(node.capacity().free, Resources::default());
    node.delete_vm(&other_vm.id).await.unwrap();
    let free = async |wanted: Resources| {
        golem_test_support::until("what is free", async || node.capacity().free == wanted).await;
    };
    free(one).await;
    // A lease for a VM that is there needs no other room.
    let longer = node.lease(&request("leased", 7200), source).await.unwrap();
    assert!(longer.reserved && node.capacity().free == Resources::default());
    let payment = world.open(&longer).await;
    let wanted = AttachStream {
        stream_id: payment.stream_id,
        stream_proof: None,
        payment: Some(payment),
        renter: Some(renter().address()),
    };
    node.attach_stream(&vm.id, wanted).await.unwrap();
    free(one).await;
    node.delete_vm(&vm.id).await.unwrap();
    free(one.plus(one)).await;
    node.shutdown(false).await;
}
