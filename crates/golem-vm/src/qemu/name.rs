//! The public name of a machine, which every user of the host may see: on a command line, of a control group.

use golem_types::VmId;
use sha2::{Digest, Sha256};

/// What names the machine on QEMU's command line, which every user of the host can read: knowing
/// the whole id is the right to use the machine, so a hash stands for its secret part (I8).
pub(super) fn name_word(id: &VmId) -> String {
    format!("guest={}-{}", id.redacted(), short_hash(id))
}

/// What stands for the machine where every user of the host can read.
pub(super) fn short_hash(id: &VmId) -> String {
    Sha256::digest(id.as_str())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
