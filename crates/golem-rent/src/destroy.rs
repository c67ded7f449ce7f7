//! Destroying a rental: the VM is deleted, its stream terminated, and the rest of the deposit refunded.
//!
//! Owns the order. On contract version 1, money last: a stream that has ended stops the VM anyway, and a provider that
//! does not answer must not keep it. On version 4, money first: other implementations delete only what is not paid any more.
//! Never forgets a rental whose stream may still run.

use golem_types::wire::Exact;
use golem_types::{Decimal, VmName};
use ruint::aliases::U256;
use serde::Serialize;

use super::payment_error::PaymentError;
use super::payments::Payments;
use super::provider::{Provider, ProviderError};
use super::rental::{Rental, RentalStep};
use super::store::WalletLock;
use super::{Renter, StoreError, crash_point};

/// What destroying a rental came to.
#[derive(Debug, Serialize)]
pub struct Destroyed {
    pub name: String,
    /// Whether the provider said that the VM is gone.
    pub deleted: bool,
    /// Why it did not.
    pub provider_error: Option<String>,
    pub stream_id: Option<Exact>,
    pub symbol: Option<String>,
    /// Digits after the point of the coins.
    pub decimals: u8,
    /// Wei that were paid in.
    pub deposit_wei: Option<Exact>,
    /// Wei that came back; `None` if nothing was paid, or the stream had ended before.
    pub refunded_wei: Option<Exact>,
    /// Wei that the provider got or gets.
    pub paid_wei: Option<Exact>,
    /// Wei that gas has cost in all.
    pub gas_wei: Option<Exact>,
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

/// Why a rental is not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// Its stream may still run.
    #[error("its stream is not known to have ended; fix: run `golem-provider rent destroy {name}` again")]
    Money {
        /// The rental.
        name: String,
        /// Why.
        #[source]
        source: PaymentError,
    },
    /// The record cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Has the provider delete the VM, if it granted one; whether it did. One whose grant may have been lost on its way is known by
/// the stream that pays it: another VM of the wallet may have the name.
async fn delete(renter: &Renter<'_>, rental: &Rental) -> Result<bool, ProviderError> {
    let provider = Provider::of(renter, rental)?;
    let payment = rental.payment.as_ref();
    let leased = payment.filter(|payment| payment.lease.is_some()).and_then(|payment| payment.stream_id);
    match (rental.reference(), leased) {
        (Some(reference), _) => provider.delete(reference).await.map(|()| true),
        (None, Some(stream)) if provider.is_paid_by(rental.name.as_str(), stream).await? => {
            provider.delete(rental.name.as_str()).await.map(|()| true)
        }
        (None, _) => Ok(false),
    }
}

/// Destroys the rental `name`, whatever its step, and removes its record.
///
/// # Errors
/// [`DestroyError`]; run again, it goes on.
pub async fn destroy(renter: &Renter<'_>, name: &VmName) -> Result<Destroyed, DestroyError> {
    // Held from before it is read: what another command is paying is in the record then.
    let lock = renter.store.lock()?;
    let mut rental = renter.store.rental(name)?;
    rental.step = RentalStep::Ending;
    renter.store.keep(&rental)?;
    crash_point!("rent-ending");
    let name = rental.name.to_string();
    let money = |source| DestroyError::Money { name: name.clone(), source };
    let deleted = if rental.lease().is_some() {
        end_stream(renter, &mut rental, lock).await.map_err(money)?;
        delete(renter, &rental).await
    } else {
        let deleted = delete(renter, &rental).await;
        end_stream(renter, &mut rental, lock).await.map_err(money)?;
        deleted
    };
    renter.store.forget(&rental.name)?;
    let payment = rental.payment.as_ref();
    let opened = payment.filter(|payment| payment.stream_id.is_some());
    Ok(Destroyed {
        name,
        deleted: matches!(deleted, Ok(true)),
        provider_error: deleted.err().map(|error| error.to_string()),
        stream_id: opened.and_then(|payment| payment.stream_id),
        symbol: opened.map(|payment| payment.symbol.clone()),
        decimals: opened.map_or(18, |payment| payment.decimals),
        deposit_wei: opened.map(|payment| payment.deposit),
        refunded_wei: opened.and_then(|payment| payment.refunded),
        paid_wei: opened.and_then(|payment| {
            payment.refunded.map(|refunded| Exact(payment.deposit.0.saturating_sub(refunded.0)))
        }),
        gas_wei: payment.map(|payment| payment.gas).filter(|gas| gas.0 > U256::ZERO),
    })
}

async fn end_stream(renter: &Renter<'_>, rental: &mut Rental, lock: WalletLock) -> Result<(), PaymentError> {
    let Some(payment) = &rental.payment else { return Ok(()) };
    let payments = Payments::open(renter, payment, lock)?;
    match payments.settle(rental).await {
        // What did nothing leaves nothing to end.
        Ok(()) | Err(PaymentError::Lost(_) | PaymentError::Failed(_) | PaymentError::NoStream(_)) => {}
        Err(error) => return Err(error),
    }
    rental.step = RentalStep::Ending;
    let is_open = rental
        .payment
        .as_ref()
        .is_some_and(|payment| payment.stream_id.is_some() && payment.refunded.is_none());
    if is_open { payments.terminate(rental).await } else { Ok(()) }
}
