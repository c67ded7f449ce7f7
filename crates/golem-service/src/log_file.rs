//! The log file of a process in the background.
//!
//! Owns its bound: it is put aside when it is full, and a few of those are kept. Never decides what is logged.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Size at which the file is put aside, in bytes.
const MAXIMUM: u64 = 10 << 20;

/// Files that are kept beside the current one.
const KEPT: u32 = 4;

/// A log file that is put aside when it grows too large.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    maximum: u64,
}

impl RotatingFile {
    /// `provider.log` in `folder`, which is made if it is not there. Put aside at 10 MiB.
    ///
    /// # Errors
    /// Any error of making or opening them.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::with_maximum(folder, MAXIMUM)
    }

    fn with_maximum(folder: &Path, maximum: u64) -> io::Result<Self> {
        golem_files::private_subfolder(folder)?;
        let path = folder.join("provider.log");
        let file = Self::append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, maximum })
    }

    fn append(path: &Path) -> io::Result<File> {
        golem_files::private_file(path, OpenOptions::new().append(true))
    }

    /// `provider.log` becomes `provider.log.1`, that `.2`, and so on; the last is dropped.
    fn rotate(&mut self) -> io::Result<()> {
        let aside = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..KEPT).rev() {
            let _ = std::fs::rename(aside(number), aside(number + 1));
        }
        std::fs::rename(&self.path, aside(1))?;
        self.file = Self::append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    /// The subscriber writes a whole line at a time, so that no line is split over two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.maximum {
            // A folder that forbids it keeps the one file growing: better than losing lines.
            let _ = self.rotate();
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest_lines() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let mut file = RotatingFile::with_maximum(&logs, 100).unwrap();
        for number in 0..100 {
            file.write_all(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        drop(file);
        // Appends to what is there.
        let mut file = RotatingFile::with_maximum(&logs, 100).unwrap();
        file.write_all(b"line 0100\n").unwrap();
        let files: Vec<_> = std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1 + KEPT as usize, "{files:?}");
        assert!(files.iter().all(|file| std::fs::metadata(file).unwrap().len() <= 100));
        let newest = std::fs::read_to_string(logs.join("provider.log")).unwrap();
        assert!(newest.ends_with("line 0099\nline 0100\n") || newest == "line 0100\n", "{newest}");
        let before = std::fs::read_to_string(logs.join("provider.log.1")).unwrap();
        assert!(before.lines().all(|line| line.len() == 9) && before.lines().count() == 10, "{before}");
    }
}
