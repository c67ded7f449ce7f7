//! What the payment contracts say about streams, in every shape that is known.
//!
//! | event | ours, version 1 | the original's 1 and 2 | version 4 |
//! |---|---|---|---|
//! | created | eight fields | the same; ten | fourteen |
//! | paid out | `Withdrawn(id, recipient, amount)` | `Withdraw(id, recipient, amount)` | `Withdraw(…, donation)` |
//! | ended | `Terminated(id, paid, refunded)` | `Terminated(id, refunded, paid)` | `Terminated(id, refunded, paid, donated)` |
//! | topped up | `ToppedUp(id, amount, deposit, stop)` | `ToppedUp(id, amount, stop)` | `ToppedUp(…, stop)` |
//! | halted | `Halted(id, stop)` | `Halted(id)` | never |
//!
//! Owns the translation of a log, by its topics, into one enum. The two orders of the shorter `Terminated` have the same
//! topic, so that [`Split::Either`] leaves it to who knows what had vested. Never asks a chain; what it does not know, or
//! what is malformed, is no event, and never a panic.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent;
use golem_types::StreamId;
use golem_types::stream::number;
use ruint::aliases::U160;

mod abi {
    #![allow(missing_docs, reason = "names and types are the contracts'")]
    alloy_sol_types::sol! {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event Withdrawn(uint256 indexed streamId, address indexed recipient, uint256 amount);
        event Withdraw(uint256 indexed streamId, address indexed recipient, uint256 amount);
        event Terminated(uint256 indexed streamId, uint256 one, uint256 other);
    }
    pub(super) mod ours {
        alloy_sol_types::sol! {
            event StreamCreated(
                uint256 indexed streamId, address indexed sender, address indexed recipient, address token,
                uint256 deposit, uint256 ratePerSecond, uint256 startTime, uint256 stopTime
            );
            event ToppedUp(uint256 indexed streamId, uint256 amount, uint256 deposit, uint256 stopTime);
            event Halted(uint256 indexed streamId, uint256 stopTime);
        }
    }
    pub(super) mod two {
        alloy_sol_types::sol! {
            event StreamCreated(
                uint256 indexed streamId, address indexed sender, address indexed recipient, address token,
                uint256 deposit, uint256 ratePerSecond, uint256 startTime, uint256 stopTime, bytes32 leaseId,
                bytes32 termsHash
            );
            event ToppedUp(uint256 indexed streamId, uint256 amount, uint128 stopTime);
            event Halted(uint256 indexed streamId);
        }
    }
    pub(super) mod four {
        alloy_sol_types::sol! {
            event StreamCreated(
                uint256 indexed streamId, address indexed sender, address indexed recipient, address token,
                uint256 providerDeposit, uint256 donationDeposit, uint256 totalDeposit,
                uint256 providerRatePerSecond, uint16 donationBps, address donationRecipient, uint256 startTime,
                uint256 stopTime, bytes32 leaseId, bytes32 termsHash
            );
            event Withdraw(
                uint256 indexed streamId, address indexed recipient, uint256 providerAmount,
                address indexed donationRecipient, uint256 donationAmount
            );
            event Terminated(
                uint256 indexed streamId, uint256 senderRefund, uint256 providerPayout, uint256 donationPayout
            );
            event ToppedUp(
                uint256 indexed streamId, uint256 providerAmount, uint256 donationAmount, uint256 totalAmount,
                uint128 newStopTime
            );
        }
    }
}
use abi::{four, ours, two};

/// The first topic of a token's (ERC-20) `Transfer`.
pub const TRANSFER: B256 = abi::Transfer::SIGNATURE_HASH;

/// Where in a chain something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the block.
    pub block: u64,
    /// Index of the log in its block.
    pub log: u64,
    /// Hash of the block.
    pub block_hash: B256,
    /// Hash of the transaction.
    pub transaction: B256,
}

/// What a contract said about a stream, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEvent {
    /// The stream.
    pub id: StreamId,
    /// What became of it.
    pub what: Happened,
    /// Where that is said.
    pub at: Position,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// It was opened.
    Created {
        /// Who pays.
        sender: U160,
        /// Who is paid.
        recipient: U160,
        /// The token; zero is the chain's own money.
        token: U160,
        /// Wei for the recipient that were paid in.
        deposit: U256,
        /// When it began, in seconds since the epoch.
        start: U256,
        /// Smallest units that vest in a second.
        rate: U256,
    },
    /// The recipient was paid.
    Withdrawn {
        /// Who was paid.
        recipient: U160,
        /// Wei that were paid out.
        amount: U256,
    },
    /// It ended.
    Terminated(Split),
    /// More was paid in.
    ToppedUp {
        /// Wei for the recipient.
        amount: U256,
    },
    /// It vests no more.
    Halted,
}

/// How the rest of a stream was shared when it ended, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// The event says whose is which.
    Known {
        /// To the recipient.
        paid: U256,
        /// Back to the sender.
        refunded: U256,
    },
    /// One of them is the recipient's, the other the sender's.
    Either(U256, U256),
}

