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

/// Every package that is built for any target, with its licence. The lock file also names some that
/// no feature turns on.
fn built() -> anyhow::Result<BTreeMap<String, String>> {
    let arguments =
        ["tree", "--workspace", "--all-features", "--target", "all", "--locked", "--prefix", "none"];
    let output = cargo(&arguments).args(["--format", "{p}\t{l}"]).output()?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("cargo tree printed no text")?;
    let line = |line: &str| {
        // A package that was listed before is marked after its licence.
        let (package, licence) = line.trim_end_matches(" (*)").split_once('\t')?;
        Some((package.to_owned(), licence.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Checks every package that is built and every dependency between our own crates.
pub(crate) fn check() -> anyhow::Result<()> {
    let rules: Rules = toml::from_str(&std::fs::read_to_string(root().join("deny.toml"))?)
        .context("deny.toml cannot be understood")?;
    let packages = built()?;
    let mut wrong: Vec<String> = packages
        .iter()
        .filter(|(_, licence)| !permitted(licence, &rules.licenses.allow))
        .map(|(package, licence)| format!("{package} is under {licence:?}"))
        .collect();
    let output = cargo(&["metadata", "--format-version", "1", "--locked", "--no-deps"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let bans: BTreeMap<&str, &BTreeSet<String>> =
        rules.bans.deny.iter().map(|ban| (ban.name.as_str(), &ban.wrappers)).collect();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|used| used.kind.as_deref() != Some("dev")) {
            if bans.get(dependency.name.as_str()).is_some_and(|users| !users.contains(&package.name)) {
                wrong.push(format!("{} may not use {}", package.name, dependency.name));
            }
        }
    }
    println!("    {} packages", packages.len());
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S-057: each part can be used without those above it, because it does not know them.
    #[test]
    fn s_057_the_layers_are_those_of_the_design() {
        let rules: Rules =
            toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
        let users = |name: &str| {
            let ban = rules.bans.deny.iter().find(|ban| ban.name == name).unwrap();
            ban.wrappers.iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(users("golem-node"), ["bench", "golem-provider"]);
        assert!(!users("golem-vm").contains(&"golem-chain".to_owned()));
        assert!(!users("golem-chain").contains(&"golem-vm".to_owned()));
        check().unwrap();
    }

    /// What the README and CONTRIBUTING tell a newcomer to run is what there is.
    #[test]
    fn the_documented_commands_exist() {
        let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
        let (readme, contributing) = (read("README.md"), read("CONTRIBUTING.md"));
        let documented: BTreeSet<&str> = readme
            .lines()
            .chain(contributing.lines())
            .filter_map(|line| line.trim().strip_prefix("cargo xtask ")?.split_whitespace().next())
            .collect();
        assert!(documented.contains("demo") && documented.contains("test"), "{documented:?}");
        for command in documented {
            assert!(crate::HELP.contains(&format!("\n  {command} ")), "cargo xtask {command} is documented");
        }
        assert!(read(".ci/run").contains("cargo xtask test"));
        for word in ["Fork", "branch", "cargo xtask test", "pull request"] {
            // S-257
            assert!(contributing.contains(word), "{word}");
        }
    }

    /// What the compiler read for the crates of this workspace, all of it just built or found unchanged, is in the
    /// repository; and so are manifests and a lock that agree.
    #[test]
    fn s_099_a_clean_checkout_has_all_that_is_built() {
        let git = |words: &[&str]| {
            let output = std::process::Command::new("git").args(words).current_dir(root()).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        // What is new and not added yet is seen; what is ignored is not.
        let listed = git(&["ls-files", "--cached", "--others", "--exclude-standard"]);
        let kept: BTreeSet<&str> = listed.lines().collect();
        let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let mut read = BTreeSet::new();
        for file in std::fs::read_dir(deps)
            .unwrap()
            .flatten()
            .filter(|file| file.path().extension().is_some_and(|end| end == "d"))
        {
            let text = std::fs::read_to_string(file.path()).unwrap();
            for word in text.split_whitespace().map(|word| word.trim_end_matches(':')) {
                let path = root().join(word).canonicalize();
                let inside =
                    path.ok().and_then(|path| Some(path.strip_prefix(root()).ok()?.display().to_string()));
                read.extend(inside.filter(|path| !path.starts_with("target/")));
            }
        }
        assert!(read.contains("crates/golem-types/src/lib.rs"), "{read:?}");
        let missing: Vec<&String> = read.iter().filter(|path| !kept.contains(path.as_str())).collect();
        assert_eq!(missing, Vec::<&String>::new(), "read by the compiler, and not in the repository");
        for lock in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
            assert!(kept.contains(lock), "{lock}");
        }
        let locked =
            cargo(&["metadata", "--format-version", "1", "--locked", "--offline", "--no-deps"]).output();
        assert!(locked.unwrap().status.success(), "Cargo.lock does not agree with the manifests");
    }

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
