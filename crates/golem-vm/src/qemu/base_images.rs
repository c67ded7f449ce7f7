//! Base images: what machines' disks are overlays of, on the file system of the machines.
//!
//! ```text
//!   image ─ hard link ─► <machine>/base.img                         one file for all
//!     └─ refused ─► vms/.bases/<image> ─ hard link ─► <machine>/base.img    one copy for all
//!            └─ none yet ─► <machine>/base.img.new (clone or copy, synced)
//!                             ├─ hard link ─► vms/.bases/<image>, where links work
//!                             └─ rename ─► <machine>/base.img
//! ```
//! A copy lies in the folder of the machine that it is made for until it is complete and on the disk, so
//! that what a kill leaves goes with that machine, and nothing in `.bases` is ever half written. It is named
//! after the image's file (inode, size, time of change): another image of the same name is another base.
//!
//! Owns that folder. Never writes an image, and never removes a base that a machine has or that a current
//! image would give again.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use golem_files::absent_is_fine;
use tokio::sync::Mutex;

use crate::images::Images;

/// Least space that a new machine must find: its overlay, and room for its first boot.
pub(super) const LEAST_FREE_BYTES: u64 = 1 << 30;

/// Name of the link to the base image in the machine's folder.
pub const BASE_FILE: &str = "base.img";

/// The folder of bases, beside the machines.
pub const BASES_FOLDER: &str = ".bases";

/// A base in the machine's folder that is not complete.
const UNFINISHED: &str = "base.img.new";

/// Bytes that are copied at once, and the least that is left out of a copy because it is nothing but zeros.
const CHUNK_BYTES: usize = 1 << 18;

/// Makes a hard link.
type Link = fn(&Path, &Path) -> io::Result<()>;

/// The bases of one folder of machines.
#[derive(Debug)]
pub(super) struct Bases {
    store: Store,
    /// Held while one is copied, or others are removed.
    changing: Arc<Mutex<()>>,
}

#[derive(Debug, Clone)]
struct Store {
    machines: PathBuf,
    images: Arc<Images>,
    link: Link,
    /// Whether whoever wants copies is gone.
    over: Arc<AtomicBool>,
}

impl Drop for Bases {
    fn drop(&mut self) {
        self.store.over.store(true, Ordering::Release);
    }
}

impl Bases {
    /// Those beside the machines in `machines`, of `images`. Makes nothing.
    pub(super) fn new(machines: PathBuf, images: Arc<Images>) -> Self {
        let link: Link = |from, to| std::fs::hard_link(from, to);
        let store = Store { machines, images, link, over: Arc::default() };
        Self { store, changing: Arc::default() }
    }

    /// Puts the base made of `image` into the folder `machine`; one that is there stays. A copy that was begun goes
    /// on when nobody waits for it any more, and the next call waits for it.
    ///
    /// # Errors
    /// Any error of copying; of kind `StorageFull` where there is no room.
    pub(super) async fn give(&self, image: &Path, machine: &Path) -> io::Result<()> {
        let (store, image, machine) = (self.store.clone(), image.to_owned(), machine.to_owned());
        // At once, also while an image is copied.
        if store.link_into(&image, &machine)? {
            return Ok(());
        }
        let alone = Arc::clone(&self.changing).lock_owned().await;
        let made = tokio::task::spawn_blocking(move || {
            let _alone = alone;
            // Another machine's may have been made meanwhile.
            if store.link_into(&image, &machine)? {
                return Ok(());
            }
            store.tidy()?;
            store.copy_into(&image, &machine)
        });
        made.await.map_err(io::Error::other)?
    }

    /// Bytes that a copy of `image` would take of the disk; `None` if a machine shares what is there. Cheap, and
    /// does not try: a file system that knows no links is found out by the first machine.
    pub(super) fn copy_bytes(&self, image: &Path) -> io::Result<Option<u64>> {
        let found = std::fs::metadata(image)?;
        let machines = &self.store.machines;
        let there = if machines.exists() { machines } else { machines.parent().unwrap_or(machines) };
        let shares = is_shareable(&std::fs::symlink_metadata(image)?) && mount_of(image)? == mount_of(there)?;
        let has = shares || self.store.path(&found).exists();
        Ok((!has).then(|| bytes_of(&found)))
    }

    /// Removes bases that no machine has and that no current image would give again; not while one is copied.
    pub(super) fn tidy(&self) -> io::Result<()> {
        match self.changing.try_lock() {
            Ok(_alone) => self.store.tidy(),
            Err(_) => Ok(()),
        }
    }
}

impl Store {
    fn folder(&self) -> PathBuf {
        self.machines.join(BASES_FOLDER)
    }

    /// Where the base of the image is whose file was `found`.
    fn path(&self, found: &Metadata) -> PathBuf {
        self.folder().join(name_of(found))
    }

    /// Links the image or its base into the folder `machine`; false where neither can be.
    fn link_into(&self, image: &Path, machine: &Path) -> io::Result<bool> {
        let base = machine.join(BASE_FILE);
        let has = base.try_exists()? || self.link_to(image, &base)?;
        if has {
            // What a kill left of a copy.
            absent_is_fine(std::fs::remove_file(machine.join(UNFINISHED)))?;
        }
        Ok(has)
    }

