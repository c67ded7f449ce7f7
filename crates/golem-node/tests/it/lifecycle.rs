//! A rental's life, on the sim backend with a real ledger, real ports and the real proxy.

use std::time::Duration;

use golem_node::{AdmissionLimits, JobState, NodeError, Refusal};
use golem_types::{Resources, VmState};
use golem_vm::sim::{Call, Fault};

use crate::support::{KEY, World, greeting, reaches, until, wanted};

const GREETING: Option<&str> = Some("SSH-2.0-sim\r\n");

#[tokio::test]
async fn a_rental_from_create_to_delete() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, job) = node.create(wanted("one")).await.unwrap();
    assert_eq!(vm.state, VmState::Creating);
    let vm = node.settled(&vm.id).await.unwrap();
    assert_eq!(vm.state, VmState::Running);
    // S-094
    assert!(world.ports.contains(&vm.ssh_port) && vm.ip_address.is_some());
    // S-055
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);
    assert_eq!(node.job(&job.id).await.unwrap().unwrap().state, JobState::Ready);

    node.stop_vm(&vm.id).await.unwrap();
    assert_eq!(node.settled(&vm.id).await.unwrap().state, VmState::Stopped);
    assert_eq!(greeting(vm.ssh_port).await, None);
    assert_eq!(node.capacity().vms, 1, "a stopped VM keeps its room");

    node.start_vm(&vm.id).await.unwrap();
    assert_eq!(node.settled(&vm.id).await.unwrap().state, VmState::Running);
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);

    node.restart_vm(&vm.id).await.unwrap();
    assert_eq!(node.settled(&vm.id).await.unwrap().state, VmState::Running);
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);

    node.delete_vm(&vm.id).await.unwrap();
    assert!(matches!(node.vm(&vm.id).await, Err(NodeError::NotFound(_))));
    assert!(sim.machines().is_empty() && node.vms().is_empty());
    assert_eq!(greeting(vm.ssh_port).await, None);
    assert_eq!(node.capacity().free, node.capacity().total);
    node.shutdown(false).await;
}

#[tokio::test]
async fn i4_machines_and_ports_are_there_again_after_a_restart() {
    let world = World::new(3);
    let (node, _) = world.node().await;
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let (vm, _) = node.create(wanted(name)).await.unwrap();
        ids.push(node.settled(&vm.id).await.unwrap());
    }
    node.shutdown(false).await;
    drop(node);
    assert_eq!(greeting(ids[0].ssh_port).await, None, "the proxy ended with the node");

    let (node, sim) = world.node().await;
    assert_eq!(sim.machines().len(), 2);
    for before in &ids {
        let vm = node.vm(&before.id).await.unwrap();
        // S-095, S-217
        assert_eq!((vm.state, vm.ssh_port), (VmState::Running, before.ssh_port));
        // S-210
        assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING, "served before start returned");
    }
    // S-217, S-220
    assert_eq!(node.capacity().free, Resources::new(98, 98, 980));
    node.shutdown(false).await;
}

#[tokio::test]
async fn s_091_a_guest_that_dies_is_seen_and_booted_again() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.fail(Call::Start, Fault::Unavailable, 1);
    sim.crash(&vm.id).unwrap();
    let seen = reaches(&node, &vm.id, VmState::Error).await;
    assert_eq!(seen.error.as_deref(), Some("the VM backend does not answer"));
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);
    node.shutdown(false).await;
}

