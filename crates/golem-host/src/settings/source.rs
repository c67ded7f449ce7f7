//! Where the text of a setting comes from.
//!
//! ```text
//! flags ──► environment ──► ./.env ──► DATA/.env ──► ~/.golem/provider/.env ──► default
//! flags ──► environment ──► /etc/golem-provider/env ──► DATA/.env ──► default     (this machine's service)
//! ```
//! Owns precedence, and the record of where each value came from. Never changes the environment of the process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::settings_file::{self, Problem};

use super::Mistake;
use super::variable::{Variable, is_placeholder};

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
    /// Where the package has it.
    Service,
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
            Self::Service => "this machine's service".to_owned(),
            Self::Default => "default".to_owned(),
            Self::Development => "default in development".to_owned(),
            Self::Unset => "not set".to_owned(),
        }
    }

    /// As [`Self::describe`], after "in".
    #[must_use]
    pub fn place(&self, name: &str) -> String {
        let place = self.describe(name);
        if matches!(self, Self::Environment(_)) { format!("the {place}") } else { place }
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
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// By variable name, from the command line.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment of the process.
    pub environment: BTreeMap<String, String>,
    /// `.env` files that exist, more important ones first.
    pub(super) files: Vec<File>,
    /// What was wrong with the files.
    pub(super) mistakes: Vec<Mistake>,
    /// Values that count as not there, because they are wrong.
    left_out: Vec<(String, Origin)>,
    /// Whether settings may contradict each other.
    pub(super) may_contradict: bool,
}

/// A `.env` file that exists.
#[derive(Debug, Clone)]
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
        let text = match settings_file::read(path) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(Problem { problem, fix }) => {
                return self.mistakes.push(Mistake {
                    variable: path.display().to_string(),
                    value: None,
                    origin: Origin::File { path: path.to_owned(), line: 1 },
                    problem,
                    fix,
                });
            }
        };
        let (assignments, bad) = settings_file::parse(&text);
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

    /// Has what is wrong by `mistakes` count as not there, and defaults that contradict each other be fine; whether that
    /// changes anything.
    pub(super) fn leave_out(&mut self, mistakes: &[Mistake]) -> bool {
        let before = (self.mistakes.len(), self.left_out.len());
        self.mistakes.clear();
        for Mistake { variable, origin, .. } in mistakes {
            let wrong = (variable.clone(), origin.clone());
            let is_given = matches!(origin, Origin::Environment(_) | Origin::File { .. });
            if is_given && !self.left_out.contains(&wrong) {
                self.left_out.push(wrong);
            }
        }
        let changed = before != (self.mistakes.len(), self.left_out.len());
        changed || !std::mem::replace(&mut self.may_contradict, true)
    }

    /// The text for `row`, or `None`. An empty text counts as not set, and so does a placeholder of the original's README.
    pub(super) fn find(&self, row: &Variable) -> Option<Found> {
        let set = |text: &str| {
            let text = text.trim();
            (!text.is_empty() && !is_placeholder(row.name, text)).then(|| text.to_owned())
        };
        if let Some(text) = self.flags.get(row.name).and_then(|text| set(text)) {
            return Some(Found { text, origin: Origin::Flag });
        }
        let names = || std::iter::once(row.name).chain(row.aliases.iter().copied());
        let environment = names().filter_map(|name| {
            let text = self.environment.get(name).and_then(|text| set(text))?;
            Some(Found { text, origin: Origin::Environment(name.to_owned()) })
        });
        let files = self.files.iter().flat_map(|file| names().map(move |name| (file, name)));
        let files = files.filter_map(|(file, name)| {
            let (text, line) = file.values.get(name)?;
            Some(Found { text: set(text)?, origin: Origin::File { path: file.path.clone(), line: *line } })
        });
        let is_left_out = |found: &Found| {
            self.left_out.iter().any(|(name, origin)| *name == row.name && *origin == found.origin)
        };
        environment.chain(files).find(|found| !is_left_out(found))
    }

    /// Whether `found` comes from a file that may not name programs.
    pub(super) fn is_from_the_directory(&self, found: &Found) -> bool {
        let Origin::File { path, .. } = &found.origin else { return false };
        self.files.iter().any(|file| file.path == *path && !file.programs)
    }
}
