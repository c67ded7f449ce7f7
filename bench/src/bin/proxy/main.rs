//! The SSH proxy beside nginx, haproxy, socat and the original's, and beside no proxy at all.
//!
//! ```text
//!   this process: renters ──► contender (own process) ──► far ends: this process
//! ```
//!
//! `proxy [ROUNDS] [MEBIBYTES]`: every round measures every contender once, one after the other,
//! so that what else the machine does meets all of them.

#![expect(clippy::print_stdout, reason = "the report is the output")]

mod contenders;
mod endpoints;
mod measure;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bench::figures::{Figures, Table, Targets};
use golem_node::proxy::{Proxy, ProxyLimits};

use contenders::{Contender, Running};
use endpoints::Endpoints;

const MEBIBYTE: u64 = 1 << 20;
/// Round trips measured each round.
const ROUND_TRIPS: usize = 20_000;
/// Connections made each round.
const CONNECTIONS: usize = 8_000;
/// Connections held idle.
const IDLE: usize = 1_000;
/// What a reader that stalls should have read.
const STALLED: u64 = 1024 * MEBIBYTE;
/// What is still due when a renter ends its side.
const HALF_CLOSE: u64 = 4 * MEBIBYTE;

/// What was measured of one contender.
#[derive(Default)]
struct Results {
    down: Figures,
    up: Figures,
    cpu: Figures,
    median: Figures,
    tail: Figures,
    connections: Figures,
    idle: Figures,
    stalled_renter: Figures,
    stalled_guest: Figures,
    accepted: Figures,
    half_close: Figures,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", pairs @ ..] => serve(pairs),
        [] => compare(5, 512),
        [rounds] => compare(rounds.parse()?, 512),
        [rounds, mebibytes] => compare(rounds.parse()?, mebibytes.parse()?),
        _ => bail!("usage: proxy [ROUNDS] [MEBIBYTES]"),
    }
}

/// Our proxy alone, until the input ends: the process that is measured.
fn serve(pairs: &[&str]) -> anyhow::Result<()> {
    let hour = Duration::from_secs(3600);
    let limits = ProxyLimits {
        per_port: 32_768,
        total: 32_768,
        greeting: 196_608,
        speak: hour,
        idle: hour,
        drain: Duration::ZERO,
        connect: hour,
    };
    let proxy = Proxy::start(limits)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for pair in pairs.chunks_exact(2) {
        let (listen, target): (SocketAddr, SocketAddr) = (pair[0].parse()?, pair[1].parse()?);
        runtime.block_on(proxy.open(listen, target))?;
    }
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.block_on(proxy.shutdown());
    Ok(())
}

fn compare(rounds: usize, mebibytes: u64) -> anyhow::Result<()> {
    contenders::set_up()?;
    bench::original::python()?;
    raise_descriptor_limit()?;
    let folder = tempfile::tempdir()?;
    let ends = Endpoints::start()?;
    let mut results = BTreeMap::<Contender, Results>::new();
    for round in 1..=rounds {
        for contender in Contender::ALL {
            println!("round {round} of {rounds}: {}", contender.name());
            let results = results.entry(contender).or_default();
            speed(contender, &ends, folder.path(), mebibytes, results)
                .and_then(|()| footprint(contender, &ends, folder.path(), results))
                .with_context(|| contender.name())?;
        }
    }
    report(&results, rounds, mebibytes);
    Ok(())
}

/// This process holds both ends of every connection.
fn raise_descriptor_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

fn speed(
    contender: Contender,
    ends: &Endpoints,
    folder: &std::path::Path,
    mebibytes: u64,
    results: &mut Results,
) -> anyhow::Result<()> {
    let running = contenders::start(contender, ends, folder)?;
    let bytes = mebibytes * MEBIBYTE;
    let (down, up) = (measure::down(&running, bytes)?, measure::up(&running, bytes)?);
    results.down.push(down.rate);
    results.up.push(up.rate);
    if contender != Contender::Direct {
        results.cpu.push(f64::midpoint(down.cpu, up.cpu));
    }
    let (median, tail) = measure::round_trips(&running, ROUND_TRIPS)?;
    results.median.push(median);
    results.tail.push(tail);
    results.connections.push(measure::connections(&running, CONNECTIONS)?);
    Ok(())
}

