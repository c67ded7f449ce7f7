//! Whom to ask about streams and money.
//!
//! Owns the choice: the node that runs, which is the one owner of the wallet's nonce, or the ledger itself under the node's
//! lock while none runs.

use anyhow::bail;
use golem_api::operator::Client;
use golem_api::views::{self, BooksCheckView, EntryView, StreamsView, WithdrawView, WithdrawalView};
use golem_chain::network::PaymentNetwork;
use golem_node::LEDGER_FILE;
use golem_node::ledger::Ledger;
use golem_node::payment::Contracts;
use golem_node::transactions::Transactions;
use golem_types::VmId;
use jiff::Timestamp;

use super::Invocation;
use crate::identity;
use crate::passphrase::{Asking, Passphrases};
use crate::payments;
use golem_host::pid_file::PidFile;

/// Who knows what was paid.
pub(super) enum MoneySource {
    /// The node that runs.
    Node(Client),
    /// The ledger, which nobody else has open.
    Own { contracts: Contracts, profile: Option<Box<PaymentNetwork>>, _lock: PidFile },
}

impl MoneySource {
    pub(super) async fn open(invocation: &Invocation) -> anyhow::Result<Self> {
        if invocation.runs()? {
            return Ok(Self::Node(invocation.client()?));
        }
        let settings = &invocation.resolved.settings;
        let file = settings.node.data_dir.join(LEDGER_FILE);
        if !file.exists() {
            return Err(invocation.not_running().into());
        }
        let chain = settings.chain();
        let profiles = payments::profiles(&chain)?;
        let lock = PidFile::take(&invocation.node.pid_file).await?;
        let identity = identity::existing_of_node(
            &settings.node,
            &Passphrases::of_node(&settings.node, Asking::Terminal),
        )?;
        let ledger = Ledger::open(&file)?;
        let configs: Vec<_> =
            profiles.iter().map(|profile| payments::config(profile, &chain, &identity)).collect();
        let transactions = Transactions::new(ledger.clone());
        let known = payments::known(&chain, &identity);
        let contracts =
            Contracts::open(&configs.iter().collect::<Vec<_>>(), &known, &ledger, &transactions).await?;
        if contracts.all().is_empty() {
            bail!("payments are off: there are no streams");
        }
        Ok(Self::Own { contracts, profile: profiles.into_iter().next().map(Box::new), _lock: lock })
    }

    pub(super) async fn streams(&self) -> anyhow::Result<StreamsView> {
        Ok(match self {
            Self::Node(client) => client.streams().await?,
            Self::Own { contracts, profile, .. } => {
                views::payments::streams(contracts, profile.as_deref()).await
            }
        })
    }

    pub(super) async fn withdrawals(&self, since: Timestamp) -> anyhow::Result<Vec<WithdrawalView>> {
        Ok(match self {
            Self::Node(client) => client.withdrawals(since).await?,
            Self::Own { contracts, .. } => views::payments::withdrawals(contracts, since).await?,
        })
    }

    pub(super) async fn withdraw(&self, vm: Option<&VmId>, force: bool) -> anyhow::Result<Vec<WithdrawView>> {
        Ok(match self {
            Self::Node(client) => client.withdraw(vm.map(VmId::as_str), force).await?,
            Self::Own { contracts, .. } => views::payments::withdraw(contracts, vm, force).await,
        })
    }

    /// How many transactions wait, as far as the node that runs tells.
    pub(super) async fn waiting(&self) -> usize {
        match self {
            Self::Node(client) => client.transactions(false).await.map_or(0, |waiting| waiting.len()),
            Self::Own { .. } => 0,
        }
    }

    /// Every entry of the books since `since`, oldest first.
    pub(super) async fn entries(&self, since: Timestamp) -> anyhow::Result<Vec<EntryView>> {
        Ok(match self {
            Self::Node(client) => client.entries(since).await?,
            Self::Own { contracts, .. } => views::books::entries(contracts, since).await?,
        })
    }

    /// Compares the books with the chain.
    pub(super) async fn check_books(&self, repair: bool) -> anyhow::Result<Vec<BooksCheckView>> {
        Ok(match self {
            Self::Node(client) => client.check_books(repair).await?,
            Self::Own { contracts, .. } => views::books::check(contracts, repair).await,
        })
    }
}
