//! What a rented VM does, in words.
//!
//! Owns the lines that people read. Never asks anybody.

use golem_rent::Stats;
use golem_types::wire::{LatestMetrics, MetricsHistory, MetricsPoint, VmEvents, WireTime};

use crate::cli::layout::table;

/// What stands where nothing is known.
const UNKNOWN: &str = "-";

/// Units of 1,024 of the one before.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// `bytes` with the unit that fits.
fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut rest = bytes;
    while rest >= 10 * 1024 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    format!("{rest} {}", UNITS[unit])
}

fn maybe(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| UNKNOWN.to_owned(), size)
}

fn rate(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| UNKNOWN.to_owned(), |bytes| format!("{}/s", size(bytes)))
}

fn percent(percent: Option<f64>) -> String {
    // A provider may say anything.
    percent.map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{:.1} %", percent.clamp(0.0, 1e6)))
}

fn time(at: WireTime) -> String {
    at.0.strftime("%F %T").to_string()
}

/// `rent stats`.
pub(super) fn stats(stats: &Stats) -> String {
    let LatestMetrics {
        measured_at,
        rates_over_seconds,
        cpu_percent,
        cpu_rented_cores,
        memory_used_bytes,
        memory_rented_bytes,
        disk_used_bytes,
        disk_rented_bytes,
        network_received_bytes,
        network_sent_bytes,
        network_received_bytes_per_second,
        network_sent_bytes_per_second,
        ..
    } = &stats.latest;
    let over =
        rates_over_seconds.map(|seconds| format!(", rates of the last {:.0} s", seconds.clamp(0.0, 1e6)));
    let cores = if *cpu_rented_cores == 1 { "core" } else { "cores" };
    let now = [
        ("CPU", format!("{} of {cpu_rented_cores} {cores}", percent(*cpu_percent))),
        ("Memory", format!("{} of {}", maybe(*memory_used_bytes), size(*memory_rented_bytes))),
        ("Disk", format!("{} of {}", maybe(*disk_used_bytes), size(*disk_rented_bytes))),
        (
            "Received",
            format!(
                "{}, {} since its boot",
                rate(*network_received_bytes_per_second),
                maybe(*network_received_bytes)
            ),
        ),
        (
            "Sent",
            format!(
                "{}, {} since its boot",
                rate(*network_sent_bytes_per_second),
                maybe(*network_sent_bytes)
            ),
        ),
        ("Measured", format!("{} UTC{}", time(*measured_at), over.unwrap_or_default())),
    ];
    let mut text = super::text::lines(now.to_vec());
    if let Some(past) = &stats.history {
        text.push_str("\n\n");
        text.push_str(&history(past));
    }
    text
}

/// What was used, a line for each step; a line between steps that do not follow each other.
fn history(past: &MetricsHistory) -> String {
    if past.points.is_empty() {
        return format!("Nothing was measured in the last {}.", past.range);
    }
    let mut rows: Vec<[String; 6]> = Vec::new();
    let mut last: Option<WireTime> = None;
    for point in &past.points {
        let seconds = |before: WireTime| point.at.0.duration_since(before.0).as_secs();
        if last.is_some_and(|before| seconds(before) > i64::from(past.step_seconds)) {
            rows.push(["…", "", "", "", "", ""].map(str::to_owned));
        }
        let MetricsPoint { at, cpu_percent, memory_used_bytes, disk_used_bytes, .. } = *point;
        rows.push([
            time(at),
            percent(cpu_percent),
            maybe(memory_used_bytes),
            maybe(disk_used_bytes),
            rate(point.network_received_bytes_per_second),
            rate(point.network_sent_bytes_per_second),
        ]);
        last = Some(at);
    }
    table(["TIME (UTC)", "CPU", "MEMORY", "DISK", "RECEIVED", "SENT"], rows)
}

/// `rent events`.
pub(super) fn events(told: &VmEvents) -> String {
    let mut parts = Vec::new();
    if told.events.is_empty() {
        parts.push("Nothing is known to have happened.".to_owned());
    } else {
        let rows = told.events.iter().map(|event| [time(event.at), event.kind.clone(), event.detail.clone()]);
        parts.push(table(["TIME (UTC)", "WHAT", "MORE"], rows));
    }
    if let [first, ..] = told.last_boot.as_slice() {
        let rows = told.last_boot.iter().map(|reached| {
            let after = reached.at.0.duration_since(first.at.0).as_secs_f64();
            [time(reached.at), reached.stage.clone(), format!("+{:.1} s", after.max(0.0))]
        });
        parts.push(format!("Last boot\n{}", table(["TIME (UTC)", "STAGE", "AFTER"], rows)));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits_and_what_is_not_known_is_a_dash() {
        assert_eq!((size(0), size(10_239), size(10_240)), ("0 B".into(), "10239 B".into(), "10 KiB".into()));
        assert_eq!((size(2 << 30), size(64 << 30)), ("2048 MiB".into(), "64 GiB".into()));
        assert_eq!(size(u64::MAX), "16777215 TiB");
        assert_eq!((maybe(None), rate(None), percent(None)), ("-".into(), "-".into(), "-".into()));
        assert_eq!((percent(Some(12.34)), percent(Some(1e300))), ("12.3 %".into(), "1000000.0 %".into()));
    }
}
