//! The process of a guest: which one it is, whether it lives, and its end.
//!
//! Owns identity: a process id alone proves nothing (ids are reused), so a process counts as
//! the machine's only if its command line names the machine. Signals go through a descriptor taken before that check.

use std::io;
use std::path::Path;
use std::time::Duration;

use golem_types::VmId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::name::name_word;
use crate::proc_stat;

/// Where the process id of QEMU is kept, in the machine's folder.
pub(super) const PID_FILE: &str = "qemu.pid";

/// How often a process that should end is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs, or could.
    Alive,
    /// It is stopped by a signal or a debugger.
    Frozen,
}

/// The process of the machine `id` in `folder`, if it lives.
///
/// # Errors
/// When this process cannot look, being out of descriptors or memory, or does not understand what it sees: that
/// says nothing about the machine (I3). A file that is missing or holds nonsense is no error: it names no process.
pub(super) fn of(folder: &Path, id: &VmId) -> io::Result<Option<(Pid, Life)>> {
    let Some(text) = ignore_missing(std::fs::read_to_string(folder.join(PID_FILE)))? else { return Ok(None) };
    let Some(pid) = text.trim().parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let Some(words) = ignore_missing(std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())))?
    else {
        return Ok(None);
    };
    let name = format!("{},", name_word(id));
    let named = words.split(|byte| *byte == 0).any(|word| word.starts_with(name.as_bytes()));
    let Some(stat) = stat(pid)? else { return Ok(None) };
    // A process gives up its memory, and its command line with that, before its files: QEMU still locks the disk.
    let ours = named || (words.is_empty() && stat.exiting);
    Ok(stat.life().filter(|_| ours).map(|life| (pid, life)))
}

/// How the process `pid` stands, if it lives.
///
/// # Errors
/// As [`of`].
pub(super) fn life(pid: Pid) -> io::Result<Option<Life>> {
    Ok(stat(pid)?.and_then(|stat| stat.life()))
}

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    /// Whether it is on its way out (`PF_EXITING` in the kernel's `include/linux/sched.h`).
    exiting: bool,
    threads: u64,
}

impl Stat {
    fn life(&self) -> Option<Life> {
        match self.state {
            // The first thread is a zombie as soon as it has ended; the others may hold the process's files yet.
            b'Z' | b'X' if self.threads < 2 => None,
            b'T' | b't' => Some(Life::Frozen),
            _ => Some(Life::Alive),
        }
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        const PF_EXITING: u64 = 4;
        let fields = proc_stat::fields(stat)?;
        let [state] = fields.first()?.as_bytes() else { return None };
        let flags: u64 = fields.get(6)?.parse().ok()?;
        let threads = fields.get(17)?.parse().ok()?;
        Some(Self { state: *state, exiting: flags & PF_EXITING != 0, threads })
    }
}

/// `None` if there is no process `pid`.
fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    // Not as text: the process may call itself anything.
    let Some(stat) = ignore_missing(std::fs::read(&path))? else { return Ok(None) };
    let parsed = Stat::parse(&stat);
    parsed
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path} makes no sense")))
        .map(Some)
}

/// What was read; `None` if there is nothing to read; an error only where nobody could have read.
pub(super) fn ignore_missing<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    use rustix::io::Errno;
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO)
            ) =>
        {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}

