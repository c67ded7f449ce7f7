//! Creating a rental, from its quote to a running VM.
//!
//! Owns the order of the steps, and that one that fails after the stream was opened ends the stream. What an
//! earlier run of the same command left behind is finished first, or undone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use golem_chain::network::PaymentNetwork;
use golem_chain::stream_proof::{self, ProvenStream, StreamUse};
use golem_chain::{ChainError, Place, SignedQuote};
use golem_service::log::with_causes;
use golem_types::wire::Exact;
use golem_types::{Decimal, ImageName, Resources, StreamId, VmName, VmState};
use jiff::Timestamp;

use super::ask_offer::{OfferRequest, ask_offer};
use super::coins;
use super::destroy::{DestroyError, Destroyed, destroy};
use super::offer::{Offer, OfferError, Paying, Signed};
use super::payments::{PaymentError, Payments, chain_time};
use super::provider::{Accepted, Provider, ProviderError};
use super::rental::{Payment, Rental, RentalLease, RentalStep};
use super::store::StoreError;
use super::{Event, Renter, crash_point};

/// Pause between two questions whether the VM runs: at first, and the longest.
const POLL_FIRST: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_secs(2);

/// What is waited for last.
const MAKING: &str = "the VM is being made";

/// How many times a create is sent while no answer comes.
const TRIES: u32 = 5;

/// What is to be rented, and on what terms.
pub struct RentRequest {
    pub name: VmName,
    /// Where the provider's API is.
    pub url: String,
    /// The provider that has to answer there; `None` if any may.
    pub provider_id: Option<Address>,
    pub resources: Resources,
    pub image: Option<ImageName>,
    pub ssh_key: String,
    pub identity: Option<PathBuf>,
    /// How many hours are paid for at the start.
    pub hours: u32,
    /// Refuses a provider that wants money.
    pub free: bool,
    /// The highest price that is accepted, in coins a month.
    pub most: Option<Decimal>,
    /// Payment networks that may be used.
    pub networks: Vec<PaymentNetwork>,
    /// How long the VM may take until it runs.
    pub deadline: Duration,
}

impl RentRequest {
    fn offer_request(&self, provider_id: Option<Address>) -> OfferRequest<'_> {
        OfferRequest {
            name: &self.name,
            image: self.image.as_ref(),
            resources: self.resources,
            hours: self.hours,
            networks: &self.networks,
            provider_id,
        }
    }
}

/// Why there is no VM.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is taken.
    #[error(
        "you rent a VM called {0} already; fix: choose another name, or see `golem-provider rent show {0}`"
    )]
    Exists(VmName),
    /// An earlier create of the name waits to be finished, and it was another one.
    #[error(
        "an earlier create of {0} was cut off after its stream was opened, for another size or provider; fix: `golem-provider \
         rent destroy {0}` gets the money back"
    )]
    Unfinished(VmName),
    /// The provider gives no quote.
    #[error("no quote")]
    Quote(#[source] ProviderError),
    /// The provider's address is not a URL.
    #[error(transparent)]
    Provider(ProviderError),
    /// The renter does not want it at this price.
    #[error("{0}; nothing was paid")]
    Declined(String),
    /// The quote expired while it was thought about, and the next one is dearer.
    #[error(
        "the provider asks for more now than when you agreed; nothing was paid; fix: run the command again"
    )]
    Dearer,
    /// The provider lets nobody in, so that no VM could be asked for.
    #[error("the provider opens no session for your wallet; nothing was paid")]
    Session(#[source] ProviderError),
    /// The quote is not acceptable.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The wallet could not pay it; nothing was sent.
    #[error("nothing was paid")]
    Unpaid(#[source] PaymentError),
    /// It could not be paid.
    #[error(transparent)]
    Money(#[from] PaymentError),
    /// The renter's folder cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It failed, and nothing of it is left.
    #[error("{why}; {}", .ended.summary())]
    Undone {
        /// Why it failed.
        why: String,
        /// What came back.
        ended: Box<Destroyed>,
    },
    /// It failed, and something of it may be left.
    #[error("{why}; and it could not be undone")]
    Left {
        /// Why it failed.
        why: String,
        /// Why it was not undone.
        #[source]
        source: DestroyError,
    },
    /// What an earlier run left could not be undone.
    #[error("what an earlier create left could not be undone")]
    Earlier(#[source] DestroyError),
    /// Another command destroyed it.
    #[error("{0} was destroyed meanwhile")]
    Destroyed(VmName),
    /// The VM did not run in time; it may still come up.
    #[error(
        "{0} does not run yet; it is rented: see `golem-provider rent show {0}`, or `golem-provider rent destroy {0}`"
    )]
    Late(VmName),
}

/// What a create is about to pay.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// What is offered.
    pub offer: Offer,
    /// Where it would be paid.
    pub network: PaymentNetwork,
    /// For how many hours.
    pub hours: u32,
    /// What an hour costs, in coins.
    pub price_per_hour: Decimal,
    /// What a month of 730 hours costs, in coins.
    pub price_per_month: Decimal,
    /// What is paid at once, in coins.
    pub deposit: Decimal,
}

