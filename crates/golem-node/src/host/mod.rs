//! The host: what it has, how busy it is, and what of it can be rented out.
//!
//! Owns measuring. Never decides: [`crate::admit`] does.
//!
//! The host is not all that this node could use: control groups, its affinity to processors and the volume on
//! which the disks lie bound it. So each figure is the least of the host's and of those.

mod limits;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use golem_types::Resources;
use golem_vm::Overhead;
use golem_vm::cgroup::CgroupPlaces;
use golem_vm::qemu::{BASE_FILE, BASES_FOLDER};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use limits::HostLimits;

/// What of the host an operator rents out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rent {
    /// Cores (`GOLEM_PROVIDER_RENT_CPU`); `None` if all less the host's reserve.
    pub cpu: Option<u32>,
    /// Memory in GiB (`GOLEM_PROVIDER_RENT_MEMORY_GB`); `None` if all less the host's reserve.
    pub memory_gib: Option<u32>,
    /// Storage in GiB (`GOLEM_PROVIDER_RENT_STORAGE_GB`); `None` if all less the host's reserve.
    pub storage_gib: Option<u32>,
    /// Virtual CPUs for each hundred cores (`GOLEM_PROVIDER_CPU_OVERCOMMIT`).
    pub cpu_overcommit_percent: u32,
}

impl Default for Rent {
    fn default() -> Self {
        Self { cpu: None, memory_gib: None, storage_gib: None, cpu_overcommit_percent: 100 }
    }
}

/// How busy the host is, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostUse {
    /// CPU time in use over the last minute, all cores that this node may use together.
    pub cpu_percent: u8,
    /// Memory that is not available to a new process.
    pub memory_percent: u8,
    /// Space in use on the volume where VMs live.
    pub storage_percent: u8,
}

/// What can be rented out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostOffer {
    /// Virtual CPUs.
    pub cpu: u32,
    /// Memory that VMs and what runs them can take together, in bytes.
    pub memory: u64,
    /// Most memory that VMs can have together, in GiB.
    pub memory_most: u32,
    /// Memory that what runs a VM takes beside the VM's own.
    pub overhead: Overhead,
    /// Storage, in GiB.
    pub storage: u32,
}

impl HostOffer {
    /// Exactly `resources`, whatever the number of VMs.
    #[must_use]
    pub const fn fixed(resources: Resources) -> Self {
        let Resources { cpu, memory, storage } = resources;
        let overhead = Overhead { per_machine: 0, per_gib: 0 };
        Self { cpu, memory: memory as u64 * GIB, memory_most: memory, overhead, storage }
    }

    /// What `vms` VMs can have together.
    #[must_use]
    pub fn for_vms(&self, vms: u32) -> Resources {
        let memory = self.overhead.leaves(self.memory, vms).min(self.memory_most);
        Resources { cpu: self.cpu, memory, storage: self.storage }
    }
}

/// What the host has that this node may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Has {
    /// Processor time, in thousandths of a core.
    cpu: u64,
    /// Memory, in bytes.
    memory: u64,
    /// Size of the volume on which disks lie, in bytes.
    volume: u64,
    /// What VM disks have or could have of it, in bytes.
    storage: u64,
}

/// One bite of the host, kept open between samples because CPU use is a difference.
pub struct Host {
    system: System,
    data_dir: PathBuf,
    limits: HostLimits,
    cpu_average: Option<f32>,
}

const GIB: u64 = 1 << 30;

/// Memory kept for the host itself: a small Debian server with this node stays well inside half a GiB or a
/// twentieth. What QEMU takes is counted with each VM.
fn memory_reserve(total: u64) -> u64 {
    (total / 20).max(GIB / 2)
}

/// Storage kept for the host itself: logs and images, and no file system works well when full.
fn storage_reserve(total: u64) -> u64 {
    (total / 20).max(2 * GIB)
}

