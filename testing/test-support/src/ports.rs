//! Ports that no two tests share, of one process or of several.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex};

/// Whether nobody listens on `port`.
fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Ports that one test process has to itself, and how many such blocks there are. They lie below
/// the range from which the system itself takes ports, so that no client's connection meets them.
/// What a test gives back is handed out again; all tests of a process together take more than a block holds.
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

/// Ports of this process's block that are handed out, and where the next are looked for: what was given
/// back is handed out again as late as possible, since a program that ends may hold it a moment longer.
#[derive(Debug)]
struct Block {
    taken: Vec<bool>,
    next: usize,
}

static HANDED_OUT: LazyLock<Mutex<Block>> =
    LazyLock::new(|| Mutex::new(Block { taken: vec![false; usize::from(BLOCK)], next: 0 }));

/// Ports that nobody else is handed until this is dropped.
#[derive(Debug)]
pub struct HeldPorts {
    first: u16,
    count: u16,
}

impl HeldPorts {
    /// `count` ports, one after the other, that nobody uses.
    pub fn take(count: u16) -> Self {
        let length = usize::from(count);
        let mut block = HANDED_OUT.lock().unwrap();
        let places = block.taken.len() - length + 1;
        let is_usable = |start: &usize| {
            let first = OWN.0 + u16::try_from(*start).unwrap();
            !block.taken[*start..*start + length].contains(&true) && (first..first + count).all(free)
        };
        let start = (0..places)
            .map(|step| (block.next + step) % places)
            .find(is_usable)
            .expect("fewer ports at a time in one test process");
        block.taken[start..start + length].fill(true);
        block.next = start + length;
        Self { first: OWN.0 + u16::try_from(start).unwrap(), count }
    }

    /// The first of them.
    pub fn first(&self) -> u16 {
        self.first
    }
}

impl Drop for HeldPorts {
    fn drop(&mut self) {
        let start = usize::from(self.first - OWN.0);
        let mut block = HANDED_OUT.lock().unwrap();
        block.taken[start..start + usize::from(self.count)].fill(false);
    }
}

/// The first of `count` ports that nobody uses, the caller's alone while its process lives.
pub fn ports(count: u16) -> u16 {
    let held = std::mem::ManuallyDrop::new(HeldPorts::take(count));
    held.first()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Homes of a test run take more ports than there are; none has one that another has.
    #[test]
    fn what_is_given_back_is_handed_out_again_and_nothing_else() {
        let range = |held: &HeldPorts| held.first..held.first + held.count;
        let held = HeldPorts::take(7);
        let kept = range(&held);
        for _ in 0..BLOCK {
            let other = range(&HeldPorts::take(5));
            assert!(other.end <= kept.start || kept.end <= other.start, "{other:?} {kept:?}");
        }
    }
}
