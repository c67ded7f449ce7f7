//! Following a transaction until its fate is known.
//!
//! ```text
//!   recorded ─► sent ─► looked at ─┬─► mined: a receipt
//!      ▲                  ▲  │     ├─► lost: another transaction has its number, said again and again for a while
//!      │                  └──┘     ├─► under way: the deadline has passed, or the endpoint fails
//!      └──── a higher fee ◄────────┘   in no block for long
//! ```
//! Owns the order: an attempt is recorded before it is sent, and all attempts of one transaction share a number, of which a
//! chain takes one. So a crash anywhere leads to the same bytes being sent again, and nothing is paid for twice. Never
//! keeps anything, and never decides that something is worth sending.

use std::time::Duration;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::rpc::ChainError;
use crate::sender::{Receipt, SendError, Sender};
use crate::transaction::{SignedTransaction, Transaction};

/// How often in a row an endpoint has to say that another transaction has the number until that is believed: of several
/// nodes behind one address, the one that is asked for the receipt may lag behind.
const LOST_LOOKS: u32 = 3;

/// How long it has to say so, besides: some endpoints have a receipt only a while after they count its transaction. What is
/// believed lost too early may be paid for twice.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// How often a transaction that was taken is sent again, in case that the endpoint forgot it.
const SEND_AGAIN: Duration = Duration::from_secs(10);

/// A transaction that can be sent, and sent again until its fate is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What it says.
    pub transaction: Transaction,
    /// Its bytes.
    pub signed: SignedTransaction,
}

/// How long, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How often it is looked at.
    pub poll: Duration,
    /// How long the newest attempt may be in no block until the fee is raised.
    pub stuck: Duration,
    /// Most attempts; each pays an eighth more than the one before.
    pub attempts: usize,
    /// How long it is followed.
    pub deadline: Duration,
    /// After how many failures in a row the endpoint is taken to be down.
    pub failures: u32,
    /// How long a receipt has to be missing until another transaction is believed to have the number; usually
    /// [`LOST_AFTER`].
    pub lost: Duration,
}

/// Who keeps the attempts of a transaction.
pub trait Recorder {
    /// Why an attempt cannot be kept, and why the pursuit ends.
    type Error: From<SendError>;

    /// Keeps `attempt`, which has a higher fee and is sent next; one that cannot be kept is never sent.
    fn record(&mut self, attempt: &Attempt) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The chain's node took an attempt.
    fn sent(&mut self) {}

    /// It is in no block yet, after `time`.
    fn waiting(&mut self, time: Duration) {
        let _ = time;
    }
}

/// For a transaction that a crash may forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrecorded;

impl Recorder for Unrecorded {
    type Error = SendError;

    async fn record(&mut self, _: &Attempt) -> Result<(), SendError> {
        Ok(())
    }
}

/// What became of a transaction.
#[derive(Debug)]
pub enum Fate {
    /// It is in a block.
    Mined(Receipt),
    /// It never will be in one: another transaction of the wallet has its number.
    Lost,
    /// It is in none yet; or that is not known, because the endpoint fails.
    UnderWay(Option<ChainError>),
}

/// A transaction that is followed.
#[derive(Debug)]
pub struct Pursuit {
    /// The same transaction with ever higher fees, the lowest first.
    attempts: Vec<Attempt>,
    limits: Limits,
    /// When the newest attempt was made, and how long before that it was already.
    newest: (Instant, Duration),
    /// When the chain's node last took an attempt.
    sent: Option<Instant>,
    /// Looks in a row that said that another transaction has the number, and when the first of them was.
    lost: Option<(u32, Instant)>,
}

impl Pursuit {
    /// Follows `attempts`, all of one transaction and recorded, the one with the lowest fee first. With none there is nothing
    /// to wait for.
    #[must_use]
    pub fn new(attempts: Vec<Attempt>, limits: Limits) -> Self {
        Self { attempts, limits, newest: (Instant::now(), Duration::ZERO), sent: None, lost: None }
    }

    /// The newest attempt was made `before` ago, by an earlier process maybe.
    #[must_use]
    pub fn waited(mut self, before: Duration) -> Self {
        self.newest.1 = before;
        self
    }

    /// The chain's node has just taken the newest attempt from the caller.
    #[must_use]
    pub fn sent(mut self) -> Self {
        self.sent = Some(Instant::now());
        self
    }

    /// Follows the transaction of `sender` until its fate is known, or the limits are reached.
    ///
    /// # Errors
    /// Those of `recorder`; [`SendError::Unsigned`].
    pub async fn follow<R: Recorder>(mut self, sender: &Sender, recorder: &mut R) -> Result<Fate, R::Error> {
        let began = Instant::now();
        let mut failures = 0;
        loop {
            let before = self.sent;
            let problem = match self.look(sender).await {
                Ok(Some(fate)) => return Ok(fate),
                Ok(None) => {
                    failures = 0;
                    None
                }
                Err(error) => {
                    failures += 1;
                    Some(error)
                }
            };
            if self.sent != before {
                recorder.sent();
            }
            if failures >= self.limits.failures || began.elapsed() >= self.limits.deadline {
                return Ok(Fate::UnderWay(problem));
            }
            if let Some(newest) = self.attempts.last()
                && self.newest.0.elapsed().saturating_add(self.newest.1) >= self.limits.stuck
                && self.attempts.len() < self.limits.attempts
            {
                let (transaction, signed) = sender.replacement(&newest.transaction)?;
                let attempt = Attempt { transaction, signed };
                recorder.record(&attempt).await?;
                self.attempts.push(attempt);
                self.newest = (Instant::now(), Duration::ZERO);
                self.sent = None;
                continue;
            }
            recorder.waiting(began.elapsed());
            sleep(self.limits.poll).await;
        }
    }

    /// What became of the attempts; `None`, after sending what has to be sent, if that is not known yet.
    async fn look(&mut self, sender: &Sender) -> Result<Option<Fate>, ChainError> {
        let hashes: Vec<B256> = self.attempts.iter().map(|attempt| attempt.signed.hash).collect();
        let standing = sender.standing(&hashes).await?;
        if let Some(receipt) = standing.receipts.into_iter().flatten().next() {
            return Ok(Some(Fate::Mined(receipt)));
        }
        if self.attempts.iter().all(|attempt| standing.mined > attempt.transaction.nonce) {
            let (looks, first) = self.lost.unwrap_or_else(|| (0, Instant::now()));
            self.lost = Some((looks.saturating_add(1), first));
            let believed = looks + 1 >= LOST_LOOKS && first.elapsed() >= self.limits.lost;
            return Ok((believed || self.attempts.is_empty()).then_some(Fate::Lost));
        }
        self.lost = None;
        if self.sent.is_some_and(|at| at.elapsed() < SEND_AGAIN) {
            return Ok(None);
        }
        for attempt in self.attempts.iter().rev() {
            match sender.send(&attempt.signed.raw).await {
                Ok(()) => {
                    self.sent = Some(Instant::now());
                    break;
                }
                Err(SendError::Chain(error)) => return Err(error),
                // Mined meanwhile, most likely, or the wallet cannot pay the higher fee, or the node wants
                // it later: the next look tells.
                Err(error) => tracing::debug!(%error, "the chain's node did not take a transaction"),
            }
        }
        Ok(None)
    }
}
