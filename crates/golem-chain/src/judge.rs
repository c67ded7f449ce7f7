//! Whether a stream pays for a rental.
//!
//! Owns the decision, as one pure function. Never asks a chain, and never decides what follows.

use alloy_primitives::B256;
use golem_types::Stream;
use ruint::aliases::U160;

use crate::block::Block;
use crate::rpc::ChainError;

/// What a stream has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTerms {
    /// Who has to be paid: the provider.
    pub recipient: U160,
    /// In what; zero is the chain's own money.
    pub token: U160,
    /// Least wei a second; `None` while no price is known.
    pub least_rate: Option<u128>,
    /// Least seconds of payment that have to be left.
    pub least_runway: u128,
    /// Seconds after its end in which a stream still pays for what it paid for: [`crate::Version::grace`]; 0 where
    /// something is to begin.
    pub grace: u128,
    /// What it has to be opened for, where a lease begins.
    pub lease: Option<ExpectedLease>,
}

/// The lease that a stream has to be opened for, as its renter says and what is rented makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedLease {
    /// Who has to pay: the renter.
    pub sender: U160,
    /// Wei a second, exactly.
    pub rate: u128,
    /// Tells the lease from every other.
    pub id: B256,
    /// The hash of its terms, computed from what is to be rented.
    pub terms_hash: B256,
}

/// Why a stream does not pay for a rental. The texts are those that existing clients know, and
/// ours where the original did not look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// It pays somebody else, was terminated, or never was.
    #[error("recipient mismatch")]
    Recipient,
    /// Nothing was paid in.
    #[error("no deposit")]
    Deposit,
    /// It begins later.
    #[error("stream not started")]
    NotStarted,
    /// It was frozen.
    #[error("stream halted")]
    Halted,
    /// It pays in another token.
    #[error("wrong token")]
    Token,
    /// It pays less than the price.
    #[error("rate below price")]
    Rate,
    /// Somebody else pays than who rents.
    #[error("sender mismatch")]
    Sender,
    /// It does not pay what its lease says.
    #[error("rate mismatch")]
    LeaseRate,
    /// It was opened for another lease, or for none.
    #[error("lease mismatch")]
    Lease,
    /// Its lease is for something else than what is to be rented.
    #[error("terms mismatch")]
    Terms,
    /// It ends too soon.
    #[error("runway below minimum")]
    Runway,
}

/// What is known of a stream.
#[derive(Debug)]
pub enum StreamVerdict {
    /// It pays.
    Good {
        stream: Box<Stream>,
        /// As of this block.
        block: Block,
    },
    /// It does not pay, and why. The only verdict that may end a rental.
    Bad(Bad),
    /// The chain did not say.
    Unknown(ChainError),
}

/// Judges `stream` at the chain's time `now`, in seconds since the epoch.
///
/// # Errors
/// The first [`Bad`] that applies, in the order in which existing clients meet them.
pub fn judge(stream: &Stream, terms: &StreamTerms, now: u128) -> Result<(), Bad> {
    if stream.recipient != terms.recipient || terms.recipient.is_zero() {
        return Err(Bad::Recipient);
    }
    if stream.deposit.is_zero() {
        return Err(Bad::Deposit);
    }
    if stream.start > now {
        return Err(Bad::NotStarted);
    }
    if stream.halted {
        return Err(Bad::Halted);
    }
    if stream.token != terms.token {
        return Err(Bad::Token);
    }
    if let Some(expected) = &terms.lease {
        check_lease(stream, expected)?;
    }
    if terms.least_rate.is_some_and(|least| stream.rate < least) {
        return Err(Bad::Rate);
    }
    // A stream that has run dry pays for nothing, whatever the operator's minimum.
    let left = stream.stop.saturating_add(terms.grace).saturating_sub(now);
    if left < terms.least_runway.max(1) {
        return Err(Bad::Runway);
    }
    Ok(())
}

