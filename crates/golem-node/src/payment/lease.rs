//! Leases: what this node signs so that a stream of contract version 4 can be opened, and what the stream of a create has to be.
//!
//! ```text
//!   request ─► price, terms, lease id ─► signature          (the ledger may promise its capacity)
//!   create  ─► the terms again, of what is asked for now ─► the hash that the stream holds?
//! ```
//! Owns the price that a lease promises and for how long. An old lease's price holds for as long as its stream is active,
//! whatever is asked today. Never decides whether there is room.

use alloy_primitives::{Address, B256, U256};
use golem_chain::judge::ExpectedLease;
use golem_chain::{LeaseQuote, LeaseTerms, Place, StreamTerms, Version};
use golem_types::stream::number;
use golem_types::wire::{LeasePayment, LeaseRequest};
use golem_types::{ImageName, Resources, VmName};
use jiff::Timestamp;

use super::Payments;
use crate::error::NodeError;
use crate::paid::Paid;
use crate::promise::QUOTE_LIFE;
use crate::vm::Refusal;

/// A lease as this node signed it.
#[derive(Debug, Clone)]
pub struct SignedLease {
    /// The chain and its payment contract.
    pub place: Place,
    /// The token in which it is paid.
    pub token: Address,
    /// What was signed.
    pub quote: LeaseQuote,
    /// How long it is paid for, in seconds.
    pub duration: u64,
    /// The 65 bytes r, s, v.
    pub signature: [u8; 65],
    /// Whether the VM's capacity is kept until the quote is over.
    pub reserved: bool,
}

/// What a lease has to be for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leased<'a> {
    /// Who rents.
    pub(crate) renter: Address,
    /// What the renter calls the VM.
    pub(crate) name: &'a VmName,
    /// Its image.
    pub(crate) image: &'a ImageName,
    /// Its size.
    pub(crate) resources: Resources,
}

impl Payments {
    /// Whether streams of this contract are opened with a lease.
    #[must_use]
    pub fn takes_leases(&self) -> bool {
        self.config().version == Version::V4
    }

    /// Promises what is asked at `now` for the VM of `request`, whose image is `image`.
    ///
    /// # Errors
    /// [`NodeError::NoPrice`], [`NodeError::TokenDigits`], [`NodeError::Coarse`], [`NodeError::Unsigned`];
    /// [`Refusal::ShortLease`] where a create would not be granted on it.
    pub fn lease(
        &self,
        request: &LeaseRequest,
        image: &ImageName,
        now: Timestamp,
    ) -> Result<SignedLease, NodeError> {
        let config = self.config();
        let least = u64::try_from(config.rules.runway_of_create()).unwrap_or(u64::MAX);
        if request.duration < least {
            return Err(Refusal::ShortLease { least }.into());
        }
        let prices = self.prices().ok_or(NodeError::NoPrice)?;
        if let Some(problem) = self.token_problem() {
            return Err(problem);
        }
        let rate = prices.lease_rate(request.resources, config.decimals).ok_or(NodeError::Coarse)?;
        let mut lease_id = B256::ZERO;
        getrandom::fill(lease_id.as_mut_slice()).map_err(|_| NodeError::Unsigned)?;
        let leased =
            Leased { renter: request.requestor, name: &request.name, image, resources: request.resources };
        let quote = LeaseQuote {
            recipient: config.wallet.address(),
            deposit: U256::from(rate).saturating_mul(U256::from(request.duration)),
            rate,
            lease_id,
            terms_hash: self.lease_terms(leased, rate, request.duration, lease_id).hash(),
            expires_at: u64::try_from(now.as_second()).unwrap_or_default() + QUOTE_LIFE.as_secs(),
        };
        let signature = quote.sign(self.place(), &config.wallet).ok_or(NodeError::Unsigned)?;
        Ok(SignedLease {
            place: self.place(),
            token: config.token,
            quote,
            duration: request.duration,
            signature,
            reserved: false,
        })
    }

    fn lease_terms<'a>(
        &self,
        leased: Leased<'a>,
        rate: u128,
        duration: u64,
        lease_id: B256,
    ) -> LeaseTerms<'a> {
        let config = self.config();
        LeaseTerms {
            provider: config.wallet.address(),
            requestor: leased.renter,
            name: leased.name.as_str(),
            image: leased.image.as_str(),
            resources: leased.resources,
            rate,
            duration,
            token: config.token,
            place: self.place(),
            lease_id,
        }
    }

    /// Whether `payment` says that it is the lease of `leased` in this contract.
    pub(crate) fn is_lease_of(&self, payment: &LeasePayment, leased: Leased<'_>) -> bool {
        let terms = self.lease_terms(leased, payment.rate, payment.duration, payment.lease_id);
        self.takes_leases() && terms.hash() == payment.terms_hash
    }

    /// Judges the stream of `payment`, which [is the lease](Self::is_lease_of) of what `renter` rents.
    ///
    /// # Errors
    /// [`Refusal::Stream`], [`NodeError::TokenDigits`], [`NodeError::ChainUnknown`].
    pub(crate) async fn judge_lease(
        &self,
        payment: &LeasePayment,
        renter: Address,
    ) -> Result<Paid, NodeError> {
        self.check_token().await?;
        let lease = ExpectedLease {
            sender: number(renter),
            rate: payment.rate,
            id: payment.lease_id,
            terms_hash: payment.terms_hash,
        };
        // The price is the lease's. Half of a short one may have passed until its create comes.
        let least_runway = self.config().rules.runway_of_create().min(u128::from(payment.duration / 2));
        let terms = StreamTerms { least_runway, lease: Some(lease), ..self.terms(None) };
        // The wallet that rents is the stream's sender, and said so.
        Ok(self.read_and_judge(payment.stream_id, &terms).await?.proven())
    }
}
