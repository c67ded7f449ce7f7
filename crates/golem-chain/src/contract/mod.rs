//! The payment contracts' functions and events, as their ABIs have them.
//!
//! Owns the translation between ABI words and [`golem_types::Stream`], and which contract an address
//! holds. There are two: version 1, which clients of the original call, and version 4 ([`v4`]), whose streams are opened with a
//! signed lease. Never asks a chain.

pub(crate) mod aggregate;
pub mod events;
pub mod v4;

use alloy_sol_types::SolCall;
use golem_types::stream::number;
use golem_types::{Stream, StreamId};
use serde::{Deserialize, Serialize};

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
            function transfer(address to, uint256 amount) external returns (bool);
            function balanceOf(address owner) external view returns (uint256);
            function decimals() external view returns (uint8);
            function symbol() external view returns (string);
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

    /// Asks how many digits the token has after the point.
    #[must_use]
    pub fn decimals() -> Vec<u8> {
        abi::decimalsCall {}.abi_encode()
    }

    /// Asks what the token is called.
    #[must_use]
    pub fn symbol() -> Vec<u8> {
        abi::symbolCall {}.abi_encode()
    }

    /// What an answer to that says: a text, or, of early tokens, 32 bytes of it. Only what is visible, and not more than 32
    /// characters of that.
    #[must_use]
    pub fn symbol_of(answer: &[u8]) -> Option<String> {
        let text = match abi::symbolCall::abi_decode_returns(answer) {
            Ok(text) => text,
            Err(_) if answer.len() == 32 => String::from_utf8_lossy(answer).into_owned(),
            Err(_) => return None,
        };
        let visible: String = text
            .chars()
            .filter(|letter| letter.is_alphanumeric() || letter.is_ascii_graphic())
            .take(32)
            .collect();
        (!visible.is_empty()).then_some(visible)
    }

    /// Sends `amount` to `to`.
    #[must_use]
    pub fn transfer(to: Address, amount: U256) -> Vec<u8> {
        abi::transferCall { to, amount }.abi_encode()
    }

    /// To whom `data` sends how much; `None` if it is no transfer.
    #[must_use]
    pub fn transfer_of(data: &[u8]) -> Option<(Address, U256)> {
        abi::transferCall::abi_decode_validate(data).ok().map(|call| (call.to, call.amount))
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

/// Words of an answer of the first contract to `streams`.
const WORDS: usize = 9;

/// Which payment contract it is, as profiles have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Version {
    /// The one of golem-vm-provider 0.1.63 and its clients: any money, no lease.
    #[default]
    V1,
    /// The one of golem-streaming-abi 0.1.2: one token, and leases that the provider has signed.
    V4,
}

/// A number that is no version of the contract.
#[derive(Debug, thiserror::Error)]
#[error("contract_version is 1 or 4, not {0}")]
pub struct NoVersion(u8);

impl TryFrom<u8> for Version {
    type Error = NoVersion;

    fn try_from(number: u8) -> Result<Self, NoVersion> {
        match number {
            1 => Ok(Self::V1),
            4 => Ok(Self::V4),
            other => Err(NoVersion(other)),
        }
    }
}

impl From<Version> for u8 {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => 1,
            Version::V4 => 4,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        u8::from(*self).fmt(f)
    }
}

/// Why the contract at an address is not the one that was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongContract {
    /// There is none.
    #[error("no contract at the payment address")]
    Nothing,
    /// There is another kind of contract.
    #[error(
        "the contract at the payment address is no payment contract that is known, neither version 1 nor 4"
    )]
    Neither,
    /// There is other code than before.
    #[error(
        "the code at the payment address is not what it was: another contract took the place of the one that rentals are paid \
         in, so nothing that it says is believed; fix: name the right endpoint, or the new contract in a profile of its own"
    )]
    Replaced,
    /// There is the other one.
    #[error(
        "the contract at the payment address is of version {found}, not {expected}; fix: contract_version = {found} in the \
         network's profile"
    )]
    Other {
        /// What is there.
        found: Version,
        /// What was expected.
        expected: Version,
    },
}

