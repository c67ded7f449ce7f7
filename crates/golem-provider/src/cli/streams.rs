//! `streams …`: how VMs are paid for, and what was earned.
//!
//! Owns the choice of whom to ask: the node that runs, which is the one owner of the wallet's nonce,
//! or the ledger itself under the node's lock while none runs.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use golem_chain::network::PaymentNetwork;
use golem_node::LEDGER_FILE;
use golem_node::ledger::{Ledger, WithdrawalState};
use golem_node::payment::Contracts;
use golem_node::transactions::Transactions;
use golem_types::VmId;
use golem_types::wire::Exact;
use jiff::{Timestamp, ToSpan, Unit, Zoned};
use ruint::aliases::U256;
use serde::Serialize;

use super::amount::{Money, coins, span};
use super::arguments::{Period, Streams};
use super::layout::table;
use super::{Exit, Invocation, NotRunning};
use crate::identity;
use crate::passphrase::{Asking, Passphrases};
use crate::payments;
use crate::pid_file::{self, PidFile};
use golem_api::operator::Client;
use golem_api::views;
use golem_api::views::{StreamView, StreamsView, WithdrawOutcome, WithdrawView, WithdrawalView};

/// Who knows the books.
enum Books {
    /// The node that runs.
    Node(Client),
    /// The ledger, which nobody else has open.
    Own { contracts: Contracts, profile: Option<Box<PaymentNetwork>>, _lock: PidFile },
}

impl Books {
    async fn open(invocation: &Invocation) -> anyhow::Result<Self> {
        if pid_file::holder(&invocation.pid_file)?.is_some() {
            return Ok(Self::Node(invocation.client()?));
        }
        let settings = &invocation.resolved.settings;
        let file = settings.node.data_dir.join(LEDGER_FILE);
        if !file.exists() {
            return Err(NotRunning.into());
        }
        let profile = payments::profile(settings)?;
        let lock = PidFile::take(&invocation.pid_file).await?;
        let identity =
            identity::of_node(&settings.node, &Passphrases::of_node(&settings.node, Asking::Terminal))?;
        let ledger = Ledger::open(&file)?;
        let config = profile.as_ref().map(|profile| payments::config(profile, settings, &identity));
        let transactions = Transactions::new(ledger.clone());
        let known = payments::known(settings, &identity);
        let contracts = Contracts::open(config.as_ref(), &known, &ledger, &transactions).await?;
        if contracts.all().is_empty() {
            bail!("payments are off: there are no streams");
        }
        Ok(Self::Own { contracts, profile: profile.map(Box::new), _lock: lock })
    }

    async fn streams(&self) -> anyhow::Result<StreamsView> {
        Ok(match self {
            Self::Node(client) => client.streams().await?,
            Self::Own { contracts, profile, .. } => {
                views::payments::streams(contracts, profile.as_deref()).await
            }
        })
    }

    async fn withdrawals(&self, since: Timestamp) -> anyhow::Result<Vec<WithdrawalView>> {
        Ok(match self {
            Self::Node(client) => client.withdrawals(since).await?,
            Self::Own { contracts, .. } => views::payments::withdrawals(contracts, since).await?,
        })
    }

    async fn withdraw(&self, vm: Option<&VmId>, force: bool) -> anyhow::Result<Vec<WithdrawView>> {
        Ok(match self {
            Self::Node(client) => client.withdraw(vm.map(VmId::as_str), force).await?,
            Self::Own { contracts, .. } => views::payments::withdraw(contracts, vm, force).await,
        })
    }
}

/// `streams …`.
pub(super) async fn streams(invocation: &Invocation, command: Streams) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let books = Books::open(invocation).await?;
    match command {
        Streams::List => {
            let view = books.streams().await?;
            printer.answer(&view, || list(&view));
            warn_if_stale(invocation, &view);
        }
        Streams::Show { vm } => {
            let view = books.streams().await?;
            let stream = find(&view, &vm)?;
            printer.answer(stream, || show(stream, money_of(&view, stream)));
            warn_if_stale(invocation, &view);
        }
        Streams::Earnings { since, by, csv } => {
            let since = since.as_deref().map_or(Ok(Timestamp::UNIX_EPOCH), parse_since)?;
            let view = books.streams().await?;
            let earnings = Earnings::of(&view, &books.withdrawals(since).await?, by);
            if csv {
                printer.out(&earnings.csv());
            } else {
                printer.answer(&earnings, || earnings.text());
            }
            warn_if_stale(invocation, &view);
        }
        Streams::History { since, csv } => {
            let since = since.as_deref().map_or(Ok(Timestamp::UNIX_EPOCH), parse_since)?;
            let all = books.withdrawals(since).await?;
            if csv {
                printer.out(&history_csv(&all));
            } else {
                printer.answer(&all, || history(&all));
            }
        }
        Streams::Withdraw { vm_id, all, force } => {
            let view = books.streams().await?;
            let vm = match (&vm_id, all) {
                (Some(which), _) => Some(find(&view, which)?.stream.vm_id.clone()),
                (None, _) => None,
            };
            let done = {
                let _waiting = printer.waiting("Withdrawing");
                books.withdraw(vm.as_ref(), force).await?
            };
            let failed = done.iter().any(|one| one.outcome == WithdrawOutcome::Failed);
            printer.answer(&done, || withdrawn(&done, money(&view)));
            return Ok(if failed { Exit::Failed } else { Exit::Done });
        }
    }
    Ok(Exit::Done)
}

