//! VMs, jobs and streams as renters' clients read them.
//!
//! Owns the translation of what the node knows into the documented JSON (`golem_types::wire`). Never asks anybody.

use alloy_primitives::Address;
use golem_node::boot::{FailedBoot, Reached, Stage};
use golem_node::payment::StreamStatus;
use golem_node::{Job, Vm};
use golem_types::wire::{
    ChainStream, Computed, Exact, FailedBootInfo, JobInfo, NetworkInfo, StageInfo, StreamInfo, VmInfo,
    WireTime,
};
use golem_vm::{Network, NetworkState};
use ruint::aliases::U160;

/// A VM.
pub(crate) fn vm(vm: &Vm) -> VmInfo<'_> {
    VmInfo {
        id: &vm.id,
        name: &vm.name,
        status: vm.state,
        resources: vm.resources,
        ip_address: vm.ip_address,
        ssh_port: vm.ip_address.map(|_| vm.ssh_port),
        created_at: WireTime(vm.created_at),
        updated_at: WireTime(vm.updated_at),
        error_message: vm.reason(),
        network: None,
    }
}

/// How a guest is connected, as its renter and its operator read it.
pub(crate) fn network(network: &Network) -> NetworkInfo {
    let access = match network.state {
        NetworkState::Own | NetworkState::Shared => "internet",
        NetworkState::Restricted { .. } => "ssh",
        NetworkState::Cut { .. } => "none",
    };
    NetworkInfo { access: access.to_owned(), traffic: network.traffic }
}

/// How far a create is.
pub(crate) fn job(job: &Job) -> JobInfo<'_> {
    let reached = job.reached();
    JobInfo {
        job_id: &job.id,
        vm_id: &job.vm_id,
        status: job.state.as_str(),
        error: job.error.as_deref(),
        created_at: WireTime(job.created_at),
        updated_at: WireTime(job.updated_at),
        stage: reached.last().map_or(Stage::Reserved, |reached| reached.stage).as_str(),
        stages: stages(&reached),
    }
}

fn stages(reached: &[Reached]) -> Vec<StageInfo<'static>> {
    let stage = |reached: &Reached| StageInfo { stage: reached.stage.as_str(), at: WireTime(reached.at) };
    reached.iter().map(stage).collect()
}

/// What a failed boot left; without what the host said of it, which is its operator's alone.
pub(crate) fn failed_boot(failed: &FailedBoot) -> FailedBootInfo<'_> {
    FailedBootInfo {
        vm_id: &failed.vm_id,
        job_id: failed.job_id.as_ref(),
        at: WireTime(failed.at),
        stage: failed.stage().as_str(),
        reason: &failed.reason,
        stages: stages(&failed.stages),
        console: &failed.console,
    }
}

/// An address with its checksum.
fn address(number: U160) -> String {
    Address::from(number.to_be_bytes::<20>()).to_string()
}

/// What a client is told of a stream.
pub(crate) fn stream(status: &StreamStatus) -> StreamInfo {
    let StreamStatus { vm, key, stream, now, verdict } = status;
    let reason = match verdict {
        Err(bad) => bad.to_string(),
        Ok(()) => "ok".to_owned(),
    };
    StreamInfo {
        vm_id: vm.clone(),
        stream_id: Exact(key.id.0),
        verified: verdict.is_ok(),
        reason,
        chain: ChainStream {
            token: address(stream.token),
            sender: address(stream.sender),
            recipient: address(stream.recipient),
            start_time: stream.start.into(),
            stop_time: stream.stop.into(),
            rate_per_second: stream.rate.into(),
            deposit: Exact(stream.deposit),
            withdrawn: Exact(stream.withdrawn),
            halted: stream.halted,
        },
        computed: Computed {
            now: (*now).into(),
            remaining_seconds: stream.remaining_seconds(*now).into(),
            vested_wei: Exact(stream.vested(*now)),
            withdrawable_wei: Exact(stream.withdrawable(*now)),
        },
    }
}
