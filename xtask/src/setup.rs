//! What the tests and the demo need on the machine: Debian packages and a guest image.
//!
//! Installs what is missing and nothing else. Uses the machine's own package configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::run::{root, step};

/// A file that must be there (a program's name, or a path), and the package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "qemu-efi-aarch64"),
    ("qemu-img", "qemu-utils"),
    ("nft", "nftables"),
    ("slirp4netns", "slirp4netns"),
    ("ip", "iproute2"),
    ("miniupnpd", "miniupnpd-nftables"),
    ("pebble", "pebble"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    ("systemd-nspawn", "systemd-container"),
    ("/lib/systemd/systemd", "systemd"),
    ("mmdebstrap", "mmdebstrap"),
    ("sfdisk", "fdisk"),
    ("mke2fs", "e2fsprogs"),
    ("mformat", "mtools"),
    ("cpio", "cpio"),
    ("grub-mkimage", "grub-common"),
    ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
];

fn is_here(file: &str) -> bool {
    if file.starts_with('/') {
        return Path::new(file).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).any(|folder| folder.join(file).is_file())
}

/// Whether Python can make virtual environments, in which published clients are installed.
fn has_venv() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]).stderr(std::process::Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// Whether this runs as root.
pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// `program` as root: through sudo where this is not root.
pub(crate) fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--preserve-env", "--"]).arg(program);
    command
}

/// The packages whose files are not here.
fn missing() -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        NEEDED.iter().filter(|(file, _)| !is_here(file)).map(|(_, package)| *package).collect();
    if !has_venv() {
        packages.push("python3-venv");
    }
    packages
}

/// Installs the packages that are missing. A second round brings back what the first removed: a
/// `qemu-utils` from a later release, say, makes way for this release's QEMU.
pub(crate) fn programs() -> anyhow::Result<()> {
    if missing().is_empty() {
        return Ok(());
    }
    if !is_here("apt-get") {
        let names = missing().join(" ");
        bail!("these are needed and this is no Debian or Ubuntu; install what they hold: {names}");
    }
    let mut update = as_root("apt-get");
    update.args(["-o", "DPkg::Lock::Timeout=300", "-qq", "update"]);
    step("apt-get update", update)?;
    let how = if is_root() { "" } else { " through sudo" };
    for _round in 0..2 {
        let packages = missing();
        if packages.is_empty() {
            return Ok(());
        }
        println!("These packages are missing and are installed now{how}: {}", packages.join(" "));
        let mut install = as_root("apt-get");
        install
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-o", "DPkg::Lock::Timeout=300", "-qq", "install", "--yes", "--no-install-recommends"])
            .args(&packages);
        step("apt-get install", install)?;
    }
    match missing() {
        left if left.is_empty() => Ok(()),
        left => bail!("these packages were installed and are still missing: {}", left.join(" ")),
    }
}

/// The guest image of tests and demo, built once for each version of its recipe.
pub(crate) fn image() -> anyhow::Result<PathBuf> {
    built("images/build-test-image.sh", "qcow2", "takes about a minute")
}

/// The guest image for 64-bit ARM of tests, built likewise.
pub(crate) fn arm64_image() -> anyhow::Result<PathBuf> {
    built("images/build-arm64-image.sh", "qcow2", "takes about twenty seconds")
}

/// The folder with the root of a machine on which tests install the package, built likewise.
pub(crate) fn package_root() -> anyhow::Result<PathBuf> {
    built("images/build-package-root.sh", "root", "takes about a minute")
}

fn built(script: &str, kind: &str, takes: &str) -> anyhow::Result<PathBuf> {
    let script = root().join(script);
    let recipe = std::fs::read(&script).with_context(|| format!("{} cannot be read", script.display()))?;
    let hash: String = Sha256::digest(&recipe).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let image = root().join(format!(".cache/images/{hash}.{kind}"));
    if !image.exists() {
        println!("A guest image is built from packages; this {takes}, once.");
        let mut build = as_root("bash");
        build.arg(&script).arg(&image);
        step("build the guest image", build)?;
    }
    Ok(image)
}

/// Everything, with `command` run meanwhile: compiling and building the image wait for different things.
pub(crate) fn setup_beside(what: &str, command: Command) -> anyhow::Result<PathBuf> {
    programs()?;
    std::thread::scope(|scope| {
        let image = scope.spawn(image);
        step(what, command)?;
        image.join().map_err(|_| anyhow::anyhow!("the image's builder panicked"))?
    })
}

/// Everything; returns the image.
pub(crate) fn setup() -> anyhow::Result<PathBuf> {
    programs()?;
    image()
}