/// Cores kept for the host itself, in thousandths: one from four on. On smaller hosts guests and host share.
const fn cpu_reserve(cpu: u64) -> u64 {
    if cpu >= 4000 { 1000 } else { 0 }
}

/// Weight of a new sample of length `interval` in the one-minute average.
fn weight(interval: Duration) -> f32 {
    1.0 - (-interval.as_secs_f32() / 60.0).exp()
}

/// Whole GiB.
fn gib(bytes: u64) -> u32 {
    u32::try_from(bytes / GIB).unwrap_or(u32::MAX)
}

fn percent(part: u64, whole: u64) -> u8 {
    let percent = part.saturating_mul(100).checked_div(whole).unwrap_or(100);
    u8::try_from(percent).unwrap_or(100).min(100)
}

/// What of `has` is offered under `rent`, with a sentence for each setting that asks for more than can be had.
/// Memory and storage are never offered beyond what there is less the host's reserve. Cores are at most all of
/// them, times the overcommitment.
fn offer(has: &Has, rent: &Rent, overhead: Overhead) -> (HostOffer, Vec<String>) {
    let mut capped = Vec::new();
    let mut least = |setting: &str, unit: &str, asked: Option<u32>, most: u32, otherwise: u32| match asked {
        Some(asked) if asked > most => {
            capped.push(format!("{setting}={asked} is more than can be rented out here: {most} {unit}"));
            most
        }
        Some(asked) => asked,
        None => otherwise,
    };
    let memory = has.memory.saturating_sub(memory_reserve(has.memory));
    let storage = gib(has.storage.saturating_sub(storage_reserve(has.volume)));
    let whole = |thousandths: u64| u32::try_from(thousandths / 1000).unwrap_or(u32::MAX);
    let cores = least("GOLEM_PROVIDER_RENT_CPU", "cores", rent.cpu, whole(has.cpu), u32::MAX);
    let thousandths = match rent.cpu {
        Some(_) => u64::from(cores) * 1000,
        None => has.cpu - cpu_reserve(has.cpu),
    };
    let cpu = whole(thousandths.saturating_mul(u64::from(rent.cpu_overcommit_percent)) / 100);
    // What renters get; what runs their VMs comes on top of it, as long as there is room.
    let memory_most = gib(memory);
    let memory_most = least("GOLEM_PROVIDER_RENT_MEMORY_GB", "GB", rent.memory_gib, memory_most, memory_most);
    let storage = least("GOLEM_PROVIDER_RENT_STORAGE_GB", "GB", rent.storage_gib, storage, storage);
    (HostOffer { cpu, memory, memory_most, overhead, storage }, capped)
}

