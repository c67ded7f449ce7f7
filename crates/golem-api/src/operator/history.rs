//! What the host and its VMs used over time.
//!
//! Owns the routes. Never measures: the node does, and its ledger knows how long that is kept.

use axum::extract::State;
use axum::http::StatusCode;
use golem_node::ledger::Step;
use golem_service::server::json::ok;

use super::Shared;
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::views::{HostHistoryView, VmHistoryView};

fn step(text: &str) -> Result<Step, ApiError> {
    match text {
        "minute" => Ok(Step::Minute),
        "hour" => Ok(Step::Hour),
        _ => Err(ApiError::new(StatusCode::NOT_FOUND, "history is kept by minute and by hour")),
    }
}

/// What the host used, over time.
#[utoipa::path(
    get, path = "/history/{step}", tag = "Node",
    params(("step" = String, Path, description = "`minute`, kept for a day, or `hour`, kept for 31 days")),
    responses((status = 200, body = HostHistoryView, description = "Lists of equal length, oldest first")),
)]
pub(super) async fn of_host(State(operator): Shared, Path(every): Path<String>) -> ApiResult {
    let step = step(&every)?;
    Ok(ok(&HostHistoryView::of(step, &operator.node.host_use(step).await?)))
}

/// What a live VM used, over time.
#[utoipa::path(
    get, path = "/vms/{id}/history/{step}", tag = "VMs",
    params(
        ("id" = String, Path, description = "The VM's id, the start of it, or its name, where one fits"),
        ("step" = String, Path, description = "`minute`, kept for a day, or `hour`, kept for 31 days"),
    ),
    responses(
        (status = 200, body = VmHistoryView, description = "Lists of equal length, oldest first"),
        (status = 409, description = "Several VMs fit"),
    ),
)]
pub(super) async fn of_vm(
    State(operator): Shared,
    Path((which, every)): Path<(String, String)>,
) -> ApiResult {
    let step = step(&every)?;
    let id = operator.find(&which)?.id.clone();
    Ok(ok(&VmHistoryView::of(step, &operator.node.vm_use(id, step).await?)))
}
