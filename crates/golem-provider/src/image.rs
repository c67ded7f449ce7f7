//! The image that VMs start from, on this machine before the first renter asks.
//!
//! Owns when it is fetched and what is shown meanwhile. Never decides what an image is:
//! `golem_vm::images` does.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use golem_service::tasks::Tasks;
use golem_types::ImageName;
use golem_vm::images::{DownloadProgress, ENTRIES, Images, Pulled, canonical, refresh};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{backend, logs};
use golem_host::settings::BackendSettings;

/// Sees to it that the default image is here, where the backend needs one.
///
/// # Errors
/// When it cannot be had and the node never ran; later that is only a warning, because the VMs
/// that are rented out need the node more than new renters do.
pub(crate) async fn ensure(settings: &BackendSettings) -> anyhow::Result<()> {
    if !backend::image_missing(settings) {
        return Ok(());
    }
    let image = &settings.vms.default_vm_image;
    tracing::info!(%image, "the default image is not here yet; downloading it");
    let Err(error) = pull(&settings.data_dir, image).await else { return Ok(()) };
    let error = error.context(cannot_be_had(image));
    if settings.data_dir.join(golem_node::LEDGER_FILE).exists() {
        tracing::warn!("{error:#}; until then, rentals of {image} are refused");
        return Ok(());
    }
    Err(error)
}

/// What is said where the default image cannot be had.
pub(crate) fn cannot_be_had(image: &ImageName) -> String {
    let file = match url(image) {
        Some(url) => format!(
            "download {url} on a machine that reaches it, then `golem-provider images add {image} FILE`"
        ),
        None => format!("`golem-provider images add {image} FILE`"),
    };
    format!(
        "the default image {image} cannot be had; fix: {file}, or set GOLEM_PROVIDER_DEFAULT_VM_IMAGE to an image \
         that is here"
    )
}

/// Whether the catalogue has the image `name`.
pub(crate) fn is_in_catalogue(name: &ImageName) -> bool {
    let name = canonical(name);
    ENTRIES.iter().any(|entry| entry.name == name.as_str())
}

/// Where the catalogue's image `name` is published.
fn url(name: &ImageName) -> Option<String> {
    let name = canonical(name);
    ENTRIES.iter().find(|entry| entry.name == name.as_str())?.url()
}

/// Keeps the images that were downloaded as new as their publishers', if the settings want that and the backend has
/// images of its own.
pub(crate) fn keep_fresh(settings: &BackendSettings, tasks: &Tasks) {
    let days = settings.vms.image_refresh_days;
    if days > 0 && backend::has_images(settings) {
        let due = Duration::from_secs(u64::from(days) * 86_400);
        refresh::keep_fresh(settings.data_dir.clone(), due, tasks);
    }
}

/// Downloads `image`; people at a terminal see how far it is, and the log sees every tenth.
///
/// # Errors
/// When it cannot be had.
pub(crate) async fn pull(data_dir: &Path, image: &ImageName) -> anyhow::Result<Pulled> {
    let images = Images::open(data_dir).context("the images cannot be opened")?;
    let style =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
            .context("the progress bar has no form")?;
    let bar = match logs::can_redraw() {
        true => ProgressBar::no_length().with_style(style).with_message(image.to_string()),
        false => ProgressBar::hidden(),
    };
    let mut logged = 0;
    let pulled = images
        .pull(image, |progress| {
            show(&bar, progress);
            let tenth = progress.total.and_then(|total| (progress.done * 10).checked_div(total)).unwrap_or(0);
            if tenth > logged {
                logged = tenth;
                tracing::info!(%image, percent = tenth * 10, "downloading");
            }
        })
        .await;
    bar.finish_and_clear();
    Ok(pulled?)
}

fn show(bar: &ProgressBar, progress: DownloadProgress) {
    if let Some(total) = progress.total {
        bar.set_length(total);
    }
    if bar.position() == 0 {
        // What an earlier try fetched is no speed of this one.
        bar.set_position(progress.done);
        bar.reset_eta();
    }
    bar.set_position(progress.done);
}
