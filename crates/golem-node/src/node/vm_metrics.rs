//! What one VM uses, as its renter sees it: now, and over a range of the past.
//!
//! ```text
//!   usage now ── counters of a moment ago ──► rates
//!   rows of hours that are over ─┐
//!   rows of minutes after them ──┴─► in the range ─► means of equal steps; a step without rows has none
//! ```
//! Owns which rows make up a range, and their means. Never measures, and never invents a value.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use golem_types::VmId;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Node;
use super::measurements::{LEAST, Used};
use crate::error::NodeError;
use crate::ledger::{Measured, MeasuredVm, Step};
use crate::vm::Vm;

/// How much of the past is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistoryRange {
    /// In steps of a minute.
    #[default]
    Hour,
    /// In steps of five minutes.
    SixHours,
    /// In steps of a quarter of an hour.
    Day,
    /// In steps of an hour.
    Week,
    /// In steps of four hours.
    Month,
}

/// A text that names no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such range; known: 1h, 6h, 24h, 7d, 30d")]
pub struct UnknownRange;

impl HistoryRange {
    /// Every range, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::SixHours, Self::Day, Self::Week, Self::Month];

    /// The range as clients write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// How long it is, in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3600,
            Self::SixHours => 6 * 3600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
        }
    }

    /// How long each of its steps is, in seconds.
    #[must_use]
    pub const fn step_seconds(self) -> i64 {
        match self {
            Self::Hour => 60,
            Self::SixHours => 300,
            Self::Day => 900,
            Self::Week => 3600,
            Self::Month => 4 * 3600,
        }
    }

    /// When its first step begins, where it ends at `now`; in seconds since 1970.
    #[must_use]
    pub fn start(self, now: Timestamp) -> i64 {
        let from = now.as_second().saturating_sub(self.seconds());
        from.saturating_sub(from.rem_euclid(self.step_seconds()))
    }

    /// Whether it goes back further than rows of minutes are kept.
    const fn has_hours(self) -> bool {
        matches!(self, Self::Week | Self::Month)
    }
}

impl fmt::Display for HistoryRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HistoryRange {
    type Err = UnknownRange;

    fn from_str(text: &str) -> Result<Self, UnknownRange> {
        Self::ALL.into_iter().find(|range| range.as_str() == text).ok_or(UnknownRange)
    }
}

/// What a VM uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UseNow {
    /// When that was looked at.
    pub at: Timestamp,
    /// What it uses and has used; `None` while it does not run, or if its backend does not tell.
    pub used: Option<Used>,
    /// What it used in the time before; `None` as long as nothing was counted earlier of its process.
    pub lately: Option<Lately>,
}

/// What a VM used in the seconds before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lately {
    /// In how long.
    pub time: Duration,
    /// The means of that time.
    pub mean: MeasuredVm,
}

/// What was counted of every VM at two moments.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<[Option<Count>; 2]>);

/// What was counted at a moment.
type Count = (Instant, Arc<BTreeMap<VmId, Used>>);

impl Counted {
    /// Keeps what was counted at `at`, in place of the older of two.
    pub(super) fn keep(&self, at: Instant, used: Arc<BTreeMap<VmId, Used>>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts[0] = counts[1].replace((at, used));
    }

    /// What was counted last of `id` that lies long enough before `now` for a rate, and how long.
    fn before(&self, now: Instant, id: &VmId) -> Option<(Duration, Used)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old_enough = |count: &&Count| now.saturating_duration_since(count.0) >= LEAST;
        let (at, used) = counts.iter().rev().flatten().find(old_enough)?;
        Some((now.saturating_duration_since(*at), *used.get(id)?))
    }
}

impl Node {
    /// What the VM `vm` uses now.
    pub async fn vm_use_now(&self, vm: &Arc<Vm>) -> UseNow {
        let used = self.used_by(std::slice::from_ref(vm)).await.remove(&vm.id);
        let (now, at) = (Instant::now(), Timestamp::now());
        let before = self.0.counted.before(now, &vm.id);
        let lately = used
            .zip(before)
            .map(|(used, (time, before))| Lately { time, mean: used.since(Some(&before), time) });
        // Without a rate, the process began after what was counted before.
        UseNow { at, used, lately: lately.filter(|lately| lately.mean.cpu_permille.is_some()) }
    }

