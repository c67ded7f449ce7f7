//! The first member of a backup: what the others are.
//!
//! Owns the names that members may have, the bounds of everything that is read of a backup, and who understands it. Never reads
//! a file.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::BackupError;

/// The form of backups that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Name of the manifest among the members.
pub(super) const NAME: &str = "manifest.json";

/// Largest manifest, in bytes: four thousand members fill half of it.
pub(super) const LARGEST_MANIFEST: u64 = 2 << 20;

/// Largest member beside the ledger, in bytes: what people and the node write is a few kilobytes.
pub(super) const LARGEST: u64 = 1 << 20;

/// Largest ledger, in bytes: a hundred times what ten thousand rentals a year fill.
pub(super) const LARGEST_LEDGER: u64 = 64 << 30;

/// Most members.
pub(super) const MOST: usize = 4096;

/// Longest name of a member, in bytes: what the oldest form of tar holds.
const LONGEST_NAME: usize = 100;

/// The ledger's member.
pub const LEDGER: &str = "data/provider.db";

/// The member with the service's settings, `/etc/golem-provider/env`.
pub const SERVICE_SETTINGS: &str = "settings/service.env";

/// The member with the user's settings, where they are not in the data directory.
pub const USER_SETTINGS: &str = "settings/user.env";

/// Folders of the data directory that a backup holds, whole.
pub(super) const FOLDERS: [&str; 4] = ["keys", "networks", "markets", "certificates"];

/// The file of settings in the data directory.
pub(super) const SETTINGS: &str = ".env";

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name: `data/…` for a file of the data directory, else one of the settings.
    pub name: String,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Digest of what it holds, in hexadecimal.
    pub sha256: String,
}

/// What a backup says of itself. Fields that a later program adds are not understood by this one: the format then has another
/// number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Form of the backup; see [`FORMAT`].
    pub format: u32,
    /// Version of the program that wrote it.
    pub program_version: String,
    /// The node's address; `None` if it had no key yet.
    pub provider_id: Option<String>,
    /// Version of the ledger's schema; `None` if there was no ledger yet.
    pub ledger_version: Option<u32>,
    /// When it was written, by the clock of that machine.
    pub created_at: Timestamp,
    /// Every other member, in the order of the file.
    pub members: Vec<Member>,
}

/// The one field that every form has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Manifest {
    /// The manifest that `bytes` are.
    ///
    /// # Errors
    /// [`BackupError::NewerFormat`]; [`BackupError::Damaged`] when it is none, or names what no backup holds.
    pub fn parse(bytes: &[u8]) -> Result<Self, BackupError> {
        let not_one = |_| BackupError::Damaged("its manifest cannot be understood");
        let Format { format } = serde_json::from_slice(bytes).map_err(not_one)?;
        if format > FORMAT {
            return Err(BackupError::NewerFormat(format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(not_one)?;
        if manifest.members.len() > MOST {
            return Err(BackupError::Damaged("it has too many members"));
        }
        let mut names = BTreeSet::new();
        for member in &manifest.members {
            if !is_name(&member.name) {
                return Err(BackupError::Member(member.name.clone(), "is none of a provider's files"));
            }
            let largest = if member.name == LEDGER { LARGEST_LEDGER } else { LARGEST };
            if member.bytes > largest {
                return Err(BackupError::Member(member.name.clone(), "is larger than any such file"));
            }
            if !names.insert(member.name.as_str()) {
                return Err(BackupError::Member(member.name.clone(), "is there twice"));
            }
        }
        // A file cannot be a folder, too.
        let inside = |name: &str| {
            let mut outer = name;
            std::iter::from_fn(move || {
                outer.rsplit_once('/').map(|(left, _)| {
                    outer = left;
                    left
                })
            })
            .any(|outer| names.contains(outer))
        };
        if let Some(member) = manifest.members.iter().find(|member| inside(&member.name)) {
            return Err(BackupError::Member(member.name.clone(), "lies inside of a file"));
        }
        if names.contains(LEDGER) != manifest.ledger_version.is_some() {
            return Err(BackupError::Damaged("its manifest and its ledger do not fit"));
        }
        Ok(manifest)
    }

    /// Bytes of all members together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.members.iter().fold(0, |sum, member| sum.saturating_add(member.bytes))
    }
}

/// Whether a backup may have a member called `name`: a plain way down to a file that the node or its operator writes.
pub(super) fn is_name(name: &str) -> bool {
    if [LEDGER, SERVICE_SETTINGS, USER_SETTINGS].contains(&name) {
        return true;
    }
    let Some(inside) = name.strip_prefix("data/") else { return false };
    if inside == SETTINGS {
        return true;
    }
    let Some((folder, rest)) = inside.split_once('/') else { return false };
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    name.len() <= LONGEST_NAME && FOLDERS.contains(&folder) && rest.split('/').all(is_plain)
}
