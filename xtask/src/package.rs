//! `cargo xtask package`: the Debian package and the archive for other distributions.
//!
//! ```text
//!   cargo build ─► program, stripped ─┬─► target/package/files ─► cargo-deb ─► golem-provider_VERSION_ARCH.deb
//!   the program itself ─► settings,   │                       └─► tar ───────► golem-provider-VERSION-ARCH.tar.gz
//!     completions, man pages ─────────┤
//!   cargo metadata ─► licences, SBOM ─┘
//! ```
//! Owns what is in both. What dpkg does with it is in `packaging/debian`, and the package's own data beside its crate's.

mod components;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::run::{built, cargo, root, step, target_dir};
use crate::tools::program;

/// Makes Debian packages.
const CARGO_DEB: &str = "3.8.0";

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package<'a> {
    /// Cargo's profile: `release`, or `dev`, which packs the program that tests have built, as it is.
    pub(crate) profile: &'a str,
    /// A target of rustc's; `None` for this machine's.
    pub(crate) target: Option<&'a str>,
}

impl<'a> Package<'a> {
    /// From what was typed; `None` if it is not understood.
    pub(crate) fn from_words(words: &[&'a str]) -> Option<Self> {
        let mut package = Self { profile: "release", target: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match (*word, *words.next()?) {
                ("--profile", profile @ ("dev" | "release")) => package.profile = profile,
                ("--target", target) => package.target = Some(target),
                _ => return None,
            }
        }
        Some(package)
    }

    /// What Debian and the kernel call the processors that the program runs on.
    fn architectures(&self) -> anyhow::Result<(&'static str, &'static str)> {
        let target = self.target.unwrap_or(std::env::consts::ARCH);
        match target.split('-').next() {
            Some("x86_64") => Ok(("amd64", "x86_64")),
            Some("aarch64") => Ok(("arm64", "aarch64")),
            _ => bail!("there is no package for {target}; fix: --target with x86_64 or aarch64"),
        }
    }

    /// Where cargo puts the program.
    fn program(&self) -> PathBuf {
        let folder = if self.profile == "dev" { "debug" } else { self.profile };
        let target = self.target.map_or_else(target_dir, |target| target_dir().join(target));
        target.join(folder).join("golem-provider")
    }
}

/// Builds the program and packs it.
pub(crate) fn package(package: &Package<'_>) -> anyhow::Result<()> {
    if package.profile == "release" {
        build(package)?;
    }
    let made = pack(package)?;
    println!("{}\n{}", made.debian.display(), made.archive.display());
    Ok(())
}

fn build(package: &Package<'_>) -> anyhow::Result<()> {
    let mut build = cargo(&["build", "-p", "golem-provider", "--locked", "--profile", package.profile]);
    if let Some(target) = package.target {
        build.args(["--target", target]);
        build.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        // A program of this machine prints the settings, the completions and the man pages.
        step("build for this machine", cargo(&["build", "-p", "golem-provider", "--locked"]))?;
    }
    step("build", build)
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) debian: PathBuf,
    pub(crate) archive: PathBuf,
}

/// Packs the program that is built already.
pub(crate) fn pack(package: &Package<'_>) -> anyhow::Result<Made> {
    let out = root().join("target/package");
    let files = out.join("files");
    let _ = std::fs::remove_dir_all(&files);
    collect(package, &files)?;
    Ok(Made { debian: debian(package, &out)?, archive: archive(package, &files, &out)? })
}

/// Puts everything that is packed into `files`.
fn collect(package: &Package<'_>, files: &Path) -> anyhow::Result<()> {
    for folder in ["man", "completions"] {
        std::fs::create_dir_all(files.join(folder)).context("the folder of packed files cannot be made")?;
    }
    let (_, kernel) = package.architectures()?;
    let foreign = package.target.is_some() && kernel != std::env::consts::ARCH;
    let strip = if foreign { format!("{kernel}-linux-gnu-strip") } else { "strip".to_owned() };
    let mut strip = Command::new(strip);
    strip.arg("-o").arg(files.join("golem-provider")).arg(package.program());
    run(strip).context(
        "the program cannot be stripped; fix: cargo build -p golem-provider, with binutils installed",
    )?;

    let speaker = if foreign { built("golem-provider") } else { package.program() };
    let says = |arguments: &[&str]| {
        let output = run_for_output(Command::new(&speaker).args(arguments))?;
        String::from_utf8(output).context("the program prints no text")
    };
    write(&files.join("env"), &settings(&says(&["config", "render", "env-example"])?)?)?;
    for (shell, name) in
        [("bash", "golem-provider"), ("zsh", "_golem-provider"), ("fish", "golem-provider.fish")]
    {
        write(&files.join("completions").join(name), &says(&["completions", shell])?)?;
    }
    says(&["manual", &files.join("man").to_string_lossy()])?;

    let unit = read(&root().join("packaging/golem-provider.service"))?;
    // By its whole path, so that a program in /usr/local never runs in its place.
    let unit_of_package = unit.replace("ExecStart=golem-provider ", "ExecStart=/usr/bin/golem-provider ");
    ensure!(unit != unit_of_package, "the unit does not start golem-provider");
    write(&files.join("golem-provider.service"), &unit_of_package)?;
    write(&files.join("golem-provider.archive.service"), &unit)?;

    let linked = components::linked(package.target.unwrap_or("x86_64-unknown-linux-gnu"))?;
    write(&files.join("sbom.cdx.json"), &components::bill(&linked)?)?;
    write(&files.join("copyright"), &components::copyright(&linked)?)
}

