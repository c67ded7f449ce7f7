//! https: the certificate with which renters' browsers talk to this node, and the endpoint that follows from it.
//!
//! ```text
//!   files of the operator ── changed ──┐
//!                                      ├─► certificate ─► served ─► judged: time, address, port ─► endpoint, or why not
//!   authority (ACME) ◄── due ── keeper ┘
//! ```
//! Owns the listener's port, the certificate that is served, its renewal, and the endpoint. Never serves a request
//! (`golem_service` does) and never keeps the node from starting.

mod acme;
mod certificate;
mod challenge;
mod config;
mod directory;
mod files;
mod keeper;
mod problem;
mod report;
mod store;

use std::io;
use std::net::IpAddr;

use golem_service::server::tls::TlsKeys;
use golem_service::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::port_owner::port_owner;
use crate::report::Reach;
use keeper::Keeper;
use problem::Problem;

pub use certificate::CertificateFacts;
pub use challenge::WebPorts;
pub use config::{CertificateSource, HttpsConfig, SharedPorts};
pub(crate) use problem::privileged_port_fixes;
pub use problem::{HttpsCause, HttpsProblem};
pub use report::HttpsReport;

/// https of a node; clones share it.
#[derive(Debug, Clone)]
pub struct Https {
    report: watch::Receiver<HttpsReport>,
    endpoint: watch::Receiver<Option<String>>,
}

/// What is served: the listener, and its certificates.
pub type Listening = (TcpListener, TlsKeys);

impl Https {
    /// Has the certificate of `config` for `address` served and renewed until `tasks` stop; `reach` says whether the port
    /// is reachable from outside. Returns at once, with the listener where the port could be had.
    pub async fn start(
        config: HttpsConfig,
        ports: SharedPorts,
        tasks: &Tasks,
        address: watch::Receiver<Option<IpAddr>>,
        reach: watch::Receiver<Reach>,
    ) -> (Self, Option<Listening>) {
        let keys = TlsKeys::default();
        let bound = match config.source {
            CertificateSource::None => Err(Problem::Off),
            _ => match challenge::listen(config.host, config.port) {
                Ok(listener) => Ok(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(Problem::PortHeld { port: config.port, holder: port_owner(config.port).await })
                }
                Err(error) => Err(Problem::PortRefused { port: config.port, why: error.to_string() }),
            },
        };
        let (listener, unbound) = match bound {
            Ok(listener) => {
                ports.web.take(config.port);
                (Some(listener), None)
            }
            Err(problem) => (None, Some(problem)),
        };
        let keeper = Keeper::new(config, ports, keys.clone(), unbound, address, reach);
        let (report, endpoint) = (keeper.report(), keeper.endpoint());
        let stop = tasks.stopping().clone();
        tasks.spawn("certificates", async move {
            stop.run_until_cancelled(keeper.run()).await;
        });
        (Self { report, endpoint }, listener.map(|listener| (listener, keys)))
    }

    /// What is known now.
    #[must_use]
    pub fn report(&self) -> HttpsReport {
        self.report.borrow().clone()
    }

    /// Where renters reach this node over https, whenever that changes; `None` while they cannot.
    #[must_use]
    pub fn endpoint(&self) -> watch::Receiver<Option<String>> {
        self.endpoint.clone()
    }
}

#[cfg(test)]
mod tests;
