//! What the host's control groups leave to this process.
//!
//! Owns the reading of limits of memory and processor time, of cgroup v1 and v2, in the process's own group and
//! all above it: each bounds those below. Never sets one.

use std::io;
use std::path::Path;

use golem_vm::cgroup::{CgroupPlace, CgroupPlaces, read_text};

/// What is left of the host under every limit that can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostLimits {
    /// Least limit of memory, in bytes; `u64::MAX` where there is none.
    pub(super) memory: u64,
    /// Memory that can still be had under all limits, in bytes; `u64::MAX` where there is none.
    pub(super) memory_available: u64,
    /// Processor time, in thousandths of a core; `u64::MAX` where it is not limited.
    pub(super) cpu: u64,
}

impl HostLimits {
    /// No limit at all.
    pub(super) const NONE: Self = Self { memory: u64::MAX, memory_available: u64::MAX, cpu: u64::MAX };

    /// What holds for the process that stands at `places`.
    ///
    /// # Errors
    /// When this process cannot look (it is out of descriptors, say): that says nothing about limits. A group
    /// that it may not look into is one that cannot be seen, and no error.
    pub(super) fn read(places: &CgroupPlaces) -> io::Result<Self> {
        let mut limits = Self::NONE;
        let v1 = |controller: &str| places.v1.get(controller).into_iter().flat_map(CgroupPlace::groups);
        for group in places.v2.iter().flat_map(CgroupPlace::groups) {
            let statistics = text(group, "memory.stat")?;
            let reclaimable: u64 = ["inactive_file", "active_file", "slab_reclaimable"]
                .iter()
                .filter_map(|name| field(&statistics, name))
                .sum();
            let used = number(group, "memory.current")?.unwrap_or(0).saturating_sub(reclaimable);
            // Above `high` a group is slowed down until it is of no use.
            for limit in ["memory.max", "memory.high"] {
                limits.memory(number(group, limit)?, used);
            }
            let time = text(group, "cpu.max")?;
            let mut words = time.split_ascii_whitespace().map(|word| word.parse().ok());
            limits.cpu(words.next().flatten(), words.next().flatten());
        }
        for group in v1("memory") {
            let statistics = text(group, "memory.stat")?;
            let reclaimable: u64 = ["total_inactive_file", "total_active_file"]
                .iter()
                .filter_map(|name| field(&statistics, name))
                .sum();
            let used = number(group, "memory.usage_in_bytes")?.unwrap_or(0).saturating_sub(reclaimable);
            limits.memory(number(group, "memory.limit_in_bytes")?, used);
            // Also of groups above that cannot be seen.
            limits.memory(field(&statistics, "hierarchical_memory_limit"), used);
        }
        for group in v1("cpu") {
            // A quota of -1 is none.
            limits.cpu(number(group, "cpu.cfs_quota_us")?, number(group, "cpu.cfs_period_us")?);
        }
        Ok(limits)
    }

    fn memory(&mut self, limit: Option<u64>, used: u64) {
        if let Some(limit) = limit {
            self.memory = self.memory.min(limit);
            self.memory_available = self.memory_available.min(limit.saturating_sub(used));
        }
    }

    fn cpu(&mut self, quota: Option<u64>, period: Option<u64>) {
        if let (Some(quota), Some(period)) = (quota, period)
            && let Some(thousandths) = quota.saturating_mul(1000).checked_div(period)
        {
            self.cpu = self.cpu.min(thousandths);
        }
    }
}

/// The file `name` of `group`; empty where it is not there or may not be read.
fn text(group: &Path, name: &str) -> io::Result<String> {
    match read_text(&group.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(String::new()),
        text => Ok(text?.unwrap_or_default()),
    }
}

/// The number in the file `name` of `group`; `None` if it says `max`, or anything else that is no number.
fn number(group: &Path, name: &str) -> io::Result<Option<u64>> {
    Ok(text(group, name)?.parse().ok())
}

