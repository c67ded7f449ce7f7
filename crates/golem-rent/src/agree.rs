//! Agreeing to an offer: what is wanted, what is proposed, and that what is paid is not more, nor too late.
//!
//! Owns by which clock an offer is over. Never pays.

use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use golem_chain::ChainError;
use golem_chain::network::PaymentNetwork;
use golem_types::{Decimal, FirstBoot, ImageName, Resources, VmName};
use jiff::Timestamp;

use super::Renter;
use super::ask_offer::{OfferRequest, ask_offer};
use super::create_error::CreateError;
use super::offer::{Offer, OfferError, Paying, Signed};
use super::payments::chain_time;
use super::provider::Provider;

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
    /// Further keys that may log in.
    pub more_keys: Vec<String>,
    /// What is wanted of the first boot.
    pub first_boot: FirstBoot,
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
///
/// # Errors
/// [`CreateError`]; nothing was paid.
pub(crate) async fn agreed(
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
    // A price that is over by this machine's clock was signed a moment ago: then the clock is wrong.
    match over(renter, paying, &profile).await.map_err(unknown)? {
        Some(over) if matches!(paying.signed, Signed::Lease(_)) => Err(over.into()),
        _ => Ok((again, Some(profile))),
    }
}
