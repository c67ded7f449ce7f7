//! A guest's uplink: the `slirp4netns` that carries what its namespace lets out, and logins in.
//!
//! Owns that process: its start, its port on the host, its identity and its end. It ends with its
//! QEMU, whose process it holds; it outlives the node. Never decides what may pass.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{namespace, nft, rules};
use crate::qemu::{absent_is_fine, cgroup, process, qmp};

/// Longest that the start of an uplink may take, and a call to it.
const DEADLINE: Duration = Duration::from_secs(10);

/// How often an uplink that should end is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the process id of the uplink is kept, in the machine's folder.
pub(super) const PID_FILE: &str = "uplink.pid";

/// Records the process id in a folder that only the node can write; then becomes the rest.
fn record_pid() -> String {
    format!("echo $$ > uplink.pid && {{ {} || :; }} && exec \"$@\"", cgroup::FIRST_TO_GO)
}

/// Gives the uplink, and nobody else, a device node of its own: the host's is for root only.
const OWN_DEVICE: &str = "mount -t tmpfs -o mode=755,size=64k,nosuid,noexec tmpfs /dev/net &&
mknod -m 600 /dev/net/tun c 10 200 && chown \"$1\" /dev/net/tun && shift && exec \"$@\"";

/// Sorts the descriptors: 3 says that it is ready, 4 is its QEMU's process. What it complains of after
/// the node has stopped listening does not end it.
const DESCRIPTORS: &str = "trap '' PIPE; exec \"$@\" 3>&1 1>&2 4<&0 0</dev/null";

/// The words that start an uplink for `qemu`, whose API socket is `socket`; `group_words` run it in the guest's
/// control group.
fn words(uid: Option<u32>, qemu: Pid, socket: &str, group_words: &[String]) -> Vec<String> {
    let mut words: Vec<String> =
        ["setsid", "--fork", "sh", "-c", &record_pid(), "sh"].map(str::to_owned).to_vec();
    words.extend_from_slice(group_words);
    if let Some(uid) = uid.filter(|_| !namespace::tun_is_for_all()) {
        words.extend(
            ["unshare", "--mount", "--propagation=slave", "sh", "-c", OWN_DEVICE, "sh"].map(str::to_owned),
        );
        words.push(uid.to_string());
    }
    words.extend(namespace::become_user(uid));
    words.extend(["sh", "-c", DESCRIPTORS, "sh", "prlimit", "--core=0", "--nofile=4096"].map(str::to_owned));
    let cidr = format!("--cidr={}", rules::CIDR);
    words.extend(
        ["slirp4netns", "--configure", &cidr, "--mtu=65520", "--disable-host-loopback", "--enable-seccomp"]
            .map(str::to_owned),
    );
    if resolver_is_in_sight() {
        words.push("--enable-sandbox".to_owned());
    }
    let pid = qemu.as_raw_nonzero().to_string();
    words.extend(
        ["--ready-fd=3", "--exit-fd=4", "--api-socket", socket, &pid, rules::DEVICE].map(str::to_owned),
    );
    words
}

/// Whether the host's `resolv.conf` lies where an uplink in its sandbox sees it: it has `/etc` and `/run`.
fn resolver_is_in_sight() -> bool {
    std::fs::canonicalize("/etc/resolv.conf")
        .is_ok_and(|path| path.starts_with("/etc") || path.starts_with("/run"))
}

/// The uplink's API socket in the machine's folder. Its name tells whose uplink a process is, so it
/// holds `name`, the machine's name on command lines.
fn socket(name: &str) -> String {
    format!("run/uplink-{}.sock", hash(name))
}

/// What stands for the machine's id in `name`.
fn hash(name: &str) -> &str {
    name.rsplit('-').next().unwrap_or(name)
}

/// Starts an uplink for `qemu` in `folder`, and opens `port` on the host's loopback.
///
/// # Errors
/// Any error of the start, with the uplink's own words; `AddrInUse` when it cannot have the port.
/// Nothing is left of it then.
pub(super) async fn start(
    folder: &Path,
    name: &str,
    uid: Option<u32>,
    qemu: Pid,
    port: u16,
) -> io::Result<()> {
    let socket = socket(name);
    absent_is_fine(std::fs::remove_file(folder.join(&socket)))?;
    // It ends when this process does, whoever else lives.
    let lifeline: OwnedFd = pidfd_open(qemu, PidfdFlags::empty())?;
    // Not killed on drop: once it runs it is the guest's, whatever becomes of this call.
    let mut child = nft::command(&words(uid, qemu, &socket, &cgroup::beside(hash(name), qemu)))
        .current_dir(folder)
        .stdin(Stdio::from(lifeline))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let started = async {
        let mut ready = [0; 1];
        if let Some(mut stdout) = stdout
            && stdout.read_exact(&mut ready).await.is_ok()
        {
            return open_port(folder, &socket, port).await;
        }
        let mut complaint = String::new();
        if let Some(stderr) = stderr {
            let _ = stderr.take(4096).read_to_string(&mut complaint).await;
        }
        let line = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it ended at once");
        Err(io::Error::other(format!("slirp4netns: {}", line.trim())))
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "slirp4netns is not ready in time");
    let started = timeout(DEADLINE, started).await.unwrap_or_else(|_| Err(late()));
    if started.is_err() {
        end(folder, name).await?;
    }
    // Whoever may write to the folder could open further ports with it.
    absent_is_fine(std::fs::remove_file(folder.join(&socket)))?;
    started
}

