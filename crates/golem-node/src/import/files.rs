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

/// All of them.
pub const FILES: [&str; 6] = [NAMES, STREAMS, JOBS, PORTS, OLD_PORTS, PROXY];

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

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [(&str, &str); 4] = [
        (NAMES, r#"{"name_map": {"web": "golem-1"}, "reverse_map": {"golem-1": "web"}}"#),
        (PORTS, r#"{"golem-1": 50801}"#),
        (
            STREAMS,
            r#"{"web": 115792089237316195423570985008687907853269984665640564039457584007913129639935}"#,
        ),
        (JOBS, "SQLite format 3"),
    ];

    /// A home with every file whole but for `place`, which has `text`, or is missing.
    fn home(place: &str, text: Option<&str>) -> Found {
        let folder = tempfile::tempdir().unwrap();
        for (name, whole) in WHOLE {
            let Some(text) = (if name == place { text } else { Some(whole) }) else { continue };
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        read(folder.path())
    }

    /// Whether only what `place` says is lost.
    fn only_lacks(place: &str, found: &Found) -> bool {
        (found.names.is_empty(), found.ports.is_empty(), found.streams.is_empty())
            == (place == NAMES, place == PORTS, place == STREAMS)
    }

    #[test]
    fn a_missing_file_is_no_mistake_and_a_damaged_one_is_told_and_kept() {
        let whole = home("", None);
        assert!(only_lacks("", &whole) && whole.problems.is_empty());
        assert_eq!(whole.streams["web"].0, ruint::aliases::U256::MAX);
        for (place, text) in WHOLE {
            let missing = home(place, None);
            assert!(only_lacks(place, &missing) && missing.problems.is_empty(), "{place}");
            assert_eq!(missing.files.len(), WHOLE.len() - 1, "{place}");
            // What the job store says is not needed.
            for damaged in
                ["", &text[..text.len() / 2], "[1,2]", r#"{"name_map": null}"#, r#"{"version": "9"}"#]
            {
                let found = home(place, Some(damaged));
                assert!(only_lacks(place, &found), "{place}: {damaged}");
                assert_eq!(found.problems.len(), usize::from(place != JOBS), "{place}: {damaged}");
                assert_eq!(found.files.len(), WHOLE.len(), "{place}: {damaged}");
            }
        }
    }

    #[test]
    fn a_ports_file_of_the_older_place_is_read_and_the_newer_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("proxy")).unwrap();
        std::fs::write(folder.path().join(OLD_PORTS), r#"{"golem-1": 1, "golem-2": 50802}"#).unwrap();
        std::fs::write(folder.path().join(PORTS), r#"{"golem-1": 50801}"#).unwrap();
        let ports = read(folder.path()).ports;
        assert_eq!((ports["golem-1"], ports["golem-2"]), (50801, 50802));
    }
}
