//! The mappings of a running node, from its start to its stop.
//!
//! Owns when the router is asked, and the log of it. They are removed when the node stops.

use std::collections::BTreeSet;
use std::time::Duration;

use golem_node::service::Tasks;
use tokio::time::sleep;

use super::{Mapper, MappingReport};
use crate::ports::Verifier;
use crate::settings::Settings;

/// Time until a router that forwards nothing is asked again.
const AGAIN: Duration = Duration::from_secs(60);

/// Keeps the ports forwarded until `tasks` stop; `verifier` hears when others are.
pub(crate) fn keep(settings: &Settings, tasks: &Tasks, verifier: Verifier) {
    let mut mapper = match Mapper::new(settings) {
        Ok(mapper) => mapper,
        Err(error) => return tracing::warn!("no port is mapped: {error:#}"),
    };
    let stop = tasks.stopping().clone();
    tasks.spawn("port mapping", async move {
        stop.run_until_cancelled(renew(&mut mapper, &verifier)).await;
        match mapper.undo().await {
            Ok(()) => tracing::info!("the router forwards no port to this node any more"),
            Err(ports) => tracing::warn!(?ports, "the router may forward these ports until their lease ends"),
        }
    });
}

async fn renew(mapper: &mut Mapper, verifier: &Verifier) {
    let mut before = BTreeSet::new();
    let mut told = None;
    loop {
        let pause = match mapper.map().await {
            Ok(report) => {
                let now = report.forwarded();
                let problems: Vec<_> = report.problems.iter().map(|problem| problem.what.clone()).collect();
                if now != before {
                    log(&report, now.len());
                    verifier.verify();
                    before = now;
                }
                if told.as_ref() != Some(&problems) {
                    for problem in &report.problems {
                        tracing::warn!("{}; fix: {}", problem.what, problem.fixes.join("; or "));
                    }
                    told = Some(problems);
                }
                report.renewal()
            }
            Err(error) => {
                let why = vec![format!("{error:#}")];
                if told.as_ref() != Some(&why) {
                    tracing::warn!("no port is mapped: {error:#}");
                    told = Some(why);
                }
                before.clear();
                AGAIN
            }
        };
        sleep(pause).await;
    }
}

fn log(report: &MappingReport, count: usize) {
    tracing::info!(
        gateway = %report.gateway,
        protocol = report.protocol.as_str(),
        to = %report.to,
        "the router forwards {count} ports to this node"
    );
}
