//! What is wrong with being paid.
//!
//! Owns the verdict on the payment chain, on prices and on the wallet, as part of [`super::Verdict`].

use crate::views::{DifferenceView, PaymentsClosed, PaymentsView};
use golem_host::doctor::Check;
use golem_types::amount::Money;
use golem_types::wire::Exact;
use ruint::aliases::U256;

use super::super::facts::{NodeFacts, StatusFacts, StatusSettings};
use super::{Verdict, names};

/// Differences that are told one by one.
const TOLD: usize = 3;

impl Verdict {
    /// How rentals are paid for.
    pub(super) fn payments(&mut self, node: &NodeFacts) {
        for told in &node.summary.transactions {
            self.issue(Check::Wallet, format!("{told}; `golem-provider wallet transactions` shows all"));
        }
        for contract in &node.summary.unknown_contracts {
            let (chain_id, address) = contract.split_once(':').unwrap_or((contract, ""));
            self.error(Check::Chain, format!(
                "Rentals are paid in a contract that no network profile names, so they are not followed and nothing is \
                 withdrawn: `golem-provider networks add NAME --chain-id {chain_id} --contract {address} --rpc-url URL`, then \
                 start the node again"
            ));
        }
        for earlier in &node.summary.other_payments {
            if let Some(error) = &earlier.error {
                self.issue(Check::Chain, format!(
                    "The chain of {}, which earlier rentals are paid on, cannot be asked; they run on: {error}",
                    earlier.network
                ));
            }
        }
        for payout in &node.summary.payouts {
            if let Some(problem) = &payout.problem {
                let (wallet, to) = (&payout.wallet, &payout.to);
                self.issue(
                    Check::Payouts,
                    format!("What {wallet} earned does not reach {to}, and is tried again: {problem}"),
                );
            }
        }
        node.summary.payments.iter().chain(&node.summary.other_payments).for_each(|one| self.books(one));
        let Some(payments) = &node.summary.payments else { return };
        match payments.closed {
            None => {}
            Some(PaymentsClosed::NoPrice) => self.error(Check::Prices, format!(
                "Nothing is rented out, because no price in {} is known: let the node reach its price feed \
                 (GOLEM_PROVIDER_COINGECKO_API_URL), name the feed's id of that money in the profile of {} \
                 (`golem-provider networks add --help`), set prices in GLM \
                 (GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH and so on) where streams pay GLM or test money, or set \
                 GOLEM_PROVIDER_ALLOW_UNPRICED=true to take any rate",
                payments.symbol, payments.network
            )),
            Some(PaymentsClosed::TokenDigits { found, expected }) => self.error(Check::Chain, format!(
                "Nothing is rented out, because {} has {found} digits after the point and the profile of {} says \
                 {expected}: `golem-provider networks add {} --token-decimals {found} …`",
                payments.symbol, payments.network, payments.network
            )),
        }
        if let Some(error) = &payments.error {
            self.issue(Check::Chain, format!("The payment chain cannot be asked, rentals run on: {error}"));
        }
        let unpaid = names(node.vms.iter().filter(|vm| vm.stream_id.is_none()));
        if !unpaid.is_empty() {
            self.issue(
                Check::Payouts,
                format!("No stream pays for {unpaid}: attach one, or `golem-provider vms delete`"),
            );
        }
    }

    /// Whether the books say what the chain says.
    fn books(&mut self, payments: &PaymentsView) {
        let (Some(books), network) = (&payments.books, &payments.network) else { return };
        if let Some(error) = &books.error {
            self.issue(Check::Books, format!(
                "The books of {network} cannot be compared with the chain, and it is tried again: {error}; fix: an endpoint that \
                 answers eth_getLogs (`golem-provider networks check` tells which do)"
            ));
        }
        if books.differences == 0 {
            return;
        }
        let money = Money { symbol: &payments.symbol, decimals: books.decimals, usd: None };
        let one = |difference: &DifferenceView| {
            let stream = difference.stream_id.map_or_else(String::new, |id| format!("stream {} ", id.0));
            let (chain, books) = (money.show(difference.chain_wei), money.show(difference.books_wei));
            format!("{stream}{}: {chain} by the chain, {books} by the books", difference.kind)
        };
        let told: Vec<_> = books.missing.iter().take(TOLD).map(one).collect();
        let more = match books.differences.saturating_sub(told.len()) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        self.issue(Check::Books, format!(
            "The books of {network} differ from the chain in {} place(s): {}{more}: `golem-provider books check --repair`",
            books.differences,
            told.join("; ")
        ));
    }

    /// Whether the money is worth something where the market says so, and withdrawals can be paid for.
    pub(super) fn wallet(&mut self, settings: &StatusSettings, facts: &StatusFacts) {
        if let Some(network) = &settings.test_money_on_mainnet {
            self.issue(Check::Payouts, format!(
                "The node offers itself on mainnet and takes the test money of {network}: set GOLEM_PROVIDER_PAYMENTS_NETWORK \
                 to a network of real money (`golem-provider networks list`), or GOLEM_PROVIDER_NETWORK=testnet"
            ));
        }
        let Some(wallet) = facts.wallet.as_ref().filter(|_| settings.withdraws) else {
            return;
        };
        if wallet.balance == Ok(Exact(U256::ZERO)) {
            let fix = if wallet.has_faucet {
                "`golem-provider wallet faucet-l2`".to_owned()
            } else {
                format!("send some to {}", wallet.address)
            };
            self.issue(
                Check::Wallet,
                format!("The wallet has no {} for gas, so nothing is withdrawn: {fix}", wallet.symbol),
            );
        }
    }
}
