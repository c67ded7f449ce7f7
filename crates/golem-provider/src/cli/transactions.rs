//! `wallet transactions` and `wallet cancel`: what the node's wallets send.
//!
//! Owns the choice of whom to ask: the node that runs, or the ledger itself under the node's lock while none runs.

use golem_api::operator::Client;
use golem_api::views::{self, TransactionView};
use golem_node::LEDGER_FILE;
use golem_node::ledger::Ledger;
use jiff::{Timestamp, Unit};
use serde_json::json;

use super::confirm::confirmed;
use super::layout::table;
use super::{Exit, Invocation};
use golem_host::pid_file::PidFile;
use golem_types::amount::coins;

/// Who knows them.
enum Source {
    /// The node that runs.
    Node(Client),
    /// The ledger, which nobody else has open.
    Own { ledger: Ledger, _lock: PidFile },
}

impl Source {
    async fn open(invocation: &Invocation) -> anyhow::Result<Self> {
        if invocation.runs()? {
            return Ok(Self::Node(invocation.client()?));
        }
        let file = invocation.resolved.settings.node.data_dir.join(LEDGER_FILE);
        if !file.exists() {
            return Err(invocation.not_running().into());
        }
        let lock = PidFile::take(&invocation.node.pid_file).await?;
        Ok(Self::Own { ledger: Ledger::open(&file)?, _lock: lock })
    }

    async fn list(&self, all: bool) -> anyhow::Result<Vec<TransactionView>> {
        Ok(match self {
            Self::Node(client) => client.transactions(all).await?,
            Self::Own { ledger, .. } => views::transactions::transactions(ledger, all).await?,
        })
    }

    async fn cancel(&self, nonce: Option<u64>) -> anyhow::Result<usize> {
        Ok(match self {
            Self::Node(client) => client.cancel_transactions(nonce).await?,
            Self::Own { ledger, .. } => ledger.cancel_transactions(None, nonce, Timestamp::now()).await?,
        })
    }
}

/// Columns of the transactions.
const COLUMNS: &str = "id,created_at,chain_id,wallet,nonce,purpose,subject,to,state,cancel,attempts,hash,block,cost_wei,\
                       l1_fee_wei,error,updated_at";

/// `wallet transactions`.
pub(super) async fn list(invocation: &Invocation, all: bool) -> anyhow::Result<Exit> {
    let transactions = Source::open(invocation).await?.list(all).await?;
    invocation.printer.list(&transactions, &transactions, COLUMNS, || text(&transactions, all));
    Ok(Exit::Done)
}

fn text(transactions: &[TransactionView], all: bool) -> String {
    if transactions.is_empty() {
        return if all { "Nothing was sent." } else { "No transaction waits; --all shows those that ended." }
            .to_owned();
    }
    let columns = ["SINCE", "CHAIN", "NUMBER", "FOR", "STATE", "FEES", "COST", "TRANSACTION OR REASON"];
    let rows = transactions.iter().map(|one| {
        let state = if one.cancel && one.state.is_open() { "cancelling" } else { one.state.as_str() };
        [
            one.created_at.round(Unit::Second).unwrap_or(one.created_at).to_string(),
            one.chain_id.to_string(),
            one.nonce.map_or_else(|| "-".to_owned(), |nonce| nonce.to_string()),
            one.purpose.as_str().to_owned(),
            state.to_owned(),
            one.attempts.to_string(),
            one.cost_wei.map_or_else(|| "-".to_owned(), coins),
            one.error.clone().or_else(|| one.hash.clone()).unwrap_or_default(),
        ]
    });
    table(columns, rows)
}

/// `wallet cancel`: the transaction with `nonce`, or all that wait.
pub(super) async fn cancel(invocation: &Invocation, nonce: Option<u64>, yes: bool) -> anyhow::Result<Exit> {
    let source = Source::open(invocation).await?;
    let waiting = source.list(false).await?;
    let count = waiting.iter().filter(|one| nonce.is_none() || one.nonce == nonce).count();
    if count == 0 {
        anyhow::bail!("no such transaction waits; `golem-provider wallet transactions` shows those that do");
    }
    let question = format!(
        "Cancel {count} of {} waiting transactions? Each that has a number is replaced by one that does nothing, which costs \
         gas; what it was for is not done.",
        waiting.len()
    );
    if !yes && !confirmed(&question, "nothing was cancelled: there is no terminal to ask on; fix: --yes")? {
        return Ok(Exit::Failed);
    }
    let cancelled = source.cancel(nonce).await?;
    let is_running = matches!(source, Source::Node(_));
    invocation.printer.done(&json!({ "cancelled": cancelled }), || {
        let when = if is_running { "" } else { " once the node runs again" };
        format!("{cancelled} transactions are replaced by what does nothing, or gone{when}.")
    });
    Ok(Exit::Done)
}
