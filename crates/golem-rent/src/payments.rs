//! A rental's money: every transaction is recorded, then sent, then followed until its fate is known.
//!
//! ```text
//!   sign ─► record ─► send ─► look … ─► mined: booked │ lost, refused: told │ not known: goes on next time
//!              ▲                 │
//!              └── raise the fee ┘ in no block for long
//! ```
//! Owns that a crash anywhere neither pays twice nor forgets a payment: what is recorded is sent again
//! with the same number, which a chain takes once. Never decides to pay.

use std::time::Duration;

use alloy_primitives::B256;
use golem_chain::contract::v4::OpenLease;
use golem_chain::network::PaymentNetwork;
use golem_chain::pursuit::{Attempt, Fate, LOST_AFTER, Limits, Pursuit, Recorder};
use golem_chain::{Block, ChainError, Payer, Reader, Receipt, Rpc, SendError};
use golem_types::stream::number;
use golem_types::wire::Exact;
use golem_types::{Stream, StreamId, VmName};
use ruint::aliases::U256;

use super::payment_error::{PaymentError, TooFew};
use super::rental::{Payment, Pending, Rental, RentalOperation, RentalStep};
use super::store::WalletLock;
use super::{Event, Renter, crash_point};

/// How a transaction is followed, while somebody waits for it: its fee is raised after a few blocks of a slow chain, to
/// three and a half times the first at most. The next command goes on with one that is given up.
const LIMITS: Limits = Limits {
    poll: Duration::from_millis(500),
    stuck: Duration::from_secs(30),
    attempts: 11,
    deadline: Duration::from_secs(180),
    failures: 10,
    lost: LOST_AFTER,
};

/// How often an endpoint is asked that may be a few blocks behind the one that told of a transaction: for a stream that was paid
/// for, and for leave that was given. And the pause between.
const LOOKS: u32 = 15;
const LOOKS_APPROVED: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Most gas that is tried where less was too little.
const GAS_MOST: u64 = 2_000_000;

/// The money of one rental; holds the wallet.
pub struct Payments<'a> {
    renter: &'a Renter<'a>,
    payer: Payer,
    reader: Reader,
    _lock: WalletLock,
}

/// A rental whose transaction is followed, and kept in the renter's store.
struct InStore<'a> {
    renter: &'a Renter<'a>,
    rental: &'a mut Rental,
    newest: B256,
}

impl InStore<'_> {
    fn keep(&mut self, attempt: &Attempt) -> Result<(), PaymentError> {
        self.newest = attempt.signed.hash;
        let payment = self.rental.payment.as_mut();
        if let Some(pending) = payment.and_then(|payment| payment.pending.as_mut()) {
            pending.attempts.push(attempt.clone());
        }
        self.renter.store.keep(self.rental)?;
        self.renter.step("the transaction waits for long; it is sent with a higher fee");
        Ok(())
    }
}

impl Recorder for InStore<'_> {
    type Error = PaymentError;

    fn record(&mut self, attempt: &Attempt) -> impl Future<Output = Result<(), PaymentError>> + Send {
        std::future::ready(self.keep(attempt))
    }

    fn sent(&mut self) {
        crash_point!("rent-sent");
    }

    fn waiting(&mut self, time: Duration) {
        (self.renter.tell)(Event::Waiting("waiting for the transaction", time));
    }
}

/// The endpoints at `url`, or at the one that the renter named.
fn endpoints(renter: &Renter<'_>, url: &str) -> Result<Rpc, ChainError> {
    Rpc::new(renter.rpc_url.unwrap_or(url))
}

/// A reader of the stream of `payment` over `rpc`. A renter's own clock may be wrong by hours: whatever time the chain has is
/// taken.
fn reader(rpc: Rpc, payment: &Payment) -> Reader {
    Reader::new(rpc, payment.contract, payment.chain_id, true).of(payment.version())
}

impl<'a> Payments<'a> {
    /// The payments of the rental `name`, and the rental as it is now that no other command can pay for it.
    ///
    /// # Errors
    /// [`PaymentError::Store`] while another command has the wallet, or when there is no such rental;
    /// [`PaymentError::Free`], [`PaymentError::Chain`].
    pub fn of(renter: &'a Renter<'a>, name: &VmName) -> Result<(Self, Rental), PaymentError> {
        let lock = renter.store.lock()?;
        let rental = renter.store.rental(name)?;
        let payment = rental.payment.as_ref().ok_or(PaymentError::Free)?;
        Ok((Self::open(renter, payment, lock)?, rental))
    }

