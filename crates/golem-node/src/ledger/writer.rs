//! Rentals as the ledger's thread changes them.
//!
//! Owns the one transaction in which each change and all that goes with it is written, and that it is
//! published after that. Never asks a chain or a machine.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use golem_types::wire::CreateVm;
use golem_types::{AuthorizedKey, ImageName, JobId, Resources, VmId, VmState};
use jiff::Timestamp;
use rusqlite::TransactionBehavior;

use super::columns::rounded;
use super::{LedgerError, Writer, claim, events, money, promises, refunds, rows};
use crate::admit::{AdmissionContext, admit};
use crate::paid::Paid;
use crate::ports::{self as rules, PortPolicy};
use crate::promise::Promise;
use crate::rental::{Goal, Rental};
use crate::vm::{Job, JobState, Refusal, Vm, owner_of};

/// How an edit ends the create's job, if it has not ended.
pub(super) enum JobEnd {
    Ready,
    Failed(String),
}

/// Ten bytes nobody can guess.
pub(super) fn random() -> Result<[u8; 10], LedgerError> {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).map_err(|_| LedgerError::Random)?;
    Ok(bytes)
}

/// Digest of the quote that a create named. A create that names the same quote is the same create, sent again.
pub(super) fn quote_digest(id: &str) -> String {
    alloy_primitives::keccak256(id).to_string()
}

impl Writer {
    pub(super) fn publish(&self) {
        self.published.send_replace(Arc::new(self.now.clone()));
    }

    /// Publishes `rentals`, whose rows are committed, and gives their VMs.
    pub(super) fn publish_all(&mut self, rentals: Vec<Rental>) -> Vec<Arc<Vm>> {
        let vms = rentals.iter().map(|rental| Arc::clone(&rental.vm)).collect();
        for rental in rentals {
            self.now.mirror(rental);
        }
        self.publish();
        vms
    }

