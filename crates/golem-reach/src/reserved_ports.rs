//! Keeping the system's own connections off the ports of VMs.
//!
//! ```text
//!   what is missing ─► remembered in the data directory ─► added to the kernel's list ─► read back
//!        ▲ every minute: somebody may have set the list anew                                │
//!        └──────────────────────────────────────────────────────────────────────────────────┤ end of the node
//!                                                 taken away again, and forgotten ◄─────────┘
//! ```
//! Owns this node's part of Linux's `ip_local_reserved_ports`. The system takes the local ports of
//! outgoing connections from a range (usually 32768 to 60999) that holds the default SSH ports; while such
//! a connection lives, its port cannot be listened on, and a VM that was paid for could not be reached.
//! Never takes away what others reserved, and touches nothing that it cannot read. A node that starts anew
//! leaves its part to itself.

mod list;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use golem_service::tasks::Tasks;
use serde::{Deserialize, Serialize};

/// Where Linux keeps both ranges.
const FOLDER: &str = "/proc/sys/net/ipv4";

/// The file in the data directory that remembers what was added.
const MEMORY: &str = "reserved-ports.json";

/// Most bytes of that file.
const MEMORY_MAXIMUM: u64 = 1 << 20;

/// How often the list is looked at again.
const INTERVAL: Duration = Duration::from_secs(60);

/// Longest text that the kernel takes as one list; it cuts longer ones into several.
const PIECE: usize = 4000;

