//! What the node's wallets send, as the operator reads it.
//!
//! Owns the views that the operator API gives, and that the command line makes by itself while no node runs.

use golem_node::ledger::{Ledger, LedgerError, Purpose, Transaction, TransactionState};
use golem_node::transactions::{Report, Transactions, Waiting};
use golem_types::wire::Exact;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long a transaction may wait until that is worth a word.
const USUAL: SignedDuration = SignedDuration::from_mins(3);

/// A transaction.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TransactionView {
    /// Its number in the ledger.
    pub id: i64,
    /// The chain.
    pub chain_id: u64,
    /// The wallet.
    pub wallet: String,
    /// Its number among those of the wallet; `None` until it is signed.
    pub nonce: Option<u64>,
    /// What for.
    pub purpose: Purpose,
    /// About what: chain, contract and stream, or a market's network.
    pub subject: String,
    /// Whom it calls.
    pub to: String,
    /// Where it stands.
    pub state: TransactionState,
    /// Whether the operator cancelled it.
    pub cancel: bool,
    /// Fees that were tried.
    pub attempts: usize,
    /// Hash of the attempt in a block; of the newest one until there is one.
    pub hash: Option<String>,
    /// The block that it is in.
    pub block: Option<u64>,
    /// Wei that it cost in all.
    pub cost_wei: Option<Exact>,
    /// What of that went to the chain below.
    pub l1_fee_wei: Option<Exact>,
    /// Why it waits or failed.
    pub error: Option<String>,
    /// When it was wanted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl TransactionView {
    fn of(row: Transaction) -> Self {
        let newest = row.attempts.last().map(|newest| newest.signed.hash);
        Self {
            id: row.id,
            chain_id: row.account.chain_id,
            wallet: row.account.wallet.to_string(),
            nonce: row.nonce,
            purpose: row.order.purpose,
            to: row.order.to.to_string(),
            state: row.state,
            cancel: row.cancel,
            attempts: row.attempts.len(),
            hash: row.hash.or(newest).map(|hash| hash.to_string()),
            block: row.block,
            cost_wei: row.cost.map(Exact),
            l1_fee_wei: row.l1_fee.map(Exact),
            error: row.error,
            created_at: row.created_at,
            updated_at: row.updated_at,
            subject: row.order.subject,
        }
    }
}

/// The transactions that wait, oldest first; with `all` also the last of those that ended.
///
/// # Errors
/// [`LedgerError`].
pub async fn transactions(ledger: &Ledger, all: bool) -> Result<Vec<TransactionView>, LedgerError> {
    const LAST: u32 = 200;
    let rows = if all {
        let mut rows = ledger.transactions(LAST).await?;
        rows.reverse();
        rows
    } else {
        ledger.open_transactions(None).await?
    };
    Ok(rows.into_iter().map(TransactionView::of).collect())
}

/// What waits for longer than usual in one sentence a wallet and chain.
#[must_use]
pub fn trouble(transactions: &Transactions, now: Timestamp) -> Vec<String> {
    transactions
        .queues()
        .iter()
        .filter_map(|queue| sentence(queue.account().chain_id, &queue.report(), now))
        .collect()
}

fn sentence(chain_id: u64, report: &Report, now: Timestamp) -> Option<String> {
    let is_late = |one: &&Waiting| {
        one.error.is_some() || one.sent_again.is_some() || now.duration_since(one.since) > USUAL
    };
    let late = report.open.iter().find(is_late)?;
    let count = report.open.len();
    let (noun, verb) = if count == 1 { ("transaction", "waits") } else { ("transactions", "wait") };
    let which =
        late.nonce.map_or_else(|| late.purpose.as_str().to_owned(), |nonce| format!("number {nonce}"));
    let why = match (&late.error, late.sent_again, &report.problem) {
        (Some(error), ..) => error.clone(),
        (None, Some(at), _) => {
            format!("{which} was dropped, sent again {} ago", minutes(now.duration_since(at)))
        }
        (None, None, Some(problem)) => problem.clone(),
        (None, None, None) => {
            format!(
                "{which} is in no block since {}, at its {}. fee",
                minutes(now.duration_since(late.since)),
                late.attempts
            )
        }
    };
    Some(format!("{count} {noun} {verb} on chain {chain_id}: {why}"))
}

fn minutes(time: SignedDuration) -> String {
    match time.as_mins() {
        ..1 => "a moment".to_owned(),
        minutes @ 1..120 => format!("{minutes} min"),
        minutes => format!("{} h", minutes / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m_07_what_waits_for_long_is_one_sentence() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |minutes: i64| now - SignedDuration::from_mins(minutes);
        let one = |nonce| Waiting {
            id: 1,
            nonce: Some(nonce),
            purpose: Purpose::Withdraw,
            state: TransactionState::Sent,
            since: ago(1),
            attempts: 1,
            sent_again: None,
            error: None,
        };
        let report = |open| Report { open, ..Report::default() };
        assert_eq!(sentence(1, &report(vec![]), now), None);
        assert_eq!(sentence(1, &report(vec![one(3)]), now), None, "that is usual");
        let dropped = Waiting { sent_again: Some(ago(2)), ..one(17) };
        // M-07
        assert_eq!(
            sentence(1, &report(vec![dropped, one(18), one(19)]), now).unwrap(),
            "3 transactions wait on chain 1: number 17 was dropped, sent again 2 min ago"
        );
        let held = Waiting { nonce: None, error: Some("gas is dear".to_owned()), ..one(0) };
        assert_eq!(
            sentence(5, &report(vec![held]), now).unwrap(),
            "1 transaction waits on chain 5: gas is dear"
        );
        let late = Waiting { since: ago(200), attempts: 4, ..one(7) };
        let told = sentence(1, &report(vec![late]), now).unwrap();
        assert!(told.ends_with("number 7 is in no block since 3 h, at its 4. fee"), "{told}");
    }
}
