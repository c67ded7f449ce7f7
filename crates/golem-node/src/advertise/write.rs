//! One transaction, from its bytes to its receipt.

use std::time::Duration;

use alloy_primitives::U256;
use golem_chain::pursuit::{Attempt, Fate, Limits, Pursuit, Unrecorded};
use golem_chain::{Receipt, SendError};
use golem_market::arkiv::Operation;
use jiff::Timestamp;
use tokio::time::Instant;

use super::problem::Problem;
use super::task::Task;
use crate::ledger::AdvertWrite;

const HOUR: Duration = Duration::from_secs(3600);

/// Most attempts of a transaction that waits; each pays an eighth more.
const ATTEMPTS: u32 = 6;

/// Steps by which the fee is raised above an unknown waiting one: six eighths more double it.
const RAISE: u32 = 6;

/// Most such steps: 64 times the usual fee.
const RAISE_MOST: u32 = 36;

impl Task {
    /// Does `operations` in one transaction, and waits for its receipt; or does nothing, when an earlier
    /// one came into a block: then it has to be looked at again.
    pub(super) async fn write(&mut self, operations: &[Operation]) -> Result<(), Problem> {
        self.check_allowance()?;
        let generation = self.client.generation();
        let data = generation.calldata(operations, salt());
        let mut plan = self.sender.plan(Some(generation.address()), data, U256::ZERO).await?;
        let mined = self.sender.mined().await?;
        if plan.transaction.nonce > mined {
            // Sent by an earlier run, or given up on: the next write takes its place.
            let since = *self.waiting.get_or_insert_with(Instant::now);
            if since.elapsed() < self.config.pace.stuck {
                return Err(Problem::Waiting);
            }
            plan.transaction.nonce = mined;
            for _ in 0..self.raised {
                plan.transaction.fee = plan.transaction.fee.replacing();
            }
        } else {
            self.raised = 0;
            if self.waiting.take().is_some() {
                // It came into a block, perhaps after the look that led here.
                return Ok(());
            }
        }
        let signed = self.sender.sign(&plan)?;
        match self.sender.send(&signed.raw).await {
            Ok(()) => {}
            Err(SendError::Refused(message)) if message.contains("underpriced") => {
                self.raised = (self.raised + RAISE).min(RAISE_MOST);
                return Err(Problem::Outbid);
            }
            Err(error) => return Err(error.into()),
        }
        self.recent.push_back(Instant::now());
        let receipt = match self.receipt(Attempt { transaction: plan.transaction, signed }).await {
            Err(Problem::Waiting) => {
                self.waiting.get_or_insert_with(Instant::now);
                return Err(Problem::Waiting);
            }
            done => done?,
        };
        self.waiting = None;
        self.written = receipt.block;
        self.record(operations, &receipt).await;
        if receipt.succeeded { Ok(()) } else { Err(Problem::Refused(receipt.hash)) }
    }

    /// Refuses when so much is written that something must be wrong.
    fn check_allowance(&mut self) -> Result<(), Problem> {
        while self.recent.front().is_some_and(|at| at.elapsed() > HOUR) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.config.pace.hourly {
            return Err(Problem::TooMany(self.recent.len()));
        }
        Ok(())
    }

    /// The receipt of `attempt`, which was just sent, or of what took its place. An endpoint that fails meanwhile
    /// says nothing about it.
    async fn receipt(&self, attempt: Attempt) -> Result<Receipt, Problem> {
        let pace = self.config.pace;
        let limits = Limits {
            poll: pace.receipt,
            stuck: pace.stuck,
            attempts: ATTEMPTS as usize,
            deadline: pace.stuck.saturating_mul(ATTEMPTS),
            failures: u32::MAX,
        };
        // What is written next follows from what the network shows.
        let pursuit = Pursuit::new(vec![attempt], limits).sent();
        match pursuit.follow(&self.sender, &mut Unrecorded).await? {
            Fate::Mined(receipt) => Ok(receipt),
            // Where it was overtaken, the next write finds that nothing waits any more, and looks anew.
            Fate::Lost | Fate::UnderWay(_) => Err(Problem::Waiting),
        }
    }

    async fn record(&self, operations: &[Operation], receipt: &Receipt) {
        let hash = receipt.hash;
        let kinds = operations.iter().map(Operation::kind).collect::<Vec<_>>().join(" ");
        tracing::info!(
            network = self.config.name,
            %hash,
            kinds,
            gas = receipt.gas_used,
            cost_wei = %receipt.cost,
            succeeded = receipt.succeeded,
            "advert written"
        );
        let write = AdvertWrite {
            at: Timestamp::now(),
            network: self.config.name.clone(),
            hash,
            kinds,
            succeeded: receipt.succeeded,
            gas: receipt.gas_used,
            cost: receipt.cost,
        };
        match self.ledger.record_advert_write(write).await {
            Ok(spent) => self.state.send_modify(|state| state.spent = spent),
            Err(error) => golem_service::log_limited!(
                error,
                error = &error as &dyn std::error::Error,
                "what an advert cost could not be recorded"
            ),
        }
    }
}

/// A number that nobody can guess; without randomness keys can be foretold, which harms nobody.
fn salt() -> u128 {
    let mut bytes = [0; 16];
    let _ = getrandom::fill(&mut bytes);
    u128::from_be_bytes(bytes)
}
