//! How a wallet's transactions come into blocks.
//!
//! ```text
//!   rows that are open ─► look: numbers and receipts, one round trip ─► [`decide`] ─► record ─► send
//! ```
//! Owns what follows from a look: what is signed is in the ledger before it is sent. Never looks more often than the pace
//! allows, however many transactions wait and whoever asks.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use golem_chain::{ChainError, Plan, Receipt, SendError, Sender, Standing};
use golem_types::Decimal;
use jiff::Timestamp;
use ruint::aliases::U256;
use tokio::time::Instant;

use super::made_plans::Plans;
use super::plan::{Flight, Numbers, Pace, Step, decide};
use super::report::Report;
use super::rules::{GasRules, today};
use super::work::{Entry, Work, report};
use crate::backoff::doubled;
use crate::crash::crash_point;
use crate::ledger::{Account, Ledger, LedgerError, Order, Purpose, Transaction, TransactionState, Try};

/// How long what cannot be sent yet, for its price or for want of money, is left alone.
const HOLD: Duration = Duration::from_secs(30);

/// Longest such time; it is doubled with each.
const HOLD_MOST: Duration = Duration::from_secs(600);

/// How long an endpoint is not believed that says less of our numbers than another answer did. A chain that really went back
/// is believed after that.
const FLOOR: Duration = Duration::from_secs(60);

/// Most gas that is tried where less was too little.
const GAS_MOST: u64 = 2_000_000;

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

#[derive(Debug)]
pub(super) struct Driver {
    pub(super) account: Account,
    pub(super) sender: Sender,
    pub(super) ledger: Ledger,
    pub(super) rules: GasRules,
    pub(super) pace: Pace,
    pub(super) plans: Plans,
}

impl Driver {
    /// Looks and acts, if it is time to; tells how it stands then.
    pub(super) async fn advance(&self, work: &mut Work) -> Option<Report> {
        if work.due.is_none_or(|due| Instant::now() < due) {
            return None;
        }
        let problem = match self.look(work).await {
            Ok(()) => {
                work.failures = 0;
                None
            }
            Err(error) => {
                work.failures = work.failures.saturating_add(1);
                golem_service::log_limited!(
                    warn,
                    error = &error as &dyn std::error::Error,
                    chain = self.account.chain_id,
                    "transactions cannot be followed; they go on later"
                );
                Some(error.to_string())
            }
        };
        // What ended is gone, and what is to be done again is there.
        let has_ended = work.entries.values().any(|entry| !entry.row.state.is_open());
        if (has_ended || problem.is_some())
            && let Err(error) = self.read(work).await
        {
            golem_service::log_limited!(
                error,
                error = &error as &dyn std::error::Error,
                "transactions cannot be read"
            );
        }
        let now = Instant::now();
        work.looked = Some(now);
        work.due = (!work.entries.is_empty()).then(|| now + self.pause(work, now));
        Some(report(work, problem))
    }

    /// How long nothing is looked at: an eighth of the time for which the oldest already waits.
    fn pause(&self, work: &Work, now: Instant) -> Duration {
        let Pace { poll, poll_most, .. } = self.pace;
        if work.failures > 0 {
            return doubled(poll, work.failures, poll_most);
        }
        let in_flight = work.entries.values().filter(|entry| entry.row.nonce.is_some());
        let (count, oldest) = in_flight.fold((0, None), |(count, oldest), entry| {
            (count + 1, oldest.max(Some(now.saturating_duration_since(entry.made))))
        });
        let has_room = count < self.pace.in_flight && oldest.is_none_or(|age| age < self.pace.stuck);
        let free = |entry: &Entry| entry.row.nonce.is_none() && entry.hold.is_none();
        let can_plan = has_room && work.entries.values().any(free);
        let held = work.entries.values().filter_map(|entry| entry.hold).min();
        let planned =
            if can_plan { Some(poll) } else { held.map(|hold| hold.saturating_duration_since(now)) };
        let waits = oldest.map(|age| age / 8);
        [planned, waits].into_iter().flatten().min().unwrap_or(poll).clamp(poll, poll_most)
    }

