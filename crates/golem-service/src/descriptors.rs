//! The limit of open file descriptors, and its division.
//!
//! Owns both, so that connections of clients leave enough for the process itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the host allows; usually it begins at 1024, and each connection that is passed on needs
/// two. Where the kernel refuses, that is logged and the limit stays.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the limit of open files cannot be raised");
    }
}

/// How many may be open.
#[must_use]
pub fn limit() -> usize {
    getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// `wanted`, or an eighth of the limit, if that is less: the most for one kind of client sockets.
#[must_use]
pub fn share(wanted: usize) -> usize {
    wanted.min(limit() / 8).max(8)
}