#[tokio::test]
async fn i3_a_backend_that_does_not_answer_changes_no_rental() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    let before = reaches(&node, &vm.id, VmState::Running).await;
    until("the backend is seen to answer", || node.backend_answers()).await;
    sim.fail(Call::List, Fault::Unavailable, u32::MAX);
    until("the backend is seen not to answer", || !node.backend_answers()).await;
    assert_eq!(*node.vm(&vm.id).await.unwrap(), *before);
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);
    node.shutdown(false).await;
    drop(node);
    // Nor does a restart in the middle of it.
    let (backend, sim) = world.sim();
    sim.fail(Call::List, Fault::Unavailable, u32::MAX);
    let node = golem_node::Node::start(world.config(), backend).await.unwrap();
    assert_eq!(node.vm(&vm.id).await.unwrap().state, VmState::Running);
    sim.heal();
    until("the backend is seen to answer", || node.backend_answers()).await;
    until("the port is served", || node.traffic(vm.ssh_port).is_some()).await;
    assert_eq!(sim.machines().len(), 1);
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_lost_disk_is_said_and_never_replaced_by_an_empty_one() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.lose(&vm.id);
    let lost = reaches(&node, &vm.id, VmState::Error).await;
    assert_eq!(lost.error.as_deref(), Some("the machine's disk is missing on this host"));
    assert!(sim.machines().is_empty());
    node.delete_vm(&vm.id).await.unwrap();
    assert!(node.vms().is_empty());
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_create_that_fails_at_any_step_leaves_nothing() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    for (n, call) in [Call::Create, Call::Start, Call::WaitReady].into_iter().enumerate() {
        sim.fail(call, Fault::Failed, 1);
        let (vm, job) = node.create(wanted(&format!("vm-{n}"))).await.unwrap();
        let mut changes = node.changes();
        tokio::time::timeout(crate::support::DEADLINE, changes.wait_for(|now| now.get(&vm.id).is_none()))
            .await
            .expect("cleaned up in time")
            .unwrap();
        // S-092
        assert!(sim.machines().is_empty(), "{call:?}");
        // S-079
        assert_eq!(node.capacity().free, node.capacity().total, "{call:?}");
        assert!(node.ports_in_use().is_empty(), "{call:?}");
        let job = node.job(&job.id).await.unwrap().unwrap();
        assert_eq!(job.state, JobState::Failed);
        assert_eq!(job.error.as_deref(), Some("simulating: a fault was asked for"));
        // Its renter can still read why.
        let failed = node.vm(&vm.id).await.unwrap();
        assert_eq!((failed.state, failed.error.as_deref()), (VmState::Error, job.error.as_deref()));
    }
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_backend_that_is_away_for_a_moment_fails_no_create() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    sim.fail(Call::Create, Fault::Unavailable, 2);
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    assert_eq!(node.settled(&vm.id).await.unwrap().state, VmState::Running);
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_guest_that_never_answers_fails_its_create_at_the_deadline() {
    let world = World::new(3);
    let (backend, sim) = world.sim();
    let config = golem_node::NodeConfig { boot_deadline: Duration::from_millis(50), ..world.config() };
    let node = golem_node::Node::start(config, backend).await.unwrap();
    sim.fail(Call::WaitReady, Fault::Hang, 1);
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    let failed = node.settled(&vm.id).await.unwrap();
    assert_eq!(failed.error.as_deref(), Some("the guest did not answer on its SSH port within 0 s"));
    until("the machine is gone", || sim.machines().is_empty()).await;
    node.shutdown(false).await;
}

#[tokio::test]
async fn s_092_a_delete_while_it_boots_leaves_nothing() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    sim.fail(Call::WaitReady, Fault::Hang, 1);
    let (vm, job) = node.create(wanted("one")).await.unwrap();
    until("the machine is made", || !sim.machines().is_empty()).await;
    node.delete_vm(&vm.id).await.unwrap();
    assert!(sim.machines().is_empty() && node.vms().is_empty());
    assert_eq!(node.job(&job.id).await.unwrap().unwrap().error.as_deref(), Some("deleted before it ran"));
    node.shutdown(false).await;
}

#[tokio::test]
async fn s_092_a_delete_that_the_backend_refuses_is_tried_until_it_works() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.fail(Call::Delete, Fault::Failed, 3);
    node.delete_vm(&vm.id).await.unwrap();
    assert!(sim.machines().is_empty() && node.ports_in_use().is_empty());
    node.shutdown(false).await;
}

#[tokio::test]
async fn i1_leftovers_of_ended_rentals_go_and_machines_nobody_knows_stay() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    node.delete_vm(&vm.id).await.unwrap();
    node.shutdown(false).await;
    drop((node, sim));
    let records = world.folder.path().join("sim");
    let record = r#"{"keys":[],"running":true,"broken":null}"#;
    std::fs::write(records.join(format!("{}.json", vm.id)), record).unwrap();
    let stranger = "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa";
    std::fs::write(records.join(format!("{stranger}.json")), record).unwrap();
    let (node, sim) = world.node().await;
    until("the leftover is gone", || !sim.machines().contains(&vm.id)).await;
    until("the stranger is shown", || node.unmanaged().contains(&stranger.parse().unwrap())).await;
    assert!(sim.machines().contains(&stranger.parse().unwrap()));
    node.shutdown(false).await;
}

