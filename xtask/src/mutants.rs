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

/// Changes the deciders of `only` this crate, or of every one, in a copy of the sources, and writes the report: with what was
/// seen of the other crates the last time.
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
    let mut outcomes = BTreeMap::new();
    for name in crates.keys() {
        let said = std::fs::read(folder(name).join("mutants.out/outcomes.json"))
            .with_context(|| format!("not all have been run; fix: cargo xtask mutants {name}"))?;
        outcomes.extend(read(&serde_json::from_slice(&said)?));
    }
    for (name, file) in DECIDERS {
        if outcomes.get(&format!("crates/{name}/{file}")).is_none_or(|outcome| outcome.caught == 0) {
            bail!("no test notices any change of {name}/{file}");
        }
    }
    std::fs::write(root().join("docs/mutants.md"), report(&outcomes))?;
    let missed: usize = outcomes.values().map(|outcome| outcome.missed.len()).sum();
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

fn report(outcomes: &BTreeMap<String, Outcome>) -> String {
    let mut text = format!("{HEAD}\n| file | noticed | not noticed | did not compile |\n|---|---|---|---|\n");
    for (file, outcome) in outcomes {
        let Outcome { caught, not_compiled, missed } = outcome;
        text += &format!("| {file} | {caught} | {} | {not_compiled} |\n", missed.len());
    }
    let mut missed = outcomes.values().flat_map(|outcome| &outcome.missed).peekable();
    if missed.peek().is_some() {
        text += "\nNot noticed:\n\n";
    }
    for name in missed {
        text += &format!("- `{name}`\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_what_was_noticed_and_names_what_was_not() {
        let line = |summary: &str, name: &str| {
            let mutant = serde_json::json!({ "name": name, "file": "crates/a/src/admit.rs" });
            serde_json::json!({ "summary": summary, "scenario": { "Mutant": mutant } })
        };
        let outcomes = serde_json::json!({ "outcomes": [
            { "summary": "Success", "scenario": "Baseline" }, line("CaughtMutant", "a"), line("Timeout", "b"),
            line("Unviable", "c"), line("MissedMutant", "d:1: replace < with <="),
        ] });
        let text = report(&read(&outcomes));
        assert!(text.contains("| crates/a/src/admit.rs | 2 | 1 | 1 |"), "{text}");
        assert!(text.ends_with("- `d:1: replace < with <=`\n"), "{text}");
    }

    #[test]
    fn every_decider_is_there() {
        for (name, file) in DECIDERS {
            assert!(root().join("crates").join(name).join(file).is_file(), "{name}/{file}");
        }
    }
}
