//! Values that the kernel shows under `/proc/sys`.
//!
//! Owns reading them whole: some of them are given in one piece to the first read, cut to its length, and
//! every further read says that there is no more. Never writes one.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Bytes of the first attempt: the longest list of ports, every second of 65,536, takes 191 KiB.
const FIRST: usize = 256 << 10;

/// Bytes of the last attempt; the kernel refuses reads of 4 MiB.
const LAST: usize = 2 << 20;

/// The text that the kernel shows at `path`, whole.
///
/// # Errors
/// `InvalidData` when it is longer than any value or no text; any error of reading.
pub fn kernel_value(path: &Path) -> io::Result<String> {
    let mut size = FIRST;
    while size <= LAST {
        // Each attempt opens it anew: a second read of the same file may say that there is no more.
        let mut file = File::open(path)?;
        let mut bytes = vec![0; size];
        let mut length = 0;
        loop {
            match file.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // A buffer that was filled may have cut it.
        if length < size {
            bytes.truncate(length);
            return String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error));
        }
        size *= 2;
    }
    Err(io::Error::new(ErrorKind::InvalidData, "the value is longer than any that is known"))
}
