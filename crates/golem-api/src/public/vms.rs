//! The routes of a VM that is there, but for its stream.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use golem_node::{NodeError, Vm};
use golem_reach::public_ip;
use golem_service::server::json::{json_response, ok};
use golem_service::server::serve::body;
use golem_types::VmState;
use golem_types::wire::{Access, VmInfo, parse_key};
use serde_json::json;
use tokio::time::timeout;

use super::caller::{Caller, Deed};
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};
use crate::views::renter;

/// How long a stop is waited for: existing clients give up after 300 s.
const STOP_WAIT: Duration = Duration::from_secs(240);

pub(super) async fn list(State(public): Shared, caller: Caller) -> Response {
    let vms = caller.vms(&public);
    ok(&vms.iter().map(|vm| renter::vm(vm)).collect::<Vec<_>>())
}

pub(super) async fn show(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let network = public.node.network(&vm.id).map(|network| renter::network(&network));
    Ok(ok(&VmInfo { network, ..renter::vm(&vm) }))
}

/// What the VM's last failed boot left, for a day; what the host said of it is its operator's alone.
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
        let waiting = Access { ssh_host: None, ssh_port: None, status: Some(vm.state), ..access };
        return Ok((StatusCode::ACCEPTED, waiting));
    }
    let why = vm.error.as_deref().unwrap_or("it never ran");
    Err(ApiError::new(StatusCode::CONFLICT, format!("VM cannot be reached: {why}")))
}

pub(super) async fn access(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Read).await?;
    let (status, access) = access_of(&public, &vm)?;
    Ok(json_response(status, &access))
}

pub(super) async fn start(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    Ok(ok(&renter::vm(&*public.node.start_vm(&vm.id).await?)))
}

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

pub(super) async fn restart(State(public): Shared, caller: Caller, Path(which): Path<String>) -> ApiResult {
    let vm = caller.find(&public, &which, Deed::Change).await?;
    Ok(ok(&renter::vm(&*public.node.restart_vm(&vm.id).await?)))
}

/// Deleting what is not there succeeds, as in the original: a client that repeats itself after a
/// lost answer is right, and a stranger learns nothing.
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
