//! The routes by which a VM gets more or less of the machine, or a new disk.
//!
//! Owns reading what is asked for. Never judges it: the node does.

use axum::extract::{Request, State};
use golem_service::server::json::ok;
use golem_service::server::serve::body;
use golem_types::wire::bodies::{RebuildBody, ResizeBody};
use golem_types::wire::{AttachStream, Problems, ResizeVm, VmInfo, parse_rebuild, parse_resize};

use super::Shared;
use super::caller::{Caller, Deed};
use crate::error::ApiResult;
use crate::extract::Path;
use crate::views::renter;

/// Gives a VM more or less of the machine, and has something else pay for it.
///
/// What is not named stays. A disk only grows. A VM that runs is restarted. Where rentals are paid for, the payment has to be
/// enough for all of the VM: another stream, or lease, or the stream that pays now where it pays enough. A stream that pays no
/// longer is ended.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/resize", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    request_body = ResizeBody,
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, which restarts where it runs"),
        (status = 400, description = "The payment does not pay for that, a disk would shrink, or it is less than is rented out"),
        (status = 409, description = "It is in no state for that"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
        (status = 501, description = "This provider does not offer it"),
        (status = 503, description = "There is no room, or the chain cannot be asked; try later"),
    ),
)]
pub(super) async fn resize(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
    request: Request,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    let wanted = parse_resize(&body(request).await?, vm.resources)?;
    let payment = wanted.payment.map(|payment| AttachStream { renter: caller.wallet(), ..payment });
    Ok(ok(&renter::vm(&*public.node.resize_vm(&vm.id, ResizeVm { payment, ..wanted }).await?)))
}

/// Makes a VM's disk anew, from its image or another.
///
/// All that is on it is lost. Keys, user-data, address and port stay. A VM that runs is restarted, which its first boot is then.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/rebuild", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    request_body = Option<RebuildBody>,
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, which restarts where it runs"),
        (status = 400, description = "The image is not there"),
        (status = 402, description = "It is not paid for"),
        (status = 409, description = "It is in no state for that, or has snapshots"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
        (status = 501, description = "This provider does not offer it"),
        (status = 503, description = "There is no room on disk"),
    ),
)]
pub(super) async fn rebuild(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
    request: Request,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    let image = parse_rebuild(&body(request).await?)?;
    Ok(ok(&renter::vm(&*public.node.rebuild_vm(&vm.id, image).await?)))
}
