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
    /// Where it listened for requests to its API.
    pub public: Option<TcpListener>,
    /// VMs' ports, and the connections there.
    pub left: LeftOpen,
    /// Whether the program was asked to stop on the way, and has to as soon as it can.
    pub is_stop: bool,
}

/// What a file is, in a message's text: a byte for each.
mod kind {
    pub(super) const INPUT: u8 = b'I';
    pub(super) const LOCK: u8 = b'L';
    pub(super) const PUBLIC: u8 = b'A';
    /// The listener of a VM's port.
    pub(super) const LISTENER: u8 = b'P';
    /// A session's renter; its guest follows, if there is one.
    pub(super) const RENTER: u8 = b'R';
    /// As [`RENTER`], and has logged in.
    pub(super) const PROVEN_RENTER: u8 = b'S';
    pub(super) const GUEST: u8 = b'G';
    /// A pipe with what is on its way to that guest.
    pub(super) const INWARD: u8 = b'>';
    /// The same to that renter.
    pub(super) const OUTWARD: u8 = b'<';
    /// Any file: the program is to stop, because it was asked to on the way.
    pub(super) const STOP: u8 = b'T';
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
    first.extend(files.public.iter().map(|public| (kind::PUBLIC, public.as_fd())));
    first.extend(files.left.listeners.values().map(|listener| (kind::LISTENER, listener.as_fd())));
    first.extend(files.is_stop.then(|| (kind::STOP, input.as_fd())));
    send(&near, &first)?;
    let sessions = files.left.sessions.iter().flat_map(|session| {
        let renter = if session.is_proven { kind::PROVEN_RENTER } else { kind::RENTER };
        let guest = session.guest.iter().map(|guest| (kind::GUEST, guest.as_fd()));
        let inward = session.inward.iter().map(|pipe| (kind::INWARD, pipe.as_fd()));
        let outward = session.outward.iter().map(|pipe| (kind::OUTWARD, pipe.as_fd()));
        [(renter, session.renter.as_fd())].into_iter().chain(guest).chain(inward).chain(outward)
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
            kind::PUBLIC => {
                let listener = TcpListener::from(file);
                all.public = listener.set_nonblocking(true).is_ok().then_some(listener);
            }
            kind::LISTENER => {
                let listener = TcpListener::from(file);
                if let (Ok(address), Ok(())) = (listener.local_addr(), listener.set_nonblocking(true)) {
                    all.left.listeners.insert(address, listener);
                }
            }
            kind::RENTER | kind::PROVEN_RENTER => {
                let renter = TcpStream::from(file);
                if renter.set_nonblocking(true).is_ok() {
                    all.left.sessions.push(LeftSession::of(renter, kind == kind::PROVEN_RENTER));
                }
            }
            kind::GUEST => {
                let guest = TcpStream::from(file);
                if let (Some(session), Ok(())) = (all.left.sessions.last_mut(), guest.set_nonblocking(true)) {
                    session.guest = Some(guest);
                }
            }
            kind::INWARD => {
                if let Some(session) = all.left.sessions.last_mut() {
                    session.inward = Some(file);
                }
            }
            kind::OUTWARD => {
                if let Some(session) = all.left.sessions.last_mut() {
                    session.outward = Some(file);
                }
            }
            kind::STOP => all.is_stop = true,
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
            let session = LeftSession::of(renter, number % 3 == 0);
            files.left.sessions.push(LeftSession { guest, ..session });
        }
        let address = renters.local_addr().unwrap();
        files.left.listeners.insert(address, renters);
        let public = guests.local_addr().unwrap();
        files.public = Some(guests);

        let input = give(&files).unwrap();
        drop(files);
        assert!(lock().try_lock().is_err(), "the lock is held on the way");
        assert_eq!(peer(input.as_fd()), Some(std::process::id()));
        let (standard_input, taken) = received(receive(input.as_fd()).unwrap());
        assert!(standard_input.is_some());
        assert!(lock().try_lock().is_err());
        assert!(taken.left.listeners.contains_key(&address));
        assert_eq!(taken.public.as_ref().unwrap().local_addr().unwrap(), public);
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
