//! Guests that do not run, and why: paused, powered off, crashed, or out of sight. On the sim backend, whose
//! truth is its own: what the node sees of it is asked for, fails and comes late.

use std::time::Duration;

use golem_node::{NodeConfig, RestartPolicy};
use golem_types::{VmId, VmState};
use golem_vm::sim::{Call, Fault};

use crate::support::{World, greeting, reaches, until, wanted};

const GREETING: Option<&str> = Some("SSH-2.0-sim\r\n");

/// H-02: a guest that somebody paused is shown as it is and left as it is, goes on when they let it, and is
/// restarted when its renter says so.
#[tokio::test]
async fn s_091_h_02_a_paused_guest_is_shown_and_left_alone() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.halt(&vm.id, "the guest is paused", false).unwrap();
    let paused = reaches(&node, &vm.id, VmState::Error).await;
    assert_eq!(paused.error.as_deref(), Some("the guest is paused"));
    // However often it is looked at, and also where the backend does not answer in between.
    for _ in 0..3 {
        sim.fail(Call::List, Fault::Unavailable, 2);
        until("the backend is seen not to answer", || !node.backend_answers()).await;
        until("the backend is seen to answer", || node.backend_answers()).await;
    }
    // A start of what is there already changes nothing.
    node.start_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Error).await;
    assert_eq!(sim.guests(&vm.id), (1, true));
    assert_eq!(node.vm(&vm.id).await.unwrap().error.as_deref(), Some("the guest is paused"));

    sim.go_on(&vm.id).unwrap();
    let well = reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!((well.error.as_deref(), sim.guests(&vm.id)), (None, (1, true)));
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);

    sim.halt(&vm.id, "the guest's virtual CPU failed", false).unwrap();
    reaches(&node, &vm.id, VmState::Error).await;
    node.restart_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(sim.guests(&vm.id), (2, true));
    node.shutdown(false).await;
}

/// H-02: nor does a node that ends and starts again meanwhile touch it.
#[tokio::test]
async fn h_02_a_paused_guest_outlives_the_node() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.halt(&vm.id, "the guest is paused", false).unwrap();
    node.shutdown(false).await;
    drop((node, sim));
    let (node, sim) = world.node().await;
    reaches(&node, &vm.id, VmState::Error).await;
    node.shutdown(false).await;
    drop((node, sim));
    let (node, sim) = world.node().await;
    until("the backend is seen to answer", || node.backend_answers()).await;
    sim.go_on(&vm.id).unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(sim.guests(&vm.id), (1, true));
    assert_eq!(greeting(vm.ssh_port).await.as_deref(), GREETING);
    node.shutdown(false).await;
}

/// H-03: a guest that a full disk paused goes on by itself once there is room, with its sessions, and a
/// disk that fails again and again is tried ever more slowly.
#[tokio::test]
async fn h_03_a_guest_goes_on_once_the_disk_has_room() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.halt(&vm.id, "the provider's disk is full", false).unwrap();
    reaches(&node, &vm.id, VmState::Error).await;
    // There is room.
    sim.halt(&vm.id, "the provider's disk was full", true).unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(sim.guests(&vm.id), (1, true));
    // It fills up at once, over and over; the first time nobody even notices.
    for _ in 0..3 {
        sim.halt(&vm.id, "the provider's disk fails", true).unwrap();
        until("it goes on", || !sim.is_halted(&vm.id)).await;
    }
    // A call that fails is repeated.
    sim.fail(Call::Resume, Fault::Failed, 2);
    sim.halt(&vm.id, "the provider's disk fails", true).unwrap();
    reaches(&node, &vm.id, VmState::Error).await;
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(sim.guests(&vm.id), (1, true));
    node.shutdown(false).await;
}

/// H-13: who shuts the guest down from inside means it: it stays off, also over a restart of the node, until
/// its renter starts it. One that crashes is booted again.
#[tokio::test]
async fn h_13_a_guest_that_powers_off_stays_off_until_it_is_started() {
    let world = World::new(3);
    let (node, sim) = world.node().await;
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.power_off(&vm.id).unwrap();
    let off = reaches(&node, &vm.id, VmState::Stopped).await;
    assert_eq!((off.error.as_deref(), sim.guests(&vm.id)), (None, (1, false)));
    assert_eq!(node.capacity().vms, 1, "it keeps its room");
    let events = node.events(Some(vm.id.clone()), 10).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "vm.powered_off"), "{events:?}");
    node.shutdown(false).await;
    drop((node, sim));
    // Powered off while no node runs, too.
    let (node, sim) = world.node().await;
    until("the backend is seen to answer", || node.backend_answers()).await;
    assert_eq!(node.vm(&vm.id).await.unwrap().state, VmState::Stopped);
    node.start_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    assert_eq!(sim.guests(&vm.id), (2, true));
    node.shutdown(false).await;
    sim.power_off(&vm.id).unwrap();
    drop((node, sim));
    let (node, sim) = world.node().await;
    reaches(&node, &vm.id, VmState::Stopped).await;
    assert_eq!(sim.guests(&vm.id), (2, false));
    // A start that comes just after it.
    node.start_vm(&vm.id).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.crash(&vm.id).unwrap();
    until("it is booted again", || sim.guests(&vm.id) == (4, true)).await;
    reaches(&node, &vm.id, VmState::Running).await;
    node.shutdown(false).await;
}