impl Split {
    /// The recipient's share and the sender's, where by the contract's arithmetic `refund` was the sender's.
    #[must_use]
    pub fn settle(self, refund: U256) -> (U256, U256) {
        match self {
            Self::Known { paid, refunded } => (paid, refunded),
            // The order of this repository's contract, unless the other one fits better.
            Self::Either(first, second) if second.abs_diff(refund) <= first.abs_diff(refund) => {
                (first, second)
            }
            Self::Either(first, second) => (second, first),
        }
    }
}

/// What a log of a payment contract with these topics and data says; `None` if that is nothing about a stream that is
/// known, or is malformed.
#[must_use]
pub fn decode(topics: &[B256], data: &[u8]) -> Option<(StreamId, Happened)> {
    let signature = *topics.first()?;
    let topics = || topics.iter().copied();
    macro_rules! read {
        ($event:ty) => {
            <$event>::decode_raw_log_validate(topics(), data).ok()?
        };
    }
    macro_rules! created {
        ($event:ty, $deposit:ident, $rate:ident) => {{
            let read = read!($event);
            let (sender, recipient) = (number(read.sender), number(read.recipient));
            let (token, deposit, start) = (number(read.token), read.$deposit, read.startTime);
            let rate = read.$rate;
            (read.streamId, Happened::Created { sender, recipient, token, deposit, start, rate })
        }};
    }
    macro_rules! withdrawn {
        ($event:ty, $amount:ident) => {{
            let read = read!($event);
            (read.streamId, Happened::Withdrawn { recipient: number(read.recipient), amount: read.$amount })
        }};
    }
    let (id, what) = match signature {
        ours::StreamCreated::SIGNATURE_HASH => created!(ours::StreamCreated, deposit, ratePerSecond),
        two::StreamCreated::SIGNATURE_HASH => created!(two::StreamCreated, deposit, ratePerSecond),
        four::StreamCreated::SIGNATURE_HASH => {
            created!(four::StreamCreated, providerDeposit, providerRatePerSecond)
        }
        abi::Withdrawn::SIGNATURE_HASH => withdrawn!(abi::Withdrawn, amount),
        abi::Withdraw::SIGNATURE_HASH => withdrawn!(abi::Withdraw, amount),
        four::Withdraw::SIGNATURE_HASH => withdrawn!(four::Withdraw, providerAmount),
        abi::Terminated::SIGNATURE_HASH => {
            let read = read!(abi::Terminated);
            (read.streamId, Happened::Terminated(Split::Either(read.one, read.other)))
        }
        four::Terminated::SIGNATURE_HASH => {
            let read = read!(four::Terminated);
            let split = Split::Known { paid: read.providerPayout, refunded: read.senderRefund };
            (read.streamId, Happened::Terminated(split))
        }
        ours::ToppedUp::SIGNATURE_HASH => {
            let read = read!(ours::ToppedUp);
            (read.streamId, Happened::ToppedUp { amount: read.amount })
        }
        two::ToppedUp::SIGNATURE_HASH => {
            let read = read!(two::ToppedUp);
            (read.streamId, Happened::ToppedUp { amount: read.amount })
        }
        four::ToppedUp::SIGNATURE_HASH => {
            let read = read!(four::ToppedUp);
            (read.streamId, Happened::ToppedUp { amount: read.providerAmount })
        }
        ours::Halted::SIGNATURE_HASH => (read!(ours::Halted).streamId, Happened::Halted),
        two::Halted::SIGNATURE_HASH => (read!(two::Halted).streamId, Happened::Halted),
        _ => return None,
    };
    Some((StreamId(id), what))
}

/// Money of a token that was moved: from whom, to whom, and how many of its smallest units.
pub type Transfer = (Address, Address, U256);

