//! Snapshots of a VM's disk, for its renter.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use golem_service::server::json::{json_response, ok};
use golem_service::server::serve::body;
use golem_types::wire::bodies::SnapshotBody;
use golem_types::wire::{Problems, SnapshotInfo, VmInfo, parse_snapshot};
use golem_types::{SnapshotName, SnapshotState};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, Deed};
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::views::renter;

/// Who serves them.
pub(super) fn routes() -> OpenApiRouter<Arc<Public>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete)).routes(routes!(restore))
}

/// A snapshot's name in a path: one that is none names nothing that there is.
fn named(text: &str) -> Result<SnapshotName, ApiError> {
    text.parse().map_err(|error| {
        ApiError::new(StatusCode::NOT_FOUND, format!("the VM has no snapshot of that name: a name {error}"))
    })
}

/// The snapshots of a VM, oldest first.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/snapshots", tag = "Snapshots",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = Vec<SnapshotInfo>, description = "The snapshots"),
        (status = 409, description = "Several VMs have this name: use the id"),
        (status = 501, description = "This provider offers no snapshots"),
    ),
)]
async fn list(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let snapshots = public.node.snapshots(&vm.id)?;
    let all: Vec<SnapshotInfo<'_>> = snapshots.iter().map(|one| renter::snapshot(&vm, one)).collect();
    Ok(ok(&all))
}

/// Makes a snapshot of a VM's disk.
///
/// Whether the VM runs or is stopped. Where it runs, its guest agent is asked to hold the file systems still for that moment; without
/// one the snapshot is as after a power cut. Memory is no part of it. Answers when it is made, or after three minutes as it stands.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/snapshots", tag = "Snapshots",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    request_body = Option<SnapshotBody>,
    security((), ("session" = [])),
    responses(
        (status = 200, body = SnapshotInfo, description = "The snapshot, which is there"),
        (status = 202, body = SnapshotInfo, description = "It is still being made: ask for the list"),
        (status = 402, description = "The VM is not paid for"),
        (status = 409, description = "The name is taken, the VM has as many as it may, or it is in no state for that"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
        (status = 501, description = "This provider offers no snapshots"),
        (status = 502, description = "It could not be made; `detail` says why"),
        (status = 503, description = "There is no room for it"),
    ),
)]
async fn create(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
    request: Request,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    let name = parse_snapshot(&body(request).await?)?;
    let snapshot = public.node.create_snapshot(&vm.id, name).await?;
    let status = match snapshot.state {
        SnapshotState::Creating => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    Ok(json_response(status, &renter::snapshot(&vm, &snapshot)))
}

/// Deletes a snapshot. The VM and its disk stay as they are.
#[utoipa::path(
    delete, path = "/api/v1/vms/{id}/snapshots/{snapshot}", tag = "Snapshots",
    params(
        ("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open"),
        ("snapshot" = String, Path, description = "The snapshot's name"),
    ),
    security((), ("session" = [])),
    responses(
        (status = 200, body = (), description = "It is gone"),
        (status = 409, description = "Something is under way with a snapshot of the VM"),
        (status = 502, description = "It could not be deleted; `detail` says why"),
    ),
)]
async fn delete(
    State(public): Shared,
    caller: Caller,
    Path((which, snapshot)): Path<(String, String)>,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    public.node.delete_snapshot(&vm.id, &named(&snapshot)?).await?;
    Ok(ok(&json!(null)))
}

/// Makes a VM's disk what it was when the snapshot was made.
///
/// What was written since is lost. A VM that runs is shut down before and booted again after; the snapshot stays.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/snapshots/{snapshot}/restore", tag = "Snapshots",
    params(
        ("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open"),
        ("snapshot" = String, Path, description = "The snapshot's name"),
    ),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, whose disk is restored, and which boots if it ran before"),
        (status = 402, description = "The VM is not paid for"),
        (status = 409, description = "The VM is on its way up or down, or something is under way with a snapshot"),
        (status = 502, description = "It could not be restored; `detail` says why"),
    ),
)]
async fn restore(
    State(public): Shared,
    caller: Caller,
    Path((which, snapshot)): Path<(String, String)>,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    let vm = public.node.restore_snapshot(&vm.id, &named(&snapshot)?).await?;
    Ok(ok(&renter::vm(&vm)))
}
