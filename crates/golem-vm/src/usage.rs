//! What a machine uses of the host.
//!
//! Owns the counters' meaning, and how they are read of a process. Never keeps a history.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use crate::proc_stat;

/// What a machine uses, as of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time since its launch, in milliseconds, of all its processors together.
    pub cpu_ms: u64,
    /// Memory of the host that it holds, in bytes.
    pub memory_bytes: u64,
    /// Space of the host that its disk takes, in bytes.
    pub disk_bytes: u64,
}

/// Of which the kernel counts CPU time, per second (`USER_HZ`, the same on every architecture that guests run on).
const TICKS: u64 = 100;

impl Usage {
    /// Of the process whose files in `/proc` are `process`, and of the disk in the file `disk`.
    pub(crate) fn of_process(process: &Path, disk: &Path) -> io::Result<Self> {
        let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
        let stat = std::fs::read(process.join("stat"))?;
        let ticks = cpu_ticks(&stat).ok_or_else(nonsense)?;
        let statm = std::fs::read_to_string(process.join("statm"))?;
        let pages: Option<u64> = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok());
        let page = rustix::param::page_size() as u64;
        Ok(Self {
            cpu_ms: ticks.saturating_mul(1000 / TICKS),
            memory_bytes: pages.ok_or_else(nonsense)?.saturating_mul(page),
            // In blocks of 512 bytes, whatever the filesystem's are.
            disk_bytes: std::fs::metadata(disk)?.blocks().saturating_mul(512),
        })
    }
}

/// CPU time in user and kernel, of the text of `/proc/PID/stat`.
fn cpu_ticks(stat: &[u8]) -> Option<u64> {
    let fields = proc_stat::fields(stat)?;
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(number(11)?.saturating_add(number(12)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_counted_whatever_it_calls_itself() {
        let stat = b"7 (a ) b 9 9) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1000 20";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks(b"7 (a) S 1"), None);
        assert_eq!(cpu_ticks(b""), None);
        let disk = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(disk.path(), vec![1; 10_000]).unwrap();
        let own = Usage::of_process(Path::new("/proc/self"), disk.path()).unwrap();
        assert!(own.memory_bytes > 100_000 && own.disk_bytes >= 4096, "{own:?}");
        assert!(Usage::of_process(Path::new("/proc/self/none"), disk.path()).is_err());
    }
}
