//! The node's rentals and the streams that pay for them.
//!
//! Owns what a create and a renter may ask about payment. Never judges a stream: `payment` does.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use futures_util::future::join_all;
use golem_chain::Bad;
use golem_chain::stream_proof::StreamUse;
use golem_types::net::Source;
use golem_types::wire::{AttachStream, LeasePayment, LeaseRequest};
use golem_types::{ImageName, Resources, StreamId, StreamKey, VmId};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Node, lost};
use crate::crash::crash_point;
use crate::error::NodeError;
use crate::ledger::{ClaimedUse, Sweep};
use crate::paid::Paid;
use crate::payment::{self, Contracts, Leased, Payments, RentalControl, SignedLease, StreamStatus};
use crate::payout::{self, PayoutLine};
use crate::transactions::Transactions;
use crate::vm::{Refusal, Vm};

/// Who says that a stream is to pay, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedBy<'a> {
    /// The wallet of the session, if there is one.
    pub(super) renter: Option<Address>,
    /// The signature of the stream's sender, if there is one.
    pub(super) proof: Option<&'a str>,
    /// What the stream is to pay.
    pub(super) wanted: StreamUse<'a>,
}

/// How long the sender of a stream waits for the VM to be removed that somebody else made with it.
const REMOVAL: Duration = Duration::from_secs(60);

impl Node {
    /// Starts what follows the streams.
    pub(super) fn follow_payments(&self) {
        let tasks = &self.0.tasks;
        let stop = || tasks.stopping().clone();
        if self.0.contracts.all().is_empty() {
            return;
        }
        let folder = self.0.config.data_dir.clone();
        let (sender, contracts) = (self.0.payout.clone(), self.0.contracts.clone());
        tasks.spawn(
            "payout",
            payout::run(self.0.config.payout, contracts, self.0.ledger.clone(), sender, stop()),
        );
        tasks.spawn("streams export", payment::export(self.changes(), folder, stop()));
        let can_suspend = self.0.backend.can_suspend();
        for payments in self.0.contracts.all() {
            let name = &payments.config().name;
            if payments.config().monitor {
                let node = self.clone();
                let host = self.clone();
                let control = RentalControl::new(
                    self.0.ledger.clone(),
                    move |id| node.poke(id),
                    move || host.room(),
                    can_suspend,
                );
                let daily = payment::check_daily(payments.clone(), stop());
                tasks.spawn(format!("daily check of the books of {name}"), daily);
                tasks.spawn(format!("books of {name}"), payment::catch_up(payments.clone(), stop()));
                tasks.spawn(
                    format!("stream monitor of {name}"),
                    payment::monitor(payments.clone(), control, stop()),
                );
            }
            tasks.spawn(format!("payment contract of {name}"), payments.clone().tell_contract(stop()));
            tasks.spawn(format!("withdrawals of {name}"), payment::withdrawals(payments.clone(), stop()));
            tasks.spawn(format!("refunds of {name}"), payment::refunds(payments.clone(), stop()));
        }
    }

    /// The verdict on the payment of a create, by a stream of the advertised price or a quote's, as it was `asked` for. A
    /// create cannot say on which network its stream is: it is looked for on each that takes such streams.
    pub(super) async fn gate(
        &self,
        stream: Option<StreamId>,
        resources: Resources,
        quote: Option<&str>,
        asked: AskedBy<'_>,
    ) -> Result<Paid, NodeError> {
        let contracts = &self.0.contracts;
        let stream = match (contracts.without_leases(), stream) {
            (None, _) if contracts.offered().is_empty() => return Ok(Paid::free()),
            (None, _) => return Err(Refusal::LeaseRequired.into()),
            (Some(_), None) => return Err(Refusal::StreamRequired.into()),
            (Some(_), Some(stream)) => stream,
        };
        let judge = async |payments: &Payments| {
            let paid = payments.judge(stream, resources, quote).await?.of_session(asked.renter)?;
            if paid.is_proven() { Ok(paid) } else { payments.prove(paid, asked.proof, asked.wanted) }
        };
        let networks: Vec<&str> =
            contracts.all_without_leases().map(|payments| &*payments.config().name).collect();
        let verdicts = join_all(contracts.all_without_leases().map(judge)).await;
        let now = self.0.ledger.now();
        one_of(verdicts, &networks, |key| now.paid_by(key).is_some())
    }

    /// The verdict on the lease that is to pay for `leased`.
    pub(super) async fn gate_lease(
        &self,
        payment: &LeasePayment,
        leased: Leased<'_>,
    ) -> Result<Paid, NodeError> {
        let offered = self.0.contracts.offered();
        if !offered.iter().any(Payments::takes_leases) {
            return Err(Refusal::NoLeases.into());
        }
        let of = offered.iter().find(|payments| payments.is_lease_of(payment, leased));
        of.ok_or(Refusal::Stream(Bad::Terms))?.judge_lease(payment, leased.renter).await
    }

