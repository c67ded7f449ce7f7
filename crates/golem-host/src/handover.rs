//! Open files that a process hands to the program which takes its place under the same process id.
//!
//! ```text
//!   give: standard input and files, queued in a socket pair ─► exec, with its end as standard input ─► take: both as before
//! ```
//! The kernel says whose the pair is, so that no other standard input is taken for one. Owns that way, which needs neither a
//! variable nor a number of a descriptor. Never decides what is handed over, and takes only a PID file and listeners.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Most files in a message; the kernel takes 253.
const BATCH: usize = 128;

/// Queues `files` for [`take`], and gives what has to be the standard input of the program.
///
/// # Errors
/// Where the kernel does not say whose a socket is, or queues no more.
pub fn give(files: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    if !cfg!(target_os = "linux") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let kind = SocketType::SEQPACKET;
    let (near, far) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let input = io::stdin();
    let all: Vec<_> = [input.as_fd()].into_iter().chain(files.iter().copied()).collect();
    for batch in all.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut buffer = SendAncillaryBuffer::new(&mut space);
        if !buffer.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        rustix::net::sendmsg(&near, &[IoSlice::new(b"file")], &mut buffer, SendFlags::DONTWAIT)?;
    }
    Ok(far)
}

/// What the program that this process was before left open.
#[derive(Debug, Default)]
pub struct HandedOver {
    /// Its PID file, locked.
    pub lock: Option<File>,
    /// What it listened on, by address, and is not wanted any more unless it is taken from here.
    pub listeners: BTreeMap<SocketAddr, TcpListener>,
}

impl HandedOver {
    fn of(files: impl Iterator<Item = OwnedFd>) -> Self {
        let mut all = Self::default();
        for file in files {
            if rustix::net::sockopt::socket_acceptconn(&file) != Ok(true) {
                all.lock = Some(file.into());
                continue;
            }
            let listener = TcpListener::from(file);
            if let (Ok(address), Ok(())) = (listener.local_addr(), listener.set_nonblocking(true)) {
                all.listeners.insert(address, listener);
            }
        }
        all
    }
}

/// The files that this process, as the program that it was before, handed over; standard input is again what it was there.
/// None if there was no such program.
///
/// # Errors
/// When they cannot be received.
pub fn take() -> io::Result<HandedOver> {
    let input = io::stdin();
    if peer(input.as_fd()) != Some(std::process::id()) {
        return Ok(HandedOver::default());
    }
    let mut files = receive(input.as_fd())?.into_iter();
    if let Some(input) = files.next() {
        rustix::stdio::dup2_stdin(input)?;
    }
    Ok(HandedOver::of(files))
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut files = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut buffer = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 4];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut buffer, flags)?;
        if received.bytes == 0 {
            return Ok(files);
        }
        for message in buffer.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                files.extend(more);
            }
        }
    }
}

/// The process at the other end of `socket`, as the kernel knows it; `None` if that does not say, or it is no such socket.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        let peer = rustix::net::sockopt::socket_peercred(socket).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_known_by_their_addresses_and_the_rest_is_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = std::fs::File::create(folder.path().join("lock")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handed = HandedOver::of([OwnedFd::from(lock), OwnedFd::from(listener)].into_iter());
        assert!(handed.lock.is_some() && handed.listeners.contains_key(&address));
    }

    #[test]
    fn every_file_arrives_with_its_lock_and_nobody_elses_input_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: usize| std::fs::File::create(folder.path().join(name.to_string())).unwrap();
        let files: Vec<_> = (0..300).map(open).collect();
        files[0].lock().unwrap();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let input = give(&borrowed).unwrap();
        drop(borrowed);
        drop(files);
        assert!(open(0).try_lock().is_err(), "the lock is held on the way");
        assert_eq!(peer(input.as_fd()), Some(std::process::id()));
        let taken = receive(input.as_fd()).unwrap();
        assert_eq!(taken.len(), 301, "and standard input");
        assert!(open(0).try_lock().is_err());
        drop(taken);
        open(0).try_lock().unwrap();

        // What another process gave.
        let empty = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(peer(empty.as_fd()), None);
        assert!(take().unwrap().lock.is_none());
    }
}
