//! The routes of a VM that is there, but for its stream.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use golem_node::{NodeError, Vm};
use golem_reach::public_ip;
use golem_service::server::json::{json_response, ok};
use golem_service::server::serve::body;
use golem_types::VmState;
use golem_types::wire::bodies::KeyBody;
use golem_types::wire::{Access, FailedBootInfo, Problems, VmInfo, parse_key};
use serde_json::json;
use tokio::time::timeout;

use super::caller::{Caller, Deed};
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use crate::views::renter;

/// How long a stop is waited for: existing clients give up after 300 s.
const STOP_WAIT: Duration = Duration::from_secs(240);

/// The VMs that the caller sees: a session those of its wallet, anybody all where the API is open, else none.
#[utoipa::path(
    get, path = "/api/v1/vms", tag = "VMs",
    security((), ("session" = [])),
    responses(
        (status = 200, body = Vec<VmInfo>, description = "The VMs"),
    ),
)]
pub(super) async fn list(State(public): Shared, caller: Caller) -> Response {
    let vms = caller.vms(&public);
    ok(&vms.iter().map(|vm| renter::vm(vm)).collect::<Vec<_>>())
}

/// A VM.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM"),
        (status = 409, description = "Several VMs have this name: use the id"),
    ),
)]
pub(super) async fn show(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let network = public.node.network(&vm.id).map(|network| renter::network(&network));
    Ok(ok(&VmInfo { network, ..renter::vm(&vm) }))
}

/// What the VM's last failed boot left, for a day.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/failed-boot", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = FailedBootInfo, description = "What is left"),
        (status = 409, description = "Several VMs have this name: use the id"),
    ),
)]
pub(super) async fn failed_boot(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let kept = public.node.failed_boots(vm.id.as_str()).await?;
    let Some(failed) = kept.first() else {
        let text = "no failed boot of this VM is kept; one is for a day";
        return Err(ApiError::new(StatusCode::NOT_FOUND, text));
    };
    Ok(ok(&renter::failed_boot(failed)))
}

/// How `vm` is reached over SSH, or is going to be, and the status that says which.
pub(super) fn access_of<'a>(public: &Public, vm: &'a Vm) -> Result<(StatusCode, Access<'a>), ApiError> {
    let access = Access {
        ssh_host: Some(public_ip::advertised_address(&public.provider.public_ip, public.provider.host)),
        ssh_port: Some(vm.ssh_port),
        ssh_user: golem_vm::seed::USER,
        vm_id: &vm.id,
        multipass_name: &vm.id,
        status: None,
    };
    if vm.ip_address.is_some() {
        return Ok((StatusCode::OK, access));
    }
    if vm.state == VmState::Creating {
        let waiting = Access { ssh_host: None, ssh_port: None, status: Some(vm.state.into()), ..access };
        return Ok((StatusCode::ACCEPTED, waiting));
    }
    let why = vm.error.as_deref().unwrap_or("it never ran");
    Err(ApiError::new(StatusCode::CONFLICT, format!("VM cannot be reached: {why}")))
}

/// How the VM is reached over SSH.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/access", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = Access, description = "Where to log in"),
        (status = 202, body = Access, description = "It is being made: ask again"),
        (status = 409, description = "It cannot be reached; `detail` says why"),
    ),
)]
pub(super) async fn access(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let (status, access) = access_of(&public, &vm)?;
    Ok(json_response(status, &access))
}

/// Starts a stopped VM.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/start", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, which starts"),
        (status = 402, description = "It is not paid for"),
        (status = 409, description = "It is in no state for that"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn start(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    Ok(ok(&renter::vm(&*public.node.start_vm(&vm.id).await?)))
}

/// Stops a VM, waits for that up to 240 seconds, and keeps its disk. Payment goes on.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/stop", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, stopped or still stopping"),
        (status = 409, description = "It is in no state for that"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn stop(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    let stopping = public.node.stop_vm(&vm.id).await?;
    // One that takes longer is shown as it stands: stopping.
    let vm = match timeout(STOP_WAIT, public.node.settled(&vm.id)).await {
        Ok(settled) => settled?,
        Err(_) => stopping,
    };
    Ok(ok(&renter::vm(&vm)))
}

/// Starts a VM anew.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/restart", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, which starts anew"),
        (status = 402, description = "It is not paid for"),
        (status = 409, description = "It is in no state for that"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn restart(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    Ok(ok(&renter::vm(&*public.node.restart_vm(&vm.id).await?)))
}

/// Suspends a VM: what is in its memory is written to disk, and its processor, memory and port are given back. Waits for
/// that up to three minutes. Payment goes on.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/suspend", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, suspended or still on the way"),
        (status = 402, description = "It is not paid for"),
        (status = 409, description = "It is in no state for that"),
        (status = 501, description = "This provider does not offer it"),
        (status = 502, description = "Its memory could not be kept, and it goes on; its events tell why"),
        (status = 503, description = "There is no room on disk for its memory"),
    ),
)]
pub(super) async fn suspend(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    Ok(ok(&renter::vm(&*public.node.suspend_vm(&vm.id).await?)))
}

/// Lets a suspended VM go on where it was. Its clock is set where its agent runs; its connections are gone.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/resume", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM, which goes on"),
        (status = 402, description = "It is not paid for"),
        (status = 409, description = "It is not suspended"),
        (status = 503, description = "There is no processor or memory for it now"),
    ),
)]
pub(super) async fn resume(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    Ok(ok(&renter::vm(&*public.node.resume_vm(&vm.id).await?)))
}

/// Deletes a VM and its disk.
///
/// Deleting what is not there succeeds: a client that repeats itself after a lost answer is right, and a stranger learns nothing.
#[utoipa::path(
    delete, path = "/api/v1/vms/{id}", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 200, body = (), description = "It is gone"),
        (status = 409, description = "Several VMs have this name: use the id"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn delete(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let gone = || Ok(ok(&json!(null)));
    let vm = match caller.find(&public, &which, Deed::Change).await {
        Err(error) if error.is_not_found() => return gone(),
        found => found?,
    };
    match public.node.delete_vm(&vm.id).await {
        Ok(()) | Err(NodeError::NotFound(_)) => gone(),
        Err(error) => Err(error.into()),
    }
}

/// Lets another SSH key log in.
#[utoipa::path(
    post, path = "/api/v1/vms/{id}/ssh-keys", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    request_body = KeyBody,
    security((), ("session" = [])),
    responses(
        (status = 200, body = VmInfo, description = "The VM"),
        (status = 409, description = "It is in no state for that"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
        (status = 502, description = "The backend failed"),
    ),
)]
pub(super) async fn add_key(
    State(public): Shared,
    caller: Caller,
    Path(which): Path<String>,
    request: Request,
) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    let key = parse_key(&body(request).await?)?;
    Ok(ok(&renter::vm(&*public.node.add_key(&vm.id, key).await?)))
}
