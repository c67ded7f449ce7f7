//! Launching a guest.
//!
//! Owns the order: what is left of an earlier launch goes, the guest's namespace gets its rules and
//! its uplink, and only then does QEMU start. Whoever dies on the way leaves nothing that runs: the
//! wrapper ends with the node, the uplink with the wrapper.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use golem_types::VmId;
use rustix::process::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::command::Netdev;
use super::memory::{self, Kept};
use super::name::name_word;
use super::network::{Connected, Known, Launched, PORT_ATTEMPTS, Way, end_uplink, free_port};
use super::{
    DISK_FILE, Qemu, Record, absent_is_fine, acceleration, boot, command, failed, logs, network, process,
    programs, step_error,
};
use crate::Accelerator;
use crate::machine::{BackendError, MachineSpec, Started};

/// Most bytes of QEMU's complaints that are kept.
const COMPLAINT_BYTES: u64 = 16_384;

/// Longest that a namespace may take to be made.
const NAMESPACE_DEADLINE: Duration = Duration::from_secs(30);

/// How long a launch that failed is waited for to say why.
const LAST_WORDS: Duration = Duration::from_millis(500);

const STEP: &str = "launching the guest";

/// What each attempt at one launch takes.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    id: &'a VmId,
    folder: &'a Path,
    record: &'a Record,
    /// Words that run what follows in the guest's control group.
    group_words: &'a [String],
    /// The memory that it is to take up.
    memory: Option<&'a Kept>,
}

impl Qemu {
    pub(crate) async fn start(&self, spec: &MachineSpec) -> Result<Started, BackendError> {
        self.check().await?;
        let folder = self.of(&spec.id);
        if !folder.join(DISK_FILE).exists() {
            return Err(BackendError::NoSuchMachine(spec.id.clone()));
        }
        // Nobody looks at its network before it is launched.
        let mut held = self.networks.hold(&spec.id).await;
        if !self.make_way(&spec.id).await.map_err(failed("looking at the guest's process"))? {
            return Ok(Started::Booted);
        }
        end_uplink(&folder, &name_word(&spec.id)).await.map_err(failed("ending the old uplink"))?;
        let record = self.fit(&folder, spec).await?;
        // Until the process runs, the rules are not lifted.
        let _launching = self.launching.read().await;
        if record.uid.is_some()
            && let Err(error) = self.networks.enforce_host_table().await
        {
            golem_service::log_limited!(
                warn,
                error = &error as &dyn std::error::Error,
                "the host's packet filter, the second layer around guests, is not in place"
            );
        }
        let groups = self.groups.launch(&spec.id, &folder, record.resources, self.overhead());
        let groups = groups.await.map_err(failed("bounding the guest"))?;
        let kept = memory::kept(&folder).map_err(failed("looking for the guest's memory"))?;
        let cold = Attempt {
            id: &spec.id,
            folder: &folder,
            record: &record,
            group_words: &groups.words,
            memory: None,
        };
        let mut started = Started::Booted;
        if let Some(kept) = &kept {
            match self.launch_with_memory(Attempt { memory: Some(kept), ..cold }, &mut held).await? {
                Ok(()) => return Ok(Started::Resumed),
                Err(why) => started = Started::MemoryLost(why),
            }
            end_uplink(&folder, &name_word(&spec.id)).await.map_err(failed("ending the old uplink"))?;
        }
        memory::forget(&folder).map_err(failed("removing the guest's old memory"))?;
        self.launch_some_way(cold, &mut held).await?;
        self.note_groups(&spec.id, &folder).await;
        Ok(started)
    }

