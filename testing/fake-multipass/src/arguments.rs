//! The command line of `multipass`, as far as providers use it.
//!
//! Owns which options exist, and the refusal of others. Never acts.

use std::collections::BTreeMap;

use crate::Failure;

/// A command line, taken apart.
pub(crate) struct Arguments {
    pub(crate) verb: String,
    /// What stands there without an option.
    pub(crate) names: Vec<String>,
    options: BTreeMap<&'static str, String>,
    flags: Vec<String>,
}

/// Options with a value: all their names, the first being the one they are kept under.
const VALUES: &[(&str, &[&str], &[&str])] = &[
    ("--name", &["--name", "-n"], &["launch"]),
    ("--cpus", &["--cpus", "-c"], &["launch"]),
    ("--memory", &["--memory", "-m"], &["launch"]),
    ("--disk", &["--disk", "-d"], &["launch"]),
    ("--cloud-init", &["--cloud-init"], &["launch"]),
    ("--timeout", &["--timeout"], &["launch", "start"]),
    ("--format", &["--format"], &["info", "list", "ls", "version"]),
];

/// Options without a value.
const FLAGS: &[(&str, &[&str])] =
    &[("--purge", &["delete"]), ("-p", &["delete"]), ("--all", &["delete"]), ("--force", &["stop"])];

impl Arguments {
    pub(crate) fn read(words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut words = words.peekable();
        let verb = words.next().ok_or_else(|| Failure(1, "No command given".to_owned()))?;
        let mut arguments = Self { verb, names: Vec::new(), options: BTreeMap::new(), flags: Vec::new() };
        let verb = arguments.verb.clone();
        let unknown = |word: &str| Failure(1, format!("Unknown option '{}'.", word.trim_start_matches('-')));
        while let Some(word) = words.next() {
            if !word.starts_with('-') || word == "-" {
                arguments.names.push(word);
                continue;
            }
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            if FLAGS.iter().any(|(flag, verbs)| *flag == option && verbs.contains(&verb.as_str())) {
                arguments.flags.push(option);
                continue;
            }
            let (kept, _, _) = VALUES
                .iter()
                .find(|(_, names, verbs)| names.contains(&option.as_str()) && verbs.contains(&verb.as_str()))
                .ok_or_else(|| unknown(&word))?;
            let value = value
                .or_else(|| words.next())
                .ok_or_else(|| Failure(1, format!("Missing value after '{option}'.")))?;
            arguments.options.insert(kept, value);
        }
        Ok(arguments)
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// Whether JSON is asked for.
    pub(crate) fn json(&self) -> Result<bool, Failure> {
        match self.option("--format") {
            Some("json") => Ok(true),
            None | Some("table") => Ok(false),
            Some(_) => Err(Failure(1, "Invalid format type given.".to_owned())),
        }
    }

    /// Refuses more than `most` names.
    pub(crate) fn nothing_else(&self, most: usize) -> Result<(), Failure> {
        if self.names.len() > most {
            return Err(Failure(1, "This command takes no arguments".to_owned()));
        }
        Ok(())
    }
}
