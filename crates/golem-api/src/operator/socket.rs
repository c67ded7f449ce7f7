//! The Unix sockets of the operator API.
//!
//! ```text
//!   DATA/operator.sock, 0600 ── root, or the node's own user ─────────┐
//!   /run/golem-provider/operator.sock, 0660 ── and the folder's group ┴─► operator API, without its token
//! ```
//! Owns their files, and who may use them: the kernel says who connects, so nobody needs the token. Never serves.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use golem_host::node::{Places, SOCKET};
use tokio::net::UnixListener;
use tokio::net::unix::UCred;

/// A socket that nobody can connect to yet.
#[derive(Debug)]
pub struct OperatorSocket {
    pub(crate) listener: UnixListener,
    pub(crate) path: PathBuf,
    /// Whether the group of this process may use it.
    is_shared: bool,
}

impl OperatorSocket {
    /// Those of a node with this data directory: in there, and in the folder of the package's service, if systemd made that
    /// for this process. Where one cannot be had, a warning says so, and commands use the port.
    pub async fn all(data_dir: &Path) -> Vec<Self> {
        let places = Places::default();
        let is_given =
            std::env::var_os("RUNTIME_DIRECTORY").is_some_and(|given| given == places.runtime.as_os_str());
        let shared = is_given.then(|| (places.socket(), true));
        let mut sockets = Vec::new();
        for (path, is_shared) in [(data_dir.join(SOCKET), false)].into_iter().chain(shared) {
            match Self::bind(&path, is_shared).await {
                Ok(socket) => sockets.push(socket),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    path = %path.display(),
                    "the operator API has no socket there"
                ),
            }
        }
        sockets
    }

    /// Listens at `path`, in place of a socket that a node left behind; `is_shared` with the group of this process.
    ///
    /// # Errors
    /// `AddrInUse` where another node listens; any other error of making it.
    async fn bind(path: &Path, is_shared: bool) -> io::Result<Self> {
        let is_held = tokio::net::UnixStream::connect(path).await.is_ok();
        if is_held {
            return Err(ErrorKind::AddrInUse.into());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Private from its first moment on, as every file of this process (`golem_files::private_by_default`).
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(if is_shared { 0o660 } else { 0o600 }))?;
        Ok(Self { listener, path: path.to_owned(), is_shared })
    }

    /// Who may use it. Whose groups has the socket's the kernel has asked, when it let them connect.
    pub(crate) fn rule(&self) -> impl Fn(UCred) -> bool + use<> {
        let is_shared = self.is_shared;
        let own = rustix::process::geteuid().as_raw();
        move |peer| is_shared || peer.uid() == 0 || peer.uid() == own
    }
}
