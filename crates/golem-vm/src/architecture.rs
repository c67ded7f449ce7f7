//! Kinds of processors, and what of QEMU follows from them.
//!
//! Owns every word that differs from one kind to the next, and which kind this machine's are. Guests have
//! processors of their host's kind.
//!
//! | | 64-bit x86 | 64-bit ARM |
//! |---|---|---|
//! | program | `qemu-system-x86_64` | `qemu-system-aarch64` |
//! | machine | `q35` | `virt`, whose interrupt controller is the host's with KVM (there is no other), else a GICv3: a GICv2 ends at eight CPUs |
//! | CPU | `host` with KVM; `qemu64`, measured fastest without | `host` with KVM; `cortex-a72` without: what Debian, Fedora and Ubuntu need and no more to translate |
//! | firmware | QEMU's own | UEFI, from a package of its own; its variables are each machine's own |
//! | console in the guest | `ttyS0` | `ttyAMA0` |
//! | guests' own virtual machines | `vmx`, `svm` off, unless they are wanted | never: `virt` leaves them off |

use std::path::{Path, PathBuf};

use crate::Accelerator;

/// A kind of processors that guests can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// UEFI firmware of this host, in flash of the size that the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Firmware {
    /// The program, which guests share.
    pub(crate) code: PathBuf,
    /// What the variables of a new machine start from.
    pub(crate) variables: PathBuf,
}

/// Where distributions keep the firmware for 64-bit ARM, and its variables.
const AARCH64_FIRMWARE: &[(&str, &str)] = &[
    // Debian, Ubuntu.
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    // Fedora.
    ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    // Arch.
    ("/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"),
    // openSUSE.
    ("/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin"),
];

/// Bytes of each of the two flash chips of the machine `virt`, which takes files of no other size.
const FLASH_BYTES: u64 = 64 << 20;

impl Architecture {
    /// This machine's; `None` if guests cannot have it.
    #[must_use]
    pub fn of_host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "64-bit x86 (amd64)",
            Self::Aarch64 => "64-bit ARM (arm64)",
        }
    }

    /// The program that runs guests.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The Debian package of that program.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86",
            Self::Aarch64 => "qemu-system-arm",
        }
    }

    /// The machine's short name, which QEMU has another full one for with every version.
    pub(crate) const fn machine_name(self) -> &'static str {
        match self {
            Self::X86_64 => "q35",
            Self::Aarch64 => "virt",
        }
    }

    /// The machine, as QEMU calls it.
    pub(crate) const fn machine(self, accelerator: Accelerator) -> &'static str {
        match (self, accelerator) {
            (Self::X86_64, _) => "q35",
            (Self::Aarch64, Accelerator::Kvm) => "virt,gic-version=host",
            (Self::Aarch64, Accelerator::Tcg) => "virt,gic-version=3",
        }
    }

    /// The CPU, as QEMU calls it; `nested` is whether guests may run virtual machines themselves, where that can
    /// be had.
    pub(crate) const fn cpu(self, accelerator: Accelerator, nested: bool) -> &'static str {
        match (self, accelerator, nested) {
            (Self::X86_64, Accelerator::Kvm, true) => "host",
            (Self::X86_64, Accelerator::Kvm, false) => "host,vmx=off,svm=off",
            (Self::X86_64, Accelerator::Tcg, true) => "qemu64",
            (Self::X86_64, Accelerator::Tcg, false) => "qemu64,vmx=off,svm=off",
            (Self::Aarch64, Accelerator::Kvm, _) => "host",
            (Self::Aarch64, Accelerator::Tcg, _) => "cortex-a72",
        }
    }

    /// Whether machines have firmware that is not QEMU's own; its name, and the Debian package that brings it.
    pub(crate) const fn needs_firmware(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::X86_64 => None,
            Self::Aarch64 => Some(("AAVMF_CODE.fd", "qemu-efi-aarch64")),
        }
    }

    /// That firmware, where it is on this host.
    pub(crate) fn firmware(self) -> Option<Firmware> {
        self.needs_firmware()?;
        let has_size = |file: &Path| file.metadata().is_ok_and(|found| found.len() == FLASH_BYTES);
        let candidates = AARCH64_FIRMWARE
            .iter()
            .map(|(code, variables)| Firmware { code: code.into(), variables: variables.into() });
        candidates.into_iter().find(|firmware| has_size(&firmware.code) && has_size(&firmware.variables))
    }
}