    /// Launches the guest with the memory that is kept; the inner error tells why this QEMU will never take that up.
    async fn launch_with_memory(
        &self,
        attempt: Attempt<'_>,
        known: &mut Known,
    ) -> Result<Result<(), String>, BackendError> {
        let Attempt { id, folder, .. } = attempt;
        match self.launch_some_way(attempt, known).await {
            Ok(()) => {}
            Err(BackendError::Failed { source: Some(error), .. })
                if error.to_string().contains("machine type") =>
            {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        self.note_groups(id, folder).await;
        let Err(error) = self.take_up(id, folder).await else { return Ok(Ok(())) };
        if !memory::is_kept(folder) {
            // It is taken up, and the guest goes on with the next look.
            return Err(failed(STEP)(error));
        }
        process::kill(folder, id).await.map_err(failed(STEP))?;
        if error.kind() == io::ErrorKind::InvalidData {
            return Ok(Err(error.to_string()));
        }
        Err(failed("taking up the guest's memory")(error))
    }

    async fn launch_some_way(&self, attempt: Attempt<'_>, known: &mut Known) -> Result<(), BackendError> {
        match self.networks.way(attempt.record.uid).await {
            Way::Namespace => self.launch_inside(attempt, known).await,
            way @ Way::Restricted(_) => {
                golem_service::log_limited_each!(
                    attempt.id,
                    error,
                    vm = attempt.id.redacted(),
                    ?way,
                    "the guest gets no network but SSH in"
                );
                for _ in 0..PORT_ATTEMPTS {
                    if self.launch_restricted(attempt, &way).await? {
                        return Ok(());
                    }
                }
                Err(step_error(STEP, "no loopback port could be had"))
            }
        }
    }

    /// Writes down in which control groups the guest is. That nothing bounds it is no reason to end it.
    async fn note_groups(&self, id: &VmId, folder: &Path) {
        let noted = match process::of(folder, id) {
            Ok(Some((qemu, _))) => self.groups.launched(id, folder, qemu).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            golem_service::log_limited_each!(
                id,
                warn,
                vm = id.redacted(),
                error = &error as &dyn std::error::Error,
                "the guest's control groups were not written down"
            );
        }
    }

    /// Launches the guest in a namespace of its own.
    async fn launch_inside(&self, attempt: Attempt<'_>, known: &mut Known) -> Result<(), BackendError> {
        let Attempt { id, folder, record, .. } = attempt;
        let port = free_port().map_err(failed(STEP))?;
        Launched::note(folder, port, &Way::Namespace).map_err(failed(STEP))?;
        let mut child = self.spawn(attempt, Netdev::Namespace).await?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let go_ahead = async {
            let qemu = namespace_pid(folder, id, stdout).await?;
            let guest = Connected {
                id: id.clone(),
                folder: folder.to_owned(),
                uid: record.uid,
                qemu,
                ssh_port: port,
            };
            self.networks.mend(known, &guest).await?;
            go(stdin).await
        };
        let launched = until_answers(attempt, &mut child, go_ahead).await;
        if launched.is_err() {
            // Without its node's word the wrapper ends by itself; QEMU would not.
            process::kill(folder, id).await.map_err(failed("ending the launch"))?;
        }
        launched.map_err(failed(STEP))
    }

    /// Launches the guest with nothing but SSH in; false when its loopback port was taken by another
    /// program.
    async fn launch_restricted(&self, attempt: Attempt<'_>, way: &Way) -> Result<bool, BackendError> {
        let ssh_port = free_port().map_err(failed(STEP))?;
        Launched::note(attempt.folder, ssh_port, way).map_err(failed(STEP))?;
        let mut child = self.spawn(attempt, Netdev::Restricted { ssh_port }).await?;
        match until_answers(attempt, &mut child, async { Ok(()) }).await {
            Ok(()) => Ok(true),
            Err(error) if error.to_string().contains("host forwarding") => Ok(false),
            Err(error) => Err(failed(STEP)(error)),
        }
    }

    async fn spawn(&self, attempt: Attempt<'_>, network: Netdev) -> Result<Child, BackendError> {
        let Attempt { id, folder, record, group_words, memory } = attempt;
        for file in [process::PID_FILE, "run/qmp.sock", "run/agent.sock"] {
            absent_is_fine(std::fs::remove_file(folder.join(file))).map_err(failed(STEP))?;
        }
        logs::clear(folder).map_err(failed(STEP))?;
        // QEMU's own /etc is mounted here, in its namespace; on the host it stays empty.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(folder.join(network::ETC_FOLDER))
            .map_err(failed(STEP))?;
        let architecture = self.architecture()?;
        let firmware = self.firmware(architecture)?;
        let accelerator = self.acceleration().await?.accelerator;
        let qemu = architecture.program();
        let qemu = programs::program(qemu).unwrap_or_else(|| qemu.into());
        let (program, arguments) = command::launch(
            &qemu,
            &command::Launch {
                id,
                resources: record.resources,
                architecture,
                firmware: firmware.as_ref().map(|firmware| firmware.code.as_path()),
                accelerator,
                nested: self.config.nested,
                uid: record.uid,
                group: match accelerator {
                    Accelerator::Kvm => acceleration::device_group(&self.config.kvm.device),
                    Accelerator::Tcg => None,
                },
                network,
                disk_rate: self.config.disk_rate,
                group_words,
                memory: memory.map(|kept| kept.machine.as_str()),
            },
        );
        let inside = matches!(network, Netdev::Namespace);
        let channel = || if inside { Stdio::piped() } else { Stdio::null() };
        // Not killed on drop: once it runs it is the renter's, whatever becomes of this call.
        Command::new(program)
            .args(arguments)
            .current_dir(folder)
            // The node's environment may hold its key, and a guest that breaks out reads QEMU's.
            .env_clear()
            .env("PATH", programs::search_path())
            .stdin(channel())
            .stdout(channel())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed(STEP))
    }
}

/// The process that will be QEMU, once it has made its namespaces.
async fn namespace_pid(folder: &Path, id: &VmId, stdout: Option<ChildStdout>) -> io::Result<Pid> {
    let mut word = [0; 3];
    let read = async {
        match stdout {
            Some(mut stdout) => stdout.read_exact(&mut word).await.map(drop),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the guest's namespace is not made in time");
    timeout(NAMESPACE_DEADLINE, read).await.unwrap_or_else(|_| Err(late()))?;
    let ended = || io::Error::other("the process that made the guest's namespace is gone");
    let (qemu, _) = process::of(folder, id)?.filter(|_| &word == b"up\n").ok_or_else(ended)?;
    Ok(qemu)
}

/// Lets the wrapper become QEMU.
async fn go(stdin: Option<ChildStdin>) -> io::Result<()> {
    let mut stdin = stdin.ok_or(io::ErrorKind::BrokenPipe)?;
    stdin.write_all(b"go\n").await?;
    stdin.flush().await
}

/// Waits for `prepared` and then until QEMU answers. It needs nobody from then on.
///
/// # Errors
/// That of `prepared`, or what QEMU or its wrappers complained of when they ended.
async fn until_answers(
    attempt: Attempt<'_>,
    child: &mut Child,
    prepared: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let Attempt { id, folder, .. } = attempt;
    let stderr = child.stderr.take();
    let mut complaints = Vec::new();
    let mut ended = Box::pin(async {
        if let Some(stderr) = stderr {
            // Ends when every process of the launch has ended, and who writes down what they say.
            let _ = stderr.take(COMPLAINT_BYTES).read_to_end(&mut complaints).await;
        }
        // Or because that one has written enough.
        process::ended(folder, id).await;
    });
    let answers = async {
        prepared.await?;
        boot::answers(folder).await;
        Ok(())
    };
    let error = tokio::select! {
        done = answers => match done {
            Ok(()) => return Ok(()),
            Err(error) => {
                // Where it is at an end, its own words say more.
                let _ = timeout(LAST_WORDS, &mut ended).await;
                error
            }
        },
        () = &mut ended => io::Error::other("it ended"),
    };
    drop(ended);
    let complaints = String::from_utf8_lossy(&complaints).into_owned() + &logs::log(folder);
    let complaints = complaints.trim();
    Err(if complaints.is_empty() { error } else { io::Error::other(complaints.to_owned()) })
}
