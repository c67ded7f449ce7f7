//! Licences of what we link, and who of us may use whom.
//!
//! The rules are in `deny.toml`, in the form that cargo-deny reads, which therefore works on it
//! too; this checks them without anything installed by hand.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::run::{cargo, root};

#[derive(Deserialize)]
struct Rules {
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// A crate that only `wrappers` may use.
#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    wrappers: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Whether the SPDX expression `text` can be satisfied with `allowed` licences. Knows `AND`, `OR`,
/// brackets, `WITH` and the old `/` for `OR`; `AND` binds tighter.
fn permitted(text: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced =
        text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "-WITH-");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all(words, at, allowed);
    }
    result
}

fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut result = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at, allowed);
    }
    result
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = words.get(*at).copied();
    *at += 1;
    if word != Some("(") {
        return word.is_some_and(|word| allowed.contains(&word.replace("-WITH-", " WITH ")));
    }
    let result = any(words, at, allowed);
    *at += 1;
    result
}

/// Checks every package of the lock file and every dependency between our own crates.
pub(crate) fn check() -> anyhow::Result<()> {
    let rules: Rules = toml::from_str(&std::fs::read_to_string(root().join("deny.toml"))?)
        .context("deny.toml cannot be understood")?;
    let output = cargo(&["metadata", "--format-version", "1", "--locked"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let mut wrong: Vec<String> = metadata
        .packages
        .iter()
        .filter(|package| {
            !package.license.as_deref().is_some_and(|text| permitted(text, &rules.licenses.allow))
        })
        .map(|package| format!("{} is under {:?}", package.name, package.license))
        .collect();
    let bans: BTreeMap<&str, &BTreeSet<String>> =
        rules.bans.deny.iter().map(|ban| (ban.name.as_str(), &ban.wrappers)).collect();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|used| used.kind.as_deref() != Some("dev")) {
            if bans.get(dependency.name.as_str()).is_some_and(|users| !users.contains(&package.name)) {
                wrong.push(format!("{} may not use {}", package.name, dependency.name));
            }
        }
    }
    println!("==> licences and layers: {} packages", metadata.packages.len());
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        let allowed: BTreeSet<String> =
            ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into();
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/Apache-2.0",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(permitted(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-2.0) AND GPL-3.0", "", "MIT MIT"] {
            assert!(!permitted(bad, &allowed), "{bad}");
        }
    }
}