    /// The price of what `request`, which comes from `source`, asks for, signed. Refused where a create would be, so that
    /// nobody pays in vain. Capacity is kept for it where the operator wants that and its source is known.
    ///
    /// # Errors
    /// [`NodeError::PaymentsOff`], [`NodeError::Refused`], [`NodeError::Ledger`], and those of [`Payments::lease`].
    pub async fn lease(
        &self,
        request: &LeaseRequest,
        source: Option<Source>,
    ) -> Result<SignedLease, NodeError> {
        let inner = &self.0;
        if inner.contracts.offered().is_empty() {
            return Err(NodeError::PaymentsOff);
        }
        let is_it = |payments: &&Payments| {
            payments.takes_leases()
                && request.network.as_ref().is_none_or(|name| *name == payments.config().name)
        };
        let payments = inner.contracts.offered().iter().find(is_it).ok_or(Refusal::NoLeases)?;
        let image = self.image_of(request.image.as_ref())?;
        let before = source.and_then(|source| self.promised(request.requestor, source));
        self.admits(request.resources, before.as_ref())?;
        let lease = payments.lease(request, &image, Timestamp::now())?;
        let reserved = match source {
            Some(source) => self.promise(&lease, request, source).await?,
            None => false,
        };
        Ok(SignedLease { reserved, ..lease })
    }

    /// Makes the stream of `paid` its sender's alone from now on, if its sender said what it is to pay: a VM that somebody
    /// else made with it is removed first.
    pub(super) async fn claim(&self, paid: &Paid, claimed: ClaimedUse) -> Result<(), NodeError> {
        crash_point!("before-claim");
        if paid.is_proven()
            && let Some(stranger) = self.0.ledger.claim(paid.clone(), claimed, Timestamp::now()).await?
        {
            crash_point!("claimed");
            golem_service::log_limited!(
                warn,
                vm = stranger.redacted(),
                "a VM was made with a stream of somebody else, who uses it now; it is deleted"
            );
            self.poke(&stranger);
            let mut changes = self.0.ledger.changes();
            // Its capacity may be needed. Where it is not gone by then, the create is judged by what is left.
            let gone = changes.wait_for(|now| now.get(&stranger).is_none());
            let _ = timeout(REMOVAL, gone).await;
        }
        Ok(())
    }

    pub(super) fn remember(&self, paid: &Paid, vm: &VmId) {
        if let Some(copy) = paid.copy(vm)
            && let Some(payments) = self.0.contracts.of(&copy.key)
        {
            payments.remember(copy);
        }
    }

