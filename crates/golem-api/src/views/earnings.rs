//! What was earned and received, by day, VM and renter, and what is to come.
//!
//! Owns the sums over the books. Amounts are exact. Never asks a chain, and never prints.

use std::collections::BTreeMap;

use golem_node::entry::EntryKind;
use golem_types::VmId;
use golem_types::wire::Exact;
use jiff::{Timestamp, ToSpan, Zoned};
use ruint::aliases::U256;
use serde::Serialize;
use utoipa::ToSchema;

use super::entries_csv::{is_gas, is_received};
use super::{EntryView, StreamsView};

/// A span of days, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first of a month.
    Month,
}

/// What was earned.
#[derive(Debug, Serialize, ToSchema)]
pub struct EarningsView {
    pub symbol: String,
    pub decimals: u8,
    /// US dollars for a coin, as last believed; `None` if it is test money, or no rate is known.
    pub usd_per_coin: Option<String>,
    pub streams: Vec<StreamEarnings>,
    pub totals: Totals,
    pub periods: Vec<PeriodLine>,
    pub by_vm: Vec<GroupLine>,
    pub by_renter: Vec<GroupLine>,
    pub forecast: Forecast,
    /// What came in other money than that of the network that new rentals use.
    pub other_money: Vec<OtherMoney>,
}

/// What one stream that may still pay brought.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamEarnings {
    pub vm_id: VmId,
    pub stream_id: Exact,
    /// What its money is called: a token that is not known by its address.
    pub symbol: String,
    /// Digits after the point of that.
    pub decimals: u8,
    pub vested_wei: Exact,
    pub withdrawn_wei: Exact,
    pub withdrawable_wei: Exact,
}

/// Everything summed up; wei are the smallest units of the money.
#[derive(Debug, Serialize, ToSchema)]
pub struct Totals {
    /// Earned on the streams that are listed in the money of the network that new rentals use.
    pub vested_wei: Exact,
    /// Of it withdrawn.
    pub withdrawn_wei: Exact,
    /// Of it not yet withdrawn.
    pub withdrawable_wei: Exact,
    /// Earned, in US dollars at the rate of now.
    pub vested_usd: Option<String>,
    /// Not yet withdrawn, in US dollars at the rate of now.
    pub withdrawable_usd: Option<String>,
    /// Earned since the time that was asked for, also on streams that have ended.
    pub earned_wei: Exact,
    /// What reached the wallet since the time that was asked for, by withdrawals and because streams were ended.
    pub received_wei: Exact,
    /// Of it in blocks so new that they may still be taken back.
    pub pending_wei: Exact,
    /// What gas cost, with what a second layer takes for the first; in the chain's own money.
    pub gas_wei: Exact,
}

/// What came in a period, in UTC.
#[derive(Debug, Serialize, Default, ToSchema)]
pub struct PeriodLine {
    /// First day.
    pub period: String,
    /// Payments that reached the wallet.
    pub withdrawals: u64,
    pub earned_wei: Exact,
    pub received_wei: Exact,
    pub gas_wei: Exact,
}

/// What one VM or one renter brought.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupLine {
    /// The VM's id, or the renter's address; `None` if there never was a VM.
    pub of: Option<String>,
    pub earned_wei: Exact,
    pub received_wei: Exact,
}

/// What this month comes to, if what runs runs on until its stream ends.
#[derive(Debug, Serialize, ToSchema)]
pub struct Forecast {
    /// First day of the month.
    pub month: String,
    /// Earned in it until now.
    pub earned_wei: Exact,
    /// To be earned until its end.
    pub expected_wei: Exact,
    /// Both.
    pub total_wei: Exact,
}

/// What came in money that new rentals are not paid in.
#[derive(Debug, Serialize, ToSchema)]
pub struct OtherMoney {
    pub symbol: Option<String>,
    pub token: String,
    pub decimals: Option<u8>,
    pub received_wei: Exact,
}

