//! Ends the streams of VMs that were deleted, so that the rest goes back to the renter.
//!
//! ```text
//!   deleted ─► due (in the ledger) ─► a while for the sender's own end ─► is it worth its gas? ─► ending ─► [`crate::transactions`]
//! ```
//! Owns when that is worth it: gas takes a small share of what goes back, and no more than the rental has earned, so that
//! nobody can have the node burn its gas. A stream that another live rental uses is left alone, and so is that of a rental
//! that was stopped for want of payment: only a renter's or the operator's delete leads here. Never takes what has not
//! vested: the contract pays both sides.

use std::time::Duration;

use alloy_primitives::Bytes;
use golem_chain::{Plan, SendError, contract};
use golem_types::Stream;
use jiff::Timestamp;
use ruint::aliases::U256;
use tokio_util::sync::CancellationToken;

use super::Payments;
use super::withdraw::WithdrawError;
use crate::crash::crash_point;
use crate::ledger::{Order, Purpose, Refund};
use crate::transactions::{Queue, TransactionError};

/// How often it is looked for what is due, at most.
const LOOK: Duration = Duration::from_secs(5);

/// How long one transaction is waited for before the next is looked at.
const WAIT: Duration = Duration::from_secs(10);

/// Most that gas may cost, in percent of what goes back.
const GAS_PERCENT: u8 = 10;

/// Whether a stream is ended.
enum Judgement {
    /// It is, by this plan.
    Worth(Box<Plan>),
    /// It is left to its sender, for this reason.
    NotWorth(String),
}

/// Ends what is due, until `stop`.
pub(crate) async fn run(payments: Payments, stop: CancellationToken) {
    let forever = async {
        loop {
            match payments.0.ledger.refunds(&payments.0.contract).await {
                Ok(refunds) => {
                    for refund in refunds.into_iter().filter(|refund| refund.due_at <= Timestamp::now()) {
                        let key = refund.key.clone();
                        if let Err(error) = payments.refund(refund).await {
                            golem_service::log_limited_each!(
                                key,
                                warn,
                                stream = %key.id,
                                error = &error as &dyn std::error::Error,
                                "the stream of a deleted VM cannot be ended yet"
                            );
                        }
                    }
                }
                Err(error) => golem_service::log_limited!(
                    error,
                    error = &error as &dyn std::error::Error,
                    "what is to be refunded cannot be read"
                ),
            }
            tokio::time::sleep(LOOK.min(payments.config().interval)).await;
        }
    };
    stop.run_until_cancelled(forever).await;
}

impl Payments {
    /// Ends the stream of `refund` if that is worth it, or goes on to. After an error it is tried again.
    async fn refund(&self, refund: Refund) -> Result<(), WithdrawError> {
        let ledger = &self.0.ledger;
        let id = refund.key.id;
        let seen = self.0.reader.streams(&[id]).await?;
        let Some(stream) = seen.streams.first().copied() else { return Ok(()) };
        let now = seen.block.time;
        let end = async |kind, detail: String| {
            Ok(ledger.end_refund(refund.clone(), kind, detail, Timestamp::now()).await?)
        };
        let vested = stream.vested(now);
        let rest = stream.deposit.saturating_sub(vested);
        if stream.recipient.is_zero() {
            let detail =
                if refund.is_ending { "the node ended the stream" } else { "its sender ended the stream" };
            return end("refund.done", detail.to_owned()).await;
        }
        // A stream that pays a former key is ended by that.
        let queue = self.queue_of(&stream)?;
        let mut plan = None;
        if !refund.is_ending {
            if rest.is_zero() || stream.remaining_seconds(now) == 0 {
                return end("refund.nothing", "nothing is left on the stream".to_owned()).await;
            }
            match self.is_worth_its_gas(queue, &refund, &stream, now).await? {
                Judgement::Worth(made) => plan = Some(*made),
                Judgement::NotWorth(why) => {
                    tracing::info!(stream = %id, why, "the stream of a deleted VM is left to its sender");
                    return end("refund.left", why).await;
                }
            }
            if !ledger.begin_refund(refund.key.clone()).await? {
                return Ok(());
            }
            crash_point!("refund-begun");
        }
        let order = self.order_of(&refund);
        let ended = match plan {
            Some(plan) => queue.wait(queue.submit_planned(order, plan).await?, WAIT).await,
            None => queue.send(order, WAIT).await,
        };
        crash_point!("refund-sent");
        match ended {
            Ok(mined) => {
                tracing::info!(stream = %id, rest_wei = %rest, cost_wei = %mined.cost, "the rest of a deleted VM's stream went back");
                end("refund.done", format!("{rest} wei went back, by {}", mined.hash)).await
            }
            Err(TransactionError::UnderWay(_)) => Ok(()),
            Err(TransactionError::Ledger(error)) => Err(error.into()),
            Err(error) => end("refund.failed", error.to_string()).await,
        }
    }

    fn order_of(&self, refund: &Refund) -> Order {
        Order {
            purpose: Purpose::Terminate,
            subject: refund.key.to_string(),
            to: self.config().contract,
            data: Bytes::from(contract::terminate(refund.key.id)),
            value: U256::ZERO,
            most_cost: None,
        }
    }

    /// Whether gas is a small part of what is left on `stream` at `now`, and not more than was earned.
    async fn is_worth_its_gas(
        &self,
        queue: &Queue,
        refund: &Refund,
        stream: &Stream,
        now: u128,
    ) -> Result<Judgement, WithdrawError> {
        let vested = stream.vested(now);
        let rest = stream.deposit.saturating_sub(vested);
        let Order { to, data, value, .. } = self.order_of(refund);
        let plan = queue.sender().plan(Some(to), data, value).await;
        let plan = match plan {
            Ok(plan) => plan,
            Err(error @ (SendError::Reverts(_) | SendError::Refused(_) | SendError::Unsigned)) => {
                return Ok(Judgement::NotWorth(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let cost = plan.expected_cost;
        let amounts = [(rest, GAS_PERCENT), (vested, 100)];
        let [Some(share), Some(earned)] = self.gas_shares(stream.token, amounts).await? else {
            let text = "no rate of its money is known, and so not whether that is worth the gas";
            return Ok(Judgement::NotWorth(text.to_owned()));
        };
        Ok(if cost > share {
            Judgement::NotWorth(format!(
                "gas would cost {cost} wei, more than {GAS_PERCENT} % of what would go back ({share} wei)"
            ))
        } else if cost > earned {
            let text = format!("gas would cost {cost} wei, more than the rental earned ({earned} wei)");
            Judgement::NotWorth(text)
        } else {
            Judgement::Worth(Box::new(plan))
        })
    }
}
