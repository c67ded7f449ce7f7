//! What the benchmarks share: figures, tables, and the processes that are measured.
//!
//! A benchmark measures every contender in the same run, rounds interleaved, and prints medians,
//! their spread and ratios. It listens on the loopback only, ends by itself, and ends only the
//! processes that it started.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

pub mod figures;
pub mod guests;
pub mod internet;
pub mod node;
pub mod original;
pub mod plain;
pub mod process;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Where benchmarks keep what they install or build: `bench` in the target folder.
#[must_use]
pub fn folder() -> PathBuf {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| project.parent().unwrap_or(&project).join("target"), PathBuf::from);
    target.join("bench")
}

/// Waits until `condition` holds, at most for `limit`.
///
/// # Errors
/// When it does not hold in time, or cannot be judged.
pub fn wait_for(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !condition()? {
        if began.elapsed() > limit {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Ok(())
}

/// Says what is being done.
pub fn say(what: &str) {
    println!("{what}");
}
