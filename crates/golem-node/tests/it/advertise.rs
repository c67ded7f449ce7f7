//! The advert of a node on a network of either generation, through changes and faults.

use std::path::Path;
use std::time::Duration;

use alloy_primitives::{Address, B256};
use golem_market::arkiv::{Advert, AdvertPrices, Generation, Profile};
use golem_node::Node;
use golem_node::advertise::{AdvertState, AdvertiseConfig, Advertising, Pace, Standing, Wish, wishes};
use golem_node::ledger::Ledger;
use golem_service::tasks::Tasks;
use market_emulator::{Emulator, Fault, Protocol, Stored};
use tokio::sync::watch;

use crate::support::market::{Advertiser, PACE, advert, shown, wallet};
use crate::support::{DEADLINE, World, until, wanted};

const CHAIN: u64 = 1337;
const LIFETIME: u64 = 300;

const GENERATIONS: [Generation; 2] = [Generation::GolemBase, Generation::Tiramisu];

fn profile(generation: Generation) -> Profile {
    Profile {
        generation,
        chain_id: CHAIN,
        rpc_url: None,
        block_seconds: 2,
        testnet: true,
        faucet: None,
        explorer: None,
        note: None,
    }
}

async fn emulator(generation: Generation) -> Emulator {
    let protocol = match generation {
        Generation::GolemBase => Protocol::GolemBase,
        Generation::Tiramisu => Protocol::Tiramisu,
    };
    Emulator::start(protocol, CHAIN).await.unwrap()
}

fn config(emulator: &Emulator, generation: Generation, pace: Pace) -> AdvertiseConfig {
    AdvertiseConfig {
        name: "test".to_owned(),
        profile: profile(generation),
        rpc_url: emulator.url().to_owned(),
        lifetime: LIFETIME,
        faucet: None,
        gas: golem_node::transactions::GasRules::default(),
        pace,
    }
}

impl Advertiser {
    /// One on `emulator`, over the ledger in `folder`.
    async fn on_network(
        folder: &Path,
        emulator: &Emulator,
        generation: Generation,
        pace: Pace,
        wish: Wish,
    ) -> Self {
        let tasks = Tasks::new();
        let ledger = Ledger::open(&folder.join("provider.db")).unwrap();
        let (sender, receiver) = watch::channel(wish);
        let config = config(emulator, generation, pace);
        let advertising = Advertising::on_network(config, wallet(), ledger, receiver, &tasks).await.unwrap();
        Self { tasks, wish: sender, advertising }
    }

    /// Waits until renters read that so many cores are free.
    async fn shows(&self, cpu: u64) -> AdvertState {
        self.reaches("the advert", |state| {
            let shown = state.shown.as_ref();
            state.standing == Standing::Current
                && shown.is_some_and(|shown| shown.annotations.number("golem_cpu") == Some(cpu))
        })
        .await
    }

    async fn stop(self) {
        self.tasks.stop().await;
    }
}

fn cores(entity: &Stored) -> u64 {
    entity.numbers["golem_cpu"]
}

#[tokio::test]
async fn a_change_is_one_write_and_several_at_once_are_one() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        run.shows(8).await;
        assert_eq!(emulator.mined().len(), 1);
        let entity = &emulator.entities()[0].1;
        // S-213
        assert_eq!(entity.strings["golem_network"], "testnet");
        // S-214
        assert_eq!(entity.strings["golem_payments_network"], "l2.holesky");

        for cpu in [7, 6, 5, 4] {
            run.wish.send_replace(shown(cpu));
        }
        let state = run.shows(4).await;
        let mined = emulator.mined();
        // S-081
        assert_eq!(mined.len(), 2, "{mined:?}");
        assert_eq!(emulator.entities().len(), 1);

        // What was spent is known, to the wei, and after a restart too.
        let gas: u64 = mined.iter().map(|transaction| transaction.gas_used).sum();
        let spent = run.reaches("the cost", |state| state.spent.writes == 2).await.spent;
        assert_eq!((spent.gas, spent.failed), (gas, 0));
        assert_eq!(spent.cost, alloy_primitives::U256::from(u128::from(gas) * 1_000_500));
        assert_eq!(state.shown.unwrap().expires_at, emulator.entities()[0].1.expires_at);
        run.stop().await;
        let again = Advertiser::on_network(folder.path(), &emulator, generation, PACE, Wish::Unknown).await;
        assert_eq!(again.advertising.state().spent, spent);
        again.stop().await;
    }
}