    /// The payments for a rental that is paid as `payment` says, for who has the wallet.
    ///
    /// # Errors
    /// [`PaymentError::Chain`].
    pub(super) fn open(
        renter: &'a Renter<'a>,
        payment: &Payment,
        lock: WalletLock,
    ) -> Result<Self, PaymentError> {
        let rpc = endpoints(renter, &payment.rpc_url)?;
        let place = (payment.contract, payment.token);
        let payer = Payer::new(rpc.clone(), renter.wallet.clone(), payment.chain_id, place)
            .capped(payment.max_gas_price.map(u128::from));
        Ok(Self { renter, payer, reader: reader(rpc, payment), _lock: lock })
    }

    /// Makes sure that the payment contract is there, and of its version: what is sent to an address without code is gone.
    ///
    /// # Errors
    /// [`PaymentError::Chain`].
    pub async fn check(&self) -> Result<(), PaymentError> {
        Ok(self.reader.check().await?)
    }

    /// Makes sure that the wallet can pay `amount` wei, before anything is written or sent.
    ///
    /// # Errors
    /// [`PaymentError::Funds`], [`PaymentError::NoGas`], [`PaymentError::Chain`].
    pub async fn afford(&self, payment: &Payment, amount: U256) -> Result<(), PaymentError> {
        let funds = self.payer.funds().await?;
        let wallet = self.payer.address();
        let network = || {
            let url = self.renter.rpc_url.unwrap_or(&payment.rpc_url);
            format!("{} (chain id {}, RPC {url})", payment.network, payment.chain_id)
        };
        if funds.token < amount {
            let missing = amount.saturating_sub(funds.token);
            let [has, needs, missing] = [funds.token, amount, missing].map(|wei| payment.coins(wei));
            let (symbol, from) = (payment.symbol.clone(), payment.coins_from.clone());
            let network = network();
            let few = TooFew { wallet, has, needs, missing, symbol, network, from };
            return Err(PaymentError::Funds(Box::new(few)));
        }
        if funds.native.is_zero() {
            let (network, from) = (network(), payment.coins_from.clone());
            return Err(PaymentError::NoGas { wallet, network, from });
        }
        Ok(())
    }

    /// The stream of `rental` as the chain has it, and the chain's time.
    ///
    /// # Errors
    /// [`PaymentError::Free`], [`PaymentError::Unseen`], [`PaymentError::Chain`].
    pub async fn stream(&self, rental: &Rental) -> Result<(Stream, u128), PaymentError> {
        stream(&self.reader, rental).await
    }