impl Host {
    /// Opens the host whose VMs live in `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_cpu_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let mut host = Self {
            system: System::new_with_specifics(kinds),
            data_dir: data_dir.to_owned(),
            limits: HostLimits::NONE,
            cpu_average: None,
        };
        host.look_at_limits();
        host
    }

    /// Looks at what bounds this process; what was seen before stays where that fails.
    fn look_at_limits(&mut self) {
        match CgroupPlaces::of_this_process().and_then(|places| HostLimits::read(&places)) {
            Ok(limits) => self.limits = limits,
            Err(error) => {
                golem_service::log_limited!(
                    warn,
                    error = &error as &dyn std::error::Error,
                    "the limits of this node's control group cannot be read"
                );
            }
        }
    }

    /// Memory that this node may use, and what of it is available, in bytes.
    fn memory(&self) -> (u64, u64) {
        let memory = self.system.total_memory().min(self.limits.memory);
        (memory, self.system.available_memory().min(self.limits.memory_available).min(memory))
    }

    /// What can be rented out under `rent`, with a sentence for each setting that asks for more than can
    /// be had. `held_bytes` is what VM disks already take on the volume, and `overhead` what runs a VM
    /// takes beside the VM's own memory.
    #[must_use]
    pub fn offer(&self, rent: &Rent, held_bytes: u64, overhead: Overhead) -> (HostOffer, Vec<String>) {
        let (volume, available) = volume(&self.data_dir);
        let cores = u64::try_from(cores(&self.system).count()).unwrap_or(u64::MAX);
        let has = Has {
            cpu: cores.saturating_mul(1000).min(self.limits.cpu),
            memory: self.memory().0,
            volume,
            storage: available.saturating_add(held_bytes).min(volume),
        };
        offer(&has, rent, overhead)
    }

    /// Measures again; `interval` is the time since the last measurement.
    pub fn sample(&mut self, interval: Duration) -> HostUse {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.look_at_limits();
        let (sum, count) =
            cores(&self.system).fold((0.0, 0.0), |(sum, count), usage| (sum + usage, count + 1.0));
        let now = if count > 0.0 { sum / count } else { 0.0 };
        let average = match self.cpu_average {
            None => now,
            Some(before) => before + (now - before) * weight(interval),
        };
        self.cpu_average = Some(average);
        let (memory, free) = self.memory();
        let (volume, available) = volume(&self.data_dir);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
        HostUse {
            cpu_percent: average.clamp(0.0, 100.0).round() as u8,
            memory_percent: percent(memory - free, memory),
            storage_percent: percent(volume.saturating_sub(available), volume),
        }
    }
}

/// How much in use, in percent, each core is that this process may run on. Those are of the process as a whole,
/// and asked for each time: affinities and sets of processors can be changed at any moment.
fn cores(system: &System) -> impl Iterator<Item = f32> {
    let allowed = rustix::thread::sched_getaffinity(Some(rustix::process::getpid())).ok();
    system.cpus().iter().enumerate().filter_map(move |(index, cpu)| {
        let number = cpu.name().strip_prefix("cpu").and_then(|number| number.parse().ok()).unwrap_or(index);
        // On more processors than such a set can hold the call fails, and all count.
        allowed.is_none_or(|allowed| allowed.is_set(number)).then(|| cpu.cpu_usage())
    })
}

/// Size of the volume on which the disks lie, and what is available of it, in bytes; nothing where it
/// cannot be seen. Before the first VM the disks' folder is not there, and the data directory tells, or
/// what is above that.
fn volume(data_dir: &Path) -> (u64, u64) {
    let folder = data_dir.join(VMS_FOLDER);
    let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok());
    // A link that leads nowhere (its volume is not mounted, say) has no room, and what holds it says nothing.
    match there.map(rustix::fs::statvfs) {
        Some(Ok(volume)) => {
            let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
            (bytes(volume.f_blocks), bytes(volume.f_bavail))
        }
        Some(Err(_)) | None => (0, 0),
    }
}

/// The folder of the data directory in which the disks lie.
pub(crate) const VMS_FOLDER: &str = "vms";

