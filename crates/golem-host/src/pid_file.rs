//! The PID file: who runs, and that nobody else does.
//!
//! Owns the file and the lock on it. The lock tells the truth (the kernel lets go of it when its
//! holder ends, however that happens); the number in the file only tells whom to signal. Never
//! signals anybody.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a lock that is held is tried again: `status` and `stop` hold it for an instant when
/// they look.
const PATIENCE: Duration = Duration::from_millis(300);

/// Why the PID file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// A node runs already.
    #[error("a provider runs already{}; fix: `golem-provider stop` first, or use another GOLEM_PROVIDER_DATA_DIR", .0.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    Running(Option<u32>),
    /// The file cannot be made, read or written.
    #[error("the PID file {} cannot be used", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where the PID file of the node with `data_dir` is: at the original's place for the default
/// directory, else inside the directory, so that two nodes do not meet.
#[must_use]
pub fn place(environment: &BTreeMap<String, String>, data_dir: &Path) -> PathBuf {
    let set = |name: &str| environment.get(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let inside = || data_dir.join("provider.pid");
    let Some(home) = set("HOME") else { return inside() };
    if data_dir != home.join(".golem/provider") {
        return inside();
    }
    let folder = if cfg!(target_os = "macos") {
        home.join("Library/Application Support/Golem Provider")
    } else {
        set("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state")).join("golem-provider")
    };
    folder.join("provider.pid")
}

/// The PID file of this process, locked; dropping it removes the file. The lock stays until the
/// process ends, so that whoever waits for its end ([`Held`]) does not wait too short.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Holds the lock.
    file: ManuallyDrop<File>,
}

impl PidFile {
    /// Takes the PID file at `path` for this process.
    ///
    /// # Errors
    /// [`PidFileError::Running`] when another process holds it.
    pub async fn take(path: &Path) -> Result<Self, PidFileError> {
        Self::take_over(path, None).await
    }

    /// As [`Self::take`], with the file `handed` over by the program that this process was before, if it is the one at
    /// `path`: its lock was never let go of.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn take_over(path: &Path, handed: Option<File>) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            golem_files::private_folder(folder).map_err(failed)?;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut handed = handed.filter(|file| is_at(file, path));
        loop {
            let opened =
                || golem_files::private_file(path, OpenOptions::new().read(true).write(true)).map_err(failed);
            let mut file = handed.take().map_or_else(opened, Ok)?;
            match file.try_lock() {
                // The last holder may have removed the file between our opening and locking it.
                Ok(()) if !is_at(&file, path) => {}
                Ok(()) => {
                    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
                    write!(file, "{}", std::process::id()).map_err(failed)?;
                    file.flush().map_err(failed)?;
                    return Ok(Self { path: path.to_owned(), file: ManuallyDrop::new(file) });
                }
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(PidFileError::Running(read(&mut file)));
                }
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(10)).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// Leaves the file where it is, and gives what holds its lock, for the program that takes this one's place.
    ///
    /// # Errors
    /// When no descriptor is left; then it is removed.
    pub fn hand_over(self) -> io::Result<File> {
        let file = self.file.try_clone()?;
        std::mem::forget(self);
        Ok(file)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Still locked, so nobody else has taken it. If it stays, its missing lock says enough.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => inode(ours) == inode(theirs),
        _ => false,
    }
}

fn read(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A PID file that another process holds.
#[derive(Debug)]
pub struct Held {
    file: File,
    /// The process, unless it is just writing the number.
    pub pid: Option<u32>,
}

impl Held {
    /// Whether the process still runs; it may have removed its file.
    ///
    /// # Errors
    /// When the lock cannot be looked at.
    pub fn still(&self) -> io::Result<bool> {
        match self.file.try_lock_shared() {
            Ok(()) => self.file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Who holds the PID file at `path`; `None` if no node runs.
///
/// # Errors
/// [`PidFileError::Io`] when that cannot be seen.
pub fn holder(path: &Path) -> Result<Option<Held>, PidFileError> {
    let failed = |source| PidFileError::Io { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let pid = read(&mut file);
    let held = Held { file, pid };
    Ok(held.still().map_err(failed)?.then_some(held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s_187_one_process_holds_the_file_and_a_second_is_told_which() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/provider.pid");
        assert!(holder(&path).unwrap().is_none());
        let held = PidFile::take(&path).await.unwrap();
        let own = std::process::id();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), own.to_string());
        let seen = holder(&path).unwrap().unwrap();
        assert_eq!((seen.pid, seen.still().unwrap()), (Some(own), true));
        let refused = PidFile::take(&path).await.unwrap_err();
        assert!(refused.to_string().contains(&format!("(pid {own})")), "{refused}");
        drop(held);
        assert!(!path.exists());
        assert!(seen.still().unwrap(), "this process still runs");
        assert!(holder(&path).unwrap().is_none());
    }

    /// U-01: between a program and the one that takes its place, the node is never seen to be gone.
    #[tokio::test]
    async fn a_file_that_is_handed_over_is_held_all_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provider.pid");
        let handed = PidFile::take(&path).await.unwrap().hand_over().unwrap();
        assert!(holder(&path).unwrap().is_some());
        let held = PidFile::take_over(&path, Some(handed)).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        // One of another place is not what was asked for.
        let other = folder.path().join("other.pid");
        let refused = PidFile::take_over(&path, Some(File::create(&other).unwrap())).await.unwrap_err();
        assert!(matches!(refused, PidFileError::Running(_)));
        drop(held);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_left_behind_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provider.pid");
        // Longer than any pid: nothing of it may remain.
        std::fs::write(&path, "1".repeat(30)).unwrap();
        assert!(holder(&path).unwrap().is_none());
        let _held = PidFile::take(&path).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn s_187_the_default_node_uses_the_originals_place() {
        let environment = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let home = environment(&[("HOME", "/home/op")]);
        let default = Path::new("/home/op/.golem/provider");
        if cfg!(target_os = "linux") {
            assert_eq!(place(&home, default), Path::new("/home/op/.local/state/golem-provider/provider.pid"));
            let state = environment(&[("HOME", "/home/op"), ("XDG_STATE_HOME", "/state")]);
            assert_eq!(place(&state, default), Path::new("/state/golem-provider/provider.pid"));
        }
        assert_eq!(place(&home, Path::new("/srv/node")), Path::new("/srv/node/provider.pid"));
        assert_eq!(place(&environment(&[]), Path::new("/srv/node")), Path::new("/srv/node/provider.pid"));
    }
}
