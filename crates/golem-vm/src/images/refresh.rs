//! Images that were downloaded, kept as new as their publishers'.
//!
//! Owns when each is downloaded again. VMs keep what they started from, and an operator's own images are left alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use golem_service::tasks::Tasks;

use super::{Images, Pulled};

/// How often it is looked whether an image is due; and after a failure not for a day.
const LOOK: Duration = Duration::from_secs(3600);
const AFTER_FAILURE: Duration = Duration::from_secs(86_400);

/// Downloads the images of `data_dir` again that are `due`, until `tasks` stop.
pub fn keep_fresh(data_dir: PathBuf, due: Duration, tasks: &Tasks) {
    let stop = tasks.stopping().clone();
    tasks.spawn("image refresh", async move {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                pause = refresh(&data_dir, due) => pause,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}

/// Pulls every image that is `due`; how long to wait before the next look.
async fn refresh(data_dir: &Path, due: Duration) -> Duration {
    let images = match Images::open(data_dir) {
        Ok(images) => images,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the images cannot be kept fresh");
            return AFTER_FAILURE;
        }
    };
    let mut pause = LOOK;
    for (image, age) in images.downloaded() {
        if age < due {
            continue;
        }
        match images.pull(&image, |_| ()).await {
            Ok(Pulled { is_new: true, .. }) => {
                tracing::info!(%image, "the image was replaced by its publisher's newest")
            }
            Ok(_) => tracing::debug!(%image, "the image is its publisher's newest"),
            Err(error) => {
                pause = AFTER_FAILURE;
                tracing::warn!(
                    %image,
                    error = &error as &dyn std::error::Error,
                    "the image is not replaced by its publisher's newest; the one that is here is used on"
                );
            }
        }
    }
    pause
}
