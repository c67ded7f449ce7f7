//! The image that VMs start from, on this machine before the first renter asks.
//!
//! Owns what its absence means. Never decides what an image is:
//! `golem_vm::images` does.

use crate::backend;
use crate::settings::Settings;

/// Sees to it that the default image is here, where the backend needs one.
///
/// # Errors
/// When it cannot be had and no VM was ever rented out; later that is only a warning, because
/// the VMs that are rented out need the node more than new renters do.
pub(crate) fn ensure(settings: &Settings) -> anyhow::Result<()> {
    if !backend::image_missing(settings) {
        return Ok(());
    }
    let image = &settings.default_vm_image;
    let error = anyhow::anyhow!(
        "the default image {image} is not here; fix: `golem-provider images add {image} FILE`, \
         or set GOLEM_PROVIDER_DEFAULT_VM_IMAGE to an image that is here"
    );
    if settings.data_dir.join(golem_node::LEDGER_FILE).exists() {
        tracing::warn!("{error:#}; until then, rentals of {image} are refused");
        return Ok(());
    }
    Err(error)
}
