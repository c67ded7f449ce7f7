//! What ends a rental's money, what only seems to, and what looking costs.

use super::*;
use crate::support::attach;

/// A stream that was terminated or halted stops its VM; another stream takes over, once.
#[tokio::test]
async fn a_terminated_or_halted_stream_stops_the_vm_and_another_stream_starts_it() {
    let paid = Paid::new(4).await;
    let (node, _) = paid.start().await;
    let stream = paid.open(1, 3600);
    let vm = paid.rent(&node, "one", stream).await;
    let other = paid.rent(&node, "two", paid.open(2, 3600)).await;
    paid.chain.put(1, Stream { recipient: U160::ZERO, ..paid.stream(3600) });
    let stopped = reaches(&node, &vm, VmState::Stopped).await;
    assert_eq!(stopped.unpaid.as_ref().unwrap().reason, "its stream was terminated");
    let used = node.attach_stream(&vm, attach(StreamId(U256::from(2)))).await;
    assert!(matches!(used, Err(NodeError::Refused(Refusal::StreamUsed))), "{used:?}");
    let bad = node.attach_stream(&vm, attach(stream)).await;
    assert!(matches!(bad, Err(NodeError::Refused(Refusal::Stream(_)))), "{bad:?}");
    let third = paid.open(3, 3600);
    node.attach_stream(&vm, attach(third)).await.unwrap();
    let running = reaches(&node, &vm, VmState::Running).await;
    assert_eq!(running.stream.as_ref().unwrap().id, third);
    paid.chain.put(2, Stream { halted: true, ..paid.stream(3600) });
    let halted = reaches(&node, &other, VmState::Stopped).await;
    assert_eq!(halted.unpaid.as_ref().unwrap().reason, "its stream was halted");
    assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running);
    node.shutdown(false).await;
}

/// After the hold the rental is deleted, and what vested can still be seen.
#[tokio::test]
async fn an_unpaid_vm_is_deleted_after_the_hold() {
    let mut paid = Paid::new(4).await;
    // Longer than its guest takes to be suspended, also on a machine that is busy.
    paid.rules.hold = Duration::from_secs(3);
    let (node, _) = paid.start().await;
    let vm = paid.rent(&node, "one", paid.open(1, 700)).await;
    paid.chain.pass(650);
    reaches(&node, &vm, VmState::Stopped).await;
    let mut changes = node.changes();
    let gone = changes.wait_for(|now| now.get(&vm).is_none());
    tokio::time::timeout(DEADLINE, gone).await.unwrap().unwrap();
    let overview = node.payments().unwrap().overview().await;
    assert_eq!(overview.streams.len(), 1, "650 s of it can be withdrawn");
    assert!(overview.streams[0].rental.is_none());
    let kinds: Vec<String> =
        node.events(Some(vm), 10).await.unwrap().into_iter().map(|event| event.kind).collect();
    let wanted =
        ["state.deleted", "payment.hold_over", "state.suspended", "state.suspending", "payment.ended"];
    assert_eq!(kinds[..5], wanted);
    node.shutdown(false).await;
}

