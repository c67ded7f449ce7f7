//! What the node and the host's systemd tell each other.
//!
//! ```text
//!   start ─► READY ─► WATCHDOG, again and again ─┬─► RELOADING ─► (the process starts anew) ─► READY
//!                                                └─► STOPPING, and how long that may take ─► end
//! ```
//! Owns those words, the question whether the host goes down, and how soon the kernel ends the node for want of memory.
//! Each is nothing where no systemd asked for it. Never starts or stops a part of the node.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::tasks::Tasks;

/// Longest that the service manager may take for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// How much later than other processes the kernel ends the node for want of memory: it serves all guests.
const SCORE: &str = "-500";

/// Tells the service manager that the node serves.
pub fn ready() {
    tell("READY=1");
}

/// Tells the service manager that the node starts anew under the same process id.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
}

/// Tells the service manager that the node stops, which may take as long as `most`.
pub fn stopping(most: Duration) {
    tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", most.as_micros()));
}

/// Tells the service manager again and again that the node lives, where it asked for that: it ends a node
/// whose tasks do not run any more, and starts it again.
pub fn keep_watchdog(tasks: &Tasks) {
    let variable = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    // The words are for the process that systemd started, and not for what that starts.
    let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let Some(within) = variable("WATCHDOG_USEC").filter(|microseconds| *microseconds > 0 && is_ours) else {
        return;
    };
    let pause = Duration::from_micros(within) / 3;
    let stop = tasks.stopping().clone();
    tasks.spawn("watchdog", async move {
        loop {
            tell("WATCHDOG=1");
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    });
}

/// Whether the host is being shut down or started anew: then guests end with it, and had better be asked to.
pub async fn host_goes_down() -> bool {
    if !Path::new("/run/systemd/system").is_dir() {
        return false;
    }
    let mut command = Command::new("systemctl");
    command.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(ANSWER, command.output()).await {
        Ok(Ok(output)) => output.stdout.trim_ascii() == b"stopping",
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Has the kernel, when memory runs out, end other processes before this one (`man 5 proc_pid_oom_score_adj`). Changes
/// nothing if a score is set already, or if this process may not set one.
pub fn lower_oom_score() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let chosen = std::fs::read_to_string(FILE).is_ok_and(|score| score.trim() != "0");
    if !chosen && let Err(error) = std::fs::write(FILE, SCORE) {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "this process stays as likely to be ended as others"
        );
    }
}

/// Tells the service manager `state`, where one asked for it.
fn tell(state: &str) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = notify(&place, state) {
        crate::log_limited!(
            warn,
            error = &error as &dyn std::error::Error,
            state,
            "the service manager cannot be told"
        );
    }
}

fn notify(place: &std::ffi::OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        if let Some(name) = place.as_bytes().strip_prefix(b"@") {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            return socket.send_to_addr(state.as_bytes(), &address).map(drop);
        }
    }
    socket.send_to(state.as_bytes(), place).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_hears_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let mut heard = [0; 32];
        let by_path = UnixDatagram::bind(&path).unwrap();
        notify(path.as_os_str(), "READY=1").unwrap();
        let size = by_path.recv(&mut heard).unwrap();
        assert_eq!(&heard[..size], b"READY=1");
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = format!("golem-provider-test-{}", std::process::id());
            let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
            let by_name = UnixDatagram::bind_addr(&address).unwrap();
            notify(format!("@{name}").as_ref(), "STOPPING=1").unwrap();
            let size = by_name.recv(&mut heard).unwrap();
            assert_eq!(&heard[..size], b"STOPPING=1");
        }
        assert!(notify(folder.path().join("nobody").as_os_str(), "READY=1").is_err());
    }
}