/// Memory is measured of fresh processes, so that nothing left over is reused.
fn footprint(
    contender: Contender,
    ends: &Endpoints,
    folder: &std::path::Path,
    results: &mut Results,
) -> anyhow::Result<()> {
    let start = || -> anyhow::Result<Running> { contenders::start(contender, ends, folder) };
    let delivered = measure::half_close(&start()?, HALF_CLOSE)?;
    #[expect(clippy::cast_precision_loss, reason = "4 MiB at most")]
    results.half_close.push(delivered as f64 / HALF_CLOSE as f64 * 100.0);
    if contender == Contender::Direct {
        return Ok(());
    }
    results.idle.push(measure::idle_memory(&start()?, IDLE)? / 1024.0);
    let renter = measure::stalled_renter(&start()?, ends, STALLED)?;
    let guest = measure::stalled_guest(&start()?, ends, STALLED)?;
    results.stalled_renter.push(renter.memory / 1e6);
    results.stalled_guest.push(guest.memory / 1e6);
    results.accepted.push(guest.accepted / 1_048_576.0);
    Ok(())
}

fn report(results: &BTreeMap<Contender, Results>, rounds: usize, mebibytes: u64) {
    println!("\nMedians of {rounds} rounds (least to greatest), {mebibytes} MiB each way, one connection.\n");
    let mut speed = Table::new(&[
        "proxy",
        "down MiB/s",
        "up MiB/s",
        "CPU s/GiB",
        "round trip p50 µs",
        "p99 µs",
        "connections/s",
    ]);
    let mut footprint = Table::new(&[
        "proxy",
        "kB per idle connection",
        "stalled renter, MB",
        "stalled guest, MB",
        "accepted for it, MiB",
        "half-close delivered, %",
    ]);
    for (contender, figures) in results {
        let name = contender.name().to_owned();
        speed.row(vec![
            name.clone(),
            format!("{:.0}", figures.down),
            format!("{:.0}", figures.up),
            format!("{:.2}", figures.cpu),
            format!("{:.1}", figures.median),
            format!("{:.0}", figures.tail),
            format!("{:.0}", figures.connections),
        ]);
        footprint.row(vec![
            name,
            format!("{:.1}", figures.idle),
            format!("{:.2}", figures.stalled_renter),
            format!("{:.2}", figures.stalled_guest),
            format!("{:.1}", figures.accepted),
            format!("{:.0}", figures.half_close),
        ]);
    }
    println!("{speed}\n{footprint}");
    println!("{}", targets(results));
}

fn targets(results: &BTreeMap<Contender, Results>) -> Targets {
    let mut targets = Targets::default();
    let median = |contender: Contender, figures: fn(&Results) -> &Figures| {
        results.get(&contender).map_or(f64::NAN, |results| figures(results).median())
    };
    let best = |figures: fn(&Results) -> &Figures| {
        [Contender::Nginx, Contender::Haproxy, Contender::Socat]
            .map(|contender| median(contender, figures))
            .into_iter()
            .fold(0.0, f64::max)
    };
    let ours = |figures| median(Contender::Ours, figures);
    let ratio = ours(|of| &of.down) / best(|of| &of.down);
    targets.add("bulk down ≥ the best of nginx, haproxy, socat", format!("{ratio:.2}×"), ratio >= 1.0);
    let ratio = ours(|of| &of.up) / best(|of| &of.up);
    targets.add("bulk up ≥ the best of nginx, haproxy, socat", format!("{ratio:.2}×"), ratio >= 1.0);
    let ratio = ours(|of| &of.cpu) / median(Contender::Original, |of| &of.cpu);
    targets.add("CPU per GiB ≤ 0.5× the original's", format!("{ratio:.2}×"), ratio <= 0.5);
    let microseconds = ours(|of| &of.median);
    targets.add("round trip p50 ≤ 15 µs", format!("{microseconds:.1} µs"), microseconds <= 15.0);
    let ratio = microseconds / median(Contender::Nginx, |of| &of.median);
    targets.add("round trip p50 ≤ nginx's", format!("{ratio:.2}×"), ratio <= 1.0);
    let ratio = ours(|of| &of.connections) / median(Contender::Nginx, |of| &of.connections);
    targets.add("connections/s ≥ nginx", format!("{ratio:.2}×"), ratio >= 1.0);
    let kilobytes = ours(|of| &of.idle);
    targets.add("≤ 4 kB an idle connection", format!("{kilobytes:.1} kB"), kilobytes <= 4.0);
    let megabytes = ours(|of| &of.stalled_renter).max(ours(|of| &of.stalled_guest));
    targets.add(
        "a stalled reader of 1 GiB costs ≤ 1 MB",
        format!("{megabytes:.2} MB (original {:.0} MB)", median(Contender::Original, |of| &of.stalled_guest)),
        megabytes <= 1.0,
    );
    let percent = ours(|of| &of.half_close);
    targets.add("half-close delivers everything", format!("{percent:.0} %"), percent >= 100.0);
    targets
}
