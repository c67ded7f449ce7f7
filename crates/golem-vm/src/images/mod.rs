//! Guest images: the catalogue, and the images on this host.
//!
//! Owns the folder `<data directory>/images` and the catalogue of names that renters may choose
//! from. A renter chooses by name only, never by path or URL. Never makes a machine's disk.

mod catalogue;
mod download;
mod header;
mod processors;
pub mod refresh;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use golem_types::ImageName;

use crate::Architecture;

pub use catalogue::{CatalogueEntry, ENTRIES};
pub use download::{DownloadProgress, PullError, Pulled};
pub use header::{Format, Header, HeaderError};

/// Why something could not be done with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file or folder cannot be read or written.
    #[error("{step}")]
    File {
        /// What was being done, with the path.
        step: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file is no disk image that guests can be made from.
    #[error("{path} cannot be used as an image", path = .path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: HeaderError,
    },
    /// The image is for another kind of processors.
    #[error("{path} is an image for {found} processors, and guests have {wanted} ones; fix: use the publisher's file for those", path = .path.display(), found = .found.as_str(), wanted = .wanted.as_str())]
    Processors {
        /// Which file.
        path: PathBuf,
        /// For which it is.
        found: Architecture,
        /// Which guests have.
        wanted: Architecture,
    },
    /// There is no such image here.
    #[error("there is no image {0} here")]
    NotHere(ImageName),
}

/// An image, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    pub name: ImageName,
    /// Other names for it.
    pub aliases: Vec<ImageName>,
    /// Bytes that its file takes, when it is here.
    pub bytes: Option<u64>,
    /// Where it comes from; `None` for one that the operator added.
    pub url: Option<String>,
}

/// The images of one data directory.
#[derive(Debug)]
pub struct Images {
    folder: PathBuf,
    /// What processors guests have, where they can have any.
    architecture: Option<Architecture>,
    here: Mutex<BTreeMap<ImageName, (Header, Version)>>,
}

/// Tells one file under a name from the next: its inode, size and time of change.
type Version = (u64, u64, i64, i64);

fn version(path: &Path) -> Option<Version> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

const SUFFIX: &str = "img";

fn file_error(step: impl Into<String>) -> impl FnOnce(io::Error) -> ImageError {
    let step = step.into();
    move |source| ImageError::File { step, source }
}

/// The name that `name` is an alias of, or itself.
#[must_use]
pub fn canonical(name: &ImageName) -> ImageName {
    let known = ENTRIES.iter().find(|entry| entry.aliases.contains(&name.as_str()));
    known.and_then(|entry| entry.name.parse().ok()).unwrap_or_else(|| name.clone())
}

