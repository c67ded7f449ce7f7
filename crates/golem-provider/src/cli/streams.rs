//! `streams …`: how VMs are paid for, and what is withdrawn.
//!
//! Owns what is printed of streams. What was earned is [`super::earnings`]'.

use anyhow::bail;
use golem_api::views::{StreamView, StreamsView, WithdrawOutcome, WithdrawView, WithdrawalView};
use golem_node::ledger::WithdrawalState;
use golem_types::wire::Exact;
use jiff::{Timestamp, Unit};

use super::arguments::{Format, Streams};
use super::earnings::{self, parse_since};
use super::layout::table;
use super::money_source::MoneySource;
use super::{Exit, Invocation};
use golem_types::amount::{Money, coins, span};

/// Columns of the streams.
const COLUMNS: &str = "\
    stream.vm_id,name,status,network,symbol,decimals,stream.stream_id,stream.verified,stream.reason,\
    stream.chain.sender,stream.chain.deposit,stream.chain.withdrawn,stream.computed.remaining_seconds,\
    stream.computed.vested_wei,stream.computed.withdrawable_wei,unpaid_since";

/// `streams …`.
pub(super) async fn streams(invocation: &Invocation, command: Streams) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let books = MoneySource::open(invocation).await?;
    match command {
        Streams::List => {
            let view = books.streams().await?;
            printer.list(&view, &view.streams, COLUMNS, || list(&view));
            warn_if_stale(invocation, &view);
        }
        Streams::Show { vm } => {
            let view = books.streams().await?;
            let stream = find(&view, &vm)?;
            printer.answer(stream, || show(stream, money_of(&view, stream)));
            warn_if_stale(invocation, &view);
        }
        Streams::Earnings(wanted) => return earnings::print(invocation, &books, &wanted).await,
        Streams::History { since, csv } => {
            let since = since.as_deref().map_or(Ok(Timestamp::UNIX_EPOCH), parse_since)?;
            let all = books.withdrawals(since).await?;
            if csv || printer.format == Format::Csv {
                printer.out(&history_csv(&all));
            } else {
                printer.list(&all, &all, "stream_id", || history(&all));
            }
        }
        Streams::Withdraw { vm_id, all, force } => {
            let view = books.streams().await?;
            let vm = match (&vm_id, all) {
                (Some(which), _) => Some(find(&view, which)?.stream.vm_id.clone()),
                (None, _) => None,
            };
            let stage = async || match books.waiting().await {
                0 => None,
                1 => Some("one transaction waits for a block".to_owned()),
                count => Some(format!("{count} transactions wait for a block")),
            };
            let done = printer.watched("Withdrawing", books.withdraw(vm.as_ref(), force), stage).await?;
            let failed = done.iter().any(|one| one.outcome == WithdrawOutcome::Failed);
            printer.done(&done, || withdrawn(&done, &view));
            return Ok(if failed { Exit::Failed } else { Exit::Done });
        }
    }
    Ok(Exit::Done)
}

/// The money of one of the streams, which may be another than new rentals use.
fn money_of<'a>(view: &'a StreamsView, line: &'a StreamView) -> Money<'a> {
    if line.network == view.network && line.symbol == view.symbol {
        view.money()
    } else {
        Money { symbol: &line.symbol, decimals: line.decimals, usd: None }
    }
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

fn list(view: &StreamsView) -> String {
    if view.streams.is_empty() {
        return "No VM is paid by a stream.".to_owned();
    }
    let columns = ["VM", "STATE", "STREAM", "PAYS", "LEFT", "EARNED", "WITHDRAWABLE", "ID"];
    let rows = view.streams.iter().map(|line| {
        let StreamView { name, status, stream, .. } = line;
        let money = money_of(view, line);
        let computed = &stream.computed;
        [
            name.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            status.map_or_else(|| "ended".to_owned(), |state| state.to_string()),
            stream.stream_id.0.to_string(),
            if stream.verified { "yes".to_owned() } else { stream.reason.clone() },
            span(computed.remaining_seconds),
            money.show(computed.vested_wei),
            money.show(computed.withdrawable_wei),
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

fn withdrawn(done: &[WithdrawView], view: &StreamsView) -> String {
    if done.is_empty() {
        return "There is no stream to withdraw from.".to_owned();
    }
    let rows = done.iter().map(|one| {
        let told = one.error.clone().or_else(|| one.transaction.clone()).unwrap_or_default();
        let result = match one.outcome {
            WithdrawOutcome::Skipped => format!("skipped: {told}"),
            _ => told,
        };
        let is_it =
            |line: &&StreamView| line.stream.stream_id.0 == one.stream_id.0 && line.stream.vm_id == one.vm_id;
        let line = view.streams.iter().find(is_it);
        let money = line.map_or_else(|| view.money(), |line| money_of(view, line));
        [one.stream_id.0.to_string(), money.show(one.paid_wei), coins(one.cost_wei), result]
    });
    table(["STREAM", "PAID", "GAS", "RESULT"], rows)
}
