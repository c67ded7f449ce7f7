//! The node's books: streams and withdrawals, as the operator reads them.
//!
//! Owns the views that the operator API gives, and that the command line makes by itself while no
//! node runs. Never prints.

use golem_chain::network::PaymentNetwork;
use golem_node::ledger::LedgerError;
use golem_node::payment::{Payments, StreamLine};
use golem_types::VmId;
use golem_types::wire::Exact;
use jiff::Timestamp;

use crate::http::operator::{StreamView, StreamsView, WithdrawView, WithdrawalView};
use crate::http::stream_info;
use crate::payments;

/// Every stream that may still pay.
pub(crate) async fn streams(payments: &Payments, profile: &PaymentNetwork) -> StreamsView {
    let overview = payments.overview().await;
    let view = |line: &StreamLine| StreamView {
        name: line.rental.as_ref().map(|(name, _)| name.clone()),
        status: line.rental.as_ref().map(|(_, state)| *state),
        unpaid_since: line.unpaid.as_ref().map(|unpaid| unpaid.since),
        stream: stream_info(&line.status),
    };
    let rate = match payments::coin(profile) {
        Some(coin) => payments.rate(coin).await.ok().flatten(),
        None => None,
    };
    StreamsView {
        usd_per_coin: rate.map(|rate| rate.usd.to_string()),
        network: profile.name.clone(),
        symbol: profile.symbol().to_owned(),
        streams: overview.streams.iter().map(view).collect(),
        stale: overview.stale,
    }
}

/// Every withdrawal since `since`, oldest first.
///
/// # Errors
/// [`LedgerError`].
pub(crate) async fn withdrawals(
    payments: &Payments,
    since: Timestamp,
) -> Result<Vec<WithdrawalView>, LedgerError> {
    let all = payments.withdrawals(since).await?;
    let view = |withdrawal: golem_node::ledger::Withdrawal| WithdrawalView {
        at: withdrawal.created_at,
        vm_id: withdrawal.vm,
        stream_id: Exact(withdrawal.key.id.0),
        state: withdrawal.state,
        amount_wei: Exact(withdrawal.paid.unwrap_or(withdrawal.expected)),
        cost_wei: Exact(withdrawal.cost.unwrap_or_default()),
        transaction: withdrawal.hash,
        error: withdrawal.error,
    };
    Ok(all.into_iter().map(view).collect())
}

/// Withdraws from the stream of `vm`, or from all, one after the other: a failure of one does not
/// keep the others waiting.
pub(crate) async fn withdraw(payments: &Payments, vm: Option<&VmId>) -> Vec<WithdrawView> {
    let mut done = Vec::new();
    for copy in payments.withdrawable(vm) {
        let result = payments.withdraw(&copy).await;
        let view = WithdrawView {
            vm_id: copy.vm,
            stream_id: Exact(copy.key.id.0),
            paid_wei: Exact::default(),
            cost_wei: Exact::default(),
            transaction: None,
            error: None,
        };
        done.push(match result {
            Ok(withdrawn) => WithdrawView {
                paid_wei: Exact(withdrawn.paid),
                cost_wei: Exact(withdrawn.cost),
                transaction: Some(withdrawn.hash),
                ..view
            },
            Err(error) => {
                tracing::warn!(stream = %copy.key.id, error = &error as &dyn std::error::Error, "not withdrawn");
                WithdrawView { error: Some(error.to_string()), ..view }
            }
        });
    }
    done
}
