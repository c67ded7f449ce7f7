//! What changes, told to the page as it changes: server-sent events.
//!
//! ```text
//!   event `node` {at, health, summary}            when anything of it changed
//!   event `vms`  {at, changed: [VM…], gone: [id…]} those that changed; first all
//! ```
//! Owns how often is looked (once a second, however many listen), how many may listen, and when a stream ends: with its
//! session, and with the API. Never asks a chain: runways are estimated from what was read last.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use golem_vm::Usage;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::health::HealthView;
use super::{Session, Shared};
use crate::error::ApiError;
use crate::operator::{By, Operator};
use crate::views::{Summary, VmView};

/// Most streams at a time.
const LISTENERS: usize = 16;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Between two signs of life where nothing changes.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What was last looked at, for all who listen.
pub(in crate::operator) struct Live {
    last: Mutex<Option<(Instant, Arc<Look>)>>,
    places: Arc<Semaphore>,
}

impl Default for Live {
    fn default() -> Self {
        Self { last: Mutex::default(), places: Arc::new(Semaphore::new(LISTENERS)) }
    }
}

/// One look.
struct Look {
    at: Timestamp,
    node: NodeLook,
    /// The JSON of each VM.
    vms: BTreeMap<String, Box<RawValue>>,
}

#[derive(Serialize, Clone, PartialEq, Eq)]
struct NodeLook {
    health: Option<HealthView>,
    summary: Summary,
}

/// A VM as the page shows it.
#[derive(Serialize)]
struct VmLook {
    #[serde(flatten)]
    vm: VmView,
    /// `eth:` and an address, or `key:` and a fingerprint.
    owner: String,
    /// Seconds for which its stream still pays, as far as is known.
    runway_seconds: Option<u64>,
    /// What it uses; `None` while it does not run, or where nobody counts.
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct NodeEvent<'a> {
    at: Timestamp,
    #[serde(flatten)]
    node: &'a NodeLook,
}

#[derive(Serialize)]
struct VmsEvent<'a> {
    at: Timestamp,
    changed: Vec<&'a RawValue>,
    gone: Vec<&'a str>,
}

impl Operator {
    /// The last look, if it is of this second; else a new one.
    async fn look(&self) -> Arc<Look> {
        let mut last = self.live.last.lock().await;
        if let Some((at, look)) = &*last
            && at.elapsed() < EVERY / 2
        {
            return Arc::clone(look);
        }
        let node = &self.node;
        let at = Timestamp::now();
        let mut runways = BTreeMap::new();
        for payments in node.contracts().all() {
            for copy in payments.known() {
                let left = copy.stream.remaining_seconds(copy.estimated_now(at));
                runways.insert(copy.key, u64::try_from(left).unwrap_or(u64::MAX));
            }
        }
        let live = node.vms();
        let ids: Vec<_> = live.iter().map(|vm| vm.id.clone()).collect();
        let mut usages = node.backend().usages(&ids).await;
        let views: Vec<VmView> = live.iter().map(|vm| VmView::of(node, vm)).collect();
        let look = |(vm, view): (&Arc<golem_node::Vm>, &VmView)| {
            let look = VmLook {
                vm: view.clone(),
                owner: vm.owner.clone(),
                runway_seconds: vm.stream.as_ref().and_then(|key| runways.get(key).copied()),
                usage: usages.remove(&vm.id),
            };
            Some((vm.id.to_string(), serde_json::value::to_raw_value(&look).ok()?))
        };
        let vms = live.iter().zip(&views).filter_map(look).collect();
        let summary = self.summary().await;
        let health = self.judged(&summary, views).await;
        let look = Arc::new(Look { at, node: NodeLook { health, summary }, vms });
        *last = Some((Instant::now(), Arc::clone(&look)));
        look
    }
}

/// What one listener was told.
struct Listener {
    operator: Arc<Operator>,
    session: Arc<Session>,
    told: Option<Arc<Look>>,
    /// Told, but not sent yet.
    waiting: Vec<Event>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop() {
                return Some(event);
            }
            let looked = async {
                if self.told.is_some() {
                    sleep(EVERY).await;
                }
                self.operator.look().await
            };
            let look = tokio::select! {
                biased;
                () = self.session.ended.cancelled() => return None,
                () = sleep_until(self.session.until.into()) => return None,
                () = self.operator.stopping.cancelled() => return None,
                look = looked => look,
            };
            // The last is sent first.
            self.waiting.extend(vms(&look, self.told.as_deref()));
            self.waiting.extend(node(&look, self.told.as_deref()));
            self.told = Some(look);
        }
    }
}

fn node(look: &Look, told: Option<&Look>) -> Option<Event> {
    if told.is_some_and(|told| told.node == look.node) {
        return None;
    }
    Event::default().event("node").json_data(NodeEvent { at: look.at, node: &look.node }).ok()
}

fn vms(look: &Look, told: Option<&Look>) -> Option<Event> {
    let known = |id: &String| told.and_then(|told| told.vms.get(id)).map(|vm| vm.get());
    let changed: Vec<&RawValue> =
        look.vms.iter().filter(|(id, vm)| known(id) != Some(vm.get())).map(|(_, vm)| &**vm).collect();
    let before = told.iter().flat_map(|told| told.vms.keys());
    let gone: Vec<&str> = before.filter(|id| !look.vms.contains_key(*id)).map(String::as_str).collect();
    if told.is_some() && changed.is_empty() && gone.is_empty() {
        return None;
    }
    Event::default().event("vms").json_data(VmsEvent { at: look.at, changed, gone }).ok()
}

/// A stream of what changes, until the session or the API ends.
pub(super) async fn live(State(operator): Shared, By(by): By) -> Response {
    let Some(session) = by else {
        return ApiError::new(StatusCode::UNAUTHORIZED, "this is for the dashboard").into_response();
    };
    let Ok(place) = Arc::clone(&operator.live.places).try_acquire_owned() else {
        let text = "too many pages of the dashboard are open; fix: close one";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let listener = Listener { operator, session, told: None, waiting: Vec::new(), _place: place };
    let events = stream::unfold(listener, async |mut listener| {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