    /// What the VM `id` used in the `range` before `now`, as means of its steps, oldest first; steps of which nothing is known are
    /// missing. Nothing of a VM that is not known.
    ///
    /// # Errors
    /// [`NodeError::Ledger`].
    pub async fn vm_history(
        &self,
        id: &VmId,
        range: HistoryRange,
        now: Timestamp,
    ) -> Result<Measured<MeasuredVm>, NodeError> {
        let ledger = &self.0.ledger;
        let hours = match range.has_hours() {
            true => ledger.vm_use(id.clone(), Step::Hour, now).await?,
            false => Vec::new(),
        };
        let minutes = ledger.vm_use(id.clone(), Step::Minute, now).await?;
        Ok(history(range, &hours, &minutes, now))
    }
}

/// The means of the steps of `range`, of the rows of `hours` and of those `minutes` that are of no hour yet.
fn history(
    range: HistoryRange,
    hours: &Measured<MeasuredVm>,
    minutes: &Measured<MeasuredVm>,
    now: Timestamp,
) -> Measured<MeasuredVm> {
    let (from, until) = (range.start(now), now.as_second());
    let summed_up = hours.last().map_or(i64::MIN, |(at, _)| at.saturating_add(Step::Hour.seconds()));
    let hours = hours.iter().map(|row| (60, row));
    let minutes = minutes.iter().filter(|(at, _)| *at >= summed_up).map(|row| (1, row));
    let mut steps: BTreeMap<i64, Vec<(i128, MeasuredVm)>> = BTreeMap::new();
    // What is of later is of a clock that was wrong.
    for (weight, (at, row)) in hours.chain(minutes).filter(|(_, (at, _))| (from..=until).contains(at)) {
        let step = at - at.rem_euclid(range.step_seconds());
        steps.entry(step).or_default().push((weight, *row));
    }
    steps.into_iter().map(|(at, rows)| (at, mean_of(&rows))).collect()
}

