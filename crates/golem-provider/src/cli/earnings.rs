//! `earnings`: what was earned and received, by day, VM and renter, and what is to come; for people, programs and taxes.
//!
//! Owns what is printed of them: amounts for people have six significant digits, everything else is exact. Never sums up:
//! `golem_api` does.

use anyhow::Context;
use golem_api::views::earnings::{EarningsView, Period};
use golem_api::views::entries_csv::csv;
use golem_types::amount::{Money, coin, units};
use golem_types::wire::Exact;
use jiff::{Timestamp, ToSpan};

use super::arguments;
use super::layout::table;
use super::money_source::MoneySource;
use super::{Exit, Invocation};

/// `earnings`.
pub(super) async fn earnings(invocation: &Invocation, wanted: &arguments::Earnings) -> anyhow::Result<Exit> {
    let source = MoneySource::open(invocation).await?;
    print(invocation, &source, wanted).await
}

/// The same, asked of `source`.
pub(super) async fn print(
    invocation: &Invocation,
    source: &MoneySource,
    wanted: &arguments::Earnings,
) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let since = wanted.since.as_deref().map_or(Ok(Timestamp::UNIX_EPOCH), parse_since)?;
    let entries = source.entries(Timestamp::UNIX_EPOCH).await?;
    if wanted.csv || printer.format == arguments::Format::Csv {
        printer.out(&csv(&entries, since));
        return Ok(Exit::Done);
    }
    let view = source.streams().await?;
    let by = match wanted.by {
        arguments::Period::Day => Period::Day,
        arguments::Period::Week => Period::Week,
        arguments::Period::Month => Period::Month,
    };
    let earnings = EarningsView::of(&view, &entries, since, by, Timestamp::now());
    printer.answer(&earnings, || text(&earnings));
    if let Some(why) = &view.stale
        && !printer.json
    {
        printer.warning(&format!("shown as last read: {why}"));
    }
    Ok(Exit::Done)
}

/// The time that `text` means: `36h`, `7d`, `4w`, or a day as `2026-11-01`, in UTC.
pub(super) fn parse_since(text: &str) -> anyhow::Result<Timestamp> {
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

fn text(earnings: &EarningsView) -> String {
    let usd = earnings.usd_per_coin.as_deref().and_then(|usd| usd.parse().ok());
    let in_money = Money { symbol: &earnings.symbol, decimals: earnings.decimals, usd };
    let money = |wei: Exact| in_money.show(wei);
    let totals = &earnings.totals;
    let mut text = [
        ("Earned", money(totals.earned_wei)),
        ("Received in the wallet", money(totals.received_wei)),
        ("Of it not settled yet", money(totals.pending_wei)),
        ("Gas for that", coin(totals.gas_wei)),
        ("Earned on open streams", money(totals.vested_wei)),
        ("Of it withdrawn", money(totals.withdrawn_wei)),
        ("Withdrawable now", money(totals.withdrawable_wei)),
        ("Forecast for the month", money(earnings.forecast.total_wei)),
    ]
    .map(|(name, text)| format!("{name:<24}{text}"))
    .join("\n");
    for other in &earnings.other_money {
        let name = other.symbol.clone().unwrap_or_else(|| other.token.clone());
        let amount = units(other.received_wei, other.decimals.unwrap_or(0));
        text.push_str(&format!("\n{:<24}{amount} {name}", "Received, other money"));
    }
    if !earnings.periods.is_empty() {
        let rows = earnings.periods.iter().map(|line| {
            [
                line.period.clone(),
                money(line.earned_wei),
                money(line.received_wei),
                line.withdrawals.to_string(),
                coin(line.gas_wei),
            ]
        });
        text.push_str("\n\n");
        text.push_str(&table(["FROM", "EARNED", "RECEIVED", "PAYMENTS", "GAS"], rows));
    }
    for (title, lines) in [("VM", &earnings.by_vm), ("RENTER", &earnings.by_renter)] {
        if lines.is_empty() {
            continue;
        }
        let rows = lines.iter().map(|line| {
            [
                line.of.clone().unwrap_or_else(|| "-".to_owned()),
                money(line.earned_wei),
                money(line.received_wei),
            ]
        });
        text.push_str("\n\n");
        text.push_str(&table([title, "EARNED", "RECEIVED"], rows));
    }
    text
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
}
