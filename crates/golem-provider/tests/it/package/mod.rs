//! The Debian package, on machines made for it: from its installation to a machine on which nothing of it is left.
//!
//! Needs root, systemd-container, QEMU, `GOLEM_TEST_IMAGE`, and what `cargo xtask test` makes and names:
//! `GOLEM_TEST_PACKAGE` (the package) and `GOLEM_TEST_PACKAGE_ROOT` (a machine's root, which is never written to).
mod bad_places;
mod machine;
mod traces;
mod walk;

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the environment names.
fn named(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set")).into()
}

/// The package.
fn package() -> PathBuf {
    named("GOLEM_TEST_PACKAGE")
}

/// The archive for other distributions, which was made with it.
fn archive() -> PathBuf {
    let mut files = std::fs::read_dir(package().parent().unwrap()).unwrap().flatten().map(|file| file.path());
    files.find(|file| file.to_str().unwrap().ends_with(".tar.gz")).expect("an archive")
}

/// The package again, as `version`: what an upgrade brings.
fn package_as(version: &str, folder: &Path) {
    let unpacked = folder.join("unpacked");
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("dpkg-deb").arg("-R").arg(package()).arg(&unpacked));
    let control = unpacked.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    let line = text.lines().find(|line| line.starts_with("Version: ")).unwrap();
    std::fs::write(&control, text.replace(line, &format!("Version: {version}"))).unwrap();
    let to = folder.join("next.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "-b"]).arg(&unpacked).arg(to));
    std::fs::remove_dir_all(unpacked).unwrap();
}
