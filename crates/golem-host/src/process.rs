//! The process of a node, as the system tells of it.
//!
//! Owns what is read of it: where it stands, what it was started with. Never signals it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A process of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    fn place(self, what: &str) -> PathBuf {
        format!("/proc/{}/{what}", self.0).into()
    }

    /// Texts that end with a zero byte.
    fn texts(self, what: &str) -> io::Result<Vec<OsString>> {
        let bytes = std::fs::read(self.place(what))?;
        let texts = bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty());
        Ok(texts.map(|text| OsString::from_vec(text.to_vec())).collect())
    }

    /// What it was started with, its program first.
    ///
    /// # Errors
    /// It ended.
    pub fn arguments(self) -> io::Result<Vec<OsString>> {
        self.texts("cmdline")
    }

    /// Its environment, as far as it is text.
    ///
    /// # Errors
    /// It ended, or is another user's.
    pub fn environment(self) -> io::Result<BTreeMap<String, String>> {
        let texts = self.texts("environ")?.into_iter().filter_map(|text| text.into_string().ok());
        Ok(texts
            .filter_map(|text| text.split_once('=').map(|(name, text)| (name.to_owned(), text.to_owned())))
            .collect())
    }

    /// Its working directory.
    ///
    /// # Errors
    /// It ended, or is another user's.
    pub fn directory(self) -> io::Result<PathBuf> {
        std::fs::read_link(self.place("cwd"))
    }

    /// Whether its standard input or standard error is a terminal; not, where that cannot be seen.
    #[must_use]
    pub fn is_on_terminal(self) -> bool {
        ["fd/0", "fd/2"].iter().any(|file| {
            std::fs::read_link(self.place(file)).is_ok_and(|file| {
                file.starts_with("/dev/pts") || file.to_string_lossy().starts_with("/dev/tty")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_was_started_with_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env_clear()
            .env("NAME", "a=b")
            .current_dir(folder.path())
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let process = Process(child.id());
        assert_eq!(process.arguments().unwrap(), ["sleep", "60"]);
        assert_eq!(process.environment().unwrap(), BTreeMap::from([("NAME".to_owned(), "a=b".to_owned())]));
        assert_eq!(process.directory().unwrap(), folder.path().canonicalize().unwrap());
        assert!(!process.is_on_terminal());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.environment().is_err());
    }
}
