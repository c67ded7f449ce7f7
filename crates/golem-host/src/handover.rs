//! Open files that a process hands to the program which takes its place under the same process id.
//!
//! ```text
//!   give: standard input and files, queued in a socket pair ─► exec, with its end as standard input ─► take: both as before
//! ```
//! The kernel says whose the pair is, so that no other standard input is taken for one. Owns that way, which needs neither a
//! variable nor a number of a descriptor. Never decides what is handed over.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use golem_node::proxy::{LeftOpen, LeftSession};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Most files in a message; the kernel takes 253.
const BATCH: usize = 128;

/// What a process leaves open for the program that takes its place.
#[derive(Debug, Default)]
pub struct HandedOver {
    /// Its PID file, locked.
    pub lock: Option<File>,
    /// What it listened on and served.
    pub left: LeftOpen,
}

/// What a file is, in a message's text: a byte for each.
mod kind {
    pub(super) const INPUT: u8 = b'i';
    pub(super) const LOCK: u8 = b'l';
    pub(super) const LISTENER: u8 = b'p';
    /// A session's renter; its guest follows, if there is one.
    pub(super) const RENTER: u8 = b'r';
    /// As [`RENTER`], and has logged in.
    pub(super) const PROVEN_RENTER: u8 = b's';
    pub(super) const GUEST: u8 = b'g';
}

/// Queues `files` for [`take`], and gives what has to be the standard input of the program. Sessions that the kernel does not
/// queue are left out, and end with this program.
///
/// # Errors
/// Where the kernel does not say whose a socket is, or queues no more.
pub fn give(files: &HandedOver) -> io::Result<OwnedFd> {
    if !cfg!(target_os = "linux") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let kind = SocketType::SEQPACKET;
    let (near, far) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let input = io::stdin();
    let mut first = vec![(kind::INPUT, input.as_fd())];
    first.extend(files.lock.iter().map(|lock| (kind::LOCK, lock.as_fd())));
    first.extend(files.left.listeners.values().map(|listener| (kind::LISTENER, listener.as_fd())));
    send(&near, &first)?;
    let sessions = files.left.sessions.iter().flat_map(|session| {
        let renter = if session.is_proven { kind::PROVEN_RENTER } else { kind::RENTER };
        let guest = session.guest.iter().map(|guest| (kind::GUEST, guest.as_fd()));
        [(renter, session.renter.as_fd())].into_iter().chain(guest)
    });
    if let Err(error) = send(&near, &sessions.collect::<Vec<_>>()) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, sessions = files.left.sessions.len(), "some SSH sessions are cut");
    }
    Ok(far)
}

