//! What the kernel tells of a process in `/proc/PID/stat`.
//!
//! Owns where its fields begin. Never reads the file.

/// The fields of the text `stat` that follow the command's name, beginning with the state. The name is in brackets and may hold
/// anything, brackets too; what follows holds none (`man 5 proc_pid_stat`). `None` if that makes no sense.
pub(crate) fn fields(stat: &[u8]) -> Option<Vec<&str>> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace().collect())
}
