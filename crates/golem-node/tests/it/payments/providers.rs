//! Rentals behind endpoints as they are: the limits of public providers, replicas that lag, and answers about another chain,
//! another time or nothing.

use std::time::Duration;

use golem_node::Node;
use golem_testchain::{Limits, Provider, Says};
use golem_types::{Resources, Stream, VmId, VmState};
use ruint::aliases::U160;

use super::Paid;
use crate::support::{DEADLINE, reaches, until};

/// M-08: whatever an endpoint takes, a stream that is terminated is followed to its end, one that pays runs on, and creates
/// are judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m_08_rentals_are_followed_behind_the_limits_of_providers() {
    let none = Limits::NONE;
    for limits in [
        Limits { log_blocks: 5, ..none },
        Limits { log_blocks: 10, batch: 10, ..none },
        Limits { log_blocks: 0, ..none },
        Limits { batch: 1, ..none },
        Limits { batch: 2, ..none },
        Limits { batch: 1, per_second: Some(10), ..none },
        Limits { lagging_percent: 30, ..none },
        Limits { is_pruned: true, ..none },
        Limits::MEANEST,
    ] {
        let mut paid = Paid::new(8).await;
        let provider = Provider::start(paid.chain.url(), limits).await.unwrap();
        paid.rpc_url = Some(provider.url().to_owned());
        let (node, _) = paid.start().await;
        let good = paid.rent(&node, "good", paid.open(1, 3600)).await;
        let ended = paid.rent(&node, "ended", paid.open(2, 3600)).await;
        paid.chain.put(2, Stream { recipient: U160::ZERO, ..paid.stream(3600) });
        reaches(&node, &ended, VmState::Stopped).await;
        assert_eq!(node.vm(&good).await.unwrap().state, VmState::Running, "{limits:?}");
        // A chain that goes on is followed too.
        for _ in 0..20 {
            paid.chain.pass(2);
        }
        paid.rent(&node, "late", paid.open(3, 3600)).await;
        assert_eq!(node.vm(&good).await.unwrap().state, VmState::Running, "{limits:?}");
        node.shutdown(false).await;
    }
}

/// M-08: of replicas some are a block behind: sixty of sixty creates are judged, each on a stream that was opened just now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m_08_every_create_is_judged_where_replicas_lag() {
    let mut paid = Paid::new(70).await;
    let limits = Limits { lagging_percent: 30, ..Limits::NONE };
    let provider = Provider::start(paid.chain.url(), limits).await.unwrap();
    paid.rpc_url = Some(provider.url().to_owned());
    let mut config = paid.config();
    config.limits.max_vms = 100;
    config.totals = Some(Resources::new(1000, 1000, 10_000));
    let node = Node::start(config, paid.world.sim().0).await.unwrap();
    for number in 1..=60 {
        let stream = paid.open(number, 3600);
        let created = node.create(super::paid(&format!("vm-{number}"), stream)).await;
        assert!(created.is_ok(), "M-08: {number}: {created:?}");
    }
    node.shutdown(false).await;
}

/// M-08: a hundred rentals whose money ends in one second, at an endpoint that gives logs but takes neither batches nor
/// programs: each tick asks for a few of them, and all end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m_08_many_that_end_at_once_are_read_a_few_in_each_tick() {
    let mut paid = Paid::new(110).await;
    let limits = Limits { batch: 1, refuses_programs: true, ..Limits::NONE };
    let provider = Provider::start(paid.chain.url(), limits).await.unwrap();
    paid.rpc_url = Some(provider.url().to_owned());
    let mut config = paid.config();
    config.limits.max_vms = 200;
    config.totals = Some(Resources::new(1000, 1000, 10_000));
    let node = Node::start(config, paid.world.sim().0).await.unwrap();
    for number in 1..=100 {
        let stream = paid.open(number, 700);
        node.create(super::paid(&format!("vm-{number}"), stream)).await.unwrap();
    }
    let unpaid = || node.vms().iter().filter(|vm| vm.unpaid.is_some()).count();
    assert_eq!(unpaid(), 0);
    provider.take_asked();
    paid.chain.pass(650);
    until("all end", || unpaid() == 100).await;
    let asked = provider.take_asked();
    let ticks = asked.split(|method| method == "eth_getBlockByNumber");
    let most = ticks.map(|between| between.iter().filter(|method| *method == "eth_call").count()).max();
    // M-08
    assert!(most <= Some(8), "{most:?} of {} requests", asked.len());
    node.shutdown(false).await;
}

/// Waits until the node reads the stream of `vm`.
async fn is_read(node: &Node, vm: &VmId, what: &str) {
    let read = async {
        while node.stream(vm).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| panic!("not read again: {what}"));
}

/// M-08: nothing that an endpoint says of blocks ends a rental that is paid for, and once it tells the truth again the node
/// goes on by itself. With a second endpoint that is well, nothing even pauses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m_08_no_lie_ends_a_rental_and_none_lasts() {
    let mut number = 10;
    for has_second in [false, true] {
        let mut paid = Paid::new(30).await;
        for _ in 0..50 {
            paid.chain.pass(1);
        }
        let first = Provider::start(paid.chain.url(), Limits::NONE).await.unwrap();
        let second = Provider::start(paid.chain.url(), Limits::NONE).await.unwrap();
        let urls = if has_second { vec![first.url(), second.url()] } else { vec![first.url()] };
        paid.rpc_url = Some(urls.join(","));
        let (node, _) = paid.start().await;
        let vm = paid.rent(&node, "one", paid.open(1, 3600)).await;
        for says in [
            Says::Zeros,
            Says::Nulls,
            Says::Later(7200),
            Says::Earlier(86_400),
            Says::Absurd,
            Says::Garbage,
            Says::Down,
            Says::Stalled(40),
            Says::OtherChain,
        ] {
            first.limit(Limits::saying(says));
            let asked = first.requests();
            // One that fails is left alone where there is another.
            if !has_second {
                until("the endpoint is asked", || first.requests() > asked + 3).await;
            }
            assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running, "{says:?}");
            if has_second {
                number += 1;
                paid.rent(&node, &format!("vm-{number}"), paid.open(number, 3600)).await;
            }
            first.limit(Limits::NONE);
            paid.chain.pass(1);
            is_read(&node, &vm, &format!("{says:?}")).await;
            assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running, "{says:?}");
        }
        for back in [1, 10, 30] {
            // With everything that is older than the rental's stream.
            paid.chain.rewind(back.min(paid.chain.height() - 53));
            paid.chain.pass(1);
            is_read(&node, &vm, "after it was rewound").await;
            assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running, "rewound by {back}");
        }
        node.shutdown(false).await;
    }
}

/// M-02: a chain that makes no block rents for nothing no longer than the money lasts.
#[tokio::test]
async fn m_02_money_runs_out_on_a_chain_that_stands_still() {
    let mut paid = Paid::new(4).await;
    paid.rules.least_runway = Duration::ZERO;
    let (node, _) = paid.start().await;
    let vm = paid.rent(&node, "one", paid.open(1, 3600)).await;
    let now = paid.chain.time();
    paid.chain.put(1, Stream { stop: now + 4, ..paid.stream(3600) });
    let height = paid.chain.height();
    tokio::time::timeout(DEADLINE, reaches(&node, &vm, VmState::Stopped)).await.unwrap();
    assert_eq!(paid.chain.height(), height, "M-02: no block came");
    assert!(node.payments().unwrap().health().error.is_none());
    node.shutdown(false).await;
}
