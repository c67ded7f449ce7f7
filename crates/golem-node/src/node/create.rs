//! A create: what is asked for becomes a reservation, or is refused at once.
//!
//! ```text
//!   CreateVm ─► stream judged ─► ports tried ─► one transaction: capacity, name, stream, port ─► Rental
//!                                     ▲                         │
//!                                     └── every port of those is gone since
//! ```
//! Owns the order, and trying whether a port is free: before the transaction, so that no write waits for a socket.
//! Never makes a machine: the rental's own task does.

use std::collections::BTreeSet;
use std::sync::Arc;

use golem_chain::stream_proof::StreamUse;
use golem_types::wire::CreateVm;
use golem_types::{ImageName, Resources};
use jiff::Timestamp;

use super::Node;
use super::payments::AskedBy;
use crate::admit::{AdmissionContext, admit};
use crate::crash::crash_point;
use crate::error::NodeError;
use crate::ledger::{ClaimedUse, Snapshot};
use crate::paid::Paid;
use crate::payment::Leased;
use crate::ports::{offered, pick};
use crate::promise::Promise;
use crate::vm::{Job, Refusal, Vm};

/// How many free ports a reservation may choose from: one would do, if nothing ever changed in between.
const CANDIDATES: usize = 4;

impl Node {
    /// Reserves what is asked for, or refuses at once; the machine is made by its own task.
    ///
    /// # Errors
    /// [`NodeError::Refused`], [`NodeError::Ledger`], [`NodeError::ShuttingDown`].
    pub async fn create(&self, request: CreateVm) -> Result<(Arc<Vm>, Job), NodeError> {
        let inner = &self.0;
        if inner.tasks.stopping().is_cancelled() {
            return Err(NodeError::ShuttingDown);
        }
        if let (Some(stream), Some(quote)) = (request.stream_id, &request.quote_id) {
            for payments in inner.contracts.all_without_leases() {
                // The same create again: its answer was lost. Only who made it knows the quote's id.
                let key = payments.key(stream);
                if let Some(created) = inner.ledger.created(request.name.clone(), key, quote).await? {
                    return Ok(created);
                }
            }
        }
        if let (Some(renter), Some(stream)) = (request.renter, request.stream()) {
            // The same create again, or of a stream that pays already.
            if let Some(created) = inner.ledger.created_by(renter, stream, request.name.clone()).await? {
                return Ok(created);
            }
        }
        if request.first_boot.user_data.is_some() && !inner.backend.takes_user_data() {
            return Err(Refusal::NoUserData.into());
        }
        let image = self.image_of(request.image.as_ref())?;
        if let Some(trouble) = self.disk_trouble_of(&image).await {
            return Err(Refusal::Disk(trouble).into());
        }
        let (name, key) = (&request.name, &request.ssh_key);
        let paid = self.judge_payment(&request, &image).await?;
        self.claim(&paid, ClaimedUse::Create(name.clone(), key.clone())).await?;
        crash_point!("before-reserve");
        let (probes, bind) = (inner.probes.clone(), inner.config.ssh_bind);
        // A listener of ours may come or go while the port is tried.
        let is_free =
            |port| probes.is_ours(port) || golem_reach::probe::is_free(bind, port) || probes.is_ours(port);
        let reserved = self.reserve(request, image, &paid, is_free).await?;
        crash_point!("reserved");
        match reserved {
            Ok((vm, job)) => {
                tracing::info!(
                    vm = vm.id.redacted(),
                    port = vm.ssh_port,
                    cpu = vm.resources.cpu,
                    memory_gb = vm.resources.memory,
                    storage_gb = vm.resources.storage,
                    "VM reserved, resources allocated"
                );
                self.remember(&paid, &vm.id);
                self.supervise();
                Ok((vm, job))
            }
            Err(refusal) => {
                golem_service::log_limited!(info, %refusal, "create refused");
                Err(refusal.into())
            }
        }
    }