/// Why ports are not reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReservedPortsError {
    /// A value of the kernel cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// The value.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A value of the kernel is no list of ports.
    #[error("{path} holds {text:?}, which is not understood, and is left alone", path = .path.display())]
    Unknown {
        /// The value.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
    /// The file in the data directory cannot be read or written.
    #[error("what was reserved cannot be remembered, so nothing is")]
    Memory(#[source] io::Error),
    /// The kernel does not take the list.
    #[error("the list of reserved ports cannot be changed")]
    Write {
        /// The list as it should be.
        wanted: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel has another list than was written.
    #[error("the list of reserved ports is {found:?} after it was set to {wanted:?}")]
    Lost {
        /// The list as it should be.
        wanted: String,
        /// The list as it is.
        found: String,
    },
}

/// What this node added, and where: on another boot or in another network the list is another one.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    place: String,
    ports: String,
}

/// This node's part of the list.
#[derive(Debug, Clone)]
pub struct ReservedPorts {
    folder: PathBuf,
    memory: PathBuf,
    place: String,
    ports: Range<u16>,
}

/// Longest list, in bytes, that the operator is told to write at once. The kernel takes a page in one write and drops the
/// rest; a quarter of that is as much as anybody copies from a log.
const LONGEST_FIX: usize = 1024;

impl ReservedPorts {
    /// For a node whose SSH ports are `ports`.
    #[must_use]
    pub fn new(data_dir: &Path, ports: Range<u16>) -> Self {
        let boot =
            golem_files::kernel_value(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
        let network = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
        Self {
            folder: FOLDER.into(),
            memory: data_dir.join(MEMORY),
            place: format!("{} {}", boot.trim(), network.display()),
            ports,
        }
    }

    /// Reserves the ports, or says how the operator can.
    #[must_use]
    pub fn begin(self) -> Reservation {
        let told = self.see_to_it(None);
        Reservation { ports: self, told, stays: false }
    }

    /// Reserves what is not; the problem, if there is one, which is only told if it is not `told`.
    fn see_to_it(&self, told: Option<&str>) -> Option<String> {
        match self.reserve() {
            Ok(added) => {
                if !added.is_empty() {
                    let ports = list::text(&added);
                    tracing::info!(ports, "kept the system's own connections off the SSH ports");
                }
                None
            }
            Err(error) => {
                let text = error.to_string();
                if told != Some(&text) {
                    self.tell(&error);
                }
                Some(text)
            }
        }
    }

    fn tell(&self, error: &ReservedPortsError) {
        let fix = match error {
            ReservedPortsError::Write { wanted, .. } if wanted.len() < LONGEST_FIX => {
                format!("sysctl -w net.ipv4.ip_local_reserved_ports={wanted}")
            }
            _ => format!(
                "add {}-{} to net.ipv4.ip_local_reserved_ports, or set the SSH ports to others",
                self.ports.start,
                self.ports.end.saturating_sub(1)
            ),
        };
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "the system may take SSH ports for its own connections, and their VMs cannot be reached then; fix: \
             {fix}"
        );
    }

    fn list(&self) -> PathBuf {
        self.folder.join("ip_local_reserved_ports")
    }

    /// What is reserved; `None` on systems that know no such list.
    fn reserved(&self) -> Result<Option<BTreeSet<u16>>, ReservedPortsError> {
        let Some(text) = read(&self.list())? else { return Ok(None) };
        let unknown =
            || ReservedPortsError::Unknown { path: self.list(), text: text.chars().take(80).collect() };
        list::parse(&text).map(Some).ok_or_else(unknown)
    }

    /// The SSH ports that the system might take.
    fn endangered(&self) -> Result<BTreeSet<u16>, ReservedPortsError> {
        let path = self.folder.join("ip_local_port_range");
        let Some(text) = read(&path)? else { return Ok(BTreeSet::new()) };
        let bounds: Option<Vec<u16>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        match bounds.as_deref() {
            Some([low, high]) => Ok(self.ports.clone().filter(|port| (low..=high).contains(&port)).collect()),
            _ => Err(ReservedPortsError::Unknown { path, text: text.chars().take(80).collect() }),
        }
    }

    /// Adds what is missing and takes away what is no longer wanted of what was added; what was added now.
    fn reserve(&self) -> Result<BTreeSet<u16>, ReservedPortsError> {
        let Some(reserved) = self.reserved()? else { return Ok(BTreeSet::new()) };
        let wanted = self.endangered()?;
        let own = self.remembered(&reserved)?;
        let missing = &wanted - &reserved;
        if !missing.is_empty() {
            self.remember(&(&own | &missing))?;
            // At another place than the start, the kernel adds to the list instead of replacing it.
            if let Err(error) = self.write(&missing, 1, &(&reserved | &missing)) {
                self.remember(&own)?;
                return Err(error);
            }
        }
        let outdated = &own - &wanted;
        if !outdated.is_empty() {
            self.take_away(&outdated)?;
        }
        self.remember(&(&(&own | &missing) & &wanted))?;
        Ok(missing)
    }

    /// Whether a node that ended without releasing them left ports reserved, or a memory of that.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.memory.exists()
    }

    /// Takes away what was added and is still there. No node of this data directory may run.
    ///
    /// # Errors
    /// [`ReservedPortsError`].
    pub fn release(&self) -> Result<(), ReservedPortsError> {
        if let Some(reserved) = self.reserved()? {
            let own = self.remembered(&reserved)?;
            if !own.is_empty() {
                self.take_away(&own)?;
            }
        }
        self.remember(&BTreeSet::new())
    }

    fn take_away(&self, ports: &BTreeSet<u16>) -> Result<(), ReservedPortsError> {
        // What others changed meanwhile stays as they want it.
        let Some(reserved) = self.reserved()? else { return Ok(()) };
        self.write(&(&reserved - ports), 0, &(&reserved - ports))
    }

    /// Writes `ports` to the list at `offset`, which has to hold at least `all` afterwards.
    fn write(
        &self,
        ports: &BTreeSet<u16>,
        offset: u64,
        all: &BTreeSet<u16>,
    ) -> Result<(), ReservedPortsError> {
        let failed = |source| ReservedPortsError::Write { wanted: list::text(all), source };
        let file = std::fs::OpenOptions::new().write(true).open(self.list()).map_err(failed)?;
        for (number, piece) in list::pieces(ports, PIECE).into_iter().enumerate() {
            let offset = if number == 0 { offset } else { 1 };
            let written = file.write_at(piece.as_bytes(), offset).map_err(failed)?;
            if written < piece.len() {
                return Err(failed(ErrorKind::WriteZero.into()));
            }
        }
        let found = self.reserved()?.unwrap_or_default();
        if found.is_superset(all) {
            return Ok(());
        }
        Err(ReservedPortsError::Lost { wanted: list::text(all), found: list::text(&found) })
    }

    /// What this node added to the list and is still `reserved`.
    fn remembered(&self, reserved: &BTreeSet<u16>) -> Result<BTreeSet<u16>, ReservedPortsError> {
        let bytes = match golem_files::read(&self.memory, MEMORY_MAXIMUM) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            bytes => bytes.map_err(ReservedPortsError::Memory)?,
        };
        // One that is damaged remembers nothing: better a port too many than one of others too few.
        let memory: Memory = serde_json::from_slice(&bytes).unwrap_or_default();
        let ports = list::parse(&memory.ports).filter(|_| memory.place == self.place).unwrap_or_default();
        Ok(&ports & reserved)
    }

    fn remember(&self, ports: &BTreeSet<u16>) -> Result<(), ReservedPortsError> {
        let kept = if ports.is_empty() {
            golem_files::absent_is_fine(std::fs::remove_file(&self.memory))
        } else {
            let memory = Memory { place: self.place.clone(), ports: list::text(ports) };
            let same =
                |bytes: &[u8]| serde_json::from_slice::<Memory>(bytes).is_ok_and(|kept| kept == memory);
            match golem_files::read(&self.memory, MEMORY_MAXIMUM) {
                Ok(bytes) if same(&bytes) => Ok(()),
                _ => serde_json::to_vec(&memory)
                    .map_err(io::Error::from)
                    .and_then(|bytes| golem_files::replace(&self.memory, &bytes)),
            }
        };
        kept.map_err(ReservedPortsError::Memory)
    }
}

/// Keeps the ports reserved until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    ports: ReservedPorts,
    /// The problem that was told last.
    told: Option<String>,
    /// Whether the node starts anew, which goes on with it.
    stays: bool,
}

impl Reservation {
    /// Sees to it again and again.
    pub fn keep(&self, tasks: &Tasks) {
        let (ports, stop, mut told) = (self.ports.clone(), tasks.stopping().clone(), self.told.clone());
        tasks.spawn("reserved ports", async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                let ports = ports.clone();
                let before = told.clone();
                let seen = tokio::task::spawn_blocking(move || ports.see_to_it(before.as_deref()));
                told = seen.await.unwrap_or(told);
            }
        });
    }

    /// Leaves the ports reserved for the node that starts anew.
    pub fn leave(&mut self) {
        self.stays = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = self.ports.release()
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the ports that were kept off the system's own connections stay reserved until a reboot"
            );
        }
    }
}

/// The value at `path`, if this system has it.
fn read(path: &Path) -> Result<Option<String>, ReservedPortsError> {
    match golem_files::kernel_value(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReservedPortsError::Read { path: path.to_owned(), source }),
        Ok(text) => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests;