#[tokio::test]
async fn s_218_a_restart_in_which_nothing_changed_writes_nothing() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        run.shows(8).await;
        run.stop().await;
        for _ in 0..3 {
            emulator.mine(10);
            // The first thing that is known is that nothing is known.
            let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, Wish::Unknown).await;
            run.reaches("a look", |state| state.shown.is_some()).await;
            run.wish.send_replace(shown(8));
            run.shows(8).await;
            run.stop().await;
        }
        // Nor does a node that lost its ledger.
        let other = tempfile::tempdir().unwrap();
        let run = Advertiser::on_network(other.path(), &emulator, generation, PACE, shown(8)).await;
        run.shows(8).await;
        run.stop().await;
        assert_eq!(emulator.mined().len(), 1);
    }
}

#[tokio::test]
async fn s_216_a_day_of_blocks_does_not_let_the_advert_lapse() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        run.shows(8).await;
        let key = emulator.entities()[0].0;
        // Twelve lives of the advert, looked at six times in each.
        for _ in 0..72 {
            emulator.mine(LIFETIME / 6);
            let block = emulator.block();
            run.advertising.check();
            run.reaches("a look", |state| {
                state.standing == Standing::Current
                    && state
                        .shown
                        .as_ref()
                        .is_some_and(|shown| shown.block >= block && shown.expires_at > block + LIFETIME / 3)
            })
            .await;
            assert_eq!(emulator.entities()[0].0, key, "it is still the first");
        }
        let extensions = emulator.mined().len() - 1;
        assert!((11..=13).contains(&extensions), "{extensions}");
        run.stop().await;
    }
}

fn stored(owner: Address, cpu: u64, expires_at: u64) -> Stored {
    let annotations = advert(1).annotations().unwrap();
    let mut numbers: std::collections::BTreeMap<_, _> = annotations.numbers.into_iter().collect();
    numbers.insert("golem_cpu".to_owned(), cpu);
    Stored {
        owner,
        creator: owner,
        expires_at,
        strings: annotations.strings.into_iter().collect(),
        numbers,
        payload: Vec::new(),
    }
}

#[tokio::test]
async fn another_who_posts_our_id_neither_blocks_us_nor_is_touched() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        for key in 1..5 {
            emulator.put(B256::repeat_byte(key), stored(Address::repeat_byte(9), 99, 9000));
        }
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        run.shows(8).await;
        run.wish.send_replace(shown(4));
        run.shows(4).await;
        assert!(run.advertising.remove(DEADLINE).await);
        assert!(emulator.mined().iter().all(|transaction| transaction.succeeded));
        assert_eq!(emulator.mined().len(), 3);
        let left = emulator.entities();
        assert!(left.len() == 4 && left.iter().all(|(_, entity)| cores(entity) == 99));
        run.stop().await;
    }
}

#[tokio::test]
async fn duplicates_are_cleaned_in_one_write() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        let own = wallet().address();
        for (key, cpu, expires_at) in [(1, 3, 400), (2, 8, 300), (3, 8, 250), (4, 5, 500)] {
            emulator.put(B256::repeat_byte(key), stored(own, cpu, expires_at));
        }
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        run.reaches("one advert", |state| state.standing == Standing::Current).await;
        let left = emulator.entities();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].0, B256::repeat_byte(2), "the one that is right and lives longest stays");
        assert_eq!(emulator.mined().len(), 1);
        assert_eq!(emulator.mined()[0].lines, 3);
        run.stop().await;
    }
}

