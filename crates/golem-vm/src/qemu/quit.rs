//! The end of QEMU's process, whatever its guest does.
//!
//! Owns that QEMU gets the time to write out what it holds. Never asks whether a guest is alive.

use std::io;
use std::path::Path;
use std::time::Duration;

use golem_types::VmId;
use serde_json::Value;
use tokio::time::timeout;

use super::process::{self, Life};
use super::qmp;

/// How long QEMU may take to end when told to.
const QUIT_DEADLINE: Duration = Duration::from_secs(5);

/// Ends QEMU, which writes out what it holds where it still answers.
pub(super) async fn quit(folder: &Path, id: &VmId) -> io::Result<()> {
    if !matches!(process::of(folder, id)?, Some((_, Life::Alive))) {
        return process::kill(folder, id).await;
    }
    if let Ok(mut client) = qmp::Client::qmp(folder).await {
        let _ = client.call("quit", Value::Null).await;
        let _ = timeout(QUIT_DEADLINE, process::ended(folder, id)).await;
    }
    process::kill(folder, id).await
}