fn money(view: &StreamsView) -> Money<'_> {
    Money { symbol: &view.symbol, usd: view.usd_per_coin.as_deref().and_then(|usd| usd.parse().ok()) }
}

/// The money of one of the streams, which may be on another network than new rentals use.
fn money_of<'a>(view: &'a StreamsView, line: &'a StreamView) -> Money<'a> {
    if line.network == view.network { money(view) } else { Money { symbol: &line.symbol, usd: None } }
}

fn warn_if_stale(invocation: &Invocation, view: &StreamsView) {
    if let Some(why) = &view.stale
        && !invocation.printer.json
    {
        invocation.printer.warning(&format!("shown as last read: {why}"));
    }
}

/// The stream of the VM that `which` names: by id, by the start of it, or by name.
fn find<'a>(view: &'a StreamsView, which: &str) -> anyhow::Result<&'a StreamView> {
    let fits = |stream: &&StreamView| {
        stream.stream.vm_id.as_str().starts_with(which)
            || stream.name.as_ref().is_some_and(|name| name.as_str() == which)
    };
    let mut fitting = view.streams.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(stream), None) => Ok(stream),
        (Some(_), Some(_)) => bail!("{which} fits several VMs; use more of the id"),
        (None, _) => bail!("no stream mapped for this VM: {which}; `golem-provider streams list` shows all"),
    }
}

/// The time that `text` means: `36h`, `7d`, `4w`, or a day as `2026-11-01`, in UTC.
fn parse_since(text: &str) -> anyhow::Result<Timestamp> {
    let wrong = || format!("{text:?} is no time; write 36h, 7d, 4w or a day as 2026-11-01");
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return Ok(day.to_zoned(jiff::tz::TimeZone::UTC).with_context(wrong)?.timestamp());
    }
    let digits = text.len().saturating_sub(1);
    let count: i64 = text.get(..digits).and_then(|digits| digits.parse().ok()).with_context(wrong)?;
    let hours = match text.get(digits..) {
        Some("h") => Some(count),
        Some("d") => count.checked_mul(24),
        Some("w") => count.checked_mul(24 * 7),
        _ => None,
    };
    let hours = hours.filter(|hours| (0..=24 * 366 * 100).contains(hours)).with_context(wrong)?;
    Timestamp::now().checked_sub(hours.hours()).with_context(wrong)
}

fn list(view: &StreamsView) -> String {
    if view.streams.is_empty() {
        return "No VM is paid by a stream.".to_owned();
    }
    let columns = ["VM", "STATE", "STREAM", "PAYS", "LEFT", "EARNED", "WITHDRAWABLE", "ID"];
    let rows = view.streams.iter().map(|line| {
        let StreamView { name, status, stream, .. } = line;
        let money = |view| money_of(view, line);
        let computed = &stream.computed;
        [
            name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            status.map_or_else(|| "ended".to_owned(), |state| state.to_string()),
            stream.stream_id.0.to_string(),
            if stream.verified { "yes".to_owned() } else { stream.reason.clone() },
            span(computed.remaining_seconds),
            money(view).show(computed.vested_wei),
            money(view).show(computed.withdrawable_wei),
            stream.vm_id.to_string(),
        ]
    });
    table(columns, rows)
}