fn send(near: &OwnedFd, files: &[(u8, BorrowedFd<'_>)]) -> io::Result<()> {
    for batch in files.chunks(BATCH) {
        let (kinds, files): (Vec<u8>, Vec<_>) = batch.iter().copied().unzip();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut buffer = SendAncillaryBuffer::new(&mut space);
        if !buffer.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        rustix::net::sendmsg(near, &[IoSlice::new(&kinds)], &mut buffer, SendFlags::DONTWAIT)?;
    }
    Ok(())
}

/// The files that this process, as the program that it was before, handed over; standard input is again what it was there.
/// Empty if there was no such program.
///
/// # Errors
/// When they cannot be received.
pub fn take() -> io::Result<HandedOver> {
    let input = io::stdin();
    if peer(input.as_fd()) != Some(std::process::id()) {
        return Ok(HandedOver::default());
    }
    let (input, all) = received(receive(input.as_fd())?);
    if let Some(input) = input {
        rustix::stdio::dup2_stdin(input)?;
    }
    Ok(all)
}

/// Puts files together: standard input, and the rest. What is not known, as of a newer program, is closed.
fn received(files: Vec<(u8, OwnedFd)>) -> (Option<OwnedFd>, HandedOver) {
    let (mut input, mut all) = (None, HandedOver::default());
    for (kind, file) in files {
        match kind {
            kind::INPUT => input = Some(file),
            kind::LOCK => all.lock = Some(file.into()),
            kind::LISTENER => {
                let listener = TcpListener::from(file);
                if let (Ok(address), Ok(())) = (listener.local_addr(), listener.set_nonblocking(true)) {
                    all.left.listeners.insert(address, listener);
                }
            }
            kind::RENTER | kind::PROVEN_RENTER => {
                let renter = TcpStream::from(file);
                if renter.set_nonblocking(true).is_ok() {
                    let is_proven = kind == kind::PROVEN_RENTER;
                    all.left.sessions.push(LeftSession { renter, guest: None, is_proven });
                }
            }
            kind::GUEST => {
                let guest = TcpStream::from(file);
                if let (Some(session), Ok(())) = (all.left.sessions.last_mut(), guest.set_nonblocking(true)) {
                    session.guest = Some(guest);
                }
            }
            _ => {}
        }
    }
    (input, all)
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Vec<(u8, OwnedFd)>> {
    let mut files = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut buffer = RecvAncillaryBuffer::new(&mut space);
        let mut kinds = [0; BATCH];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut kinds)], &mut buffer, flags)?;
        if received.bytes == 0 {
            return Ok(files);
        }
        for message in buffer.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                files.extend(kinds.into_iter().zip(more));
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
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn every_file_arrives_as_what_it_was_and_nobody_elses_input_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let lock = || std::fs::File::create(folder.path().join("lock")).unwrap();
        let mut files = HandedOver { lock: Some(lock()), ..HandedOver::default() };
        files.lock.as_ref().unwrap().lock().unwrap();
        // More sessions than one message takes, each with its own guest.
        let renters = TcpListener::bind("127.0.0.1:0").unwrap();
        let guests = TcpListener::bind("127.0.0.1:0").unwrap();
        let accept = |listener: &TcpListener| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (client, listener.accept().unwrap().0)
        };
        let mut outside = Vec::new();
        for number in 0..150 {
            let (client, renter) = accept(&renters);
            let (guest, server) = accept(&guests);
            let guest = (number != 70).then_some(guest);
            outside.push((client, server));
            files.left.sessions.push(LeftSession { renter, guest, is_proven: number % 3 == 0 });
        }
        let address = renters.local_addr().unwrap();
        files.left.listeners.insert(address, renters);

        let input = give(&files).unwrap();
        drop(files);
        assert!(lock().try_lock().is_err(), "the lock is held on the way");
        assert_eq!(peer(input.as_fd()), Some(std::process::id()));
        let (standard_input, taken) = received(receive(input.as_fd()).unwrap());
        assert!(standard_input.is_some());
        assert!(lock().try_lock().is_err());
        assert!(taken.left.listeners.contains_key(&address));
        assert_eq!(taken.left.sessions.len(), 150);
        for (number, (session, (client, server))) in taken.left.sessions.iter().zip(&mut outside).enumerate()
        {
            assert_eq!(session.is_proven, number % 3 == 0);
            let mut heard = [0; 2];
            client.write_all(b"in").unwrap();
            session.renter.set_nonblocking(false).unwrap();
            (&session.renter).read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"in");
            let Some(mut guest) = session.guest.as_ref() else {
                assert_eq!(number, 70);
                continue;
            };
            guest.write_all(b"up").unwrap();
            server.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"up");
        }
        drop(taken);
        lock().try_lock().unwrap();

        // What another process gave.
        let empty = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(peer(empty.as_fd()), None);
        assert!(take().unwrap().lock.is_none());
    }

    #[test]
    fn what_a_newer_program_would_hand_over_is_closed_and_a_guest_of_nobody_too() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let guest = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let files = vec![(b'?', OwnedFd::from(writer)), (kind::GUEST, OwnedFd::from(guest))];
        let (input, all) = received(files);
        assert!(input.is_none() && all.lock.is_none() && all.left.sessions.is_empty());
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "closed");
    }
}
