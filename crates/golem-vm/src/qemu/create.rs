//! Making a machine: its folder, its user, its disk and its seed.
//!
//! Owns the order in which they appear, so that a kill in between leaves something that the next
//! call finishes. Never runs a guest.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::sync::PoisonError;

use golem_files::volume_trouble;
use golem_types::ImageName;
use tokio::process::Command;

use super::base_images::LEAST_FREE_BYTES;
use super::{
    DISK_FILE, Qemu, RECORD_FILE, RUN_FOLDER, Record, SEED_FILE, base_images, command, failed, memory,
    network, process, read_json, step_error,
};
use crate::images::Header;
use crate::machine::{BackendError, MachineSpec};
use crate::seed;

impl Qemu {
    pub(crate) async fn create(&self, spec: &MachineSpec) -> Result<(), BackendError> {
        self.check().await?;
        let folder = self.of(&spec.id);
        let is_made = folder.join(DISK_FILE).exists();
        let base = self.images.find(&spec.image);
        // What is made needs its image no more; what is left of it to make, neither.
        if base.is_none() && !is_made {
            return Err(BackendError::NoSuchImage(spec.image.clone()));
        }
        if let Some(trouble) = self.disk_trouble(None) {
            return Err(step_error("looking for disk space", trouble));
        }
        // Nobody else may enter it: a guest is started in its own folder, and never leaves it.
        golem_files::private_subfolder(&self.folder).map_err(failed("making the folder of machines"))?;
        let record = self.prepare(spec).map_err(failed("preparing the machine's folder"))?;
        if let Some((base, _)) = base.filter(|_| !is_made) {
            self.overlay(&folder, &base, spec).await?;
        }
        self.make_variables(&folder).await?;
        let image = seed::image(spec).map_err(failed("writing the cloud-init seed"))?;
        golem_files::replace(&folder.join(SEED_FILE), &image)
            .map_err(failed("writing the cloud-init seed"))?;
        self.hand_over(&folder, record.uid).map_err(failed("handing the machine to its user"))
    }

    /// Makes the machine in `folder`, whose guest does not run, what is wanted: a disk that is new where that was ordered, and
    /// larger where it is too small. What was done last is written down last, so that whoever dies does it again. An
    /// older order than the last that was done is of a ledger from before, and is none.
    pub(super) async fn fit(&self, folder: &Path, spec: &MachineSpec) -> Result<Record, BackendError> {
        let step = "preparing the machine";
        let mut record: Record = read_json(&folder.join(RECORD_FILE)).map_err(failed(step))?;
        if spec.rebuild_at > record.rebuilt_at {
            let Some((base, _)) = self.images.find(&spec.image) else {
                return Err(BackendError::NoSuchImage(spec.image.clone()));
            };
            if let Some(trouble) = self.disk_trouble(Some(&spec.image)) {
                return Err(step_error("looking for disk space", trouble));
            }
            check_size(&base, spec)?;
            memory::forget(folder).map_err(failed(step))?;
            for file in [base_images::BASE_FILE, command::VARIABLES_FILE] {
                golem_files::absent_is_fine(std::fs::remove_file(folder.join(file))).map_err(failed(step))?;
            }
            self.overlay(folder, &base, spec).await?;
            self.make_variables(folder).await?;
            let image = seed::image(spec).map_err(failed("writing the cloud-init seed"))?;
            golem_files::replace(&folder.join(SEED_FILE), &image).map_err(failed(step))?;
            self.hand_over(folder, record.uid).map_err(failed(step))?;
            (record.image, record.rebuilt_at) = (spec.image.clone(), spec.rebuild_at);
        } else if record.resources == spec.resources {
            return Ok(record);
        } else {
            self.grow(folder, spec.resources.storage).await.map_err(failed(step))?;
        }
        record.resources = spec.resources;
        let text = serde_json::to_vec(&record).map_err(|error| failed(step)(io::Error::other(error)))?;
        golem_files::replace(&folder.join(RECORD_FILE), &text).map_err(failed(step))?;
        Ok(record)
    }

