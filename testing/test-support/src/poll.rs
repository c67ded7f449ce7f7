//! Waiting until something holds: looked at every 50 ms, until a deadline that fails the test.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far more than it ever needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks: long enough to leave the processor to what is waited for.
pub const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `level` holds.
pub fn wait_until(what: &str, level: impl Fn() -> bool) {
    wait_up_to(DEADLINE, what, level);
}

/// As [`wait_until`], for what may take up to `deadline`.
pub fn wait_up_to(deadline: Duration, what: &str, level: impl Fn() -> bool) {
    let end = Instant::now() + deadline;
    while !level() {
        assert!(Instant::now() < end, "never: {what}");
        pause();
    }
}

/// As [`wait_until`], for tests on a runtime.
pub async fn until(what: &str, level: impl AsyncFn() -> bool) {
    let poll = async {
        while !level().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, poll).await.is_ok(), "never: {what}");
}

/// The pause between two looks, for loops that look at more than one thing.
pub fn pause() {
    std::thread::park_timeout(PAUSE);
}
