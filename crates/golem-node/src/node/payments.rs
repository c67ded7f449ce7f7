//! The node's rentals and the streams that pay for them.
//!
//! Owns what a create and a renter may ask about payment. Never judges a stream: `payment` does.

use std::sync::Arc;

use golem_types::{Resources, StreamId, VmId};
use jiff::Timestamp;

use super::{Node, lost};
use crate::error::NodeError;
use crate::paid::Paid;
use crate::payment::{self, Payments, RentalControl, StreamStatus};
use crate::transactions::Transactions;
use crate::vm::{Refusal, Vm};

impl Node {
    /// Starts what follows the streams.
    pub(super) fn follow_payments(&self) {
        let Some(payments) = &self.0.payments else { return };
        let tasks = &self.0.tasks;
        let stop = || tasks.stopping().clone();
        let folder = self.0.config.data_dir.clone();
        tasks.spawn("streams export", payment::export(self.changes(), folder, stop()));
        if payments.config().monitor {
            let node = self.clone();
            let control = RentalControl::new(self.0.ledger.clone(), move |id| node.poke(id));
            tasks.spawn("stream monitor", payment::monitor(payments.clone(), control, stop()));
        }
        tasks.spawn("payment contract", payments.clone().tell_contract(stop()));
        tasks.spawn("withdrawals", payment::withdrawals(payments.clone(), stop()));
    }

    /// The verdict on the payment of a create.
    pub(super) async fn gate(
        &self,
        stream: Option<StreamId>,
        resources: Resources,
        quote: Option<&str>,
    ) -> Result<Paid, NodeError> {
        match (&self.0.payments, stream) {
            (None, _) => Ok(Paid::free()),
            (Some(_), None) => Err(Refusal::StreamRequired.into()),
            (Some(payments), Some(stream)) => payments.judge(stream, resources, quote).await,
        }
    }

    pub(super) fn remember(&self, paid: &Paid, vm: &VmId) {
        if let (Some(payments), Some(copy)) = (&self.0.payments, paid.copy(vm)) {
            payments.remember(copy);
        }
    }

    /// Lets the stream `stream` pay for the VM `id` from now on. One that was stopped because it
    /// was not paid for starts again.
    ///
    /// # Errors
    /// [`NodeError::PaymentsOff`], [`NodeError::Refused`], [`NodeError::ChainUnknown`],
    /// [`NodeError::NotFound`], [`NodeError::Ledger`].
    pub async fn attach_stream(&self, id: &VmId, stream: StreamId) -> Result<Arc<Vm>, NodeError> {
        let resources = self.live(id)?.vm.resources;
        if self.0.payments.is_none() {
            return Err(NodeError::PaymentsOff);
        }
        let paid = self.gate(Some(stream), resources, None).await?;
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
        self.poke(id);
        Ok(vm)
    }

    /// What the node's wallets send.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.0.transactions
    }

    /// How rentals are paid for; `None` if they are not.
    #[must_use]
    pub fn payments(&self) -> Option<&Payments> {
        self.0.payments.as_ref()
    }

    /// What the chain says now of the stream that pays for the VM `id`.
    ///
    /// # Errors
    /// [`NodeError::PaymentsOff`], [`NodeError::NoStream`], [`NodeError::ChainUnknown`],
    /// [`NodeError::NotFound`].
    pub async fn stream(&self, id: &VmId) -> Result<StreamStatus, NodeError> {
        let payments = self.0.payments.as_ref().ok_or(NodeError::PaymentsOff)?;
        let key = self.live(id)?.vm.stream.clone().ok_or(NodeError::NoStream)?;
        payments.statuses(&[(id.clone(), key)]).await?.pop().ok_or(NodeError::NoStream)
    }

    /// What the chain says now of every stream that pays for a VM.
    ///
    /// # Errors
    /// [`NodeError::PaymentsOff`], [`NodeError::ChainUnknown`].
    pub async fn streams(&self) -> Result<Vec<StreamStatus>, NodeError> {
        let payments = self.0.payments.as_ref().ok_or(NodeError::PaymentsOff)?;
        let paid = |vm: Arc<Vm>| vm.stream.clone().map(|key| (vm.id.clone(), key));
        let rentals: Vec<_> = self.vms().into_iter().filter_map(paid).collect();
        payments.statuses(&rentals).await
    }
}