    fn link_to(&self, image: &Path, base: &Path) -> io::Result<bool> {
        let found = std::fs::metadata(image)?;
        if is_shareable(&std::fs::symlink_metadata(image)?) {
            match (self.link)(image, base) {
                Ok(()) => return Ok(true),
                // Whatever the reason, a copy may do; what stands in its way, too, it says itself.
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the image cannot be linked to where machines lie"
                ),
            }
        }
        Ok((self.link)(&self.path(&found), base).is_ok())
    }

    /// Copies the image into the folder `machine`, and makes the copy everybody's where links work.
    fn copy_into(&self, image: &Path, machine: &Path) -> io::Result<()> {
        let (base, fresh) = (machine.join(BASE_FILE), machine.join(UNFINISHED));
        absent_is_fine(std::fs::remove_file(&fresh))?;
        let copied = self.copy(image, &fresh).and_then(|found| {
            golem_files::private_subfolder(&self.folder())?;
            if let Err(error) = (self.link)(&fresh, &self.path(&found)) {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "other machines get a copy of the image of their own"
                );
            }
            std::fs::rename(&fresh, &base)
        });
        if copied.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        copied?;
        golem_files::sync_folder_of(&base)
    }

    /// Copies the file `image` to `to`, as a clone where the file system can; what it was.
    fn copy(&self, image: &Path, to: &Path) -> io::Result<Metadata> {
        let mut source = File::open(image)?;
        let found = source.metadata()?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
            let bytes = bytes_of(&found);
            let free = free_bytes(&self.machines)?;
            if free < bytes.saturating_add(LEAST_FREE_BYTES) {
                return Err(no_room(&self.machines, bytes, free));
            }
            tracing::info!(
                image = %image.display(),
                mib = bytes >> 20,
                "the image is copied to where machines lie, because it cannot be linked there"
            );
            stream(&mut source, &mut target, || !self.over.load(Ordering::Acquire))?;
        }
        // Guests read it as other users; nobody writes it.
        target.set_permissions(Permissions::from_mode(0o444))?;
        target.sync_all()?;
        if name_of(&source.metadata()?) != name_of(&found) {
            return Err(io::Error::other("the image was changed while it was copied"));
        }
        Ok(found)
    }

    fn tidy(&self) -> io::Result<()> {
        let entries = match std::fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let current = self.images.files();
        let current: BTreeSet<String> = current
            .iter()
            .filter_map(|image| std::fs::metadata(image).ok())
            .map(|found| name_of(&found))
            .collect();
        for entry in entries {
            let entry = entry?;
            let is_current = entry.file_name().to_str().is_some_and(|name| current.contains(name));
            if !is_current && entry.metadata()?.nlink() == 1 {
                absent_is_fine(std::fs::remove_file(entry.path()))?;
            }
        }
        // It goes when it is empty.
        let _ = std::fs::remove_dir(self.folder());
        Ok(())
    }
}

/// Copies what `source` holds, zeros as holes, until its end; not while it is no longer `wanted`, or the name of
/// `target` was removed.
fn stream(source: &mut File, target: &mut File, wanted: impl Fn() -> bool) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let count = source.read(&mut chunk)?;
        if count == 0 {
            return target.set_len(done);
        }
        if !wanted() || target.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody wants the copy any more"));
        }
        if chunk[..count].iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(i64::try_from(count).map_err(io::Error::other)?))?;
        } else {
            target.write_all(&chunk[..count])?;
        }
        done += count as u64;
    }
}

/// Copies the firmware's variables `from` to `to`, which are mostly zeros.
pub(super) fn copy_variables(from: &Path, to: &Path) -> io::Result<()> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    stream(&mut File::open(from)?, &mut target, || true)?;
    target.sync_all()
}

/// Tells one image's file from the next; a file under an image's name is replaced, never changed.
fn name_of(found: &Metadata) -> String {
    format!("{:x}-{:x}-{:x}-{:x}", found.ino(), found.len(), found.mtime(), found.mtime_nsec())
}

/// Whether machines may have the very file that was `found` under an image's name: guests' users can read it,
/// and cannot write it. A link by its name would be a link to that name.
fn is_shareable(found: &Metadata) -> bool {
    found.is_file() && found.mode() & 0o004 != 0 && found.mode() & 0o022 == 0
}

/// The mount that `path` is on: from one to another nothing can be linked, even if both are of one file system. Its
/// number is zero where the kernel does not tell.
fn mount_of(path: &Path) -> io::Result<(u32, u32, u64)> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
    Ok((found.stx_dev_major, found.stx_dev_minor, found.stx_mnt_id))
}

/// What the file that was `found` takes of a disk.
fn bytes_of(found: &Metadata) -> u64 {
    found.len().min(found.blocks().saturating_mul(512))
}

/// Bytes that can be written to the volume of `folder`.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let volume = rustix::fs::statvfs(folder)?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

fn no_room(folder: &Path, bytes: u64, free: u64) -> io::Error {
    let text = format!(
        "a copy of the image takes {} MiB, and {} MiB are free in {}, of which {} have to stay free; fix: make room \
         there, or keep images and machines on one file system",
        bytes >> 20,
        free >> 20,
        folder.display(),
        LEAST_FREE_BYTES >> 20
    );
    io::Error::new(io::ErrorKind::StorageFull, text)
}

#[cfg(test)]
mod tests;
