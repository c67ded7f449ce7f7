//! The node: what may be asked of it, and how it is put together.
//!
//! Owns the order of start and stop, and the one task per rental. Never drives a machine itself:
//! it writes what a rental should be into the ledger and pokes the rental's task.

mod console;
mod create;
mod history;
mod host;
mod measurements;
mod orders;
mod payments;
mod ports;
mod promises;
mod rebuild;
mod resize;
mod snapshots;
mod stop;
mod supervise;
mod vm_metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use golem_files::volume_trouble;
use golem_reach::probe::Probes;
use golem_service::tasks::Tasks;
use golem_types::price::Rate;
use golem_types::{JobId, VmId, VmState};
use golem_vm::{Backend, GuestNetwork};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::boot::{FailedBoot, Reached};
use crate::config::NodeConfig;
use crate::console::{ConsoleLimits, Consoles};
use crate::error::NodeError;
use crate::ledger::{Event, Ledger, LedgerError, Snapshot};
use crate::machine::MachineHandle;
use crate::payment::{Contracts, PaymentError};
use crate::payout::PayoutLine;
use crate::proxy::{LeftOpen, Proxy, ProxyError};
use crate::reconcile::networks::{NetworkFacts, guard};
use crate::reconcile::observer::{Observer, Sample, observe};
use crate::recover::keep_notes;
use crate::rental::{Goal, Rental};
use crate::sessions::Sessions;
use crate::transactions::Transactions;
use crate::vm::{Job, Vm};

pub use host::Capacity;
use host::{HostFacts, LEAST_FREE_BYTES, measure};
pub use measurements::Used;
use supervise::adopt;
pub use vm_metrics::{HistoryRange, Lately, UnknownRange, UseNow};

/// Name of the ledger's file in the data directory, as the original's tools expect it.
pub const LEDGER_FILE: &str = "provider.db";

