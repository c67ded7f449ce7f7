//! The images that every node offers by default.
//!
//! Owns their names and where their publishers keep them. A checksum is not written here: the
//! publishers replace these files under the same name every few weeks. It is taken from the
//! publisher's own list beside the file, over TLS, at the download that it then has to match.

use crate::Architecture;

/// One image of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueEntry {
    pub name: &'static str,
    /// Other names for it, the original's among them.
    pub aliases: &'static [&'static str],
    /// Where the publisher keeps its files.
    pub folder: &'static str,
    /// The file for 64-bit x86.
    pub x86_64: &'static str,
    /// The file for 64-bit ARM.
    pub aarch64: &'static str,
    /// The publisher's list of checksums, in the same folder.
    pub checksums: &'static str,
}

/// Every image of the catalogue, the default first.
pub const ENTRIES: &[CatalogueEntry] = &[
    CatalogueEntry {
        name: "24.04",
        aliases: &["ubuntu:24.04", "ubuntu-24.04", "noble", "lts"],
        folder: "https://cloud-images.ubuntu.com/releases/noble/release",
        x86_64: "ubuntu-24.04-server-cloudimg-amd64.img",
        aarch64: "ubuntu-24.04-server-cloudimg-arm64.img",
        checksums: "SHA256SUMS",
    },
    CatalogueEntry {
        name: "22.04",
        aliases: &["ubuntu:22.04", "ubuntu-22.04", "jammy"],
        folder: "https://cloud-images.ubuntu.com/releases/jammy/release",
        x86_64: "ubuntu-22.04-server-cloudimg-amd64.img",
        aarch64: "ubuntu-22.04-server-cloudimg-arm64.img",
        checksums: "SHA256SUMS",
    },
    CatalogueEntry {
        name: "debian-13",
        aliases: &["debian:13", "trixie"],
        folder: "https://cloud.debian.org/images/cloud/trixie/latest",
        x86_64: "debian-13-genericcloud-amd64.qcow2",
        aarch64: "debian-13-genericcloud-arm64.qcow2",
        checksums: "SHA512SUMS",
    },
    CatalogueEntry {
        name: "debian-12",
        aliases: &["debian:12", "bookworm"],
        folder: "https://cloud.debian.org/images/cloud/bookworm/latest",
        x86_64: "debian-12-genericcloud-amd64.qcow2",
        aarch64: "debian-12-genericcloud-arm64.qcow2",
        checksums: "SHA512SUMS",
    },
];

impl CatalogueEntry {
    /// The file for this machine's processors.
    #[must_use]
    pub fn file(&self) -> Option<&'static str> {
        Architecture::of_host().map(|architecture| self.file_for(architecture))
    }

    /// The file for processors of the kind `architecture`.
    #[must_use]
    pub const fn file_for(&self, architecture: Architecture) -> &'static str {
        match architecture {
            Architecture::X86_64 => self.x86_64,
            Architecture::Aarch64 => self.aarch64,
        }
    }

    /// Where the file for this machine's processors is.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        self.file().map(|file| format!("{}/{file}", self.folder))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use golem_types::ImageName;

    use super::*;

    #[test]
    fn every_name_is_valid_and_means_one_image() {
        let mut seen = BTreeSet::new();
        for entry in ENTRIES {
            for name in std::iter::once(&entry.name).chain(entry.aliases) {
                assert!(name.parse::<ImageName>().is_ok(), "{name}");
                assert!(seen.insert(name), "{name} twice");
            }
            assert!(entry.folder.starts_with("https://"));
            // H-12: each kind of processors has its own.
            for (architecture, word) in [(Architecture::X86_64, "amd64"), (Architecture::Aarch64, "arm64")] {
                assert!(entry.file_for(architecture).contains(word), "{}", entry.name);
            }
        }
        assert_eq!(ENTRIES[0].name, "24.04");
    }
}
