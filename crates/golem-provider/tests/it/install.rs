//! The README's one command installs the program.
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of this workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// S-004: one command, without the network once the sources are here. Not optimised, so that what the
/// tests have built serves.
#[test]
fn s_004_installing_takes_one_command() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("cargo install ")).expect("the command");
    let words: Vec<&str> =
        line.split('#').next().unwrap().split_whitespace().skip(1).take_while(|word| *word != "&&").collect();
    let folder = tempfile::tempdir().unwrap();
    // target/debug/deps/install-1234
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let status = Command::new(env!("CARGO"))
        .args(words)
        .args(["--debug", "--offline", "--locked", "--quiet", "--no-track", "--root"])
        .arg(folder.path())
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .status()
        .unwrap();
    assert!(status.success());
    let output = Command::new(folder.path().join("bin/golem-provider")).arg("-V").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert_eq!(version.trim(), concat!("golem-provider ", env!("CARGO_PKG_VERSION")));
}

/// S-006: the program and the documentation say whose it is, and under what licence.
#[test]
fn s_006_homepage_repository_and_licence_are_stated() {
    let program = env!("CARGO_BIN_EXE_golem-provider");
    let output = Command::new(program).args(["version", "--verbose"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for stated in [env!("CARGO_PKG_HOMEPAGE"), env!("CARGO_PKG_REPOSITORY"), env!("CARGO_PKG_LICENSE")] {
        assert!(!stated.is_empty() && said.contains(stated), "{stated}: {said}");
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for (name, words) in [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License")] {
        assert!(readme.contains(name), "{name}");
        assert!(std::fs::read_to_string(root().join(name)).unwrap().contains(words), "{name}");
    }
}
