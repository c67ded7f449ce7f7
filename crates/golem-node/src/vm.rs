//! A rental as the outside sees it, the job that makes it, and why a create is refused.
//!
//! Owns the words between the node and its edges (HTTP, CLI). Never does anything.

use std::net::IpAddr;
use std::str::FromStr;

use alloy_primitives::Address;
use golem_chain::stream_proof::BadProof;
use golem_chain::{Bad, BadQuote};
use golem_types::{
    AuthorizedKey, DiskSnapshot, FirstBoot, ImageName, JobId, Resources, SnapshotName, StreamKey, VmId,
    VmName, VmState, VmStatus,
};
use jiff::Timestamp;

use crate::boot::{Reached, Stage};

/// One rental, as the ledger holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// Unguessable id.
    pub id: VmId,
    /// What the renter calls it.
    pub name: VmName,
    /// Who it belongs to: `eth:<address>` of the stream's sender, `key:<fingerprint>` where
    /// payments are off.
    pub owner: String,
    /// Where it stands.
    pub state: VmState,
    /// Why it stands there, where that needs saying.
    pub error: Option<String>,
    /// What it was sold.
    pub resources: Resources,
    /// Catalogue name of its image.
    pub image: ImageName,
    /// Keys that may log in.
    pub keys: Vec<AuthorizedKey>,
    /// What its renter wanted of its first boot; never shown, because it may hold secrets.
    pub first_boot: FirstBoot,
    /// Snapshots of its disk, oldest first.
    pub snapshots: Vec<DiskSnapshot>,
    /// The guest's private address, known once it has run.
    pub ip_address: Option<IpAddr>,
    /// The public port that leads to its SSH server; taken with the reservation.
    pub ssh_port: u16,
    /// The stream that pays for it; `None` if payments are off.
    pub stream: Option<StreamKey>,
    /// That it is not paid for, and is therefore kept stopped.
    pub unpaid: Option<Unpaid>,
    /// Whether its CPU and memory were given back, because it was stopped for want of payment. Disk, name and port stay
    /// its own. Once it is paid for again, it waits for room.
    pub held: bool,
    /// Whether what is in its guest's memory is kept on disk, or is to be, while it does not run.
    pub suspends: bool,
    /// When its renter ordered last that its disk be made anew.
    pub rebuild_at: Option<Timestamp>,
    /// Whether it has not run since.
    pub rebuild_due: bool,
    /// When it was reserved.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
}

/// That a rental is not paid for. The two clocks are never compared with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpaid {
    /// Since when, by this machine's clock; its disk is held for a while from then on.
    pub since: Timestamp,
    /// The chain's time then, in seconds since the epoch; `None` if an older version recorded it.
    pub chain_time: Option<u64>,
    /// Why, for its renter.
    pub reason: String,
}

/// The wallet `renter` as the ledger writes an owner.
#[must_use]
pub fn owner_of(renter: Address) -> String {
    format!("eth:{renter:#x}")
}

impl Vm {
    /// How it stands, as those read it who know of suspended VMs.
    #[must_use]
    pub fn status(&self) -> VmStatus {
        match self.state {
            VmState::Stopping if self.suspends => VmStatus::Suspending,
            VmState::Stopped if self.suspends => VmStatus::Suspended,
            state => state.into(),
        }
    }

    /// Whether it is suspended, or about to be.
    #[must_use]
    pub const fn is_suspended(&self) -> bool {
        self.suspends && matches!(self.state, VmState::Stopping | VmState::Stopped)
    }

    /// Storage that it takes of what is rented out, in GiB: its disk, as much again for every snapshot, because each part of
    /// the disk may be written anew after it, and as much as its memory where that is kept.
    #[must_use]
    pub fn storage_held(&self) -> u32 {
        let snapshots = self.snapshots.iter().filter(|snapshot| snapshot.takes_room()).count();
        let disks = u32::try_from(snapshots).unwrap_or(u32::MAX).saturating_add(1);
        let memory = if self.suspends { self.resources.memory } else { 0 };
        self.resources.storage.saturating_mul(disks).saturating_add(memory)
    }