/// The settings of the service: those of `.env.example`, under another head.
fn settings(example: &str) -> anyhow::Result<String> {
    let (_, rows) = example.split_once("\n\n").context("the settings have no head")?;
    Ok(format!(
        "# Settings of the golem-provider service; take the # away before what you change, then:\n\
         # systemctl restart golem-provider. They win over those in /var/lib/golem-provider/.env, which\n\
         # `golem-provider setup` and other commands write.\n\n{rows}"
    ))
}

/// Makes the Debian package.
fn debian(package: &Package<'_>, out: &Path) -> anyhow::Result<PathBuf> {
    let (architecture, _) = package.architectures()?;
    let file = out.join(format!("golem-provider_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    // Called as cargo calls it.
    let mut deb = Command::new(program("cargo-deb", CARGO_DEB, &["--version"])?);
    deb.current_dir(root()).env("CARGO", env!("CARGO"));
    deb.args(["--package", "golem-provider", "--no-build", "--no-strip", "--locked", "--quiet", "--output"]);
    deb.arg(&file);
    if package.profile == "dev" {
        deb.arg("--fast");
    }
    if let Some(target) = package.target {
        deb.args(["--target", target]);
    }
    if architecture == "arm64" {
        deb.args(["--variant", "arm64"]);
    }
    step("make the Debian package", deb)?;
    Ok(file)
}

/// Makes the archive.
fn archive(package: &Package<'_>, files: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let (_, kernel) = package.architectures()?;
    let name = format!("golem-provider-{}-{kernel}", env!("CARGO_PKG_VERSION"));
    let folder = out.join(&name);
    let _ = std::fs::remove_dir_all(&folder);
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(files).arg(&folder);
    run(copy)?;
    for left_out in ["golem-provider.archive.service", "env"] {
        let _ = std::fs::remove_file(folder.join(left_out));
    }
    for (from, to) in [
        (files.join("golem-provider.archive.service"), "golem-provider.service"),
        (files.join("env"), "env.example"),
        (root().join("packaging/README.archive.md"), "README.md"),
        (root().join("LICENSE-MIT"), "LICENSE-MIT"),
        (root().join("LICENSE-APACHE"), "LICENSE-APACHE"),
    ] {
        std::fs::copy(&from, folder.join(to)).with_context(|| format!("{} is missing", from.display()))?;
    }
    let file = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--sort=name", "-C"]).arg(out).arg("-czf").arg(&file).arg(&name);
    run(tar)?;
    let _ = std::fs::remove_dir_all(folder);
    Ok(file)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn run(mut command: Command) -> anyhow::Result<()> {
    run_for_output(&mut command).map(drop)
}

fn run_for_output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{name} does not start"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood_or_refused() {
        let release = Package { profile: "release", target: None };
        assert_eq!(Package::from_words(&[]), Some(release));
        let arm = Package { target: Some("aarch64-unknown-linux-gnu"), ..release };
        assert_eq!(Package::from_words(&["--target", "aarch64-unknown-linux-gnu"]), Some(arm));
        assert_eq!(arm.architectures().unwrap(), ("arm64", "aarch64"));
        assert_eq!(Package::from_words(&["--profile", "dev"]), Some(Package { profile: "dev", ..release }));
        for wrong in [&["--profile"][..], &["--profile", "fast"], &["dev"]] {
            assert_eq!(Package::from_words(wrong), None, "{wrong:?}");
        }
        assert!(Package { target: Some("riscv64gc-unknown-linux-gnu"), ..release }.architectures().is_err());
    }

    #[test]
    fn the_services_settings_have_their_own_head_and_every_row() {
        let example = read(&root().join(".env.example")).unwrap();
        let service = settings(&example).unwrap();
        let rows = |text: &str| text.lines().filter(|line| line.starts_with("#GOLEM_")).count();
        assert!(rows(&service) > 50 && rows(&service) == rows(&example));
        assert!(!service.contains("Copy this file"), "{service}");
        // Nothing is set in it: a package chooses nothing for its operator.
        assert!(service.lines().all(|line| line.is_empty() || line.starts_with('#')));
    }
}
