//! What is left on this host beside the machines.
//!
//! Owns reading a ledger that may be damaged or gone, and putting a damaged one out of the way. Never repairs one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use golem_types::wire::Exact;
use golem_types::{StreamId, VmId};
use golem_vm::OnDisk;
use jiff::Timestamp;

use super::Beside;
use crate::ledger::{Ledger, LedgerError};

/// Most bytes of `streams.json` that are read.
const EXPORT_MAXIMUM: u64 = 64 << 20;

/// Why there is no ledger to look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is not there. A look makes none.
    Absent,
    /// SQLite cannot read it.
    Damaged,
}

/// The ledger `file`, or why there is none.
///
/// # Errors
/// [`LedgerError`], when it is there, sound, and cannot be opened.
pub fn open(file: &Path) -> Result<Result<Ledger, Missing>, LedgerError> {
    if !file.exists() {
        return Ok(Err(Missing::Absent));
    }
    match Ledger::open(file) {
        Ok(ledger) => Ok(Ok(ledger)),
        Err(LedgerError::Damaged(_)) => Ok(Err(Missing::Damaged)),
        Err(error) => Err(error),
    }
}

impl Beside {
    /// What is known beside the machines `on_disk`: by what was exported to `data_dir`, and by the rows that are left in
    /// `ledger`. `range` are the SSH ports that VMs may have, `contract` the chain and contract of streams.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn find(
        data_dir: &Path,
        range: Range<u16>,
        contract: Option<Arc<str>>,
        on_disk: &BTreeMap<VmId, OnDisk>,
        ledger: Option<&Ledger>,
    ) -> Result<Self, LedgerError> {
        let exported = exported(&data_dir.join("streams.json"));
        let mut beside = Self { range, exported, contract, ..Self::default() };
        if let Some(ledger) = ledger {
            let now = ledger.now();
            beside.ports = now.ports();
            beside.names = now.iter().map(|one| (one.vm.owner.clone(), one.vm.name.clone())).collect();
            beside.streams = now.iter().filter_map(|one| one.vm.stream.clone()).collect();
            for id in on_disk.keys() {
                beside.known.insert(id.clone(), ledger.known(id).await?);
            }
        }
        Ok(beside)
    }
}

/// Which stream paid for which VM, as was exported last.
fn exported(file: &Path) -> BTreeMap<VmId, StreamId> {
    let bytes = golem_files::read(file, EXPORT_MAXIMUM).unwrap_or_default();
    let all: BTreeMap<String, Exact> = serde_json::from_slice(&bytes).unwrap_or_default();
    all.into_iter().filter_map(|(id, number)| Some((id.parse().ok()?, StreamId(number.0)))).collect()
}

/// Moves a damaged ledger, and what SQLite keeps beside it, out of the way; gives where it is now.
///
/// # Errors
/// When a file cannot be renamed.
pub fn put_aside(file: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let named = |base: &Path, suffix: &str| {
        let mut name: OsString = base.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = named(file, &format!(".damaged-{}", now.strftime("%Y%m%d-%H%M%S")));
    for suffix in ["-wal", "-shm", ""] {
        let moved = std::fs::rename(named(file, suffix), named(&aside, suffix));
        golem_files::absent_is_fine(moved)?;
    }
    Ok(aside)
}
