//! The header of a disk image: its format and size.
//!
//! Owns reading the first bytes: enough to know both, and to refuse what would make QEMU open other
//! files. Never reads further.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why a file is no image.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It is too short, or its header makes no sense.
    #[error("it is damaged or not a disk image")]
    Damaged,
    /// It points at another file, which QEMU would open.
    #[error("it depends on another file; flatten it with: qemu-img convert -O qcow2 OLD NEW")]
    Backing,
    /// Encrypted, or of a version that nobody makes any more.
    #[error("it uses features of qcow2 that are not supported")]
    Unsupported,
}

/// How the disk is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// QEMU's own.
    Qcow2,
    /// The disk itself.
    Raw,
}

impl Format {
    /// The format as QEMU calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// What the header of an image says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How it is written.
    pub format: Format,
    /// Size of the disk that a guest sees, in bytes.
    pub bytes: u64,
}

/// Bytes of a qcow2 header that are looked at: the fixed part of version 3.
const HEADER_BYTES: usize = 104;

/// Largest disk that an image may have, in bytes; a guest's is never larger.
const LARGEST: u64 = 64 << 40;

/// Bit 2 of the incompatible features: the data is in another file.
const EXTERNAL_DATA: u64 = 1 << 2;

impl Header {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn read(path: &Path) -> Result<Self, HeaderError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = Vec::new();
        file.take(512).read_to_end(&mut start)?;
        Self::parse(&start, length)
    }

    /// Reads the header from the first bytes of a file that is `length` bytes long.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn parse(start: &[u8], length: u64) -> Result<Self, HeaderError> {
        if !start.starts_with(b"QFI\xfb") {
            // The last two bytes of a boot sector: a raw disk that a machine can boot.
            let boots = start.len() == 512 && start.ends_with(&[0x55, 0xaa]);
            let sized = length <= LARGEST && length.is_multiple_of(512);
            return if boots && sized {
                Ok(Self { format: Format::Raw, bytes: length })
            } else {
                Err(HeaderError::Damaged)
            };
        }
        if start.len() < HEADER_BYTES {
            return Err(HeaderError::Damaged);
        }
        let number = |at: usize| -> u64 {
            start[at..at + 8].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
        };
        let version = number(0) & 0xffff_ffff;
        let (backing_offset, bytes, encryption) = (number(8), number(24), number(32) >> 32);
        if backing_offset != 0 {
            return Err(HeaderError::Backing);
        }
        if !(2..=3).contains(&version) || encryption != 0 {
            return Err(HeaderError::Unsupported);
        }
        if version == 3 && number(72) & EXTERNAL_DATA != 0 {
            return Err(HeaderError::Backing);
        }
        if bytes == 0 || bytes > LARGEST {
            return Err(HeaderError::Damaged);
        }
        Ok(Self { format: Format::Qcow2, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn qcow2() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..4].copy_from_slice(b"QFI\xfb");
        bytes[7] = 3;
        bytes[24..32].copy_from_slice(&(10u64 << 30).to_be_bytes());
        bytes
    }

    #[test]
    fn an_image_that_would_make_qemu_open_another_file_is_refused() {
        assert_eq!(Header::parse(&qcow2(), 512).unwrap().bytes, 10 << 30);
        let mut backing = qcow2();
        backing[15] = 1;
        assert!(matches!(Header::parse(&backing, 512), Err(HeaderError::Backing)));
        let mut external = qcow2();
        external[79] = 4;
        assert!(matches!(Header::parse(&external, 512), Err(HeaderError::Backing)));
        let mut encrypted = qcow2();
        encrypted[35] = 2;
        assert!(matches!(Header::parse(&encrypted, 512), Err(HeaderError::Unsupported)));
        let mut empty = qcow2();
        empty[24..32].fill(0);
        assert!(matches!(Header::parse(&empty, 512), Err(HeaderError::Damaged)));
    }

    #[test]
    fn a_raw_disk_is_known_by_its_boot_sector() {
        let mut sector = vec![0; 512];
        assert!(matches!(Header::parse(&sector, 1 << 30), Err(HeaderError::Damaged)));
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(Header::parse(&sector, 1 << 30).unwrap().format, Format::Raw);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            start in proptest::collection::vec(any::<u8>(), 0..512), length in any::<u64>(), magic in any::<bool>(),
        ) {
            let mut start = start;
            if magic && start.len() >= 4 {
                start[..4].copy_from_slice(b"QFI\xfb");
            }
            if let Ok(header) = Header::parse(&start, length) {
                prop_assert!(header.bytes <= LARGEST);
            }
        }
    }
}
