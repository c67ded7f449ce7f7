//! What changes, told to the page as it changes: server-sent events.
//!
//! ```text
//!   event `node` {at, health, summary}            when anything of it changed
//!   event `vms`  {at, changed: [VM…], gone: [id…]} those that changed; first all
//!   event `use`  {at, of: {id: [CPU ms, memory, disk, in, out]}} counters that moved, by themselves: they always do
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
use golem_node::Used;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::health::HealthView;
use super::{Session, Shared};
use crate::error::ApiError;
use crate::operator::{By, Operator};
use crate::views::{Summary, TrafficView, VmView};

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
pub(in crate::operator) struct Look {
    pub(in crate::operator) at: Timestamp,
    pub(in crate::operator) node: NodeLook,
    /// The live VMs.
    pub(in crate::operator) views: Vec<VmView>,
    /// The JSON of each VM, without what is counted.
    vms: BTreeMap<String, Box<RawValue>>,
    /// What each that runs has used: CPU time in milliseconds, bytes of memory and disk, bytes into and out of it.
    pub(in crate::operator) counted: BTreeMap<String, [u64; 5]>,
    /// By when the stream of each has paid, as far as is known.
    pub(in crate::operator) paid_until: BTreeMap<String, Timestamp>,
}

#[derive(Serialize, Clone, PartialEq, Eq)]
pub(in crate::operator) struct NodeLook {
    pub(in crate::operator) health: Option<HealthView>,
    pub(in crate::operator) summary: Summary,
}

/// A VM as the page shows it.
#[derive(Serialize)]
struct VmLook {
    #[serde(flatten)]
    vm: VmView,
    /// `eth:` and an address, or `key:` and a fingerprint.
    owner: String,
    /// By when its stream has paid, as far as is known.
    paid_until: Option<Timestamp>,
}

#[derive(Serialize)]
struct NodeEvent<'a> {
    at: Timestamp,
    #[serde(flatten)]
    node: &'a NodeLook,
}

#[derive(Serialize)]
struct UseEvent<'a> {
    at: Timestamp,
    of: BTreeMap<&'a str, [u64; 5]>,
}

#[derive(Serialize)]
struct VmsEvent<'a> {
    at: Timestamp,
    changed: Vec<&'a RawValue>,
    gone: Vec<&'a str>,
}

impl Operator {
    /// The last look, if it is of this second; else a new one.
    pub(in crate::operator) async fn look(self: &Arc<Self>) -> Arc<Look> {
        let mut last = self.live.last.lock().await;
        if let Some((at, look)) = &*last
            && at.elapsed() < EVERY / 2
        {
            return Arc::clone(look);
        }
        let node = &self.node;
        let at = Timestamp::now();
        let mut paid = BTreeMap::new();
        for payments in node.contracts().all() {
            for copy in payments.known() {
                let stream = &copy.stream;
                let left = stream.remaining_seconds(copy.estimated_now(copy.read_at));
                let left = SignedDuration::from_secs(i64::try_from(left).unwrap_or(i64::MAX));
                paid.insert(copy.key, copy.read_at.saturating_add(left).unwrap_or(Timestamp::MAX));
            }
        }
        let live = node.vms();
        let views: Vec<VmView> = live.iter().map(|vm| VmView::of(node, vm)).collect();
        let counted = node.used().await.into_iter().map(|(id, used)| {
            let Used { cpu_ms, memory_bytes, disk_bytes, bytes_in, bytes_out } = used;
            let moved = [bytes_in, bytes_out].map(Option::unwrap_or_default);
            (id.to_string(), [cpu_ms, memory_bytes, disk_bytes, moved[0], moved[1]])
        });
        let counted = counted.collect();
        let until = |vm: &Arc<golem_node::Vm>| Some((vm.id.to_string(), *paid.get(vm.stream.as_ref()?)?));
        let paid_until: BTreeMap<String, Timestamp> = live.iter().filter_map(until).collect();
        let look = |(vm, view): (&Arc<golem_node::Vm>, &VmView)| {
            let look = VmLook {
                vm: VmView { traffic: view.traffic.map(uncounted), network: None, ..view.clone() },
                owner: vm.owner.clone(),
                paid_until: paid_until.get(vm.id.as_str()).copied(),
            };
            Some((vm.id.to_string(), serde_json::value::to_raw_value(&look).ok()?))
        };
        let vms = live.iter().zip(&views).filter_map(look).collect();
        let summary = self.summary().await;
        let health = self.judged(&summary, views.clone()).await;
        let look = Arc::new(Look { at, node: NodeLook { health, summary }, views, vms, counted, paid_until });
        *last = Some((Instant::now(), Arc::clone(&look)));
        look
    }
}

/// `traffic` without what moves all the time.
const fn uncounted(traffic: TrafficView) -> TrafficView {
    TrafficView { bytes_in: 0, bytes_out: 0, connections_total: 0, ..traffic }
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
            self.waiting.extend(counted(&look, self.told.as_deref()));
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

fn counted(look: &Look, told: Option<&Look>) -> Option<Event> {
    let known = |id: &String| told.and_then(|told| told.counted.get(id));
    let moved = look.counted.iter().filter(|(id, count)| known(id) != Some(*count));
    let of: BTreeMap<&str, [u64; 5]> = moved.map(|(id, count)| (id.as_str(), *count)).collect();
    (!of.is_empty()).then(|| Event::default().event("use").json_data(UseEvent { at: look.at, of }).ok())?
}

/// What changes, as server-sent events, until the session ends: `node`, `vms`, `use`, `event` and others.
#[utoipa::path(
    get, path = "/live", tag = "Dashboard",
    responses(
        (status = 200, body = String, content_type = "text/event-stream", description = "The events"),
        (status = 503, description = "Too many pages are open"),
    ),
)]
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