/// Why the node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be made.
    #[error("the data directory cannot be made")]
    DataDir(#[source] std::io::Error),
    /// The ledger cannot be opened.
    #[error("the ledger cannot be opened{}", because_of_the_disk(.0))]
    Ledger(#[from] LedgerError),
    /// The proxy cannot be started.
    #[error("the SSH proxy cannot be started")]
    Proxy(#[from] ProxyError),
    /// Payments cannot be had.
    #[error("payments cannot be had")]
    Payments(#[from] PaymentError),
    /// The host cannot be measured.
    #[error("the host cannot be measured")]
    Host(#[source] tokio::task::JoinError),
}

/// What is wrong with the disk, with the fix, if that is why.
fn because_of_the_disk(error: &LedgerError) -> String {
    error.disk_trouble().map_or_else(String::new, |trouble| {
        format!(": {trouble}; fix: see to the disk of the data directory (`df`), and start again")
    })
}

struct Inner {
    config: Arc<NodeConfig>,
    backend: Arc<Backend>,
    ledger: Ledger,
    transactions: Transactions,
    contracts: Contracts,
    sessions: Sessions,
    payout: watch::Sender<Vec<PayoutLine>>,
    proxy: Proxy,
    probes: Probes,
    /// Held while ports are tried for a create.
    port_trial: tokio::sync::Mutex<()>,
    tasks: Tasks,
    consoles: Consoles,
    /// The task of each live rental.
    machines: Mutex<BTreeMap<VmId, Arc<MachineHandle>>>,
    samples: watch::Receiver<Arc<Sample>>,
    observe_now: Arc<Notify>,
    host: watch::Receiver<HostFacts>,
    unmanaged: watch::Receiver<BTreeSet<VmId>>,
    networks: watch::Receiver<NetworkFacts>,
    counted: vm_metrics::Counted,
}

/// A handle on the running node; clones share it.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

impl Node {
    /// Opens the ledger, sees what runs, serves the ports of what does, and drives the rest to
    /// where it should be.
    ///
    /// # Errors
    /// [`StartError`]; a backend that does not answer is not one.
    pub async fn start(config: NodeConfig, backend: Backend) -> Result<Self, StartError> {
        Self::take_over(config, backend, LeftOpen::default()).await
    }

    /// As [`Self::start`], and goes on with the ports and connections that another process [left](Self::leave).
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn take_over(config: NodeConfig, backend: Backend, left: LeftOpen) -> Result<Self, StartError> {
        golem_files::private_folder(&config.data_dir).map_err(StartError::DataDir)?;
        let ledger = Ledger::open(&config.data_dir.join(LEDGER_FILE))?;
        let transactions = Transactions::new(ledger.clone());
        let payments: Vec<_> = config.payments.iter().chain(&config.more_payments).collect();
        let sessions = Sessions::load(ledger.clone(), Timestamp::now()).await?;
        let contracts = Contracts::open(&payments, &config.known_contracts, &ledger, &transactions).await?;
        let proxy = Proxy::go_on(config.proxy, left)?;
        let config = Arc::new(config);
        let backend = Arc::new(backend);
        let tasks = Tasks::new();

        backend.register_adopted(ledger.backend_names().await?);
        backend.tidy();
        let first = observe(&backend).await;
        adopt(&config, &ledger, &proxy, &first).await?;
        let (sender, samples) = watch::channel(Arc::new(first));
        let (unmanaged_sender, unmanaged) = watch::channel(BTreeSet::new());
        let (networks_sender, networks) = watch::channel(NetworkFacts::default());
        let host = measure(&config, backend.overhead(), &tasks).await.map_err(StartError::Host)?;
        let observe_now = Arc::new(Notify::new());
        let consoles =
            Consoles::new(ConsoleLimits::default(), Arc::clone(&backend), ledger.clone(), tasks.clone());
        let node = Self(Arc::new(Inner {
            config,
            backend,
            ledger,
            transactions,
            contracts,
            sessions,
            payout: watch::channel(Vec::new()).0,
            proxy,
            probes: Probes::default(),
            port_trial: tokio::sync::Mutex::default(),
            consoles,
            tasks,
            machines: Mutex::default(),
            samples,
            observe_now,
            host,
            unmanaged,
            networks,
            counted: vm_metrics::Counted::default(),
        }));
        let (backend, stop) = (Arc::clone(&node.0.backend), node.0.tasks.stopping().clone());
        node.0.tasks.spawn("networks", guard(backend, networks_sender, stop));
        node.supervise();
        let observer = Observer {
            backend: Arc::clone(&node.0.backend),
            ledger: node.0.ledger.clone(),
            interval: node.0.config.watch_interval,
            wanted: Arc::clone(&node.0.observe_now),
            samples: sender,
            unmanaged: unmanaged_sender,
        };
        let stop = node.0.tasks.stopping().clone();
        let supervised = node.clone();
        node.0.tasks.spawn("watch", observer.run(stop, move || supervised.supervise()));
        node.0.observe_now.notify_one();
        let stop = node.0.tasks.stopping().clone();
        let (backend, changes) = (Arc::clone(&node.0.backend), node.changes());
        node.0.tasks.spawn("rental notes", keep_notes(backend, changes, stop));
        let stop = node.0.tasks.stopping().clone();
        node.0.tasks.spawn("history", history::run(node.clone(), stop));
        let stop = node.0.tasks.stopping().clone();
        node.0.tasks.spawn("measurements", measurements::run(node.clone(), stop));
        node.0.tasks.spawn("transactions", node.0.transactions.clone().run(node.0.tasks.stopping().clone()));
        let stop = node.0.tasks.stopping().clone();
        node.0.tasks.spawn("promises of quotes", promises::run(node.0.ledger.clone(), stop));
        node.0.tasks.spawn("consoles", node.0.consoles.clone().mend());
        node.follow_payments();
        Ok(node)
    }

    /// Records that something happened to the VM `id`.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn note(&self, id: &VmId, kind: &'static str, detail: String) -> Result<(), NodeError> {
        Ok(self.0.ledger.note(id, kind, detail, Timestamp::now()).await?)
    }

    /// The ledger.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The rate of `coin` that was believed last.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn rate(&self, coin: &str) -> Result<Option<Rate>, NodeError> {
        Ok(self.0.ledger.rate(coin).await?)
    }

    /// Keeps `rate` as the one of `coin` that was believed last.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn keep_rate(&self, coin: &str, rate: Rate) -> Result<(), NodeError> {
        Ok(self.0.ledger.keep_rate(coin, rate).await?)
    }

    /// The last `limit` events, newest first: those of the VM `id`, or all.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn events(&self, id: Option<VmId>, limit: u32) -> Result<Vec<Event>, NodeError> {
        Ok(self.0.ledger.events(id, limit).await?)
    }

    /// The last `limit` events of the VM `id` that are of these `kinds`, newest first.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn events_of_kinds(
        &self,
        id: &VmId,
        kinds: &'static [&'static str],
        limit: u32,
    ) -> Result<Vec<Event>, NodeError> {
        Ok(self.0.ledger.events_of_kinds(id.clone(), kinds, limit).await?)
    }

    /// When each stage of the last boot of the VM `id` was reached, oldest first; nothing where that is not known.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn last_boot(&self, id: &VmId) -> Result<Vec<Reached>, NodeError> {
        Ok(self.0.ledger.last_boot(id.clone()).await?)
    }

    /// Waits until the VM `id` is neither being made, booted nor shut down.
    ///
    /// # Errors
    /// [`NodeError::NotFound`] when it never was or ended well; [`NodeError::Ledger`].
    pub async fn settled(&self, id: &VmId) -> Result<Arc<Vm>, NodeError> {
        let mut changes = self.0.ledger.changes();
        let stopping = self.0.tasks.stopping();
        loop {
            let settled = match changes.borrow_and_update().get(id) {
                Some(rental) => !matches!(rental.vm.state, VmState::Creating | VmState::Stopping),
                None => true,
            };
            if settled {
                return self.vm(id).await;
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| NodeError::ShuttingDown)?,
                () = stopping.cancelled() => return Err(NodeError::ShuttingDown),
            }
        }
    }

    /// The VM `id`: live, or one whose create failed (in state `error`, so that its renter can
    /// read why).
    ///
    /// # Errors
    /// [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn vm(&self, id: &VmId) -> Result<Arc<Vm>, NodeError> {
        if let Some(rental) = self.0.ledger.now().get(id) {
            return Ok(Arc::clone(&rental.vm));
        }
        match self.0.ledger.rental(id).await? {
            Some(rental) if !rental.has_booted && rental.vm.error.is_some() => {
                Ok(Arc::new(Vm { state: VmState::Error, ..(*rental.vm).clone() }))
            }
            _ => Err(not_found(id)),
        }
    }

    /// Every live VM, oldest first.
    #[must_use]
    pub fn vms(&self) -> Vec<Arc<Vm>> {
        let mut vms: Vec<_> = self.0.ledger.now().iter().map(|rental| Arc::clone(&rental.vm)).collect();
        vms.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        vms
    }

    /// The job `id`.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>, NodeError> {
        Ok(self.0.ledger.job(id).await?)
    }

    /// What failed boots left of the VMs that `which` names: one VM's id, the id of its create's job, or its
    /// name; newest first, and no more than two. Nothing is left of one after a day.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn failed_boots(&self, which: &str) -> Result<Vec<FailedBoot>, NodeError> {
        Ok(self.0.ledger.failed_boots(which, Timestamp::now()).await?)
    }

    /// Who acts as which wallet.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The node's tasks, which end with it.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// What was decided for this node.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.0.config
    }

    /// The backend that the machines run on.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Whether the backend answered when it was last asked.
    #[must_use]
    pub fn backend_answers(&self) -> bool {
        self.0.samples.borrow().machines.is_some()
    }

    /// What is wrong with the disk that holds ledger and machines, so that nothing new can be taken.
    pub async fn disk_trouble(&self) -> Option<&'static str> {
        self.disk_trouble_of(&self.0.config.default_image).await
    }

    /// As [`Self::disk_trouble`], for machines that are made from `image`.
    async fn disk_trouble_of(&self, image: &golem_types::ImageName) -> Option<&'static str> {
        let (folder, backend) = (self.0.config.data_dir.clone(), Arc::clone(&self.0.backend));
        let image = image.clone();
        let look = move || volume_trouble(&folder, LEAST_FREE_BYTES).or_else(|| backend.disk_trouble(&image));
        match tokio::task::spawn_blocking(look).await.ok().flatten() {
            Some(trouble) => Some(trouble),
            None => self.0.ledger.trouble().await,
        }
    }

    /// Machines on the backend that the ledger never knew; never touched.
    #[must_use]
    pub fn unmanaged(&self) -> BTreeSet<VmId> {
        self.0.unmanaged.borrow().clone()
    }

    /// How the running guest is connected, as seen within the last seconds; `None` if it does not run, or
    /// its backend sees to that itself.
    #[must_use]
    pub fn network(&self, id: &VmId) -> Option<GuestNetwork> {
        self.0.networks.borrow().guests.get(id).cloned()
    }

    /// Why a guest that is launched now would not reach the internet, with the fix.
    #[must_use]
    pub fn network_problem(&self) -> Option<String> {
        self.0.networks.borrow().problem.clone()
    }

    /// Whether no new rentals are taken.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.0.ledger.now().draining
    }

    /// Takes no new rentals, or takes them again; survives a restart.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn set_draining(&self, draining: bool) -> Result<(), NodeError> {
        self.0.ledger.set_draining(draining).await?;
        tracing::info!(draining, "draining changed");
        Ok(())
    }

    /// Tells of every change of a rental.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.ledger.changes()
    }

    /// Ready when a task of the node has panicked.
    pub async fn failed(&self) {
        self.0.tasks.failed().await;
    }

    /// The live rental `id`, unless it is on its way to deletion.
    fn live(&self, id: &VmId) -> Result<Rental, NodeError> {
        let now = self.0.ledger.now();
        now.get(id).filter(|rental| rental.goal != Goal::Deleted).cloned().ok_or_else(|| not_found(id))
    }

    /// The state of the live rental `id`, if it is paid for.
    fn paid_for(&self, id: &VmId) -> Result<VmState, NodeError> {
        let rental = self.live(id)?;
        match &rental.vm.unpaid {
            Some(unpaid) => Err(NodeError::Unpaid(unpaid.reason.clone())),
            None => Ok(rental.vm.state),
        }
    }

    fn poke(&self, id: &VmId) {
        if let Some(machine) = self.machine(id) {
            machine.poke();
        }
    }

    fn machine(&self, id: &VmId) -> Option<Arc<MachineHandle>> {
        self.0.machines.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    async fn aim(&self, id: &VmId, goal: Goal, state: Option<VmState>) -> Result<Arc<Vm>, NodeError> {
        let aimed = self.0.ledger.aim(id, goal, state, Timestamp::now()).await;
        let vm = aimed.map_err(|error| lost(id, error))?;
        self.poke(id);
        Ok(vm)
    }
}

/// What the ledger's error about the rental `id` means to a caller.
fn lost(id: &VmId, error: LedgerError) -> NodeError {
    match error {
        LedgerError::NoRental(_) => not_found(id),
        error => NodeError::Ledger(error),
    }
}

fn not_found(id: &VmId) -> NodeError {
    NodeError::NotFound(id.to_string())
}
