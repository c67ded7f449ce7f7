//! One task per rental: it alone drives its machine.
//!
//! ```text
//!            ┌────────────────────────────── wait ◄──────────────┐
//!            ▼                                                    │
//!   row + what is seen ──► plan ──► Rest ─────────────────────────┤
//!                             └───► step ──► backend ──► row ─────┘
//! ```
//!
//! Owns every call that makes, runs or ends a machine that has a live rental, and the order of its effects:
//! the row that announces an effect is on disk before it, the row that reports it after it.
//! `running` is written only once the port leads to a guest that answers. Never decides what a
//! rental should be (its goal), and never spawns.

mod error;
mod handle;
mod orders;
mod progress;
mod snapshots;
mod suspend;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use golem_reach::probe::Probes;
use golem_types::{VmId, VmState};
use golem_vm::{Backend, BackendError, Guest, MachineSpec};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::doubled;
use crate::boot::{Reached, Stage};
use crate::config::NodeConfig;
use crate::crash::crash_point;
use crate::ledger::Ledger;
use crate::proxy::Proxy;
use crate::reconcile::observer::Sample;
use crate::reconcile::plan::{MachineView, Situation, Step, plan};
use crate::rental::{Change, Goal, Rental};
use error::StepError;

pub use handle::{KeyOrders, MachineHandle};

/// Longest that one backend call may take, beside waiting for a guest to boot or to shut down:
/// a copy of seed and overlay takes well below a second, a loaded host needs some room.
const CALL_DEADLINE: Duration = Duration::from_secs(120);

/// Longest pause between two attempts at something that keeps failing.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Shortest pause before something asked of a snapshot is tried again.
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(1);

/// Longest pause before a guest whose disk keeps failing is told again to go on.
const LONGEST_HALT: Duration = Duration::from_secs(60);

/// The task of one rental.
pub struct Machine {
    /// Whose.
    pub id: VmId,
    /// What was decided for the node.
    pub config: Arc<NodeConfig>,
    /// Who has the machine.
    pub backend: Arc<Backend>,
    /// Where the rental stands.
    pub ledger: Ledger,
    /// Who serves its port.
    pub proxy: Proxy,
    /// Listeners that may be on its port until it is served.
    pub probes: Probes,
    /// What the backend shows.
    pub samples: watch::Receiver<Arc<Sample>>,
    /// Asks for a look at the backend.
    pub observe_now: Arc<Notify>,
    /// What others ask of this task.
    pub handle: Arc<MachineHandle>,
    /// Keys that are to be added.
    pub keys: KeyOrders,
}

/// What the task remembers between steps; a restart of the node forgets it harmlessly.
struct Memory {
    acted: Instant,
    began: Instant,
    serving: Option<SocketAddr>,
    failures: u32,
    retry_at: Option<Instant>,
    /// How often the guest was told to go on since it last ran, or could not.
    resumes: u32,
    resume_at: Option<Instant>,
    /// How far the boot came that is under way, or that was the last.
    stages: Vec<Reached>,
}

impl Memory {
    /// Takes note of what is seen now.
    fn observe(&mut self, seen: &MachineView) {
        if matches!(seen, MachineView::Running(_) | MachineView::Halted { resumable: false, .. }) {
            self.resumes = 0;
            self.resume_at = None;
        }
    }
}

