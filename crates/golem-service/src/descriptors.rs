//! How many files and sockets this process may have open.
//!
//! Owns the limit and its division, so that what strangers open leaves enough for the process itself.

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

/// `wanted`, or as many as one kind of strangers' sockets may be: an eighth of all.
#[must_use]
pub fn share(wanted: usize) -> usize {
    wanted.min(limit() / 8).max(8)
}
