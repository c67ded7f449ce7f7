//! Streams and withdrawals as the operator reads them.
//!
//! Owns the views that the operator API gives, and that the command line makes by itself while no
//! node runs. Never prints.

use golem_chain::network::PaymentNetwork;
use golem_node::ledger::{LedgerError, Sweep, Withdrawal, WithdrawalState};
use golem_node::payment::{Contracts, Payments, StreamLine, contract_key};
use golem_node::payout::PayoutLine;
use golem_node::pricing::coin_of;
use golem_node::{Node, NodeError};
use golem_types::amount::Money;
use golem_types::wire::{Exact, StreamInfo};
use golem_types::{VmId, VmName, VmState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::renter;

/// Every stream that may still pay.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StreamsView {
    /// The payment network.
    pub network: String,
    /// What its money is called.
    pub symbol: String,
    /// Digits after the point of that.
    #[serde(default = "golem_chain::network::digits_of_a_coin")]
    pub decimals: u8,
    /// US dollars for one of it, as last believed; `None` for test money, and while no rate is known.
    pub usd_per_coin: Option<String>,
    /// The streams, oldest first.
    pub streams: Vec<StreamView>,
    /// Why they are shown as they were last read.
    pub stale: Option<String>,
}

impl StreamsView {
    /// The money of the network that new rentals use.
    #[must_use]
    pub fn money(&self) -> Money<'_> {
        let usd = self.usd_per_coin.as_deref().and_then(|usd| usd.parse().ok());
        Money { symbol: &self.symbol, decimals: self.decimals, usd }
    }
}

/// A stream.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StreamView {
    /// What its renter calls the VM; `None` once that is gone.
    pub name: Option<VmName>,
    /// Where the VM stands.
    pub status: Option<VmState>,
    /// Since when the VM is not paid for.
    pub unpaid_since: Option<Timestamp>,
    /// The payment network that it is on.
    #[serde(default)]
    pub network: String,
    /// What its money is called.
    #[serde(default)]
    pub symbol: String,
    /// Digits after the point of that.
    #[serde(default = "golem_chain::network::digits_of_a_coin")]
    pub decimals: u8,
    /// What the public API says of it.
    pub stream: StreamInfo,
}

/// A withdrawal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WithdrawalView {
    /// When it was made.
    pub at: Timestamp,
    /// The VM that the stream paid for.
    pub vm_id: VmId,
    /// The stream.
    pub stream_id: Exact,
    /// Where it stands.
    pub state: WithdrawalState,
    /// Wei that were paid out; those expected, until it is known.
    pub amount_wei: Exact,
    /// Wei that gas cost.
    pub cost_wei: Exact,
    /// The transaction.
    pub transaction: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// How a withdrawal went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithdrawOutcome {
    /// The money is there.
    Paid,
    /// There is nothing to fetch, or nothing that is worth its gas.
    Skipped,
    /// It is sent, or waits to be; it goes on by itself.
    UnderWay,
    /// It went wrong.
    Failed,
}

/// How it stands with what was earned in one of the node's wallets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayoutView {
    /// The chain.
    pub chain_id: u64,
    /// The wallet.
    pub wallet: String,
    /// Whether its key was replaced.
    pub former: bool,
    /// Where its money goes.
    pub to: String,
    /// Wei of the coin that stay in it; `None` if that was not worked out yet.
    pub float_wei: Option<Exact>,
    /// Why money stays in it that should go.
    pub problem: Option<String>,
}

impl PayoutView {
    /// Every wallet whose money goes somewhere.
    #[must_use]
    pub fn all(node: &Node) -> Vec<Self> {
        let view = |line: PayoutLine| Self {
            chain_id: line.account.chain_id,
            wallet: line.account.wallet.to_string(),
            former: line.is_former,
            to: line.to.to_string(),
            float_wei: line.float.map(Exact),
            problem: line.problem,
        };
        node.payouts().into_iter().map(view).collect()
    }
}

/// A transfer of what was earned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SweepView {
    /// When it was seen in a block.
    pub at: Timestamp,
    /// The chain.
    pub chain_id: u64,
    /// The wallet that it left.
    pub wallet: String,
    /// The token; zero is the chain's own coin.
    pub token: String,
    /// Where it went.
    pub to: String,
    /// What left the wallet, in the token's smallest units.
    pub left_wei: Exact,
    /// What arrived.
    pub arrived_wei: Exact,
}

/// Where what was earned goes, and went last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayoutsView {
    /// The wallets.
    pub wallets: Vec<PayoutView>,
    /// The last transfers, newest first.
    pub last: Vec<SweepView>,
}

