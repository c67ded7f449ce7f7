//! Whose key the node and a renter have, by the settings.
//!
//! Owns the choice between a key in the settings and one in a file. Never writes a key: `golem_chain::identity` does.

use alloy_primitives::Address;
use anyhow::bail;
use golem_chain::identity::{GivenKey, Identity, IdentityError, KeyFolder};

use crate::passphrase::{Asking, Passphrases};
use golem_host::settings::{NodeSettings, RentingSettings, Secret};

fn given<'a>(variable: &'static str, key: Option<&'a Secret>) -> Option<GivenKey<'a>> {
    key.map(|key| GivenKey { variable, key: key.reveal() })
}

/// Where the node's keys are.
#[must_use]
pub fn keys_of_node(settings: &NodeSettings) -> KeyFolder {
    KeyFolder::new(&settings.data_dir, "provider_key.json")
}

/// The node's identity: `keys/provider_key.json` in the data directory, unless a key is set. An encrypted one is opened
/// with the passphrase of `passphrases`.
///
/// # Errors
/// [`IdentityError`].
pub fn of_node(settings: &NodeSettings, passphrases: &Passphrases) -> Result<Identity, IdentityError> {
    let given = given("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", settings.private_key.as_ref());
    keys_of_node(settings).load(given, &|path| passphrases.of(path))
}

/// The node's address, for which no passphrase is asked; `None` if it has no key yet.
///
/// # Errors
/// [`IdentityError`].
pub fn address_of_node(settings: &NodeSettings) -> Result<Option<Address>, IdentityError> {
    let opened = || of_node(settings, &Passphrases::of_node(settings, Asking::Nobody));
    if settings.private_key.is_some() {
        return opened().map(|identity| Some(identity.wallet().address()));
    }
    let Some(content) = keys_of_node(settings).content()? else { return Ok(None) };
    // A keystore need not say whose it is.
    match content.address() {
        None => Ok(Some(opened()?.wallet().address())),
        address => Ok(address),
    }
}

/// As [`of_node`], but makes no key.
///
/// # Errors
/// [`IdentityError`], or that there is none, with the fix.
pub fn existing_of_node(settings: &NodeSettings, passphrases: &Passphrases) -> anyhow::Result<Identity> {
    if settings.private_key.is_none() && keys_of_node(settings).content()?.is_none() {
        bail!(no_key(settings));
    }
    Ok(of_node(settings, passphrases)?)
}

/// That the node has no key yet, and the fix.
#[must_use]
pub fn no_key(settings: &NodeSettings) -> String {
    format!(
        "there is no key yet in {}; fix: start the node once, which makes one, or `golem-provider wallet import`",
        keys_of_node(settings).path().display()
    )
}

/// A renter's identity: `keys/renter_key.json` in the renter's folder, unless a key is set.
///
/// # Errors
/// [`IdentityError`].
pub fn of_renter(settings: &RentingSettings) -> Result<Identity, IdentityError> {
    let given = given("GOLEM_RENTER_PRIVATE_KEY", settings.renter_private_key.as_ref());
    let passphrases = Passphrases::new(None, Asking::Terminal);
    KeyFolder::new(&settings.renter_dir, "renter_key.json").load(given, &|path| passphrases.of(path))
}
