//! What a boot that fails leaves to look at (H-14), on the sim backend, whose calls fail when told to.

use std::time::Duration;

use golem_node::boot::{FailedBoot, Stage};
use golem_node::{JobState, Node, NodeConfig};
use golem_types::{VmId, VmState};
use golem_vm::sim::{Call, Fault};

use crate::support::{World, reaches, until, wanted};

async fn kept(node: &Node, id: &VmId) -> FailedBoot {
    let [failed] = node.failed_boots(id.as_str()).await.unwrap().try_into().unwrap();
    failed
}

fn stages(failed: &FailedBoot) -> Vec<Stage> {
    failed.stages.iter().map(|reached| reached.stage).collect()
}

/// H-14: a guest that does not answer in time: its job tells the stage that it reached, and what it said is kept before its machine goes.
#[tokio::test]
async fn h_14_a_create_that_is_not_answered_in_time_leaves_what_it_said() {
    let world = World::new(3);
    let (backend, sim) = world.sim();
    let config = NodeConfig { boot_deadline: Duration::from_millis(1500), ..world.config() };
    let node = Node::start(config, backend).await.unwrap();
    sim.hold_boots();
    // What is kept is kept while the machine is still there.
    sim.fail(Call::Delete, Fault::Hang, 1);
    let (vm, job) = node.create(wanted("one")).await.unwrap();
    let gone = reaches(&node, &vm.id, VmState::Error).await;
    let failed = kept(&node, &vm.id).await;
    assert!(sim.machines().contains(&vm.id), "its machine is there still");
    assert_eq!(Some(failed.reason.as_str()), gone.error.as_deref());
    assert_eq!(stages(&failed), [Stage::Disk, Stage::Launch, Stage::Boot]);
    assert_eq!(failed.console, "simulated guest: running\n");
    assert_eq!(failed.process_log, "simulated process: 1 guests were started\n");
    let job = node.job(&job.id).await.unwrap().unwrap();
    assert_eq!((job.state, job.reached().last().unwrap().stage), (JobState::Failed, Stage::Boot));
    node.shutdown(false).await;
    drop((node, sim));

    // The node that removes it keeps what the one before it took.
    let (node, sim) = world.node().await;
    until("the machine is gone", || !sim.machines().contains(&vm.id)).await;
    until("its row has ended", || node.vms().is_empty()).await;
    assert_eq!(kept(&node, &vm.id).await, failed);
    assert_eq!(node.failed_boots("one").await.unwrap(), [failed]);
    node.shutdown(false).await;
}

/// H-14: a create whose machine cannot even be launched says so, with every cause for the operator.
#[tokio::test]
async fn h_14_a_create_that_is_not_launched_tells_the_stage_and_the_causes() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    sim.fail(Call::Start, Fault::Failed, 1);
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    until("it ended", || node.vms().is_empty()).await;
    let failed = kept(&node, &vm.id).await;
    assert_eq!(
        (failed.stage(), failed.reason.as_str()),
        (Stage::Launch, "simulating: a fault was asked for")
    );
    assert!(failed.cause.contains("a fault was asked for"), "{failed:?}");
    node.shutdown(false).await;
}

/// H-14: a start of a VM that ran before, too; its later success leaves what is known of the failure.
#[tokio::test]
async fn h_14_a_restart_that_fails_leaves_its_trace() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, job) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    assert!(node.failed_boots(vm.id.as_str()).await.unwrap().is_empty());
    let all = node.job(&job.id).await.unwrap().unwrap().reached();
    let all: Vec<_> = all.iter().map(|reached| reached.stage).collect();
    assert_eq!(all, [Stage::Reserved, Stage::Disk, Stage::Launch, Stage::Boot, Stage::Port, Stage::Running]);
    sim.fail(Call::WaitReady, Fault::Failed, u32::MAX);
    node.restart_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Error).await;
    sim.heal();
    reaches(&node, &vm.id, VmState::Running).await;
    let failed = kept(&node, &vm.id).await;
    assert_eq!(stages(&failed), [Stage::Launch, Stage::Boot]);
    assert_eq!(failed.console, "simulated guest: running\n");
    // The create's job is the create's.
    let ready = node.job(&job.id).await.unwrap().unwrap();
    assert_eq!((ready.state, ready.reached().len()), (JobState::Ready, 6));
    node.shutdown(false).await;
}

/// H-14: one that its renter gave up waiting for.
#[tokio::test]
async fn h_14_a_create_that_is_deleted_while_it_boots_leaves_its_trace() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    sim.hold_boots();
    let (vm, job) = node.create(wanted("one")).await.unwrap();
    let job = async || node.job(&job.id).await.unwrap().unwrap();
    while job().await.reached().last().unwrap().stage != Stage::Boot {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(job().await.state, JobState::Creating, "told while it boots");
    node.delete_vm(&vm.id).await.unwrap();
    let failed = kept(&node, &vm.id).await;
    assert_eq!(failed.reason, "deleted before it ran");
    assert_eq!(failed.console, "simulated guest: running\n");
    node.shutdown(false).await;
}
