//! What one guest may use of the host, and how control groups are told so.
//!
//! Owns the figures and their spelling: cgroup v1, v2, and the properties of a systemd scope. Writes nothing.

use std::path::Path;

use golem_types::Resources;
use rustix::fs::{major, minor};

use crate::machine::Overhead;

/// Threads that a guest's processes may have beside one for each of its processors: QEMU's own, the 64 of its
/// pool for disks, and those of the uplink's process.
const THREADS: u32 = 256;

/// Microseconds in which a share of processor time is counted.
const PERIOD: u64 = 100_000;

/// Processor time for QEMU itself beside the guest's processors, in thousandths of a core: disks and network.
const OWN_CPU: u64 = 500;

/// The most that one guest's processes may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CgroupBounds {
    /// Bytes of memory.
    pub(super) memory: u64,
    /// Processor time, in thousandths of a core.
    cpu: u64,
    /// The guest's processors; who has more of them gets more where there is too little.
    cpus: u32,
    /// Threads.
    threads: u32,
    /// What disks may do, where that is bounded.
    disk: Option<Disk>,
}

/// The device on which a guest's disk lies, and the rate at which it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// Its numbers; `None` for a file system that is on no device (NFS, tmpfs, btrfs, …).
    device: Option<(u32, u32)>,
    /// Bytes read in a second, and as many written.
    rate: u64,
}

impl Disk {
    /// The device below `folder`.
    pub(super) fn of(folder: &Path, rate: u64) -> Self {
        let device = rustix::fs::stat(folder).ok().and_then(|found| whole_device(found.st_dev));
        Self { device, rate }
    }
}

/// The device `number`, or the whole disk of which it is a partition: only those can be bounded. File systems
/// without one have a made-up number of major 0.
fn whole_device(number: u64) -> Option<(u32, u32)> {
    let (large, small) = (major(number), minor(number));
    if large == 0 {
        return None;
    }
    let device = format!("/sys/dev/block/{large}:{small}");
    if !Path::new(&device).join("partition").exists() {
        return Some((large, small));
    }
    let disk = std::fs::read_to_string(Path::new(&device).join("../dev")).ok()?;
    let (large, small) = disk.trim().split_once(':')?;
    Some((large.parse().ok()?, small.parse().ok()?))
}

impl CgroupBounds {
    /// What a guest of `resources` needs to have what was sold. Where its disk is in memory, the disk counts.
    pub(super) fn of(resources: Resources, overhead: Overhead, folder: &Path, disk: Option<Disk>) -> Self {
        let guest = resources.memory_mib() << 20;
        let disk_in_memory = if in_memory(folder) { resources.storage_bytes() } else { 0 };
        let cpus = resources.cpu;
        Self {
            memory: guest + overhead.of_one(resources.memory) + disk_in_memory,
            cpu: u64::from(cpus) * 1000 + OWN_CPU,
            cpus,
            threads: THREADS + cpus,
            disk,
        }
    }

    /// Files of a control group and what is written to them, for v1 and v2: no two of them have the same name, and
    /// a group has only those of its version and controllers. In the order in which they can be written:
    /// memory with swap is never less than memory without.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let memory = self.memory.to_string();
        let quota = self.cpu * PERIOD / 1000;
        let mut files = vec![
            ("memory.max", memory.clone()),
            // What is over the bound is not moved to the host's swap, where it would be in everybody's way.
            ("memory.swap.max", "0".to_owned()),
            // The guest ends as a whole.
            ("memory.oom.group", "1".to_owned()),
            ("memory.limit_in_bytes", memory.clone()),
            ("memory.memsw.limit_in_bytes", memory.clone()),
            ("cpu.max", format!("{quota} {PERIOD}")),
            ("cpu.weight", self.weight().to_string()),
            ("cpu.cfs_period_us", PERIOD.to_string()),
            ("cpu.cfs_quota_us", quota.to_string()),
            ("cpu.shares", (u64::from(self.cpus) * 1024).min(262_144).to_string()),
            ("pids.max", self.threads.to_string()),
        ];
        if let Some(Disk { device: Some((large, small)), rate }) = self.disk {
            let operations = operations(rate);
            let device = format!("{large}:{small}");
            files.push((
                "io.max",
                format!("{device} rbps={rate} wbps={rate} riops={operations} wiops={operations}"),
            ));
            for (file, most) in [
                ("blkio.throttle.read_bps_device", rate),
                ("blkio.throttle.write_bps_device", rate),
                ("blkio.throttle.read_iops_device", operations),
                ("blkio.throttle.write_iops_device", operations),
            ] {
                files.push((file, format!("{device} {most}")));
            }
        }
        files
    }

    /// The properties of a scope that systemd makes of a group with these bounds. systemd finds the device on which the
    /// machine's `folder` lies by the folder above it: everybody can read what it is told, and `folder` is called by
    /// the machine's id, which is the right to use it (I8).
    pub(super) fn properties(&self, folder: &Path) -> Vec<String> {
        let mut properties = vec![
            format!("MemoryMax={}", self.memory),
            "MemorySwapMax=0".to_owned(),
            format!("CPUQuota={}%", self.cpu / 10),
            format!("CPUWeight={}", self.weight()),
            format!("TasksMax={}", self.threads),
        ];
        if let Some(Disk { device: Some(_), rate }) = self.disk {
            let (folder, operations) = (folder.parent().unwrap_or(folder).display(), operations(rate));
            for (property, most) in [
                ("IOReadBandwidthMax", rate),
                ("IOWriteBandwidthMax", rate),
                ("IOReadIOPSMax", operations),
                ("IOWriteIOPSMax", operations),
            ] {
                properties.push(format!("{property}={folder} {most}"));
            }
        }
        properties
    }

    fn weight(&self) -> u64 {
        (u64::from(self.cpus) * 100).clamp(1, 10_000)
    }
}