/// Waits until the machine has no process. The caller sets the deadline.
pub(super) async fn ended(folder: &Path, id: &VmId) {
    while !matches!(of(folder, id), Ok(None)) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Ends the machine's process at once, and waits until it is gone. No error if there is none.
///
/// # Errors
/// Any error of looking or of sending the signal; the process may live then.
pub(super) async fn kill(folder: &Path, id: &VmId) -> io::Result<()> {
    if let Some((pid, _)) = of(folder, id)? {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => {
                // Looked at again: the descriptor was taken after the first look.
                if of(folder, id)?.is_some_and(|(again, _)| again == pid) {
                    match pidfd_send_signal(&process, Signal::KILL) {
                        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        ended(folder, id).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const ID: &str = "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa";

    #[tokio::test]
    async fn only_a_process_that_names_the_machine_is_the_machines() {
        let folder = tempfile::tempdir().unwrap();
        let id: VmId = ID.parse().unwrap();
        assert_eq!(of(folder.path(), &id).unwrap(), None);
        // A process id that was reused: this test's own.
        std::fs::write(folder.path().join(PID_FILE), std::process::id().to_string()).unwrap();
        assert_eq!(of(folder.path(), &id).unwrap(), None);
        kill(folder.path(), &id).await.unwrap();
        for nonsense in ["", "0", "-1", "99999999999", "abc"] {
            std::fs::write(folder.path().join(PID_FILE), nonsense).unwrap();
            assert_eq!(of(folder.path(), &id).unwrap(), None, "{nonsense:?}");
        }
    }

    #[test]
    fn i3_a_node_that_is_out_of_descriptors_does_not_take_a_guest_for_gone() {
        use rustix::io::Errno;
        for blind in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO] {
            assert!(ignore_missing::<()>(Err(blind.into())).is_err(), "{blind:?}");
        }
        for nothing in [Errno::NOENT, Errno::SRCH, Errno::ISDIR, Errno::LOOP, Errno::ACCESS] {
            assert!(ignore_missing::<()>(Err(nothing.into())).unwrap().is_none(), "{nothing:?}");
        }
    }

    #[test]
    fn i3_a_state_is_found_after_any_name_or_not_made_up() {
        // From the state on: state, five ids, flags, ten counters, threads, and what follows.
        let rest = |state: &str, flags: u64, threads: u64| {
            format!("{state} 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 7 0")
        };
        for (name, state, flags, threads, found) in [
            (&b"7 (qemu-system-x86) "[..], "S", 0x40_0100, 5, Some((b'S', false, Some(Life::Alive)))),
            (b"7 (\xff) Z 1 ) ", "T", 0, 1, Some((b'T', false, Some(Life::Frozen)))),
            (b"7 (qemu) ", "Z", 0x40_0104, 1, Some((b'Z', true, None))),
            // Its first thread has ended, another still frees what they share.
            (b"7 (qemu) ", "Z", 0x40_0104, 2, Some((b'Z', true, Some(Life::Alive)))),
            (b"7 (qemu) ", "R", 0x40_0104, 1, Some((b'R', true, Some(Life::Alive)))),
            (b"7 (qemu) ", "SS", 0, 1, None),
            (b"7 (qemu", "S", 0, 1, None),
        ] {
            let stat = Stat::parse(&[name, rest(state, flags, threads).as_bytes()].concat());
            let stat = stat.map(|stat| (stat.state, stat.exiting, stat.life()));
            assert_eq!(stat, found, "{} {state} {threads}", String::from_utf8_lossy(name));
        }
        for cut in [&b""[..], b"7 (qemu", b"7 (qemu)", b"7 (qemu) ", b"7 (qemu) S 1 7"] {
            assert_eq!(Stat::parse(cut), None, "{}", String::from_utf8_lossy(cut));
        }
    }

    /// A guest that is started again as soon as it is gone gets its disk's lock.
    #[tokio::test]
    async fn h_13_a_machine_is_gone_when_its_process_has_let_go_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let id: VmId = ID.parse().unwrap();
        // It holds a lock and so much memory, as a guest does, that giving that back takes a while.
        let script = format!(
            "exec 9>lock; flock 9; exec -a '{},debug-threads=on' dd if=/dev/zero bs=300M 2>/dev/null",
            name_word(&id)
        );
        let mut child = std::process::Command::new("bash")
            .args(["-c", &script])
            .current_dir(folder.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::write(folder.path().join(PID_FILE), format!("{}\n", child.id())).unwrap();
        // It has all its memory when it writes from it.
        let mut stdout = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut stdout, &mut [0]).unwrap();
        assert!(of(folder.path(), &id).unwrap().is_some());
        rustix::process::kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        while of(folder.path(), &id).unwrap().is_some() {
            // Without a pause: the moment in which the process is going is what is tested.
            std::thread::yield_now();
        }
        let lock = std::fs::File::open(folder.path().join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn i3_the_machines_process_is_found_frozen_and_ended_whatever_it_calls_itself() {
        let folder = tempfile::tempdir().unwrap();
        let id: VmId = ID.parse().unwrap();
        // `sh` ignores its further words; they stand on its command line as QEMU's would.
        let mut child = std::process::Command::new("sh")
            // It calls itself what is no text and looks like a dead process.
            .args([
                "-c",
                "printf '\\377) Z 1 ' >/proc/$$/comm; read forever",
                "sh",
                &format!("{},debug-threads=on", name_word(&id)),
            ])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::fs::write(folder.path().join(PID_FILE), format!("{}\n", child.id())).unwrap();
        let pid = Pid::from_child(&child);
        let comm = format!("/proc/{}/comm", child.id());
        let renamed = async {
            while !std::fs::read(&comm).unwrap().starts_with(b"\xff) Z") {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        timeout(Duration::from_secs(20), renamed).await.expect("renamed in time");
        let wait_for = async |life| {
            let seen = async {
                while of(folder.path(), &id).unwrap() != life {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            };
            timeout(Duration::from_secs(20), seen).await.expect("seen in time");
        };
        wait_for(Some((pid, Life::Alive))).await;
        rustix::process::kill_process(pid, Signal::STOP).unwrap();
        wait_for(Some((pid, Life::Frozen))).await;
        kill(folder.path(), &id).await.unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