    async fn judge_payment(&self, request: &CreateVm, image: &ImageName) -> Result<Paid, NodeError> {
        let CreateVm { name, resources, renter, .. } = request;
        if let Some(payment) = request.payment.filter(|_| !self.0.contracts.offered().is_empty()) {
            let renter = renter.ok_or(Refusal::SessionRequired)?;
            return self.gate_lease(&payment, Leased { renter, name, image, resources: *resources }).await;
        }
        let wanted = StreamUse::Create { name: name.as_str(), ssh_key: request.ssh_key.as_str() };
        let asked = AskedBy { renter: *renter, proof: request.stream_proof.as_deref(), wanted };
        self.gate(request.stream_id, *resources, request.quote_id.as_deref(), asked).await
    }

    /// The image of what asks for `image`, if new rentals are taken and it is there.
    pub(super) fn image_of(&self, image: Option<&ImageName>) -> Result<ImageName, NodeError> {
        let Node(inner) = self;
        if let Some(closed) = &inner.config.closed {
            return Err(closed.clone().into());
        }
        let image = image.unwrap_or(&inner.config.default_image);
        if inner.backend.has_image(image) {
            Ok(image.clone())
        } else {
            Err(Refusal::NoSuchImage(image.clone()).into())
        }
    }

    /// Whether a VM of `resources` would be granted now, as far as room goes, in place of what is `promised`.
    pub(super) fn admits(&self, resources: Resources, promised: Option<&Promise>) -> Result<(), NodeError> {
        let Node(inner) = self;
        let host = *inner.host.borrow();
        let facts = inner.ledger.now().admission(host.offer, host.used, promised);
        Ok(admit(resources, &inner.config.limits, &facts)?)
    }

    /// Takes everything that the VM needs, with a port that `is_free`.
    async fn reserve(
        &self,
        request: CreateVm,
        image: ImageName,
        paid: &Paid,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<Result<(Arc<Vm>, Job), Refusal>, NodeError> {
        let Node(inner) = self;
        let config = &inner.config;
        let mut busy = BTreeSet::new();
        loop {
            // Two tries of one port at the same time would take each other for another program's listener.
            let one_at_a_time = inner.port_trial.lock().await;
            let free_ports = self.free_ports(&inner.ledger.now(), &is_free, &mut busy);
            let none_is_left = free_ports.is_empty();
            let host = *inner.host.borrow();
            let context = AdmissionContext {
                limits: config.limits,
                offer: host.offer,
                host: host.used,
                ports: config.ports.clone(),
                port_policy: config.port_policy,
                free_ports,
            };
            let (request, image, paid) = (request.clone(), image.clone(), paid.clone());
            let reserved = inner.ledger.reserve(request, image, paid, context, Timestamp::now()).await?;
            drop(one_at_a_time);
            match reserved {
                // What was free is not to be had any more: others may be.
                Err(Refusal::NoPort | Refusal::Unverified) if !none_is_left => {}
                reserved => return Ok(reserved),
            }
        }
    }

    /// The ports that a rental would get first, if nothing else listens there, as `now` knows them. Adds to `busy`
    /// where something does.
    fn free_ports(
        &self,
        now: &Snapshot,
        is_free: impl Fn(u16) -> bool,
        busy: &mut BTreeSet<u16>,
    ) -> BTreeSet<u16> {
        let config = &self.0.config;
        let blocked = offered(config.port_policy, config.ports.clone(), &now.port_verdicts).blocked;
        let mut out = now.ports();
        out.extend(&*busy);
        let mut free = BTreeSet::new();
        while free.len() < CANDIDATES
            && let Some(port) = pick(config.ports.clone(), &out, &blocked, &now.ports_last_used)
        {
            out.insert(port);
            if is_free(port) {
                free.insert(port);
            } else {
                busy.insert(port);
            }
        }
        free
    }
}

#[cfg(test)]
mod tests;