    /// Takes over what the ledger has.
    async fn read(&self, work: &mut Work) -> Result<(), LedgerError> {
        work.merge(self.ledger.open_transactions(Some(self.account)).await?);
        work.spent = self.ledger.gas_spent(self.account, today()).await?;
        Ok(())
    }

    async fn look(&self, work: &mut Work) -> Result<(), LookError> {
        self.read(work).await?;
        if work.entries.is_empty() {
            return Ok(());
        }
        let attempts = work.entries.values().flat_map(|entry| &entry.row.attempts);
        let hashes: Vec<B256> = attempts.map(|attempt| attempt.signed.hash).collect();
        let standing = self.sender.standing(&hashes).await?;
        let found: BTreeMap<B256, &Receipt> =
            standing.receipts.iter().flatten().map(|receipt| (receipt.hash, receipt)).collect();
        let now = Instant::now();
        let mut flights = Vec::new();
        for entry in work.entries.values() {
            flights.extend(self.flight(entry, &found, now, work));
        }
        flights.sort_by_key(|flight: &Flight| (flight.nonce, flight.id));
        let numbers = self.numbers(work, &flights, &standing, now);
        for entry in work.entries.values_mut() {
            entry.hold = entry.hold.filter(|hold| *hold > now);
            if entry.row.nonce.is_some_and(|nonce| nonce >= numbers.mined) {
                entry.overtaken = None;
            }
        }
        let free = |entry: &&Entry| entry.row.nonce.is_none() && entry.hold.is_none();
        let planned = work.entries.values().filter(free).count();
        let steps = decide(&flights, planned, &numbers, &self.pace);
        work.gap = if steps.contains(&Step::Gap) { work.gap + 1 } else { 0 };
        for step in steps {
            self.act(step, work, &found).await?;
        }
        Ok(())
    }

    /// What is left of the gas of today, if all that is under way costs as much as it can; `None` if there is no limit.
    fn left_today(&self, work: &Work) -> Option<U256> {
        let limit = self.rules.daily_limit?;
        let newest = work.entries.values().filter_map(|entry| entry.row.attempts.last());
        let reserved = newest.map(|attempt| attempt.transaction.most_gas_cost());
        let used = reserved.fold(work.spent, U256::saturating_add);
        Some(limit.saturating_sub(used))
    }

    fn flight(
        &self,
        entry: &Entry,
        found: &BTreeMap<B256, &Receipt>,
        now: Instant,
        work: &Work,
    ) -> Option<Flight> {
        let row = &entry.row;
        let newest = row.attempts.last()?;
        let since = |at: Instant| now.saturating_duration_since(at);
        // A number that was asked a higher fee for gets one at once.
        let age = if entry.is_outbid { self.pace.again_most.max(self.pace.stuck) } else { since(entry.made) };
        let raised = newest.transaction.fee.replacing().most();
        let more = U256::from(newest.transaction.gas)
            .saturating_mul(U256::from(raised.saturating_sub(newest.transaction.fee.most())));
        let is_over_limit = self.left_today(work).is_some_and(|left| more > left);
        Some(Flight {
            id: row.id,
            nonce: row.nonce?,
            found: row.attempts.iter().any(|attempt| found.contains_key(&attempt.signed.hash)),
            cancel: row.cancel,
            newest_cancels: row.is_cancel(newest),
            attempts: row.attempts.len(),
            at_cap: raised > self.sender.maximum_price() || is_over_limit,
            age,
            sent: entry.sent.map(since),
            sends: entry.sends,
            overtaken: entry.overtaken.map_or(0, |(looks, _)| looks),
            overtaken_for: entry.overtaken.map(|(_, first)| since(first)).unwrap_or_default(),
        })
    }

    fn numbers(&self, work: &mut Work, flights: &[Flight], standing: &Standing, now: Instant) -> Numbers {
        let Standing { mined, pending, .. } = *standing;
        let is_ours = flights.iter().any(|flight| flight.nonce == mined);
        let is_foreign = pending > mined && !is_ours;
        let since = work.foreign.filter(|(nonce, _)| *nonce == mined).map_or(now, |(_, since)| since);
        work.foreign = is_foreign.then_some((mined, since));
        work.floor = work.floor.filter(|(_, since)| now.saturating_duration_since(*since) < FLOOR);
        Numbers {
            mined,
            pending,
            floor: work.floor.map_or(0, |(floor, _)| floor),
            gap: work.gap,
            foreign: is_foreign.then(|| now.saturating_duration_since(since)),
        }
    }