impl Destroyed {
    /// What was paid and what came back, in one sentence.
    pub fn summary(&self) -> String {
        let coins = |wei: Exact| Decimal::from_units(wei.0, self.decimals);
        match (&self.symbol, self.stream_id, self.deposit_wei, self.refunded_wei) {
            (Some(symbol), Some(id), Some(deposit), Some(refunded)) => {
                let paid = deposit.0.saturating_sub(refunded.0);
                format!(
                    "stream {} has ended: {} of {} {symbol} came back, {} went to the provider",
                    id.0,
                    coins(refunded),
                    coins(deposit),
                    coins(Exact(paid))
                )
            }
            (_, Some(id), _, None) => format!("stream {} had ended before", id.0),
            _ => "nothing was paid".to_owned(),
        }
    }
}

/// Rents what is wanted, and waits until it runs. Nothing is paid unless `agree` says so, to what is proposed; why not is
/// its error.
///
/// # Errors
/// [`CreateError`].
pub async fn create(
    renter: &Renter<'_>,
    wanted: &RentRequest,
    agree: impl AsyncFn(&Proposal) -> Result<(), String>,
) -> Result<Rental, CreateError> {
    let left = match renter.store.find(&wanted.name)? {
        Some(old) if old.step == RentalStep::Rented => return Err(CreateError::Exists(old.name)),
        Some(old) => recover(renter, old).await?,
        None => None,
    };
    let rental = match left {
        Some(paid) if paid.resources != wanted.resources || paid.provider_url != wanted.url => {
            return Err(CreateError::Unfinished(paid.name));
        }
        Some(paid) => paid,
        None => begin(renter, wanted, agree).await?,
    };
    let rental = ask(renter, rental).await?;
    wait(renter, rental, wanted.deadline).await
}

