//! How long to wait before what failed is tried once more.
//!
//! Owns the arithmetic. Never waits.

use std::time::Duration;

/// The waiting time `first`, doubled `times`, up to `most`.
pub(crate) fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    // What was doubled so often is long enough.
    first.saturating_mul(1 << times.min(16)).min(most)
}