async fn open_port(folder: &Path, socket: &str, port: u16) -> io::Result<()> {
    let mut stream = qmp::connect(folder, socket).await?;
    let request = json!({ "execute": "add_hostfwd", "arguments": {
        "proto": "tcp", "host_addr": "127.0.0.1", "host_port": port,
        "guest_addr": rules::ADDRESS, "guest_port": rules::SSH_PORT,
    } });
    stream.write_all(request.to_string().as_bytes()).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match answer.get("error") {
        None => Ok(()),
        Some(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Whether a process of `uid` listens at `port` of the host's loopback.
///
/// # Errors
/// Any error of reading the kernel's table.
pub(super) fn listens(uid: u32, port: u16) -> io::Result<bool> {
    Ok(is_listed(&std::fs::read_to_string("/proc/net/tcp")?, uid, port))
}

fn is_listed(table: &str, uid: u32, port: u16) -> bool {
    let loopback = u32::from_ne_bytes([127, 0, 0, 1]);
    let address = format!("{loopback:08X}:{port:04X}");
    table.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(1) == Some(&address.as_str())
            && words.get(3) == Some(&"0A")
            && words.get(7).and_then(|word| word.parse().ok()) == Some(uid)
    })
}

/// The uplink of the machine called `name` in `folder`, if it lives.
///
/// # Errors
/// When this process cannot look.
fn of(folder: &Path, name: &str) -> io::Result<Option<Pid>> {
    let Some(text) = process::ignore_missing(std::fs::read_to_string(folder.join(PID_FILE)))? else {
        return Ok(None);
    };
    let Some(pid) = text.trim().parse().ok().filter(|number| *number > 0).and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    // One that has ended and that nobody has waited for has no words.
    let Some(words) = process::ignore_missing(std::fs::read(path))? else { return Ok(None) };
    let socket = socket(name);
    Ok(words.split(|byte| *byte == 0).any(|word| word == socket.as_bytes()).then_some(pid))
}

/// Whether the uplink of the machine called `name` in `folder` was stopped (`SIGSTOP`) and carries nothing.
///
/// # Errors
/// When this process cannot look.
pub(super) fn is_frozen(folder: &Path, name: &str) -> io::Result<bool> {
    let Some(pid) = of(folder, name)? else { return Ok(false) };
    Ok(process::life(pid)? == Some(process::Life::Frozen))
}

/// Ends the uplink at once, and waits until it is gone. None is fine.
///
/// # Errors
/// Any error of looking or of sending the signal, and `TimedOut`.
pub(in crate::qemu) async fn end(folder: &Path, name: &str) -> io::Result<()> {
    let Some(pid) = of(folder, name)? else { return Ok(()) };
    let end = async {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => {
                // Looked at again: the descriptor was taken after the first look.
                if of(folder, name)? == Some(pid) {
                    match pidfd_send_signal(&process, Signal::KILL) {
                        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        while of(folder, name)?.is_some() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the uplink does not end");
    timeout(DEADLINE, end).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_the_uplink_reaches_no_loopback_and_is_the_guests_user() {
        let qemu = Pid::from_raw(4321).unwrap();
        let root = words(Some(1_900_000_001), qemu, "run/uplink-ab.sock", &[]).join(" ");
        for part in
            ["setpriv --reuid 1900000001", "--disable-host-loopback", "--enable-seccomp", " 4321 tap0"]
        {
            assert!(root.contains(part), "{root}");
        }
        assert!(!words(None, qemu, "run/uplink-ab.sock", &[]).join(" ").contains("setpriv"));
        assert_eq!(
            socket("guest=golem-abc-20250219-130424-0011223344556677"),
            "run/uplink-0011223344556677.sock"
        );
    }

    #[test]
    fn a_port_counts_only_if_the_guests_user_listens_there() {
        let address = |bytes| format!("{:08X}", u32::from_ne_bytes(bytes));
        let line = |address: &str, state: &str, uid: u32| {
            format!(
                "   3: {address}:9C42 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid}        0 7\n"
            )
        };
        let loopback = address([127, 0, 0, 1]);
        let table =
            line(&loopback, "0A", 7) + &line(&address([10, 0, 0, 1]), "0A", 8) + &line(&loopback, "01", 9);
        assert!(is_listed(&table, 7, 40002) && !is_listed(&table, 7, 40003));
        assert!(!is_listed(&table, 8, 40002) && !is_listed(&table, 9, 40002));
    }
}
