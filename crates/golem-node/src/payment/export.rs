//! `streams.json`: which rental is paid by which stream, for tools that read it.
//!
//! Owns the file, which only the operator can read: a rental's id is the right to use it. Never
//! reads it back: the ledger knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use golem_types::wire::Exact;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::Snapshot;

/// Keeps `streams.json` as the ledger has it, until `stop`.
pub(crate) async fn run(
    mut changes: watch::Receiver<Arc<Snapshot>>,
    folder: PathBuf,
    stop: CancellationToken,
) {
    let mut written = None;
    loop {
        let wanted = mapping(&changes.borrow_and_update());
        if written.as_ref() != Some(&wanted) {
            match write(&folder, wanted.clone()).await {
                Ok(()) => written = Some(wanted),
                Err(error) => golem_service::log_limited!(
                    error,
                    error = &error as &dyn std::error::Error,
                    "streams.json cannot be written"
                ),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn write(folder: &Path, mapping: BTreeMap<String, Exact>) -> std::io::Result<()> {
    let path = folder.join("streams.json");
    tokio::task::spawn_blocking(move || replace(&path, &mapping))
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// The mapping that the file holds: the numbers exact, whatever their size.
fn mapping(now: &Snapshot) -> BTreeMap<String, Exact> {
    now.iter()
        .filter_map(|rental| {
            let key = rental.vm.stream.as_ref()?;
            Some((rental.vm.id.to_string(), Exact(key.id.0)))
        })
        .collect()
}

/// Writes `mapping` to `path`, which is whole at any time.
fn replace(path: &Path, mapping: &BTreeMap<String, Exact>) -> std::io::Result<()> {
    let mut text = serde_json::to_vec_pretty(mapping)?;
    text.push(b'\n');
    golem_files::replace(path, &text)
}
