//! VMs that get more or less of the machine, or a new disk.

use golem_node::{Node, NodeError, Refusal};
use golem_types::wire::ResizeVm;
use golem_types::{Resources, VmId, VmState};

use crate::support::{World, reaches, wanted};

async fn running(node: &Node, name: &str) -> VmId {
    let (vm, _) = node.create(wanted(name)).await.unwrap();
    assert_eq!(node.settled(&vm.id).await.unwrap().state, VmState::Running);
    vm.id.clone()
}

fn to(cpu: u32, memory: u32, storage: u32) -> ResizeVm {
    ResizeVm { resources: Resources::new(cpu, memory, storage), payment: None }
}

#[tokio::test]
async fn a_vm_that_runs_is_restarted_with_what_it_gets_and_one_that_is_stopped_gets_it_too() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let id = running(&node, "abc").await;
    let total = node.capacity().total;
    let vm = node.resize_vm(&id, to(2, 4, 20)).await.unwrap();
    assert_eq!((vm.resources, vm.state), (Resources::new(2, 4, 20), VmState::Stopping));
    assert_eq!(node.capacity().free, total.minus(Resources::new(2, 4, 20)));
    reaches(&node, &id, VmState::Running).await;
    assert_eq!(sim.guests(&id), (2, true));

    // What it has already changes nothing.
    assert_eq!(node.resize_vm(&id, to(2, 4, 20)).await.unwrap().state, VmState::Running);

    node.stop_vm(&id).await.unwrap();
    reaches(&node, &id, VmState::Stopped).await;
    let vm = node.resize_vm(&id, to(1, 1, 20)).await.unwrap();
    assert_eq!((vm.resources, vm.state), (Resources::new(1, 1, 20), VmState::Stopped));
    node.shutdown(false).await;
    drop(node);
    let (node, _) = world.node().await;
    assert_eq!(node.vm(&id).await.unwrap().resources, Resources::new(1, 1, 20));
    let events = node.events(Some(id), 50).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.kind == "vm.resized").count(), 2);
    node.shutdown(false).await;
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing() {
    let world = World::new(4);
    let (backend, sim) = world.sim();
    let mut config = world.config();
    config.totals = Some(Resources::new(4, 4, 50));
    let node = Node::start(config, backend).await.unwrap();
    let id = running(&node, "abc").await;
    running(&node, "other").await;
    node.create_snapshot(&id, None).await.unwrap();
    for (wanted, what) in [
        (to(4, 1, 10), "CPU cores"),
        (to(1, 4, 10), "GB of memory"),
        // Its snapshot may grow as well: ten more each, and twenty are free.
        (to(1, 1, 21), "GB of storage"),
    ] {
        let refused = node.resize_vm(&id, wanted).await;
        assert!(
            matches!(&refused, Err(NodeError::Refused(Refusal::Insufficient { unit, .. })) if *unit == what),
            "{refused:?}"
        );
    }
    let shrinks = node.resize_vm(&id, to(1, 1, 9)).await;
    assert!(matches!(shrinks, Err(NodeError::Refused(Refusal::Shrinks { now: 10 }))), "{shrinks:?}");
    assert_eq!(node.vm(&id).await.unwrap().resources, Resources::new(1, 1, 10));
    assert_eq!(sim.guests(&id), (1, true));
    // The last of what is free is granted.
    node.resize_vm(&id, to(3, 3, 20)).await.unwrap();
    assert_eq!(node.capacity().free, Resources::new(0, 0, 0));
    // Less than is rented out, and while it changes.
    let busy = node.resize_vm(&id, to(3, 3, 20)).await;
    assert!(matches!(busy, Err(NodeError::WrongState { .. })) || busy.is_ok(), "{busy:?}");
    reaches(&node, &id, VmState::Running).await;
    node.suspend_vm(&id).await.unwrap_err();
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_disk_is_made_anew_once_and_not_while_it_has_snapshots() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let id = running(&node, "abc").await;
    let snapshot = node.create_snapshot(&id, None).await.unwrap();
    let kept = node.rebuild_vm(&id, None).await;
    assert!(matches!(kept, Err(NodeError::Refused(Refusal::HasSnapshots))), "{kept:?}");
    node.delete_snapshot(&id, &snapshot.name).await.unwrap();
    let other = node.rebuild_vm(&id, Some("windows".parse().unwrap())).await;
    assert!(matches!(other, Err(NodeError::Refused(Refusal::NoSuchImage(_)))), "{other:?}");
    assert_eq!(sim.rebuilt_at(&id), 0);

    let port = node.vm(&id).await.unwrap().ssh_port;
    let vm = node.rebuild_vm(&id, Some("24.04".parse().unwrap())).await.unwrap();
    let ordered = vm.rebuild_at.unwrap().as_microsecond();
    assert_eq!(vm.state, VmState::Stopping);
    let vm = reaches(&node, &id, VmState::Running).await;
    assert_eq!((vm.ssh_port, sim.rebuilt_at(&id), sim.guests(&id)), (port, ordered, (2, true)));
    // What is started again later keeps its disk.
    node.stop_vm(&id).await.unwrap();
    reaches(&node, &id, VmState::Stopped).await;
    node.start_vm(&id).await.unwrap();
    reaches(&node, &id, VmState::Running).await;
    assert_eq!(sim.rebuilt_at(&id), ordered);
    // One that is stopped stays so, and has its new disk when it is started.
    node.stop_vm(&id).await.unwrap();
    reaches(&node, &id, VmState::Stopped).await;
    let vm = node.rebuild_vm(&id, None).await.unwrap();
    assert_eq!((vm.state, sim.rebuilt_at(&id)), (VmState::Stopped, ordered));
    // What would be lost with the disk is not made.
    let lost = node.create_snapshot(&id, None).await;
    assert!(matches!(lost, Err(NodeError::Refused(Refusal::Busy))), "{lost:?}");
    node.start_vm(&id).await.unwrap();
    reaches(&node, &id, VmState::Running).await;
    assert_eq!(sim.rebuilt_at(&id), vm.rebuild_at.unwrap().as_microsecond());
    node.shutdown(false).await;
}
