//! The Python provider's files.
//!
//! Owns where they are and what is taken from them. A file that is missing is no mistake; one that is
//! damaged is told and nothing is taken from it. Never changes a file.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use golem_types::StreamId;
use golem_types::wire::Exact;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Largest file that is read, in bytes: ten thousand VMs take less than two million.
const MAXIMUM: u64 = 8 << 20;

/// The files, below the data directory: which VM is which machine, which port, which stream, jobs, and
/// the state of the proxy.
pub(super) const NAMES: &str = "vms/vm_names.json";
const STREAMS: &str = "vms/streams.json";
const JOBS: &str = "vms/jobs.sqlite";
const PORTS: &str = "proxy/ports.json";
const OLD_PORTS: &str = "ports.json";
const PROXY: &str = "proxy/proxy_state.json";

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// What renters call their VMs, and what Multipass calls their machines.
    pub names: BTreeMap<String, String>,
    /// The port of each machine, by Multipass's name.
    pub ports: BTreeMap<String, u16>,
    /// The stream of each VM, by its renter's name.
    pub streams: BTreeMap<String, StreamId>,
    /// The files that are there, below the data directory.
    pub files: Vec<PathBuf>,
    /// What is wrong with them.
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
struct Names {
    name_map: BTreeMap<String, String>,
}

/// Whether the Python provider left VMs in `data_dir`.
pub(super) fn are_there(data_dir: &Path) -> bool {
    data_dir.join(NAMES).is_file()
}

/// Reads what is there.
pub(super) fn read(data_dir: &Path) -> Found {
    let mut found = Found::default();
    if let Some(names) = found.file::<Names>(data_dir, NAMES) {
        found.names = names.name_map;
    }
    // The older place first: what the newer one says counts.
    for place in [OLD_PORTS, PORTS] {
        if let Some(ports) = found.file::<BTreeMap<String, u16>>(data_dir, place) {
            found.ports.extend(ports);
        }
    }
    if let Some(streams) = found.file::<BTreeMap<String, Exact>>(data_dir, STREAMS) {
        found.streams = streams.into_iter().map(|(name, id)| (name, StreamId(id.0))).collect();
    }
    for place in [JOBS, PROXY] {
        if data_dir.join(place).is_file() {
            found.files.push(place.into());
        }
    }
    found
}

impl Found {
    fn file<T: DeserializeOwned>(&mut self, data_dir: &Path, place: &str) -> Option<T> {
        let mut text = String::new();
        let read = std::fs::File::open(data_dir.join(place))
            .and_then(|file| file.take(MAXIMUM).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => self.problems.push(format!("{place} cannot be read: {error}")),
            Ok(_) => match serde_json::from_str(&text) {
                Ok(content) => {
                    self.files.push(place.into());
                    return Some(content);
                }
                Err(error) => self.problems.push(format!(
                    "{place} is damaged or of another version ({error}); nothing is taken from it"
                )),
            },
        }
        self.files.push(place.into());
        None
    }
}
