//! Why a node cannot be taken off its machine, step by step.

use std::io;
use std::path::PathBuf;

use golem_reach::reserved_ports::ReservedPortsError;
use golem_vm::BackendError;

/// Why something cannot be found or removed.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// The VMs cannot be seen.
    #[error("the VMs on this machine cannot be seen")]
    Vms(#[source] BackendError),
    /// A VM cannot be shut down or deleted.
    #[error("a VM cannot be ended and deleted; fix: look at its process, then try again")]
    Vm(#[source] BackendError),
    /// A process of a guest does not end.
    #[error("process {pid} does not end; fix: kill -9 {pid}, then try again")]
    Process {
        /// Its process id.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The packet filter cannot be asked or changed.
    #[error("nftables does not do what it is told; fix: nft delete table inet golem_provider")]
    PacketFilter(#[source] io::Error),
    /// The list of reserved ports cannot be changed.
    #[error("ports stay reserved until a reboot")]
    ReservedPorts(#[source] ReservedPortsError),
    /// A file or folder cannot be listed or removed.
    #[error("{path} cannot be removed; fix: look at what is there, then try again", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key cannot be copied.
    #[error("the key in {path} cannot be copied; fix: --key-file with a file that is not there yet", path = .path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