/// A VM is resized by a payment for all of it, and by none that pays for another.
#[tokio::test]
async fn a_resize_moves_the_vm_onto_the_stream_that_pays_for_it() {
    let paid = Paid::new(4).await;
    let (node, sim) = paid.start().await;
    let vm = paid.rent(&node, "one", paid.open(1, 3600)).await;
    paid.rent(&node, "two", paid.open(2, 3600)).await;
    let larger = golem_types::Resources::new(2, 2, 20);
    let resize = |stream: Option<StreamId>| {
        let wanted = golem_types::wire::ResizeVm { resources: larger, payment: stream.map(attach) };
        node.resize_vm(&vm, wanted)
    };
    let unpaid = resize(None).await;
    assert!(matches!(unpaid, Err(NodeError::Refused(Refusal::StreamRequired))), "{unpaid:?}");
    let others = resize(Some(StreamId(2_u64.try_into().unwrap()))).await;
    assert!(matches!(others, Err(NodeError::Refused(Refusal::StreamUsed))), "{others:?}");
    let none = resize(Some(StreamId(9_u64.try_into().unwrap()))).await;
    assert!(matches!(none, Err(NodeError::Refused(Refusal::Stream(_)))), "{none:?}");
    assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running);
    let third = paid.open(3, 3600);
    let resized = resize(Some(third)).await.unwrap();
    assert_eq!((resized.resources, resized.stream.as_ref().unwrap().id), (larger, third));
    reaches(&node, &vm, VmState::Running).await;
    assert_eq!(sim.guests(&vm), (2, true));
    // The stream that pays will do where it pays enough.
    let again = golem_types::wire::ResizeVm {
        resources: golem_types::Resources::new(1, 1, 20),
        payment: Some(attach(third)),
    };
    assert_eq!(node.resize_vm(&vm, again).await.unwrap().stream.as_ref().unwrap().id, third);
    node.shutdown(false).await;
}

/// The guest's processes outlive the end of the money: its memory is kept where there is room, and taken up when it is paid
/// for again. Where there is none, or it cannot be kept, the guest is shut down.
#[tokio::test]
async fn an_unpaid_vm_is_suspended_and_a_top_up_resumes_the_same_guest() {
    let paid = Paid::new(4).await;
    let (node, sim) = paid.start().await;
    let kept = paid.rent(&node, "kept", paid.open(1, 700)).await;
    let lost = paid.rent(&node, "lost", paid.open(2, 700)).await;
    sim.fail(golem_vm::sim::Call::Suspend, golem_vm::sim::Fault::Failed, 1);
    paid.chain.pass(650);
    let (mut suspended, mut stopped) = (0, 0);
    for id in [&kept, &lost] {
        reaches(&node, id, VmState::Stopped).await;
        match node.vm(id).await.unwrap().suspends {
            true => suspended += 1,
            false => stopped += 1,
        }
    }
    assert_eq!((suspended, stopped), (1, 1));
    for (number, id) in [(1, &kept), (2, &lost)] {
        let was_suspended = node.vm(id).await.unwrap().suspends;
        paid.chain.put(number, paid.stream(7200));
        let vm = reaches(&node, id, VmState::Running).await;
        assert!(!vm.suspends && !vm.held && vm.unpaid.is_none(), "{vm:?}");
        assert_eq!(sim.guests(id), (if was_suspended { 1 } else { 2 }, true));
    }
    node.shutdown(false).await;
}

/// I3, I4: nothing that an endpoint does wrong stops, deletes or resumes anything; a create is
/// told that it is unknown; and when it is over everything goes on.
#[tokio::test]
async fn i3_i4_an_endpoint_that_misbehaves_hurts_no_rental() {
    let paid = Paid::new(8).await;
    let (node, _) = paid.start().await;
    let vm = paid.rent(&node, "one", paid.open(1, 3600)).await;
    let ended = paid.rent(&node, "two", paid.open(2, 300)).await;
    paid.chain.put(2, Stream { recipient: U160::ZERO, ..paid.stream(300) });
    reaches(&node, &ended, VmState::Stopped).await;
    let fresh = paid.open(3, 3600);
    for fault in [Fault::Down, Fault::TooMany, Fault::Cut, Fault::Garbled, Fault::OtherChain, Fault::Stale] {
        paid.chain.misbehave(fault);
        ticks(&paid.chain, 4).await;
        // Garbled digits are only seen where a stream is read, and a quiet tick reads none.
        let payments = node.payments().unwrap();
        until("it is told", || fault == Fault::Garbled || payments.health().error.is_some()).await;
        assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running, "{fault:?}");
        assert_eq!(node.vm(&ended).await.unwrap().state, VmState::Stopped, "{fault:?}");
        let create = node.create(self::paid("three", fresh)).await;
        assert!(matches!(create, Err(NodeError::ChainUnknown(_))), "{fault:?}: {create:?}");
        assert!(matches!(node.stream(&vm).await, Err(NodeError::ChainUnknown(_))), "{fault:?}");
        let overview = node.payments().unwrap().overview().await;
        assert!(overview.stale.is_some() && overview.streams.len() == 2, "{fault:?}");
    }
    paid.chain.misbehave(Fault::None);
    paid.rent(&node, "three", fresh).await;
    assert!(node.payments().unwrap().health().error.is_none());
    node.shutdown(false).await;
}

