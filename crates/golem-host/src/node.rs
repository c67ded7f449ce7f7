//! Which node a command speaks to, and where that node's things are.
//!
//! ```text
//!   a data directory is named (environment, `.env`) ─────────────────────────► that node
//!        │ none is
//!   the system's service is there (socket in /run, or its data directory)
//!        │ no     │ yes: does only the caller's own node run? ── yes ────────► the caller's own
//!        │        └─ no ─► may the caller use it (root, or its group)? ─ yes ─► the service's
//!        │                       └─ no ─► does the caller have a node? ─ yes ─► the caller's own
//!        │                                     └─ no ─► refused, with the fix
//!        └──────────────────────────────────────────────────────────────────► the caller's own, ~/.golem/provider
//! ```
//! Owns that order, the places of a package's service, and the question whether a node runs or is just starting anew.
//! Makes nothing: neither folder, key nor socket; and reads no setting.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::handover;
use crate::pid_file::{self, Held, PidFileError};

/// Who, beside root, may use the service's node.
pub const GROUP: &str = "golem-provider";

/// The service's unit.
const UNIT: &str = "golem-provider.service";

/// The operator API's socket, in whichever folder it is.
pub const SOCKET: &str = "operator.sock";

/// What only a node's data directory has.
const MARKS: [&str; 3] = ["keys/provider_key.json", "provider.db", "operator.token"];

/// How often a service that is being restarted is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Where a package puts its service's things.
#[derive(Debug, Clone)]
pub struct Places {
    /// systemd's `RuntimeDirectory`, with the socket that the group may use.
    pub runtime: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// The unit's file of environment.
    pub environment: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            runtime: "/run/golem-provider".into(),
            data: "/var/lib/golem-provider".into(),
            environment: "/etc/golem-provider/env".into(),
        }
    }
}

impl Places {
    /// The socket of the service's node.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join(SOCKET)
    }
}

/// Whose node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The one whose data directory the caller named.
    Named,
    /// This machine's service.
    Service,
    /// The caller's own, in the home directory.
    Own,
}

/// How much there is of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Absent,
    /// It is set up, and does not run.
    Stopped,
    Running,
}

/// Why no node is chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// There is only the service's, which this user may not use.
    #[error(
        "the node of this machine's service ({}) is root's and the group {GROUP}'s; fix: `sudo golem-provider …`, or \
         `sudo adduser $USER {GROUP}` and log in again",
        .0.display()
    )]
    NotAllowed(PathBuf),
}

/// The order of this module's head.
///
/// # Errors
/// `Err(())` where there is only a service that the caller may not use.
fn choose(is_named: bool, may_use: bool, service: Presence, own: Presence) -> Result<Whose, ()> {
    use Presence::{Absent, Running, Stopped};
    match (service, own) {
        _ if is_named => Ok(Whose::Named),
        (Absent, _) | (Stopped, Running) => Ok(Whose::Own),
        _ if may_use => Ok(Whose::Service),
        (_, Stopped | Running) => Ok(Whose::Own),
        (_, Absent) => Err(()),
    }
}

/// A node, whether or not it runs.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its data directory; absolute.
    pub data_dir: PathBuf,
    pub whose: Whose,
    /// What says that it runs.
    pub pid_file: PathBuf,
    places: Places,
    /// What a caller should be told of the choice.
    note: Option<String>,
}

impl Node {
    /// The node with this data directory, which a caller of this `environment` named.
    #[must_use]
    pub fn named(data_dir: PathBuf, environment: &BTreeMap<String, String>) -> Self {
        Self::at(Whose::Named, data_dir, environment, Places::default())
    }

    /// The own node of a caller of this `environment`; `None` if that has no `HOME`.
    #[must_use]
    pub fn own(environment: &BTreeMap<String, String>) -> Option<Self> {
        let home = environment.get("HOME").filter(|home| !home.is_empty())?;
        let data_dir = Path::new(home).join(".golem/provider");
        Some(Self::at(Whose::Own, data_dir, environment, Places::default()))
    }

