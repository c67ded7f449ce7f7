//! The node's ports, as they may be asked about from outside of this crate.
//!
//! Owns no rule: [`crate::ports`] decides which may be handed out, and the ledger does it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use golem_reach::probe::Probes;
use golem_reach::verdict::PortVerdict;

use super::Node;
use crate::error::NodeError;
use crate::ports::{Offered, offered, pick};
use crate::proxy::Counts;

impl Node {
    /// Ports that live rentals hold.
    #[must_use]
    pub fn ports_in_use(&self) -> BTreeSet<u16> {
        self.0.ledger.now().ports()
    }

    /// What was found out last about each port.
    #[must_use]
    pub fn port_verdicts(&self) -> Arc<BTreeMap<u16, PortVerdict>> {
        Arc::clone(&self.0.ledger.now().port_verdicts)
    }

    /// Keeps what was found out about ports.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn keep_port_verdicts(&self, verdicts: Vec<PortVerdict>) -> Result<(), NodeError> {
        Ok(self.0.ledger.keep_port_verdicts(verdicts).await?)
    }

    /// Forgets what was found out about ports at any other address than `address`. Gives how many
    /// verdicts that were.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn forget_port_verdicts_but_of(&self, address: IpAddr) -> Result<usize, NodeError> {
        Ok(self.0.ledger.forget_port_verdicts_but_of(address).await?)
    }

    /// What may be handed out of the SSH ports.
    #[must_use]
    pub fn ports_offered(&self) -> Offered {
        let config = &self.0.config;
        offered(config.port_policy, config.ports.clone(), &self.0.ledger.now().port_verdicts)
    }

    /// Whether a port is left that another rental may have.
    #[must_use]
    pub fn has_port_left(&self) -> bool {
        let (used, blocked) = (self.ports_in_use(), self.ports_offered().blocked);
        pick(self.config().ports.clone(), &used, &blocked, &BTreeMap::new()).is_some()
    }

    /// Listeners that are up while ports are verified.
    #[must_use]
    pub fn probes(&self) -> &Probes {
        &self.0.probes
    }

    /// What went through `port`, while it is served.
    #[must_use]
    pub fn traffic(&self, port: u16) -> Option<Counts> {
        self.0.proxy.counts(port)
    }
}