/// Bytes that VM disks in `folder` take, two levels deep (one folder a VM). The image that a disk is based on
/// is not counted: it is shared, and not what was rented.
#[must_use]
pub fn held_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let inside = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let is_base = |file: &OsString| file.as_encoded_bytes().starts_with(BASE_FILE.as_bytes());
    inside(folder)
        .filter(|machine| machine.file_name() != BASES_FOLDER)
        .flat_map(|machine| inside(&machine.path()).collect::<Vec<_>>())
        .filter(|file| !is_base(&file.file_name()))
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.blocks().saturating_mul(512))
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Rent = Rent { cpu: None, memory_gib: None, storage_gib: None, cpu_overcommit_percent: 100 };
    const NONE: Overhead = Overhead { per_machine: 0, per_gib: 0 };
    const ONE: Overhead = Overhead { per_machine: GIB, per_gib: 0 };
    const HAS: Has = Has { cpu: 16_000, memory: 64 * GIB, volume: 1000 * GIB, storage: 900 * GIB };

    /// How much of the cores that this process may use was in use since `before`, in percent, and what to hand in
    /// the next time: as the kernel counts it.
    fn busy(before: (u64, u64)) -> (i32, (u64, u64)) {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let text = std::fs::read_to_string("/proc/stat").unwrap();
        let (mut all, mut idle) = (0, 0);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let number = words.next().and_then(|name| name.strip_prefix("cpu")?.parse().ok());
            if number.is_some_and(|number: usize| allowed.is_set(number)) {
                let times: Vec<u64> = words.take(8).map(|word| word.parse().unwrap()).collect();
                all += times.iter().sum::<u64>();
                idle += times[3] + times[4];
            }
        }
        let (passed, idled) = ((all - before.0).max(1), idle - before.1);
        (i32::try_from((passed - idled) * 100 / passed).unwrap(), (all, idle))
    }

    #[test]
    fn s_074_cores_in_use_are_measured_each_time() {
        let mut host = Host::new(Path::new("/"));
        let long = Duration::from_secs(36_000);
        host.sample(long);
        let mut kernel = busy((0, 0)).1;
        for spinning in [true, false, true] {
            let end = std::time::Instant::now() + Duration::from_millis(600);
            std::thread::scope(|scope| {
                for _ in 0..cores(&host.system).count() {
                    scope.spawn(|| {
                        while spinning && std::time::Instant::now() < end {}
                        std::thread::park_timeout(end.saturating_duration_since(std::time::Instant::now()));
                    });
                }
            });
            let told = i32::from(host.sample(long).cpu_percent);
            let (counted, next) = busy(kernel);
            kernel = next;
            assert!((told - counted).abs() <= 20, "{told} %, and {counted} % as the kernel has it");
            assert!(!spinning || told >= 70, "{told} %");
        }
    }

    #[test]
    fn s_075_memory_in_use_is_measured_each_time() {
        let mut host = Host::new(Path::new("/"));
        let part = usize::try_from(host.memory().0 / 50).unwrap();
        let before = host.sample(Duration::ZERO).memory_percent;
        let mut held = Vec::new();
        while host.sample(Duration::ZERO).memory_percent < before + 3 {
            assert!(held.len() < 6, "a tenth more is not seen");
            held.push(std::hint::black_box(vec![1u8; part]));
        }
    }

    #[test]
    fn the_host_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::new(folder.path());
        let (offer, capped) = host.offer(&ALL, 0, NONE);
        assert!(offer.cpu >= 1 && offer.memory > 0 && capped.is_empty(), "{offer:?}");
        let used = host.sample(Duration::from_secs(2));
        assert!(used.memory_percent > 0 && used.memory_percent <= 100, "{used:?}");
        assert!(used.cpu_percent <= 100 && used.storage_percent <= 100, "{used:?}");
        // Space that VMs already hold stays rentable: it is counted through the ledger instead.
        assert_eq!(host.offer(&ALL, GIB, NONE).0.storage, offer.storage + 1);
    }

    #[test]
    fn h_20_an_operator_offers_a_part_or_more_than_there_is_of_cores() {
        let (all, capped) = offer(&HAS, &ALL, NONE);
        assert_eq!((all.for_vms(1), capped.len()), (Resources::new(15, 60, 850), 0));
        let part = Rent { cpu: Some(4), memory_gib: Some(8), storage_gib: Some(100), ..ALL };
        let (part, capped) = offer(&HAS, &part, ONE);
        assert_eq!((part.for_vms(8), capped.len()), (Resources::new(4, 8, 100), 0));
        let (three, _) = offer(&HAS, &Rent { cpu_overcommit_percent: 300, ..ALL }, NONE);
        assert_eq!(three.cpu, 45);
        let (three, _) = offer(&HAS, &Rent { cpu: Some(16), cpu_overcommit_percent: 250, ..ALL }, NONE);
        assert_eq!(three.cpu, 40);
    }

    #[test]
    fn h_20_more_than_there_is_is_capped_and_said() {
        let much = Rent { cpu: Some(17), memory_gib: Some(64), storage_gib: Some(1000), ..ALL };
        let (most, capped) = offer(&HAS, &much, NONE);
        assert_eq!(most.for_vms(1), Resources::new(16, 60, 850));
        assert!(
            capped[0].contains("GOLEM_PROVIDER_RENT_CPU=17") && capped[0].contains("16 cores"),
            "{capped:?}"
        );
        assert_eq!(capped.len(), 3, "{capped:?}");
    }

    #[test]
    fn h_10_half_a_core_runs_no_guest() {
        let has = |cpu| Has { cpu, ..HAS };
        assert_eq!(offer(&has(500), &ALL, NONE).0.cpu, 0);
        assert_eq!(offer(&has(1500), &ALL, NONE).0.cpu, 1);
        assert_eq!(offer(&has(1500), &Rent { cpu_overcommit_percent: 200, ..ALL }, NONE).0.cpu, 3);
    }

    proptest! {
        /// I-04: whatever VMs are let in, they and what runs them fit into the host.
        #[test]
        fn i_04_a_host_is_never_oversold(
            memory in 0u64..300, need_mib in 0u64..2000, per_gib_mib in 0u64..50, asked in proptest::option::of(0u32..400),
            sizes in proptest::collection::vec(1u32..64, 0..40),
        ) {
            let has = Has { memory: memory * GIB, ..HAS };
            let overhead = Overhead { per_machine: need_mib << 20, per_gib: per_gib_mib << 20 };
            let (offer, _) = offer(&has, &Rent { memory_gib: asked, ..ALL }, overhead);
            let (mut held, mut vms, mut taken) = (0, 0, 0);
            for size in sizes {
                if held + size <= offer.for_vms(vms + 1).memory {
                    (held, vms) = (held + size, vms + 1);
                    taken += u64::from(size) * GIB + overhead.of_one(size);
                }
            }
            prop_assert!(taken <= has.memory);
            prop_assert!(held <= asked.unwrap_or(u32::MAX));
        }
    }

    #[test]
    fn h_09_space_is_that_of_the_place_where_the_disks_lie() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let size =
            |path: &Path| rustix::fs::statvfs(path).map(|volume| volume.f_blocks * volume.f_frsize).unwrap();
        // Not made yet.
        assert_eq!(volume(&data_dir).0, size(folder.path()));
        std::fs::create_dir(&data_dir).unwrap();
        let vms = data_dir.join(VMS_FOLDER);
        std::os::unix::fs::symlink("/dev/shm", &vms).unwrap();
        assert_eq!(volume(&data_dir).0, size(Path::new("/dev/shm")));
        assert_ne!(size(Path::new("/dev/shm")), size(folder.path()));
        std::fs::remove_file(&vms).unwrap();
        std::os::unix::fs::symlink("/nothing/there", &vms).unwrap();
        assert_eq!(volume(&data_dir), (0, 0));
    }

    #[test]
    fn held_bytes_counts_what_disks_take_and_not_the_images_below_them() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("vm")).unwrap();
        std::fs::write(folder.path().join("vm/disk.qcow2"), vec![1; 100_000]).unwrap();
        std::fs::write(folder.path().join("vm/base.img"), vec![1; 10_000_000]).unwrap();
        // H-07: nor copies of images, whole or not.
        std::fs::create_dir(folder.path().join(BASES_FOLDER)).unwrap();
        for copy in [".bases/1-2-3", "vm/base.img.new"] {
            std::fs::write(folder.path().join(copy), vec![1; 10_000_000]).unwrap();
        }
        let held = held_bytes(folder.path());
        assert!((100_000..1_000_000).contains(&held), "{held}");
        assert_eq!(held_bytes(&folder.path().join("absent")), 0);
    }
}