/// The mean of rows, each with its weight; of a value that is not known in some, the mean of the others.
fn mean_of(rows: &[(i128, MeasuredVm)]) -> MeasuredVm {
    let mean = |value: &dyn Fn(&MeasuredVm) -> Option<i64>| {
        let known = rows.iter().filter_map(|(weight, row)| Some((*weight, i128::from(value(row)?))));
        let (weights, sum) =
            known.fold((0, 0), |(weights, sum), (weight, value)| (weights + weight, sum + weight * value));
        (weights > 0).then(|| i64::try_from(sum / weights).unwrap_or(i64::MAX))
    };
    let cpu = mean(&|row| row.cpu_permille.map(i64::from));
    MeasuredVm {
        cpu_permille: cpu.map(|cpu| u32::try_from(cpu).unwrap_or(u32::MAX)),
        memory_bytes: mean(&|row| Some(row.memory_bytes)).unwrap_or_default(),
        disk_bytes: mean(&|row| Some(row.disk_bytes)).unwrap_or_default(),
        received_per_second: mean(&|row| row.received_per_second),
        sent_per_second: mean(&|row| row.sent_per_second),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first minute of a day, in seconds since 1970.
    const DAY: i64 = 20_000 * 86_400;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const fn row(cpu_permille: Option<u32>, memory_bytes: i64) -> MeasuredVm {
        MeasuredVm {
            cpu_permille,
            memory_bytes,
            disk_bytes: 5,
            received_per_second: None,
            sent_per_second: Some(7),
        }
    }

    #[test]
    fn minutes_become_means_and_gaps_stay_gaps() {
        let minutes = vec![
            (DAY, row(Some(100), 10)),
            (DAY + 60, row(None, 20)),
            (DAY + 120, row(Some(300), 60)),
            // Nothing for ten minutes.
            (DAY + 900, row(Some(1), 1)),
        ];
        let now = time(DAY + 1000);
        let of = |range| history(range, &Vec::new(), &minutes, now);
        assert_eq!(of(HistoryRange::Hour), minutes);
        assert_eq!(of(HistoryRange::SixHours), [(DAY, row(Some(200), 30)), (DAY + 900, row(Some(1), 1))]);
    }

    #[test]
    fn the_hour_that_is_not_over_is_in_a_week_and_none_counts_twice() {
        let hours = vec![(DAY, row(Some(500), 50))];
        let minutes = vec![
            (DAY + 3540, row(Some(9), 9)),
            (DAY + 3600, row(Some(2), 20)),
            (DAY + 3660, row(Some(4), 40)),
        ];
        let week = history(HistoryRange::Week, &hours, &minutes, time(DAY + 4000));
        assert_eq!(week, [(DAY, row(Some(500), 50)), (DAY + 3600, row(Some(3), 30))]);
        let young = history(HistoryRange::Month, &Vec::new(), &minutes, time(DAY + 4000));
        assert_eq!(young, [(DAY, row(Some(5), 23))]);
    }

    #[test]
    fn a_rate_is_of_the_newest_count_that_is_old_enough() {
        let counted = Counted::default();
        let id = VmId::new(&"web".parse().unwrap(), time(DAY), [1; 10]);
        let used = |cpu_ms| Used { cpu_ms, memory_bytes: 0, disk_bytes: 0, bytes_in: None, bytes_out: None };
        let now = Instant::now() + Duration::from_secs(100);
        assert_eq!(counted.before(now, &id), None);
        for (seconds, cpu_ms) in [(60, 1), (2, 2)] {
            let at = now - Duration::from_secs(seconds);
            counted.keep(at, Arc::new(BTreeMap::from([(id.clone(), used(cpu_ms))])));
        }
        assert_eq!(counted.before(now, &id), Some((Duration::from_secs(60), used(1))));
        let later = now + Duration::from_secs(3);
        assert_eq!(counted.before(later, &id), Some((LEAST, used(2))));
        counted.keep(now, Arc::default());
        assert_eq!(counted.before(now + LEAST, &id), None, "it did not run then");
    }

    #[test]
    fn ranges_have_one_word_each() {
        for range in HistoryRange::ALL {
            assert_eq!(range.as_str().parse(), Ok(range));
            assert_eq!(range.seconds() % range.step_seconds(), 0);
        }
        for bad in ["", "1H", "1h ", "2h", "3600", "30d\0", "１h"] {
            assert_eq!(bad.parse::<HistoryRange>(), Err(UnknownRange), "{bad:?}");
        }
    }

    fn rows(step: i64) -> impl Strategy<Value = Measured<MeasuredVm>> {
        let row = (any::<Option<u32>>(), 0..i64::MAX, 0..i64::MAX, any::<Option<u32>>()).prop_map(
            |(cpu_permille, memory_bytes, disk_bytes, rate)| MeasuredVm {
                cpu_permille,
                memory_bytes,
                disk_bytes,
                received_per_second: rate.map(i64::from),
                sent_per_second: None,
            },
        );
        proptest::collection::btree_map(-800..200_i64, row, 0..60)
            .prop_map(move |rows| rows.into_iter().map(|(at, row)| (DAY + at * step, row)).collect())
    }

    proptest! {
        /// Whatever rows there are and whatever the clock says, points lie in the range, in order, one a step, where there is a
        /// row, and between what was measured.
        #[test]
        fn points_are_in_the_range_and_between_what_was_measured(
            hours in rows(3600), minutes in rows(60), which in 0..5_usize, now in -100_000..100_000_i64,
        ) {
            let (range, now) = (HistoryRange::ALL[which], time(DAY + now));
            let hours = if range.has_hours() { hours } else { Vec::new() };
            let points = history(range, &hours, &minutes, now);
            let step = range.step_seconds();
            prop_assert!(points.len() as i64 <= range.seconds() / step + 1);
            prop_assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
            for (at, point) in &points {
                prop_assert!(at % step == 0 && *at >= range.start(now) && *at <= now.as_second());
                let within = |row: &&(i64, MeasuredVm)| (*at..at + step).contains(&row.0);
                let of: Vec<_> = hours.iter().chain(&minutes).filter(within).map(|(_, row)| row).collect();
                prop_assert!(of.iter().any(|row| row.memory_bytes <= point.memory_bytes));
                prop_assert!(of.iter().any(|row| row.memory_bytes >= point.memory_bytes));
                prop_assert_eq!(point.sent_per_second, None, "nothing is made up");
                if let Some(cpu) = point.cpu_permille {
                    prop_assert!(of.iter().any(|row| row.cpu_permille.is_some_and(|known| known >= cpu)));
                }
            }
        }
    }
}