impl PayoutsView {
    /// What is known now.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn of(node: &Node) -> Result<Self, NodeError> {
        let view = |sweep: Sweep| SweepView {
            at: sweep.at,
            chain_id: sweep.account.chain_id,
            wallet: sweep.account.wallet.to_string(),
            token: sweep.token.to_string(),
            to: sweep.to.to_string(),
            left_wei: Exact(sweep.left),
            arrived_wei: Exact(sweep.arrived),
        };
        let last = node.sweeps(SWEEPS).await?.into_iter().map(view).collect();
        Ok(Self { wallets: PayoutView::all(node), last })
    }
}

/// Transfers that are shown.
const SWEEPS: u32 = 20;

/// What came of withdrawing from one stream.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WithdrawView {
    /// The VM.
    pub vm_id: VmId,
    /// The stream.
    pub stream_id: Exact,
    /// How it went.
    pub outcome: WithdrawOutcome,
    /// Wei that were paid out.
    pub paid_wei: Exact,
    /// Wei that gas cost.
    pub cost_wei: Exact,
    /// The transaction.
    pub transaction: Option<String>,
    /// Why nothing was.
    pub error: Option<String>,
}

/// The coin whose rate tells what the token is worth; `None` for test money and for tokens without a rate.
fn coin(payment: &PaymentNetwork) -> Option<&str> {
    payment.price_id().map(coin_of).filter(|_| !payment.network.testnet)
}

/// Every stream that may still pay; `profile` is of the network that new rentals use.
pub async fn streams(contracts: &Contracts, profile: Option<&PaymentNetwork>) -> StreamsView {
    let (mut streams, mut stale) = (Vec::new(), None);
    for payments in contracts.all() {
        let overview = payments.overview().await;
        let config = payments.config();
        // M-04: each in its own token; one that was never a setting is called by its address, and counted in its units.
        let money = |line: &StreamLine| {
            let token = line.status.stream.token;
            let known = payments.currency(token).map(|currency| (currency.symbol.clone(), currency.decimals));
            known.unwrap_or_else(|| (format!("{token:#042x}"), 0))
        };
        let view = |line: &StreamLine| StreamView {
            name: line.rental.as_ref().map(|(name, _)| name.clone()),
            status: line.rental.as_ref().map(|(_, state)| *state),
            unpaid_since: line.unpaid.as_ref().map(|unpaid| unpaid.since),
            network: config.name.clone(),
            symbol: money(line).0,
            decimals: money(line).1,
            stream: renter::stream(&line.status),
        };
        streams.extend(overview.streams.iter().map(view));
        stale = stale.or(overview.stale);
    }
    let of_profile = |profile: &PaymentNetwork| {
        contracts.called(&contract_key(profile.network.chain_id, profile.contract)).cloned()
    };
    let first = profile.and_then(|profile| Some((of_profile(profile)?, profile)));
    let rate = match first.and_then(|(payments, profile)| Some((payments, coin(profile)?))) {
        Some((payments, coin)) => payments.rate(coin).await.ok().flatten(),
        None => None,
    };
    let named = contracts.all().first().map(Payments::config);
    StreamsView {
        usd_per_coin: rate.map(|rate| rate.usd.to_string()),
        network: named.map(|config| config.name.clone()).unwrap_or_default(),
        symbol: named.map(|config| config.symbol.clone()).unwrap_or_default(),
        decimals: named.map_or(golem_chain::network::digits_of_a_coin(), |config| config.decimals),
        streams,
        stale,
    }
}

/// Every withdrawal since `since`, oldest first.
///
/// # Errors
/// [`LedgerError`].
pub async fn withdrawals(
    contracts: &Contracts,
    since: Timestamp,
) -> Result<Vec<WithdrawalView>, LedgerError> {
    let mut all = Vec::new();
    for payments in contracts.all() {
        all.extend(payments.withdrawals(since).await?);
    }
    all.sort_by_key(|withdrawal| withdrawal.id);
    let view = |withdrawal: Withdrawal| WithdrawalView {
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
pub async fn withdraw(contracts: &Contracts, vm: Option<&VmId>, force: bool) -> Vec<WithdrawView> {
    let mut done = Vec::new();
    for (payments, copy) in contracts.withdrawable(vm) {
        let result =
            if force { payments.withdraw_by_force(&copy).await } else { payments.withdraw(&copy).await };
        let view = WithdrawView {
            vm_id: copy.vm,
            stream_id: Exact(copy.key.id.0),
            outcome: WithdrawOutcome::Paid,
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
                let outcome = match &error {
                    error if error.is_skipped() => WithdrawOutcome::Skipped,
                    error if error.is_under_way() => WithdrawOutcome::UnderWay,
                    _ => WithdrawOutcome::Failed,
                };
                tracing::warn!(stream = %copy.key.id, error = &error as &dyn std::error::Error, "not withdrawn");
                WithdrawView { outcome, error: Some(error.to_string()), ..view }
            }
        });
    }
    done
}