#[tokio::test]
async fn an_advert_that_someone_removed_comes_back() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        let key = run.shows(8).await.shown.unwrap().key;
        emulator.remove(key);
        run.advertising.check();
        run.reaches("another advert", |state| {
            state.standing == Standing::Current && state.shown.as_ref().is_some_and(|shown| shown.key != key)
        })
        .await;
        assert_eq!(emulator.entities().len(), 1);
        run.stop().await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_told_of_and_tried_until_it_is_back() {
    let generation = Generation::GolemBase;
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(generation).await;
    emulator.set_fault(Fault::Down);
    let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
    let problem = run.is_hindered().await.0;
    assert!(problem.contains("HTTP status 500") && problem.contains("do not find this node"), "{problem}");
    assert!(problem.contains("rentals go on"), "{problem}");
    let asked = emulator.requests();
    until("it is tried again", || emulator.requests() > asked + 3).await;
    emulator.set_fault(Fault::OtherChain);
    run.reaches("the other chain is seen", |state| {
        matches!(&state.standing, Standing::Problem(problem) if problem.contains("chain 1338, not 1337"))
    })
    .await;
    emulator.set_fault(Fault::None);
    run.shows(8).await;

    // Down while something changes, and for longer than an advert lives.
    emulator.set_fault(Fault::Down);
    run.wish.send_replace(shown(4));
    let problem = run.is_hindered().await.0;
    assert!(problem.contains("go on reading an earlier advert, until about 20"), "{problem}");
    emulator.mine(2 * LIFETIME);
    assert!(emulator.entities().is_empty());
    emulator.set_fault(Fault::None);
    run.shows(4).await;
    assert_eq!(emulator.mined().len(), 2);
    run.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_lags_behind_our_own_write_is_not_believed() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        run.shows(8).await;
        emulator.set_fault(Fault::Behind(1));
        run.advertising.check();
        let problem = run.is_hindered().await.0;
        assert!(problem.contains("is at block 1, behind block 2"), "{problem}");
        emulator.set_fault(Fault::None);
        run.shows(8).await;
        assert_eq!(emulator.mined().len(), 1);
        run.stop().await;
    }
}

#[tokio::test]
async fn an_endpoint_that_hides_our_adverts_cannot_make_us_spend_without_end() {
    let generation = Generation::GolemBase;
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(generation).await;
    emulator.set_fault(Fault::Blind);
    let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
    run.reaches("enough", |state| {
        matches!(&state.standing, Standing::Problem(problem) if problem.contains("the endpoint may be lying"))
    })
    .await;
    assert_eq!(emulator.mined().len(), 60);
    // What it hid is cleaned up when it tells the truth; that write is one of the next hour's.
    assert_eq!(run.advertising.state().spent.writes, 60);
    run.stop().await;
}

