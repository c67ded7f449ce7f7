//! An instance as a real SSH server on an address of its own, port 22.
//!
//! Owns its configuration, its process and its end. Only the keys of the instance's cloud-init data
//! may log in, as root, which is why tests that use it need to be root themselves.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::Failure;

const SERVER: &str = "/usr/sbin/sshd";

/// Longest that it may take to listen; a busy machine needs a second.
const READY: Duration = Duration::from_secs(30);

/// Every line of the cloud-init data that holds a public key, JSON or YAML.
fn keys(user_data: &str) -> String {
    let key = |start: usize| {
        let rest = &user_data[start..];
        let end = rest.find(['"', '\'', '\n', ',']).unwrap_or(rest.len());
        rest[..end].trim().to_owned()
    };
    let starts = ["ssh-ed25519 ", "ssh-rsa "].into_iter().flat_map(|kind| user_data.match_indices(kind));
    let mut keys: Vec<String> = starts.map(|(start, _)| key(start)).collect();
    keys.sort();
    keys.dedup();
    keys.join("\n") + "\n"
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::daemon("start", format!("the instance's SSH server: {error}"))
}

/// Starts the server of the instance in `folder` on `ip`; gives its process.
pub(crate) fn start(folder: &Path, ip: &str) -> Result<i32, Failure> {
    let user_data = std::fs::read_to_string(folder.join("user-data")).map_err(broken)?;
    std::fs::write(folder.join("authorized_keys"), keys(&user_data)).map_err(broken)?;
    let host_key = folder.join("host_key");
    if !host_key.exists() {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key).status();
        if !made.map_err(broken)?.success() {
            return Err(broken("ssh-keygen failed"));
        }
    }
    // The server insists on this folder.
    std::fs::create_dir_all("/run/sshd").map_err(broken)?;
    let configuration = format!(
        "ListenAddress {ip}:22\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
        host_key.display(),
        folder.join("authorized_keys").display(),
    );
    let file = folder.join("sshd_config");
    std::fs::write(&file, configuration).map_err(broken)?;
    let log = std::fs::File::create(folder.join("sshd.log")).map_err(broken)?;
    let mut command = Command::new(SERVER);
    // In a process group of its own: whoever ends the provider's does not end the machine.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command
        .args(["-D", "-e", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(broken)?;
    let server = i32::try_from(child.id()).map_err(broken)?;
    // The real one too gives an instance out only when its SSH server answers.
    let began = Instant::now();
    while TcpStream::connect((ip, 22)).is_err() {
        if began.elapsed() > READY {
            stop(Some(server));
            return Err(broken("it does not listen"));
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(server)
}

/// Ends the server and, with it, its sessions' listener. One that has ended is fine.
pub(crate) fn stop(server: Option<i32>) {
    if let Some(server) = server.and_then(Pid::from_raw) {
        let _ = kill_process_group(server, Signal::KILL);
        let _ = kill_process(server, Signal::KILL);
    }
}