    async fn act(
        &self,
        step: Step,
        work: &mut Work,
        found: &BTreeMap<B256, &Receipt>,
    ) -> Result<(), LookError> {
        let id = match step {
            Step::Gap => return Ok(()),
            Step::Fill(nonce) => return self.fill(work, nonce).await,
            Step::Plan(nonce) => return self.plan_next(work, nonce).await,
            Step::Settle(id)
            | Step::Overtaken(id)
            | Step::Lost(id)
            | Step::Cancel(id)
            | Step::Raise(id)
            | Step::Send(id) => id,
        };
        let Some(entry) = work.entries.get_mut(&id) else { return Ok(()) };
        match step {
            Step::Settle(_) => {
                let used = entry.row.nonce.map_or(0, |nonce| nonce.saturating_add(1));
                let floor = work.floor.map_or(0, |(floor, _)| floor);
                work.floor = Some((floor.max(used), Instant::now()));
                self.settle(entry, found).await
            }
            Step::Overtaken(_) => {
                let (looks, first) = entry.overtaken.unwrap_or_else(|| (0, Instant::now()));
                entry.overtaken = Some((looks.saturating_add(1), first));
                Ok(())
            }
            Step::Lost(_) => self.lose(entry).await,
            Step::Cancel(_) => self.cancel(entry).await,
            Step::Raise(_) => self.raise(entry).await,
            Step::Send(_) => self.send(entry).await,
            Step::Gap | Step::Fill(_) | Step::Plan(_) => Ok(()),
        }
    }

    async fn keep(&self, row: &Transaction) -> Result<(), LedgerError> {
        self.ledger.keep_transaction(row.clone(), Timestamp::now()).await
    }

    /// Writes down what the receipt of one of the attempts says.
    async fn settle(&self, entry: &mut Entry, found: &BTreeMap<B256, &Receipt>) -> Result<(), LookError> {
        let row = &mut entry.row;
        let mut found = row
            .attempts
            .iter()
            .filter_map(|attempt| found.get(&attempt.signed.hash).map(|receipt| (attempt, *receipt)));
        let Some((attempt, receipt)) = found.next() else { return Ok(()) };
        if receipt.gas_cost() > attempt.transaction.most_gas_cost() {
            return Err(ChainError::Nonsense("a receipt that costs more than was allowed").into());
        }
        let (gas, cancels) = (attempt.transaction.gas, row.is_cancel(attempt));
        row.ends_by(receipt, cancels);
        let more = gas.saturating_mul(2);
        if receipt.ran_out_of(gas) && !cancels && row.successor.is_none() && more <= GAS_MOST {
            tracing::warn!(hash = %receipt.hash, gas, "a transaction ran out of gas, and is sent again with more");
            row.error = Some(format!("{gas} gas were too little; it is sent again with more"));
            self.ledger.repeat_transaction(row.clone(), more, Timestamp::now()).await?;
            return Ok(());
        }
        if !receipt.succeeded {
            row.error = Some("the contract refused it".to_owned());
        }
        tracing::info!(
            purpose = row.order.purpose.as_str(),
            subject = row.order.subject,
            hash = %receipt.hash,
            state = row.state.as_str(),
            cost_wei = %receipt.cost,
            "a transaction is in a block"
        );
        Ok(self.keep(row).await?)
    }

    /// Another transaction of the wallet has the number.
    async fn lose(&self, entry: &mut Entry) -> Result<(), LookError> {
        let row = &mut entry.row;
        tracing::warn!(
            nonce = row.nonce,
            chain = self.account.chain_id,
            "another transaction of the node's wallet took the number of one of ours; is the key used elsewhere?"
        );
        row.error = Some(
            "another transaction of the same wallet took its number; is the key used elsewhere?".to_owned(),
        );
        row.state = if row.cancel { TransactionState::Cancelled } else { TransactionState::Lost };
        // What is swept follows from what the wallet has then: a payout is never sent a second time as it was. What has a
        // successor was in a block that is gone, and is done again already.
        let is_done = row.cancel || row.successor.is_some();
        if is_done || matches!(row.order.purpose, Purpose::Gap | Purpose::Sweep) {
            return Ok(self.keep(row).await?);
        }
        self.ledger.repeat_transaction(row.clone(), row.least_gas, Timestamp::now()).await?;
        Ok(())
    }

