//! How guests' CPUs are run, and the memory that it takes.
//!
//! Which one a host can use is found out in `qemu::acceleration`.

use crate::machine::Overhead;

/// How guests' CPUs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// Translation; slow, and no security boundary by QEMU's own policy.
    Tcg,
}

impl Accelerator {
    /// Its name in settings and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Memory that what runs a guest takes beside the guest's own, where that may have `connections` to the outside.
    ///
    /// Measured without hardware virtualisation (QEMU 7.2, two CPUs or eight, a guest that had filled its memory and
    /// ran compilers and interpreters for a minute): 203 MiB, of which 128 are translated code; before any was
    /// translated, 48. A quarter more is counted, and as much for KVM as if half of the rest were needed there. The
    /// kernel's tables of pages of 4 KiB are 8 bytes for each, once for QEMU and once for the guest: a part in 256;
    /// twice that is counted. A connection has buffers of 256 KiB in QEMU's user network, and in the uplink's.
    pub(crate) const fn overhead(self, connections: u32) -> Overhead {
        let mib = match self {
            Self::Kvm => 128,
            Self::Tcg => 256,
        };
        Overhead { per_machine: (mib << 20) + connections as u64 * (512 << 10), per_gib: 8 << 20 }
    }
}