fn check_lease(stream: &Stream, expected: &ExpectedLease) -> Result<(), Bad> {
    if stream.sender != expected.sender {
        return Err(Bad::Sender);
    }
    if stream.rate != expected.rate {
        return Err(Bad::LeaseRate);
    }
    let lease = stream.lease.filter(|lease| lease.id == expected.id).ok_or(Bad::Lease)?;
    if lease.terms_hash != expected.terms_hash { Err(Bad::Terms) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use golem_types::stream::{Donation, Lease};
    use proptest::prelude::*;
    use ruint::aliases::U256;

    use super::*;

    const NOW: u128 = 1_700_000_000;
    const TERMS: StreamTerms = StreamTerms {
        recipient: U160::from_limbs([7, 0, 0]),
        token: U160::ZERO,
        least_rate: Some(100),
        least_runway: 3600,
        grace: 0,
        lease: None,
    };

    fn good() -> Stream {
        Stream {
            token: U160::ZERO,
            sender: U160::from(1),
            recipient: TERMS.recipient,
            start: NOW - 10,
            stop: NOW + 3600,
            rate: 100,
            deposit: U256::from(361_000),
            withdrawn: U256::ZERO,
            halted: false,
            lease: None,
        }
    }

    #[test]
    fn each_reason_is_found_and_the_first_one_is_told() {
        assert_eq!(judge(&good(), &TERMS, NOW), Ok(()));
        assert_eq!(judge(&Stream { start: NOW, ..good() }, &TERMS, NOW), Ok(()), "it begins now");
        let cases = [
            (Stream { recipient: U160::from(8), ..good() }, Bad::Recipient),
            (Stream { recipient: U160::ZERO, ..good() }, Bad::Recipient),
            (Stream { deposit: U256::ZERO, ..good() }, Bad::Deposit),
            (Stream { start: NOW + 1, ..good() }, Bad::NotStarted),
            (Stream { halted: true, ..good() }, Bad::Halted),
            (Stream { token: U160::from(9), ..good() }, Bad::Token),
            (Stream { rate: 99, ..good() }, Bad::Rate),
            (Stream { stop: NOW + 3599, ..good() }, Bad::Runway),
        ];
        for (stream, bad) in cases {
            assert_eq!(judge(&stream, &TERMS, NOW), Err(bad), "{bad}");
        }
        let none = Stream { recipient: U160::ZERO, deposit: U256::ZERO, ..good() };
        assert_eq!(judge(&none, &TERMS, NOW).unwrap_err().to_string(), "recipient mismatch");
        let nobody = StreamTerms { recipient: U160::ZERO, ..TERMS };
        assert_eq!(judge(&none, &nobody, NOW), Err(Bad::Recipient), "the zero address is nobody");
    }

    #[test]
    fn a_lease_is_paid_by_its_renter_at_its_rate_for_its_terms() {
        let (id, terms_hash) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let expected = ExpectedLease { sender: U160::from(1), rate: 100, id, terms_hash };
        let terms = StreamTerms { lease: Some(expected), ..TERMS };
        let nothing = U256::ZERO;
        let donation =
            Donation { basis_points: 0, recipient: U160::ZERO, deposit: nothing, withdrawn: nothing };
        let opened = Lease { id, terms_hash, donation };
        let leased = Stream { lease: Some(opened), ..good() };
        assert_eq!(judge(&leased, &terms, NOW), Ok(()));
        let cases = [
            (Stream { sender: U160::from(2), ..leased }, Bad::Sender),
            (Stream { rate: 99, ..leased }, Bad::LeaseRate),
            (Stream { rate: 101, ..leased }, Bad::LeaseRate),
            (Stream { lease: None, ..leased }, Bad::Lease),
            (Stream { lease: Some(Lease { id: terms_hash, ..opened }), ..leased }, Bad::Lease),
            (Stream { lease: Some(Lease { terms_hash: id, ..opened }), ..leased }, Bad::Terms),
        ];
        for (stream, bad) in cases {
            assert_eq!(judge(&stream, &terms, NOW), Err(bad), "{bad}");
        }
    }

    proptest! {
        /// Whatever is granted pays us, now, in our token, at our price, for long enough.
        #[test]
        fn nothing_that_does_not_pay_is_granted(
            recipient in 6u64..9, token in 0u64..2, start in NOW - 3..NOW + 3, left in 0u128..7200,
            rate in 98u128..103, deposit in 0u64..3, halted in any::<bool>(), priced in any::<bool>(),
        ) {
            let stream = Stream {
                token: U160::from(token), recipient: U160::from(recipient), start, stop: NOW + left, rate,
                deposit: U256::from(deposit), halted, ..good()
            };
            let terms = StreamTerms { least_rate: priced.then_some(100), ..TERMS };
            let pays = recipient == 7 && token == 0 && start <= NOW && left >= 3600
                && (!priced || rate >= 100) && deposit > 0 && !halted;
            prop_assert_eq!(judge(&stream, &terms, NOW).is_ok(), pays);
        }
    }
}