/// Finishes or undoes what an earlier run left.
async fn recover(renter: &Renter<'_>, mut old: Rental) -> Result<Option<Rental>, CreateError> {
    if old.step == RentalStep::Opening {
        let (payments, now) = Payments::of(renter, &old.name)?;
        old = now;
        match payments.settle(&mut old).await {
            Ok(()) | Err(PaymentError::Lost(_) | PaymentError::Failed(_) | PaymentError::NoStream(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match old.step {
        RentalStep::Paid => {
            renter.step("an earlier create was cut off; its stream is open, and is used now");
            Ok(Some(old))
        }
        // Nothing was paid.
        RentalStep::Opening => {
            renter.store.forget(&old.name)?;
            Ok(None)
        }
        // Asked again with the same quote or lease, the provider tells of the same VM.
        RentalStep::Asking if old.quote_id.is_some() || old.lease().is_some() => {
            renter.step("an earlier create was cut off while the provider was asked; it is asked again");
            Ok(Some(old))
        }
        RentalStep::Asking | RentalStep::Ending | RentalStep::Rented => {
            let ended = destroy(renter, &old.name).await.map_err(CreateError::Earlier)?;
            renter.step(&format!("an earlier create was cut off and is undone: {}", ended.summary()));
            Ok(None)
        }
    }
}

/// Seconds before the end of a lease in which no stream is opened with it any more: its transaction has to be in a block
/// before.
const LEASE_MARGIN: u128 = 30;

/// Whether `paying` is over, and by which clock: a lease's end is judged by the chain, as its contract does, and a price by its
/// provider, whose clock only this machine's can stand for.
async fn over(
    renter: &Renter<'_>,
    paying: &Paying,
    profile: &PaymentNetwork,
) -> Result<Option<OfferError>, ChainError> {
    let (now, margin) = match paying.signed {
        Signed::Quote(_) => (u128::try_from(Timestamp::now().as_second()).unwrap_or_default(), 0),
        Signed::Lease(_) => (chain_time(renter, profile).await?, LEASE_MARGIN),
    };
    let ended = paying.expires_at;
    let is_over = u128::from(ended) <= now.saturating_add(margin);
    Ok(is_over.then_some(OfferError::Expired { ended, now }))
}

/// What the renter has agreed to: an offer that can be paid now, and on which network.
async fn agreed(
    renter: &Renter<'_>,
    wanted: &RentRequest,
    provider: &Provider,
    agree: impl AsyncFn(&Proposal) -> Result<(), String>,
) -> Result<(Offer, Option<PaymentNetwork>), CreateError> {
    let offer = ask_offer(renter, provider, &wanted.offer_request(wanted.provider_id)).await?;
    let Some(paying) = &offer.paying else { return Ok((offer, None)) };
    if wanted.free {
        let (price, symbol) = (paying.price_for_people(18), paying.symbol.clone());
        return Err(OfferError::NotFree { price, symbol }.into());
    }
    let profile = paying.network(wanted.networks.clone())?;
    let decimals = profile.decimals();
    paying.within(wanted.most, decimals)?;
    let unknown = |error: ChainError| CreateError::Unpaid(error.into());
    if let (Signed::Lease(_), Some(over)) =
        (&paying.signed, over(renter, paying, &profile).await.map_err(unknown)?)
    {
        return Err(over.into());
    }
    let most = paying.rate;
    let proposal = Proposal {
        network: profile.clone(),
        hours: wanted.hours,
        price_per_hour: paying.price(3600, decimals),
        price_per_month: paying.price_for_people(decimals),
        deposit: Decimal::from_units(paying.deposit(wanted.hours), decimals),
        offer: offer.clone(),
    };
    agree(&proposal).await.map_err(CreateError::Declined)?;
    // People take their time.
    if over(renter, paying, &profile).await.map_err(unknown)?.is_none() {
        return Ok((offer, Some(profile)));
    }
    let again = ask_offer(renter, provider, &wanted.offer_request(Some(offer.provider_id))).await?;
    let Some(paying) = &again.paying else { return Ok((again, None)) };
    if paying.rate > most || !paying.fits(&profile) {
        return Err(CreateError::Dearer);
    }
    match over(renter, paying, &profile).await.map_err(unknown)? {
        Some(over) => Err(over.into()),
        None => Ok((again, Some(profile))),
    }
}

/// Gets a quote or a lease and pays as it says.
async fn begin(
    renter: &Renter<'_>,
    wanted: &RentRequest,
    agree: impl AsyncFn(&Proposal) -> Result<(), String>,
) -> Result<Rental, CreateError> {
    let provider = Provider::at(&wanted.url).map_err(CreateError::Provider)?;
    let (offer, profile) = agreed(renter, wanted, &provider, agree).await?;
    let mut rental = Rental {
        name: wanted.name.clone(),
        provider_url: wanted.url.clone(),
        provider_id: offer.provider_id,
        resources: wanted.resources,
        image: wanted.image.clone(),
        ssh_key: wanted.ssh_key.clone(),
        identity: wanted.identity.clone(),
        quote_id: None,
        payment: None,
        step: RentalStep::Asking,
        vm_id: None,
        job_id: None,
        ssh_port: None,
        ssh_user: None,
        created_at: Timestamp::now(),
    };
    let (Some(paying), Some(profile)) = (&offer.paying, profile) else {
        renter.step("quote: free");
        return Ok(rental);
    };
    let lease = match &paying.signed {
        Signed::Quote(signed) => {
            rental.quote_id = Some(signed.id());
            None
        }
        Signed::Lease(lease) => {
            rental.image = Some(lease.image.clone());
            let session = provider.asked_by(renter, offer.provider_id);
            session.sign_in().await.map_err(CreateError::Session)?;
            Some(lease)
        }
    };
    let deposit = paying.deposit(wanted.hours);
    let payment = Payment {
        symbol: profile.symbol().to_owned(),
        decimals: profile.decimals(),
        coins_from: coins::source(&profile),
        network: profile.name,
        rpc_url: profile.rpc_url,
        chain_id: profile.network.chain_id,
        contract: profile.contract,
        token: profile.token,
        rate: paying.rate.into(),
        deposit: Exact(deposit),
        stream_id: None,
        pending: None,
        gas: Exact::default(),
        refunded: None,
        lease: lease.map(|lease| RentalLease {
            id: lease.open.quote.lease_id,
            terms_hash: lease.open.quote.terms_hash,
            duration: lease.duration,
        }),
    };
    let price = paying.price_for_people(payment.decimals);
    renter.step(&format!("quote: {price} {} a month, signed", payment.symbol));
    let lock = renter.store.lock()?;
    if renter.store.find(&wanted.name)?.is_some() {
        // Another command was faster.
        return Err(CreateError::Exists(wanted.name.clone()));
    }
    let payments = Payments::open(renter, &payment, lock).map_err(CreateError::Unpaid)?;
    payments.afford(&payment, deposit).await.map_err(CreateError::Unpaid)?;
    rental.payment = Some(payment);
    rental.step = RentalStep::Opening;
    renter.store.keep(&rental)?;
    crash_point!("rent-kept");
    if let Err(error) = payments.pay(&mut rental, lease.map(|lease| &lease.open)).await {
        drop(payments);
        return Err(unpaid(renter, rental, error).await);
    }
    let payment = rental.payment.as_ref().ok_or(PaymentError::Free)?;
    renter.step(&format!(
        "paid {} {} for {} h: stream {}",
        payment.coins(deposit),
        payment.symbol,
        wanted.hours,
        payment.stream_id.unwrap_or_default().0
    ));
    Ok(rental)
}

/// What follows from a payment that failed: what may still be mined stays known, the rest is undone.
async fn unpaid(renter: &Renter<'_>, rental: Rental, error: PaymentError) -> CreateError {
    let Some(payment) = &rental.payment else { return error.into() };
    if payment.pending.is_some() {
        return error.into();
    }
    if payment.stream_id.is_some() {
        return undo(renter, &rental.name, with_causes(&error)).await;
    }
    match renter.store.forget(&rental.name) {
        Ok(()) => error.into(),
        Err(error) => error.into(),
    }
}

async fn undo(renter: &Renter<'_>, name: &VmName, why: String) -> CreateError {
    match destroy(renter, name).await {
        Ok(ended) => CreateError::Undone { why, ended: Box::new(ended) },
        Err(source) => CreateError::Left { why, source },
    }
}

/// Whether the quote of `rental` is over by this machine's clock.
fn is_over(rental: &Rental) -> bool {
    let token = rental.payment.as_ref().map(|payment| payment.token).unwrap_or_default();
    let quote = rental.quote_id.as_deref().and_then(|id| SignedQuote::read(id, rental.provider_id, token));
    quote
        .is_some_and(|signed| i128::from(signed.quote.expires_at) <= i128::from(Timestamp::now().as_second()))
}

/// How long the word counts that a stream is to pay a VM, in seconds.
const PROOF_LIFE: i64 = 24 * 3600;

/// The renter's word that the stream of `rental` is to pay it: so nobody else can have it paid for something else.
fn proof(renter: &Renter<'_>, rental: &Rental) -> Option<String> {
    let payment = rental.payment.as_ref()?;
    let stream = ProvenStream {
        place: Place { chain_id: payment.chain_id, contract: payment.contract },
        provider: rental.provider_id,
        id: StreamId(payment.stream_id?.0),
    };
    let wanted = StreamUse::Create { name: rental.name.as_str(), ssh_key: &rental.ssh_key };
    let expires_at = u64::try_from(Timestamp::now().as_second() + PROOF_LIFE).ok()?;
    stream_proof::sign(&stream, wanted, expires_at, renter.wallet)
}

/// Asks the provider for the VM.
async fn ask(renter: &Renter<'_>, mut rental: Rental) -> Result<Rental, CreateError> {
    rental.step = RentalStep::Asking;
    renter.store.keep(&rental)?;
    crash_point!("rent-asking");
    let provider = Provider::of(renter, &rental).map_err(CreateError::Provider)?;
    let proof = proof(renter, &rental);
    let mut answer = ask_again(renter, &provider, &rental, proof.as_deref()).await;
    // Of a quote that is over the provider tells what it granted on it, and grants nothing more; the
    // price that it advertised lately will do as well.
    if matches!(&answer, Err(ProviderError::Refused { status: 400, .. })) && is_over(&rental) {
        rental.quote_id = None;
        renter.store.keep(&rental)?;
        answer = provider.create(&rental, proof.as_deref()).await;
    }
    // Without a session the id is all that gives access.
    let has_id = |accepted: &Accepted| rental.lease().is_some() || accepted.vm_id().is_some();
    let answer = answer.and_then(|accepted| {
        has_id(&accepted).then_some(accepted).ok_or(ProviderError::Nonsense("it has no id of a VM"))
    });
    match answer {
        Ok(accepted) => {
            crash_point!("rent-asked");
            (rental.vm_id, rental.job_id) = (accepted.vm_id(), accepted.job_id());
            rental.step = RentalStep::Rented;
            renter.store.keep(&rental)?;
            crash_point!("rent-rented");
            renter.step(&format!("{} is rented, and is being made", rental.name));
            Ok(rental)
        }
        Err(error) => Err(undo(renter, &rental.name, with_causes(&error)).await),
    }
}

/// Asks for `rental`, and again where no answer comes: with a quote or a lease the same request is the same VM.
async fn ask_again(
    renter: &Renter<'_>,
    provider: &Provider,
    rental: &Rental,
    proof: Option<&str>,
) -> Result<Accepted, ProviderError> {
    let began = Instant::now();
    let mut left = if rental.quote_id.is_some() || rental.lease().is_some() { TRIES } else { 1 };
    loop {
        left -= 1;
        match provider.create(rental, proof).await {
            Err(ProviderError::NoAnswer { .. }) if left > 0 => {
                (renter.tell)(Event::Waiting("the provider does not answer", began.elapsed()));
                tokio::time::sleep(POLL).await;
            }
            answer => return answer,
        }
    }
}

/// Waits until the VM runs.
async fn wait(renter: &Renter<'_>, mut rental: Rental, deadline: Duration) -> Result<Rental, CreateError> {
    let provider = Provider::of(renter, &rental).map_err(CreateError::Provider)?;
    let Some(id) = rental.reference().map(str::to_owned) else { return Err(CreateError::Late(rental.name)) };
    let (began, mut pause) = (Instant::now(), POLL_FIRST);
    while began.elapsed() < deadline {
        if renter.store.find(&rental.name)?.is_none() {
            return Err(CreateError::Destroyed(rental.name));
        }
        match provider.vm(&id).await {
            Ok(seen) if seen.status == VmState::Running => {
                if let Ok(access) = provider.access(&id).await
                    && access.ssh_port.is_some()
                {
                    rental.ssh_port = access.ssh_port;
                    rental.ssh_user = access.ssh_user().map(str::to_owned);
                    renter.store.keep(&rental)?;
                    return Ok(rental);
                }
            }
            Ok(seen) if seen.status == VmState::Error => {
                let why = seen.error_message.unwrap_or_else(|| "it says not why".to_owned());
                let why = format!("the provider could not make the VM: {why}");
                return Err(undo(renter, &rental.name, why).await);
            }
            Err(ProviderError::Refused { status: 404, .. }) => {
                let why = "the provider does not know the VM any more".to_owned();
                return Err(undo(renter, &rental.name, why).await);
            }
            // Other states and a provider that does not answer now may change.
            Ok(_) | Err(_) => {}
        }
        let said = match &rental.job_id {
            Some(job) => provider.progress(job).await,
            None => None,
        };
        let text = said.map_or_else(|| MAKING.to_owned(), |said| format!("{MAKING}: {said}"));
        (renter.tell)(Event::Waiting(&text, began.elapsed()));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL);
    }
    Err(CreateError::Late(rental.name))
}
