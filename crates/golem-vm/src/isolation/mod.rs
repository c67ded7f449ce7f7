//! `isolation check`: what a guest of this node can reach, tried from inside a real one.
//!
//! ```text
//!   host_network ──► traps ──► guest (boots) ──► plan ──► attempts ──► judge ──► report
//!   what is near      listeners  the node's own    what is    made in the   what was caught,
//!   this host         of ours    backend           tried      guest         what the guest saw
//! ```
//!
//! An attempt counts as refused only where it would have shown had it come through: a listener of ours waits
//! there, or something was seen to answer there, or the host's own wires were watched. All else is "not tried",
//! with the reason.
//!
//! Owns the throw-away guest, which lives in a folder and as a user of its own, so that a node that runs
//! neither counts nor touches it. Never changes anything of the host, and never looks at a rental.

mod capture;
mod guest;
mod host_network;
mod judge;
mod plan;
mod report;
mod traps;

use std::convert::Infallible;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use golem_types::ImageName;
use tokio::time::timeout;

use crate::backend::NETWORK_INTERVAL;
use crate::{Backend, NetworkState};
use guest::{Outcomes, ThrowAway};

use capture::Capture;
use host_network::HostNetwork;
pub use report::{AttemptResult, AttemptRow, IsolationReport};
use traps::Traps;

/// Longest that all attempts of one round may take. Each waits a few seconds at most, and many are made at once;
/// a guest without hardware virtualisation on a busy machine needs most of it.
const ROUND: Duration = Duration::from_secs(240);

/// What is still on its way when the last attempt has ended.
const AFTERMATH: Duration = Duration::from_millis(500);

/// How far a check is.
#[derive(Debug, Clone, Copy)]
pub enum CheckStage<'a> {
    /// What is being done now.
    Step(&'a str),
    /// So many attempts of so many were made.
    Tried(usize, usize),
}

/// What a check needs to know of the node.
#[derive(Debug, Clone)]
pub struct CheckedNode {
    /// The folder for the throw-away guest: that of the backend's data.
    pub folder: PathBuf,
    /// Longest that the guest may take to boot.
    pub boot_timeout: Duration,
    /// Port of the public API.
    pub api: u16,
    /// Port of the operator API.
    pub operator_api: u16,
    /// Ports that lead to other guests.
    pub ssh: Range<u16>,
    /// Whether guests may send mail.
    pub allows_smtp: bool,
}

/// A check: a guest that is there to try things. Whoever has one ends it, whatever else happens.
pub struct GuestCheck {
    guest: ThrowAway,
    node: CheckedNode,
    internet: String,
    /// How the guest was connected when that was last looked at.
    network: Mutex<Option<NetworkState>>,
}

impl GuestCheck {
    /// Sees to it that a guest of `image` can be made; none is yet. `internet` is a name or address with a port
    /// that a guest should reach.
    ///
    /// # Errors
    /// When the node's backend is another than QEMU, another check goes on, or something is missing; the message
    /// names the fix.
    pub async fn prepare(
        node: CheckedNode,
        backend: Backend,
        image: ImageName,
        internet: String,
    ) -> anyhow::Result<Self> {
        let guest = ThrowAway::prepare(node.folder.clone(), backend, image).await?;
        Ok(Self { guest, node, internet, network: Mutex::default() })
    }

    /// Makes and boots the guest; `tell` hears how far it is.
    ///
    /// # Errors
    /// When it cannot be made or does not boot.
    pub async fn boot(&self, tell: &impl Fn(CheckStage<'_>)) -> anyhow::Result<()> {
        tell(CheckStage::Step("a throw-away guest is made"));
        self.guest.create().await?;
        tell(CheckStage::Step("the guest boots; without hardware virtualisation that takes a minute"));
        self.guest.boot(self.node.boot_timeout).await
    }

    /// Sees to the guest's network as a node does, for as long as it is polled: it follows what changes on this host.
    pub async fn guard(&self) -> Infallible {
        loop {
            let seen = self.guest.keep_network().await;
            if seen.is_some() {
                *self.network.lock().unwrap_or_else(PoisonError::into_inner) = seen;
            }
            tokio::time::sleep(NETWORK_INTERVAL).await;
        }
    }

    /// Has the guest try everything, once.
    ///
    /// # Errors
    /// When the host's networks cannot be seen or the guest cannot be told to try. That says nothing about isolation.
    pub async fn round(&self, tell: &impl Fn(CheckStage<'_>)) -> anyhow::Result<IsolationReport> {
        let host_network = HostNetwork::look().context("what is near this host cannot be seen")?;
        let traps = Traps::open(&host_network).context("no trap can be set")?;
        let attempts = plan::plan(&host_network, &traps, &self.node, &self.internet);
        tell(CheckStage::Step("this host itself tries what the guest will"));
        let controls = plan::controls(&attempts, &traps).await;
        // After the controls, so that it sees the guest's packets only.
        let wire = Capture::open();
        tell(CheckStage::Step("the guest tries every way that it should not have"));
        let script = plan::script(&attempts, &traps);
        let outcomes = Outcomes::default();
        let tries = async {
            self.guest.run(&script, attempts.len(), &outcomes, tell).await?;
            tokio::time::sleep(AFTERMATH).await;
            anyhow::Ok(())
        };
        tokio::select! {
            // What was not tried in time is told as not tried.
            tried = timeout(ROUND, tries) => tried.unwrap_or(Ok(()))?,
            never = traps.watch() => match never {},
            never = wire.watch(&traps) => match never {},
        };
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(judge::judge(&attempts, &controls, &outcomes, &traps, &wire).connected(network))
    }

    /// Removes the guest and all that belongs to it.
    pub async fn end(self) {
        self.guest.remove().await;
    }
}