impl Version {
    /// The version whose functions the bytecode `code` has; `None` if it has those of neither, as a
    /// proxy has.
    #[must_use]
    pub fn of_code(code: &[u8]) -> Option<Self> {
        // Solidity compares the selector with a constant: PUSH4, then its four bytes.
        let has =
            |selector: &[u8; 4]| code.windows(5).any(|five| five[0] == 0x63 && five[1..] == selector[..]);
        if v4::OWN.iter().all(has) {
            Some(Self::V4)
        } else if has(&createStreamCall::SELECTOR) && has(&abi::streamsCall::SELECTOR) {
            Some(Self::V1)
        } else {
            None
        }
    }

    /// The version whose `streams` answers so.
    #[must_use]
    pub const fn of_answer(answer: &[u8]) -> Option<Self> {
        match answer.len() {
            length if length == 32 * WORDS => Some(Self::V1),
            length if length == 32 * v4::WORDS => Some(Self::V4),
            _ => None,
        }
    }

    /// Words of an answer to [`ask`].
    pub(crate) const fn words(self) -> usize {
        match self {
            Self::V1 => WORDS,
            Self::V4 => v4::WORDS,
        }
    }

    /// Seconds after its end in which a stream of such a contract may still be topped up, and pays for what it paid for.
    #[must_use]
    pub const fn grace(self) -> u128 {
        match self {
            Self::V1 => 0,
            Self::V4 => v4::GRACE_SECONDS,
        }
    }

    /// The stream in the answer to [`ask`]; `None` if the answer is not one.
    #[must_use]
    pub fn read(self, answer: &[u8]) -> Option<Stream> {
        if Self::of_answer(answer) != Some(self) {
            return None;
        }
        match self {
            Self::V1 => read_one(answer),
            Self::V4 => v4::read(answer),
        }
    }
}

fn read_one(answer: &[u8]) -> Option<Stream> {
    let read = abi::streamsCall::abi_decode_returns_validate(answer).ok()?;
    Some(Stream {
        token: number(read.token),
        sender: number(read.sender),
        recipient: number(read.recipient),
        start: read.startTime,
        stop: read.stopTime,
        rate: read.ratePerSecond,
        deposit: read.deposit,
        withdrawn: read.withdrawn,
        halted: read.halted,
        lease: None,
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

    /// The words that both contracts share are read alike, and an answer of one is none of the other.
    #[test]
    fn an_answer_belongs_to_one_version() {
        let mut answer = Vec::new();
        for word in 1..=14u8 {
            answer.extend([0; 31]);
            answer.push(word);
        }
        let stream = Version::V4.read(&answer).unwrap();
        assert_eq!((stream.start, stream.stop, stream.rate, stream.halted), (4, 5, 6, false));
        assert_eq!(stream.deposit, alloy_primitives::U256::from(7));
        assert_eq!(Version::V1.read(&answer), None);
        answer.truncate(32 * 9);
        answer[32 * 9 - 1] = 0;
        assert_eq!(Version::V4.read(&answer), None);
        assert_eq!(Version::V1.read(&answer), Some(Stream { lease: None, ..stream }));
        assert_eq!(Version::of_code(&[]), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_panic(answer in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_one(&answer);
            let _ = (Version::V1.read(&answer), Version::V4.read(&answer), Version::of_code(&answer));
        }

        #[test]
        fn a_whole_answer_is_read_word_by_word(words in proptest::collection::vec(any::<[u8; 16]>(), 9)) {
            // Nine words, each below 2^128, addresses below 2^160, the flag 0 or 1.
            let mut answer = Vec::new();
            for (n, word) in words.iter().enumerate() {
                answer.extend([0; 16]);
                answer.extend(if n == 8 { [0; 16] } else { *word });
            }
            let stream = Version::V1.read(&answer).unwrap();
            prop_assert_eq!(stream.start, u128::from_be_bytes(words[3]));
            prop_assert_eq!(stream.rate, u128::from_be_bytes(words[5]));
            prop_assert!(!stream.halted);
            answer[31] = 1;
            answer[0] = 1;
            // An address with more than 160 bits is none.
            prop_assert!(Version::V1.read(&answer).is_none());
        }
    }
}
