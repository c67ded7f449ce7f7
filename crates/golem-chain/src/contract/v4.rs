//! The newer payment contract, as far as its published ABI (golem-streaming-abi 0.1.2) tells.
//!
//! Owns what can be read of its streams. What its ABI does not tell is in `docs/contracts.md`: above all
//! which words `streamState` answers, so that a word counts as paying only where a profile says so. Never
//! opens a stream there: what a provider has to sign for one is not established.

use alloy_sol_types::SolCall;
use golem_types::{Stream, StreamId};

use super::number;

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

/// Words of an answer to `streamState`, whose text is short.
pub(crate) const STATE_WORDS: usize = 3;

/// Its functions that are called, as the published ABI spells them.
pub const CALLED: [&str; 4] = [
    abi::streamsCall::SIGNATURE,
    abi::streamStateCall::SIGNATURE,
    super::withdrawCall::SIGNATURE,
    super::terminateCall::SIGNATURE,
];

/// Most characters of a state that are kept: it is a contract's text, and any contract's.
const STATE_CHARACTERS: usize = 40;

/// The call data that asks how stream `id` stands.
pub(crate) fn ask_state(id: StreamId) -> Vec<u8> {
    abi::streamStateCall { streamId: id.0 }.abi_encode()
}

/// The word in the answer to [`ask_state`], without what could steer a terminal.
pub(crate) fn read_state(answer: &[u8]) -> Option<String> {
    let word = abi::streamStateCall::abi_decode_returns_validate(answer).ok()?;
    Some(word.chars().filter(|c| !c.is_control()).take(STATE_CHARACTERS).collect())
}

/// The provider's side of the stream in the answer to `streams`. Halts are unknown to this contract.
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
        assert_eq!(ask_state(StreamId(alloy_primitives::U256::ONE))[..4], selector("streamState(uint256)"));
        assert_eq!(
            CALLED,
            ["streams(uint256)", "streamState(uint256)", "withdraw(uint256)", "terminate(uint256)"]
        );
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_panic(answer in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&answer);
            prop_assert!(read_state(&answer).is_none_or(|state| state.chars().count() <= STATE_CHARACTERS));
        }
    }
}
