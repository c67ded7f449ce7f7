//! Which backend the settings mean, opened.
//!
//! Owns the choice. Never makes a machine.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use golem_types::{ImageName, Resources};
use golem_vm::Accelerator;
use golem_vm::images::{ENTRIES, Images};
use golem_vm::multipass::{Multipass, MultipassConfig};
use golem_vm::qemu::{Qemu, QemuConfig};
use golem_vm::sim::{Sim, SimConfig};
use golem_vm::{Backend, NetworkLimits};

use golem_host::settings::{BackendSettings, VmAccel, VmBackend, VmSettings};

/// How long a simulated guest boots: long enough to be seen, short enough to wait for.
const SIM_BOOT: Duration = Duration::from_millis(200);

/// What `settings` mean on this machine.
enum Choice {
    Sim,
    Qemu,
    /// Multipass, with its program where that was found.
    Multipass(Option<PathBuf>),
}

/// What a test has a node rent out in place of what the host has: `GOLEM_TEST_TOTALS`, cores, GiB of memory and of storage. Only
/// in a program that is compiled for tests.
pub(crate) fn totals_of_tests() -> Option<Resources> {
    if !cfg!(feature = "failpoints") {
        return None;
    }
    let text = std::env::var("GOLEM_TEST_TOTALS").ok()?;
    let mut numbers = text.split(',').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Resources::new(next()?, next()?, next()?))
}

fn choose(settings: &VmSettings) -> Choice {
    let given = settings.multipass_binary_path.as_deref();
    let program = || golem_vm::multipass::find(given, std::env::var_os("PATH").as_deref());
    match settings.vm_backend {
        VmBackend::Sim => Choice::Sim,
        VmBackend::Qemu => Choice::Qemu,
        VmBackend::Multipass => Choice::Multipass(program()),
        VmBackend::Auto => match program() {
            // Whoever names a program wants it, also where it is missing.
            None if given.is_none() => Choice::Qemu,
            program => Choice::Multipass(program),
        },
    }
}

/// Opens the backend that `settings` mean.
///
/// # Errors
/// When its parts are missing; the message names the fix.
pub(crate) fn open(settings: &BackendSettings) -> anyhow::Result<Backend> {
    match choose(&settings.vms) {
        Choice::Sim => Ok(Backend::Sim(sim(settings)?)),
        Choice::Multipass(program) => Ok(Backend::Multipass(multipass(settings, program)?)),
        Choice::Qemu => qemu(settings, settings.data_dir.clone()),
    }
}

/// The node's backend with its machines elsewhere: for the guest of an isolation check, which the node must neither
/// count nor touch.
///
/// # Errors
/// When the node's backend is another than QEMU.
pub(crate) fn for_isolation_check(settings: &BackendSettings) -> anyhow::Result<Backend> {
    match choose(&settings.vms) {
        Choice::Qemu => qemu(settings, settings.data_dir.join(golem_vm::qemu::ISOLATION_FOLDER)),
        Choice::Sim | Choice::Multipass(_) => anyhow::bail!(
            "guests of the {} backend are kept in by it and not by this program; there is nothing to check; \
             fix: set GOLEM_PROVIDER_VM_BACKEND=qemu",
            name(settings)
        ),
    }
}

/// QEMU with the settings' images, and its machines in `data_dir`.
fn qemu(settings: &BackendSettings, data_dir: PathBuf) -> anyhow::Result<Backend> {
    let images = Images::open(&settings.data_dir).context("the images cannot be opened")?;
    let config = QemuConfig {
        accelerator: match settings.vms.vm_accel {
            VmAccel::Auto => None,
            VmAccel::Kvm => Some(Accelerator::Kvm),
            VmAccel::Tcg => Some(Accelerator::Tcg),
        },
        nested: settings.vms.nested_virtualization,
        network: NetworkLimits {
            connections: Some(settings.vms.vm_max_connections).filter(|most| *most > 0),
            megabits: Some(settings.vms.vm_bandwidth_mbit).filter(|most| *most > 0),
            smtp: settings.vms.allow_smtp,
        },
        disk_rate: Some(u64::from(settings.vms.vm_disk_rate) * 1_000_000).filter(|rate| *rate > 0),
        ..QemuConfig::new(data_dir)
    };
    Ok(Backend::Qemu(Qemu::open(config, Arc::new(images))))
}

/// Whether a Python provider could have VMs here.
#[must_use]
pub(crate) fn has_multipass(settings: &BackendSettings) -> bool {
    let given = settings.vms.multipass_binary_path.as_deref();
    given.is_some() || golem_vm::multipass::find(given, std::env::var_os("PATH").as_deref()).is_some()
}

