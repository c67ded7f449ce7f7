//! `vms ssh`: becomes ssh, through the node's port, as a renter would go.
//!
//! Owns the arguments of ssh. Never handles a key: ssh does.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

/// How to log in.
#[derive(Debug)]
pub(super) struct Login {
    /// Where the SSH ports are.
    pub host: String,
    /// The VM's port.
    pub port: u16,
    /// Name under which the guest's key is remembered; not the id, which ssh's arguments would
    /// show to every user of this machine.
    pub alias: String,
    /// User in the guest.
    pub user: String,
    /// Private key to log in with.
    pub identity: Option<PathBuf>,
    /// File in which guests' keys are remembered.
    pub known_hosts: PathBuf,
    /// Command to run there.
    pub command: Vec<String>,
}

/// Forgets the key of the guest `alias`. Where that fails, ssh tells how to do it.
pub(super) fn forget(known_hosts: &Path, alias: &str) {
    if known_hosts.exists() {
        // In ssh's own way, because names may be hashed there.
        let _ = Command::new("ssh-keygen").arg("-R").arg(alias).arg("-f").arg(known_hosts).output();
    }
}

impl Login {
    fn arguments(&self) -> Vec<OsString> {
        let option = |name: &str, value: &Path| {
            // In quotes, because ssh splits values at white space.
            let mut option = OsString::from(format!("{name}=\""));
            option.push(value);
            option.push("\"");
            option
        };
        let mut arguments: Vec<OsString> = vec!["-p".into(), self.port.to_string().into()];
        // A guest keeps its key for life, so the first one seen is kept, and a change is refused.
        arguments.extend(["-o".into(), "StrictHostKeyChecking=accept-new".into()]);
        arguments.extend(["-o".into(), option("HostKeyAlias", self.alias.as_ref())]);
        arguments.extend(["-o".into(), option("UserKnownHostsFile", &self.known_hosts)]);
        if let Some(identity) = &self.identity {
            arguments.extend(["-i".into(), identity.into(), "-o".into(), "IdentitiesOnly=yes".into()]);
        }
        arguments.extend(["-l".into(), (&self.user).into(), "--".into(), (&self.host).into()]);
        arguments.extend(self.command.iter().map(OsString::from));
        arguments
    }

    /// Becomes ssh; returns only when that failed.
    ///
    /// # Errors
    /// When ssh is not there.
    pub(super) fn become_ssh(&self) -> anyhow::Result<std::convert::Infallible> {
        let error = Command::new("ssh").args(self.arguments()).exec();
        if error.kind() == std::io::ErrorKind::NotFound {
            bail!("ssh is not installed; fix: install openssh-client");
        }
        Err(anyhow::Error::new(error).context("ssh cannot be started"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_094_ssh_goes_through_the_port_of_the_vm() {
        let mut login = Login {
            host: "127.0.0.1".to_owned(),
            port: 50803,
            alias: "golem-web-20250219-130424".to_owned(),
            user: "ubuntu".to_owned(),
            identity: None,
            known_hosts: "/data/known_hosts".into(),
            command: vec!["uname".to_owned(), "-a".to_owned()],
        };
        let text = |login: &Login| {
            login
                .arguments()
                .iter()
                .map(|word| word.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            text(&login),
            "-p 50803 -o StrictHostKeyChecking=accept-new -o HostKeyAlias=\"golem-web-20250219-130424\" \
             -o UserKnownHostsFile=\"/data/known_hosts\" -l ubuntu -- 127.0.0.1 uname -a"
        );
        "10.0.0.7".clone_into(&mut login.host);
        login.identity = Some("/keys/mine".into());
        assert!(text(&login).contains(" -i /keys/mine -o IdentitiesOnly=yes -l ubuntu -- 10.0.0.7 "));
    }
}
