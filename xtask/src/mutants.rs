//! What decides and does nothing else is changed in every way that cargo-mutants knows; the tests have to notice.
//!
//! Owns which files these are, and the report. No gate: it compiles a crate anew for each change.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::run::root;
use crate::tools::program;

const VERSION: &str = "27.1.0";

/// Seconds that the tests may take with a change: an endless loop is noticed, a machine with other work is not.
const TIMEOUT: &str = "300";

/// The deciders: crate, and file below it. The unit tests of the file's name have to notice.
const DECIDERS: [(&str, &str); 9] = [
    ("golem-types", "src/price.rs"),
    ("golem-types", "src/decimal.rs"),
    ("golem-types", "src/stream.rs"),
    ("golem-chain", "src/judge.rs"),
    ("golem-reach", "src/verdict.rs"),
    ("golem-node", "src/admit.rs"),
    ("golem-node", "src/payment/billing_policy.rs"),
    ("golem-node", "src/payment/price.rs"),
    ("golem-node", "src/reconcile/plan.rs"),
];

const HEAD: &str = "\
# Changes that the tests notice

Written by `cargo xtask mutants`. The files below decide and do nothing else. Each is changed in every way that
cargo-mutants knows (a comparison turned, a branch left out, a value replaced), one change at a time, and its crate's
unit tests are run: a change that they pass is one that no test would notice. Changes that do not compile say nothing.
";

/// What became of the changes of one file.
#[derive(Default)]
struct Outcome {
    caught: usize,
    not_compiled: usize,
    missed: Vec<String>,
}

/// Changes the deciders of `only` this crate, or of every one, in a copy of the sources, and writes the report: what was seen of
/// other crates stays in it.
///
/// # Errors
/// When a change was not noticed, and what there is of cargo-mutants.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<()> {
    let mut crates = BTreeMap::<&str, Vec<&str>>::new();
    for (name, file) in DECIDERS {
        crates.entry(name).or_default().push(file);
    }
    let folder = |name: &str| root().join("target/mutants").join(name);
    for (name, files) in &crates {
        if only.is_none_or(|only| only == *name) {
            change(name, files, &folder(name))?;
        }
    }
    let place = root().join("docs/mutants.md");
    let mut rows = rows(&std::fs::read_to_string(&place).unwrap_or_default());
    let mut missed = 0;
    for name in crates.keys().filter(|name| only.is_none_or(|only| only == **name)) {
        let said = std::fs::read(folder(name).join("mutants.out/outcomes.json"))
            .context("cargo-mutants says nothing")?;
        let outcomes = read(&serde_json::from_slice(&said)?);
        for (_, file) in DECIDERS.iter().filter(|(of, _)| of == name) {
            if outcomes.get(&format!("crates/{name}/{file}")).is_none_or(|outcome| outcome.caught == 0) {
                bail!("no test notices any change of {name}/{file}");
            }
        }
        missed += outcomes.values().map(|outcome| outcome.missed.len()).sum::<usize>();
        rows.extend(outcomes.iter().map(|(file, outcome)| (file.clone(), outcome.row(file))));
    }
    std::fs::write(place, report(&rows))?;
    if missed > 0 {
        bail!("{missed} changes were not noticed; they are in docs/mutants.md");
    }
    Ok(())
}

/// Changes `files` of the crate `name`; what cargo-mutants says of it lies in `folder`.
fn change(name: &str, files: &[&str], folder: &Path) -> anyhow::Result<()> {
    let mut mutants = Command::new(program("cargo-mutants", VERSION, &["mutants", "--version"])?);
    std::fs::create_dir_all(folder)?;
    mutants
        .args(["mutants", "--no-shuffle", "--timeout", TIMEOUT, "--output"])
        .arg(folder)
        .current_dir(root());
    // What is compiled of others is kept for the next run.
    mutants.env("CARGO_TARGET_DIR", root().join("target/mutants/build"));
    // Nobody looks at them with a debugger, and most of the time goes into linking.
    mutants.env("CARGO_PROFILE_DEV_DEBUG", "0");
    for file in files {
        mutants.arg("--file").arg(format!("crates/{name}/{file}"));
    }
    mutants.args(["--", "--all-features", "--lib", "--"]);
    mutants.args(files.iter().filter_map(|file| Path::new(file).file_stem()));
    mutants.status().context("cargo-mutants did not start")?;
    Ok(())
}

/// What became of the changes, by file.
fn read(report: &Value) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::<String, Outcome>::new();
    for line in report["outcomes"].as_array().into_iter().flatten() {
        let mutant = &line["scenario"]["Mutant"];
        let (Some(name), Some(file)) = (mutant["name"].as_str(), mutant["file"].as_str()) else { continue };
        let outcome = outcomes.entry(file.to_owned()).or_default();
        match line["summary"].as_str() {
            Some("CaughtMutant" | "Timeout") => outcome.caught += 1,
            Some("Unviable") => outcome.not_compiled += 1,
            Some("MissedMutant") => outcome.missed.push(name.to_owned()),
            _ => {}
        }
    }
    outcomes
}

impl Outcome {
    /// The row of `file` in the report.
    fn row(&self, file: &str) -> String {
        let Self { caught, not_compiled, missed } = self;
        let names: Vec<String> =
            missed.iter().map(|name| format!("`{}`", name.replace('|', "\\|"))).collect();
        format!("| {file} | {caught} | {} | {not_compiled} | {} |", missed.len(), names.join("<br>"))
    }
}

/// The rows of a report, by file.
fn rows(report: &str) -> BTreeMap<String, String> {
    let rows = report.lines().filter(|line| line.starts_with("| crates/"));
    rows.filter_map(|row| Some((row.split('|').nth(1)?.trim().to_owned(), row.to_owned()))).collect()
}

fn report(rows: &BTreeMap<String, String>) -> String {
    let mut text = format!(
        "{HEAD}\n| file | noticed | not noticed | did not compile | which were not noticed |\n|---|---|---|---|---|\n"
    );
    for (name, file) in DECIDERS {
        let file = format!("crates/{name}/{file}");
        match rows.get(&file) {
            Some(row) => text += row,
            None => text += &format!("| {file} | not run yet | | | |"),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_what_was_noticed_and_names_what_was_not() {
        let line = |summary: &str, name: &str| {
            let mutant = serde_json::json!({ "name": name, "file": "crates/golem-node/src/admit.rs" });
            serde_json::json!({ "summary": summary, "scenario": { "Mutant": mutant } })
        };
        let outcomes = serde_json::json!({ "outcomes": [
            { "summary": "Success", "scenario": "Baseline" }, line("CaughtMutant", "a"), line("Timeout", "b"),
            line("Unviable", "c"), line("MissedMutant", "d:1: replace < with <="),
        ] });
        let (outcomes, file) = (read(&outcomes), "crates/golem-node/src/admit.rs");
        let row = outcomes[file].row(file);
        assert_eq!(row, format!("| {file} | 2 | 1 | 1 | `d:1: replace < with <=` |"));
        // What was seen of other files stays, and what was never run is said.
        let text = report(&rows(&format!("{HEAD}{row}\n")));
        assert!(
            text.contains(&row) && text.contains("| crates/golem-types/src/price.rs | not run yet"),
            "{text}"
        );
        assert_eq!(rows(&text).len(), DECIDERS.len());
    }

    #[test]
    fn every_decider_is_there() {
        for (name, file) in DECIDERS {
            assert!(root().join("crates").join(name).join(file).is_file(), "{name}/{file}");
        }
    }
}
