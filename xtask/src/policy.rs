//! Licences of what we link, and who of us may use whom: `deny.toml`, checked by cargo-deny.
//!
//! Owns which cargo-deny that is (compiled once, in about 40 s).

use std::process::Command;

use crate::run::{root, step};
use crate::tools::program;

const VERSION: &str = "0.20.2";

/// Checks licences, bans and sources of everything that is built.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut deny = Command::new(program("cargo-deny", VERSION, &["--version"])?);
    // The rest of its checks, of advisories, needs a database from the internet.
    deny.args(["--log-level", "error", "check", "bans", "licenses", "sources"]).current_dir(root());
    step("cargo-deny", deny)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::run::cargo;

    /// S-057: each part can be used without those above it, because it does not know them.
    #[test]
    fn s_057_the_layers_are_those_of_the_design() {
        let uses = |name: &str| {
            let output = cargo(&[
                "tree",
                "--offline",
                "--all-features",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
            ])
            .args(["--format", "{p}", "--package", name])
            .output()
            .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect::<BTreeSet<_>>()
        };
        let (vm, chain) = (uses("golem-vm"), uses("golem-chain"));
        let (market, node) = (uses("golem-market"), uses("golem-node"));
        for (name, used, above) in [
            (
                "golem-vm",
                &vm,
                &["golem-chain", "golem-market", "golem-reach", "golem-node", "golem-rent", "golem-provider"]
                    [..],
            ),
            (
                "golem-chain",
                &chain,
                &["golem-vm", "golem-market", "golem-reach", "golem-node", "golem-rent", "golem-provider"],
            ),
            (
                "golem-market",
                &market,
                &["golem-vm", "golem-reach", "golem-node", "golem-rent", "golem-provider"],
            ),
            ("golem-node", &node, &["golem-rent", "golem-provider"]),
        ] {
            assert!(used.contains("golem-types"), "{name}: {used:?}");
            for other in above {
                assert!(!used.contains(*other), "{name} uses {other}");
            }
        }
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
}
