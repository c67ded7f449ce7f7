//! Where the text of a setting comes from.
//!
//! ```text
//! flags ──► environment ──► ./.env ──► ~/.golem/provider/.env ──► default
//! ```
//! Owns precedence, and the record of where each value came from. Never changes the environment of the process.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Mistake;
use super::dotenv;
use super::variable::Variable;

/// Largest `.env` that is read, in bytes: far beyond any that people write.
const DOTENV_MAXIMUM: u64 = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment, under this name.
    Environment(String),
    /// A `.env` file.
    File {
        /// Which one.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
    },
    /// The table.
    Default,
    /// The table, under `GOLEM_ENVIRONMENT=development`.
    Development,
    /// Nowhere: it is not set.
    Unset,
}

impl Origin {
    /// The place in words, for the variable `name`.
    #[must_use]
    pub fn describe(&self, name: &str) -> String {
        match self {
            Self::Flag => "command line".to_owned(),
            Self::Environment(used) if used == name => "environment".to_owned(),
            Self::Environment(used) => format!("environment ({used})"),
            Self::File { path, line } => format!("{}:{line}", path.display()),
            Self::Default => "default".to_owned(),
            Self::Development => "default in development".to_owned(),
            Self::Unset => "not set".to_owned(),
        }
    }
}

/// A value as text, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The text; empty when unset.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// The texts that may hold settings, most important first.
#[derive(Debug, Default)]
pub struct Layers {
    /// By variable name, from the command line.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment of the process.
    pub environment: BTreeMap<String, String>,
    /// `.env` files that exist, more important ones first.
    pub(super) files: Vec<File>,
    /// What was wrong with the files.
    pub(super) mistakes: Vec<Mistake>,
}

/// A `.env` file that exists.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// Whether it may name programs.
    programs: bool,
    /// By name: the text, and the line that it is in.
    pub(super) values: BTreeMap<String, (String, usize)>,
}

impl Layers {
    /// Layers with these flags and this environment, and no files.
    #[must_use]
    pub fn new(flags: BTreeMap<&'static str, String>, environment: BTreeMap<String, String>) -> Self {
        Self { flags, environment, ..Self::default() }
    }

    /// Adds the `.env` file at `path`, below what was added before; `programs` tells whether it may name
    /// programs. Its absence is no mistake.
    pub fn add_file(&mut self, path: &Path, programs: bool) {
        let text = match read(path) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err((problem, fix)) => {
                return self.mistakes.push(Mistake {
                    variable: path.display().to_string(),
                    value: None,
                    origin: Origin::File { path: path.to_owned(), line: 1 },
                    problem,
                    fix,
                });
            }
        };
        let (assignments, bad) = dotenv::parse(&text);
        self.mistakes.extend(bad.into_iter().map(|bad| Mistake {
            variable: format!("{}:{}", path.display(), bad.line),
            value: None,
            origin: Origin::File { path: path.to_owned(), line: bad.line },
            problem: format!("the line {}", bad.problem),
            fix: "write NAME=value, or begin the line with #".to_owned(),
        }));
        // The last of several assignments wins, as in a shell.
        let values = assignments.into_iter().map(|a| (a.name, (a.value, a.line))).collect();
        self.files.push(File { path: path.to_owned(), programs, values });
    }

    /// The text for `row`, or `None`. An empty text counts as not set.
    pub(super) fn find(&self, row: &Variable) -> Option<Found> {
        let set = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        if let Some(text) = self.flags.get(row.name).and_then(|text| set(text)) {
            return Some(Found { text, origin: Origin::Flag });
        }
        let names = || std::iter::once(row.name).chain(row.aliases.iter().copied());
        for name in names() {
            if let Some(text) = self.environment.get(name).and_then(|text| set(text)) {
                return Some(Found { text, origin: Origin::Environment(name.to_owned()) });
            }
        }
        for file in &self.files {
            for name in names() {
                if let Some((text, line)) = file.values.get(name)
                    && let Some(text) = set(text)
                {
                    return Some(Found {
                        text,
                        origin: Origin::File { path: file.path.clone(), line: *line },
                    });
                }
            }
        }
        None
    }

    /// Whether `found` comes from a file that may not name programs.
    pub(super) fn is_from_the_directory(&self, found: &Found) -> bool {
        let Origin::File { path, .. } = &found.origin else { return false };
        self.files.iter().any(|file| file.path == *path && !file.programs)
    }
}

/// What the `.env` file at `path` holds, if it is there; or what is wrong with it, and the fix. Whoever can
/// write it decides what this process does: so only its user, or root, may.
fn read(path: &Path) -> Result<Option<String>, (String, String)> {
    let wrong = |problem: String, fix: String| Err((problem, fix));
    let text_file = || "make it a readable text file".to_owned();
    let user = rustix::process::geteuid().as_raw();
    let is_trusted = |owner: u32| owner == user || owner == 0;
    let foreign = |what: &str, owner: u32| {
        let fix = format!("look at what it says, then `chown -h {user} {}`, or remove it", path.display());
        Err((format!("{what} user {owner}, and this process runs as user {user}"), fix))
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Ok(link) if link.is_symlink() && !is_trusted(link.uid()) => {
            return foreign("is a symbolic link of", link.uid());
        }
        _ => {}
    }
    // Opening a pipe must not wait for its other end.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return wrong(format!("cannot be read: {error}"), text_file()),
        Ok(file) => file,
    };
    let found = match file.metadata() {
        Err(error) => return wrong(format!("cannot be read: {error}"), text_file()),
        Ok(found) if !found.is_file() => return wrong("is not a file".to_owned(), text_file()),
        Ok(found) if found.len() > DOTENV_MAXIMUM => {
            return wrong("is larger than 1 MiB".to_owned(), text_file());
        }
        Ok(found) => found,
    };
    if !is_trusted(found.uid()) {
        return foreign("belongs to", found.uid());
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        let fix = format!("look at what it says, then `chmod go-w {}`", path.display());
        return wrong(format!("can be written by other users ({mode:03o})"), fix);
    }
    let mut text = String::new();
    match file.take(DOTENV_MAXIMUM).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => wrong(format!("cannot be read: {error}"), text_file()),
    }
}