    /// Records `plan` as the newest attempt, and sends it.
    async fn attempt(&self, entry: &mut Entry, plan: &Plan) -> Result<(), LookError> {
        let Plan { transaction, .. } = plan;
        let signed = match self.sender.sign(plan) {
            Ok(signed) => signed,
            Err(error) => return self.hold(entry, error.to_string()).await,
        };
        crash_point!("transaction-before-record");
        let row = &mut entry.row;
        row.nonce = Some(transaction.nonce);
        row.attempts.push(Try { transaction: transaction.clone(), signed, at: Timestamp::now() });
        row.state = TransactionState::Recorded;
        row.error = None;
        self.keep(row).await?;
        crash_point!("transaction-recorded");
        (entry.made, entry.sent, entry.sends, entry.is_outbid) = (Instant::now(), None, 0, false);
        (entry.hold, entry.holds) = (None, 0);
        self.send(entry).await
    }

    /// Leaves what cannot be sent now alone for a while, and keeps why.
    async fn hold(&self, entry: &mut Entry, why: String) -> Result<(), LookError> {
        let hold = doubled(HOLD, entry.holds, HOLD_MOST);
        (entry.hold, entry.holds) = (Some(Instant::now() + hold), entry.holds.saturating_add(1));
        if entry.row.error.as_ref() == Some(&why) {
            return Ok(());
        }
        tracing::warn!(
            purpose = entry.row.order.purpose.as_str(),
            subject = entry.row.order.subject,
            why,
            "a transaction has to wait"
        );
        entry.row.error = Some(why);
        Ok(self.keep(&entry.row).await?)
    }

    async fn send(&self, entry: &mut Entry) -> Result<(), LookError> {
        let Some(newest) = entry.row.attempts.last() else { return Ok(()) };
        let is_again = entry.sent.is_some();
        let sent = self.sender.send(&newest.signed.raw).await;
        crash_point!("transaction-sent");
        (entry.sent, entry.sends) = (Some(Instant::now()), entry.sends.saturating_add(1));
        let (state, error) = match sent {
            Ok(()) => {
                if is_again {
                    entry.sent_again = Some(Timestamp::now());
                    tracing::info!(nonce = entry.row.nonce, "a transaction was dropped, and is sent again");
                }
                (TransactionState::Sent, None)
            }
            Err(SendError::Chain(error)) => return Err(error.into()),
            // Mined meanwhile, or the wallet cannot pay for it, or it is to be sent later: the next look tells.
            Err(error) => {
                entry.is_outbid = error.to_string().contains("underpriced");
                tracing::debug!(%error, nonce = entry.row.nonce, "the chain's node did not take a transaction");
                (entry.row.state, Some(error.to_string()))
            }
        };
        if (entry.row.state, &entry.row.error) != (state, &error) {
            (entry.row.state, entry.row.error) = (state, error);
            self.keep(&entry.row).await?;
        }
        Ok(())
    }

    async fn raise(&self, entry: &mut Entry) -> Result<(), LookError> {
        let Some(newest) = entry.row.attempts.last() else { return Ok(()) };
        let mut transaction = newest.transaction.clone();
        transaction.fee = transaction.fee.replacing();
        // What is not ours and waits at the number may pay anything: it is outbid by doubling.
        if entry.is_outbid {
            (0..5).for_each(|_| transaction.fee = transaction.fee.replacing());
        }
        tracing::info!(nonce = entry.row.nonce, "a transaction waits for long; its fee is raised");
        let plan = Plan { transaction, expected_cost: U256::ZERO, l1_fee: U256::ZERO, balance: U256::MAX };
        self.attempt(entry, &plan).await
    }

