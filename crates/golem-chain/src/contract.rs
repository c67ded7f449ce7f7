//! The payment contract's functions and events, as its ABI has them.
//!
//! Owns the translation between ABI words and [`golem_types::Stream`]. Never asks a chain.

use alloy_sol_types::SolCall;
use golem_types::{Stream, StreamId};
use ruint::aliases::U160;

mod abi {
    #![allow(missing_docs, reason = "names and types are the contract's")]
    alloy_sol_types::sol! {
        function streams(uint256 streamId) external view returns (
            address token, address sender, address recipient, uint128 startTime, uint128 stopTime,
            uint128 ratePerSecond, uint256 deposit, uint256 withdrawn, bool halted
        );
        function createStream(address token, address recipient, uint256 deposit, uint128 ratePerSecond)
            external payable returns (uint256 streamId);
        function topUp(uint256 streamId, uint256 amount) external payable;
        function withdraw(uint256 streamId) external;
        function terminate(uint256 streamId) external;
        function haltStream(uint256 streamId) external;
    }
}
pub use abi::{createStreamCall, haltStreamCall, terminateCall, topUpCall, withdrawCall};

/// A stream of `deposit` wei of `token` to `recipient` at `rate` wei a second, as call data.
#[must_use]
pub fn create(
    token: alloy_primitives::Address,
    recipient: alloy_primitives::Address,
    deposit: alloy_primitives::U256,
    rate: u128,
) -> Vec<u8> {
    createStreamCall { token, recipient, deposit, ratePerSecond: rate }.abi_encode()
}

/// `amount` wei more for the stream `id`, as call data.
#[must_use]
pub fn top_up(id: StreamId, amount: alloy_primitives::U256) -> Vec<u8> {
    topUpCall { streamId: id.0, amount }.abi_encode()
}

/// The end of the stream `id`, as call data.
#[must_use]
pub fn terminate(id: StreamId) -> Vec<u8> {
    terminateCall { streamId: id.0 }.abi_encode()
}

/// The functions of a token (ERC-20) that paying with it takes, as call data.
pub mod token {
    use alloy_primitives::{Address, U256};
    use alloy_sol_types::SolCall;

    mod abi {
        #![allow(missing_docs, reason = "names and types are the standard's")]
        alloy_sol_types::sol! {
            function approve(address spender, uint256 amount) external returns (bool);
            function allowance(address owner, address spender) external view returns (uint256);
            function balanceOf(address owner) external view returns (uint256);
        }
    }

    /// Lets `spender` take `amount`.
    #[must_use]
    pub fn approve(spender: Address, amount: U256) -> Vec<u8> {
        abi::approveCall { spender, amount }.abi_encode()
    }

    /// Asks how much `spender` may take from `owner`.
    #[must_use]
    pub fn allowance(owner: Address, spender: Address) -> Vec<u8> {
        abi::allowanceCall { owner, spender }.abi_encode()
    }

    /// Asks what `owner` has.
    #[must_use]
    pub fn balance_of(owner: Address) -> Vec<u8> {
        abi::balanceOfCall { owner }.abi_encode()
    }
}

/// The call data that asks for stream `id`.
#[must_use]
pub fn ask(id: StreamId) -> Vec<u8> {
    abi::streamsCall { streamId: id.0 }.abi_encode()
}

/// The stream in the answer to [`ask`]; none when the answer is not one.
#[must_use]
pub fn read(answer: &[u8]) -> Option<Stream> {
    let read = abi::streamsCall::abi_decode_returns_validate(answer).ok()?;
    let address = |address: alloy_primitives::Address| U160::from_be_bytes(address.into_array());
    Some(Stream {
        token: address(read.token),
        sender: address(read.sender),
        recipient: address(read.recipient),
        start: read.startTime,
        stop: read.stopTime,
        rate: read.ratePerSecond,
        deposit: read.deposit,
        withdrawn: read.withdrawn,
        halted: read.halted,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_have_the_selectors_that_existing_clients_use() {
        let id = alloy_primitives::U256::ONE;
        let selector = |signature: &str| alloy_primitives::keccak256(signature)[..4].to_vec();
        assert_eq!(ask(StreamId(id))[..4], selector("streams(uint256)"));
        assert_eq!(withdrawCall { streamId: id }.abi_encode()[..4], selector("withdraw(uint256)"));
        assert_eq!(terminateCall { streamId: id }.abi_encode()[..4], selector("terminate(uint256)"));
        assert_eq!(haltStreamCall { streamId: id }.abi_encode()[..4], selector("haltStream(uint256)"));
        let top_up = topUpCall { streamId: id, amount: id }.abi_encode();
        assert_eq!(top_up[..4], selector("topUp(uint256,uint256)"));
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_panic(answer in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&answer);
        }

        #[test]
        fn a_whole_answer_is_read_word_by_word(words in proptest::collection::vec(any::<[u8; 16]>(), 9)) {
            // Nine words, each below 2^128, addresses below 2^160, the flag 0 or 1.
            let mut answer = Vec::new();
            for (n, word) in words.iter().enumerate() {
                answer.extend([0; 16]);
                answer.extend(if n == 8 { [0; 16] } else { *word });
            }
            let stream = read(&answer).unwrap();
            prop_assert_eq!(stream.start, u128::from_be_bytes(words[3]));
            prop_assert_eq!(stream.rate, u128::from_be_bytes(words[5]));
            prop_assert!(!stream.halted);
            answer[31] = 1;
            answer[0] = 1;
            // An address with more than 160 bits is none.
            prop_assert!(read(&answer).is_none());
        }
    }
}
