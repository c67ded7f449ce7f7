//! The live VMs.
//!
//! Owns the routes. Never decides: the node does.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use golem_node::NodeError;
use golem_service::server::json::ok;
use serde_json::json;

use super::{By, Shared};
use crate::error::{ApiError, ApiResult};
use crate::views::VmView;

/// Most events that are shown, of a VM or of all.
const EVENTS: u32 = 200;

pub(super) async fn list(State(operator): Shared) -> Response {
    ok(&operator.node.vms().iter().map(|vm| VmView::of(&operator.node, vm)).collect::<Vec<_>>())
}

pub(super) async fn show(State(operator): Shared, Path(which): Path<String>) -> ApiResult {
    Ok(ok(&VmView::of(&operator.node, &*operator.find(&which)?)))
}

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

pub(super) async fn delete(State(operator): Shared, by: By, Path(which): Path<String>) -> ApiResult {
    let id = operator.find(&which)?.id.clone();
    tracing::info!(target: "audit", %by, vm = id.redacted(), "a VM is deleted");
    match operator.node.delete_vm(&id).await {
        Ok(()) | Err(NodeError::NotFound(_)) => Ok(ok(&json!(null))),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn all_events(State(operator): Shared) -> ApiResult {
    Ok(ok(&operator.node.events(None, EVENTS).await?))
}

pub(super) async fn events(State(operator): Shared, Path(which): Path<String>) -> ApiResult {
    let id = operator.find(&which)?.id.clone();
    Ok(ok(&operator.node.events(Some(id), EVENTS).await?))
}
