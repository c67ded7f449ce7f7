//! Streams and money as the operator sees them.
//!
//! Owns what is told of streams that may still pay, and the wallet's money for gas. Never decides what follows.

use golem_chain::ChainError;
use golem_chain::faucet::{ENOUGH, Work};
use golem_types::price::Rate;
use golem_types::{VmId, VmName, VmState};
use jiff::Timestamp;
use ruint::aliases::U256;

use super::{Payments, RefillError, StreamStatus};
use crate::ledger::{Entry, LedgerError, Withdrawal};
use crate::paid::StreamCopy;
use crate::vm::Unpaid;

/// A stream as the operator sees it.
#[derive(Debug, Clone)]
pub struct StreamLine {
    /// The rental that it pays for, or paid for last.
    pub vm: VmId,
    /// What its renter calls the rental, and where that stands; `None` once it has ended.
    pub rental: Option<(VmName, VmState)>,
    /// Since when and why the rental is not paid for.
    pub unpaid: Option<Unpaid>,
    /// What is known of the stream.
    pub status: StreamStatus,
}

/// Every stream that may still pay.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The streams, oldest rental first.
    pub streams: Vec<StreamLine>,
    /// Why they are as they were last read, and not as they are now.
    pub stale: Option<String>,
}

impl Payments {
    /// Every stream that may still pay, read now; as last read where the chain cannot be asked.
    pub async fn overview(&self) -> Overview {
        let copies = self.known();
        let keys: Vec<_> = copies.iter().map(|copy| (copy.vm.clone(), copy.key.clone())).collect();
        let (statuses, stale) = match self.statuses(&keys).await {
            Ok(statuses) => (statuses, None),
            Err(error) => (self.remembered(copies), Some(error.to_string())),
        };
        let live = self.0.ledger.now();
        let line = |status: StreamStatus| {
            let vm = live.get(&status.vm).map(|rental| &rental.vm);
            StreamLine {
                vm: status.vm.clone(),
                rental: vm.map(|vm| (vm.name.clone(), vm.state)),
                unpaid: vm.and_then(|vm| vm.unpaid.clone()),
                status,
            }
        };
        let mut streams: Vec<_> = statuses.into_iter().map(line).collect();
        streams.sort_by(|a, b| (a.status.stream.start, &a.vm).cmp(&(b.status.stream.start, &b.vm)));
        Overview { streams, stale }
    }

    /// The copies as statuses, at the time that the chain probably has.
    fn remembered(&self, copies: Vec<StreamCopy>) -> Vec<StreamStatus> {
        let here = Timestamp::now();
        let status = |copy: StreamCopy| {
            let now = self.0.reader.time().unwrap_or_else(|| copy.estimated_now(here));
            let verdict = golem_chain::judge::judge(&copy.stream, &self.terms_of(&copy.stream), now);
            StreamStatus { vm: copy.vm, key: copy.key, stream: copy.stream, now, verdict }
        };
        copies.into_iter().map(status).collect()
    }

    /// Every withdrawal since `since`, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn withdrawals(&self, since: Timestamp) -> Result<Vec<Withdrawal>, LedgerError> {
        let all = self.0.ledger.withdrawals(since).await?;
        Ok(all.into_iter().filter(|withdrawal| withdrawal.key.contract == self.0.contract).collect())
    }

    /// The newest block whose payments count as settled; `None` before the books were read.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn settled_block(&self) -> Result<Option<u64>, LedgerError> {
        let read = self.0.ledger.book_blocks(self.0.contract.clone()).await?;
        Ok(read.first().map(|block| block.number.saturating_sub(self.config().confirmations)))
    }

    /// Every entry of the books since `since`, also those that were taken back, oldest first.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn entries(&self, since: Timestamp) -> Result<Vec<Entry>, LedgerError> {
        self.0.ledger.entries(since).await
    }

    /// The rate of `coin` that was believed last.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn rate(&self, coin: &str) -> Result<Option<Rate>, LedgerError> {
        self.0.ledger.rate(coin).await
    }

    /// Asks the faucet for money for gas, unless the wallet has enough; gives the transaction.
    ///
    /// # Errors
    /// [`RefillError`].
    pub async fn refill(&self, work: &Work) -> Result<Option<String>, RefillError> {
        let faucet = self.config().faucet.as_ref().ok_or(RefillError::NoFaucet)?;
        if self.balance().await? >= ENOUGH {
            return Ok(None);
        }
        Ok(Some(faucet.request(self.config().wallet.address(), work).await?))
    }

    /// What the wallet has of the chain's own money, in wei.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn balance(&self) -> Result<U256, ChainError> {
        self.0.queue.sender().balance().await
    }
}
