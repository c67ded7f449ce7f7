//! The streams that pay for VMs.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use golem_node::{NodeError, Vm};
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use golem_types::wire::bodies::AttachBody;
use golem_types::wire::{AttachStream, Problems, StreamInfo, VmInfo, parse_stream};
use serde_json::json;

use super::caller::{Caller, Deed};
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::views::renter;

/// The chain could not be asked about a stream that is there: the gateway's fault, not the caller's.
pub(super) fn lookup_failed(error: NodeError) -> ApiError {
    match error {
        NodeError::ChainUnknown(error) => {
            tracing::debug!(%error, "a stream could not be shown");
            ApiError::new(StatusCode::BAD_GATEWAY, format!("stream lookup failed: {error}"))
        }
        error => error.into(),
    }
}

/// The VM of a stream. That payments are off is told before whether there is such a VM, as clients without a session know it.
async fn find(public: &Public, caller: &Caller, which: &str, deed: Deed) -> Result<Arc<Vm>, ApiError> {
    match caller {
        Caller::Anyone if public.node.payments().is_none() => Err(NodeError::PaymentsOff.into()),
        caller => caller.find(public, which, deed).await,
    }
}

/// The stream that pays for a VM, as the chain and the node see it.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/stream", tag = "Payments",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = StreamInfo, description = "The stream"),
        (status = 400, description = "Rentals are free here"),
        (status = 409, description = "Several VMs have this name: use the id"),
        (status = 502, description = "The chain cannot be asked"),
    ),
)]
pub(super) async fn show(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = find(&public, &caller, &which, Deed::Read).await?;
    let status = public.node.stream(&vm.id).await.map_err(lookup_failed)?;
    Ok(ok(&renter::stream(&status)))
}

/// Lets another stream pay for the VM.
///
/// Whoever owns the stream pays; whoever knows the VM may have it paid.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/stream", tag = "Payments",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    request_body = AttachBody,
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM"),
        (status = 400, description = "Rentals are free here, or the stream does not pay for it"),
        (status = 409, description = "It is in no state for that"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
    ),
)]
pub(super) async fn attach(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
    request: Request,
) -> ApiResult {
    let vm = find(&public, &caller, &which, Deed::Change).await?;
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    let stream = AttachStream { renter: caller.wallet(), ..parse_stream(&body(request).await?)? };
    Ok(ok(&renter::vm(&*public.node.attach_stream(&vm.id, stream).await?)))
}

/// The streams of the VMs that the caller sees.
#[utoipa::path(
    get, path = "/api/v1/payments/streams", tag = "Payments",
    security((), ("session" = [])),
    responses(
        (status = 200, body = Vec<StreamInfo>, description = "The streams"),
        (status = 400, description = "Rentals are free here"),
        (status = 502, description = "The chain cannot be asked"),
    ),
)]
pub(super) async fn list(State(public): Shared, caller: Caller) -> ApiResult {
    if public.node.payments().is_none() {
        return Err(NodeError::PaymentsOff.into());
    }
    let vms = caller.vms(&public);
    if vms.is_empty() {
        return Ok(ok(&json!([])));
    }
    let statuses = public.node.streams().await.map_err(lookup_failed)?;
    let seen = statuses.iter().filter(|status| vms.iter().any(|vm| vm.id == status.vm));
    Ok(ok(&seen.map(renter::stream).collect::<Vec<_>>()))
}
