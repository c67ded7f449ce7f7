//! What keeps a volume from being written, as the system tells without a try.
//!
//! Owns its words, which renters read. Never writes.

use std::path::Path;

use rustix::fs::StatVfsMountFlags;

/// What is wrong with the volume of `folder`: it is read-only, has no file left, or fewer than `least` bytes. `None`
/// also if it cannot be asked.
#[must_use]
pub fn volume_trouble(folder: &Path, least: u64) -> Option<&'static str> {
    let volume = rustix::fs::statvfs(folder).ok()?;
    if volume.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Some("the provider's disk is read-only");
    }
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    // Some kinds of volume count no files.
    let no_file_left = volume.f_files > 0 && volume.f_favail == 0;
    (free < least || no_file_left).then_some("the provider's disk is full")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_least_is_full_and_what_cannot_be_asked_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(volume_trouble(folder.path(), 0), None);
        assert_eq!(volume_trouble(folder.path(), u64::MAX), Some("the provider's disk is full"));
        assert_eq!(volume_trouble(&folder.path().join("missing"), u64::MAX), None);
    }
}