fn time(seconds: Exact) -> String {
    i64::try_from(seconds.0)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.0.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn show(view: &StreamView, money: Money<'_>) -> String {
    let stream = &view.stream;
    let (chain, computed) = (&stream.chain, &stream.computed);
    let money = |wei: Exact| format!("{}, {} wei", money.show(wei), wei.0);
    let mut lines = vec![
        ("VM", view.name.as_ref().map_or_else(|| "ended".to_owned(), ToString::to_string)),
        ("Id", stream.vm_id.to_string()),
        ("Stream", stream.stream_id.0.to_string()),
        ("Pays", if stream.verified { "yes".to_owned() } else { format!("no: {}", stream.reason) }),
        ("Renter", chain.sender.clone()),
        ("Recipient", chain.recipient.clone()),
        ("Token", chain.token.clone()),
        ("Began", time(chain.start_time)),
        ("Ends", time(chain.stop_time)),
        ("Left", span(computed.remaining_seconds)),
        ("Rate", format!("{} wei/s", chain.rate_per_second.0)),
        ("Deposit", money(chain.deposit)),
        ("Earned", money(computed.vested_wei)),
        ("Withdrawn", money(chain.withdrawn)),
        ("Withdrawable", money(computed.withdrawable_wei)),
    ];
    if let Some(since) = view.unpaid_since {
        lines.push(("Unpaid since", since.strftime("%Y-%m-%d %H:%M:%SZ").to_string()));
    }
    lines.into_iter().map(|(name, text)| format!("{name:<14}{text}")).collect::<Vec<_>>().join("\n")
}

/// What was earned.
#[derive(Serialize)]
struct Earnings {
    symbol: String,
    /// US dollars for a coin, as last believed; `None` if it is test money, or no rate is known.
    usd_per_coin: Option<String>,
    streams: Vec<Line>,
    totals: Totals,
    periods: Vec<PeriodLine>,
}

#[derive(Serialize)]
struct Line {
    vm_id: VmId,
    stream_id: Exact,
    vested_wei: Exact,
    withdrawn_wei: Exact,
    withdrawable_wei: Exact,
}

#[derive(Serialize)]
struct Totals {
    /// Earned on the streams that are listed.
    vested_wei: Exact,
    /// Of it withdrawn.
    withdrawn_wei: Exact,
    /// Of it not yet withdrawn.
    withdrawable_wei: Exact,
    /// Earned, in US dollars at the rate of now.
    vested_usd: Option<String>,
    /// Not yet withdrawn, in US dollars at the rate of now.
    withdrawable_usd: Option<String>,
    /// Withdrawn since the time that was asked for, also from streams that have ended.
    received_wei: Exact,
    /// What gas cost for that.
    gas_wei: Exact,
}

#[derive(Serialize)]
struct PeriodLine {
    /// First day.
    period: String,
    withdrawals: u64,
    received_wei: Exact,
    gas_wei: Exact,
}

fn sum(numbers: impl Iterator<Item = Exact>) -> Exact {
    Exact(numbers.fold(U256::ZERO, |sum, number| sum.saturating_add(number.0)))
}

/// The first day of the period in which `at` is, in UTC.
fn period(at: Timestamp, by: Period) -> String {
    let day: Zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
    let date = day.date();
    let first = match by {
        Period::Day => date,
        Period::Week => {
            let back = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(back.days()).unwrap_or(date)
        }
        Period::Month => date.first_of_month(),
    };
    first.to_string()
}

impl Earnings {
    fn of(view: &StreamsView, withdrawals: &[WithdrawalView], by: Period) -> Self {
        let streams: Vec<Line> = view
            .streams
            .iter()
            .map(|line| Line {
                vm_id: line.stream.vm_id.clone(),
                stream_id: line.stream.stream_id,
                vested_wei: line.stream.computed.vested_wei,
                withdrawn_wei: line.stream.chain.withdrawn,
                withdrawable_wei: line.stream.computed.withdrawable_wei,
            })
            .collect();
        let paid = || withdrawals.iter().filter(|one| one.state == WithdrawalState::Paid);
        let mut periods: BTreeMap<String, Vec<&WithdrawalView>> = BTreeMap::new();
        for one in paid() {
            periods.entry(period(one.at, by)).or_default().push(one);
        }
        let line = |(period, all): (String, Vec<&WithdrawalView>)| PeriodLine {
            period,
            withdrawals: u64::try_from(all.len()).unwrap_or(u64::MAX),
            received_wei: sum(all.iter().map(|one| one.amount_wei)),
            gas_wei: sum(all.iter().map(|one| one.cost_wei)),
        };
        let vested_wei = sum(streams.iter().map(|line| line.vested_wei));
        let withdrawable_wei = sum(streams.iter().map(|line| line.withdrawable_wei));
        Self {
            symbol: view.symbol.clone(),
            usd_per_coin: view.usd_per_coin.clone(),
            totals: Totals {
                vested_wei,
                withdrawn_wei: sum(streams.iter().map(|line| line.withdrawn_wei)),
                withdrawable_wei,
                vested_usd: money(view).worth(vested_wei),
                withdrawable_usd: money(view).worth(withdrawable_wei),
                received_wei: sum(paid().map(|one| one.amount_wei)),
                gas_wei: sum(paid().map(|one| one.cost_wei)),
            },
            streams,
            periods: periods.into_iter().map(line).collect(),
        }
    }

    fn text(&self) -> String {
        let usd = self.usd_per_coin.as_deref().and_then(|usd| usd.parse().ok());
        let in_money = Money { symbol: &self.symbol, usd };
        let money = |wei: Exact| in_money.show(wei);
        let totals = &self.totals;
        let mut text = [
            ("Earned on open streams", money(totals.vested_wei)),
            ("Of it withdrawn", money(totals.withdrawn_wei)),
            ("Withdrawable now", money(totals.withdrawable_wei)),
            ("Received in the wallet", money(totals.received_wei)),
            ("Gas for that", money(totals.gas_wei)),
        ]
        .map(|(name, text)| format!("{name:<24}{text}"))
        .join("\n");
        if !self.periods.is_empty() {
            text.push_str("\n\n");
            let rows = self.periods.iter().map(|line| {
                [
                    line.period.clone(),
                    line.withdrawals.to_string(),
                    money(line.received_wei),
                    money(line.gas_wei),
                ]
            });
            text.push_str(&table(["FROM", "WITHDRAWALS", "RECEIVED", "GAS"], rows));
        }
        text
    }

    fn csv(&self) -> String {
        let mut lines = vec!["period,withdrawals,received_wei,gas_wei".to_owned()];
        lines.extend(self.periods.iter().map(|line| {
            format!("{},{},{},{}", line.period, line.withdrawals, line.received_wei.0, line.gas_wei.0)
        }));
        lines.join("\n")
    }
}

const fn state(state: WithdrawalState) -> &'static str {
    state.as_str()
}