#[tokio::test]
async fn without_gas_the_operator_is_told_and_with_it_the_advert_comes() {
    for generation in GENERATIONS {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        emulator.set_balance(wallet().address(), 5);
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        let problem = run.is_hindered().await.0;
        assert!(problem.contains("has 5 wei") && problem.contains("fix: send gas"), "{problem}");
        emulator.set_balance(wallet().address(), 10_u128.pow(18));
        run.shows(8).await;
        run.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_said_is_told_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(Generation::GolemBase).await;
    let bad = Advert { name: "n".repeat(129), ..advert(8) };
    let wish = Wish::Shown(Box::new(bad));
    let run = Advertiser::on_network(folder.path(), &emulator, Generation::GolemBase, PACE, wish).await;
    let problem = run.is_hindered().await.0;
    assert!(problem.contains("golem_provider_name has 129 bytes"), "{problem}");
    run.wish.send_replace(shown(8));
    run.shows(8).await;
    assert_eq!(emulator.mined().len(), 1);
    run.stop().await;
}

#[tokio::test]
async fn a_transaction_that_no_block_takes_is_replaced_by_a_better_paid_one() {
    let generation = Generation::GolemBase;
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(generation).await;
    emulator.hold(true);
    let pace = Pace { stuck: Duration::from_millis(50), ..PACE };
    let run = Advertiser::on_network(folder.path(), &emulator, generation, pace, shown(8)).await;
    until("it is sent", || emulator.waiting() == 1).await;
    let asked = emulator.requests();
    until("it is replaced", || emulator.requests() > asked + 30).await;
    assert_eq!(emulator.waiting(), 1, "one number, one transaction");
    emulator.hold(false);
    run.shows(8).await;
    assert_eq!((emulator.mined().len(), emulator.entities().len()), (1, 1));
    run.stop().await;
}

/// A crash between sending and the block: the next run does not write a second advert.
#[tokio::test]
async fn what_an_earlier_run_sent_is_waited_for_or_replaced() {
    let generation = Generation::GolemBase;
    for is_mined in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let emulator = emulator(generation).await;
        emulator.hold(true);
        let run = Advertiser::on_network(folder.path(), &emulator, generation, PACE, shown(8)).await;
        until("it is sent", || emulator.waiting() == 1).await;
        run.stop().await;

        let stuck = if is_mined { PACE.stuck } else { Duration::from_millis(50) };
        let pace = Pace { stuck, ..PACE };
        let run = Advertiser::on_network(folder.path(), &emulator, generation, pace, shown(8)).await;
        let problem = run.is_hindered().await.0;
        assert!(problem.contains("earlier transaction"), "{problem}");
        emulator.hold(false);
        run.shows(8).await;
        assert_eq!((emulator.mined().len(), emulator.entities().len()), (1, 1), "{is_mined}");
        run.stop().await;
    }
}

#[tokio::test]
async fn the_advert_follows_rentals_restarts_and_drains() {
    let generation = Generation::GolemBase;
    let emulator = emulator(generation).await;
    let world = World::new(4);
    let offer = || watch::channel(Some(advert(0)));
    let is = |cpu: u64| {
        let emulator = &emulator;
        move || emulator.entities().first().is_some_and(|(_, entity)| cores(entity) == cpu)
    };

    let (node, _) = world.node().await;
    let (_offer, receiver) = offer();
    let config = config(&emulator, generation, PACE);
    let start = async |node: &Node, receiver| {
        Advertising::of_node(node, config.clone(), wallet(), wishes(node, receiver)).await.unwrap()
    };
    start(&node, receiver).await;
    until("all is free", is(100)).await;
    let (first, _) = node.create(wanted("one")).await.unwrap();
    // S-056
    until("the first VM is told of", is(99)).await;
    node.create(wanted("two")).await.unwrap();
    until("the second VM is told of", is(98)).await;
    assert_eq!(emulator.mined().len(), 3);
    node.shutdown(false).await;
    drop(node);

    let (node, _) = world.node().await;
    let (offer, receiver) = offer();
    let advertising = start(&node, receiver).await;
    let mut changes = advertising.changes();
    let current = changes.wait_for(|state| state.standing == Standing::Current);
    tokio::time::timeout(DEADLINE, current).await.unwrap().unwrap();
    // S-217
    assert!(is(98)(), "the remainder, after a restart with two VMs");
    // S-218
    assert_eq!(emulator.mined().len(), 3, "and no write for it");

    node.delete_vm(&first.id).await.unwrap();
    until("the end of a VM is told of", is(99)).await;
    let dearer = AdvertPrices { core: 6.0, ..advert(0).usd };
    offer.send_replace(Some(Advert { usd: dearer, ..advert(0) }));
    until("the price is told of", || emulator.entities()[0].1.strings["golem_price_usd_core_month"] == "6.0")
        .await;
    node.set_draining(true).await.unwrap();
    until("a draining node is not found", || emulator.entities().is_empty()).await;
    node.set_draining(false).await.unwrap();
    until("it is found again", is(99)).await;
    assert_eq!(emulator.mined().len(), 7);
    node.shutdown(false).await;
}
