//! VMs whose guests' memory is kept while they do not run.

use golem_node::{Node, NodeError, Refusal};
use golem_types::{Resources, VmId, VmState, VmStatus};
use golem_vm::sim::{Call, Fault, SimControl};

use crate::support::{World, greeting, reaches, until, wanted};

async fn running(node: &Node) -> VmId {
    let (vm, _) = node.create(wanted("abc")).await.unwrap();
    assert_eq!(node.settled(&vm.id).await.unwrap().state, VmState::Running);
    vm.id.clone()
}

async fn kinds(node: &Node, id: &VmId) -> Vec<String> {
    let events = node.events(Some(id.clone()), 100).await.unwrap();
    events.into_iter().map(|event| event.kind.clone()).collect()
}

#[tokio::test]
async fn a_vm_is_suspended_and_goes_on_as_the_same_guest_also_under_another_node() {
    let world = World::new(3);
    let (node, _) = world.node().await;
    let id = running(&node).await;
    let before = node.changes().borrow().held();
    let port = node.vm(&id).await.unwrap().ssh_port;

    let vm = node.suspend_vm(&id).await.unwrap();
    assert_eq!((vm.status(), vm.held), (VmStatus::Suspended, true));
    assert_eq!(vm.reason(), None, "it waits for nothing");
    // Asked again, nothing changes.
    assert_eq!(node.suspend_vm(&id).await.unwrap().status(), VmStatus::Suspended);
    assert_eq!(greeting(port).await, None, "its port is closed");
    let held = node.changes().borrow().held();
    assert_eq!((held.cpu, held.memory), (0, 0), "others may have its CPU and memory");
    assert_eq!(held.storage, before.storage + before.memory, "what was in its memory is on disk");

    // What would lose that is refused.
    for refused in [
        node.stop_vm(&id).await.map(drop),
        node.restart_vm(&id).await.map(drop),
        node.create_snapshot(&id, None).await.map(drop),
        node.restore_snapshot(&id, &"one".parse().unwrap()).await.map(drop),
    ] {
        assert!(matches!(refused, Err(NodeError::Suspended { .. })), "{refused:?}");
    }

    node.shutdown(false).await;
    drop(node);
    let (node, sim) = world.node().await;
    assert_eq!(node.vm(&id).await.unwrap().status(), VmStatus::Suspended);
    assert_eq!(sim.guests(&id), (1, false));
    node.resume_vm(&id).await.unwrap();
    let vm = reaches(&node, &id, VmState::Running).await;
    assert_eq!((vm.held, vm.suspends), (false, false));
    assert_eq!(sim.guests(&id), (1, true), "no guest was booted anew");
    assert!(greeting(port).await.is_some());
    assert_eq!(node.changes().borrow().held(), before);
    let kinds = kinds(&node, &id).await;
    for kind in ["state.suspending", "state.suspended", "vm.resumed"] {
        assert!(kinds.iter().any(|told| told == kind), "{kinds:?}");
    }
    // Running already is fine.
    node.resume_vm(&id).await.unwrap();
    node.shutdown(false).await;
}

#[tokio::test]
async fn one_that_does_not_run_is_not_suspended_and_one_that_was_stopped_not_resumed() {
    let world = World::new(3);
    let (node, _) = world.node().await;
    let id = running(&node).await;
    node.stop_vm(&id).await.unwrap();
    reaches(&node, &id, VmState::Stopped).await;
    for refused in [node.suspend_vm(&id).await, node.resume_vm(&id).await] {
        assert!(matches!(refused, Err(NodeError::WrongState { .. })), "{refused:?}");
    }
    node.shutdown(false).await;
}

async fn goes_on(node: &Node, sim: &SimControl, id: &VmId) {
    let refused = node.suspend_vm(id).await;
    assert!(matches!(refused, Err(NodeError::NotSuspended)), "{refused:?}");
    let vm = reaches(node, id, VmState::Running).await;
    assert_eq!((vm.suspends, vm.held, sim.guests(id)), (false, false, (1, true)));
    let kinds = kinds(node, id).await;
    assert!(kinds.iter().any(|kind| kind == "vm.not_suspended"), "{kinds:?}");
}

#[tokio::test]
async fn one_whose_memory_cannot_be_kept_goes_on() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let id = running(&node).await;
    sim.fail(Call::Suspend, Fault::Failed, 1);
    goes_on(&node, &sim, &id).await;
    // A backend that does not answer is asked again.
    sim.fail(Call::Suspend, Fault::Unavailable, 2);
    assert_eq!(node.suspend_vm(&id).await.unwrap().status(), VmStatus::Suspended);
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_suspended_vm_is_deleted_and_leaves_nothing() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let id = running(&node).await;
    node.suspend_vm(&id).await.unwrap();
    node.delete_vm(&id).await.unwrap();
    until("the machine is gone", || sim.machines().is_empty()).await;
    assert_eq!(node.capacity().free, node.capacity().total);
    node.shutdown(false).await;
}

#[tokio::test]
async fn without_room_for_its_memory_it_runs_on() {
    let world = World::new(3);
    let (backend, sim) = world.sim();
    let mut config = world.config();
    config.totals = Some(Resources::new(100, 100, 10));
    let node = Node::start(config, backend).await.unwrap();
    let id = running(&node).await;
    let refused = node.suspend_vm(&id).await;
    assert!(
        matches!(refused, Err(NodeError::Refused(Refusal::Insufficient { wanted: 1, free: 0, .. }))),
        "{refused:?}"
    );
    assert_eq!(sim.guests(&id), (1, true));
    node.shutdown(false).await;
}

/// A stop and a start that come while it goes on, or is suspended, leave what was asked last.
#[tokio::test]
async fn a_stop_of_one_that_goes_on_stops_it() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let id = running(&node).await;
    node.suspend_vm(&id).await.unwrap();
    sim.hold_boots();
    node.resume_vm(&id).await.unwrap();
    until("it goes on", || sim.guests(&id) == (1, true)).await;
    node.stop_vm(&id).await.unwrap();
    let vm = reaches(&node, &id, VmState::Stopped).await;
    assert_eq!((vm.status(), sim.guests(&id)), (VmStatus::Stopped, (1, false)));
    sim.release_boots();
    node.start_vm(&id).await.unwrap();
    reaches(&node, &id, VmState::Running).await;
    assert_eq!(sim.guests(&id), (2, true), "what was in its memory was let go");
    node.shutdown(false).await;
}
