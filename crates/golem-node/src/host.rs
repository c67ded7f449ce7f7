//! The host: what it has, how busy it is.
//!
//! Owns measuring. Never decides: [`crate::admit`] does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use golem_types::Resources;
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

/// How busy the host is, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostUse {
    /// CPU time in use over the last minute, all cores together.
    pub cpu_percent: u8,
    /// Memory that is not available to a new process.
    pub memory_percent: u8,
    /// Space in use on the volume where VMs live.
    pub storage_percent: u8,
}

/// One bite of the host, kept open between samples because CPU use is a difference.
pub struct Host {
    system: System,
    data_dir: PathBuf,
    cpu_average: Option<f32>,
}

const GIB: u64 = 1 << 30;

/// Memory kept for the host itself: a small Debian server with this node, its page cache and
/// QEMU's own overhead stays well inside 1 GiB or a twentieth.
fn memory_reserve(total: u64) -> u64 {
    (total / 20).max(GIB)
}

/// Storage kept for the host itself: logs and images, and no file system works well when full.
fn storage_reserve(total: u64) -> u64 {
    (total / 20).max(2 * GIB)
}

/// Cores kept for the host itself: one from four on. On smaller hosts guests and host share.
const fn cpu_reserve(cores: u32) -> u32 {
    if cores >= 4 { 1 } else { 0 }
}

/// Weight of a new sample of length `interval` in the one-minute average.
fn weight(interval: Duration) -> f32 {
    1.0 - (-interval.as_secs_f32() / 60.0).exp()
}

impl Host {
    /// Opens the host whose VMs live in `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_cpu_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        Self { system: System::new_with_specifics(kinds), data_dir: data_dir.to_owned(), cpu_average: None }
    }

    /// Total and available bytes of the volume that holds the data folder.
    fn volume(&self) -> (u64, u64) {
        let path = std::fs::canonicalize(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
        let disks = Disks::new_with_refreshed_list();
        disks
            .iter()
            .filter(|disk| path.starts_with(disk.mount_point()))
            .max_by_key(|disk| disk.mount_point().as_os_str().len())
            .map_or((0, 0), |disk| (disk.total_space(), disk.available_space()))
    }

    /// What can be rented out: cores, memory, and the space that VMs have or could have, each less
    /// the host's reserve. `held_bytes` is what VM disks already take on the volume.
    #[must_use]
    pub fn totals(&self, held_bytes: u64) -> Resources {
        let cores = u32::try_from(self.system.cpus().len()).unwrap_or(u32::MAX);
        let memory = self.system.total_memory();
        let (volume, available) = self.volume();
        let storage = (available + held_bytes).saturating_sub(storage_reserve(volume));
        let gib = |bytes: u64| u32::try_from(bytes / GIB).unwrap_or(u32::MAX);
        Resources {
            cpu: cores - cpu_reserve(cores),
            memory: gib(memory.saturating_sub(memory_reserve(memory))),
            storage: gib(storage),
        }
    }

    /// Measures again; `interval` is the time since the last measurement.
    pub fn sample(&mut self, interval: Duration) -> HostUse {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let now = self.system.global_cpu_usage();
        let average = match self.cpu_average {
            None => now,
            Some(before) => before + (now - before) * weight(interval),
        };
        self.cpu_average = Some(average);
        let percent = |part: u64, whole: u64| {
            part.saturating_mul(100)
                .checked_div(whole)
                .and_then(|p| u8::try_from(p).ok())
                .unwrap_or(100)
                .min(100)
        };
        let memory = self.system.total_memory();
        let (volume, available) = self.volume();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
        HostUse {
            cpu_percent: average.clamp(0.0, 100.0).round() as u8,
            memory_percent: percent(memory.saturating_sub(self.system.available_memory()), memory),
            storage_percent: percent(volume.saturating_sub(available), volume),
        }
    }
}

/// Bytes that the files of `folder` take on disk, two levels deep (one folder a VM).
#[must_use]
pub fn held_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let inside = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    inside(folder)
        .flat_map(|machine| inside(&machine.path()).collect::<Vec<_>>())
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_074_s_075_s_076_the_host_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::new(folder.path());
        let totals = host.totals(0);
        assert!(totals.cpu >= 1 && totals.memory >= 1, "{totals:?}");
        let used = host.sample(Duration::from_secs(2));
        assert!(used.memory_percent > 0 && used.memory_percent <= 100, "{used:?}");
        assert!(used.cpu_percent <= 100 && used.storage_percent <= 100, "{used:?}");
        // Space that VMs already hold stays rentable: it is counted through the ledger instead.
        assert_eq!(host.totals(10 * GIB).storage, host.totals(0).storage + 10);
    }

    #[test]
    fn held_bytes_counts_what_is_allocated() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("vm")).unwrap();
        std::fs::write(folder.path().join("vm/disk"), vec![1; 100_000]).unwrap();
        assert!(held_bytes(folder.path()) >= 100_000);
        assert_eq!(held_bytes(&folder.path().join("absent")), 0);
    }
}
