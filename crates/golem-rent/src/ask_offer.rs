//! Asking a provider what it offers, for a network that the renter has.
//!
//! ```text
//!   the renter's first network ─┬─ version 4: a lease, else a price
//!                               └─ version 1: a price, else a lease
//! ```
//! Owns which of the two ways is asked first: a provider may serve both. Never agrees to anything.

use alloy_primitives::Address;
use golem_chain::Version;
use golem_chain::network::PaymentNetwork;
use golem_types::{ImageName, Resources, VmName};

use super::Renter;
use super::create_error::CreateError;
use super::lease::LeaseWish;
use super::offer::Offer;
use super::provider::{Provider, ProviderError};

/// What an offer is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfferRequest<'a> {
    pub name: &'a VmName,
    /// Its image; the provider's default if `None`.
    pub image: Option<&'a ImageName>,
    pub resources: Resources,
    /// How many hours are paid for at the start.
    pub hours: u32,
    /// Networks on which it may be paid, the one that is wanted first; the only one if the renter named it.
    pub networks: &'a [PaymentNetwork],
    /// The provider that has to answer; `None` if any may.
    pub provider_id: Option<Address>,
}

/// What `provider` offers for `wanted`, checked: something free, or paid on one of the networks; what is paid elsewhere, if
/// there is nothing else.
///
/// # Errors
/// [`CreateError::Quote`], [`CreateError::Offer`].
pub(crate) async fn ask_offer(
    renter: &Renter<'_>,
    provider: &Provider,
    wanted: &OfferRequest<'_>,
) -> Result<Offer, CreateError> {
    let has = |version| wanted.networks.iter().any(|profile| profile.network.contract_version == version);
    let prefers_lease =
        wanted.networks.first().is_some_and(|profile| profile.network.contract_version == Version::V4);
    let order = if prefers_lease { [Version::V4, Version::V1] } else { [Version::V1, Version::V4] };
    let (mut elsewhere, mut refused) = (None, None);
    // Asked for a price, a provider also says that it is free.
    for version in order.into_iter().filter(|version| *version == Version::V1 || has(*version)) {
        let asked = match version {
            Version::V1 => price(provider, wanted).await,
            Version::V4 => lease(renter, provider, wanted).await,
        };
        match asked {
            Ok(offer) => {
                let fits = |profile| offer.paying.as_ref().is_none_or(|paying| paying.fits(profile));
                if offer.paying.is_none() || wanted.networks.iter().any(fits) {
                    return Ok(offer);
                }
                elsewhere.get_or_insert(offer);
            }
            Err(CreateError::Quote(error @ ProviderError::Refused { .. })) => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match (elsewhere, refused) {
        (Some(offer), _) => Ok(offer),
        (None, Some(error)) => Err(CreateError::Quote(error)),
        (None, None) => Err(CreateError::Quote(ProviderError::Nonsense("it offers nothing"))),
    }
}

/// What the provider at `url`, which has to be `provider_id` if that is known, offers for `resources`: a lease is asked for an
/// hour, and for a name that no VM gets by it.
///
/// # Errors
/// [`CreateError`].
pub async fn quote(
    renter: &Renter<'_>,
    url: &str,
    provider_id: Option<Address>,
    resources: Resources,
    networks: &[PaymentNetwork],
) -> Result<Offer, CreateError> {
    let provider = Provider::at(url).map_err(CreateError::Provider)?;
    let name = "quote".parse().map_err(|_| ProviderError::Nonsense("no name")).map_err(CreateError::Quote)?;
    let wanted = OfferRequest { name: &name, image: None, resources, hours: 1, networks, provider_id };
    ask_offer(renter, &provider, &wanted).await
}

async fn price(provider: &Provider, wanted: &OfferRequest<'_>) -> Result<Offer, CreateError> {
    let info = provider.quote(wanted.resources).await.map_err(CreateError::Quote)?;
    Ok(Offer::check(&info, wanted.resources, wanted.provider_id)?)
}

async fn lease(
    renter: &Renter<'_>,
    provider: &Provider,
    wanted: &OfferRequest<'_>,
) -> Result<Offer, CreateError> {
    let image = match wanted.image {
        Some(image) => image.clone(),
        None => provider.default_image().await.map_err(CreateError::Quote)?,
    };
    let wish = LeaseWish {
        name: wanted.name.clone(),
        image,
        resources: wanted.resources,
        duration: u64::from(wanted.hours) * 3600,
        requestor: renter.wallet.address(),
    };
    let named = match wanted.networks {
        [only] => Some(only.name.as_str()),
        _ => None,
    };
    let info = match provider.lease(&wish, named).await {
        // The operator may call the network something else.
        Err(ProviderError::Refused { .. }) if named.is_some() => provider.lease(&wish, None).await,
        answer => answer,
    };
    Ok(Offer::of_lease(&info.map_err(CreateError::Quote)?, &wish, wanted.provider_id)?)
}
