//! Ports that no two tests share, of one process or of several.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, Mutex};

/// Whether nobody listens on `port`.
fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Ports that one test process has to itself, and how many such blocks there are. They lie below
/// the range from which the system itself takes ports, so that no client's connection meets them.
/// A block holds more than all tests of a process take together: what was handed out is not handed out again.
const BLOCK: u16 = 2_500;
const BLOCKS: u16 = 8;
const FIRST: u16 = 12_000;

/// The first port of this process's block, and the lock that keeps other test processes off it.
static OWN: LazyLock<(u16, File)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join("golem-provider-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    (0..BLOCKS)
        .find_map(|block| {
            let file = File::create(folder.join(block.to_string())).unwrap();
            file.try_lock().is_ok().then(|| (FIRST + block * BLOCK, file))
        })
        .expect("fewer test processes at a time")
});

/// An address of the loopback on which `port` is the caller's alone while its process lives: for clients
/// that dial one port wherever a provider is.
pub fn own_address(port: u16) -> Ipv4Addr {
    static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("golem-provider-test-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let (address, lock) = (2..255)
        .find_map(|last| {
            let address = Ipv4Addr::new(127, 66, 0, last);
            let file = File::create(folder.join(format!("{address}-{port}"))).unwrap();
            file.try_lock().ok()?;
            TcpListener::bind((address, port)).is_ok().then_some((address, file))
        })
        .expect("an address of the loopback");
    HELD.lock().unwrap().push(lock);
    address
}

/// The first of `count` ports that nobody uses.
pub fn ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let start = OWN.0 + NEXT.fetch_add(count, Ordering::Relaxed) % (BLOCK - count);
        if (start..start + count).all(free) {
            return start;
        }
    }
}
