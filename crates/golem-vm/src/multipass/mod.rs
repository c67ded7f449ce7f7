//! The Multipass backend: real guests, made and run by `multipassd`.
//!
//! ```text
//!   create ─► `multipass launch` ─┐  (minutes; outlives the node)
//!   start  ─► `multipass start`  ─┴─► wait_ready: `list` says Running, and SSH greets
//! ```
//! Owns what Multipass is asked and what its answers mean. An instance is called what its rental is
//! called; those that were taken over keep their names. The cloud-init data goes to the program's
//! standard input, so that no file is left behind and the snap needs to read none. A daemon that does
//! not answer is "cannot see", never "gone" (I3); instances with other names are never touched.

mod find;
mod output;
mod program;
mod release;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use golem_types::{AuthorizedKey, ImageName, VmId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use find::find;
pub use output::{Instance, InstanceName, NotAName, Sizes, State, bytes};

use crate::Accelerator;
use crate::machine::{BackendError, Guest, MachineSpec, Observed, Overhead};
use crate::seed;
use output::{Versions, major_minor};
use program::{Failure, Long, Program, unavailable};
use release::release;

/// Name of this backend in settings and messages.
const NAME: &str = "multipass";

/// The oldest version that is used: `launch --memory` and `get local.NAME.memory` are not older.
const OLDEST: (u32, u32) = (1, 11);

/// Longest that a question may take. Each starts a process; a loaded host needs some room.
const ASK_DEADLINE: Duration = Duration::from_secs(8);

/// Longest that a deletion, or something done inside a guest, may take.
const ACT_DEADLINE: Duration = Duration::from_secs(60);

/// Longest that one attempt at a guest's greeting may take.
const GREETING_DEADLINE: Duration = Duration::from_millis(1500);

/// Pause between two looks at a guest that boots.
const PAUSE: Duration = Duration::from_millis(500);

/// The guest's SSH port.
const SSH_PORT: u16 = 22;

/// What adds a key, once, for each user who may log in; the key comes on standard input.
const ADD_KEY: &str = "IFS= read -r key && for home in /home/ubuntu /root; do [ -d \"$home\" ] || continue; \
    mkdir -p \"$home/.ssh\" && chmod 700 \"$home/.ssh\" && touch \"$home/.ssh/authorized_keys\" && \
    { grep -qxF -- \"$key\" \"$home/.ssh/authorized_keys\" || echo \"$key\" >> \"$home/.ssh/authorized_keys\"; } && \
    chmod 600 \"$home/.ssh/authorized_keys\" && chown -R --reference=\"$home\" \"$home/.ssh\" || exit 1; done";

/// How Multipass is used.
#[derive(Debug, Clone)]
pub struct MultipassConfig {
    pub program: PathBuf,
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// How long a guest may take until its SSH server answers.
    pub boot_deadline: Duration,
}

/// The Multipass backend.
#[derive(Debug)]
pub struct Multipass {
    program: Program,
    /// Where running calls complain to.
    folder: PathBuf,
    boot_deadline: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Names of instances that are not called what their rentals are.
    names: BTreeMap<VmId, InstanceName>,
    /// Calls under way that make or start a machine.
    long: BTreeMap<VmId, Long>,
}

/// What became of a call that makes or starts a machine.
enum LongCall {
    UnderWay,
    None,
    Failed(Failure),
}

fn observed(instance: &Instance) -> Observed {
    match (instance.state, instance.ip) {
        (State::Running, Some(ip)) => Observed::Running(Guest { ssh: SocketAddr::new(ip, SSH_PORT), ip }),
        (State::Stopped | State::Suspended, _) => Observed::Stopped,
        (State::Deleted, _) => Observed::Halted {
            reason: "the machine was deleted with `multipass delete`; `multipass recover` brings it back"
                .to_owned(),
            resumable: false,
        },
        (State::Running, None) | (State::Changing | State::Unknown, _) => Observed::Unclear,
    }
}

fn failed(step: &'static str, message: &str) -> BackendError {
    BackendError::Failed { step, message: message.to_owned(), source: None }
}

impl Multipass {
    /// Uses the program that `config` names. Makes nothing: the folder for what its calls complain of
    /// comes with the first.
    #[must_use]
    pub fn open(config: MultipassConfig) -> Self {
        let folder = config.data_dir.join("multipass");
        Self {
            program: Program(config.program),
            folder,
            boot_deadline: config.boot_deadline,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn name(&self) -> &'static str {
        NAME
    }

    pub(crate) fn register_adopted(&self, names: BTreeMap<VmId, String>) {
        let read = |(id, name): (VmId, String)| match name.parse() {
            Ok(name) => Some((id, name)),
            Err(error) => {
                tracing::error!(
                    vm = id.redacted(),
                    error = &error as &dyn std::error::Error,
                    "the ledger names an impossible instance"
                );
                None
            }
        };
        self.lock().names = names.into_iter().filter_map(read).collect();
    }

    /// What Multipass calls the machine of `id`.
    fn called(&self, id: &VmId) -> String {
        self.lock().names.get(id).map_or_else(|| id.to_string(), ToString::to_string)
    }

    /// Whether program and daemon answer and are new enough.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`], whose message names the fix.
    pub async fn check(&self) -> Result<(), BackendError> {
        let answer = self.ask(&["version", "--format", "json"]).await?;
        let versions: Versions = serde_json::from_slice(&answer).map_err(|_| {
            unavailable(
                format!("{} does not tell its version; fix: install Multipass", self.program.0.display()),
                None,
            )
        })?;
        let Some(daemon) = versions.multipassd else {
            let fix = "its daemon multipassd does not answer; fix: `sudo snap restart multipass`";
            return Err(unavailable(fix, None));
        };
        for version in [&versions.multipass, &daemon] {
            if major_minor(version).is_some_and(|number| number < OLDEST) {
                let (major, minor) = OLDEST;
                let fix = format!(
                    "Multipass {version} is too old, {major}.{minor} is needed; fix: `sudo snap refresh multipass`"
                );
                return Err(unavailable(fix, None));
            }
        }
        Ok(())
    }

    /// Multipass runs its machines in QEMU with hardware virtualisation.
    pub(crate) const fn overhead(&self) -> Overhead {
        // Its network has no connections of its own.
        Accelerator::Kvm.overhead(0)
    }

    pub(crate) fn has_image(&self, image: &ImageName) -> bool {
        release(image).is_some()
    }

    /// Asks a question that changes nothing.
    async fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, BackendError> {
        let answer = self.program.run(arguments, "", ASK_DEADLINE).await?;
        answer.map_err(|failure| match failure {
            Failure::Other(message) => unavailable(message, None),
            failure => failure.error("asking Multipass"),
        })
    }

    /// Every instance on this host, ours or not.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`], also when the answer is not whole.
    pub async fn instances(&self) -> Result<Vec<Instance>, BackendError> {
        let answer = self.ask(&["list", "--format", "json"]).await?;
        output::list(&answer).ok_or_else(|| unavailable("`multipass list` answers nonsense", None))
    }

    /// What the instance `name` was made of: what its guest counts, or what it is configured with
    /// where that is blank.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`]; [`BackendError::Failed`] when there is no such instance.
    pub async fn sizes(&self, name: &InstanceName) -> Result<Sizes, BackendError> {
        let info = self.ask(&["info", name.as_str(), "--format", "json"]).await;
        let seen = match info {
            Ok(answer) => output::info(&answer, name).unwrap_or_default(),
            // A guest that does not answer makes `info` fail; its configuration is still there.
            Err(error) => {
                tracing::debug!(instance = %name, %error, "the guest's sizes are not known from itself");
                Sizes::default()
            }
        };
        let cpus = match seen.cpus {
            None => self.configured(name, "cpus").await?.and_then(|text| text.trim().parse().ok()),
            seen => seen,
        };
        let memory = match seen.memory {
            None => self.configured(name, "memory").await?.and_then(|text| bytes(&text)),
            seen => seen,
        };
        let disk = match seen.disk {
            None => self.configured(name, "disk").await?.and_then(|text| bytes(&text)),
            seen => seen,
        };
        Ok(Sizes { cpus, memory, disk })
    }

    async fn configured(&self, name: &InstanceName, what: &str) -> Result<Option<String>, BackendError> {
        let key = format!("local.{name}.{what}");
        let answer = self.program.run(&["get", &key], "", ASK_DEADLINE).await?;
        Ok(answer.ok().and_then(|text| String::from_utf8(text).ok()))
    }

    async fn instance(&self, id: &VmId) -> Result<Option<Instance>, BackendError> {
        let called = self.called(id);
        Ok(self.instances().await?.into_iter().find(|instance| instance.name.as_str() == called))
    }

    /// What became of the call that makes or starts the machine of `id`. What ended is forgotten.
    fn long(&self, id: &VmId) -> Result<LongCall, BackendError> {
        let mut inner = self.lock();
        let Some(long) = inner.long.get_mut(id) else { return Ok(LongCall::None) };
        let ended =
            long.ended().map_err(|error| unavailable("the call under way cannot be asked", Some(error)))?;
        let Some(outcome) = ended else { return Ok(LongCall::UnderWay) };
        inner.long.remove(id);
        Ok(outcome.map_or_else(LongCall::Failed, |()| LongCall::None))
    }

    async fn begin(&self, id: &VmId, arguments: &[&str], input: &str) -> Result<(), BackendError> {
        golem_files::private_subfolder(&self.folder)
            .map_err(|error| unavailable("its folder cannot be made", Some(error)))?;
        let long = self.program.spawn(arguments, input, &self.folder.join(format!("{id}.log"))).await?;
        self.lock().long.insert(id.clone(), long);
        Ok(())
    }

    pub(crate) async fn create(&self, spec: &MachineSpec) -> Result<(), BackendError> {
        let image = release(&spec.image).ok_or_else(|| BackendError::NoSuchImage(spec.image.clone()))?;
        if self.lock().long.contains_key(&spec.id) {
            return Ok(());
        }
        match self.instance(&spec.id).await?.map(|instance| instance.state) {
            None => {}
            // It never ran for its renter, and its name is taken until it is purged.
            Some(State::Deleted) => self.delete(&spec.id).await?,
            Some(_) => return Ok(()),
        }
        let name = self.called(&spec.id);
        let size = |gib: u32| format!("{gib}G");
        let (cpus, memory, disk) =
            (spec.resources.cpu.to_string(), size(spec.resources.memory), size(spec.resources.storage));
        let patience = self.boot_deadline.as_secs().to_string();
        let arguments = [
            "launch",
            image,
            "--name",
            &name,
            "--cpus",
            &cpus,
            "--memory",
            &memory,
            "--disk",
            &disk,
            "--timeout",
            &patience,
            "--cloud-init",
            "-",
        ];
        self.begin(&spec.id, &arguments, &seed::user_data(spec)).await
    }

    pub(crate) async fn start(&self, spec: &MachineSpec) -> Result<(), BackendError> {
        // Also one that failed just now: whoever waits for the machine hears of it.
        if self.lock().long.contains_key(&spec.id) {
            return Ok(());
        }
        let instance = self.instance(&spec.id).await?;
        let instance = instance.ok_or_else(|| BackendError::NoSuchMachine(spec.id.clone()))?;
        match instance.state {
            State::Running | State::Changing => Ok(()),
            State::Deleted => Err(failed("starting the machine", "it was deleted on this host")),
            State::Unknown => Err(unavailable("Multipass does not know how the machine stands", None)),
            State::Stopped | State::Suspended => {
                let patience = self.boot_deadline.as_secs().to_string();
                self.begin(&spec.id, &["start", instance.name.as_str(), "--timeout", &patience], "").await
            }
        }
    }

    /// A daemon that goes away meanwhile is waited for: it takes the machine up again.
    pub(crate) async fn wait_ready(&self, id: &VmId) -> Result<Guest, BackendError> {
        let step = "booting the guest";
        // Set when Multipass itself goes on with it: the machine may still come up.
        let mut comes = false;
        loop {
            let under_way = match self.long(id)? {
                LongCall::UnderWay => true,
                LongCall::None => comes,
                LongCall::Failed(Failure::TimedOut | Failure::Exists) => {
                    golem_service::log_limited_each!(
                        id,
                        warn,
                        vm = id.redacted(),
                        "Multipass gave up waiting; the machine is waited for"
                    );
                    comes = true;
                    comes
                }
                LongCall::Failed(failure) => return Err(failure.error("making the machine")),
            };
            match self.instance(id).await {
                Ok(Some(instance)) => {
                    if let Observed::Running(guest) = observed(&instance)
                        && greets(guest.ssh).await
                    {
                        return Ok(guest);
                    }
                    match instance.state {
                        State::Stopped | State::Suspended if !under_way => {
                            return Err(failed(step, "the guest ended before it was ready"));
                        }
                        State::Deleted => return Err(failed(step, "the machine was deleted on this host")),
                        _ => {}
                    }
                }
                Ok(None) if !under_way => return Err(BackendError::NoSuchMachine(id.clone())),
                Ok(None) => {}
                Err(error) => golem_service::log_limited_each!(
                    id,
                    warn,
                    vm = id.redacted(),
                    error = &error as &dyn std::error::Error,
                    "Multipass does not answer"
                ),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(crate) async fn stop(&self, id: &VmId, grace: Duration) -> Result<(), BackendError> {
        let step = "stopping the machine";
        self.lock().long.remove(id);
        let Some(instance) = self.instance(id).await? else { return Ok(()) };
        if matches!(instance.state, State::Stopped | State::Suspended | State::Deleted) {
            return Ok(());
        }
        let name = instance.name.as_str();
        match self.program.run(&["stop", name], "", grace).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(Failure::Absent)) => return Ok(()),
            Ok(Err(failure)) => golem_service::log_limited_each!(
                id,
                warn,
                vm = id.redacted(),
                ?failure,
                "the guest does not shut down"
            ),
            Err(error) => golem_service::log_limited_each!(
                id,
                warn,
                vm = id.redacted(),
                error = &error as &dyn std::error::Error,
                "the guest does not shut down"
            ),
        }
        match self.program.run(&["stop", "--force", name], "", ACT_DEADLINE).await? {
            Ok(_) | Err(Failure::Absent) => Ok(()),
            Err(failure) => Err(failure.error(step)),
        }
    }

    pub(crate) async fn delete(&self, id: &VmId) -> Result<(), BackendError> {
        let step = "deleting the machine";
        self.lock().long.remove(id);
        let called = self.called(id);
        match self.program.run(&["delete", &called, "--purge"], "", ACT_DEADLINE).await? {
            Ok(_) | Err(Failure::Absent) => {}
            Err(failure) => return Err(failure.error(step)),
        }
        match std::fs::remove_file(self.folder.join(format!("{id}.log"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BackendError::Failed {
                step,
                message: "what its calls complained of cannot be removed".to_owned(),
                source: Some(error),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) async fn list(&self) -> Result<BTreeMap<VmId, Observed>, BackendError> {
        let instances = self.instances().await?;
        let inner = self.lock();
        let known: BTreeMap<&str, &VmId> = inner.names.iter().map(|(id, name)| (name.as_str(), id)).collect();
        let ours = |instance: &Instance| {
            let name = instance.name.as_str();
            known.get(name).map(|id| (*id).clone()).or_else(|| name.parse().ok())
        };
        Ok(instances.iter().filter_map(|instance| Some((ours(instance)?, observed(instance)))).collect())
    }

    pub(crate) async fn add_key(&self, id: &VmId, key: &AuthorizedKey) -> Result<(), BackendError> {
        let called = self.called(id);
        let input = format!("{}\n", key.as_str());
        let arguments = ["exec", &called, "--", "sudo", "sh", "-c", ADD_KEY];
        match self.program.run(&arguments, &input, ACT_DEADLINE).await? {
            Ok(_) => Ok(()),
            Err(Failure::Absent) => Err(BackendError::NoSuchMachine(id.clone())),
            Err(failure) => Err(failure.error("adding the key")),
        }
    }

    /// Multipass keeps no console; there is what it said while it made or started the machine.
    pub(crate) async fn console(&self, id: &VmId) -> Result<String, BackendError> {
        match tokio::fs::read(self.folder.join(format!("{id}.log"))).await {
            Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(BackendError::Failed {
                step: "reading what Multipass said",
                message: "the file cannot be read".to_owned(),
                source: Some(error),
            }),
        }
    }
}

/// Whether an SSH server greets at `address`.
async fn greets(address: SocketAddr) -> bool {
    let greeting = async {
        let mut start = [0; 4];
        TcpStream::connect(address).await?.read_exact(&mut start).await?;
        Ok::<_, std::io::Error>(&start == b"SSH-")
    };
    matches!(timeout(GREETING_DEADLINE, greeting).await, Ok(Ok(true)))
}