    /// Why the volume has no room for another machine at all, or none made from `image`.
    pub(crate) fn disk_trouble(&self, image: Option<&ImageName>) -> Option<&'static str> {
        // The folder comes with the first machine; a link that leads nowhere is a volume that is not mounted.
        let folder = match self.folder.symlink_metadata() {
            Ok(_) if !self.folder.exists() => return Some("the provider's disk is not mounted"),
            Ok(_) => &self.folder,
            Err(_) => self.folder.parent()?,
        };
        if let Some(trouble) = volume_trouble(folder, LEAST_FREE_BYTES) {
            return Some(trouble);
        }
        let (image, _) = self.images.find(image?)?;
        let copy = self.bases.copy_bytes(&image).ok()??;
        volume_trouble(folder, copy.saturating_add(LEAST_FREE_BYTES))
            .map(|_| "the provider's disk has no room for a copy of the image")
    }

    /// Makes the folder and chooses the user that the machine runs as.
    fn prepare(&self, spec: &MachineSpec) -> io::Result<Record> {
        let folder = self.of(&spec.id);
        let _choosing = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(record) = read_json::<Record>(&folder.join(RECORD_FILE)) {
            return Ok(record);
        }
        let uid = if self.root { Some(self.free_uid()?) } else { None };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let record =
            Record { resources: spec.resources, image: spec.image.clone(), uid, rebuilt_at: spec.rebuild_at };
        golem_files::replace(
            &folder.join(RECORD_FILE),
            &serde_json::to_vec(&record).map_err(io::Error::other)?,
        )?;
        Ok(record)
    }

    /// The lowest of the node's user ids that no machine has.
    fn free_uid(&self) -> io::Result<u32> {
        let mut taken = BTreeSet::new();
        for id in self.ids()? {
            // A record that cannot be read may hold any id: better no new machine than two users
            // with one id.
            let record: Option<Record> = process::ignore_missing(read_json(&self.of(&id).join(RECORD_FILE)))?;
            taken.extend(record.and_then(|record| record.uid));
        }
        network::uids(&self.folder)
            .find(|uid| !taken.contains(uid))
            .ok_or_else(|| io::Error::other("every user id for guests is taken"))
    }

    async fn overlay(&self, folder: &Path, base: &Path, spec: &MachineSpec) -> Result<(), BackendError> {
        let step = "creating the disk";
        self.bases.give(base, folder).await.map_err(failed("giving the machine its image"))?;
        let link = folder.join(base_images::BASE_FILE);
        // Of the machine's own: the image may have been replaced since it was looked at.
        let header = check_size(&link, spec)?;
        let gib = spec.resources.storage;
        let output = Command::new("qemu-img")
            .args(command::overlay(header.format.as_str(), gib))
            .current_dir(folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(failed(step))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(failed(step)(io::Error::other(stderr)));
        }
        let fresh = folder.join("disk.new");
        std::fs::File::open(&fresh).and_then(|file| file.sync_all()).map_err(failed(step))?;
        std::fs::rename(&fresh, folder.join(DISK_FILE)).map_err(failed(step))
    }

    /// Gives the machine the variables of its firmware, where it has any.
    async fn make_variables(&self, folder: &Path) -> Result<(), BackendError> {
        let step = "making the firmware's variables";
        let Some(firmware) = self.firmware(self.architecture()?)? else { return Ok(()) };
        let (variables, fresh) = (folder.join(command::VARIABLES_FILE), folder.join("variables.new"));
        let make = move || {
            if variables.try_exists()? {
                return Ok(());
            }
            golem_files::absent_is_fine(std::fs::remove_file(&fresh))?;
            base_images::copy_variables(&firmware.variables, &fresh)?;
            std::fs::rename(&fresh, &variables)
        };
        let made = tokio::task::spawn_blocking(make).await.map_err(io::Error::other);
        made.and_then(|made| made).map_err(failed(step))
    }

    /// Gives the machine's user what it needs: its disk, its seed to read, its firmware's variables, a
    /// place for sockets, and the way there.
    fn hand_over(&self, folder: &Path, uid: Option<u32>) -> io::Result<()> {
        let run = folder.join(RUN_FOLDER);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&run)?;
        let variables = folder.join(command::VARIABLES_FILE);
        let mut its = vec![(folder.join(DISK_FILE), 0o600), (folder.join(SEED_FILE), 0o400), (run, 0o700)];
        its.extend(variables.exists().then_some((variables, 0o600)));
        for (path, mode) in its {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
            std::os::unix::fs::chown(path, uid, uid)?;
        }
        std::os::unix::fs::chown(folder, None, uid)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o710))
    }
}

/// What the image at `path` is, if a disk of `spec` has room for it.
fn check_size(path: &Path, spec: &MachineSpec) -> Result<Header, BackendError> {
    let step = "creating the disk";
    let header = Header::read(path).map_err(|error| failed(step)(io::Error::other(error)))?;
    if header.bytes > u64::from(spec.resources.storage) << 30 {
        let least = header.bytes.div_ceil(1 << 30);
        return Err(step_error(step, format!("image {} needs {least} GB of storage", spec.image)));
    }
    Ok(header)
}