/// Whether files in `folder` are kept in memory: there they count as memory of who writes them.
fn in_memory(folder: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    rustix::fs::statfs(folder).is_ok_and(|found| [TMPFS, RAMFS].contains(&found.f_type))
}

/// Operations a second of a disk that may be used at `rate` bytes a second: below 16 KiB each, their number is
/// the bound.
pub(in crate::qemu) fn operations(rate: u64) -> u64 {
    (rate / (16 << 10)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERHEAD: Overhead = Overhead { per_machine: 100 << 20, per_gib: 8 << 20 };

    fn bounds(disk: Option<Disk>) -> CgroupBounds {
        let somewhere = Path::new("/proc");
        CgroupBounds::of(Resources::new(2, 4, 20), OVERHEAD, somewhere, disk)
    }

    fn written<'a>(files: &'a [(&str, String)], name: &str) -> Option<&'a str> {
        files.iter().find(|(file, _)| *file == name).map(|(_, text)| text.as_str())
    }

    #[test]
    fn i_04_a_guest_has_what_was_sold_and_what_runs_it_and_no_more() {
        let bounds = bounds(Some(Disk { device: Some((254, 0)), rate: 64 << 20 }));
        let need = OVERHEAD.of_one(4);
        assert_eq!(bounds.memory, (4 << 30) + need);
        let files = bounds.files();
        for (name, text) in [
            ("memory.max", bounds.memory.to_string().as_str()),
            ("memory.limit_in_bytes", bounds.memory.to_string().as_str()),
            ("cpu.max", "250000 100000"),
            ("cpu.cfs_quota_us", "250000"),
            ("cpu.weight", "200"),
            ("cpu.shares", "2048"),
            ("pids.max", "258"),
            ("io.max", "254:0 rbps=67108864 wbps=67108864 riops=4096 wiops=4096"),
            ("blkio.throttle.write_bps_device", "254:0 67108864"),
            ("blkio.throttle.read_iops_device", "254:0 4096"),
        ] {
            assert_eq!(written(&files, name), Some(text), "{name}");
        }
        let properties = bounds.properties(Path::new("/data/vms/x")).join(" ");
        for part in [
            &format!("MemoryMax={} MemorySwapMax=0 CPUQuota=250% CPUWeight=200 TasksMax=258 ", bounds.memory),
            "IOWriteBandwidthMax=/data/vms 67108864 ",
        ] {
            assert!(properties.contains(part), "{properties}");
        }
    }

    #[test]
    fn i_04_a_disk_on_no_device_is_not_bounded_and_one_in_memory_counts_as_memory() {
        let memory = Path::new("/dev/shm");
        let unbounded = bounds(None);
        let nowhere = bounds(Some(Disk::of(memory, 1 << 20)));
        for bounds in [&unbounded, &nowhere] {
            assert!(
                written(&bounds.files(), "io.max").is_none()
                    && !bounds.properties(memory).join("").contains("IO")
            );
        }
        let in_memory = CgroupBounds::of(Resources::new(2, 4, 20), OVERHEAD, memory, None);
        assert_eq!(in_memory.memory, unbounded.memory + (20 << 30));
    }
}
