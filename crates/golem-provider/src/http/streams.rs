//! Streams as clients read them.
//!
//! Owns the translation of what the chain says into the documented JSON. Never asks the chain.

use alloy_primitives::Address;
use golem_node::payment::StreamStatus;
use golem_types::wire::{ChainStream, Computed, Exact, StreamInfo};
use ruint::aliases::U160;

/// An address with its checksum.
fn address(number: U160) -> String {
    Address::from(number.to_be_bytes::<20>()).to_string()
}

/// What a client is told of a stream.
pub(crate) fn info(status: &StreamStatus) -> StreamInfo {
    let StreamStatus { vm, key, stream, now, verdict, unclear } = status;
    let reason = match (verdict, unclear) {
        (Err(bad), _) => bad.to_string(),
        (Ok(()), Some(state)) => format!("not known: the contract calls it {state:?}"),
        (Ok(()), None) => "ok".to_owned(),
    };
    StreamInfo {
        vm_id: vm.clone(),
        stream_id: Exact(key.id.0),
        verified: verdict.is_ok() && unclear.is_none(),
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