/// Multipass, for taking over what a Python provider left there.
///
/// # Errors
/// When it is not installed.
pub(crate) fn multipass_for_import(settings: &BackendSettings) -> anyhow::Result<Multipass> {
    let given = settings.vms.multipass_binary_path.as_deref();
    multipass(settings, golem_vm::multipass::find(given, std::env::var_os("PATH").as_deref()))
}

fn multipass(settings: &BackendSettings, program: Option<PathBuf>) -> anyhow::Result<Multipass> {
    let program = program.with_context(|| match &settings.vms.multipass_binary_path {
        Some(path) => format!(
            "{} is no program; fix: set GOLEM_PROVIDER_MULTIPASS_BINARY_PATH to where multipass is",
            path.display()
        ),
        None => "multipass is not installed; fix: `sudo snap install multipass`, or set \
                 GOLEM_PROVIDER_VM_BACKEND=qemu"
            .to_owned(),
    })?;
    let config = MultipassConfig {
        program,
        data_dir: settings.data_dir.clone(),
        boot_deadline: settings.vms.boot_timeout,
    };
    Ok(Multipass::open(config))
}

/// A simulation that offers every image of the catalogue, and the operator's default.
fn sim(settings: &BackendSettings) -> anyhow::Result<Sim> {
    let names =
        ENTRIES.iter().flat_map(|entry| std::iter::once(entry.name).chain(entry.aliases.iter().copied()));
    let mut images: BTreeSet<ImageName> = names.filter_map(|name| name.parse().ok()).collect();
    images.insert(settings.vms.default_vm_image.clone());
    Sim::open(SimConfig { data_dir: settings.data_dir.clone(), images, boot: SIM_BOOT })
        .context("the simulation cannot be opened")
}

/// Name of the backend that `settings` mean.
#[must_use]
pub(crate) fn name(settings: &BackendSettings) -> &'static str {
    match choose(&settings.vms) {
        Choice::Sim => "sim",
        Choice::Qemu => "qemu",
        Choice::Multipass(_) => "multipass",
    }
}

/// Whether the backend that `settings` mean can be used, without making anything.
///
/// # Errors
/// Why not; the message names the fix.
pub(crate) async fn check(settings: &BackendSettings) -> anyhow::Result<()> {
    match choose(&settings.vms) {
        // The simulation has no parts that could be missing, and opening it would start it.
        Choice::Sim => Ok(()),
        Choice::Qemu | Choice::Multipass(_) => Ok(open(settings)?.check().await?),
    }
}

/// Programs and files that the backend that `settings` mean needs and that are missing here, each with Debian's package.
#[must_use]
pub(crate) fn missing(settings: &BackendSettings) -> Vec<(&'static str, &'static str)> {
    if matches!(choose(&settings.vms), Choice::Qemu) { golem_vm::qemu::missing_here() } else { Vec::new() }
}

/// Why guests run without hardware virtualization, with the fix; `None` if they have it, or the backend decides.
pub(crate) async fn without_kvm(settings: &BackendSettings) -> Option<String> {
    if !matches!(choose(&settings.vms), Choice::Qemu) {
        return None;
    }
    let backend = open(settings).ok()?;
    let found = backend.acceleration().await.ok()??;
    let why = || found.problem.clone().unwrap_or_else(|| "GOLEM_PROVIDER_VM_ACCEL=tcg".to_owned());
    (found.accelerator == Accelerator::Tcg).then(why)
}

/// Why guests of the backend that `settings` mean would reach nothing, with the fix; `None` if they would, or it decides.
pub(crate) async fn network_problem(settings: &BackendSettings) -> Option<String> {
    if !matches!(choose(&settings.vms), Choice::Qemu) {
        return None;
    }
    open(settings).ok()?.network_problem().await
}

/// Whether the backend that `settings` mean starts VMs from images of this machine.
#[must_use]
pub(crate) fn has_images(settings: &BackendSettings) -> bool {
    matches!(choose(&settings.vms), Choice::Qemu)
}

/// Whether the default image should be on this machine and is not. Multipass fetches its own.
#[must_use]
pub(crate) fn image_missing(settings: &BackendSettings) -> bool {
    matches!(choose(&settings.vms), Choice::Qemu)
        && Images::open(&settings.data_dir)
            .is_ok_and(|images| images.find(&settings.vms.default_vm_image).is_none())
}
