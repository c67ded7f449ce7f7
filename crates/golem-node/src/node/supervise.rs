//! A task for each live rental, and what is taken over from the node before.
//!
//! Owns that each has one, from the start on. What a task does, `machine` decides.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use golem_types::{VmId, VmState};
use golem_vm::Observed;
use jiff::Timestamp;

use super::{Node, StartError};
use crate::config::NodeConfig;
use crate::ledger::Ledger;
use crate::machine::{Machine, MachineHandle};
use crate::proxy::Proxy;
use crate::reconcile::observer::Sample;
use crate::rental::Change;

impl Node {
    /// Sees to it that every live rental has a task: also one whose request went away between
    /// its reservation and here, or whose task ended in a panic.
    pub(super) fn supervise(&self) {
        let inner = &self.0;
        if inner.tasks.stopping().is_cancelled() {
            return;
        }
        let mut all = inner.machines.lock().unwrap_or_else(PoisonError::into_inner);
        for rental in inner.ledger.now().iter() {
            let id = &rental.vm.id;
            if all.contains_key(id) {
                continue;
            }
            let (handle, keys) = MachineHandle::new();
            all.insert(id.clone(), Arc::clone(&handle));
            let machine = Machine {
                id: id.clone(),
                config: Arc::clone(&inner.config),
                backend: Arc::clone(&inner.backend),
                ledger: inner.ledger.clone(),
                proxy: inner.proxy.clone(),
                probes: inner.probes.clone(),
                samples: inner.samples.clone(),
                observe_now: Arc::clone(&inner.observe_now),
                handle,
                keys,
            };
            let ended = Ended { node: self.clone(), id: id.clone() };
            let stop = inner.tasks.stopping().clone();
            inner.tasks.spawn(format!("vm {}", id.redacted()), async move {
                let _ended = ended;
                machine.run(stop).await;
            });
        }
    }
}

/// Forgets a rental's task when it ends, however it ends.
struct Ended {
    node: Node,
    id: VmId,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.node.0.machines.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// Serves the ports of the machines that run, before anyone is told that they do; what should
/// run and does not is no longer called running.
pub(super) async fn adopt(
    config: &NodeConfig,
    ledger: &Ledger,
    proxy: &Proxy,
    sample: &Sample,
) -> Result<(), StartError> {
    let Some(machines) = &sample.machines else { return Ok(()) };
    for rental in ledger.now().iter().filter(|rental| rental.vm.state == VmState::Running) {
        let vm = &rental.vm;
        match machines.get(&vm.id) {
            Some(Observed::Running(guest)) => {
                let listen = SocketAddr::new(config.ssh_bind, vm.ssh_port);
                match proxy.open(listen, guest.ssh).await {
                    Ok(()) => tracing::info!(vm = vm.id.redacted(), port = vm.ssh_port, "VM adopted"),
                    // The rental's task shows the error and tries again.
                    Err(error) => tracing::error!(
                        vm = vm.id.redacted(),
                        error = &error as &dyn std::error::Error,
                        "SSH port not opened"
                    ),
                }
            }
            Some(Observed::Stopped) => {
                ledger.advance(&vm.id, Change::to(VmState::Creating), Timestamp::now()).await?;
            }
            Some(Observed::PoweredOff | Observed::Halted { .. } | Observed::Unclear) | None => {}
        }
    }
    Ok(())
}