fn history(all: &[WithdrawalView]) -> String {
    if all.is_empty() {
        return "Nothing was withdrawn.".to_owned();
    }
    let rows = all.iter().map(|one| {
        [
            one.at.round(Unit::Second).unwrap_or(one.at).to_string(),
            state(one.state).to_owned(),
            one.stream_id.0.to_string(),
            coins(one.amount_wei),
            coins(one.cost_wei),
            one.transaction.clone().or_else(|| one.error.clone()).unwrap_or_else(|| "-".to_owned()),
        ]
    });
    table(["TIME", "STATE", "STREAM", "AMOUNT", "GAS", "TRANSACTION"], rows)
}

fn history_csv(all: &[WithdrawalView]) -> String {
    let mut lines = vec!["time,state,vm_id,stream_id,amount_wei,gas_wei,transaction".to_owned()];
    lines.extend(all.iter().map(|one| {
        // Nothing in here holds a comma or a quote.
        let transaction = one.transaction.as_deref().unwrap_or_default();
        let (amount, gas) = (one.amount_wei.0, one.cost_wei.0);
        let (at, state, vm, stream) = (one.at, state(one.state), &one.vm_id, one.stream_id.0);
        format!("{at},{state},{vm},{stream},{amount},{gas},{transaction}")
    }));
    lines.join("\n")
}

fn withdrawn(done: &[WithdrawView], money: Money<'_>) -> String {
    if done.is_empty() {
        return "There is no stream to withdraw from.".to_owned();
    }
    let rows = done.iter().map(|one| {
        let told = one.error.clone().or_else(|| one.transaction.clone()).unwrap_or_default();
        let result = match one.outcome {
            WithdrawOutcome::Skipped => format!("skipped: {told}"),
            _ => told,
        };
        [one.stream_id.0.to_string(), money.show(one.paid_wei), coins(one.cost_wei), result]
    });
    table(["STREAM", "PAID", "GAS", "RESULT"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_or_a_day() {
        let day = parse_since("2026-11-01").unwrap();
        assert_eq!(day.to_string(), "2026-11-01T00:00:00Z");
        let since = parse_since("1w").unwrap();
        assert_eq!(Timestamp::now().duration_since(since).as_hours(), 24 * 7);
        for bad in ["", "d", "-1d", "7", "7y", "2026-13-01", "99999999999999999999d", "é"] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_begin_on_their_first_day() {
        let at: Timestamp = "2026-11-26T23:59:59Z".parse().unwrap();
        assert_eq!(period(at, Period::Day), "2026-11-26");
        assert_eq!(period(at, Period::Week), "2026-11-23");
        assert_eq!(period(at, Period::Month), "2026-11-01");
    }
}
