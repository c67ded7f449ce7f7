//! Downloads of the catalogue's images.
//!
//! ```text
//!   list of checksums ─► file, resumed where it stopped ─► checksum ─► header ─► in place
//! ```
//! Owns the unfinished file `<name>.<start of its checksum>.part`: what was fetched before counts
//! only towards the very file that the publisher lists now. An image is in place when it is
//! complete and matches, or not at all. Never asks where the catalogue does not point.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use golem_service::http::header::{CONTENT_RANGE, RANGE};
use golem_service::http::{Client, HttpError, Options, Response, StatusCode};
use golem_types::ImageName;
use sha2::{Digest, Sha256, Sha512};

use super::catalogue::{CatalogueEntry, ENTRIES};
use super::{ImageError, ImageInfo, Images, canonical, file_error};

/// Largest list of checksums that is read, in bytes; the real ones have a few thousand.
const LIST_BYTES: usize = 1 << 20;

/// Largest image that is fetched, in bytes; the real ones have a few hundred million.
const IMAGE_BYTES: u64 = 32 << 30;

/// How long a publisher may stay silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Attempts in a row that brought nothing before a download fails.
const ATTEMPTS: u32 = 3;

/// Pause after an attempt that brought nothing.
const PAUSE: Duration = Duration::from_secs(2);

/// Why an image could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Its file cannot be handled.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The catalogue does not have it.
    #[error("{0} is not in the catalogue; fix: `golem-provider images list`, or add a file of your own")]
    Unknown(ImageName),
    /// Nobody publishes it for these processors.
    #[error("{0} is not published for the processors of this machine")]
    Processors(ImageName),
    /// Another process downloads the same image.
    #[error("{0} is being downloaded by another process")]
    UnderWay(ImageName),
    /// The publisher cannot be reached, or stopped in the middle.
    #[error("{url} cannot be downloaded{}; what is here already is kept for the next try", source.through())]
    Unreachable {
        /// Where it is.
        url: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The publisher answered otherwise.
    #[error("{url} cannot be downloaded: the publisher answered {status}")]
    Answer {
        /// Where it is.
        url: String,
        /// What was answered.
        status: StatusCode,
    },
    /// The publisher's list does not have the file.
    #[error("{url} does not list {file}")]
    NotListed {
        /// The list.
        url: String,
        file: String,
    },
    /// The file is longer than any image.
    #[error("{url} is too large to be an image")]
    TooLarge {
        /// Where it is.
        url: String,
    },
    /// The file is not what its publisher lists.
    #[error("{url} does not match its publisher's checksum; it was thrown away")]
    Mismatch {
        /// Where it is.
        url: String,
    },
}

/// What came of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image that is here now.
    pub image: ImageInfo,
    /// Whether it is another one than before.
    pub is_new: bool,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of the whole, where the publisher tells.
    pub total: Option<u64>,
}

/// Where a file and its publisher's list of checksums are.
struct Source {
    folder: String,
    file: String,
    checksums: String,
}

impl Source {
    fn of(entry: &CatalogueEntry) -> Option<Self> {
        Some(Self {
            folder: entry.folder.to_owned(),
            file: entry.file()?.to_owned(),
            checksums: entry.checksums.to_owned(),
        })
    }

    fn url(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }
}

impl Images {
    /// Downloads the image `name` of the catalogue, from where an earlier try stopped, and tells
    /// `progress` how far it is. One that is here is replaced in one step, if its publisher has another
    /// one; machines that were made from it keep it.
    ///
    /// # Errors
    /// [`PullError`]; what was here stays then.
    pub async fn pull(
        &self,
        name: &ImageName,
        progress: impl FnMut(DownloadProgress),
    ) -> Result<Pulled, PullError> {
        let name = canonical(name);
        let entry = ENTRIES.iter().find(|entry| entry.name == name.as_str());
        let entry = entry.ok_or_else(|| PullError::Unknown(name.clone()))?;
        let source = Source::of(entry).ok_or_else(|| PullError::Processors(name.clone()))?;
        self.pull_from(&name, &source, progress).await
    }

    async fn pull_from(
        &self,
        name: &ImageName,
        source: &Source,
        mut progress: impl FnMut(DownloadProgress),
    ) -> Result<Pulled, PullError> {
        let url = source.url(&source.file);
        let options = Options {
            deadline: None,
            silence: Some(SILENCE),
            follows_redirects: true,
            ..Options::within(SILENCE)
        };
        let client =
            Client::new(options).map_err(|source| PullError::Unreachable { url: url.clone(), source })?;
        let checksum = listed_checksum(&client, source).await?;
        if self.find(name).is_some() && self.checksum(name).as_deref() == Some(&checksum) {
            self.confirm(name, &checksum)?;
            return Ok(Pulled { image: self.info(name)?, is_new: false });
        }
        let part = Part::open(self, name, &checksum)?;
        fetch(&client, &url, &part, &mut progress).await?;
        let path = part.path.clone();
        let step = format!("{} cannot be read", path.display());
        let listed = checksum.clone();
        let found =
            tokio::task::spawn_blocking(move || digest(&path, listed.len()).map(|found| found == listed))
                .await
                .map_err(|error| file_error(step.clone())(io::Error::other(error)))?
                .map_err(file_error(step))?;
        if !found {
            part.throw_away();
            return Err(PullError::Mismatch { url });
        }
        if let Err(error) = self.settle(name, &part.path, Some(&checksum)) {
            part.throw_away();
            return Err(error.into());
        }
        Ok(Pulled { image: self.info(name)?, is_new: true })
    }
}

