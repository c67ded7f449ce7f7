//! A payment stream: a deposit that vests to its recipient by the second.
//!
//! ```text
//!   vested(now) = min((min(now, stop) - start) * rate, deposit)
//! ```
//! Owns the arithmetic, which equals the contract's to the wei (I7): its cap at the deposit, and
//! the gap after a late top-up, which vests too because vesting counts from the start. Integers
//! only, and none can overflow whatever a chain answers. Never asks a chain.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use jiff::Timestamp;
use ruint::aliases::{U160, U256};
use serde::{Deserialize, Serialize};

/// `address` as a stream has it.
#[must_use]
pub fn number(address: Address) -> U160 {
    U160::from_be_bytes(address.into_array())
}

/// The address that a stream has as `number`.
#[must_use]
pub fn address(number: U160) -> Address {
    Address::from(number.to_be_bytes::<20>())
}

/// A stream's time, in seconds since the epoch, as a timestamp; `None` if it is later than one can tell.
#[must_use]
pub fn timestamp(seconds: u128) -> Option<Timestamp> {
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok())
}

/// The number of a stream in its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub U256);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no stream's number.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no stream id: a decimal number of at most 256 bits")]
pub struct NoStreamId(String);

impl FromStr for StreamId {
    type Err = NoStreamId;

    fn from_str(text: &str) -> Result<Self, NoStreamId> {
        let digits = (1..=78).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| U256::from_str_radix(text, 10).ok()).flatten();
        number.map(Self).ok_or_else(|| NoStreamId(text.chars().take(80).collect()))
    }
}

/// A stream among those of all contracts: the same number means another stream in another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// Chain and contract: the chain's id, a colon, the contract's address.
    pub contract: Arc<str>,
    /// The number in that contract.
    pub id: StreamId,
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.contract, self.id)
    }
}

/// A stream as its contract holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The token's contract; zero is the chain's own money.
    pub token: U160,
    /// Who pays.
    pub sender: U160,
    /// Who is paid; zero once the stream was terminated, or if there never was one.
    pub recipient: U160,
    /// When vesting began, in seconds since the epoch.
    pub start: u128,
    /// When the deposit is used up, in seconds since the epoch.
    pub stop: u128,
    /// Wei that vest in a second.
    pub rate: u128,
    /// Wei that were paid in.
    pub deposit: U256,
    /// Wei that were paid out to the recipient.
    pub withdrawn: U256,
    /// Whether vesting was frozen; only contracts of version 1 can.
    pub halted: bool,
    /// What it was opened for; only contracts of version 4 tell.
    pub lease: Option<Lease>,
}

/// What a stream of version 4 was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Tells the lease from every other; it opens one stream.
    pub id: B256,
    /// The hash of what the provider signed.
    pub terms_hash: B256,
    /// What its sender gives on top.
    pub donation: Donation,
}

/// What the sender of a stream gives on top of what the provider earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Donation {
    /// The share, in hundredths of a percent of what vests to the provider.
    pub basis_points: u16,
    /// Who gets it.
    pub recipient: U160,
    /// Wei that were paid in for it.
    pub deposit: U256,
    /// Wei of it that were paid out.
    pub withdrawn: U256,
}

impl Donation {
    /// Wei that are due by the time that `vested` wei have vested to the provider.
    #[must_use]
    pub fn vested(&self, vested: U256) -> U256 {
        // In two parts, so that nothing overflows.
        let (whole, rest) = vested.div_rem(U256::from(BASIS));
        let share = U256::from(self.basis_points);
        whole.saturating_mul(share).saturating_add(rest * share / U256::from(BASIS)).min(self.deposit)
    }
}

/// Hundredths of a percent in a whole.
const BASIS: u16 = 10_000;

impl Stream {
    /// Seconds of payment left at `now`, in seconds since the epoch.
    #[must_use]
    pub const fn remaining_seconds(&self, now: u128) -> u128 {
        self.stop.saturating_sub(now)
    }

    /// Wei that the recipient has earned by `now`, paid out or not.
    #[must_use]
    pub fn vested(&self, now: u128) -> U256 {
        let seconds = now.min(self.stop).saturating_sub(self.start);
        // At most 128 by 128 bits: the product fits.
        (U256::from(seconds) * U256::from(self.rate)).min(self.deposit)
    }

