//! The processor architecture that an image is built for, as far as its disk shows.
//!
//! ```text
//!   partition table ─► types of partitions that one kind of processors boots from
//!          └─► EFI system partition ─► /EFI/BOOT/BOOTX64.EFI, BOOTAA64.EFI
//! ```
//! Owns reading the disk, through `qemu-io`, which knows every form of an image and is told which one this is.
//! Never refuses: a disk without such signs may be anything.

use std::cmp::min;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::header::Header;
use crate::Architecture;

const SECTOR: u64 = 512;

/// Bytes that are read at once.
const CHUNK: u64 = 64 << 10;

/// Most reads of one disk: the table and the start of its system partition need a few.
const MOST_READS: u32 = 64;

/// Most entries of a partition table; the usual number.
const MOST_PARTITIONS: usize = 128;

/// Types of partitions, as they are written on the disk.
const EFI_SYSTEM: [u8; 16] = guid(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
const OF_ONE_KIND: [([u8; 16], Architecture); 3] = [
    // The BIOS boots from it.
    (guid(0x2168_6148, 0x6449, 0x6e6f, 0x744e_6565_6445_4649), Architecture::X86_64),
    // Root file systems.
    (guid(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7_fbca_f984_b709), Architecture::X86_64),
    (guid(0xb921_b045, 0x1df0, 0x41c3, 0xaf44_4c6f_280d_3fae), Architecture::Aarch64),
];

const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// The processors that the image at `path` is for; `None` if that cannot be told, or it is for several.
pub(super) fn of(path: &Path, header: Header) -> Option<Architecture> {
    let disk = Disk {
        path: path.to_owned(),
        header,
        start: 0,
        end: header.bytes,
        at: 0,
        chunk: (u64::MAX, Vec::new()),
        reads: 0,
    };
    let signs = look(disk).unwrap_or_else(|error| {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "for which processors the image is cannot be told"
        );
        BTreeSet::new()
    });
    signs.first().copied().filter(|_| signs.len() == 1)
}

/// The kinds of processors of which the disk has signs.
fn look(mut disk: Disk) -> io::Result<BTreeSet<Architecture>> {
    let mut signs = BTreeSet::new();
    let mut header = [0; SECTOR as usize];
    disk.seek(SeekFrom::Start(SECTOR))?;
    disk.read_exact(&mut header)?;
    if !header.starts_with(b"EFI PART") {
        return Ok(signs);
    }
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    let count = min(usize::try_from(number(&header[80..84])).unwrap_or(usize::MAX), MOST_PARTITIONS);
    let size = usize::try_from(number(&header[84..88])).unwrap_or(usize::MAX);
    if !(128..=1024).contains(&size) {
        return Ok(signs);
    }
    let mut entries = vec![0; count * size];
    disk.seek(SeekFrom::Start(number(&header[72..80]).saturating_mul(SECTOR)))?;
    disk.read_exact(&mut entries)?;
    for entry in entries.chunks_exact(size) {
        let own = OF_ONE_KIND.iter().filter(|(kind, _)| entry.starts_with(kind));
        signs.extend(own.map(|(_, architecture)| *architecture));
        if entry.starts_with(&EFI_SYSTEM) {
            let start = number(&entry[32..40]).saturating_mul(SECTOR);
            let end = number(&entry[40..48]).saturating_add(1).saturating_mul(SECTOR);
            let partition = Disk { start, end: min(end, disk.end), at: 0, ..disk.clone() };
            signs.extend(loaders(partition)?);
        }
    }
    Ok(signs)
}

/// The kinds of processors whose firmware finds a boot loader in the EFI system partition.
fn loaders(partition: Disk) -> io::Result<BTreeSet<Architecture>> {
    let volume = fatfs::FileSystem::new(partition, fatfs::FsOptions::new())?;
    let folder = match volume.root_dir().open_dir("EFI/BOOT") {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        folder => folder?,
    };
    let mut signs = BTreeSet::new();
    for entry in folder.iter() {
        match entry?.file_name().to_ascii_uppercase().as_str() {
            "BOOTX64.EFI" => drop(signs.insert(Architecture::X86_64)),
            "BOOTAA64.EFI" => drop(signs.insert(Architecture::Aarch64)),
            _ => {}
        }
    }
    Ok(signs)
}

/// The disk in an image, or a partition of it, to read.
#[derive(Clone)]
struct Disk {
    path: PathBuf,
    header: Header,
    /// Where it begins and ends on the whole disk.
    start: u64,
    end: u64,
    /// Where it is read next, from its start.
    at: u64,
    /// What was read last of the whole disk, and where that is.
    chunk: (u64, Vec<u8>),
    reads: u32,
}

impl Disk {
    /// What the disk holds from `offset` on.
    fn fetch(&mut self, offset: u64) -> io::Result<()> {
        self.reads += 1;
        if self.reads > MOST_READS {
            return Err(io::Error::other("the disk is too winding"));
        }
        let length = min(CHUNK, self.header.bytes - offset);
        let output = Command::new("qemu-io")
            .args(["--read-only", "--format", self.header.format.as_str()])
            .args(["--cmd", &format!("read -v {offset} {length}")])
            .arg(&self.path)
            .stdin(Stdio::null())
            .output()?;
        let bytes = parse(&String::from_utf8_lossy(&output.stdout));
        if bytes.len() as u64 != length {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(format!("the disk cannot be read: {said}")));
        }
        self.chunk = (offset, bytes);
        Ok(())
    }
}