/// What the publisher lists as the checksum of the file, in lower-case hexadecimal.
async fn listed_checksum(client: &Client, source: &Source) -> Result<String, PullError> {
    let url = source.url(&source.checksums);
    let answer = client.get(&url).send(LIST_BYTES).await.map_err(|error| match error {
        HttpError::TooLarge(_) => PullError::TooLarge { url: url.clone() },
        source => PullError::Unreachable { url: url.clone(), source },
    })?;
    if !answer.status.is_success() {
        return Err(PullError::Answer { status: answer.status, url });
    }
    let list = String::from_utf8_lossy(&answer.bytes);
    find_checksum(&list, &source.file)
        .ok_or_else(|| PullError::NotListed { url: url.clone(), file: source.file.clone() })
}

/// The checksum of `file` in `list`, whose lines are `<checksum> <space or *><file>`.
fn find_checksum(list: &str, file: &str) -> Option<String> {
    list.lines().find_map(|line| {
        let (checksum, rest) = line.split_once(' ')?;
        let named = rest.strip_prefix([' ', '*']).unwrap_or(rest) == file;
        let shaped = matches!(checksum.len(), 64 | 128) && checksum.bytes().all(|b| b.is_ascii_hexdigit());
        (named && shaped).then(|| checksum.to_ascii_lowercase())
    })
}

/// SHA-256 or SHA-512 of the file at `path`, whichever has `characters` characters.
fn digest(path: &Path, characters: usize) -> io::Result<String> {
    fn of<D: Digest>(mut file: File) -> io::Result<String> {
        let mut hasher = D::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hasher.update(&buffer[..count]);
        }
    }
    let file = File::open(path)?;
    if characters == 64 { of::<Sha256>(file) } else { of::<Sha512>(file) }
}

/// The unfinished file, locked.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// Opens what is here of the file with `checksum`, and removes what is here of older ones.
    fn open(images: &Images, name: &ImageName, checksum: &str) -> Result<Self, PullError> {
        images.make_folder()?;
        let prefix = format!("{name}.");
        // The start of a checksum tells the publisher's versions of a file apart.
        let path = images.folder.join(format!("{prefix}{}.part", &checksum[..16]));
        let step = || format!("{} cannot be written", path.display());
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(file_error(step()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PullError::UnderWay(name.clone())),
            Err(TryLockError::Error(error)) => return Err(file_error(step())(error).into()),
        }
        for other in std::fs::read_dir(&images.folder).into_iter().flatten().flatten() {
            let file_name = other.file_name();
            let outdated = file_name.to_str().is_some_and(|text| {
                text.strip_prefix(&prefix).is_some_and(|rest| rest.len() == 21 && rest.ends_with(".part"))
            });
            if outdated && other.path() != path {
                let _ = std::fs::remove_file(other.path());
            }
        }
        Ok(Self { path, file })
    }

    fn throw_away(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn length(&self) -> Result<u64, PullError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(file_error(format!("{} cannot be read", self.path.display())))?.len())
    }

    fn begin_again(&self) -> Result<(), PullError> {
        let cut = self.file.set_len(0).and_then(|()| (&self.file).seek(SeekFrom::Start(0)));
        cut.map_err(file_error(format!("{} cannot be written", self.path.display())))?;
        Ok(())
    }

    fn append(&self, bytes: &[u8]) -> Result<(), PullError> {
        (&self.file)
            .write_all(bytes)
            .map_err(file_error(format!("{} cannot be written", self.path.display())))?;
        Ok(())
    }
}

/// Fetches what is missing of `part`, in as many attempts as bring something.
async fn fetch(
    client: &Client,
    url: &str,
    part: &Part,
    progress: &mut impl FnMut(DownloadProgress),
) -> Result<(), PullError> {
    let mut barren = 0;
    loop {
        let before = part.length()?;
        let Err(error) = attempt(client, url, part, before, progress).await else { return Ok(()) };
        let passing = matches!(error, PullError::Unreachable { .. });
        if !passing {
            return Err(error);
        }
        tracing::debug!(%url, "the download stopped; going on");
        if part.length()? > before {
            barren = 0;
            continue;
        }
        barren += 1;
        if barren >= ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One request for what comes after the first `here` bytes.
async fn attempt(
    client: &Client,
    url: &str,
    part: &Part,
    here: u64,
    progress: &mut impl FnMut(DownloadProgress),
) -> Result<(), PullError> {
    let unreachable = |source| PullError::Unreachable { url: url.to_owned(), source };
    let mut request = client.get(url);
    if here > 0 {
        request = request.header(RANGE, format!("bytes={here}-"));
    }
    let mut answer = request.open().await.map_err(unreachable)?;
    let mut done = match answer.status() {
        StatusCode::PARTIAL_CONTENT if begins_at(&answer, here) => here,
        StatusCode::OK => {
            part.begin_again()?;
            0
        }
        // Nothing is missing; the checksum tells whether it is right.
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
        status => return Err(PullError::Answer { url: url.to_owned(), status }),
    };
    let total = answer.length().map(|rest| done.saturating_add(rest));
    progress(DownloadProgress { done, total });
    while let Some(chunk) = answer.part().await.map_err(unreachable)? {
        done += chunk.len() as u64;
        if done > IMAGE_BYTES {
            part.throw_away();
            return Err(PullError::TooLarge { url: url.to_owned() });
        }
        // At most a few tens of kilobytes, into the page cache.
        part.append(&chunk)?;
        progress(DownloadProgress { done, total });
    }
    Ok(())
}

/// Whether a partial answer begins at byte `start`.
fn begins_at(answer: &Response, start: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

#[cfg(test)]
mod tests;