#[tokio::test]
async fn stop_vms_on_exit_shuts_them_down_and_the_next_start_boots_them() {
    let world = World::new(3);
    let (node, _) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    let (off, _) = node.create(wanted("two")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    reaches(&node, &off.id, VmState::Running).await;
    node.stop_vm(&off.id).await.unwrap();
    reaches(&node, &off.id, VmState::Stopped).await;
    node.shutdown(true).await;
    assert_eq!(node.vm(&vm.id).await.unwrap().state, VmState::Stopped);
    drop(node);
    let (node, _) = world.node().await;
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(node.vm(&off.id).await.unwrap().state, VmState::Stopped, "its renter stopped it");
    node.shutdown(false).await;
}

#[tokio::test]
async fn stop_vms_on_exit_shuts_one_down_that_still_boots() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    sim.fail(Call::WaitReady, Fault::Hang, 1);
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    until("the machine is made", || !sim.machines().is_empty()).await;
    node.shutdown(true).await;
    assert_eq!(node.vm(&vm.id).await.unwrap().state, VmState::Stopped);
    drop(node);
    let (node, _) = world.node().await;
    reaches(&node, &vm.id, VmState::Running).await;
    node.shutdown(false).await;
}

#[tokio::test]
async fn draining_refuses_creates_and_survives_a_restart() {
    let world = World::new(3);
    let (node, _) = world.node().await;
    node.set_draining(true).await.unwrap();
    node.shutdown(false).await;
    drop(node);
    let (node, _) = world.node().await;
    assert!(node.draining());
    let refused = node.create(wanted("one")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(Refusal::Draining)));
    node.set_draining(false).await.unwrap();
    node.create(wanted("one")).await.unwrap();
    node.shutdown(false).await;
}

/// A volume in memory; unmounted when dropped.
struct Volume(tempfile::TempDir);

impl Volume {
    /// `None` without the right to mount it.
    fn mount(size: &str) -> Option<Self> {
        let volume = Self(tempfile::tempdir().unwrap());
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "golem-volume"]);
        mount.arg(volume.0.path()).status().is_ok_and(|status| status.success()).then_some(volume)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// Needs root, as whole runs of the suite have: for a volume of its own.
#[tokio::test]
async fn a_volume_that_fills_up_is_seen_and_nothing_more_is_rented_out() {
    let Some(volume) = Volume::mount("256m") else {
        return golem_test_support::not_tried("a volume in memory cannot be mounted");
    };
    let world =
        World { folder: tempfile::tempdir_in(volume.0.path()).unwrap(), ports: crate::support::ports(3) };
    let mut config = world.config();
    config.limits.storage_threshold = AdmissionLimits::default().storage_threshold;
    let node = golem_node::Node::start(config, world.sim().0).await.unwrap();
    node.create(wanted("before")).await.unwrap();
    let filler = volume.0.path().join("filler");
    // 92 %, and with it more than the least that the ledger needs.
    std::fs::write(&filler, vec![1; 235 << 20]).unwrap();
    // S-076: without anybody asking for it.
    until("the volume is measured", || node.host().storage_percent > 90).await;
    let refused = node.create(wanted("during")).await.unwrap_err();
    // S-078, S-084
    assert!(
        refused.to_string().contains("storage threshold") && refused.to_string().contains("90 % allowed"),
        "{refused}"
    );
    std::fs::remove_file(&filler).unwrap();
    // S-076
    until("it is measured again", || node.host().storage_percent < 90).await;
    node.create(wanted("after")).await.unwrap();
    node.shutdown(false).await;
}

/// H-01: a node whose guests are not isolated enough takes no new rentals, and keeps those it has.
#[tokio::test]
async fn h_01_a_closed_node_refuses_creates_and_goes_on_with_what_runs() {
    let world = World::new(3);
    let (node, _) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    node.shutdown(false).await;
    drop(node);
    let (backend, _) = world.sim();
    let config = golem_node::NodeConfig { closed: Some(Refusal::NotIsolated), ..world.config() };
    let node = golem_node::Node::start(config, backend).await.unwrap();
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);
    let refused = node.create(wanted("two")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(Refusal::NotIsolated)));
    node.restart_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    node.shutdown(false).await;
}

