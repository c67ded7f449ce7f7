//! New values, kept in the node's own file.
//!
//! Owns the refusals: a value that is none, and one over which another would win. Never reads a setting, and starts nothing
//! anew.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::{Mistakes, Origin, set_elsewhere, valid};
use crate::node::Node;
use crate::settings_file;

/// Where a node's settings come from.
#[derive(Debug, Clone)]
pub struct SettingsPlace {
    /// Whose they are.
    pub node: Node,
    /// The environment of the process that has them.
    pub environment: BTreeMap<String, String>,
    /// Its working directory.
    pub directory: PathBuf,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Some values are none.
    #[error(transparent)]
    Wrong(#[from] Mistakes),
    /// They would not take effect.
    #[error(
        "{wins}, which wins over {}; nothing was changed; fix: change it there, or remove it there and try again",
        .file.display()
    )]
    SetElsewhere {
        /// Which, and where.
        wins: String,
        /// The file that was to be written.
        file: PathBuf,
    },
    /// The file cannot be written.
    #[error("{} cannot be written", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl SettingsPlace {
    /// Keeps `changes` in the node's own file, if they are good and nothing wins over them; the file.
    ///
    /// # Errors
    /// [`KeepError`]; nothing was changed then.
    pub fn keep(&self, changes: &BTreeMap<&'static str, String>) -> Result<PathBuf, KeepError> {
        valid(changes)?;
        let file = self.node.settings_file();
        let elsewhere =
            set_elsewhere(&self.node, &self.environment, &self.directory, changes.keys().copied());
        if !elsewhere.is_empty() {
            let place = |(name, origin): &(&str, Origin)| format!("{name} is set in {}", origin.place(name));
            let wins: Vec<_> = elsewhere.iter().map(place).collect();
            return Err(KeepError::SetElsewhere { wins: wins.join(", "), file });
        }
        match settings_file::write(&file, changes) {
            Ok(()) => Ok(file),
            Err(source) => Err(KeepError::File { file, source }),
        }
    }
}
