//! The mappings of a running node, from its start to its stop.
//!
//! Owns the log of them. They are removed when the node stops, unless it starts anew and wants the same: on
//! a slow router renters would be shut out for a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use golem_reach::mapping::{Mapper, MappingChange, MappingReport, Renewal};
use golem_service::tasks::Tasks;

use crate::port_verification::Verifier;

/// The ports that the router forwards for a running node.
#[derive(Debug)]
pub struct PortMapping {
    stay: Arc<AtomicBool>,
}

impl PortMapping {
    /// Keeps the ports of `mapper` forwarded until `tasks` stop; `verifier` hears when others are.
    #[must_use]
    pub fn keep(mut mapper: Mapper, tasks: &Tasks, verifier: Verifier) -> Self {
        let stay = Arc::new(AtomicBool::new(false));
        let kept = Self { stay: Arc::clone(&stay) };
        let stop = tasks.stopping().clone();
        tasks.spawn("port mapping", async move {
            stop.run_until_cancelled(log(&mut Renewal::new(&mut mapper), &verifier)).await;
            let held = mapper.held().len();
            if stay.load(Ordering::Acquire) {
                return tracing::info!("the router forwards {held} ports on, for the node that starts anew");
            }
            tracing::info!("the router is told to forward {held} ports no longer");
            mapper.undo(|_, _| ()).await;
            let ports = mapper.held();
            if ports.is_empty() {
                tracing::info!("the router forwards no port to this node any more");
            } else {
                tracing::warn!(?ports, "the router may forward these ports until their lease ends");
            }
        });
        kept
    }

    /// Whether they stay forwarded at the stop, for a node that starts anew.
    pub fn leave(&self, stay: bool) {
        self.stay.store(stay, Ordering::Release);
    }
}

async fn log(holding: &mut Renewal<'_>, verifier: &Verifier) {
    loop {
        match holding.news(|_, _| ()).await {
            MappingChange::Forwarded(report) => {
                tracing::info!(
                    gateway = %report.gateway,
                    protocol = report.protocol.as_str(),
                    to = %report.to,
                    "the router forwards {} ports to this node",
                    report.forwarded().len()
                );
                verifier.verify();
                warn(&report);
            }
            MappingChange::Problems(report) => warn(&report),
            MappingChange::Failed(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no port is mapped");
            }
        }
    }
}

fn warn(report: &MappingReport) {
    for problem in &report.problems {
        tracing::warn!("{}", problem.line());
    }
}
