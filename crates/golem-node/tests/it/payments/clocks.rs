//! A host whose clock is an hour off the chain's.

use super::*;

/// Seconds between two blocks, and between two looks of the monitor.
const BLOCK: u128 = 30;

/// Longest that nothing is known of a chain whose time is not ours, in seconds.
const TRIAL: u128 = 180;

/// How much later than it should a rental may end that nobody pays for any more, in seconds.
const LATE: u128 = 120;

/// Lets time pass for the chain and for the node, until `is_over`; gives how many seconds that took.
async fn live(paid: &Paid, what: &str, most: u128, is_over: impl Fn() -> bool) -> u128 {
    let mut seconds = 0;
    while !is_over() {
        assert!(seconds <= most, "not within {most} s of the chain: {what}");
        let asked = paid.chain.requests();
        paid.chain.pass(BLOCK);
        tokio::time::advance(Duration::from_secs(u64::try_from(BLOCK).unwrap())).await;
        let end = std::time::Instant::now() + DEADLINE;
        while paid.chain.requests() == asked {
            assert!(std::time::Instant::now() < end, "the monitor does not ask: {what}");
            // It may pause just now, between two questions.
            tokio::time::advance(Duration::from_millis(100)).await;
            crate::support::settle().await;
        }
        crate::support::settle().await;
        seconds += BLOCK;
    }
    seconds
}

/// M-02: an hour ahead or behind, from the start of the node on: after a minute or two the chain is believed, whoever pays runs
/// until the money ends, by the chain's time, also across a restart, and nobody runs on for long without.
#[tokio::test(start_paused = true)]
async fn m_02_a_clock_that_is_an_hour_off_ends_nothing_early_and_gives_nothing_away() {
    let clock = own_clock();
    for offset in [-3600, 3600] {
        let mut paid = Paid::new(8).await;
        paid.chain = Emulator::start(CHAIN, now().checked_add_signed(offset).unwrap()).await.unwrap();
        paid.interval = Duration::from_secs(30);
        let (node, _) = paid.start().await;
        let reads = |node: &Node| {
            let health = node.payments().unwrap().health();
            health.error.is_none() && health.block.is_some_and(|block| block.number == paid.chain.height())
        };
        live(&paid, "the chain is believed", TRIAL, || reads(&node)).await;
        let long = paid.rent(&node, "long", paid.open(1, 100_000)).await;
        let end = paid.chain.time() + 700;
        let short = paid.rent(&node, "short", paid.open(2, 700)).await;
        // What is asked for is that a minute is left.
        let early = || paid.chain.time() + 60 < end;
        let is_running = |node: &Node, id: &VmId| {
            node.vms().iter().any(|vm| vm.id == *id && vm.state == VmState::Running && vm.unpaid.is_none())
        };
        live(&paid, "some time", 400, || {
            // M-02
            assert!(is_running(&node, &short) && is_running(&node, &long), "{offset}: ended early");
            paid.chain.time() + 400 >= end
        })
        .await;
        node.shutdown(false).await;
        drop(node);

        // Nothing is known of the chain's time at first.
        let (node, _) = paid.start().await;
        live(&paid, "it is stopped", 400 + LATE, || {
            let runs = is_running(&node, &short);
            assert!(runs || !early(), "M-02: {offset}: ended early by a restart");
            !runs
        })
        .await;
        reaches(&node, &short, VmState::Stopped).await;
        // M-02
        assert!(paid.chain.time() <= end + LATE, "{offset}: {} of {end}", paid.chain.time());
        assert!(is_running(&node, &long) && reads(&node), "{offset}");
        // And by a create of now.
        paid.rent(&node, "later", paid.open(3, 900)).await;
        node.shutdown(false).await;
    }
    drop(clock);
}
