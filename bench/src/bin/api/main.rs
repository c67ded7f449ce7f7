//! The API: how soon it answers, what it costs at rest, how many requests it answers and how fast,
//! beside the original in the same run.
//!
//! `cargo xtask bench api`. Both have a host of plenty and VMs that cost nothing to make, so that
//! what is measured is the API itself.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

mod load;
mod nodes;

use std::time::Duration;

use anyhow::{Context, ensure};
use bench::figures::{Figures, Table, Targets, percentile};
use bench::{original, say};
use load::{Asker, Outcome, measure, request};
use nodes::Contender;

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_millis(1500);
const CONNECTIONS: [usize; 3] = [1, 16, 64];
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [_, serve, folder, port] = arguments.as_slice()
        && serve == "serve"
    {
        return runtime.block_on(nodes::serve(folder.into(), port.parse()?));
    }
    runtime.block_on(compare())
}

/// Rents VMs until there are `count`; gives the id of the last, and how long each took.
async fn fill(port: u16, have: usize, count: usize) -> anyhow::Result<(String, Vec<f64>)> {
    let mut asker = Asker::connect(port).await?;
    let (mut id, mut times) = (String::new(), Vec::new());
    for n in have..count {
        let body = format!(
            r#"{{"name":"vm-{n:04}","ssh_key":"{KEY}","resources":{{"cpu":1,"memory":1,"storage":10}}}}"#
        );
        let began = std::time::Instant::now();
        let (status, answer) = asker.ask(&request("POST", "/api/v1/vms", &body)).await?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        let text = String::from_utf8_lossy(&answer).into_owned();
        ensure!(status == 200, "a create was refused with {status}: {text}");
        let rest = text.split("\"id\":\"").nth(1).context("no id")?;
        id = rest.split('"').next().unwrap_or_default().to_owned();
    }
    Ok((id, times))
}

/// A quantity of both contenders.
#[derive(Default)]
struct Pair {
    ours: Figures,
    original: Figures,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.ours.median() / self.original.median()
    }
}

struct Report {
    table: Table,
    targets: Targets,
}

impl Report {
    /// Measures `path` on both at each number of connections, rounds interleaved.
    async fn compare(
        &mut self,
        what: &str,
        nodes: [&Contender; 2],
        path: [&str; 2],
        target: Option<f64>,
    ) -> anyhow::Result<()> {
        for connections in CONNECTIONS {
            let (mut rate, mut late) = (Pair::default(), Pair::default());
            for _ in 0..ROUNDS {
                for ((node, path), (rate, late)) in nodes
                    .iter()
                    .zip(path)
                    .zip([(&mut rate.ours, &mut late.ours), (&mut rate.original, &mut late.original)])
                {
                    let Outcome { a_second, milliseconds, refused } =
                        measure(node.port, connections, &request("GET", path, ""), TIME).await?;
                    ensure!(refused == 0, "{what}: {refused} requests were refused");
                    rate.push(a_second);
                    late.push(percentile(&milliseconds, 0.99));
                }
            }
            self.table.row(vec![
                format!("{what}, {connections} connections"),
                format!("{:.0}", rate.ours),
                format!("{:.0}", rate.original),
                format!("{:.1}×", rate.ratio()),
                format!("{:.2}", late.ours),
                format!("{:.2}", late.original),
            ]);
            if connections == 64 {
                let p99 = late.ours.median();
                self.targets.add(
                    &format!("{what}: p99 at 64 connections ≤ 10 ms"),
                    format!("{p99:.2} ms"),
                    p99 <= 10.0,
                );
                if let Some(target) = target {
                    let ratio = rate.ratio();
                    let text = format!("{what}: ≥ {target:.0}× the original's requests a second");
                    self.targets.add(&text, format!("{ratio:.1}×"), ratio >= target);
                }
            }
        }
        Ok(())
    }
}

async fn compare() -> anyhow::Result<()> {
    let python = original::python()?;
    let heads =
        ["request", "ours, a second", "original, a second", "ratio", "ours, p99 ms", "original, p99 ms"];
    let mut report = Report { table: Table::new(&heads), targets: Targets::default() };

    say("starts and memory at rest …");
    let (mut start, mut memory) = (Pair::default(), Pair::default());
    for _ in 0..ROUNDS {
        let mut ours = nodes::program()?;
        let original = nodes::original(&python)?;
        start.ours.push(ours.start.as_secs_f64());
        start.original.push(original.start.as_secs_f64());
        memory.ours.push(ours.process.memory()? / 1e6);
        memory.original.push(original.process.memory()? / 1e6);
        ensure!(ours.process.child().try_wait()?.is_none(), "the node ended");
    }

    let (ours, original) = (nodes::ours()?, nodes::original(&python)?);
    let both = [&ours, &original];
    say("provider/info …");
    report.compare("provider/info", both, ["/api/v1/provider/info"; 2], Some(15.0)).await?;
    let (mut have, mut created) = (0, [Vec::new(), Vec::new()]);
    for count in [0, 10, 50] {
        say(&format!("list with {count} VMs …"));
        let mut ids = [String::new(), String::new()];
        for (n, node) in both.iter().enumerate() {
            let (id, times) = fill(node.port, have, count).await?;
            ids[n] = id;
            created[n].extend(times);
        }
        have = count;
        let target = (count == 50).then_some(500.0);
        report.compare(&format!("list, {count} VMs"), both, ["/api/v1/vms"; 2], target).await?;
        if count == 10 {
            let paths = ids.map(|id| format!("/api/v1/vms/{id}"));
            say("get …");
            report.compare("get", both, [paths[0].as_str(), paths[1].as_str()], Some(50.0)).await?;
        }
    }
    say("list with 1000 VMs, ours …");
    fill(ours.port, have, 1000).await?;
    let thousand = measure(ours.port, 16, &request("GET", "/api/v1/vms", ""), TIME).await?;
    say("200 connections …");
    let crowd = measure(ours.port, 200, &request("GET", "/api/v1/provider/info", ""), TIME).await?;
    let crowd_original =
        measure(original.port, 200, &request("GET", "/api/v1/provider/info", ""), TIME).await;

    println!("\n{}", report.table);
    println!("start to first answer: {:.3} s, original {:.3} s", start.ours, start.original);
    println!("memory at rest: {:.1} MB, original {:.1} MB", memory.ours, memory.original);
    for (name, times) in ["ours", "original"].iter().zip(&created) {
        println!(
            "create, {name}: p50 {:.1} ms, p99 {:.1} ms",
            percentile(times, 0.5),
            percentile(times, 0.99)
        );
    }
    println!(
        "list, 1000 VMs, 16 connections, ours: {:.0} a second, p99 {:.2} ms",
        thousand.a_second,
        percentile(&thousand.milliseconds, 0.99)
    );
    match crowd_original {
        Ok(outcome) => println!("200 connections, original: {} refused", outcome.refused),
        Err(error) => println!("200 connections, original: {error:#}"),
    }
    let targets = &mut report.targets;
    targets.add("start ≤ 0.1 s", format!("{:.3} s", start.ours.median()), start.ours.median() <= 0.1);
    targets.add(
        "memory at rest ≤ 20 MB",
        format!("{:.1} MB", memory.ours.median()),
        memory.ours.median() <= 20.0,
    );
    targets.add("200 connections all answered", format!("{} refused", crowd.refused), crowd.refused == 0);
    println!("\n{}", report.targets);
    Ok(())
}
