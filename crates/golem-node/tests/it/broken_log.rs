//! What stays broken does not fill the log (H-18). In a process of its own, to which the log belongs.

use std::time::Duration;

use golem_node::{Node, NodeConfig};
use golem_test_support::in_own_process;
use golem_types::VmState;
use golem_vm::sim::{Call, Fault};

use crate::log_support::Log;
use crate::support::{World, reaches, until, wanted};

/// H-18: a machine that fails at every attempt, many times a second, and a guest that crashes whenever it runs.
/// The first line of each comes at once, also of one whose trouble begins after another's.
#[tokio::test]
async fn h_18_a_machine_that_fails_at_every_interval_has_a_line_in_ten_seconds() {
    if !in_own_process("broken_log::h_18_a_machine_that_fails_at_every_interval_has_a_line_in_ten_seconds") {
        return;
    }
    let log = Log::begin();
    let world = World::new(3);
    let (backend, sim) = world.sim();
    let config = NodeConfig { restart_delay: Duration::ZERO, ..world.config() };
    let node = Node::start(config, backend).await.unwrap();

    let (crashing, _) = node.create(wanted("crashing")).await.unwrap();
    reaches(&node, &crashing.id, VmState::Running).await;
    for n in 1..12 {
        until("it runs", || sim.guests(&crashing.id) == (n, true)).await;
        reaches(&node, &crashing.id, VmState::Running).await;
        sim.crash(&crashing.id).unwrap();
    }
    until("it runs at last", || sim.guests(&crashing.id) == (12, true)).await;
    assert!((1..=3).contains(&log.lines_with("booted again")), "{}", log.lines_with("booted again"));

    sim.fail(Call::Start, Fault::Failed, 100);
    sim.crash(&crashing.id).unwrap();
    until("it has failed 100 times", || sim.guests(&crashing.id) == (13, true)).await;
    let failed = || log.lines_with("a step of the VM failed");
    assert!((1..=3).contains(&failed()), "{}", failed());
    let before = failed();
    sim.fail(Call::Start, Fault::Failed, 1);
    let (other, _) = node.create(wanted("other")).await.unwrap();
    until("it has failed, too", || node.vms().iter().all(|vm| vm.id != other.id)).await;
    assert!(failed() > before, "another's noise hides nothing");
    // Each change of a state has its line, as promised; the pause between attempts bounds them, which is none here.
    let rest = log.lines_with("") - log.lines_with("VM state changed");
    assert!(rest < 60, "{rest}");
    node.shutdown(false).await;
}