#[tokio::test]
async fn an_image_that_is_not_here_is_refused_at_once() {
    let world = World::new(3);
    let (node, _) = world.node().await;
    let request = golem_types::wire::CreateVm { image: Some("debian-13".parse().unwrap()), ..wanted("one") };
    let refused = node.create(request).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(Refusal::NoSuchImage(_))));
    assert!(node.vms().is_empty());
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_key_is_added_to_a_running_guest_only_and_is_remembered() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    let key: golem_types::AuthorizedKey = KEY.replace("eZJ", "eZK").parse().unwrap();
    let vm = node.add_key(&vm.id, key.clone()).await.unwrap();
    assert_eq!(vm.keys.len(), 2);
    assert_eq!(sim.keys(&vm.id)[1], key.as_str());
    node.stop_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Stopped).await;
    assert!(matches!(node.add_key(&vm.id, key).await, Err(NodeError::WrongState { .. })));
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_guest_that_takes_no_key_keeps_nobody_from_deleting_it() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.fail(Call::AddKey, Fault::Failed, 1);
    let failed = node.add_key(&vm.id, KEY.parse().unwrap()).await.unwrap_err();
    assert!(matches!(failed, NodeError::Backend(_)), "{failed}");
    sim.fail(Call::AddKey, Fault::Hang, 1);
    let adding = node.add_key(&vm.id, KEY.replace("eZJ", "eZK").parse().unwrap());
    let deleting = async {
        // The other one has begun: it is polled first.
        node.delete_vm(&vm.id).await
    };
    let (added, deleted) = tokio::join!(adding, deleting);
    assert!(matches!(added, Err(NodeError::WrongState { .. } | NodeError::NotFound(_))), "{added:?}");
    deleted.unwrap();
    assert!(sim.machines().is_empty());
    node.shutdown(false).await;
}

#[tokio::test]
async fn s_094_a_port_that_another_program_holds_is_not_handed_out() {
    let world = World::new(2);
    let (node, _) = world.node().await;
    let other = std::net::TcpListener::bind(("127.0.0.1", world.ports.start)).unwrap();
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    assert_eq!(vm.ssh_port, world.ports.start + 1);
    let refused = node.create(wanted("two")).await.unwrap_err();
    assert!(matches!(refused, NodeError::Refused(Refusal::NoPort)));
    drop(other);
    // A listener of ours keeps no port from being handed out.
    node.probes().open(node.tasks(), std::net::Ipv4Addr::LOCALHOST.into(), world.ports.start).unwrap();
    let (vm, _) = node.create(wanted("two")).await.unwrap();
    assert_eq!(vm.ssh_port, world.ports.start);
    node.shutdown(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s_080_concurrent_creates_get_every_port_that_is_free_and_none_twice() {
    let world = World::new(12);
    let (node, _) = world.node().await;
    let mut creates = tokio::task::JoinSet::new();
    for n in 0..30 {
        let node = node.clone();
        creates.spawn(async move { node.create(wanted(&format!("vm-{n}"))).await });
    }
    let outcomes = creates.join_all().await;
    let ports: std::collections::BTreeSet<u16> =
        outcomes.iter().filter_map(|outcome| Some(outcome.as_ref().ok()?.0.ssh_port)).collect();
    assert_eq!(ports, world.ports.clone().collect());
    let refused =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(NodeError::Refused(Refusal::NoPort))));
    assert_eq!(refused.count(), 18);
    node.shutdown(false).await;
}

#[tokio::test]
async fn s_097_a_port_taken_by_another_program_is_said_and_served_when_it_is_free_again() {
    let world = World::new(1);
    let (node, _) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    node.stop_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Stopped).await;
    let thief = std::net::TcpListener::bind(("127.0.0.1", vm.ssh_port)).unwrap();
    node.start_vm(&vm.id).await.unwrap();
    let error = reaches(&node, &vm.id, VmState::Error).await.error.clone();
    assert_eq!(error.as_deref(), Some("the SSH port could not be opened"));
    drop(thief);
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);
    node.shutdown(false).await;
}
