//! Whose key the node and a renter have, by the settings.

use golem_chain::identity::{GivenKey, Identity, IdentityError};

use crate::settings::{NodeSettings, RentingSettings, Secret};

fn given<'a>(variable: &'static str, key: Option<&'a Secret>) -> Option<GivenKey<'a>> {
    key.map(|key| GivenKey { variable, key: key.reveal() })
}

/// The node's identity: `keys/provider_key.json` in the data directory, unless a key is set.
///
/// # Errors
/// [`IdentityError`].
pub fn of_node(settings: &NodeSettings) -> Result<Identity, IdentityError> {
    let given = given("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", settings.private_key.as_ref());
    Identity::load(&settings.data_dir, "provider_key.json", given)
}

/// A renter's identity: `keys/renter_key.json` in the renter's folder, unless a key is set.
///
/// # Errors
/// [`IdentityError`].
pub fn of_renter(settings: &RentingSettings) -> Result<Identity, IdentityError> {
    let given = given("GOLEM_RENTER_PRIVATE_KEY", settings.renter_private_key.as_ref());
    Identity::load(&settings.renter_dir, "renter_key.json", given)
}
