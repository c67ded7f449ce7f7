//! Places at which crash tests end the process.

/// Kills the process here, as `kill -9` would, when the failpoint `name` is set to `return`
/// (feature `failpoints`, for crash tests only).
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        if fail::eval($name, |_| ()).is_some() {
            std::process::abort();
        }
    };
}
pub(crate) use crash_point;