/// Who paid whom how much in a token's `Transfer` with these topics and data.
#[must_use]
pub fn transfer(topics: &[B256], data: &[u8]) -> Option<Transfer> {
    let read = abi::Transfer::decode_raw_log_validate(topics.iter().copied(), data).ok()?;
    Some((read.from, read.to, read.value))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;
    use proptest::prelude::*;

    use super::*;

    const SIGNATURES: [(&str, usize); 12] = [
        ("StreamCreated(uint256,address,address,address,uint256,uint256,uint256,uint256)", 4),
        ("StreamCreated(uint256,address,address,address,uint256,uint256,uint256,uint256,bytes32,bytes32)", 4),
        (
            "StreamCreated(uint256,address,address,address,uint256,uint256,uint256,uint256,uint16,address,uint256,\
             uint256,bytes32,bytes32)",
            4,
        ),
        ("Withdrawn(uint256,address,uint256)", 3),
        ("Withdraw(uint256,address,uint256)", 3),
        ("Withdraw(uint256,address,uint256,address,uint256)", 4),
        ("Terminated(uint256,uint256,uint256)", 2),
        ("Terminated(uint256,uint256,uint256,uint256)", 2),
        ("ToppedUp(uint256,uint256,uint256,uint256)", 2),
        ("ToppedUp(uint256,uint256,uint128)", 2),
        ("ToppedUp(uint256,uint256,uint256,uint256,uint128)", 2),
        ("Halted(uint256,uint256)", 2),
    ];

    fn word(number: u64) -> B256 {
        B256::from(U256::from(number))
    }

    /// A log whose words, topics first, are 1, 2, 3 …
    fn log(signature: &str, topics: usize) -> (Vec<B256>, Vec<u8>) {
        let words = 1 + signature.matches(',').count();
        let all: Vec<B256> = (1..=words as u64).map(word).collect();
        let (indexed, plain) = all.split_at(topics - 1);
        let topics = std::iter::once(keccak256(signature)).chain(indexed.iter().copied()).collect();
        (topics, plain.iter().flat_map(|word| word.0).collect())
    }

    fn read(signature: &str, topics: usize) -> Option<Happened> {
        let (topics, data) = log(signature, topics);
        let (id, what) = decode(&topics, &data)?;
        assert_eq!(id, StreamId(U256::ONE));
        Some(what)
    }

    #[test]
    fn every_known_shape_is_read() {
        let of = |number: u64| U256::from(number);
        let created = |deposit: u64, rate: u64, start: u64| Happened::Created {
            sender: U160::from(2),
            recipient: U160::from(3),
            token: U160::from(4),
            deposit: of(deposit),
            start: of(start),
            rate: of(rate),
        };
        let withdrawn = |amount: u64| Happened::Withdrawn { recipient: U160::from(2), amount: of(amount) };
        let wanted = [
            created(5, 6, 7),
            created(5, 6, 7),
            created(5, 8, 11),
            withdrawn(3),
            withdrawn(3),
            // The donation's recipient is a topic: 3; the amount comes after it.
            withdrawn(4),
            Happened::Terminated(Split::Either(of(2), of(3))),
            Happened::Terminated(Split::Known { refunded: of(2), paid: of(3) }),
            Happened::ToppedUp { amount: of(2) },
            Happened::ToppedUp { amount: of(2) },
            Happened::ToppedUp { amount: of(2) },
            Happened::Halted,
        ];
        for ((signature, topics), wanted) in SIGNATURES.into_iter().zip(wanted) {
            // M-01
            assert_eq!(read(signature, topics), Some(wanted), "{signature}");
        }
        assert_eq!(read("Halted(uint256)", 2), Some(Happened::Halted));
        assert_eq!(read("Claimed(uint256)", 2), None);
    }

    /// The topics of version 4, as they were computed by another program from the deployed contract's ABI.
    #[test]
    fn the_topics_of_version_4_are_the_deployed_ones() {
        for (topic, hash) in [
            (
                "0x16c3be9bf03b36a2361576a011f32ea55c50de5e3c13ee95188aa9bf995f8780",
                four::StreamCreated::SIGNATURE_HASH,
            ),
            (
                "0x60cdf222b44b35621efef053b734fc6329b1053cbf0b74fa01b35970a6e566d7",
                four::Terminated::SIGNATURE_HASH,
            ),
            (
                "0x1c22c85c30bbb38b2afd19883934ad56d13dbb1ca0a218630e0ee90eb2534304",
                four::ToppedUp::SIGNATURE_HASH,
            ),
            (
                "0xf57a37556f07dfefab48cbe214e86d40955806e9b429fe66b43a07647aa56ca7",
                four::Withdraw::SIGNATURE_HASH,
            ),
        ] {
            assert_eq!(topic.parse::<B256>().unwrap(), hash);
        }
    }

    #[test]
    fn whose_share_is_which_follows_from_what_had_vested() {
        let of = |number: u64| U256::from(number);
        let either = Split::Either(of(10), of(90));
        assert_eq!(either.settle(of(90)), (of(10), of(90)));
        assert_eq!(either.settle(of(10)), (of(90), of(10)));
        assert_eq!(either.settle(of(50)), (of(10), of(90)));
        assert_eq!(Split::Known { paid: of(1), refunded: of(99) }.settle(of(99)), (of(1), of(99)));
    }

    proptest! {
        #[test]
        fn no_log_makes_a_panic(
            which in 0usize..12, topics in 0usize..6, data in proptest::collection::vec(any::<u8>(), 0..500),
        ) {
            let signature = keccak256(SIGNATURES[which].0);
            let topics: Vec<B256> = std::iter::once(signature).chain((0..topics as u64).map(word)).collect();
            let _ = (decode(&topics, &data), decode(&topics[1..], &data), transfer(&topics, &data));
        }

        /// A log that lacks a byte, or has an address of more than 160 bits, is none.
        #[test]
        fn a_malformed_log_is_no_event(which in 0usize..11) {
            let (signature, topics) = SIGNATURES[which];
            let (topics, data) = log(signature, topics);
            prop_assert!(decode(&topics, &data[..data.len() - 1]).is_none());
            prop_assert!(decode(&topics[..1], &data).is_none());
        }
    }
}
