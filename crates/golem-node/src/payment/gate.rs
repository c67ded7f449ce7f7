//! Whether a stream pays for a create.
//!
//! Owns the price that is asked of a stream, for how long an older one counts, and that nothing is rented while no
//! price is known, or while the token does not say the digits that the profile has (M-11, M-13). Never ends a rental.

use std::time::Duration;

use golem_chain::stream_proof::{self, ProvenStream, StreamUse};
use golem_chain::{StreamTerms, StreamVerdict, token};
use golem_types::stream::{address, number};
use golem_types::{Resources, Stream, StreamId};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Payments, StreamPrices};
use crate::error::NodeError;
use crate::paid::Paid;
use crate::vm::Refusal;

/// How long a price that is asked no more still counts: an advert of the original lives for four hours.
const PRICE_LIFE: Duration = Duration::from_secs(4 * 3600);

impl Payments {
    /// Sets the price that streams have to pay; `None` while it is not known.
    /// What was asked until now is still good for four hours: renters may have read it.
    pub fn set_prices(&self, prices: Option<StreamPrices>) {
        let now = Instant::now();
        self.0.prices.send_modify(|asked| {
            if let Some((last, until)) = asked.last_mut()
                && until.is_none()
            {
                if Some(*last) == prices {
                    return;
                }
                *until = Some(now + PRICE_LIFE);
            }
            asked.retain(|(_, until)| until.is_none_or(|until| until > now));
            asked.extend(prices.map(|prices| (prices, None)));
        });
    }

    /// What a stream has to pay now; `None` while no price is known.
    #[must_use]
    pub fn prices(&self) -> Option<StreamPrices> {
        self.0.prices.borrow().last().filter(|(_, until)| until.is_none()).map(|(prices, _)| *prices)
    }

    /// Whether nothing is rented because no price is known.
    #[must_use]
    pub fn lacks_price(&self) -> bool {
        let config = self.config();
        config.enforce_rate && !config.allow_unpriced && self.prices().is_none()
    }

    /// The least rate for `resources` that was asked lately, in the token's smallest units a second; `None` if any will
    /// do.
    fn least_rate(&self, resources: Resources) -> Result<Option<u128>, NodeError> {
        if self.lacks_price() {
            return Err(NodeError::NoPrice);
        }
        if !self.0.config.enforce_rate || self.prices().is_none() {
            return Ok(None);
        }
        let now = Instant::now();
        let asked = self.0.prices.borrow();
        let recent = asked.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
        Ok(recent.map(|(prices, _)| prices.least_rate(resources, self.0.config.decimals)).min())
    }

    /// What a stream has to be for its rental to run.
    pub(super) fn terms(&self, least_rate: Option<u128>) -> StreamTerms {
        let config = &self.0.config;
        StreamTerms {
            recipient: number(config.wallet.address()),
            token: number(config.token),
            least_rate,
            least_runway: u128::from(config.rules.least_runway.as_secs()),
            grace: 0,
            lease: None,
        }
    }

    /// What `stream`, of a rental that is there, has to be for it to run: it may go on paying a key that was replaced.
    pub(super) fn terms_of(&self, stream: &Stream) -> StreamTerms {
        let terms = self.terms(None);
        let mut former = self.0.config.former.iter().map(|former| number(former.address));
        let recipient = former.find(|former| *former == stream.recipient).unwrap_or(terms.recipient);
        // M-04: it was accepted in its own token, whatever new rentals pay in today.
        StreamTerms { recipient, token: stream.token, grace: self.0.config.version.grace(), ..terms }
    }

    /// Makes sure that the token has as many digits after the point as the profile says; once it said so, it is not
    /// asked again.
    ///
    /// # Errors
    /// [`NodeError::TokenDigits`], [`NodeError::ChainUnknown`].
    pub(super) async fn check_token(&self) -> Result<(), NodeError> {
        let (config, rpc) = (&self.0.config, &self.0.rpc);
        let token_digits = &self.0.token_digits;
        if config.token.is_zero() || *token_digits.borrow() == Some(config.decimals) {
            return Ok(());
        }
        let found = token::decimals(rpc, config.token).await.map_err(NodeError::ChainUnknown)?;
        token_digits.send_replace(Some(found));
        if found == config.decimals {
            return Ok(());
        }
        Err(NodeError::TokenDigits { found, expected: config.decimals })
    }

    /// Why nothing is rented that is paid for in this token; `None` if that is well, or it did not answer yet.
    #[must_use]
    pub fn token_problem(&self) -> Option<NodeError> {
        let (expected, found) = (self.config().decimals, (*self.0.token_digits.borrow())?);
        (found != expected).then_some(NodeError::TokenDigits { found, expected })
    }

    /// The payment `paid`, by the word of the stream's sender if `proof` is that.
    ///
    /// # Errors
    /// [`Refusal::Proof`].
    pub(crate) fn prove(
        &self,
        paid: Paid,
        proof: Option<&str>,
        wanted: StreamUse<'_>,
    ) -> Result<Paid, NodeError> {
        let (Some(proof), Some(key), Some(sender)) = (proof, paid.key(), paid.sender()) else {
            return Ok(paid);
        };
        let stream =
            ProvenStream { place: self.place(), provider: self.config().wallet.address(), id: key.id };
        let sender = address(sender);
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        stream_proof::check(proof, &stream, wanted, sender, now).map_err(Refusal::Proof)?;
        Ok(paid.proven())
    }

    /// Judges the stream `id` as the payment of a rental of `resources`, at the price of `quote`, if
    /// it names one, else at the advertised price.
    ///
    /// # Errors
    /// [`Refusal::Quote`], [`Refusal::Stream`], [`NodeError::NoPrice`], [`NodeError::TokenDigits`],
    /// [`NodeError::ChainUnknown`].
    pub(crate) async fn judge(
        &self,
        id: StreamId,
        resources: Resources,
        quote: Option<&str>,
    ) -> Result<Paid, NodeError> {
        let least_rate = match quote {
            Some(quote) => Some(self.quoted_rate(quote, resources)?),
            None => self.least_rate(resources)?,
        };
        self.check_token().await?;
        let least_runway = self.0.config.rules.runway_of_create();
        let terms = StreamTerms { least_runway, ..self.terms(least_rate) };
        self.read_and_judge(id, &terms).await
    }

    /// Judges the stream `id` by `terms`, as the chain has it now.
    ///
    /// # Errors
    /// [`Refusal::Stream`], [`NodeError::ChainUnknown`].
    pub(super) async fn read_and_judge(&self, id: StreamId, terms: &StreamTerms) -> Result<Paid, NodeError> {
        match self.0.reader.verdict(id, terms).await {
            StreamVerdict::Good { stream, block } => {
                tracing::debug!(stream = %id, block = block.number, "stream verified: it pays");
                self.record_reading(block);
                Ok(Paid::by(self.key(id), *stream, block, Timestamp::now()))
            }
            StreamVerdict::Bad(bad) => {
                tracing::debug!(stream = %id, reason = %bad, "stream verified: it does not pay");
                Err(Refusal::Stream(bad).into())
            }
            StreamVerdict::Unknown(error) => {
                self.record_failure(&error);
                Err(NodeError::ChainUnknown(error))
            }
        }
    }
}
