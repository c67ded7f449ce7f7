//! The mappings of a running node, from its start to its stop.
//!
//! Owns the log of them. They are removed when the node stops.

use golem_node::service::Tasks;

use super::{Holding, Mapper, MappingError, MappingReport, News};
use crate::ports::Verifier;
use crate::settings::Settings;

/// Keeps the ports forwarded until `tasks` stop; `verifier` hears when others are.
pub(crate) fn keep(settings: &Settings, tasks: &Tasks, verifier: Verifier) {
    let mut mapper = match Mapper::new(settings) {
        Ok(mapper) => mapper,
        Err(error @ MappingError::Public(_)) => return tracing::info!("no port is mapped: {error}"),
        Err(error) => return tracing::warn!("no port is mapped: {error:#}"),
    };
    let stop = tasks.stopping().clone();
    tasks.spawn("port mapping", async move {
        stop.run_until_cancelled(log(&mut Holding::new(&mut mapper), &verifier)).await;
        tracing::info!("the router is told to forward {} ports no longer", mapper.held().len());
        mapper.undo(|_, _| ()).await;
        let ports = mapper.held();
        if ports.is_empty() {
            tracing::info!("the router forwards no port to this node any more");
        } else {
            tracing::warn!(?ports, "the router may forward these ports until their lease ends");
        }
    });
}

async fn log(holding: &mut Holding<'_>, verifier: &Verifier) {
    loop {
        match holding.news(|_, _| ()).await {
            News::Forwarded(report) => {
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
            News::Problems(report) => warn(&report),
            News::Failed(error) => tracing::warn!("no port is mapped: {error:#}"),
        }
    }
}

fn warn(report: &MappingReport) {
    for problem in &report.problems {
        tracing::warn!("{}; fix: {}", problem.what, problem.fixes.join("; or "));
    }
}