/// I3: a restart while the chain cannot be asked, and with no streams.json, deletes nothing and
/// stops nothing.
#[tokio::test]
async fn i3_a_restart_while_the_chain_is_down_changes_nothing() {
    let paid = Paid::new(4).await;
    let (node, control) = paid.start().await;
    let vm = paid.rent(&node, "one", paid.open(1, 3600)).await;
    node.shutdown(false).await;
    paid.chain.misbehave(Fault::Down);
    std::fs::remove_file(paid.world.folder.path().join("streams.json")).unwrap();
    let machines = control.machines();
    let (node, control) = paid.start().await;
    ticks(&paid.chain, 5).await;
    assert_eq!(node.vm(&vm).await.unwrap().state, VmState::Running);
    assert_eq!(control.machines().len(), machines.len());
    assert_eq!(node.payments().unwrap().known().len(), 1, "the ledger remembers the stream");
    node.shutdown(false).await;
}

/// A reorganisation that takes a payment back is seen although no event tells of it.
#[tokio::test]
async fn a_reorganisation_that_undoes_a_stream_is_seen() {
    let paid = Paid::new(4).await;
    let (node, _) = paid.start().await;
    let vm = paid.rent(&node, "one", paid.open(1, 3600)).await;
    ticks(&paid.chain, 4).await;
    let foreign = Stream { recipient: U160::from(77), ..paid.stream(3600) };
    paid.chain.reorganise(1, foreign);
    let stopped = reaches(&node, &vm, VmState::Stopped).await;
    assert!(stopped.unpaid.is_some());
    node.shutdown(false).await;
}

/// A tick costs the same number of round trips whatever the number of rentals.
#[tokio::test]
async fn a_tick_costs_two_round_trips_whatever_the_number_of_rentals() {
    let paid = Paid::new(40).await;
    let (node, _) = paid.start().await;
    let per_tick = async || {
        // Two requests a tick: one for the head, one for the events; none for a stream that was
        // not touched. A full reading every twenty ticks is one more.
        let from = paid.chain.requests();
        let blocks = 60u64;
        for _ in 0..blocks {
            let before = paid.chain.requests();
            paid.chain.pass(1);
            let poll = async {
                while paid.chain.requests() < before + 2 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::time::timeout(DEADLINE, poll).await.unwrap();
        }
        paid.chain.requests() - from
    };
    let one = {
        paid.rent(&node, "vm-0", paid.open(1, 3600)).await;
        per_tick().await
    };
    for number in 1..30u64 {
        paid.rent(&node, &format!("vm-{number}"), paid.open(number + 1, 3600)).await;
    }
    let thirty = per_tick().await;
    // Every rental of its own would be 29 requests more at each of 60 ticks.
    assert!(thirty < one * 2, "{one} requests with one rental, {thirty} with thirty");
    node.shutdown(false).await;
}

/// With payments off a stream is not asked for, and its routes say so.
#[tokio::test]
async fn without_payments_there_are_no_streams() {
    let world = World::new(4);
    let (node, _) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    assert!(matches!(node.stream(&vm.id).await, Err(NodeError::PaymentsOff)));
    assert!(matches!(
        node.attach_stream(&vm.id, attach(StreamId(U256::ONE))).await,
        Err(NodeError::PaymentsOff)
    ));
    node.shutdown(false).await;
}
