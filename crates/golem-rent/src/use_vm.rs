//! Using what is rented: where it is reached, starting and stopping it.
//!
//! Owns that nothing is asked for a VM that was not granted yet. Never moves money.

use golem_service::http::Method;
use golem_types::{ImageName, VmName};

use super::provider::{Access, Provider, ProviderError, VmStanding};
use super::rental::Rental;
use super::{Renter, StoreError};

/// Why a VM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// The provider has not granted it yet.
    #[error("{0} is not rented yet; fix: golem-provider rent show {0}")]
    NotRented(VmName),
    /// The provider does not do it.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The record cannot be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How the provider knows the VM of `rental`.
///
/// # Errors
/// [`UseError::NotRented`].
fn granted(rental: &Rental) -> Result<&str, UseError> {
    rental.reference().ok_or_else(|| UseError::NotRented(rental.name.clone()))
}

/// The provider of the rental `name`, and what it knows the VM by.
///
/// # Errors
/// [`UseError`].
pub(super) fn at_provider(renter: &Renter<'_>, name: &VmName) -> Result<(Provider, String), UseError> {
    let rental = renter.store.rental(name)?;
    let reference = granted(&rental)?.to_owned();
    Ok((Provider::of(renter, &rental)?, reference))
}

/// The rental `name`, with its SSH port if it has run.
///
/// # Errors
/// [`UseError`].
pub async fn reachable(renter: &Renter<'_>, name: &VmName) -> Result<Rental, UseError> {
    let mut rental = renter.store.rental(name)?;
    let reference = granted(&rental)?;
    if rental.ssh_port.is_none() {
        let access = Provider::of(renter, &rental)?.access(reference).await?;
        keep_access(renter, &mut rental, &access)?;
    }
    Ok(rental)
}

/// Writes into `rental` where its VM is reached, and keeps that; not while another command pays for something, whose record must
/// not be replaced by an older one. The provider is asked again then.
///
/// # Errors
/// [`StoreError`].
pub(super) fn keep_access(
    renter: &Renter<'_>,
    rental: &mut Rental,
    access: &Access,
) -> Result<(), StoreError> {
    (rental.ssh_port, rental.ssh_user) = (access.ssh_port, access.ssh_user().map(str::to_owned));
    let Ok(_lock) = renter.store.lock() else { return Ok(()) };
    let Some(mut now) = renter.store.find(&rental.name)? else { return Ok(()) };
    (now.ssh_port, now.ssh_user) = (rental.ssh_port, rental.ssh_user.clone());
    renter.store.keep(&now)
}

/// Has the disk of the VM of the rental `name` made anew from `image`, or from the image that it has.
///
/// # Errors
/// [`UseError`].
pub async fn rebuild(
    renter: &Renter<'_>,
    name: &VmName,
    image: Option<&ImageName>,
) -> Result<VmStanding, UseError> {
    let (provider, reference) = at_provider(renter, name)?;
    let body = serde_json::json!({ "image": image });
    Ok(provider.call(Method::POST, &format!("/vms/{reference}/rebuild"), Some(&body)).await?)
}

/// Has the provider `start`, `stop`, `suspend` or `resume` the VM of the rental `name`.
///
/// # Errors
/// [`UseError`].
pub async fn order(renter: &Renter<'_>, name: &VmName, order: &'static str) -> Result<VmStanding, UseError> {
    let (provider, reference) = at_provider(renter, name)?;
    Ok(provider.order(&reference, order).await?)
}
