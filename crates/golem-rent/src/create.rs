//! Creating a rental, from its quote to a running VM.
//!
//! Owns the order of the steps, and that one that fails after the stream was opened ends the stream. What an
//! earlier run of the same command left behind is finished first, or undone.

use std::time::{Duration, Instant};

use golem_chain::stream_proof::{self, ProvenStream, StreamUse};
use golem_chain::{Place, SignedQuote};
use golem_service::log::with_causes;
use golem_types::wire::Exact;
use golem_types::{StreamId, VmName, VmStatus};
use jiff::Timestamp;

use super::agree::{Proposal, RentRequest, agreed};
use super::coins;
use super::create_error::CreateError;
use super::destroy::destroy;
use super::offer::Signed;
use super::payment_error::PaymentError;
use super::payments::Payments;
use super::provider::{Accepted, Provider, ProviderError};
use super::rental::{Payment, Rental, RentalLease, RentalStep};
use super::use_vm::keep_access;
use super::{Event, Renter, crash_point};

/// Pause between two questions whether the VM runs: at first, and the longest.
const POLL_FIRST: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_secs(2);

/// What is waited for last.
const MAKING: &str = "the VM is being made";

/// How many times a create is sent while no answer comes.
const TRIES: u32 = 5;

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
        more_keys: wanted.more_keys.clone(),
        first_boot: wanted.first_boot.clone(),
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
        max_gas_price: profile.network.maximum_gas_price().map(|wei| u64::try_from(wei).unwrap_or(u64::MAX)),
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
    payments.check().await.map_err(CreateError::Unpaid)?;
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
            Ok(seen) if seen.status == VmStatus::Running => {
                if let Ok(access) = provider.access(&id).await
                    && access.ssh_port.is_some()
                {
                    keep_access(renter, &mut rental, &access)?;
                    return Ok(rental);
                }
            }
            Ok(seen) if seen.status == VmStatus::Error => {
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