    pub(super) fn reserve(
        &mut self,
        request: CreateVm,
        image: ImageName,
        paid: &Paid,
        context: &AdmissionContext,
        now: Timestamp,
    ) -> Result<Result<(Arc<Vm>, Job), Refusal>, LedgerError> {
        let now = rounded(now);
        let CreateVm { name, resources, ssh_key, more_keys, first_boot, quote_id, renter, payment, .. } =
            request;
        let owner = paid.owner().or_else(|| renter.map(owner_of)).unwrap_or_else(|| format!("key:{ssh_key}"));
        if self.is_senders_alone(paid)? {
            return Ok(Err(Refusal::SenderOnly));
        }
        if self.is_ending(paid)? {
            return Ok(Err(Refusal::StreamEnding));
        }
        if let Some(rental) = self.user_of(paid) {
            // The sender's own create again: its answer was lost.
            let is_same = paid.is_proven()
                && rental.goal != Goal::Deleted
                && (&rental.vm.name, rental.vm.keys.first()) == (&name, Some(&ssh_key));
            let job = if is_same { rows::job_of(&self.connection, &rental.vm.id)? } else { None };
            return Ok(job.map(|job| (Arc::clone(&rental.vm), job)).ok_or(Refusal::StreamUsed));
        }
        if self.now.iter().any(|rental| rental.vm.owner == owner && rental.vm.name == name) {
            return Ok(Err(Refusal::NameTaken(name)));
        }
        self.end_promises(now)?;
        let lease = payment.map(|payment| payment.lease_id);
        let own = match self.admit_renter(resources, context, renter, lease) {
            Ok(own) => own,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let ssh_port = match self.free_port(context) {
            Ok(port) => port,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let vm = Arc::new(Vm {
            id: VmId::new(&name, now, random()?),
            name,
            owner,
            state: VmState::Creating,
            error: None,
            resources,
            image,
            keys: named_keys(ssh_key, more_keys),
            first_boot,
            snapshots: Vec::new(),
            ip_address: None,
            ssh_port,
            stream: paid.key().cloned(),
            unpaid: None,
            held: false,
            suspends: false,
            rebuild_at: None,
            rebuild_due: false,
            created_at: now,
            updated_at: now,
        });
        let job = Job {
            id: JobId::new(random()?),
            vm_id: vm.id.clone(),
            state: JobState::Creating,
            error: None,
            created_at: now,
            updated_at: now,
            stages: Vec::new(),
        };
        let rental = Rental { vm: Arc::clone(&vm), goal: Goal::Running, has_booted: false };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::put(&transaction, &rental)?;
        rows::insert_job(&transaction, &job)?;
        events::put_created(&transaction, &vm, now)?;
        if let Some(own) = &own {
            promises::remove(&transaction, &own.lease)?;
        }
        if let Some(quote_id) = quote_id {
            rows::put_quote(&transaction, &vm.id, &quote_digest(&quote_id))?;
        }
        if let Some(copy) = paid.copy(&vm.id) {
            money::put_stream(&transaction, &copy)?;
            refunds::forget(&transaction, &copy.key)?;
            events::put(&transaction, &vm.id, "stream.opened", &copy.key.to_string(), now)?;
        }
        transaction.commit()?;
        if let Some(own) = own {
            self.now.promised.remove(&own.lease);
        }
        self.now.mirror(rental);
        self.publish();
        Ok(Ok((vm, job)))
    }

    /// Grants `resources` to `renter`, who pays by `lease`; gives the promise that is used up by that. What was promised for
    /// just this has its room, whatever else waits for some; another promise to the same renter is used only if it has to be.
    fn admit_renter(
        &self,
        resources: Resources,
        context: &AdmissionContext,
        renter: Option<Address>,
        lease: Option<B256>,
    ) -> Result<Option<Promise>, Refusal> {
        let facts = |own| self.now.admission(context.offer, context.host, own);
        let is_renters = |own: &&Promise| lease.is_some() && Some(own.requestor) == renter;
        let exact = lease.and_then(|lease| self.now.promised.get(&lease)).filter(is_renters);
        if let Some(own) = exact {
            admit(resources, &context.limits, &facts(Some(own)).with_room())?;
            return Ok(Some(own.clone()));
        }
        let refusal = match admit(resources, &context.limits, &facts(None)) {
            Ok(()) => return Ok(None),
            Err(refusal) => refusal,
        };
        let other = self.now.promised.values().find(is_renters).ok_or(refusal)?;
        admit(resources, &context.limits, &facts(Some(other)))?;
        Ok(Some(other.clone()))
    }

    /// The live rental that the stream pays for already that is to pay.
    fn user_of(&self, paid: &Paid) -> Option<&Rental> {
        self.now.paid_by(paid.key()?)
    }

    /// Whether the stream that is to pay is being ended, because its VM was deleted.
    fn is_ending(&self, paid: &Paid) -> Result<bool, LedgerError> {
        paid.key().map_or(Ok(false), |key| refunds::is_ending(&self.connection, key))
    }

    /// Whether only the sender may say what the stream pays, and did not.
    fn is_senders_alone(&self, paid: &Paid) -> Result<bool, LedgerError> {
        match paid.key().filter(|_| !paid.is_proven()) {
            Some(key) => claim::is_claimed(&self.connection, key),
            None => Ok(false),
        }
    }

    /// Whether `paid` may pay for `rental` from now on.
    pub(super) fn may_pay(&self, rental: &Rental, paid: &Paid) -> Result<Result<(), Refusal>, LedgerError> {
        if rental.vm.stream.as_ref() == paid.key() {
            return Ok(Ok(()));
        }
        if self.is_senders_alone(paid)? {
            return Ok(Err(Refusal::SenderOnly));
        }
        if self.is_ending(paid)? {
            return Ok(Err(Refusal::StreamEnding));
        }
        Ok(if self.user_of(paid).is_some() { Err(Refusal::StreamUsed) } else { Ok(()) })
    }

    /// Lets another stream pay for the live rental `id`.
    pub(super) fn attach(
        &mut self,
        id: &VmId,
        paid: &Paid,
        now: Timestamp,
    ) -> Result<Result<Arc<Vm>, Refusal>, LedgerError> {
        let rental = self.now.get(id).ok_or_else(|| LedgerError::NoRental(id.clone()))?;
        if let Err(refusal) = self.may_pay(rental, paid)? {
            return Ok(Err(refusal));
        }
        let mut rental = rental.clone();
        let mut vm = (*rental.vm).clone();
        vm.stream = paid.key().cloned();
        vm.unpaid = None;
        // Nothing was done yet.
        vm.suspends &= vm.state != VmState::Running;
        vm.updated_at = rounded(now);
        rental.vm = Arc::new(vm);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::put(&transaction, &rental)?;
        if let Some(copy) = paid.copy(id) {
            money::put_stream(&transaction, &copy)?;
            refunds::forget(&transaction, &copy.key)?;
            events::put(&transaction, id, "stream.attached", &copy.key.to_string(), now)?;
        }
        // What its quote keeps is for a VM that has its room.
        let promised = paid.lease().filter(|lease| self.now.promised.contains_key(lease));
        if let Some(lease) = &promised {
            promises::remove(&transaction, lease)?;
        }
        transaction.commit()?;
        if let Some(lease) = promised {
            self.now.promised.remove(&lease);
        }
        let vm = Arc::clone(&rental.vm);
        self.now.mirror(rental);
        self.publish();
        Ok(Ok(vm))
    }

    /// A free port of the range that may be handed out and that no rental holds.
    fn free_port(&self, context: &AdmissionContext) -> Result<u16, Refusal> {
        let AdmissionContext { port_policy, ports, free_ports, .. } = context;
        let offered = rules::offered(*port_policy, ports.clone(), &self.now.port_verdicts);
        let refusal = match port_policy {
            PortPolicy::Verified if offered.unverified => Refusal::Unverified,
            _ => Refusal::NoPort,
        };
        let free = free_ports.iter().copied().filter(|port| ports.contains(port));
        rules::pick(free, &self.now.ports(), &offered.blocked, &self.now.ports_last_used).ok_or(refusal)
    }

    /// Changes the live rental `id` in one transaction.
    pub(super) fn edit(
        &mut self,
        id: &VmId,
        now: Timestamp,
        change: impl FnOnce(&mut Rental, &mut Vm) -> Result<Option<JobEnd>, LedgerError>,
    ) -> Result<Arc<Vm>, LedgerError> {
        let mut rental = self.now.get(id).ok_or_else(|| LedgerError::NoRental(id.clone()))?.clone();
        let before = rental.clone();
        let mut vm = (*rental.vm).clone();
        let job_end = change(&mut rental, &mut vm)?;
        if vm == *before.vm && rental == before && job_end.is_none() {
            return Ok(before.vm);
        }
        // The machine is off: others may have what it took.
        let is_set_aside = vm.suspends && rental.goal == Goal::Stopped;
        vm.held |= (vm.unpaid.is_some() || is_set_aside) && vm.state == VmState::Stopped;
        // What was kept of its memory is taken up, or lost.
        let now_runs = vm.state == VmState::Running && before.vm.state != VmState::Running;
        vm.suspends &= !now_runs;
        vm.rebuild_due &= !now_runs;
        vm.updated_at = rounded(now);
        rental.vm = Arc::new(vm);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::put(&transaction, &rental)?;
        events::put_change(&transaction, &before.vm, &rental.vm, now)?;
        match &job_end {
            Some(JobEnd::Ready) => rows::end_job(&transaction, id, None, now)?,
            Some(JobEnd::Failed(error)) => rows::end_job(&transaction, id, Some(error), now)?,
            None => {}
        }
        transaction.commit()?;
        let vm = Arc::clone(&rental.vm);
        self.now.mirror(rental);
        self.publish();
        Ok(vm)
    }
}

/// The keys that a create names, each once.
fn named_keys(first: AuthorizedKey, more: Vec<AuthorizedKey>) -> Vec<AuthorizedKey> {
    let mut keys = vec![first];
    for key in more {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}
