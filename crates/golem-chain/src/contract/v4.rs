//! The payment contract of version 4, as its published ABI (golem-streaming-abi 0.1.2) has it.
//!
//! ```text
//!   active ──► grace (30 s after its end, a top-up still leads back) ──► expired
//!      └─────────┴─────────────── terminate ──────────────────────────► terminated
//! ```
//! Owns what is read of its streams, and the call that opens one. Where a stream stands follows from its own words
//! ([`state`]), so that `streamState` is never asked for. Never signs a lease: [`crate::lease`] does.

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall;
use golem_types::stream::number;
use golem_types::{Donation, Lease, Stream};

mod abi {
    #![allow(missing_docs, reason = "names and types are the contract's")]
    alloy_sol_types::sol! {
        function streams(uint256 streamId) external view returns (
            address token, address sender, address recipient, uint128 startTime, uint128 stopTime,
            uint128 providerRatePerSecond, uint256 providerDeposit, uint256 providerWithdrawn,
            uint16 donationBps, address donationRecipient, uint256 donationDeposit, uint256 donationWithdrawn,
            bytes32 leaseId, bytes32 termsHash
        );
        function streamState(uint256 streamId) external view returns (string memory);
        function createStream(
            address recipient, uint256 providerDeposit, uint128 providerRatePerSecond, uint16 donationBps,
            bytes32 leaseId, bytes32 termsHash, uint128 quoteExpiresAt, bytes memory providerSignature
        ) external returns (uint256 streamId);
        function GRACE_PERIOD_SECONDS() external view returns (uint128);
    }
}

/// Selectors that this contract has and the other has not.
pub(super) const OWN: [[u8; 4]; 3] = [
    abi::createStreamCall::SELECTOR,
    abi::streamStateCall::SELECTOR,
    abi::GRACE_PERIOD_SECONDSCall::SELECTOR,
];

/// Words of an answer to `streams`.
pub(super) const WORDS: usize = 14;

/// Seconds after the end of a stream in which it may still be topped up (`GRACE_PERIOD_SECONDS`).
pub(super) const GRACE_SECONDS: u128 = 30;

/// Its functions that are called, as the published ABI spells them.
pub const CALLED: [&str; 5] = [
    abi::createStreamCall::SIGNATURE,
    abi::streamsCall::SIGNATURE,
    super::topUpCall::SIGNATURE,
    super::withdrawCall::SIGNATURE,
    super::terminateCall::SIGNATURE,
];

/// Where `stream` stands at `now`, in seconds since the epoch, in the contract's words; one that never was counts as
/// terminated.
#[must_use]
pub fn state(stream: &Stream, now: u128) -> &'static str {
    if stream.recipient.is_zero() {
        "terminated"
    } else if now < stream.stop {
        "active"
    } else if now < stream.stop.saturating_add(GRACE_SECONDS) {
        "grace"
    } else {
        "expired"
    }
}

/// What opens a stream: a lease as its provider signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLease {
    /// What was signed.
    pub quote: crate::lease::LeaseQuote,
    /// The 65 bytes r, s, v.
    pub signature: [u8; 65],
    /// What the sender gives on top, in hundredths of a percent; at most 1000.
    pub donation_basis_points: u16,
}

impl OpenLease {
    /// The stream that it opens, as call data.
    #[must_use]
    pub fn call(&self) -> Vec<u8> {
        abi::createStreamCall {
            recipient: self.quote.recipient,
            providerDeposit: self.quote.deposit,
            providerRatePerSecond: self.quote.rate,
            donationBps: self.donation_basis_points,
            leaseId: self.quote.lease_id,
            termsHash: self.quote.terms_hash,
            quoteExpiresAt: u128::from(self.quote.expires_at),
            providerSignature: Bytes::copy_from_slice(&self.signature),
        }
        .abi_encode()
    }
}

/// The stream in the answer to `streams`.
pub(super) fn read(answer: &[u8]) -> Option<Stream> {
    let read = abi::streamsCall::abi_decode_returns_validate(answer).ok()?;
    Some(Stream {
        token: number(read.token),
        sender: number(read.sender),
        recipient: number(read.recipient),
        start: read.startTime,
        stop: read.stopTime,
        rate: read.providerRatePerSecond,
        deposit: read.providerDeposit,
        withdrawn: read.providerWithdrawn,
        halted: false,
        lease: Some(Lease {
            id: read.leaseId,
            terms_hash: read.termsHash,
            donation: Donation {
                basis_points: read.donationBps,
                recipient: number(read.donationRecipient),
                deposit: read.donationDeposit,
                withdrawn: read.donationWithdrawn,
            },
        }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the published ABI spells them; the interop suite compares with the wheel itself.
    #[test]
    fn calls_have_the_published_selectors() {
        let selector = |signature: &str| alloy_primitives::keccak256(signature)[..4].to_vec();
        let create = "createStream(address,uint256,uint128,uint16,bytes32,bytes32,uint128,bytes)";
        for (own, signature) in OWN.iter().zip([create, "streamState(uint256)", "GRACE_PERIOD_SECONDS()"]) {
            assert_eq!(own.to_vec(), selector(signature), "{signature}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_panic(answer in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&answer);
        }
    }
}
