//! What is written on the disks of machines, for a node whose ledger is lost.
//!
//! Owns `rental.json`, whose words are the node's, and what can be read of a machine without it. Never
//! changes a machine.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use golem_types::VmId;

use super::{DISK_FILE, Qemu, RECORD_FILE, Record, SEED_FILE, read_json};
use crate::machine::OnDisk;
use crate::seed;

const NOTE_FILE: &str = "rental.json";

/// Most bytes of a note that are read.
const NOTE_MAXIMUM: u64 = 1 << 20;

impl Qemu {
    pub(crate) fn keep_note(&self, id: &VmId, note: &[u8]) -> io::Result<()> {
        let folder = self.of(id);
        if !folder.join(RECORD_FILE).exists() {
            return Err(ErrorKind::NotFound.into());
        }
        let path = folder.join(NOTE_FILE);
        if golem_files::read(&path, NOTE_MAXIMUM).is_ok_and(|kept| kept == note) {
            return Ok(());
        }
        golem_files::replace(&path, note)
    }

    pub(crate) fn on_disk(&self) -> io::Result<BTreeMap<VmId, OnDisk>> {
        let machine = |id: VmId| {
            let folder = self.of(&id);
            let record: Option<Record> = read_json(&folder.join(RECORD_FILE)).ok();
            let found = OnDisk {
                note: golem_files::read(&folder.join(NOTE_FILE), NOTE_MAXIMUM).ok(),
                keys: seed::keys(&folder.join(SEED_FILE)).unwrap_or_default(),
                complete: folder.join(DISK_FILE).exists(),
                resources: record.as_ref().map(|record| record.resources),
                image: record.map(|record| record.image),
            };
            (id, found)
        };
        Ok(self.ids()?.into_iter().map(machine).collect())
    }
}
