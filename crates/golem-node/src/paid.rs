//! That a rental is paid for, and by which stream.
//!
//! Owns the proof without which nothing is reserved, and a stream as it was last read. Never asks a chain:
//! [`crate::payment`] does, and makes a [`Paid`] of nothing but the chain's word.

use alloy_primitives::{Address, B256};
use golem_chain::{Bad, Block};
use golem_types::stream::address;
use golem_types::{Stream, StreamKey, VmId};
use jiff::Timestamp;
use ruint::aliases::U160;

use crate::vm::{Refusal, owner_of};

/// That a create may be granted as far as money goes. Only made by the gate, so that no
/// reservation can be built without its verdict.
#[derive(Debug, Clone)]
pub struct Paid(Option<PaidBy>);

#[derive(Debug, Clone)]
struct PaidBy {
    key: StreamKey,
    stream: Stream,
    block: Block,
    read_at: Timestamp,
    /// Whether the stream's sender said so.
    is_proven: bool,
}

impl Paid {
    /// The chain's word that `stream` pays, read at `block`.
    pub(crate) const fn by(key: StreamKey, stream: Stream, block: Block, read_at: Timestamp) -> Self {
        Self(Some(PaidBy { key, stream, block, read_at, is_proven: false }))
    }

    /// The same, by the word of the stream's sender.
    pub(crate) fn proven(self) -> Self {
        Self(self.0.map(|by| PaidBy { is_proven: true, ..by }))
    }

    /// The same, asked for by the wallet `renter`, if there is a session: its own stream is the renter's word for it.
    ///
    /// # Errors
    /// [`Bad::Sender`]: nobody else's stream pays for what a session asks for.
    pub(crate) fn of_session(self, renter: Option<Address>) -> Result<Self, Refusal> {
        match renter {
            None => Ok(self),
            Some(renter) if self.sender().is_none_or(|sender| address(sender) == renter) => Ok(self.proven()),
            Some(_) => Err(Refusal::Stream(Bad::Sender)),
        }
    }

    /// Whether the stream's sender said that it is to pay this.
    pub(crate) fn is_proven(&self) -> bool {
        self.0.as_ref().is_some_and(|by| by.is_proven)
    }

    /// The stream's sender.
    pub(crate) fn sender(&self) -> Option<U160> {
        self.0.as_ref().map(|by| by.stream.sender)
    }

    /// Payments are off.
    pub(crate) const fn free() -> Self {
        Self(None)
    }

    /// The stream that pays.
    pub(crate) fn key(&self) -> Option<&StreamKey> {
        self.0.as_ref().map(|by| &by.key)
    }

    /// Who pays, as the ledger writes an owner.
    pub(crate) fn owner(&self) -> Option<String> {
        self.0.as_ref().map(|by| owner_of(address(by.stream.sender)))
    }

    /// The lease that its stream was opened for, on contract version 4.
    pub(crate) fn lease(&self) -> Option<B256> {
        self.0.as_ref()?.stream.lease.map(|lease| lease.id)
    }

    /// The stream as it was read, for the rental `vm`.
    pub(crate) fn copy(&self, vm: &VmId) -> Option<StreamCopy> {
        self.0.as_ref().map(|by| StreamCopy {
            key: by.key.clone(),
            vm: vm.clone(),
            stream: by.stream,
            block: by.block.number,
            block_time: by.block.time,
            read_at: by.read_at,
        })
    }
}

/// A stream as it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamCopy {
    /// Which.
    pub key: StreamKey,
    /// The rental that it pays for, or paid for last.
    pub vm: VmId,
    /// What was read.
    pub stream: Stream,
    /// The block at which it was read.
    pub block: u64,
    /// That block's time, in seconds since the epoch.
    pub block_time: u128,
    /// When it was read, by this machine's clock.
    pub read_at: Timestamp,
}

impl StreamCopy {
    /// The chain's time now, as far as this machine's clock tells, in seconds since the epoch.
    #[must_use]
    pub fn estimated_now(&self, now: Timestamp) -> u128 {
        let since = now.as_second().saturating_sub(self.read_at.as_second());
        self.block_time.saturating_add(u128::try_from(since).unwrap_or(0))
    }

    /// Whether nothing can come out of it any more, at `now` in seconds since the epoch.
    #[must_use]
    pub fn is_spent(&self, now: u128) -> bool {
        let stream = &self.stream;
        stream.recipient.is_zero()
            || (stream.remaining_seconds(now) == 0 && stream.withdrawable(now).is_zero())
    }
}
