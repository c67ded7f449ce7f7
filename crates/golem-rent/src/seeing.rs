//! What a rented VM does, as its provider tells it: what it uses, and what happened to it.
//!
//! Owns that others' words in it are fit to be shown. Never moves money, and never judges whether a provider says the truth.

use golem_types::VmName;
use golem_types::wire::{BootStage, LatestMetrics, MetricsHistory, VmEvent, VmEvents};
use serde::Serialize;

use super::Renter;
use super::shown::shown;
use super::use_vm::{UseError, at_provider};

/// What a VM uses, and what it used.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// What the renter calls it.
    pub name: VmName,
    /// What it uses now.
    pub latest: LatestMetrics,
    /// What it used, if that was asked for.
    pub history: Option<MetricsHistory>,
}

/// What the VM of the rental `name` uses, and what it used in the `range` that is given: `1h`, `6h`, `24h`, `7d` or `30d`.
///
/// # Errors
/// [`UseError`]; a provider refuses any other range.
pub async fn stats(renter: &Renter<'_>, name: &VmName, range: Option<&str>) -> Result<Stats, UseError> {
    let (provider, reference) = at_provider(renter, name)?;
    let latest = provider.metrics(&reference).await?;
    let history = match range {
        Some(range) => {
            let told = provider.metrics_history(&reference, range).await?;
            Some(MetricsHistory { range: shown(&told.range), ..told })
        }
        None => None,
    };
    Ok(Stats { name: name.clone(), latest, history })
}

/// The last `limit` events of the VM of the rental `name`, newest first, and its last boot; 200 at most.
///
/// # Errors
/// [`UseError`].
pub async fn events(renter: &Renter<'_>, name: &VmName, limit: u32) -> Result<VmEvents, UseError> {
    let (provider, reference) = at_provider(renter, name)?;
    let told = provider.events(&reference, limit).await?;
    let event =
        |event: VmEvent| VmEvent { kind: shown(&event.kind), detail: shown(&event.detail), at: event.at };
    let stage = |stage: BootStage| BootStage { stage: shown(&stage.stage), at: stage.at };
    Ok(VmEvents {
        vm_id: told.vm_id,
        events: told.events.into_iter().map(event).collect(),
        last_boot: told.last_boot.into_iter().map(stage).collect(),
    })
}