    /// Wei that the contract would pay the recipient at `now`.
    #[must_use]
    pub fn withdrawable(&self, now: u128) -> U256 {
        self.vested(now).saturating_sub(self.withdrawn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(start: u128, stop: u128, rate: u128, deposit: u64, withdrawn: u64) -> Stream {
        Stream {
            token: U160::ZERO,
            sender: U160::from(1),
            recipient: U160::from(2),
            start,
            stop,
            rate,
            deposit: U256::from(deposit),
            withdrawn: U256::from(withdrawn),
            halted: false,
            lease: None,
        }
    }

    #[test]
    fn a_streams_words_are_addresses_and_times() {
        let known: Address = "0x000000000000000000000000000000000000Abc1".parse().unwrap();
        assert_eq!((number(known), address(U160::from(0xabc1))), (U160::from(0xabc1), known));
        assert_eq!(timestamp(1_780_000_000), Timestamp::from_second(1_780_000_000).ok());
        assert_eq!((timestamp(u128::MAX), timestamp(1 << 62)), (None, None));
    }

    #[test]
    fn a_streams_number_is_read_as_it_is_written() {
        for (text, number) in
            [("0", U256::ZERO), ("00042", U256::from(42)), (&U256::MAX.to_string(), U256::MAX)]
        {
            let id: StreamId = text.parse().unwrap();
            assert_eq!(id, StreamId(number));
            assert_eq!(id.to_string(), number.to_string());
            let key = StreamKey { contract: "1:0xab".into(), id };
            assert_eq!(key.to_string(), format!("1:0xab:{number}"));
        }
        let more_than_256_bits = format!("{}0", U256::MAX);
        for bad in [
            "",
            "-1",
            "+1",
            "1.0",
            "0x1",
            " 1",
            "1 ",
            &"0".repeat(79),
            &more_than_256_bits[1..],
            &more_than_256_bits,
        ] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_documented_sample_is_reproduced() {
        let sample = stream(1_700_000_000, 1_700_007_200, 12_345, 1_000_000_000_000_000_000, 0);
        assert_eq!(sample.vested(1_700_003_600), U256::from(44_442_000));
        assert_eq!(sample.remaining_seconds(1_700_003_600), 3600);
        assert_eq!(sample.remaining_seconds(1_700_009_000), 0);
    }

    #[test]
    fn the_gap_after_a_late_top_up_vests_up_to_the_deposit() {
        // 100 s of payment, a lapse of 900 s, 60 s more: the contract counts from the start.
        let late = stream(0, 1_060, 1_000, 160_000, 100_000);
        assert_eq!(late.vested(1_000), U256::from(160_000));
        assert_eq!(late.withdrawable(1_000), U256::from(60_000));
    }

    proptest! {
        #[test]
        fn a_donation_is_a_share_of_what_vested(vested in any::<u128>(), basis_points in any::<u16>(), deposit in any::<[u64; 4]>()) {
            let donation = Donation {
                basis_points, recipient: U160::ZERO, deposit: U256::from_limbs(deposit), withdrawn: U256::ZERO,
            };
            let vested = U256::from(vested);
            let exact = vested * U256::from(basis_points) / U256::from(10_000);
            prop_assert_eq!(donation.vested(vested), exact.min(donation.deposit));
            prop_assert!(donation.vested(U256::MAX) <= donation.deposit);
        }

        #[test]
        fn vesting_grows_ends_at_the_deposit_and_never_overflows(
            start in any::<u128>(), stop in any::<u128>(), rate in any::<u128>(),
            deposit in any::<[u64; 4]>(), withdrawn in any::<[u64; 4]>(), now in any::<u128>(), more in any::<u64>(),
        ) {
            let odd = Stream {
                deposit: U256::from_limbs(deposit),
                withdrawn: U256::from_limbs(withdrawn),
                ..stream(start, stop, rate, 0, 0)
            };
            let later = now.saturating_add(u128::from(more));
            prop_assert!(odd.vested(now) <= odd.vested(later));
            prop_assert!(odd.vested(later) <= odd.deposit);
            prop_assert!(odd.withdrawable(later) <= odd.vested(later));
            prop_assert!(odd.remaining_seconds(later) <= odd.remaining_seconds(now));
        }
    }
}