    /// Whether its disk may be kept or given back as it is: no memory belongs to it, and it is not about to be made anew.
    #[must_use]
    pub const fn may_change_disk(&self) -> bool {
        !self.suspends && !self.rebuild_due
    }

    /// The first of its snapshots with which something is to be done.
    #[must_use]
    pub fn snapshot_under_way(&self) -> Option<&DiskSnapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.is_under_way())
    }

    /// Its snapshot `name`.
    #[must_use]
    pub fn snapshot(&self, name: &SnapshotName) -> Option<&DiskSnapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.name == *name)
    }

    /// Why it does not run, for its renter.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        let unpaid = self.unpaid.as_ref().map(|unpaid| unpaid.reason.as_str());
        let waits = "it is paid for again, and starts as soon as the provider has room for it";
        self.error.as_deref().or(unpaid).or_else(|| (self.held && !self.suspends).then_some(waits))
    }
}

/// Where an asynchronous create stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Still being made.
    Creating,
    /// The VM ran.
    Ready,
    /// The VM was not made; the job says why.
    Failed,
}

impl JobState {
    const ALL: [Self; 3] = [Self::Creating, Self::Ready, Self::Failed];

    /// The state as clients read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// A text that names no job state.
#[derive(Debug, thiserror::Error)]
#[error("no job state is called {0:?}")]
pub struct UnknownJobState(String);

impl FromStr for JobState {
    type Err = UnknownJobState;

    fn from_str(text: &str) -> Result<Self, UnknownJobState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownJobState(text.to_owned()))
    }
}

/// An asynchronous create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    /// The VM it makes.
    pub vm_id: VmId,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The stages that its task has reached, oldest first.
    pub stages: Vec<Reached>,
}

impl Job {
    /// The stages from the reservation to now, or to its end.
    #[must_use]
    pub fn reached(&self) -> Vec<Reached> {
        let mut all = vec![Reached { stage: Stage::Reserved, at: self.created_at }];
        all.extend(&self.stages);
        if self.state == JobState::Ready {
            all.push(Reached { stage: Stage::Running, at: self.updated_at });
        }
        all
    }
}

/// Which resource was short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortResource {
    /// Virtual CPUs.
    Cpu,
    /// Memory.
    Memory,
    /// Storage.
    Storage,
}