    /// Opens the stream that `rental` tells of, with what it takes; with `lease` where the contract wants one.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn pay(&self, rental: &mut Rental, lease: Option<&OpenLease>) -> Result<(), PaymentError> {
        let payment = rental.payment.as_ref().ok_or(PaymentError::Free)?;
        let (deposit, rate) = (payment.deposit.0, u128::try_from(payment.rate.0).unwrap_or(u128::MAX));
        let approved = self.approve(rental, deposit).await?;
        let provider = rental.provider_id;
        let open = async || match lease {
            Some(lease) => self.payer.open_lease(lease).await,
            None => self.payer.open(provider, deposit, rate).await,
        };
        let attempt = after(approved, open).await?;
        self.transact(rental, RentalOperation::Open, attempt).await
    }

    /// Adds `amount` wei to the stream of `rental`.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn top_up(&self, rental: &mut Rental, amount: U256) -> Result<(), PaymentError> {
        let (id, payment) = paid(rental)?;
        self.afford(payment, amount).await?;
        let approved = self.approve(rental, amount).await?;
        let attempt = after(approved, async || self.payer.top_up(id, amount).await).await?;
        self.transact(rental, RentalOperation::TopUp(Exact(amount)), attempt).await
    }

    /// Lets the contract take `amount` units of the token, unless it may already; whether that was needed.
    async fn approve(&self, rental: &mut Rental, amount: U256) -> Result<bool, PaymentError> {
        if self.payer.is_approved(amount).await? {
            return Ok(false);
        }
        let attempt = self.payer.approve(amount).await?;
        self.transact(rental, RentalOperation::Approve, attempt).await?;
        Ok(true)
    }

    /// Ends the stream of `rental`, unless it has ended already; what comes back is in its record then.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn terminate(&self, rental: &mut Rental) -> Result<(), PaymentError> {
        let (id, _) = paid(rental)?;
        let (stream, _) = self.stream(rental).await?;
        if stream.recipient.is_zero() {
            // The provider ended it, and paid the gas: vesting stopped before now.
            return Ok(());
        }
        let before = self.payer.funds().await?.token;
        let attempt = self.payer.terminate(id).await?;
        match self.transact(rental, RentalOperation::Terminate(Exact(before)), attempt).await {
            // The provider was faster.
            Err(PaymentError::Failed(_)) if self.stream(rental).await?.0.recipient.is_zero() => Ok(()),
            done => done,
        }
    }

    async fn transact(
        &self,
        rental: &mut Rental,
        what: RentalOperation,
        attempt: Attempt,
    ) -> Result<(), PaymentError> {
        crash_point!("rent-before-record");
        if let Some(payment) = &mut rental.payment {
            payment.pending = Some(Pending { what, attempts: vec![attempt] });
        }
        self.renter.store.keep(rental)?;
        crash_point!("rent-recorded");
        self.settle(rental).await
    }

    /// Follows the transaction of `rental` whose fate is not known, if there is one.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub async fn settle(&self, rental: &mut Rental) -> Result<(), PaymentError> {
        let pending = rental.payment.as_ref().and_then(|payment| payment.pending.clone());
        let Some(Pending { what, attempts }) = pending else { return Ok(()) };
        let Some(first) = attempts.first().cloned() else { return Ok(()) };
        let fate = self.follow(rental, attempts).await?;
        crash_point!("rent-mined");
        let more = first.transaction.gas.saturating_mul(2);
        if let Some(receipt) = &fate
            && receipt.ran_out_of(first.transaction.gas)
            && more <= GAS_MOST
        {
            // M-18: it was not refused. What it cost is booked, and the same is tried with more.
            self.renter.step("the transaction ran out of gas; it is sent again with more");
            let again = self.payer.again(&first.transaction, more).await?;
            if let Some(payment) = &mut rental.payment {
                payment.gas = Exact(payment.gas.0.saturating_add(receipt.cost));
            }
            return Box::pin(self.transact(rental, what, again)).await;
        }
        let result = match fate {
            Some(receipt) => self.apply_receipt(rental, what, &receipt).await?,
            None => Err(PaymentError::Lost(first.signed.hash)),
        };
        if let Some(payment) = &mut rental.payment {
            payment.pending = None;
        }
        self.renter.store.keep(rental)?;
        crash_point!("rent-booked");
        result
    }

    /// The receipt of one of `attempts`, the transaction of `rental`; `None` if it will never have one.
    async fn follow(
        &self,
        rental: &mut Rental,
        attempts: Vec<Attempt>,
    ) -> Result<Option<Receipt>, PaymentError> {
        let newest = attempts.last().map(|attempt| attempt.signed.hash).unwrap_or_default();
        let mut recorder = InStore { renter: self.renter, rental, newest };
        let pursuit = Pursuit::new(attempts, LIMITS);
        let fate = pursuit.follow(self.payer.sender(), &mut recorder).await?;
        match fate {
            Fate::Mined(receipt) => Ok(Some(receipt)),
            Fate::Lost => Ok(None),
            Fate::UnderWay(problem) => Err(PaymentError::UnderWay(recorder.newest, problem)),
        }
    }

    /// The stream `id`, which was opened in `block`: an endpoint that is behind that knows nothing of it yet.
    async fn opened(&self, id: StreamId, block: u64) -> Result<Stream, ChainError> {
        for _ in 0..LOOKS {
            match read(&self.reader, id).await? {
                Some((stream, seen)) if seen.number >= block => return Ok(stream),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(ChainError::NoState)
    }

    /// Writes into `rental` what the transaction of `receipt` did. The outer error means that it is not
    /// known; the inner one, that it did nothing.
    async fn apply_receipt(
        &self,
        rental: &mut Rental,
        what: RentalOperation,
        receipt: &Receipt,
    ) -> Result<Result<(), PaymentError>, PaymentError> {
        let hash = receipt.hash;
        let unknown = |error| PaymentError::UnderWay(hash, Some(error));
        let provider = number(rental.provider_id);
        let Some(payment) = &mut rental.payment else { return Err(PaymentError::Free) };
        let gas = Exact(payment.gas.0.saturating_add(receipt.cost));
        if !receipt.succeeded {
            payment.gas = gas;
            return Ok(Err(PaymentError::Failed(hash)));
        }
        match what {
            RentalOperation::Approve => {}
            RentalOperation::Open => {
                // It succeeded, so money moved: without its stream it stays what is not known.
                let nothing = ChainError::Nonsense("a receipt without the stream that was opened");
                let id = self.payer.opened(receipt).ok_or_else(|| unknown(nothing))?;
                let stream = self.opened(id, receipt.block).await.map_err(unknown)?;
                let ours = number(self.payer.address());
                let right = stream.sender == ours
                    && stream.recipient == provider
                    && Exact::from(stream.rate) == payment.rate
                    && stream.lease.map(|lease| (lease.id, lease.terms_hash))
                        == payment.lease.map(|lease| (lease.id, lease.terms_hash));
                // Kept all the same: whatever it is, it may be ended.
                payment.stream_id = Some(Exact(id.0));
                payment.gas = gas;
                if !right {
                    rental.step = RentalStep::Ending;
                    return Ok(Err(PaymentError::NoStream(hash)));
                }
                rental.step = RentalStep::Paid;
            }
            RentalOperation::TopUp(amount) => {
                payment.deposit = Exact(payment.deposit.0.saturating_add(amount.0))
            }
            RentalOperation::Terminate(before) => {
                let after = self.payer.funds().await.map_err(unknown)?.token;
                let cost = if payment.token.is_zero() { receipt.cost } else { U256::ZERO };
                payment.refunded = Some(Exact(after.saturating_add(cost).saturating_sub(before.0)));
            }
        }
        if let Some(payment) = &mut rental.payment {
            payment.gas = gas;
        }
        Ok(Ok(()))
    }
}

/// Makes a transaction that needs what was `approved` a moment ago, where that was needed: an endpoint that has not seen it yet
/// says that the contract refuses.
async fn after(
    approved: bool,
    attempt: impl AsyncFn() -> Result<Attempt, SendError>,
) -> Result<Attempt, SendError> {
    let mut left = if approved { LOOKS_APPROVED } else { 0 };
    loop {
        match attempt().await {
            Err(SendError::Reverts(_)) if left > 0 => {
                left -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            made => return made,
        }
    }
}

/// The stream of `rental` and how it is paid for.
fn paid(rental: &Rental) -> Result<(StreamId, &Payment), PaymentError> {
    let payment =
        rental.payment.as_ref().filter(|payment| payment.refunded.is_none()).ok_or(PaymentError::Free)?;
    let id = payment.stream_id.ok_or(PaymentError::Free)?;
    Ok((StreamId(id.0), payment))
}

/// The time of the newest block of `profile`'s chain, in seconds since the epoch.
///
/// # Errors
/// [`ChainError`].
pub(crate) async fn chain_time(renter: &Renter<'_>, profile: &PaymentNetwork) -> Result<u128, ChainError> {
    let rpc = endpoints(renter, &profile.rpc_url)?;
    let reader = Reader::new(rpc, profile.contract, profile.network.chain_id, true);
    Ok(reader.head(None).await?.block.time)
}

/// The stream `id`, and the block as of which it was read; `None` where the endpoint does not know it. One that has ended keeps
/// its sender, on every version of the contract.
async fn read(reader: &Reader, id: StreamId) -> Result<Option<(Stream, Block)>, ChainError> {
    let seen = reader.streams(&[id]).await?;
    let stream = seen.streams.first().ok_or(ChainError::Nonsense("no answer to one question"))?;
    Ok((!stream.sender.is_zero()).then_some((*stream, seen.block)))
}

async fn stream(reader: &Reader, rental: &Rental) -> Result<(Stream, u128), PaymentError> {
    let (id, _) = paid(rental)?;
    let (stream, block) = read(reader, id).await?.ok_or(PaymentError::Unseen(id.0))?;
    Ok((stream, block.time))
}

/// The stream of `rental` as the chain has it, and the chain's time; `None` if there is no stream.
///
/// # Errors
/// [`ChainError`].
pub(crate) async fn stream_of(
    renter: &Renter<'_>,
    rental: &Rental,
) -> Result<Option<(Stream, u128)>, ChainError> {
    let Some(payment) = &rental.payment else { return Ok(None) };
    match stream(&reader(endpoints(renter, &payment.rpc_url)?, payment), rental).await {
        Ok(seen) => Ok(Some(seen)),
        Err(PaymentError::Chain(error)) => Err(error),
        Err(PaymentError::Unseen(_)) => Err(ChainError::NoState),
        Err(_) => Ok(None),
    }
}
