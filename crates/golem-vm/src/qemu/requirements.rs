//! What guests need of this host: processors, programs and firmware.
//!
//! Owns the list, and the text that names what is missing. Never installs anything.

use super::programs::program;
use super::{Acceleration, Qemu, acceleration, network, unavailable};
use crate::Architecture;
use crate::architecture::Firmware;
use crate::machine::BackendError;

/// A program or file that is missing, Debian's package of it, and whether guests need it to run at all.
type Missing = (&'static str, &'static str, bool);

/// Everything that is missing of what guests need and that is not `here`.
fn missing(architecture: Architecture, root: bool, here: impl Fn(&str) -> bool) -> Vec<Missing> {
    let firmware = architecture.needs_firmware().map(|(name, package)| (name, package, true));
    let needed = [
        ("qemu-img", "qemu-utils", true),
        ("prlimit", "util-linux", true),
        ("setsid", "util-linux", true),
        ("setpriv", "util-linux", root),
        ("nft", "nftables", false),
        ("slirp4netns", "slirp4netns", false),
    ];
    let needed =
        std::iter::once((architecture.program(), architecture.package(), true)).chain(firmware).chain(needed);
    needed.filter(|(name, ..)| !here(name)).collect()
}

/// All of it with one command that installs it. Without what only their network needs guests run, with no network but SSH
/// in: that is named too, but is no reason of its own.
fn told(missing: &[Missing]) -> Option<String> {
    if !missing.iter().any(|(.., must)| *must) {
        return None;
    }
    let names: Vec<_> = missing.iter().map(|(name, ..)| *name).collect();
    let mut packages: Vec<_> = missing.iter().map(|(_, package, _)| *package).collect();
    packages.dedup();
    Some(format!("{} not found; install with: apt-get install {}", names.join(", "), packages.join(" ")))
}

fn here(architecture: Architecture, name: &str) -> bool {
    match architecture.needs_firmware() {
        Some((firmware, _)) if firmware == name => architecture.firmware().is_some(),
        _ => program(name).is_some(),
    }
}

/// The programs and files that guests need, network included, and that are missing on this host; each with Debian's package
/// of it.
#[must_use]
pub fn missing_here() -> Vec<(&'static str, &'static str)> {
    let root = rustix::process::geteuid().is_root();
    let Some(architecture) = Architecture::of_host() else { return Vec::new() };
    let missing = missing(architecture, root, |name| here(architecture, name));
    missing.into_iter().map(|(name, package, _)| (name, package)).collect()
}

impl Qemu {
    pub(crate) async fn check(&self) -> Result<(), BackendError> {
        let architecture = self.architecture()?;
        match told(&missing(architecture, self.root, |name| here(architecture, name))) {
            None => self.acceleration().await.map(drop),
            Some(message) => Err(unavailable(message)),
        }
    }

    /// What processors guests have.
    pub(super) fn architecture(&self) -> Result<Architecture, BackendError> {
        self.config.architecture.ok_or_else(|| {
            unavailable(format!(
                "guests run on 64-bit x86 (amd64) and 64-bit ARM (arm64), and this machine's processors are of \
                 another kind ({}); fix: run the node on a machine of one of these",
                std::env::consts::ARCH
            ))
        })
    }

    /// The firmware of machines, where it is not QEMU's own.
    pub(super) fn firmware(&self, architecture: Architecture) -> Result<Option<Firmware>, BackendError> {
        match (architecture.needs_firmware(), architecture.firmware()) {
            (Some((name, package)), None) => {
                Err(unavailable(format!("{name} not found; install with: apt-get install {package}")))
            }
            (_, firmware) => Ok(firmware),
        }
    }

    /// What runs guests' CPUs here; found out once, because nothing may change under guests that run.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] when KVM is wanted and guests cannot use it.
    pub(crate) async fn acceleration(&self) -> Result<&Acceleration, BackendError> {
        let Self { config, folder, .. } = self;
        let uid = self.root.then(|| network::uids(folder).start);
        let architecture = self.architecture()?;
        let chosen = self
            .acceleration
            .get_or_try_init(|| acceleration::choose(config.accelerator, &config.kvm, architecture, uid))
            .await;
        chosen.map_err(|problem| unavailable(format!("KVM is wanted and guests cannot use it: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::images::Images;
    use crate::qemu::QemuConfig;

    #[test]
    fn h_15_everything_missing_is_in_one_list_with_one_command() {
        let without =
            |absent: &[&str]| told(&missing(Architecture::X86_64, true, |name| !absent.contains(&name)));
        assert_eq!(without(&[]), None);
        assert_eq!(without(&["slirp4netns", "nft"]), None, "guests run without network");
        let all =
            without(&["qemu-system-x86_64", "qemu-img", "setsid", "setpriv", "nft", "slirp4netns"]).unwrap();
        assert!(
            all.starts_with("qemu-system-x86_64, qemu-img, setsid, setpriv, nft, slirp4netns not found; ")
        );
        let packages = "qemu-utils util-linux nftables slirp4netns";
        assert!(all.ends_with(packages) && all.contains("apt-get install qemu-system-"), "{all}");
    }

    #[test]
    fn h_12_missing_firmware_is_named_with_what_brings_it() {
        let here = |name: &str| ["setsid", "setpriv", "prlimit"].contains(&name);
        let missing = |architecture| told(&missing(architecture, true, here));
        assert_eq!(
            missing(Architecture::Aarch64).unwrap(),
            "qemu-system-aarch64, AAVMF_CODE.fd, qemu-img, nft, slirp4netns not found; install with: \
             apt-get install qemu-system-arm qemu-efi-aarch64 qemu-utils nftables slirp4netns"
        );
        assert!(!missing(Architecture::X86_64).unwrap().contains("AAVMF"));
    }

    #[tokio::test]
    async fn h_12_processors_that_guests_cannot_have_are_refused_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let images = Arc::new(Images::open(folder.path()).unwrap());
        let config = QemuConfig { architecture: None, ..QemuConfig::new(folder.path().to_owned()) };
        let refused = Qemu::open(config, images).check().await.unwrap_err();
        assert!(refused.to_string().contains("processors are of another kind"), "{refused}");
    }
}
