//! Which backend the settings mean, opened.
//!
//! Owns the choice. Never makes a machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use golem_types::ImageName;
use golem_vm::Backend;
use golem_vm::images::{ENTRIES, Images};
use golem_vm::qemu::{Accelerator, Qemu, QemuConfig};
use golem_vm::sim::{Sim, SimConfig};

use crate::settings::{Settings, VmAccel, VmBackend};

/// How long a simulated guest boots: long enough to be seen, short enough to wait for.
const SIM_BOOT: Duration = Duration::from_millis(200);

/// Opens the backend that `settings` mean.
///
/// # Errors
/// When its parts are missing; the message names the fix.
pub(crate) fn open(settings: &Settings) -> anyhow::Result<Backend> {
    match settings.vm_backend {
        VmBackend::Sim => Ok(Backend::Sim(sim(settings)?)),
        VmBackend::Auto | VmBackend::Qemu => {
            let images = Images::open(&settings.data_dir).context("the images cannot be opened")?;
            let config = QemuConfig {
                data_dir: settings.data_dir.clone(),
                accelerator: match settings.vm_accel {
                    VmAccel::Auto => None,
                    VmAccel::Kvm => Some(Accelerator::Kvm),
                    VmAccel::Tcg => Some(Accelerator::Tcg),
                },
            };
            let qemu = Qemu::open(&config, Arc::new(images)).context("the QEMU backend cannot be opened")?;
            Ok(Backend::Qemu(qemu))
        }
    }
}

/// A simulation that offers every image of the catalogue, and the operator's default.
fn sim(settings: &Settings) -> anyhow::Result<Sim> {
    let names =
        ENTRIES.iter().flat_map(|entry| std::iter::once(entry.name).chain(entry.aliases.iter().copied()));
    let mut images: BTreeSet<ImageName> = names.filter_map(|name| name.parse().ok()).collect();
    images.insert(settings.default_vm_image.clone());
    Sim::open(SimConfig { data_dir: settings.data_dir.clone(), images, boot: SIM_BOOT })
        .context("the simulation cannot be opened")
}

/// Name of the backend that `settings` mean.
#[must_use]
pub(crate) const fn name(settings: &Settings) -> &'static str {
    match settings.vm_backend {
        VmBackend::Sim => "sim",
        VmBackend::Auto | VmBackend::Qemu => "qemu",
    }
}

/// Whether the backend that `settings` mean can be used, without making anything.
///
/// # Errors
/// Why not; the message names the fix.
pub(crate) async fn check(settings: &Settings) -> anyhow::Result<()> {
    match settings.vm_backend {
        // The simulation has no parts that could be missing, and opening it would start it.
        VmBackend::Sim => Ok(()),
        VmBackend::Auto | VmBackend::Qemu => Ok(open(settings)?.check().await?),
    }
}

/// Whether the default image should be on this machine and is not.
#[must_use]
pub(crate) fn image_missing(settings: &Settings) -> bool {
    settings.vm_backend != VmBackend::Sim
        && Images::open(&settings.data_dir)
            .is_ok_and(|images| images.find(&settings.default_vm_image).is_none())
}