impl Images {
    /// Opens the images in `data_dir`; a file that is no image is left out, with a warning. Makes nothing:
    /// the folder comes with the first image.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn open(data_dir: &Path) -> Result<Self, ImageError> {
        let folder = data_dir.join("images");
        let images = Self { folder, architecture: Architecture::of_host(), here: Mutex::default() };
        images.refresh()?;
        Ok(images)
    }

    /// The same for guests of other processors than this machine's: for tests.
    #[must_use]
    pub const fn for_processors(mut self, architecture: Architecture) -> Self {
        self.architecture = Some(architecture);
        self
    }

    /// Looks again at which images are here.
    ///
    /// # Errors
    /// [`ImageError::File`].
    pub fn refresh(&self) -> Result<(), ImageError> {
        let mut here = BTreeMap::new();
        let read = || format!("the folder {} cannot be read", self.folder.display());
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file_error(read())(error)),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(file_error(read()))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let (Some(name), Some(SUFFIX)) = (stem, path.extension().and_then(|suffix| suffix.to_str()))
            else {
                continue;
            };
            // Before the header: a file that is replaced in between is looked at again.
            let Some(version) = version(&path) else { continue };
            match Header::read(&path) {
                Ok(header) => {
                    here.insert(name, (header, version));
                }
                Err(error) => {
                    golem_service::log_limited_each!(
                        name,
                        warn,
                        %name,
                        error = &error as &dyn std::error::Error,
                        "the image is damaged and not offered"
                    )
                }
            }
        }
        *self.here.lock().unwrap_or_else(PoisonError::into_inner) = here;
        Ok(())
    }

    /// File and header of `name` (or what it is an alias of), when it is here. Notices what another
    /// process added, replaced or removed, by a look at the file.
    #[must_use]
    pub fn find(&self, name: &ImageName) -> Option<(PathBuf, Header)> {
        let name = canonical(name);
        let path = self.path(&name);
        let known = || {
            let here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
            here.get(&name).copied()
        };
        if known().map(|(_, version)| version) != version(&path)
            && let Err(error) = self.refresh()
        {
            golem_service::log_limited_each!(
                name,
                warn,
                %name,
                error = &error as &dyn std::error::Error,
                "the images cannot be looked at again"
            );
        }
        known().map(|(header, _)| (path, header))
    }

    /// The files of the images that were here when that was last looked at.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.keys().map(|name| self.path(name)).collect()
    }

    /// Makes the folder, before something is written there.
    fn make_folder(&self) -> Result<(), ImageError> {
        let step = || format!("the folder {} cannot be made", self.folder.display());
        golem_files::private_subfolder(&self.folder).map_err(file_error(step()))
    }

    fn path(&self, name: &ImageName) -> PathBuf {
        self.folder.join(format!("{name}.{SUFFIX}"))
    }

    /// Every image of the catalogue and every one that is here.
    #[must_use]
    pub fn list(&self) -> Vec<ImageInfo> {
        let mut names: BTreeSet<ImageName> =
            self.here.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        names.extend(ENTRIES.iter().filter_map(|entry| entry.name.parse().ok()));
        let info = |name: ImageName| {
            let entry = ENTRIES.iter().find(|entry| entry.name == name.as_str());
            ImageInfo {
                aliases: entry
                    .map(|entry| entry.aliases.iter().filter_map(|alias| alias.parse().ok()).collect())
                    .unwrap_or_default(),
                bytes: self
                    .find(&name)
                    .and_then(|(path, _)| std::fs::metadata(path).ok())
                    .map(|file| file.len()),
                url: entry.and_then(CatalogueEntry::url),
                name,
            }
        };
        names.into_iter().map(info).collect()
    }

    /// Takes a copy of `file` as the image `name`, in place of the one that is here: in one step, and
    /// machines that were made from that keep it.
    ///
    /// # Errors
    /// [`ImageError::Unusable`], [`ImageError::Processors`], [`ImageError::File`]; what was here stays then.
    pub fn add(&self, name: &ImageName, file: &Path) -> Result<ImageInfo, ImageError> {
        let name = canonical(name);
        let unreadable = || format!("{} cannot be copied", file.display());
        if !std::fs::metadata(file).map_err(file_error(unreadable()))?.is_file() {
            return Err(file_error(unreadable())(io::Error::other("it is no file")));
        }
        self.make_folder()?;
        // Of its own: another process may add an image of that name meanwhile.
        let fresh = self.folder.join(format!("{name}.{}.new", std::process::id()));
        let copied = std::fs::copy(file, &fresh)
            .map_err(file_error(format!("{} cannot be copied", file.display())))
            .and_then(|_| self.suits(&fresh, file))
            .and_then(|()| self.settle(&name, &fresh, None));
        if copied.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        copied?;
        self.info(&name)
    }

    /// Refuses the copy `fresh` of `file` where it can be told that it is for other processors than guests have.
    fn suits(&self, fresh: &Path, file: &Path) -> Result<(), ImageError> {
        let path = file.to_owned();
        let header =
            Header::read(fresh).map_err(|source| ImageError::Unusable { path: path.clone(), source })?;
        match (processors::of(fresh, header), self.architecture) {
            (Some(found), Some(wanted)) if found != wanted => {
                Err(ImageError::Processors { path, found, wanted })
            }
            _ => Ok(()),
        }
    }

    /// Makes the complete file `fresh` of the images' folder the image `name`, which its publisher lists
    /// with `checksum`; `None` for an operator's own.
    fn settle(&self, name: &ImageName, fresh: &Path, checksum: Option<&str>) -> Result<(), ImageError> {
        Header::read(fresh).map_err(|source| ImageError::Unusable { path: fresh.to_owned(), source })?;
        let step = || format!("{} cannot be put in place", fresh.display());
        let file = std::fs::File::open(fresh).map_err(file_error(step()))?;
        file.sync_all().map_err(file_error(step()))?;
        // Guests read it as other users; nobody writes it.
        let mut permissions = file.metadata().map_err(file_error(step()))?.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o444);
        file.set_permissions(permissions).map_err(file_error(step()))?;
        // A kill in between leaves an image without a checksum, which is fetched once more.
        golem_files::absent_is_fine(std::fs::remove_file(self.checksum_path(name)))
            .map_err(file_error(step()))?;
        std::fs::rename(fresh, self.path(name)).map_err(file_error(step()))?;
        if let Some(checksum) = checksum {
            self.confirm(name, checksum)?;
        }
        golem_files::sync_folder_of(fresh).map_err(file_error(step()))?;
        self.refresh()
    }

    fn checksum_path(&self, name: &ImageName) -> PathBuf {
        self.folder.join(format!("{name}.checksum"))
    }

    /// Records that the image `name` is the one that its publisher lists with `checksum` today.
    fn confirm(&self, name: &ImageName, checksum: &str) -> Result<(), ImageError> {
        let path = self.checksum_path(name);
        golem_files::replace(&path, checksum.as_bytes())
            .map_err(file_error(format!("{} cannot be written", path.display())))
    }

    /// The checksum with which the image `name` was downloaded, if it was.
    fn checksum(&self, name: &ImageName) -> Option<String> {
        let bytes = golem_files::read(&self.checksum_path(name), 1024).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Images that were downloaded, and how long ago each was last seen to be its publisher's newest.
    #[must_use]
    pub fn downloaded(&self) -> Vec<(ImageName, Duration)> {
        let here: Vec<ImageName> =
            self.here.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let age = |name: ImageName| {
            let confirmed =
                std::fs::metadata(self.checksum_path(&name)).and_then(|file| file.modified()).ok()?;
            // A clock that was put back: as if it were now.
            Some((name, confirmed.elapsed().unwrap_or_default()))
        };
        here.into_iter().filter_map(age).collect()
    }

    fn info(&self, name: &ImageName) -> Result<ImageInfo, ImageError> {
        self.list()
            .into_iter()
            .find(|info| info.name == *name && info.bytes.is_some())
            .ok_or_else(|| ImageError::NotHere(name.clone()))
    }

    /// Removes the image `name`. Machines that were made from it keep it; creates no longer get it.
    ///
    /// # Errors
    /// [`ImageError::NotHere`], [`ImageError::File`].
    pub fn remove(&self, name: &ImageName) -> Result<(), ImageError> {
        let name = canonical(name);
        if self.find(&name).is_none() {
            return Err(ImageError::NotHere(name));
        }
        let _ = std::fs::remove_file(self.checksum_path(&name));
        std::fs::remove_file(self.path(&name))
            .map_err(file_error(format!("{} cannot be removed", self.path(&name).display())))?;
        self.refresh()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A qcow2 header of version 3 for a disk of `gib` GiB without a backing file.
    fn qcow2(gib: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(b"QFI\xfb");
        bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&(gib << 30).to_be_bytes());
        bytes
    }

    #[test]
    fn an_image_is_added_found_by_alias_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(folder.path()).unwrap();
        let name: ImageName = "ubuntu:24.04".parse().unwrap();
        assert!(images.find(&name).is_none());
        let file = folder.path().join("disk.qcow2");
        std::fs::write(&file, qcow2(2)).unwrap();
        let info = images.add(&name, &file).unwrap();
        assert_eq!((info.name.as_str(), info.bytes), ("24.04", Some(4096)));
        let (path, header) = images.find(&name).unwrap();
        assert_eq!((header.format, header.bytes), (Format::Qcow2, 2 << 30));
        assert!(std::fs::metadata(&path).unwrap().permissions().readonly());
        let other = Images::open(folder.path()).unwrap();
        assert!(other.find(&name).is_some(), "still here after a restart");
        images.remove(&name).unwrap();
        assert!(images.find(&name).is_none() && !path.exists());
        assert!(other.find(&name).is_none(), "removed by another process");
        images.add(&name, &file).unwrap();
        assert!(other.find(&name).is_some(), "added by another process");
        images.remove(&name).unwrap();
        assert!(matches!(images.remove(&name), Err(ImageError::NotHere(_))));
    }

    #[test]
    fn h_08_an_image_is_replaced_in_one_step_and_machines_keep_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(folder.path()).unwrap();
        let other = Images::open(folder.path()).unwrap();
        let name: ImageName = "24.04".parse().unwrap();
        let file = folder.path().join("disk.qcow2");
        std::fs::write(&file, qcow2(2)).unwrap();
        images.add(&name, &file).unwrap();
        let (path, _) = other.find(&name).unwrap();
        let base = folder.path().join("base.img");
        std::fs::hard_link(&path, &base).unwrap();
        std::fs::write(&file, qcow2(3)).unwrap();
        images.add(&name, &file).unwrap();
        for seen in [&images, &other] {
            assert_eq!(seen.find(&name).unwrap().1.bytes, 3 << 30, "the new one, also to another process");
        }
        assert_eq!(Header::read(&base).unwrap().bytes, 2 << 30, "the machine's own stays");
        // One that cannot be used leaves the old one in place.
        std::fs::write(&file, b"QFI\xfb and nothing else").unwrap();
        assert!(matches!(images.add(&name, &file), Err(ImageError::Unusable { .. })));
        assert_eq!(images.find(&name).unwrap().1.bytes, 3 << 30);
        assert_eq!(std::fs::read_dir(folder.path().join("images")).unwrap().count(), 1);
        images.remove(&name).unwrap();
        assert_eq!(Header::read(&base).unwrap().bytes, 2 << 30);
    }

    #[test]
    fn a_corrupt_image_is_neither_taken_nor_offered() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(folder.path()).unwrap();
        let file = folder.path().join("disk.qcow2");
        std::fs::write(&file, b"QFI\xfb and nothing else").unwrap();
        let name: ImageName = "24.04".parse().unwrap();
        assert!(matches!(images.add(&name, &file), Err(ImageError::Unusable { .. })));
        assert_eq!(std::fs::read_dir(folder.path().join("images")).unwrap().count(), 0);
        std::fs::write(folder.path().join("images/24.04.img"), b"short").unwrap();
        images.refresh().unwrap();
        assert!(images.find(&name).is_none());
    }

    #[test]
    fn the_originals_names_for_images_are_known() {
        for (alias, name) in
            [("24.04", "24.04"), ("ubuntu:24.04", "24.04"), ("noble", "24.04"), ("debian:12", "debian-12")]
        {
            assert_eq!(canonical(&alias.parse().unwrap()).as_str(), name);
        }
        assert_eq!(canonical(&"my-own".parse().unwrap()).as_str(), "my-own");
    }
}
