//! Snapshots of the disk of what is rented.
//!
//! Owns what a provider says of them, as it may be shown. Never moves money.

use golem_service::http::Method;
use golem_types::{SnapshotName, VmName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Renter;
use super::provider::{Provider, VmStanding};
use super::shown::shown;
use super::use_vm::{UseError, at_provider};

/// A snapshot, in its provider's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// What it is called.
    pub name: String,
    /// `creating`, `ready`, `restoring`, `deleting` or `failed`.
    pub status: String,
    /// What may be expected of its files: `stopped`, `file_system` or `power_cut`.
    pub consistency: Option<String>,
    /// What it counts as on the provider's disk, in GiB.
    pub storage: Option<u32>,
    /// When it was asked for (UTC).
    pub created_at: String,
    /// Why the last that was asked of it was not done.
    pub error_message: Option<String>,
}

impl SnapshotView {
    /// Itself, with nothing that moves a terminal.
    fn plain(self) -> Self {
        Self {
            name: shown(&self.name),
            status: shown(&self.status),
            consistency: self.consistency.as_deref().map(shown),
            storage: self.storage,
            created_at: shown(&self.created_at),
            error_message: self.error_message.as_deref().map(shown),
        }
    }
}

/// The VM's provider, and where its snapshots are there.
fn place(renter: &Renter<'_>, vm: &VmName) -> Result<(Provider, String), UseError> {
    let (provider, reference) = at_provider(renter, vm)?;
    Ok((provider, format!("/vms/{reference}/snapshots")))
}

/// The snapshots of the rental `vm`, oldest first.
///
/// # Errors
/// [`UseError`].
pub async fn snapshots(renter: &Renter<'_>, vm: &VmName) -> Result<Vec<SnapshotView>, UseError> {
    let (provider, path) = place(renter, vm)?;
    let all: Vec<SnapshotView> = provider.call(Method::GET, &path, None).await?;
    Ok(all.into_iter().map(SnapshotView::plain).collect())
}

/// Makes a snapshot of the disk of the rental `vm`, called after its time if no name is given.
///
/// # Errors
/// [`UseError`].
pub async fn create_snapshot(
    renter: &Renter<'_>,
    vm: &VmName,
    name: Option<&SnapshotName>,
) -> Result<SnapshotView, UseError> {
    let (provider, path) = place(renter, vm)?;
    let body = json!({ "name": name });
    let made: SnapshotView = provider.call(Method::POST, &path, Some(&body)).await?;
    Ok(made.plain())
}

/// Deletes the snapshot `name` of the rental `vm`.
///
/// # Errors
/// [`UseError`].
pub async fn delete_snapshot(renter: &Renter<'_>, vm: &VmName, name: &SnapshotName) -> Result<(), UseError> {
    let (provider, path) = place(renter, vm)?;
    provider.call::<Value>(Method::DELETE, &format!("{path}/{name}"), None).await?;
    Ok(())
}

/// Makes the disk of the rental `vm` what it was when the snapshot `name` was made.
///
/// # Errors
/// [`UseError`].
pub async fn restore_snapshot(
    renter: &Renter<'_>,
    vm: &VmName,
    name: &SnapshotName,
) -> Result<VmStanding, UseError> {
    let (provider, path) = place(renter, vm)?;
    Ok(provider.call(Method::POST, &format!("{path}/{name}/restore"), None).await?)
}
