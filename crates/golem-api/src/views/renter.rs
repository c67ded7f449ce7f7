//! VMs, jobs and streams as renters' clients read them.
//!
//! Owns the translation of what the node knows into the documented JSON (`golem_types::wire`). Never asks anybody.

use golem_chain::Bad;
use golem_chain::contract::v4;
use golem_node::boot::{FailedBoot, Reached, Stage};
use golem_node::payment::StreamStatus;
use golem_node::{Job, JobState, Vm};
use golem_types::wire::{
    ChainStream, Computed, Exact, FailedBootInfo, JobInfo, Lifecycle, NetworkInfo, SnapshotInfo, StageInfo,
    StreamInfo, VmInfo, WireTime,
};
use golem_types::{DiskSnapshot, VmStatus};
use golem_vm::{GuestNetwork, NetworkState};
use ruint::aliases::{U160, U256};

/// A VM.
pub(crate) fn vm(vm: &Vm) -> VmInfo<'_> {
    VmInfo {
        id: &vm.id,
        name: &vm.name,
        status: status(vm),
        resources: vm.resources,
        ip_address: vm.ip_address,
        ssh_port: vm.ip_address.map(|_| vm.ssh_port),
        created_at: WireTime(vm.created_at),
        updated_at: WireTime(vm.updated_at),
        error_message: vm.reason(),
        lifecycle: lifecycle(vm.status(), None, vm.reason()),
        network: None,
    }
}

/// How `vm` stands. One that is not paid for is "stopped", because clients of version 1 know six words; its lifecycle tells
/// more. Only who had it suspended knows that word.
pub(crate) fn status(vm: &Vm) -> VmStatus {
    if vm.unpaid.is_some() { vm.state.into() } else { vm.status() }
}

/// A snapshot of the disk of `vm`.
pub(crate) fn snapshot<'a>(vm: &'a Vm, snapshot: &'a DiskSnapshot) -> SnapshotInfo<'a> {
    SnapshotInfo {
        name: &snapshot.name,
        vm_id: &vm.id,
        status: snapshot.state,
        consistency: snapshot.consistency,
        storage: vm.resources.storage,
        created_at: WireTime(snapshot.created_at),
        error_message: snapshot.error.as_deref(),
    }
}

/// How a guest is connected, as its renter and its operator read it.
pub(crate) fn network(network: &GuestNetwork) -> NetworkInfo {
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
        lifecycle: lifecycle(
            match job.state {
                JobState::Creating => VmStatus::Creating,
                JobState::Ready => VmStatus::Running,
                JobState::Failed => VmStatus::Error,
            },
            reached.last().map(|reached| reached.stage),
            job.error.as_deref(),
        ),
    }
}

