//! The log file of a process in the background.
//!
//! Owns its bound: it is put aside when it is full, and a few of those are kept; and how another process reads on in it
//! meanwhile. Never decides what is logged.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
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
        let aside = |number| aside(&self.path, number);
        for number in (1..KEPT).rev() {
            let _ = std::fs::rename(aside(number), aside(number + 1));
        }
        std::fs::rename(&self.path, aside(1))?;
        self.file = Self::append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// Where `path` is put aside: `.1` is the newest. `path` itself for 0.
fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// Reads on in the log of another process, also where that puts its file aside meanwhile.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: File,
}

impl LogReader {
    /// The last `count` lines of `provider.log` in `folder` and of those put aside, and who reads on from there.
    ///
    /// # Errors
    /// `NotFound` if nothing was logged; any error of reading it.
    pub fn open(folder: &Path, count: usize) -> io::Result<(Self, Vec<u8>)> {
        let path = folder.join("provider.log");
        let mut reader = Self { file: File::open(&path)?, path };
        let mut text = Vec::new();
        reader.file.read_to_end(&mut text)?;
        let ends = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        for number in 1..=KEPT {
            if ends(&text) >= count {
                break;
            }
            let Ok(mut older) = std::fs::read(aside(&reader.path, number)) else { break };
            older.append(&mut text);
            text = older;
        }
        let from = text.split_inclusive(|byte| *byte == b'\n').rev().take(count).map(<[u8]>::len).sum();
        Ok((reader, text.split_off(text.len().saturating_sub(from))))
    }

    /// What was added since.
    ///
    /// # Errors
    /// Any error of reading the files.
    pub fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let at = self.file.stream_position()?;
            if self.file.metadata()?.len() < at {
                // Somebody emptied it.
                self.file.seek(SeekFrom::Start(0))?;
            }
            self.file.read_to_end(&mut text)?;
            let Some(next) = self.next()? else { return Ok(text) };
            // Nothing is added to one that was put aside, and something may have been until then.
            self.file.read_to_end(&mut text)?;
            self.file = next;
        }
    }

    /// The file after the one that is read; `None` as long as that is the current one.
    fn next(&self) -> io::Result<Option<File>> {
        let is_same = |one: &std::fs::Metadata, other: &std::fs::Metadata| {
            (one.dev(), one.ino()) == (other.dev(), other.ino())
        };
        let own = self.file.metadata()?;
        for number in 0..=KEPT {
            match std::fs::metadata(aside(&self.path, number)) {
                Ok(found) if is_same(&own, &found) => match number.checked_sub(1) {
                    None => return Ok(None),
                    Some(newer) => return open_if_there(&aside(&self.path, newer)),
                },
                _ => {}
            }
        }
        // So much was logged that it is gone.
        open_if_there(&self.path)
    }
}

/// `None` between two steps of a rotation.
fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
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

    /// U-10: each line once and in its order, however much is put aside between two looks.
    #[test]
    fn u_10_a_reader_misses_no_line_while_files_are_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(LogReader::open(folder.path(), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut file = RotatingFile::with_maximum(folder.path(), 100).unwrap();
        let line = |number: usize| format!("line {number:04}\n");
        let lines = |range: std::ops::Range<usize>| range.map(line).collect::<String>();
        file.write_all(line(0).as_bytes()).unwrap();
        let (mut reader, last) = LogReader::open(folder.path(), 10).unwrap();
        assert_eq!(String::from_utf8(last).unwrap(), line(0));
        let mut written = 1;
        // At most so many that the file that is read is still there.
        for count in [0, 1, 9, 10, 11, 25, 35, 1] {
            for number in written..written + count {
                file.write_all(line(number).as_bytes()).unwrap();
            }
            let more = String::from_utf8(reader.more().unwrap()).unwrap();
            assert_eq!(more, lines(written..written + count), "{count}");
            written += count;
        }
        let (_, last) = LogReader::open(folder.path(), 15).unwrap();
        assert_eq!(String::from_utf8(last).unwrap(), lines(written - 15..written), "of several files");
        assert_eq!(LogReader::open(folder.path(), 0).unwrap().1, b"");
        for number in written..written + 200 {
            file.write_all(line(number).as_bytes()).unwrap();
        }
        assert!(
            reader.more().unwrap().ends_with(line(written + 199).as_bytes()),
            "goes on with what is there"
        );
        std::fs::write(folder.path().join("provider.log"), "anew\n").unwrap();
        assert_eq!(reader.more().unwrap(), b"anew\n", "emptied in place");
    }
}