impl Machine {
    /// Drives the machine until its rental ended or `stop`; shuts it down then, if that was ordered. A step that
    /// `stop` cuts short is planned again at the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.drive()).await;
        if self.handle.is_stop_at_exit() {
            self.stop_for_exit().await;
        }
    }

    async fn drive(&mut self) {
        let now = Instant::now();
        // What was seen before this task began is still true: nobody else touches the machine.
        let first_sample = self.samples.borrow().asked;
        let mut memory = Memory {
            acted: first_sample,
            began: now,
            serving: None,
            failures: 0,
            retry_at: None,
            resumes: 0,
            resume_at: None,
            stages: Vec::new(),
        };
        loop {
            let Some(rental) = self.ledger.now().get(&self.id).cloned() else { return };
            if let Some(snapshot) = rental.vm.snapshot_under_way().filter(|_| rental.aim() != Goal::Deleted) {
                if let Err(error) = self.work_on(&rental, snapshot, &mut memory).await {
                    golem_service::log_limited_each!(
                        self.id,
                        error,
                        vm = self.id.redacted(),
                        error = &error as &dyn std::error::Error,
                        "what was asked of a snapshot is tried again"
                    );
                    tokio::time::sleep(self.config.restart_delay.max(SNAPSHOT_AGAIN)).await;
                }
                memory.acted = Instant::now();
                self.observe_now.notify_one();
                continue;
            }
            let situation = self.situation(&rental, &memory);
            memory.observe(&situation.seen);
            let step = plan(&situation);
            if step == Step::Rest {
                tokio::select! {
                    () = self.handle.poked() => {}
                    order = self.keys.next() => self.add_key(&rental, order).await,
                    _ = self.samples.changed() => {}
                    () = pause(memory.retry_at) => memory.retry_at = None,
                    () = pause(memory.resume_at) => memory.resume_at = None,
                }
                continue;
            }
            let result = self.perform(&step, &rental, &mut memory).await;
            memory.acted = Instant::now();
            match result {
                Ok(()) => {
                    memory.failures = 0;
                    memory.retry_at = None;
                }
                Err(StepError::Overtaken) => {}
                Err(error) => self.failed(&step, &rental, &error, &mut memory).await,
            }
            self.observe_now.notify_one();
        }
    }

    fn situation(&self, rental: &Rental, memory: &Memory) -> Situation {
        let is_over = |pause: Option<Instant>| pause.is_none_or(|at| at <= Instant::now());
        let (seen, asked) = {
            let sample = self.samples.borrow();
            (sample.seen(&self.id, memory.acted), sample.asked)
        };
        if matches!(seen, MachineView::Running(_)) {
            self.handle.forget_start(asked);
        }
        Situation {
            goal: rental.aim(),
            state: rental.vm.state,
            shown: rental.vm.error.clone(),
            has_booted: rental.has_booted,
            suspends: rental.vm.suspends,
            restart: self.handle.is_restart(),
            started: self.handle.is_start(),
            seen,
            serving: memory.serving,
            may_try: is_over(memory.retry_at),
            may_resume: is_over(memory.resume_at),
            policy: self.config.restart_policy,
        }
    }

    async fn perform(&self, step: &Step, rental: &Rental, memory: &mut Memory) -> Result<(), StepError> {
        match step {
            Step::Rest => Ok(()),
            Step::Make => self.make(rental, memory).await,
            Step::Boot => {
                self.handle.forget_start(Instant::now());
                self.boot(rental, memory).await
            }
            Step::Meet(guest) => self.meet(rental, *guest, memory).await,
            Step::Serve(guest) => self.serve(rental, *guest, memory).await,
            Step::Resume => self.resume(memory).await,
            Step::Off => self.off().await,
            Step::Stop if rental.vm.suspends => self.suspend(rental, memory).await,
            Step::Stop => self.stop(rental, memory).await,
            Step::Restart => {
                // Taken off first: a crash from here on leaves the goal `running`, which boots.
                self.handle.forget_restart();
                self.shut_down(rental, memory).await?;
                self.boot(rental, memory).await
            }
            Step::Fault(reason) => {
                golem_service::log_limited_each!(
                    (&self.id, reason),
                    warn,
                    vm = self.id.redacted(),
                    %reason,
                    "VM does not run"
                );
                self.record(Change::error(reason)).await
            }
            Step::Remove => self.remove(rental, memory).await,
        }
    }

    async fn make(&self, rental: &Rental, memory: &mut Memory) -> Result<(), StepError> {
        let vm = &rental.vm;
        golem_service::log_limited_each!(
            self.id,
            info,
            vm = self.id.redacted(),
            image = %vm.image,
            "making the machine"
        );
        memory.stages.clear();
        self.reach(rental, Stage::Disk, memory).await;
        crash_point!("before-create");
        bounded(self.backend.create(&spec(rental))).await?;
        crash_point!("created");
        self.boot(rental, memory).await
    }

    async fn boot(&self, rental: &Rental, memory: &mut Memory) -> Result<(), StepError> {
        if rental.vm.state == VmState::Running {
            golem_service::log_limited_each!(
                self.id,
                warn,
                vm = self.id.redacted(),
                "the guest ended by itself and is booted again"
            );
            if self.backend.was_ended_for_memory(&self.id) {
                let detail = "the guest's process was ended by the host for want of memory".to_owned();
                self.ledger.note(&self.id, "vm.out_of_memory", detail, Timestamp::now()).await?;
            }
        }
        self.record(Change::to(VmState::Creating)).await?;
        self.close(rental, memory).await;
        if rental.has_booted {
            memory.stages.clear();
        }
        self.reach(rental, Stage::Launch, memory).await;
        self.launch(rental).await?;
        crash_point!("started");
        self.reach(rental, Stage::Boot, memory).await;
        let guest = self.ready(rental.aim()).await?;
        self.serve(rental, guest, memory).await?;
        crash_point!("port-open");
        self.record(running(guest)).await?;
        crash_point!("running");
        Ok(())
    }

    /// Takes a guest back that is there, without touching it.
    async fn meet(&self, rental: &Rental, guest: Guest, memory: &mut Memory) -> Result<(), StepError> {
        if memory.serving == Some(guest.ssh) {
            return self.record(running(guest)).await;
        }
        memory.stages.clear();
        self.reach(rental, Stage::Boot, memory).await;
        let guest = self.ready(rental.aim()).await?;
        self.serve(rental, guest, memory).await?;
        self.record(running(guest)).await
    }

    async fn resume(&self, memory: &mut Memory) -> Result<(), StepError> {
        golem_service::log_limited_each!(
            self.id,
            info,
            vm = self.id.redacted(),
            "the cause of the guest's pause may be over, it goes on"
        );
        memory.resumes = memory.resumes.saturating_add(1);
        let pause = doubled(self.config.restart_delay, memory.resumes.saturating_sub(1), LONGEST_HALT);
        memory.resume_at = Some(Instant::now() + pause);
        Ok(bounded(self.backend.resume(&self.id)).await?)
    }

    /// Its guest is the renter's: what that says of itself is the renter's will.
    async fn off(&self) -> Result<(), StepError> {
        golem_service::log_limited_each!(
            self.id,
            info,
            vm = self.id.redacted(),
            "the guest shut itself down and stays off until it is started"
        );
        self.ledger.aim(&self.id, Goal::Stopped, Some(VmState::Stopping), Timestamp::now()).await?;
        let detail = "the guest shut itself down".to_owned();
        self.ledger.note(&self.id, "vm.powered_off", detail, Timestamp::now()).await?;
        Ok(())
    }

    /// Waits until the guest answers, it dies, its time is over, or something else is wanted.
    async fn ready(&self, goal: Goal) -> Result<Guest, StepError> {
        let deadline = self.config.boot_deadline;
        tokio::select! {
            answer = timeout(deadline, self.backend.wait_ready(&self.id)) => match answer {
                Ok(guest) => Ok(guest?),
                Err(_) => Err(StepError::NotReady(deadline)),
            },
            () = self.overtaken(goal) => Err(StepError::Overtaken),
        }
    }

    /// Ready when something else than `goal` is wanted, or a restart.
    async fn overtaken(&self, goal: Goal) {
        loop {
            self.handle.poked().await;
            let now = self.ledger.now();
            let is_wanted = now.get(&self.id).is_some_and(|rental| rental.aim() == goal);
            if !is_wanted || self.handle.is_restart() {
                return;
            }
        }
    }

    async fn serve(&self, rental: &Rental, guest: Guest, memory: &mut Memory) -> Result<(), StepError> {
        let listen = SocketAddr::new(self.config.ssh_bind, rental.vm.ssh_port);
        self.reach(rental, Stage::Port, memory).await;
        let _claim = self.probes.claim(listen.port()).await;
        self.proxy.open(listen, guest.ssh).await?;
        memory.serving = Some(guest.ssh);
        Ok(())
    }

    async fn close(&self, rental: &Rental, memory: &mut Memory) {
        self.proxy.close(rental.vm.ssh_port).await;
        memory.serving = None;
    }

    async fn stop(&self, rental: &Rental, memory: &mut Memory) -> Result<(), StepError> {
        // A stop overrides what was asked for before it.
        self.handle.forget_start(Instant::now());
        self.handle.forget_restart();
        self.shut_down(rental, memory).await?;
        crash_point!("stopped");
        self.record(Change::to(VmState::Stopped)).await
    }

    async fn shut_down(&self, rental: &Rental, memory: &mut Memory) -> Result<(), StepError> {
        if rental.vm.state.may_become(VmState::Stopping) {
            self.record(Change::to(VmState::Stopping)).await?;
        }
        self.close(rental, memory).await;
        Ok(self.end_guest().await?)
    }

    /// Has the backend shut the guest down, or kill it after the grace.
    async fn end_guest(&self) -> Result<(), BackendError> {
        let grace = self.config.stop_grace;
        let stop = self.backend.stop(&self.id, grace);
        timeout(grace + CALL_DEADLINE, stop).await.unwrap_or_else(|_| Err(silent(self.backend.name())))
    }

    async fn remove(&self, rental: &Rental, memory: &mut Memory) -> Result<(), StepError> {
        self.close(rental, memory).await;
        self.keep_unfinished(rental).await;
        crash_point!("before-delete");
        bounded(self.backend.delete(&self.id)).await?;
        crash_point!("backend-deleted");
        self.ledger.end(&self.id, Timestamp::now()).await?;
        crash_point!("ended");
        let vm = &rental.vm;
        tracing::info!(
            vm = self.id.redacted(),
            port = vm.ssh_port,
            cpu = vm.resources.cpu,
            memory_gb = vm.resources.memory,
            storage_gb = vm.resources.storage,
            "VM deleted, resources freed"
        );
        Ok(())
    }

    async fn record(&self, change: Change) -> Result<(), StepError> {
        let before = self.ledger.now().get(&self.id).map(|rental| rental.vm.state);
        let vm = self.ledger.advance(&self.id, change, Timestamp::now()).await?;
        if let Some(before) = before.filter(|before| *before != vm.state) {
            tracing::info!(vm = self.id.redacted(), from = %before, to = %vm.state, "VM state changed");
        }
        Ok(())
    }

    /// Gives a create up, or shows the error and plans another attempt after a pause.
    async fn failed(&self, step: &Step, rental: &Rental, error: &StepError, memory: &mut Memory) {
        let creating = rental.aim() == Goal::Running && !rental.has_booted;
        let late = memory.began.elapsed() >= self.config.boot_deadline;
        golem_service::log_limited_each!(
            self.id,
            error,
            vm = self.id.redacted(),
            error = error as &dyn std::error::Error,
            "a step of the VM failed"
        );
        memory.failures = memory.failures.saturating_add(1);
        let pause = doubled(self.config.restart_delay, memory.failures.saturating_sub(1), LONGEST_PAUSE);
        memory.retry_at = Some(Instant::now() + pause);
        let recorded = if creating && (late || !error.may_pass()) {
            memory.retry_at = None;
            self.keep_failure(error, &memory.stages).await;
            self.ledger.give_up(&self.id, error.public(), Timestamp::now()).await.map(drop)
        } else if rental.aim() == Goal::Running && rental.has_booted {
            if progress::is_boot(step) {
                self.keep_failure(error, &memory.stages).await;
            }
            self.ledger.advance(&self.id, Change::error(error.public()), Timestamp::now()).await.map(drop)
        } else {
            Ok(())
        };
        if let Err(error) = recorded {
            golem_service::log_limited_each!(
                self.id,
                error,
                vm = self.id.redacted(),
                error = &error as &dyn std::error::Error,
                "the failure could not be recorded"
            );
        }
    }
}

/// That `guest` answers and its port is open.
fn running(guest: Guest) -> Change {
    Change { ip_address: Some(guest.ip), has_booted: true, ..Change::to(VmState::Running) }
}

/// What the backend needs to know of a rental.
fn spec(rental: &Rental) -> MachineSpec {
    let vm = &rental.vm;
    MachineSpec {
        id: vm.id.clone(),
        name: vm.name.clone(),
        resources: vm.resources,
        image: vm.image.clone(),
        keys: vm.keys.clone(),
        first_boot: vm.first_boot.clone(),
        rebuild_at: vm.rebuild_at.map_or(0, Timestamp::as_microsecond),
    }
}

fn silent(backend: &'static str) -> BackendError {
    BackendError::Unavailable {
        backend,
        message: format!("no answer within {} s", CALL_DEADLINE.as_secs()),
        source: None,
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, BackendError>>) -> Result<T, BackendError> {
    timeout(CALL_DEADLINE, call).await.unwrap_or_else(|_| Err(silent("VM")))
}

/// Ready at `at`; never, if there is none.
async fn pause(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
