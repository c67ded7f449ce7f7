//! What the host and its VMs used over time.
//!
//! Owns the routes. Never measures: the node does, and its ledger knows how long that is kept.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use golem_node::ledger::Step;
use golem_service::server::json::ok;

use super::Shared;
use crate::error::{ApiError, ApiResult};
use crate::views::{HostHistoryView, VmHistoryView};

fn step(text: &str) -> Result<Step, ApiError> {
    match text {
        "minute" => Ok(Step::Minute),
        "hour" => Ok(Step::Hour),
        _ => Err(ApiError::new(StatusCode::NOT_FOUND, "history is kept by minute and by hour")),
    }
}

pub(super) async fn of_host(State(operator): Shared, Path(every): Path<String>) -> ApiResult {
    let step = step(&every)?;
    Ok(ok(&HostHistoryView::of(step, &operator.node.host_use(step).await?)))
}

pub(super) async fn of_vm(
    State(operator): Shared,
    Path((which, every)): Path<(String, String)>,
) -> ApiResult {
    let step = step(&every)?;
    let id = operator.find(&which)?.id.clone();
    Ok(ok(&VmHistoryView::of(step, &operator.node.vm_use(id, step).await?)))
}