    /// Lets the stream of `wanted` pay for the VM `id` from now on. One that was stopped because it
    /// was not paid for starts again.
    ///
    /// # Errors
    /// [`NodeError::PaymentsOff`], [`NodeError::Refused`], [`NodeError::ChainUnknown`],
    /// [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn attach_stream(&self, id: &VmId, wanted: AttachStream) -> Result<Arc<Vm>, NodeError> {
        let stream = wanted.stream_id;
        let vm = self.live(id)?.vm;
        if self.0.contracts.first().is_none() {
            return Err(NodeError::PaymentsOff);
        }
        let paid = self.judge_attach(&vm, vm.resources, &vm.image, &wanted).await?;
        self.claim(&paid, ClaimedUse::Attach(id.clone())).await?;
        let attached = self.0.ledger.attach(id, paid.clone(), Timestamp::now()).await;
        let vm = attached.map_err(|error| lost(id, error))??;
        golem_service::log_limited_each!(
            id,
            info,
            vm = id.redacted(),
            %stream,
            "another stream pays for the VM"
        );
        self.remember(&paid, id);
        // Without room it waits, and the monitor tries again.
        let taken = self.0.ledger.take_room(id, self.room(), Timestamp::now()).await;
        let vm = taken.map_err(|error| lost(id, error))?.unwrap_or(vm);
        self.poke(id);
        Ok(vm)
    }

    /// The verdict on what is to pay for `vm` with `resources`; a lease has to be one of `image`.
    pub(super) async fn judge_attach(
        &self,
        vm: &Vm,
        resources: Resources,
        image: &ImageName,
        wanted: &AttachStream,
    ) -> Result<Paid, NodeError> {
        let AttachStream { stream_id, stream_proof, payment, renter } = wanted;
        match payment {
            Some(payment) => {
                let renter = renter.ok_or(Refusal::SessionRequired)?;
                self.gate_lease(payment, Leased { renter, name: &vm.name, image, resources }).await
            }
            None => {
                let wanted = StreamUse::Attach { vm_id: vm.id.as_str() };
                let asked = AskedBy { renter: *renter, proof: stream_proof.as_deref(), wanted };
                self.gate(Some(*stream_id), resources, None, asked).await
            }
        }
    }

    /// What the node's wallets send.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.0.transactions
    }

    /// How it stands with what was earned, wallet by wallet; empty where it stays in the wallet.
    #[must_use]
    pub fn payouts(&self) -> Vec<PayoutLine> {
        self.0.payout.borrow().clone()
    }

    /// The last `limit` transfers of what was earned, newest first.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn sweeps(&self, limit: u32) -> Result<Vec<Sweep>, NodeError> {
        Ok(self.0.ledger.sweeps(limit).await?)
    }

    /// How new rentals of clients that name no network are paid for; `None` if they are free.
    #[must_use]
    pub fn payments(&self) -> Option<&Payments> {
        self.0.contracts.first()
    }

    /// Every contract that rentals are paid in.
    #[must_use]
    pub fn contracts(&self) -> &Contracts {
        &self.0.contracts
    }

    /// What the chain says now of the stream that pays for the VM `id`.
    ///
    /// # Errors
    /// [`NodeError::UnknownContract`], [`NodeError::NoStream`], [`NodeError::ChainUnknown`],
    /// [`NodeError::NotFound`].
    pub async fn stream(&self, id: &VmId) -> Result<StreamStatus, NodeError> {
        let key = self.live(id)?.vm.stream.clone();
        if key.is_none() && self.0.contracts.all().is_empty() {
            return Err(NodeError::PaymentsOff);
        }
        let key = key.ok_or(NodeError::NoStream)?;
        let contract = key.contract.to_string();
        let payments = self.0.contracts.of(&key).ok_or(NodeError::UnknownContract(contract))?;
        payments.statuses(&[(id.clone(), key)]).await?.pop().ok_or(NodeError::NoStream)
    }

    /// What the chain says now of every stream that pays for a VM.
    ///
    /// # Errors
    /// [`NodeError::PaymentsOff`], [`NodeError::ChainUnknown`].
    pub async fn streams(&self) -> Result<Vec<StreamStatus>, NodeError> {
        if self.0.contracts.all().is_empty() {
            return Err(NodeError::PaymentsOff);
        }
        let paid = |vm: Arc<Vm>| vm.stream.clone().map(|key| (vm.id.clone(), key));
        let rentals: Vec<_> = self.vms().into_iter().filter_map(paid).collect();
        self.0.contracts.statuses(&rentals).await
    }
}

/// What the `verdicts` of several `networks`, in the order of the settings, come to: the first stream that pays and is not used;
/// else the first that pays. One whose sender has said nothing counts where every network before says that it has none of that
/// number for the node: it may be a stranger's, and a create that is sent again must not come to that one. Where none pays, what
/// is wrong with the one that is the node's, and only then that a chain could not be asked, or that there is none.
fn one_of(
    verdicts: Vec<Result<Paid, NodeError>>,
    networks: &[&str],
    is_used: impl Fn(&StreamKey) -> bool,
) -> Result<Paid, NodeError> {
    let says_none =
        |error: &NodeError| matches!(error, NodeError::Refused(refusal) if refusal.is_of_no_stream_here());
    let (mut paying, mut refused) = (Vec::new(), Vec::new());
    let mut is_nowhere = true;
    for verdict in verdicts {
        match verdict {
            Ok(paid) => {
                let counts = paid.is_proven() || is_nowhere;
                is_nowhere = false;
                paying.extend(Some(paid).filter(|_| counts));
            }
            Err(error) => {
                is_nowhere &= says_none(&error);
                refused.push(error);
            }
        }
    }
    let is_free = |paid: &Paid| paid.key().is_none_or(|key| !is_used(key));
    let first = paying.iter().position(is_free).unwrap_or_default();
    if first < paying.len() {
        return Ok(paying.swap_remove(first));
    }
    let rank = |error: &NodeError| match error {
        error if says_none(error) => 3,
        // Somebody else's, of the same number.
        NodeError::Refused(Refusal::Stream(Bad::Sender) | Refusal::Proof(_)) => 2,
        NodeError::Refused(_) => 0,
        _ => 1,
    };
    match refused.into_iter().min_by_key(rank) {
        Some(NodeError::Refused(Refusal::Stream(bad))) if networks.len() > 1 => {
            Err(Refusal::StreamOn(bad, networks.join(", ")).into())
        }
        Some(error) => Err(error),
        None => Err(Refusal::StreamRequired.into()),
    }
}
