//! One transaction, from its bytes to its end.

use std::time::Duration;

use alloy_primitives::U256;
use golem_market::arkiv::Operation;
use jiff::Timestamp;
use tokio::time::Instant;

use super::problem::AdvertProblem;
use super::task::Task;
use crate::ledger::AdvertWrite;
use crate::transactions::{Mined, Order, Purpose, TransactionError};

const HOUR: Duration = Duration::from_secs(3600);

/// For how many times the time after which a fee is raised a write is waited for; it goes on after that.
const WAITS: u32 = 6;

/// For how many looks one is waited for that an earlier run sent.
const EARLIER: u32 = 10;

impl Task {
    /// Does `operations` in one transaction, and waits for its end; or does nothing, when an earlier one came into a block:
    /// then it has to be looked at again.
    pub(super) async fn write(&mut self, operations: &[Operation]) -> Result<(), AdvertProblem> {
        self.check_allowance()?;
        let name = self.config.name.clone();
        let earlier = self.queue.open(Purpose::Advert, &name).await?;
        if let Some(earlier) = earlier
            && !self.queue.give_up(earlier.id).await?
        {
            // Sent by an earlier run, or given up on.
            let ended = self.queue.wait(earlier.id, self.config.pace.receipt.saturating_mul(EARLIER)).await;
            return self.book("an earlier write", ended).await;
        }
        let generation = self.client.generation();
        let (to, data) = (generation.address(), generation.calldata(operations, salt()));
        // What would not work is told in words of its own.
        let plan = self.queue.sender().plan(Some(to), data.clone(), U256::ZERO).await?;
        plan.is_affordable()?;
        let order =
            Order { purpose: Purpose::Advert, subject: name, to, data, value: U256::ZERO, most_cost: None };
        let id = self.queue.submit_planned(order, plan).await?;
        self.recent.push_back(Instant::now());
        let ended = self.queue.wait(id, self.config.pace.stuck.saturating_mul(WAITS)).await;
        let kinds = operations.iter().map(Operation::kind).collect::<Vec<_>>().join(" ");
        self.book(&kinds, ended).await
    }

    /// Refuses when so much is written that something must be wrong.
    fn check_allowance(&mut self) -> Result<(), AdvertProblem> {
        while self.recent.front().is_some_and(|at| at.elapsed() > HOUR) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.config.pace.hourly {
            return Err(AdvertProblem::TooMany(self.recent.len()));
        }
        Ok(())
    }

    /// Records what a write that has `ended` cost.
    async fn book(
        &mut self,
        kinds: &str,
        ended: Result<Mined, TransactionError>,
    ) -> Result<(), AdvertProblem> {
        let (hash, gas, cost, succeeded) = match &ended {
            Ok(mined) => {
                self.written = mined.block;
                (mined.hash, mined.gas_used, mined.cost, true)
            }
            Err(TransactionError::Failed { hash, cost, gas_used, .. }) => (*hash, *gas_used, *cost, false),
            Err(TransactionError::UnderWay(None)) => return Err(AdvertProblem::Waiting),
            Err(TransactionError::UnderWay(Some(reason))) => return Err(AdvertProblem::Held(reason.clone())),
            // What is written next follows from what the network shows.
            Err(TransactionError::Cancelled) => return Ok(()),
            Err(error) => return Err(AdvertProblem::Held(error.to_string())),
        };
        tracing::info!(
            network = self.config.name,
            %hash,
            kinds,
            gas,
            cost_wei = %cost,
            succeeded,
            "advert written"
        );
        let write = AdvertWrite {
            at: Timestamp::now(),
            network: self.config.name.clone(),
            hash,
            kinds: kinds.to_owned(),
            succeeded,
            gas,
            cost,
        };
        match self.ledger.record_advert_write(write).await {
            Ok(spent) => self.state.send_modify(|state| state.spent = spent),
            Err(error) => golem_service::log_limited!(
                error,
                error = &error as &dyn std::error::Error,
                "what an advert cost could not be recorded"
            ),
        }
        if succeeded { Ok(()) } else { Err(AdvertProblem::Refused(hash)) }
    }
}

/// A number that nobody can guess; without randomness keys can be foretold, which harms nobody.
fn salt() -> u128 {
    let mut bytes = [0; 16];
    let _ = getrandom::fill(&mut bytes);
    u128::from_be_bytes(bytes)
}