/// The number that follows `name` in a file of a name and a number in each line.
fn field(statistics: &str, name: &str) -> Option<u64> {
    statistics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const GIB: u64 = 1 << 30;

    /// A hierarchy in a folder: `/`, `/a` and `/a/b`, of which the last is the process's own.
    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
            Self(folder)
        }

        fn with(self, file: &str, text: &str) -> Self {
            std::fs::write(self.0.path().join(file), text).unwrap();
            self
        }

        fn place(&self) -> CgroupPlace {
            CgroupPlace { top: self.0.path().to_owned(), own: self.0.path().join("a/b") }
        }

        fn v2(&self) -> HostLimits {
            HostLimits::read(&CgroupPlaces { v2: Some(self.place()), ..CgroupPlaces::default() }).unwrap()
        }

        fn v1(&self, controller: &str) -> HostLimits {
            let v1 = [(controller.to_owned(), self.place())].into();
            HostLimits::read(&CgroupPlaces { v1, ..CgroupPlaces::default() }).unwrap()
        }
    }

    #[test]
    fn h_10_the_least_limit_of_version_2_counts() {
        let fake = Fake::new()
            .with("a/b/memory.max", "max\n")
            .with("a/b/memory.high", "max\n")
            .with("a/b/memory.current", "1073741824\n")
            .with("a/b/cpu.max", "max 100000\n")
            .with("a/memory.max", &format!("{}\n", 2 * GIB))
            .with("a/memory.current", &format!("{}\n", GIB + GIB / 2))
            .with("a/memory.stat", "anon 1\nfile 2\ninactive_file 536870912\nactive_file 0\n")
            .with("a/cpu.max", "150000 100000\n");
        assert_eq!(fake.v2(), HostLimits { memory: 2 * GIB, memory_available: GIB, cpu: 1500 });
        let fake = fake.with("a/b/memory.high", &GIB.to_string());
        assert_eq!(fake.v2(), HostLimits { memory: GIB, memory_available: 0, cpu: 1500 });
        assert_eq!(Fake::new().v2(), HostLimits::NONE);
    }

    #[test]
    fn h_10_the_least_limit_of_version_1_counts() {
        let none = "9223372036854771712\n";
        let fake = Fake::new()
            .with("memory.limit_in_bytes", none)
            .with("a/memory.limit_in_bytes", &(4 * GIB).to_string())
            .with("a/memory.usage_in_bytes", &(3 * GIB).to_string())
            .with("a/memory.stat", "inactive_file 7\ntotal_inactive_file 1073741824\ntotal_active_file 1\n")
            .with("a/b/memory.limit_in_bytes", none);
        assert_eq!(
            fake.v1("memory"),
            HostLimits { memory: 4 * GIB, memory_available: 2 * GIB + 1, cpu: u64::MAX }
        );
        // A limit above what a container sees.
        let fake = fake.with("a/b/memory.stat", &format!("cache 0\nhierarchical_memory_limit {GIB}\n"));
        assert_eq!(fake.v1("memory").memory, GIB);
        let cpu = Fake::new()
            .with("a/b/cpu.cfs_quota_us", "-1\n")
            .with("a/b/cpu.cfs_period_us", "100000\n")
            .with("a/cpu.cfs_quota_us", "50000\n")
            .with("a/cpu.cfs_period_us", "100000\n");
        assert_eq!(cpu.v1("cpu"), HostLimits { cpu: 500, ..HostLimits::NONE });
    }

    #[test]
    fn nonsense_is_no_limit() {
        let fake = Fake::new()
            .with("a/memory.max", "lots")
            .with("a/cpu.max", "5 0")
            .with("cpu.max", "")
            .with("a/memory.stat", "inactive_file\nactive_file x\n");
        assert_eq!(fake.v2(), HostLimits::NONE);
        let nowhere = CgroupPlace { top: PathBuf::from("/nothing"), own: PathBuf::from("/nothing/at/all") };
        assert_eq!(
            HostLimits::read(&CgroupPlaces { v2: Some(nowhere), ..CgroupPlaces::default() }).unwrap(),
            HostLimits::NONE
        );
    }
}