/// H-13: a start that its renter asks for when the guest has just shut itself down, and nobody saw it yet, counts.
#[tokio::test]
async fn h_13_a_start_just_after_a_guest_powered_off_is_not_lost() {
    let world = World::new(3);
    let (backend, sim) = world.sim();
    let config = NodeConfig { watch_interval: Duration::from_secs(2), ..world.config() };
    let node = golem_node::Node::start(config, backend).await.unwrap();
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.power_off(&vm.id).unwrap();
    node.start_vm(&vm.id).await.unwrap();
    until("it is booted", || sim.guests(&vm.id) == (2, true)).await;
    reaches(&node, &vm.id, VmState::Running).await;
    // Once it was seen to run after a start, it may shut itself down again.
    sim.power_off(&vm.id).unwrap();
    reaches(&node, &vm.id, VmState::Stopped).await;
    node.shutdown(false).await;
}

/// H-13: unless the operator wants them to run whatever they do.
#[tokio::test]
async fn h_13_with_always_a_guest_that_powers_off_is_booted_again() {
    let world = World::new(3);
    let (backend, sim) = world.sim();
    let config = NodeConfig { restart_policy: RestartPolicy::Always, ..world.config() };
    let node = golem_node::Node::start(config, backend).await.unwrap();
    let (vm, _) = node.create(wanted("one")).await.unwrap();
    reaches(&node, &vm.id, VmState::Running).await;
    sim.power_off(&vm.id).unwrap();
    until("it is booted again", || sim.guests(&vm.id) == (2, true)).await;
    reaches(&node, &vm.id, VmState::Running).await;
    node.shutdown(false).await;
}

/// Numbers that look like chance and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// H-02, I3, I4: a dozen real tasks under a storm of pauses, a backend that fails and goes out of sight, and
/// nodes that end and start again. Nobody orders anything, so every guest is the first one still.
#[tokio::test]
async fn h_02_no_storm_ends_a_guest_that_is_alive() {
    const VMS: u16 = 12;
    let world = World::new(VMS);
    let mut chance = Chance(20_251_125);
    let (mut node, mut sim) = world.node().await;
    let mut ids: Vec<VmId> = Vec::new();
    for n in 0..VMS {
        ids.push(node.create(wanted(&format!("vm-{n}"))).await.unwrap().0.id.clone());
    }
    for id in &ids {
        reaches(&node, id, VmState::Running).await;
    }
    let calls =
        [Call::List, Call::Start, Call::WaitReady, Call::Stop, Call::Resume, Call::Create, Call::Delete];
    for _ in 0..60 {
        for _ in 0..8 {
            let id = &ids[usize::try_from(chance.below(u64::from(VMS))).unwrap()];
            match chance.below(4) {
                0 => sim.halt(id, "somebody paused it", false).unwrap(),
                1 => sim.halt(id, "the disk was full", true).unwrap(),
                2 => sim.go_on(id).unwrap(),
                _ => {
                    let call = calls[usize::try_from(chance.below(7)).unwrap()];
                    let fault = if chance.below(2) == 0 { Fault::Unavailable } else { Fault::Failed };
                    sim.fail(call, fault, u32::try_from(chance.below(4)).unwrap());
                }
            }
        }
        if chance.below(12) == 0 {
            node.shutdown(false).await;
            drop((node, sim));
            (node, sim) = world.node().await;
        }
        // A look or two at this moment.
        tokio::time::sleep(Duration::from_millis(chance.below(60))).await;
        for id in &ids {
            assert_eq!(sim.guests(id), (1, true), "{id}");
        }
    }
    sim.heal();
    for id in &ids {
        sim.go_on(id).unwrap();
    }
    for id in &ids {
        reaches(&node, id, VmState::Running).await;
        assert_eq!(sim.guests(id), (1, true), "{id}");
    }
    node.shutdown(false).await;
}
