//! The mappings of a running node, from its start to its stop.
//!
//! Owns the log of them. They are removed when the node stops, unless it starts anew and wants the same: on
//! a slow router renters would be shut out for a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use golem_node::port_verification::Verifier;
use golem_reach::mapping::{Change, Mapper, MappingError, MappingReport, Renewal};
use golem_service::tasks::Tasks;

use super::site;
use crate::settings::Settings;
use golem_api::operator::Token;

/// The ports that the router forwards for a running node.
#[derive(Debug)]
pub(crate) struct Kept {
    settings: Settings,
    stay: Arc<AtomicBool>,
}

impl Kept {
    /// Leaves them to the node that starts anew with `settings`, if it has the same forwarded.
    pub(crate) fn leave_to(&self, settings: &Settings) {
        let wanted = |settings: &Settings| {
            (settings.port_mapping, settings.host, site(settings).all_ports(), settings.data_dir.clone())
        };
        self.stay.store(wanted(&self.settings) == wanted(settings), Ordering::Release);
    }
}

/// Who asks the router for the ports of the settings. Nothing is asked yet.
///
/// # Errors
/// [`MappingError`] where no router could forward to this host, or has to; or that the operator token, which marks
/// the mappings, cannot be read or made.
pub(crate) fn mapper(settings: &Settings) -> anyhow::Result<Mapper> {
    const TOKEN: &str = "the operator token, which marks the mappings, cannot be read or made; fix: run as the user who \
                         runs the provider";
    golem_files::private_folder(&settings.data_dir).context(TOKEN)?;
    let token = Token::ensure(&settings.data_dir).context(TOKEN)?;
    Ok(Mapper::new(&site(settings), &token.bearer())?)
}

/// Keeps the ports forwarded until `tasks` stop; `verifier` hears when others are. None where no router is
/// asked.
pub(crate) fn keep(settings: &Settings, tasks: &Tasks, verifier: Verifier) -> Option<Kept> {
    let mut mapper = match mapper(settings) {
        Ok(mapper) => mapper,
        Err(error) => {
            match error.downcast_ref() {
                Some(MappingError::Public(_)) => tracing::info!("no port is mapped: {error}"),
                _ => tracing::warn!("no port is mapped: {error:#}"),
            }
            return None;
        }
    };
    let stay = Arc::new(AtomicBool::new(false));
    let kept = Kept { settings: settings.clone(), stay: Arc::clone(&stay) };
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
    Some(kept)
}

async fn log(holding: &mut Renewal<'_>, verifier: &Verifier) {
    loop {
        match holding.news(|_, _| ()).await {
            Change::Forwarded(report) => {
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
            Change::Problems(report) => warn(&report),
            Change::Failed(error) => {
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