    /// Sends one that does nothing in place of what `entry` should do.
    async fn cancel(&self, entry: &mut Entry) -> Result<(), LookError> {
        let Some(newest) = entry.row.attempts.last() else { return Ok(()) };
        let (nonce, fee) = (newest.transaction.nonce, newest.transaction.fee.replacing());
        match self.sender.plan(Some(self.account.wallet), Bytes::new(), U256::ZERO).await {
            Ok(mut plan) => {
                plan.transaction.nonce = nonce;
                plan.transaction.fee = plan.transaction.fee.at_least(fee);
                self.attempt(entry, &plan).await
            }
            Err(SendError::Chain(error)) => Err(error.into()),
            Err(error) => self.hold(entry, error.to_string()).await,
        }
    }

    /// Uses `nonce`, which nothing of ours has, for one that does nothing.
    async fn fill(&self, work: &mut Work, nonce: u64) -> Result<(), LookError> {
        let chain = self.account.chain_id;
        tracing::warn!(nonce, chain, "a number of the wallet that holds up others is used up");
        let order = Order {
            purpose: Purpose::Gap,
            subject: nonce.to_string(),
            to: self.account.wallet,
            data: Bytes::new(),
            value: U256::ZERO,
            most_cost: None,
        };
        let left = self.left_today(work);
        let id = self.ledger.want_transaction(self.account, order, Timestamp::now()).await?;
        let Some(row) = self.ledger.transaction(id).await? else { return Ok(()) };
        let entry = work.entries.entry(id).or_insert_with(|| Entry::new(row));
        if entry.row.nonce.is_none() { self.plan(entry, nonce, left).await } else { Ok(()) }
    }

    /// Gives `nonce` to what should go first.
    async fn plan_next(&self, work: &mut Work, nonce: u64) -> Result<(), LookError> {
        let left = self.left_today(work);
        let free = |entry: &&mut Entry| entry.row.nonce.is_none() && entry.hold.is_none();
        let first = work.entries.values_mut().filter(free);
        match first.min_by_key(|entry| (entry.row.order.purpose, entry.row.id)) {
            Some(entry) => self.plan(entry, nonce, left).await,
            None => Ok(()),
        }
    }

    /// Gives `nonce` to `entry`, which may cost no more than is `left` of today's gas.
    async fn plan(&self, entry: &mut Entry, nonce: u64, left: Option<U256>) -> Result<(), LookError> {
        if left.is_some_and(|left| left.is_zero()) {
            return self.hold(entry, self.limit_reached()).await;
        }
        let most_cost = entry.row.order.most_cost;
        let order = &entry.row.order;
        let planned = match self.plans.take(entry.row.id, order) {
            Some(plan) => Ok(plan),
            None => self.sender.plan(Some(order.to), order.data.clone(), order.value).await,
        };
        let mut plan = match planned {
            Ok(plan) => plan,
            Err(SendError::Chain(error)) => return Err(error.into()),
            Err(error @ SendError::Reverts(_)) => return self.refuse(entry, error.to_string()).await,
            Err(error) => return self.hold(entry, error.to_string()).await,
        };
        if let Some(most) = most_cost.filter(|most| plan.expected_cost > *most) {
            let cost = plan.expected_cost;
            return self.refuse(entry, format!("gas would cost {cost} wei, more than {most} wei")).await;
        }
        plan.transaction.nonce = nonce;
        plan.transaction.gas = plan.transaction.gas.max(entry.row.least_gas);
        let worst = plan.transaction.most_gas_cost().saturating_add(plan.l1_fee);
        if left.is_some_and(|left| worst > left) {
            return self.hold(entry, self.limit_reached()).await;
        }
        self.attempt(entry, &plan).await
    }

    fn limit_reached(&self) -> String {
        let limit = Decimal::from_atto(self.rules.daily_limit.unwrap_or_default());
        format!(
            "gas could cost more than what is left of today's {limit} coins; it goes on at midnight UTC; fix: wait, or raise \
             GOLEM_PROVIDER_DAILY_GAS_LIMIT"
        )
    }

    /// Ends what would do nothing, or cost too much, before anything is sent.
    async fn refuse(&self, entry: &mut Entry, why: String) -> Result<(), LookError> {
        tracing::info!(
            purpose = entry.row.order.purpose.as_str(),
            subject = entry.row.order.subject,
            why,
            "a transaction is not sent"
        );
        entry.row.state = TransactionState::Refused;
        entry.row.error = Some(why);
        Ok(self.keep(&entry.row).await?)
    }
}