/// How far a VM is that stands as `status`, whose boot has come to `stage`, and why it does not run.
pub(crate) fn lifecycle(status: VmStatus, stage: Option<Stage>, reason: Option<&str>) -> Lifecycle {
    let (step, text, progress) = match (status, stage) {
        (VmStatus::Creating, Some(stage)) => {
            let (text, progress) = match stage {
                Stage::Reserved => ("Reserved; the machine is about to be made", 5),
                Stage::Disk => ("Its disk is being made", 15),
                Stage::Launch => ("It is being started", 30),
                Stage::Boot => ("It boots", 50),
                Stage::Port => ("Its port is being opened", 90),
                Stage::Running => ("It runs", 100),
            };
            (stage.as_str(), text, progress)
        }
        (VmStatus::Creating, None) => (status.as_str(), "It is being made or boots", 10),
        (VmStatus::Running, _) => (status.as_str(), "It runs", 100),
        (VmStatus::Stopping, _) => (status.as_str(), "It shuts down", 50),
        (VmStatus::Stopped, _) => (status.as_str(), "It is stopped; its disk is kept", 100),
        (VmStatus::Suspending, _) => (status.as_str(), "Its memory is written to disk", 50),
        (VmStatus::Suspended, _) => {
            (status.as_str(), "It is suspended; its disk and its memory are kept", 100)
        }
        (VmStatus::Error, _) => (status.as_str(), "It cannot run", 100),
        (VmStatus::Deleted, _) => (status.as_str(), "It was deleted", 100),
        (VmStatus::Unknown, _) => (status.as_str(), "How it stands is not known", 100),
    };
    let transitioning = matches!(status, VmStatus::Creating | VmStatus::Stopping | VmStatus::Suspending);
    Lifecycle {
        lifecycle_stage: step,
        status_message: reason.map_or_else(|| text.to_owned(), |reason| format!("{text}: {reason}")),
        progress,
        transitioning,
        next_poll_seconds: if transitioning { 2 } else { 30 },
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
    golem_types::stream::address(number).to_string()
}

/// What a client is told of a stream.
pub(crate) fn stream(status: &StreamStatus) -> StreamInfo {
    let StreamStatus { vm, key, stream, now, verdict } = status;
    let payment_state = match (v4::state(stream, *now), verdict) {
        ("terminated", _) => "terminated",
        (_, Err(bad)) if *bad != Bad::Runway => "invalid",
        (state, _) => state,
    };
    let (vested, due) = (stream.vested(*now), stream.withdrawable(*now));
    let donated = stream.lease.map(|lease| {
        let vested = lease.donation.vested(vested);
        (vested, vested.saturating_sub(lease.donation.withdrawn), lease.donation.deposit)
    });
    let of_lease = |number: U256| stream.lease.map(|_| Exact(number));
    let (donation_vested, donation_due, donation_deposit) = donated.unwrap_or_default();
    let reason = match verdict {
        Err(bad) => bad.to_string(),
        Ok(()) => "ok".to_owned(),
    };
    StreamInfo {
        vm_id: vm.clone(),
        stream_id: Exact(key.id.0),
        verified: verdict.is_ok(),
        reason,
        payment_state: payment_state.to_owned(),
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
            provider_rate_per_second: of_lease(U256::from(stream.rate)),
            provider_deposit: of_lease(stream.deposit),
            provider_withdrawn: of_lease(stream.withdrawn),
            donation_bps: stream.lease.map(|lease| lease.donation.basis_points),
            donation_recipient: stream.lease.map(|lease| address(lease.donation.recipient)),
            donation_deposit: of_lease(donation_deposit),
            donation_withdrawn: stream.lease.map(|lease| Exact(lease.donation.withdrawn)),
            lease_id: stream.lease.map(|lease| format!("{:#x}", lease.id)),
            terms_hash: stream.lease.map(|lease| format!("{:#x}", lease.terms_hash)),
        },
        computed: Computed {
            now: (*now).into(),
            remaining_seconds: stream.remaining_seconds(*now).into(),
            vested_wei: Exact(vested.saturating_add(donation_vested)),
            withdrawable_wei: Exact(due.saturating_add(donation_due)),
            provider_vested_wei: of_lease(vested),
            provider_withdrawable_wei: of_lease(due),
            donation_vested_wei: of_lease(donation_vested),
            donation_withdrawable_wei: of_lease(donation_due),
            total_deposit_wei: of_lease(stream.deposit.saturating_add(donation_deposit)),
        },
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use golem_types::{Donation, Lease, Stream, StreamId, StreamKey};

    use super::*;

    fn status(lease: bool, recipient: u64, now: u128, verdict: Result<(), Bad>) -> StreamStatus {
        let donation = Donation {
            basis_points: 150,
            recipient: U160::from(9),
            deposit: U256::from(15_000),
            withdrawn: U256::from(10),
        };
        let stream = Stream {
            token: U160::ZERO,
            sender: U160::from(1),
            recipient: U160::from(recipient),
            start: 1000,
            stop: 2000,
            rate: 1000,
            deposit: U256::from(1_000_000),
            withdrawn: U256::from(100),
            halted: false,
            lease: lease.then_some(Lease {
                id: B256::repeat_byte(1),
                terms_hash: B256::repeat_byte(2),
                donation,
            }),
        };
        let vm = "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa".parse().unwrap();
        let key = StreamKey { contract: "1:0x0".into(), id: StreamId(U256::ONE) };
        StreamStatus { vm, key, stream, now, verdict }
    }

    #[test]
    fn a_lease_is_shown_with_its_donation_and_its_state() {
        let shown = stream(&status(true, 2, 1500, Ok(())));
        let json = serde_json::to_value(&shown).unwrap();
        let chain = json["chain"].as_object().unwrap();
        for member in [
            "token",
            "sender",
            "recipient",
            "startTime",
            "stopTime",
            "providerRatePerSecond",
            "providerDeposit",
            "providerWithdrawn",
            "donationBps",
            "donationRecipient",
            "donationDeposit",
            "donationWithdrawn",
            "leaseId",
            "termsHash",
        ] {
            assert!(chain.contains_key(member), "{member}");
        }
        let computed = &json["computed"];
        let numbers = [
            ("provider_vested_wei", 500_000),
            ("provider_withdrawable_wei", 499_900),
            ("donation_vested_wei", 7500),
            ("donation_withdrawable_wei", 7490),
            ("vested_wei", 507_500),
            ("withdrawable_wei", 507_390),
            ("total_deposit_wei", 1_015_000),
            ("remaining_seconds", 500),
        ];
        for (member, number) in numbers {
            assert_eq!(computed[member], number, "{member}");
        }
        let again: StreamInfo = serde_json::from_str(&serde_json::to_string(&shown).unwrap()).unwrap();
        assert_eq!(again.computed.donation_vested_wei, Some(Exact(U256::from(7500))));
        for (recipient, now, verdict, state) in [
            (2, 1500, Ok(()), "active"),
            (2, 2029, Ok(()), "grace"),
            (2, 2030, Err(Bad::Runway), "expired"),
            (0, 1500, Err(Bad::Recipient), "terminated"),
            (2, 1500, Err(Bad::Token), "invalid"),
        ] {
            assert_eq!(stream(&status(true, recipient, now, verdict)).payment_state, state);
        }
        let older = serde_json::to_value(stream(&status(false, 2, 1500, Ok(())))).unwrap();
        assert!(
            older["chain"].get("leaseId").is_none() && older["computed"].get("total_deposit_wei").is_none()
        );
        assert_eq!(older["computed"]["vested_wei"], 500_000);
    }

    #[test]
    fn people_who_wait_are_told_how_far_it_is() {
        let boot = lifecycle(VmStatus::Creating, Some(Stage::Boot), None);
        assert_eq!((boot.lifecycle_stage, boot.progress, boot.transitioning), ("boot", 50, true));
        let failed = lifecycle(VmStatus::Error, None, Some("the disk is full"));
        assert_eq!(failed.status_message, "It cannot run: the disk is full");
        assert!(!failed.transitioning && failed.next_poll_seconds > boot.next_poll_seconds);
    }
}
