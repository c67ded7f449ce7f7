//! The table as `.env.example`, as a page of documentation and as help.
//!
//! Owns their layout. A test compares the files of the repository with what is made here.

use std::fmt::Write;

use super::table::TABLE;
use super::variable::Variable;

/// The rows of the table by section, in order.
fn sections() -> Vec<(&'static str, Vec<&'static Variable>)> {
    let mut sections: Vec<(&str, Vec<&Variable>)> = Vec::new();
    for row in TABLE {
        match sections.last_mut() {
            Some((section, rows)) if *section == row.section => rows.push(row),
            _ => sections.push((row.section, vec![row])),
        }
    }
    sections
}

/// The documentation of a row on one line.
fn sentence(row: &Variable) -> String {
    row.doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text` in lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The `.env.example` of the repository: every variable with its default, commented out.
#[must_use]
pub fn env_example() -> String {
    let mut out = String::from(
        "# Settings of golem-provider. Copy this file to .env, here or to ~/.golem/provider/.env, and\n\
         # take the # away before what you change. Flags and the environment win over these files.\n\
         # Written by `golem-provider config render env-example`.\n",
    );
    for (section, rows) in sections() {
        let _ = write!(out, "\n# ---- {section} ----\n");
        for row in rows {
            out.push('\n');
            for line in wrap(&format!("{} Expects {}.", sentence(row), (row.expects)()), 96) {
                let _ = writeln!(out, "# {line}");
            }
            let _ = writeln!(out, "#{}={}", row.name, row.default.unwrap_or_default());
        }
    }
    out
}

/// The page `docs/configuration.md` of the repository.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Written by `golem-provider config render markdown`; change the table in the code instead. -->\n\n\
         A setting is taken from the first of these that has it:\n\n\
         1. the command line (`golem-provider start --network mainnet`),\n\
         2. the environment,\n\
         3. `.env` in the working directory,\n\
         4. `.env` in the node's data directory, which `config …` and `pricing set` write,\n\
         5. `~/.golem/provider/.env`,\n\
         6. the default.\n\n\
         Commands about this machine's service (data in `/var/lib/golem-provider`) take its settings, after the\n\
         environment, from `/etc/golem-provider/env` and from `.env` in its data directory, and from nowhere else.\n\n\
         A `.env` that belongs to another user (root aside) or that others can write is refused, and one in\n\
         the working directory may name no program.\n\n\
         An empty value counts as not set. All mistakes are reported in one run, each with its fix; a\n\
         variable that begins with `GOLEM_PROVIDER_` and is not listed here is a warning.\n\
         `golem-provider config show` prints what is in force and where it came from, without secrets.\n",
    );
    for (section, rows) in sections() {
        let _ = write!(out, "\n## {section}\n\n| Variable | Default | Meaning |\n|---|---|---|\n");
        for row in rows {
            let mut default = row.default.map_or_else(|| "not set".to_owned(), |text| format!("`{text}`"));
            if let Some(text) = row.development {
                let _ = write!(default, "; in development `{text}`");
            }
            let mut meaning = format!("{} Expects {}.", sentence(row), (row.expects)());
            if row.secret {
                meaning.push_str(" Never shown.");
            }
            if row.program {
                meaning.push_str(" Not taken from a `.env` of the working directory.");
            }
            if !row.aliases.is_empty() {
                let _ = write!(meaning, " Also read as `{}`.", row.aliases.join("`, `"));
            }
            let _ = writeln!(out, "| `{}` | {default} | {} |", row.name, meaning.replace('|', "\\|"));
        }
    }
    out
}

/// The variables that have each of `words` in their name or text, for people; empty if there is none.
#[must_use]
pub fn help(words: &[&str]) -> String {
    let mut out = String::new();
    for (section, rows) in sections() {
        let rows: Vec<_> =
            rows.into_iter().filter(|row| words.iter().all(|word| row.mentions(word))).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(out, "\n  {section}\n");
        for row in rows {
            let default = row.default.map_or_else(String::new, |text| format!(" [default: {text}]"));
            let _ = writeln!(out, "    {}{default}", row.name);
            for line in wrap(&format!("{} Expects {}.", sentence(row), (row.expects)()), 84) {
                let _ = writeln!(out, "        {line}");
            }
        }
    }
    if out.is_empty() {
        return out;
    }
    format!("Settings (environment or .env; `golem-provider config show` tells what is in force):\n{out}")
}