/// The bytes of lines such as `00000200:  45 46 49 20 50 41 52 54 00 00 01 00 5c 00 00 00  EFI.PART........`.
fn parse(lines: &str) -> Vec<u8> {
    let bytes = |line: &str| -> Option<Vec<u8>> {
        let (offset, rest) = line.split_once(":  ")?;
        u64::from_str_radix(offset, 16).ok()?;
        let (bytes, _) = rest.split_once("  ")?;
        bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
    };
    lines.lines().filter_map(bytes).flatten().collect()
}

impl Read for Disk {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let offset = self.start.saturating_add(self.at);
        if offset >= self.end || into.is_empty() {
            return Ok(0);
        }
        let aligned = offset / CHUNK * CHUNK;
        if self.chunk.0 != aligned {
            self.fetch(aligned)?;
        }
        let within = usize::try_from(offset - aligned).map_err(io::Error::other)?;
        let left = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
        let found = &self.chunk.1[min(within, self.chunk.1.len())..];
        let count = min(min(found.len(), into.len()), left);
        into[..count].copy_from_slice(&found[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.end.saturating_sub(self.start).checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The FAT library asks for it; nothing is ever written.
impl Write for Disk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Format;
    use super::*;

    const MIB: usize = 1 << 20;

    /// A partition of a table: its type, and its first and last sector.
    fn entry(kind: [u8; 16], first: u64, last: u64) -> Vec<u8> {
        let mut entry = kind.to_vec();
        entry.resize(128, 1);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        entry
    }

    /// A disk with a table of these partitions, and a system partition with these loaders at 2 MiB.
    fn disk(entries: &[Vec<u8>], loaders: &[&str]) -> Vec<u8> {
        let mut disk = vec![0; 6 * MIB];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72] = 2;
        disk[512 + 80] = 128;
        disk[512 + 84] = 128;
        for (number, entry) in entries.iter().enumerate() {
            disk[1024 + number * 128..][..128].copy_from_slice(entry);
        }
        let mut partition = io::Cursor::new(vec![0; 2 * MIB]);
        fatfs::format_volume(&mut partition, fatfs::FormatVolumeOptions::new()).unwrap();
        let volume = fatfs::FileSystem::new(&mut partition, fatfs::FsOptions::new()).unwrap();
        let folder = volume.root_dir().create_dir("EFI").unwrap().create_dir("BOOT").unwrap();
        for loader in loaders {
            folder.create_file(loader).unwrap().write_all(b"MZ").unwrap();
        }
        drop(folder);
        volume.unmount().unwrap();
        disk[2 * MIB..4 * MIB].copy_from_slice(partition.get_ref());
        disk
    }

    #[test]
    fn h_12_an_image_tells_its_processors_by_its_partitions_and_boot_loaders() {
        use Architecture::{Aarch64, X86_64};
        let folder = tempfile::tempdir().unwrap();
        let (raw, qcow2) = (folder.path().join("raw"), folder.path().join("qcow2"));
        let tells = |bytes: &[u8]| {
            std::fs::write(&raw, bytes).unwrap();
            let found = of(&raw, Header { format: Format::Raw, bytes: bytes.len() as u64 });
            // Compressed, as publishers' are.
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-c", "-f", "raw", "-O", "qcow2"]).args([&raw, &qcow2]);
            assert!(convert.status().unwrap().success());
            let again = of(&qcow2, Header { format: Format::Qcow2, bytes: bytes.len() as u64 });
            assert_eq!(again, found);
            found
        };
        let system = || entry(EFI_SYSTEM, 4096, 8191);
        let [bios, x86, arm] = OF_ONE_KIND.map(|(kind, _)| entry(kind, 8192, 9000));
        assert_eq!(tells(&disk(&[system()], &["BOOTAA64.EFI", "grubaa64.efi"])), Some(Aarch64));
        assert_eq!(tells(&disk(&[system()], &["bootx64.efi", "BOOTIA32.EFI"])), Some(X86_64));
        assert_eq!(tells(&disk(&[bios, system()], &[])), Some(X86_64));
        assert_eq!(tells(&disk(std::slice::from_ref(&x86), &[])), Some(X86_64));
        assert_eq!(tells(&disk(std::slice::from_ref(&arm), &[])), Some(Aarch64));
        // Nothing, both, and nonsense.
        assert_eq!(tells(&disk(&[system()], &[])), None);
        assert_eq!(tells(&disk(&[x86, arm], &[])), None);
        assert_eq!(tells(&disk(&[entry(EFI_SYSTEM, u64::MAX / 2, u64::MAX)], &[])), None);
        assert_eq!(tells(&disk(&[entry(EFI_SYSTEM, 9000, 10)], &[])), None);
        assert_eq!(tells(&vec![0; MIB]), None);
        assert_eq!(of(&folder.path().join("absent"), Header { format: Format::Raw, bytes: 4096 }), None);
    }
}
