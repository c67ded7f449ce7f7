//! What is shown of a VM, scope by scope.
//!
//! Owns which answers of the other routes make up the picture, and for how long a reading of the chain is shown to
//! everybody who looks at the same VM. Never decides who may look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use golem_node::{HistoryRange, Job, Vm};
use golem_types::wire::VmInfo;
use golem_types::{VmId, VmState};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::words::{METRICS_KEYS, Part, Scope};
use crate::error::ApiError;
use crate::public::provider::ProviderInfo;
use crate::public::streams::lookup_failed;
use crate::public::{Public, seeing, vms};
use crate::views::renter;

/// For how long what the chain said of a stream is shown to whoever asks: however many look at a VM, and however
/// often, the chain is asked no more often than that.
const FRESH: Duration = Duration::from_secs(5);

/// VMs whose streams are remembered before those that nobody looks at any more are forgotten.
const REMEMBERED: usize = 64;

/// What the chain said last of a VM's stream.
type Reading = tokio::sync::Mutex<Option<(Instant, Part)>>;

/// The streams of VMs that are looked at.
#[derive(Default)]
pub(super) struct Readings(Mutex<BTreeMap<VmId, Arc<Reading>>>);

impl Readings {
    fn of(&self, vm: &VmId) -> Arc<Reading> {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readings.len() >= REMEMBERED {
            readings.retain(|_, reading| Arc::strong_count(reading) > 1);
        }
        Arc::clone(readings.entry(vm.clone()).or_default())
    }

    async fn stream(&self, public: &Public, vm: &VmId) -> Part {
        let reading = self.of(vm);
        // Held while the chain is asked: others who want to know wait for the same answer.
        let mut last = reading.lock().await;
        if let Some((at, part)) = &*last
            && at.elapsed() < FRESH
        {
            return part.clone();
        }
        let part = match public.node.stream(vm).await {
            Ok(status) => value(&renter::stream(&status)),
            Err(error) => Err(lookup_failed(error).text()),
        };
        *last = Some((Instant::now(), part.clone()));
        part
    }
}

fn value(shown: &impl Serialize) -> Part {
    serde_json::to_value(shown).map_err(|_| "it cannot be written as JSON".to_owned())
}

/// `vm`, and how far the create is that made it, if that is asked for.
pub(super) fn lifecycle(vm: &Vm, job: Option<&Job>) -> Part {
    let mut shown = renter::vm(vm);
    if let Some(job) = job
        && vm.state == VmState::Creating
    {
        let reached = job.reached().last().map(|reached| reached.stage);
        shown = VmInfo { lifecycle: renter::lifecycle(vm.status(), reached, vm.reason()), ..shown };
    }
    value(&shown)
}

/// What `vm` uses, and what it used in `range`.
async fn metrics(public: &Public, vm: &Arc<Vm>, range: HistoryRange) -> Part {
    let [live, history] = METRICS_KEYS;
    let now = value(&seeing::latest_of(public, vm).await)?;
    let past = seeing::history_of(public, vm, range).await.map_err(|error| error.text())?;
    Ok(json!({ live: now, history: value(&past)? }))
}

/// What `scope` shows of `vm`; of `job`, if its client named one; measurements of `range`.
pub(super) async fn part(
    scope: Scope,
    public: &Public,
    vm: &Arc<Vm>,
    job: Option<&Job>,
    range: HistoryRange,
) -> Part {
    match scope {
        Scope::ProviderInfo => value(&ProviderInfo::of(public)),
        Scope::Lifecycle => lifecycle(vm, job),
        Scope::Access => match vms::access_of(public, vm) {
            Ok((_, access)) => value(&access),
            Err(error) => Err(error.text()),
        },
        Scope::Job => job.map_or(Ok(Value::Null), |job| value(&renter::job(job))),
        Scope::Snapshots => match public.node.snapshots(&vm.id) {
            Ok(all) => value(&all.iter().map(|one| renter::snapshot(vm, one)).collect::<Vec<_>>()),
            Err(error) => Err(ApiError::from(error).text()),
        },
        Scope::Metrics => metrics(public, vm, range).await,
        Scope::Stream => public.live.readings.stream(public, &vm.id).await,
    }
}
