//! What there is to look at of a VM.
//!
//! Owns the routes. Never decides: the node does.

use axum::extract::State;
use axum::http::StatusCode;
use golem_node::NodeError;
use golem_service::server::json::ok;

use super::Shared;
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::views::{FailedBootView, LogsView};

/// What there is to look at of a VM, live or with a create that failed within a day; live ones come first.
#[utoipa::path(
    get, path = "/vms/{id}/logs", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id, the start of it, or its name or the job of its create, where one fits")),
    responses(
        (status = 200, body = LogsView, description = "Its console, and what its process said"),
        (status = 409, description = "Several VMs fit"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn logs(State(operator): Shared, Path(which): Path<String>) -> ApiResult {
    let node = &operator.node;
    let found = match (operator.find(&which), which.parse()) {
        (Err(error), Ok(job)) if error.is_not_found() => match node.job(&job).await? {
            Some(job) => operator.find(job.vm_id.as_str()),
            None => Err(ApiError::no_vm(&which)),
        },
        (found, _) => found,
    };
    let vm = match found {
        Ok(vm) => vm,
        Err(error) if error.is_not_found() => {
            let kept = node.failed_boots(&which).await?;
            return match kept.as_slice() {
                [] => Err(ApiError::no_vm(&which)),
                [failed] => Ok(ok(&LogsView {
                    id: failed.vm_id.clone(),
                    name: failed.name.clone(),
                    console: failed.console.clone(),
                    process_log: failed.process_log.clone(),
                    failed_boot: Some(FailedBootView::of(failed)),
                })),
                _ => {
                    let text = format!("{which} fits several VMs; use the id");
                    Err(ApiError::new(StatusCode::CONFLICT, text))
                }
            };
        }
        Err(error) => return Err(error),
    };
    let failed_boot = node.failed_boots(vm.id.as_str()).await?.first().map(FailedBootView::of);
    let process_log = node.backend().process_log(&vm.id);
    let console = match node.backend().console(&vm.id).await {
        // Its guest does not run; what there is besides is shown.
        Err(_) if failed_boot.is_some() || !process_log.is_empty() => String::new(),
        console => console.map_err(NodeError::from)?,
    };
    Ok(ok(&LogsView { id: vm.id.clone(), name: vm.name.clone(), console, process_log, failed_boot }))
}
