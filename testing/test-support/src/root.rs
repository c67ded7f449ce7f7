//! Tests that need root where they may not have it.
//!
//! Owns how such a test says that it did not try: a whole run lists them at its end, so that none passes in silence.

use std::io::Write;

/// Names the file in which a run collects what was not tried.
const NOT_TRIED: &str = "GOLEM_TEST_NOT_TRIED";

/// Whether the test that asks runs as root. If not, it goes without what it needs root for, and the run says so.
#[must_use]
pub fn as_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        not_tried("it needs root");
    }
    root
}

/// The test that calls, or a part of it, is not tried on this machine because of `reason`.
pub fn not_tried(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test"));
    eprint!("not tried: {line}");
    let Some(path) = std::env::var_os(NOT_TRIED) else { return };
    let file = std::fs::File::options().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("what was not tried cannot be written down");
}
