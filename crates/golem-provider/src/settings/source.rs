//! Where the text of a setting comes from.
//!
//! ```text
//! flags ──► environment ──► ./.env ──► ~/.golem/provider/.env ──► default
//! ```
//! Owns precedence, the record of where each value came from, and the warnings about variables
//! that nobody reads. Never changes the environment of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::dotenv;
use super::table::{TABLE, Variable, variable};
use super::value::Value;
use super::{MASK, Mistake};

/// Prefix of the variables that are ours, and so are worth a warning when nobody reads them.
const PREFIX: &str = "GOLEM_PROVIDER_";

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
    files: Vec<File>,
    /// What was wrong with the files.
    mistakes: Vec<Mistake>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    values: BTreeMap<String, (String, usize)>,
}

impl Layers {
    /// Layers with these flags and this environment, and no files.
    #[must_use]
    pub fn new(flags: BTreeMap<&'static str, String>, environment: BTreeMap<String, String>) -> Self {
        Self { flags, environment, ..Self::default() }
    }

    /// Adds the `.env` file at `path`, below what was added before. Its absence is no mistake.
    pub fn add_file(&mut self, path: &Path) {
        let refused = |problem: String, fix: &str| Mistake {
            variable: path.display().to_string(),
            value: None,
            origin: Origin::File { path: path.to_owned(), line: 1 },
            problem,
            fix: fix.to_owned(),
        };
        let text = match std::fs::metadata(path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return,
            Ok(metadata) if !metadata.is_file() => Err("is not a file".to_owned()),
            Ok(metadata) if metadata.len() > DOTENV_MAXIMUM => Err("is larger than 1 MiB".to_owned()),
            Ok(_) | Err(_) => {
                std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
            }
        };
        let text = match text {
            Ok(text) => text,
            Err(problem) => return self.mistakes.push(refused(problem, "make it a readable text file")),
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
        self.files.push(File { path: path.to_owned(), values });
    }

    /// The text for `row`, or none. An empty text counts as not set.
    fn find(&self, row: &Variable) -> Option<Found> {
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

    /// One warning for each variable with our prefix that the table does not have.
    pub(super) fn unknown(&self) -> Vec<String> {
        let ours = |name: &&String| name.starts_with(PREFIX) && variable(name).is_none();
        let environment =
            self.environment.keys().filter(ours).map(|name| (name, "the environment".to_owned()));
        let files = self.files.iter().flat_map(|file| {
            let place = move |line: &usize| format!("{}:{line}", file.path.display());
            file.values
                .iter()
                .filter(move |(name, _)| ours(name))
                .map(move |(name, (_, line))| (name, place(line)))
        });
        let mut seen = BTreeSet::new();
        environment
            .chain(files)
            .filter(|(name, _)| seen.insert((*name).clone()))
            .map(|(name, place)| {
                let hint = nearest(name).map_or_else(String::new, |near| format!("; did you mean {near}?"));
                format!("{name} (in {place}) is not a setting of this version and has no effect{hint}")
            })
            .collect()
    }
}

/// The known name that `name` is most likely a slip for.
fn nearest(name: &str) -> Option<&'static str> {
    // Three slips are still recognisable in names this long; more are another word.
    TABLE
        .iter()
        .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
        .map(|known| (strsim::damerau_levenshtein(&name.to_ascii_uppercase(), known), known))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, known)| known)
}

/// Reads typed values out of layers, and remembers what was found and what was wrong.
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    /// Whether the defaults of development count.
    pub development: bool,
    /// What was found for each variable.
    pub found: BTreeMap<&'static str, Found>,
    /// Everything that is wrong so far.
    pub mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        let mistakes = layers.mistakes.clone();
        Self { layers, development: false, found: BTreeMap::new(), mistakes }
    }

    /// The value of the variable `name`; none after a mistake.
    ///
    /// An optional type that nobody sets is read as `Some(None)`.
    pub(super) fn read<T: Value>(&mut self, name: &'static str) -> Option<T> {
        let row = variable(name)?;
        let found = self.layers.find(row).unwrap_or_else(|| match (row.development, row.default) {
            (Some(text), _) if self.development => {
                Found { text: text.to_owned(), origin: Origin::Development }
            }
            (_, Some(text)) => Found { text: text.to_owned(), origin: Origin::Default },
            _ => Found { text: String::new(), origin: Origin::Unset },
        });
        let value = if found.origin == Origin::Unset { T::unset() } else { T::read(&found.text) };
        if value.is_none() {
            self.mistakes.push(Mistake {
                variable: row.name.to_owned(),
                value: Some(shown(row, &found)),
                origin: found.origin.clone(),
                problem: format!("is not {}", (row.expects)()),
                fix: match row.default {
                    Some(default) => {
                        format!("set it to {}, or remove it for the default {default}", (row.expects)())
                    }
                    None => format!("set it to {}, or remove it", (row.expects)()),
                },
            });
        }
        self.found.insert(row.name, found);
        value
    }
}

/// What is found for `row`, masked if it is secret.
pub(super) fn shown(row: &Variable, found: &Found) -> String {
    if row.secret && found.origin != Origin::Unset { MASK.to_owned() } else { found.text.clone() }
}