/// Why a create was refused. The text is shown to the renter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing can be written.
    #[error("{0}; try again later")]
    Disk(&'static str),
    /// The operator takes no new rentals.
    #[error("provider is draining and takes no new rentals")]
    Draining,
    /// Rentals are paid with real money, and guests would run on translation.
    #[error("provider takes no new rentals: its machine offers no hardware virtualization")]
    NotIsolated,
    /// `GOLEM_PROVIDER_MAX_VMS` rentals exist.
    #[error("provider is at capacity: {maximum} of {maximum} VMs are rented")]
    TooManyVms {
        /// The limit.
        maximum: u32,
    },
    /// Less was asked for than the operator rents out.
    #[error("at least {minimum} {unit} must be requested")]
    BelowMinimum {
        /// Which resource.
        what: ShortResource,
        /// The operator's minimum.
        minimum: u32,
        /// "CPU cores", "GB of memory" or "GB of storage".
        unit: &'static str,
    },
    /// The ledger has no room.
    #[error(
        "Insufficient resources available on provider: capacity left is {free} {unit}, {wanted} requested"
    )]
    Insufficient {
        /// Which resource.
        what: ShortResource,
        /// What was asked for.
        wanted: u32,
        /// What is free.
        free: u32,
        /// "CPU cores", "GB of memory" or "GB of storage".
        unit: &'static str,
    },
    /// The host is busier than the operator allows.
    #[error(
        "provider is over its {unit} threshold: {used} % in use, {threshold} % allowed; capacity is protected"
    )]
    OverThreshold {
        /// Which resource.
        what: ShortResource,
        /// Percent in use.
        used: u8,
        /// Percent allowed.
        threshold: u8,
        /// "CPU", "memory" or "storage".
        unit: &'static str,
    },
    /// Every port of the range is taken.
    #[error("no SSH port is free: capacity of the port range is exhausted")]
    NoPort,
    /// No SSH port is known to be reachable.
    #[error(
        "no SSH port of this provider has been seen to be reachable from outside yet, so that a VM could not be \
         used; try again later (its operator: golem-provider ports check)"
    )]
    Unverified,
    /// The caller has a live VM of this name.
    #[error("a VM named {0} already exists")]
    NameTaken(VmName),
    /// Not in the catalogue, or not on this host yet.
    #[error("image {0} is not available on this provider")]
    NoSuchImage(ImageName),
    /// Its backend makes guests from a configuration of its own.
    #[error("this provider takes no user_data: leave it out, and set the VM up over SSH")]
    NoUserData,
    /// Something else is under way with the VM.
    #[error("something else is under way with the VM; ask again when it is done")]
    Busy,
    /// What would be lost with the disk.
    #[error("the VM has snapshots, which are within its disk; delete them first")]
    HasSnapshots,
    /// VMs keep what they were made with.
    #[error("this provider neither resizes nor rebuilds VMs")]
    NoResizing,
    /// What is on a disk that is made smaller would be lost.
    #[error("a disk can only grow: the VM has {now} GB")]
    Shrinks {
        /// GiB.
        now: u32,
    },
    /// Guests' memory cannot be kept.
    #[error("this provider does not suspend VMs")]
    NoSuspending,
    /// No snapshots can be had.
    #[error("this provider offers no snapshots")]
    NoSnapshots,
    /// A snapshot of that name is there.
    #[error("the VM has a snapshot called {0} already")]
    SnapshotTaken(SnapshotName),
    /// No snapshot of that name is there.
    #[error("the VM has no snapshot called {0}")]
    NoSnapshot(SnapshotName),
    /// Another is asked for while something is done with one.
    #[error("snapshot {0} is under way; ask again when it is done")]
    SnapshotBusy(SnapshotName),
    /// As many as one VM may have.
    #[error("the VM has {maximum} snapshots, which is the most here; delete one first")]
    TooManySnapshots {
        /// The limit.
        maximum: u32,
    },
    /// Nothing runs unpaid here.
    #[error("stream_id required when payments are enabled")]
    StreamRequired,
    /// The contract takes leases, and none was named.
    #[error(
        "this provider is paid by leases: ask for one (POST /api/v1/payments/lease-quotes), open its stream, and name it as \
         payment"
    )]
    LeaseRequired,
    /// No contract that is used here takes leases.
    #[error("this provider takes no leases; open a stream of its price, and name it as stream_id")]
    NoLeases,
    /// A create would not be granted on it.
    #[error("duration_seconds must be at least {least}: a VM is rented for no less")]
    ShortLease {
        /// Seconds.
        least: u64,
    },
    /// Only a wallet that has proven itself may use its lease.
    #[error(
        "a VM that a lease pays for needs a session of the wallet that pays (POST /api/v1/auth/requestor-sessions)"
    )]
    SessionRequired,
    /// The stream does not pay for it.
    #[error("invalid stream: {0}")]
    Stream(Bad),
    /// The same, where it could be a stream of several networks, which are named.
    #[error("invalid stream: {0} (looked for on {1})")]
    StreamOn(Bad, String),
    /// The quote that it names is none to be held to.
    #[error("invalid quote: {0}")]
    Quote(BadQuote),
    /// The stream pays for another rental.
    #[error("invalid stream: already used by another VM")]
    StreamUsed,
    /// It is being ended.
    #[error("invalid stream: it is being ended, because its VM was deleted")]
    StreamEnding,
    /// Its sender has said by a signature what the stream is to pay, and so has to for anything else.
    #[error(
        "invalid stream: its sender has signed for what it pays; this needs the sender's stream_proof, too"
    )]
    SenderOnly,
    /// What is to be the sender's word is not.
    #[error("invalid stream_proof: {0}")]
    Proof(BadProof),
}

impl Refusal {
    /// Whether there is no stream of that number for the node, as far as the contract that was looked at goes.
    pub(crate) const fn is_of_no_stream_here(&self) -> bool {
        matches!(self, Self::Stream(Bad::Recipient) | Self::Quote(_))
    }
}