    fn at(whose: Whose, data_dir: PathBuf, environment: &BTreeMap<String, String>, places: Places) -> Self {
        let pid_file = match whose {
            Whose::Service => data_dir.join("provider.pid"),
            Whose::Named | Whose::Own => pid_file::place(environment, &data_dir),
        };
        Self { data_dir, whose, pid_file, places, note: None }
    }

    /// The node that a command speaks to: the one with the data directory `named`, if the caller named one, else by the
    /// order of this module's head. `None` if there is no service, nothing is named, and the `environment` has no `HOME`.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn find(
        named: Option<&Path>,
        environment: &BTreeMap<String, String>,
        places: Places,
    ) -> Result<Option<Self>, NodeError> {
        let at = |whose, data_dir: &Path| Self::at(whose, data_dir.to_owned(), environment, places.clone());
        let service = at(Whose::Service, &places.data);
        let own = Self::own(environment).map(|own| Self { places: places.clone(), ..own });
        let (of_service, of_own) =
            (service.presence(), own.as_ref().map_or(Presence::Absent, Self::presence));
        let may_use = may_use_service();
        // Named or found, it is the same node, with the same files.
        // It need not be there yet: it is made when something is written, and private.
        let is_service = named == Some(&places.data);
        let refused = || NodeError::NotAllowed(places.data.clone());
        if is_service && !may_use {
            return Err(refused());
        }
        let named = named.filter(|_| !is_service);
        let whose = if is_service {
            Ok(Whose::Service)
        } else {
            choose(named.is_some(), may_use, of_service, of_own)
        };
        let whose = whose.map_err(|()| refused())?;
        let shown = |node: &Self| node.data_dir.display().to_string();
        Ok(match whose {
            Whose::Named => named.map(|named| at(Whose::Named, named)),
            Whose::Service => {
                let also = match &own {
                    Some(own) if of_own == Presence::Running => {
                        format!("; yours, of {0}, runs too (GOLEM_PROVIDER_DATA_DIR={0})", shown(own))
                    }
                    _ => String::new(),
                };
                let note = format!("speaking to the node of {}{also}", shown(&service));
                Some(Self { note: Some(note), ..service })
            }
            Whose::Own => own.map(|own| {
                let runs = if of_service == Presence::Running { " runs" } else { "" };
                let note = (of_service != Presence::Absent).then(|| {
                    format!(
                        "speaking to the node of {}; this machine's service has another{runs}, of {1} \
                         (GOLEM_PROVIDER_DATA_DIR={1})",
                        shown(&own),
                        shown(&service)
                    )
                });
                Self { note, ..own }
            }),
        })
    }

    /// What its caller should be told in one line: `None` if it is the one that anybody would expect.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The command that starts it.
    #[must_use]
    pub const fn how_to_start(&self) -> &'static str {
        match self.whose {
            Whose::Service => "sudo systemctl start golem-provider",
            Whose::Own | Whose::Named => "golem-provider start",
        }
    }

    /// The file that its own settings are written to.
    #[must_use]
    pub fn settings_file(&self) -> PathBuf {
        self.data_dir.join(".env")
    }

    /// The service's file of environment, which wins over its settings file; `None` for another node.
    #[must_use]
    pub fn environment_file(&self) -> Option<&Path> {
        (self.whose == Whose::Service).then_some(self.places.environment.as_path())
    }

    /// Where its operator API may listen, the likeliest first.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        let shared = (self.whose == Whose::Service).then(|| self.places.socket());
        shared.into_iter().chain([self.data_dir.join(SOCKET)]).collect()
    }

    /// Whether this user may look into its data directory, or there is none yet.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let looked = std::fs::read_dir(&self.data_dir);
        !looked.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    /// Its process; `None` if it does not run.
    ///
    /// # Errors
    /// When that cannot be seen.
    pub fn running(&self) -> Result<Option<Running>, PidFileError> {
        let may_not = |error: &PidFileError| matches!(error, PidFileError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied);
        match pid_file::holder(&self.pid_file) {
            Ok(Some(held)) => Ok(Some(Running { pid: held.pid, seen: Seen::Lock(held) })),
            // Where the PID file is depends on the environment of whoever started the node.
            Ok(None) => Ok(listening(self.data_dir.join(SOCKET))),
            // The group may not look into the service's directory.
            Err(error) if self.whose == Whose::Service && may_not(&error) => {
                Ok(listening(self.places.socket()))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a node that does not answer will do so in a moment: its process is there, or systemd is about to
    /// start it.
    #[must_use]
    pub fn is_coming(&self) -> bool {
        matches!(self.running(), Ok(Some(_))) || self.is_restarting()
    }

    /// Waits, at most for `patience`, while systemd has the service between two processes. Blocks.
    pub fn wait_while_restarting(&self, patience: Duration) {
        let end = Instant::now() + patience;
        while matches!(self.running(), Ok(None)) && Instant::now() < end && self.is_restarting() {
            std::thread::park_timeout(LOOK);
        }
    }

    /// Whether systemd is just stopping, starting or reloading the service, or has a job to.
    fn is_restarting(&self) -> bool {
        if self.whose != Whose::Service || !Path::new("/run/systemd/system").is_dir() {
            return false;
        }
        let mut systemctl = Command::new("systemctl");
        systemctl
            .args(["show", "--property=ActiveState,Job", UNIT])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        systemctl.output().is_ok_and(|output| is_between(&String::from_utf8_lossy(&output.stdout)))
    }

    fn presence(&self) -> Presence {
        let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
        let shared = self.places.socket();
        let is_set_up = match self.whose {
            // Whoever may not look into it still sees that it is there.
            Whose::Service => is_there(&shared) || is_there(&self.data_dir),
            Whose::Named | Whose::Own => MARKS.iter().any(|mark| is_there(&self.data_dir.join(mark))),
        };
        match self.running() {
            Ok(Some(_)) => Presence::Running,
            // A socket that this user may not use: a process that ends removes it.
            Ok(None) if self.whose == Whose::Service && is_forbidden(&shared) => Presence::Running,
            _ if is_set_up => Presence::Stopped,
            _ => Presence::Absent,
        }
    }
}

/// The node that listens at `socket`.
#[must_use]
pub fn listening(socket: PathBuf) -> Option<Running> {
    let stream = UnixStream::connect(&socket).ok()?;
    Some(Running { pid: handover::peer(stream.as_fd()), seen: Seen::Socket(socket) })
}

fn is_forbidden(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// What `systemctl show --property=ActiveState,Job` says.
fn is_between(shown: &str) -> bool {
    shown.lines().any(|line| match line.split_once('=') {
        Some(("ActiveState", state)) => {
            matches!(state, "activating" | "deactivating" | "reloading" | "refreshing")
        }
        Some(("Job", job)) => !matches!(job, "" | "0"),
        _ => false,
    })
}

/// Whether this process may use the service's node: it is root's, or its user is in the group.
fn may_use_service() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let Some(group) = std::fs::read_to_string("/etc/group").ok().and_then(|text| group_id(&text, GROUP))
    else {
        return false;
    };
    let own = rustix::process::getgroups().unwrap_or_default();
    own.into_iter().chain([rustix::process::getegid()]).any(|own| own.as_raw() == group)
}

/// The number of the group `name` in `/etc/group`'s `text`.
pub(crate) fn group_id(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// A node that runs.
#[derive(Debug)]
pub struct Running {
    /// Its process, unless it is just writing the number.
    pub pid: Option<u32>,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    Lock(Held),
    /// By somebody who may not look at the lock.
    Socket(PathBuf),
}

impl Running {
    /// Whether it still runs.
    ///
    /// # Errors
    /// When that cannot be seen.
    pub fn still(&self) -> std::io::Result<bool> {
        match &self.seen {
            Seen::Lock(held) => held.still(),
            Seen::Socket(socket) => Ok(UnixStream::connect(socket).is_ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use proptest::prelude::*;

    use super::*;

    fn presence() -> impl Strategy<Value = Presence> {
        prop_oneof![Just(Presence::Absent), Just(Presence::Stopped), Just(Presence::Running)]
    }

    proptest! {
        #[test]
        fn the_choice_is_one_that_its_caller_may_use(
            is_named: bool, may_use: bool, service in presence(), own in presence()
        ) {
            let chosen = choose(is_named, may_use, service, own);
            let is = |presence| move |seen| seen == presence;
            match chosen {
                Ok(Whose::Named) => prop_assert!(is_named),
                Ok(Whose::Service) => prop_assert!(may_use && service != Presence::Absent),
                Ok(Whose::Own) => prop_assert!(!is_named),
                Err(()) => prop_assert!(!may_use && own == Presence::Absent && service != Presence::Absent),
            }
            // What is named always wins, and what is refused would have made a second wallet.
            prop_assert_eq!(chosen == Ok(Whose::Named), is_named);
            // Of two, the one that runs is spoken to, where the caller may.
            if !is_named && is(Presence::Running)(own) && !is(Presence::Running)(service) {
                prop_assert_eq!(chosen, Ok(Whose::Own));
            }
            if !is_named && may_use && is(Presence::Running)(service) {
                prop_assert_eq!(chosen, Ok(Whose::Service));
            }
        }
    }

    /// A machine with the package's places in a folder, and a home.
    fn machine(folder: &Path) -> (Places, BTreeMap<String, String>) {
        let places = Places {
            runtime: folder.join("run"),
            data: folder.join("var"),
            environment: folder.join("etc/env"),
        };
        std::fs::create_dir(&places.runtime).unwrap();
        let home = folder.join("home").display().to_string();
        (places, [("HOME".to_owned(), home)].into())
    }

    /// U-01, U-05: this test runs as root, who may use the service.
    #[tokio::test]
    async fn the_services_node_is_found_by_its_socket_and_has_its_own_files() {
        let folder = tempfile::tempdir().unwrap();
        let (places, environment) = machine(folder.path());
        let find = |named: Option<&Path>| Node::find(named, &environment, places.clone()).map(Option::unwrap);
        if rustix::process::geteuid().is_root() {
            assert_eq!(find(Some(&places.data)).unwrap().whose, Whose::Service, "before its folder is there");
        }
        let own = find(None).unwrap();
        assert_eq!((own.whose, own.note()), (Whose::Own, None));
        assert_eq!(own.settings_file(), folder.path().join("home/.golem/provider/.env"));
        let named = find(Some(Path::new("/srv/node"))).unwrap();
        assert_eq!(named.settings_file(), Path::new("/srv/node/.env"));
        assert_eq!((named.whose, named.environment_file()), (Whose::Named, None));

        std::fs::create_dir(&places.data).unwrap();
        let _socket = UnixListener::bind(places.socket()).unwrap();
        if !rustix::process::geteuid().is_root() {
            assert_eq!(find(None).unwrap_err(), NodeError::NotAllowed(places.data.clone()));
            return;
        }
        for service in [find(None).unwrap(), find(Some(&places.data)).unwrap()] {
            assert_eq!(service.whose, Whose::Service);
            assert_eq!(service.environment_file(), Some(places.environment.as_path()));
            assert_eq!(service.settings_file(), places.data.join(".env"));
            assert_eq!(service.sockets(), [places.socket(), places.data.join(SOCKET)]);
        }
        let note = find(None).unwrap().note().unwrap().to_owned();
        assert_eq!(note, format!("speaking to the node of {}", places.data.display()));
        // Only the caller's own runs.
        let running = pid_file::PidFile::take(&own.pid_file).await.unwrap();
        let found = find(None).unwrap();
        assert_eq!(found.whose, Whose::Own);
        assert!(found.note().unwrap().contains("this machine's service has another"), "{:?}", found.note());
        assert!(found.running().unwrap().unwrap().still().unwrap());
        drop(running);
    }

    #[test]
    fn systemd_says_whether_a_process_is_about_to_come() {
        for between in ["ActiveState=activating", "ActiveState=deactivating", "Job=17\nActiveState=inactive"]
        {
            assert!(is_between(between), "{between}");
        }
        for settled in ["", "ActiveState=active", "Job=\nActiveState=inactive", "ActiveState=failed\nJob=0"] {
            assert!(!is_between(settled), "{settled}");
        }
    }

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let text = "golem-provider-x:x:7:\ngolem-provider:x:991:alice\n";
        assert_eq!(group_id(text, GROUP), Some(991));
        assert_eq!(group_id("golem-provider:x:many:", GROUP), None);
    }
}