fn sum(numbers: impl Iterator<Item = Exact>) -> Exact {
    Exact(numbers.fold(U256::ZERO, |sum, number| sum.saturating_add(number.0)))
}

fn add(sum: &mut Exact, more: Exact) {
    sum.0 = sum.0.saturating_add(more.0);
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

/// Seconds from `now` to the end of its month, in UTC.
fn left_of_month(now: Timestamp) -> u64 {
    let date = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let next = date.last_of_month().checked_add(1.days()).unwrap_or(date);
    let end = next.to_zoned(jiff::tz::TimeZone::UTC).map_or(now, |end| end.timestamp());
    u64::try_from(end.as_second().saturating_sub(now.as_second())).unwrap_or(0)
}

const fn is_earned(entry: &EntryView) -> bool {
    matches!(entry.kind, EntryKind::Earned)
}

/// What has vested on the stream of a line, and is in no entry yet: since the last midnight.
fn unbooked(view: &StreamsView, all: &[&EntryView]) -> Vec<(VmId, String, Exact)> {
    let of = |line: &super::StreamView| {
        let id = line.stream.stream_id.0;
        let mine = || all.iter().filter(|entry| entry.stream_id.is_some_and(|stream| stream.0 == id));
        let earned = sum(mine().filter(|entry| is_earned(entry)).map(|entry| entry.amount_wei)).0;
        let less = mine().filter(|entry| entry.kind == EntryKind::EarnedLess).map(|entry| entry.amount_wei);
        let booked = earned.saturating_sub(sum(less).0);
        let left = line.stream.computed.vested_wei.0.saturating_sub(booked);
        (line.stream.vm_id.clone(), line.stream.chain.sender.to_lowercase(), Exact(left))
    };
    view.streams.iter().filter(|line| line.symbol == view.symbol).map(of).collect()
}

impl EarningsView {
    /// The sums of `entries` since `since`, a line for each period `by`; and of the streams in `view`, which `now` may
    /// have vested more than `entries` say.
    #[must_use]
    pub fn of(
        view: &StreamsView,
        entries: &[EntryView],
        since: Timestamp,
        by: Period,
        now: Timestamp,
    ) -> Self {
        let streams: Vec<StreamEarnings> = view
            .streams
            .iter()
            .map(|line| StreamEarnings {
                vm_id: line.stream.vm_id.clone(),
                stream_id: line.stream.stream_id,
                symbol: line.symbol.clone(),
                decimals: line.decimals,
                vested_wei: line.stream.computed.vested_wei,
                withdrawn_wei: line.stream.chain.withdrawn,
                withdrawable_wei: line.stream.computed.withdrawable_wei,
            })
            .collect();
        // What nobody has a name for is none of it.
        let ours = |entry: &&EntryView| entry.symbol.as_deref() == Some(&view.symbol);
        let all: Vec<&EntryView> = entries.iter().filter(|entry| entry.counts()).collect();
        let own: Vec<&EntryView> = all.iter().copied().filter(ours).collect();
        let recent = || own.iter().filter(|entry| entry.at >= since);
        let gas: Vec<&&EntryView> = all.iter().filter(|entry| is_gas(entry) && entry.at >= since).collect();
        let open = unbooked(view, &own);

        let mut periods: BTreeMap<String, PeriodLine> = BTreeMap::new();
        let mut by_vm: BTreeMap<Option<String>, (Exact, Exact)> = BTreeMap::new();
        let mut by_renter: BTreeMap<Option<String>, (Exact, Exact)> = BTreeMap::new();
        for entry in recent() {
            let line = periods.entry(period(entry.at, by)).or_default();
            let (vm, renter) = (entry.vm_id.as_ref().map(ToString::to_string), entry.renter.clone());
            if is_earned(entry) {
                add(&mut line.earned_wei, entry.amount_wei);
                add(&mut by_vm.entry(vm).or_default().0, entry.amount_wei);
                add(&mut by_renter.entry(renter).or_default().0, entry.amount_wei);
            } else if is_received(entry) {
                line.withdrawals += 1;
                add(&mut line.received_wei, entry.amount_wei);
                add(&mut by_vm.entry(vm).or_default().1, entry.amount_wei);
                add(&mut by_renter.entry(renter).or_default().1, entry.amount_wei);
            }
        }
        for entry in &gas {
            add(&mut periods.entry(period(entry.at, by)).or_default().gas_wei, entry.amount_wei);
        }
        for (vm, renter, wei) in &open {
            add(&mut periods.entry(period(now, by)).or_default().earned_wei, *wei);
            add(&mut by_vm.entry(Some(vm.to_string())).or_default().0, *wei);
            add(&mut by_renter.entry(Some(renter.clone())).or_default().0, *wei);
        }
        periods.retain(|_, line| {
            line.withdrawals > 0 || !line.earned_wei.0.is_zero() || !line.gas_wei.0.is_zero()
        });
        let group = |(of, (earned_wei, received_wei)): (Option<String>, (Exact, Exact))| GroupLine {
            of,
            earned_wei,
            received_wei,
        };
        let of_money = view.streams.iter().zip(&streams).filter(|(line, _)| line.symbol == view.symbol);
        let open_sum = |of: fn(&StreamEarnings) -> Exact| sum(of_money.clone().map(|(_, line)| of(line)));
        let vested_wei = open_sum(|line| line.vested_wei);
        let withdrawable_wei = open_sum(|line| line.withdrawable_wei);
        let withdrawn_wei = open_sum(|line| line.withdrawn_wei);
        let not_booked = sum(open.iter().map(|(.., wei)| *wei));
        let mut earned_wei = sum(recent().filter(|entry| is_earned(entry)).map(|entry| entry.amount_wei));
        add(&mut earned_wei, not_booked);
        let received = || recent().filter(|entry| is_received(entry));
        let money = view.money();
        let mut other: BTreeMap<&str, OtherMoney> = BTreeMap::new();
        for entry in all.iter().filter(|entry| is_received(entry) && entry.at >= since && !ours(entry)) {
            let line = other.entry(&entry.token).or_insert_with(|| OtherMoney {
                symbol: entry.symbol.clone(),
                token: entry.token.clone(),
                decimals: entry.decimals,
                received_wei: Exact::default(),
            });
            add(&mut line.received_wei, entry.amount_wei);
        }
        Self {
            symbol: view.symbol.clone(),
            decimals: view.decimals,
            usd_per_coin: view.usd_per_coin.clone(),
            totals: Totals {
                vested_wei,
                withdrawn_wei,
                withdrawable_wei,
                vested_usd: money.worth(vested_wei),
                withdrawable_usd: money.worth(withdrawable_wei),
                earned_wei,
                received_wei: sum(received().map(|entry| entry.amount_wei)),
                pending_wei: sum(received().filter(|entry| entry.pending).map(|entry| entry.amount_wei)),
                gas_wei: sum(gas.iter().map(|entry| entry.amount_wei)),
            },
            streams,
            periods: periods.into_iter().map(|(period, line)| PeriodLine { period, ..line }).collect(),
            by_vm: by_vm.into_iter().map(group).collect(),
            by_renter: by_renter.into_iter().map(group).collect(),
            forecast: forecast(view, &own, not_booked, now),
            other_money: other.into_values().collect(),
        }
    }
}

/// What the month comes to, by what was earned in it and what the streams that pay still hold.
fn forecast(view: &StreamsView, own: &[&EntryView], not_booked: Exact, now: Timestamp) -> Forecast {
    let month = period(now, Period::Month);
    let in_month = |entry: &&&EntryView| is_earned(entry) && period(entry.at, Period::Month) == month;
    let mut earned_wei = sum(own.iter().filter(in_month).map(|entry| entry.amount_wei));
    add(&mut earned_wei, not_booked);
    let left = U256::from(left_of_month(now));
    let to_come = |line: &super::StreamView| {
        let (chain, computed) = (&line.stream.chain, &line.stream.computed);
        let seconds = computed.remaining_seconds.0.min(left);
        let unvested = chain.deposit.0.saturating_sub(computed.vested_wei.0);
        Exact(chain.rate_per_second.0.saturating_mul(seconds).min(unvested))
    };
    let paying = view.streams.iter().filter(|line| line.symbol == view.symbol && line.stream.verified);
    let expected_wei = sum(paying.map(to_come));
    let total_wei = sum([earned_wei, expected_wei].into_iter());
    Forecast { month, earned_wei, expected_wei, total_wei }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::views::entries_csv::tests::entry;

    fn view() -> StreamsView {
        serde_json::from_value(json!({
            "network": "mine", "symbol": "MINE", "usd_per_coin": null, "streams": [], "stale": null,
        }))
        .unwrap()
    }

    #[test]
    fn periods_begin_on_their_first_day() {
        let at: Timestamp = "2026-11-26T23:59:59Z".parse().unwrap();
        assert_eq!(period(at, Period::Day), "2026-11-26");
        assert_eq!(period(at, Period::Week), "2026-11-23");
        assert_eq!(period(at, Period::Month), "2026-11-01");
        assert_eq!(left_of_month(at), 4 * 86_400 + 1);
    }

    /// M-01, M-16: what a termination brought is received, by the day; what was taken back is not.
    #[test]
    fn sums_follow_from_the_books() {
        let entries = [
            entry("earned", "2026-11-24T23:59:59Z", "5", json!({})),
            entry("earned", "2026-11-25T10:00:00Z", "8", json!({})),
            entry("withdrawn", "2026-11-25T10:00:00Z", "6", json!({})),
            entry("terminated", "2026-11-25T12:00:00Z", "7", json!({ "pending": true, "renter": "0xbb" })),
            entry("withdrawn", "2026-11-25T12:00:00Z", "100", json!({ "reversed": true })),
            entry("unbooked", "2026-11-25T13:00:00Z", "100", json!({ "reverses": 5 })),
            entry("gas", "2026-11-25T10:00:00Z", "3", json!({ "symbol": "ETH" })),
            entry("withdrawn", "2026-11-25T14:00:00Z", "9", json!({ "symbol": "JUNK", "token": "0x77" })),
            entry("withdrawn", "2026-11-25T15:00:00Z", "4", json!({ "symbol": null, "token": "0x88" })),
        ];
        let now = "2026-11-26T00:00:00Z".parse().unwrap();
        let all = EarningsView::of(&view(), &entries, Timestamp::UNIX_EPOCH, Period::Day, now);
        let of = |wei: Exact| wei.0.to::<u64>();
        let totals = &all.totals;
        // M-01
        assert_eq!((of(totals.received_wei), of(totals.earned_wei), of(totals.gas_wei)), (13, 13, 3));
        // M-10
        assert_eq!(of(totals.pending_wei), 7);
        let days: Vec<_> = all
            .periods
            .iter()
            .map(|line| (line.period.as_str(), of(line.earned_wei), of(line.received_wei), line.withdrawals))
            .collect();
        // M-16
        assert_eq!(days, [("2026-11-24", 5, 0, 0), ("2026-11-25", 8, 13, 2)]);
        let renters: Vec<_> =
            all.by_renter.iter().map(|line| (line.of.as_deref(), of(line.received_wei))).collect();
        // M-16
        assert_eq!(renters, [(Some("0xaa"), 6), (Some("0xbb"), 7)]);
        let other: Vec<_> = all.other_money.iter().map(|other| other.symbol.as_deref()).collect();
        // M-04: a token without a name is told by its address, and counted with no other.
        assert_eq!(other, [Some("JUNK"), None]);
    }
}
