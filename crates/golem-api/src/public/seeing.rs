//! What the renter of a VM sees of it.
//!
//! Owns the routes and their queries. Never measures and never records: the node does.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use golem_node::{HistoryRange, NodeError, Vm};
use golem_service::server::json::ok;
use golem_types::wire::{ConsoleLog, LatestMetrics, MetricsHistory, Problems, VmEvents};
use golem_vm::BackendError;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::timeout;

use super::caller::{Caller, Deed};
use super::{Public, Shared, bad_query};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Path, Query};
use crate::views::seeing;

/// Most events that are told at once.
const EVENTS_MOST: u32 = 200;

/// Events that are told where a query does not say how many.
const EVENTS: u32 = 50;

/// Longest that the backend may take to read the console.
const CONSOLE_DEADLINE: Duration = Duration::from_secs(20);

/// What `vm` uses now.
pub(super) async fn latest_of(public: &Public, vm: &Arc<Vm>) -> LatestMetrics {
    seeing::latest(vm, &public.node.vm_use_now(vm).await)
}

/// What `vm` used in the `range` before now.
pub(super) async fn history_of(
    public: &Public,
    vm: &Vm,
    range: HistoryRange,
) -> Result<MetricsHistory, ApiError> {
    let now = Timestamp::now();
    let measured = public.node.vm_history(&vm.id, range, now).await?;
    Ok(seeing::history((&vm.id, vm.resources), range, &measured, now))
}

/// What a VM uses now.
///
/// Looked at when asked; rates are means of the last seconds, a little more than a minute at most. What is not known is null.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/metrics/latest", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = LatestMetrics, description = "What it uses, and what was rented"),
        (status = 409, description = "Several VMs have this name: use the id"),
    ),
)]
pub(super) async fn metrics_latest(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    Ok(ok(&latest_of(&public, &vm).await))
}

/// The query of [`metrics_history`].
#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    range: Option<String>,
}

/// What a VM used, over time.
///
/// Kept for a day by the minute, and for 31 days by the hour.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/metrics/history", tag = "VMs",
    params(
        ("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open"),
        ("range" = Option<String>, Query, description = "How much of the past: `1h` (if absent), `6h`, `24h`, `7d` or `30d`"),
    ),
    security((), ("session" = [])),
    responses(
        (status = 200, body = MetricsHistory, description = "The steps of the range in which it ran, oldest first"),
        (status = 409, description = "Several VMs have this name: use the id"),
        (status = 422, body = Problems, description = "There is no such range"),
    ),
)]
pub(super) async fn metrics_history(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let range = match query.range {
        None => HistoryRange::default(),
        Some(text) => text
            .parse()
            .map_err(|_| bad_query("range", "enum", "Input should be '1h', '6h', '24h', '7d' or '30d'"))?,
    };
    Ok(ok(&history_of(&public, &vm, range).await?))
}

/// The query of [`events`].
#[derive(Deserialize)]
pub(super) struct EventsQuery {
    limit: Option<String>,
}

/// What happened to a VM, newest first, and the stages of its last boot.
///
/// Kept as long as the VM; of what can happen again and again (states, boots, snapshots, consoles) the newest 500. In the order in
/// which it was recorded: times are those of the provider's clock, which may be set.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/events", tag = "VMs",
    params(
        ("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open"),
        ("limit" = Option<u32>, Query, description = "How many events at most, from 1 to 200; 50 if absent"),
    ),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmEvents, description = "The events"),
        (status = 409, description = "Several VMs have this name: use the id"),
        (status = 422, body = Problems, description = "The limit is no number from 1 to 200"),
    ),
)]
pub(super) async fn events(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
    Query(query): Query<EventsQuery>,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let limit = query.limit.as_deref().map_or(Ok(EVENTS), str::parse::<u32>).ok();
    let limit = limit
        .filter(|limit| (1..=EVENTS_MOST).contains(limit))
        .ok_or_else(|| bad_query("limit", "int_parsing", "Input should be a whole number from 1 to 200"))?;
    let events = public.node.events_of_kinds(&vm.id, &seeing::EVENT_KINDS, limit).await?;
    let last_boot = public.node.last_boot(&vm.id).await?;
    Ok(ok(&seeing::events(&vm.id, &events, &last_boot)))
}

/// The end of what a VM wrote to its serial console since its last launch.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/console-log", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = ConsoleLog, description = "The console, at most 64 KiB"),
        (status = 409, description = "Several VMs have this name: use the id"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn console_log(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let read = timeout(CONSOLE_DEADLINE, public.node.backend().console(&vm.id)).await;
    let console = match read {
        Ok(Ok(console)) => console,
        Ok(Err(BackendError::NoSuchMachine(_))) => {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "nothing of the VM's console is there"));
        }
        Ok(Err(error)) => return Err(NodeError::from(error).into()),
        Err(_) => {
            let text = "the console could not be read in time; try again later";
            return Err(ApiError::new(StatusCode::BAD_GATEWAY, text));
        }
    };
    Ok(ok(&ConsoleLog { vm_id: vm.id.clone(), console }))
}
