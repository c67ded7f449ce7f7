//! What guests need that is not installed, and the one command that installs it.
//!
//! Owns what Debian's packages are called elsewhere. Never installs anything, and never looks for a program.

use std::path::Path;

/// What installs packages here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageManager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
    Apk,
}

use PackageManager::{Apk, Apt, Dnf, Pacman, Zypper};

/// Each with its program, in the order in which they are looked for, and the words before the packages.
const MANAGERS: [(PackageManager, &str, &str); 5] = [
    (Apt, "apt-get", "apt-get install"),
    (Dnf, "dnf", "dnf install"),
    (Pacman, "pacman", "pacman -S"),
    (Zypper, "zypper", "zypper install"),
    (Apk, "apk", "apk add"),
];

/// What Debian's packages are called by the others: of dnf, pacman, zypper and apk.
const NAMES: [(&str, [&str; 4]); 7] = [
    ("qemu-system-x86", ["qemu-system-x86", "qemu-system-x86", "qemu-x86", "qemu-system-x86_64"]),
    ("qemu-system-arm", ["qemu-system-aarch64", "qemu-system-aarch64", "qemu-arm", "qemu-system-aarch64"]),
    ("qemu-efi-aarch64", ["edk2-aarch64", "edk2-aarch64", "qemu-uefi-aarch64", "aavmf"]),
    ("qemu-utils", ["qemu-img", "qemu-img", "qemu-img", "qemu-img"]),
    ("util-linux", ["util-linux", "util-linux", "util-linux", "util-linux"]),
    ("nftables", ["nftables", "nftables", "nftables", "nftables"]),
    ("slirp4netns", ["slirp4netns", "slirp4netns", "slirp4netns", "slirp4netns"]),
];

impl PackageManager {
    /// The one of this host, whose programs lie in `path`, folders apart by colons; `None` if it is another.
    #[must_use]
    pub fn of_host(path: &str) -> Option<Self> {
        let here =
            |name: &str| std::env::split_paths(path).any(|folder| Path::new(&folder).join(name).is_file());
        MANAGERS.iter().find(|(_, program, _)| here(program)).map(|(manager, ..)| *manager)
    }

    /// What the package is called here that Debian calls `debian`.
    fn name(self, debian: &str) -> &str {
        let column = match self {
            Apt => return debian,
            Dnf => 0,
            Pacman => 1,
            Zypper => 2,
            Apk => 3,
        };
        NAMES.iter().find(|(name, _)| *name == debian).map_or(debian, |(_, others)| others[column])
    }

    fn command(self) -> &'static str {
        MANAGERS.iter().find(|(manager, ..)| *manager == self).map_or("", |(.., command)| *command)
    }
}

/// All that is missing, as a sentence with one command that installs it by `manager`, for `root` or with sudo; `missing` are
/// programs or files, each with Debian's package of it. `None` if nothing is.
#[must_use]
pub fn told(missing: &[(&str, &str)], manager: Option<PackageManager>, root: bool) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    let mut packages: Vec<&str> = Vec::new();
    for (_, package) in missing {
        let package = manager.map_or(*package, |manager| manager.name(package));
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    let (names, packages) = (names.join(", "), packages.join(" "));
    let fix = match manager {
        Some(manager) => format!("{}{} {packages}", if root { "" } else { "sudo " }, manager.command()),
        None => format!("install what has them here (Debian's packages: {packages})"),
    };
    Some(format!("not installed: {names}; fix: {fix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: [(&str, &str); 5] = [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("qemu-img", "qemu-utils"),
        ("setsid", "util-linux"),
        ("setpriv", "util-linux"),
        ("nft", "nftables"),
    ];

    /// H-15: whatever installs packages here, everything missing is in one list with one command.
    #[test]
    fn h_15_everything_missing_is_installed_by_one_command_of_this_hosts_package_manager() {
        assert_eq!(told(&[], Some(Apt), true), None);
        let all = "not installed: qemu-system-x86_64, qemu-img, setsid, setpriv, nft; fix: ";
        for (manager, root, command) in [
            (Some(Apt), false, "sudo apt-get install qemu-system-x86 qemu-utils util-linux nftables"),
            (Some(Dnf), true, "dnf install qemu-system-x86 qemu-img util-linux nftables"),
            (Some(Pacman), false, "sudo pacman -S qemu-system-x86 qemu-img util-linux nftables"),
            (Some(Zypper), true, "zypper install qemu-x86 qemu-img util-linux nftables"),
            (Some(Apk), true, "apk add qemu-system-x86_64 qemu-img util-linux nftables"),
        ] {
            assert_eq!(told(&MISSING, manager, root), Some(format!("{all}{command}")));
        }
        let unknown = told(&MISSING, None, true).unwrap();
        assert!(unknown.contains("Debian's packages: qemu-system-x86 qemu-utils"), "{unknown}");
    }

    #[test]
    fn the_package_manager_is_the_one_whose_program_is_here() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        assert_eq!(PackageManager::of_host(&path), None);
        std::fs::write(folder.path().join("apk"), "").unwrap();
        assert_eq!(PackageManager::of_host(&format!("/nowhere:{path}")), Some(Apk));
    }
}
