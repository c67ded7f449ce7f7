//! The live VMs.
//!
//! Owns the routes. Never decides: the node does.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use golem_node::NodeError;
use golem_node::ledger::Event;
use golem_service::server::json::ok;
use serde_json::json;

use super::{By, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::views::VmView;

/// Most events that are shown, of a VM or of all.
const EVENTS: u32 = 200;

/// The live VMs.
#[utoipa::path(
    get, path = "/vms", tag = "VMs",
    responses(
        (status = 200, body = Vec<VmView>, description = "The VMs"),
    ),
)]
pub(super) async fn list(State(operator): Shared) -> Response {
    ok(&operator.node.vms().iter().map(|vm| VmView::of(&operator.node, vm)).collect::<Vec<_>>())
}

/// A live VM.
#[utoipa::path(
    get, path = "/vms/{id}", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id, the start of it, or its name, where one fits")),
    responses(
        (status = 200, body = VmView, description = "The VM"),
        (status = 409, description = "Several VMs fit"),
    ),
)]
pub(super) async fn show(State(operator): Shared, Path(which): Path<String>) -> ApiResult {
    Ok(ok(&VmView::of(&operator.node, &*operator.find(&which)?)))
}

/// Starts, stops or restarts a VM.
///
/// Payment goes on.
#[utoipa::path(
    post, path = "/vms/{id}/{action}", tag = "VMs",
    params(
        ("id" = String, Path, description = "The VM's id, the start of it, or its name, where one fits"),
        ("action" = String, Path, description = "`start`, `stop` or `restart`"),
    ),
    responses(
        (status = 200, body = VmView, description = "The VM, afterwards"),
        (status = 402, description = "It is not paid for"),
        (status = 409, description = "Several VMs fit, or it is in no state for that"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn act(
    State(operator): Shared,
    by: By,
    Path((which, action)): Path<(String, String)>,
) -> ApiResult {
    let id = operator.find(&which)?.id.clone();
    let node = &operator.node;
    match action.as_str() {
        "start" => node.start_vm(&id).await?,
        "stop" => node.stop_vm(&id).await?,
        "restart" => node.restart_vm(&id).await?,
        _ => return Err(ApiError::new(StatusCode::NOT_FOUND, "Not Found")),
    };
    tracing::info!(target: "audit", %by, vm = id.redacted(), action, "a VM is started, stopped or restarted");
    Ok(ok(&VmView::of(&operator.node, &*node.settled(&id).await?)))
}

/// Deletes a VM and its disk.
#[utoipa::path(
    delete, path = "/vms/{id}", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id, the start of it, or its name, where one fits")),
    responses(
        (status = 200, body = (), description = "It is gone"),
        (status = 409, description = "Several VMs fit"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn delete(State(operator): Shared, by: By, Path(which): Path<String>) -> ApiResult {
    let id = operator.find(&which)?.id.clone();
    tracing::info!(target: "audit", %by, vm = id.redacted(), "a VM is deleted");
    match operator.node.delete_vm(&id).await {
        Ok(()) | Err(NodeError::NotFound(_)) => Ok(ok(&json!(null))),
        Err(error) => Err(error.into()),
    }
}

/// The last 200 events of all rentals, newest first.
#[utoipa::path(
    get, path = "/events", tag = "VMs",
    responses(
        (status = 200, body = Vec<Event>, description = "The events"),
    ),
)]
pub(super) async fn all_events(State(operator): Shared) -> ApiResult {
    Ok(ok(&operator.node.events(None, EVENTS).await?))
}

/// The last 200 events of a VM, newest first.
#[utoipa::path(
    get, path = "/vms/{id}/events", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id, the start of it, or its name, where one fits")),
    responses(
        (status = 200, body = Vec<Event>, description = "The events"),
        (status = 409, description = "Several VMs fit"),
    ),
)]
pub(super) async fn events(State(operator): Shared, Path(which): Path<String>) -> ApiResult {
    let id = operator.find(&which)?.id.clone();
    Ok(ok(&operator.node.events(Some(id), EVENTS).await?))
}
