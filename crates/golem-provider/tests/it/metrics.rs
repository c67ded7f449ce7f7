//! What is measured: as `docs/metrics.md` has it, as the rules and the dashboard of the package read it, and over time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use golem_test_support::{Home, wait_up_to};
use serde_json::Value;

fn file(place: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(place)).unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// What the operator's port has at `path`.
pub(crate) fn read(home: &Home, path: &str) -> String {
    let token = std::fs::read_to_string(home.data().join("operator.token")).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", home.operator)).unwrap();
    let token = token.trim();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
        home.operator
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    body.to_owned()
}

/// The names of labels of each family that has samples.
fn labels(scrape: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<_, BTreeSet<String>>::new();
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or((line.split(' ').next().unwrap(), ""));
        let family = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let names = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
        all.entry(family.unwrap_or(name).to_owned()).or_default().extend(names.filter(|name| name != "le"));
    }
    all
}

/// Name, type and help of each family, in the order of the scrape.
fn families(scrape: &str) -> Vec<(String, String, String)> {
    let of = |line: &str, kind: &str| {
        let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let help: BTreeMap<_, _> = scrape.lines().filter_map(|line| of(line, "# HELP ")).collect();
    let types = scrape.lines().filter_map(|line| of(line, "# TYPE "));
    types.map(|(name, kind)| (name.clone(), kind, help[&name].trim_end_matches('.').to_owned())).collect()
}

/// Every family is in the documentation as it is, and every name in the package's rules and dashboard is one that is scraped.
#[test]
fn the_documentation_and_what_reads_the_metrics_have_the_names_that_there_are() {
    let home = Home::new();
    let _node = home.start(&[]);
    home.rent("measured");
    let scrape = read(&home, "/metrics");
    let (families, labels) = (families(&scrape), labels(&scrape));
    let page = file("docs/metrics.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `golem_provider_"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let known: Vec<_> = rows.iter().map(|row| (row[0].trim_matches('`'), row[1], row[3])).collect();
    let told: Vec<_> =
        families.iter().map(|(name, kind, help)| (name.as_str(), kind.as_str(), help.as_str())).collect();
    assert_eq!(known, told);
    for row in &rows {
        let Some(names) = labels.get(row[0].trim_matches('`')) else { continue };
        // What may stand there is told after a colon.
        let (mut said, mut is_value) = (BTreeSet::new(), false);
        for word in row[2].split(", ").filter(|word| !word.is_empty()) {
            if !is_value {
                said.insert(word.split(':').next().unwrap().to_owned());
            }
            is_value |= word.contains(':');
        }
        assert_eq!(&said, names, "labels of {}", row[0]);
    }
    let sampled: BTreeSet<String> = families
        .iter()
        .flat_map(|(name, kind, _)| match kind.as_str() {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"].map(|end| format!("{name}_{end}")).into(),
            _ => vec![name.clone()],
        })
        .collect();
    for place in ["packaging/prometheus/alerts.yml", "packaging/grafana/dashboard.json"] {
        let text = file(place);
        let parts = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let named: BTreeSet<&str> = parts.filter(|word| word.starts_with("golem_provider_")).collect();
        assert!(named.len() > 9, "{place} reads {named:?}");
        for name in named {
            assert!(sampled.contains(name), "{place} reads {name}, which nobody tells");
        }
    }
}

/// Charts have something to show without anybody who scrapes: what was used is kept for every minute, and outlives the node.
#[test]
fn what_was_used_is_kept_by_the_minute() {
    let home = Home::new();
    let node = home.start(&[]);
    let vm = home.rent("measured");
    let history = |path: &str| -> Value { serde_json::from_str(&read(&home, path)).unwrap() };
    let of_vm = || history(&format!("/v1/vms/{vm}/history/minute"));
    // The first minute of a process has no rates.
    wait_up_to(Duration::from_secs(180), "two minutes with the VM", || {
        of_vm()["at"].as_array().unwrap().len() >= 2
    });
    let kept = of_vm();
    assert_eq!(kept["step_seconds"], 60);
    let at: Vec<i64> = kept["at"].as_array().unwrap().iter().map(|at| at.as_i64().unwrap()).collect();
    assert!(at.iter().all(|at| at % 60 == 0) && at.windows(2).all(|pair| pair[0] < pair[1]), "{kept}");
    for column in ["cpu_permille", "memory_bytes", "disk_bytes", "received_per_second", "sent_per_second"] {
        let numbers = kept[column].as_array().unwrap();
        assert_eq!(numbers.len(), at.len(), "{column}");
        assert!(numbers.last().unwrap().is_u64(), "{column}: {kept}");
    }
    assert!(kept["memory_bytes"][0].as_u64() > Some(0));
    assert!(history("/v1/history/minute")["vms"].as_array().unwrap().contains(&1.into()));
    assert_eq!(history("/v1/history/hour")["step_seconds"], 3600);
    drop(node);
    let _node = home.start(&[]);
    let again = of_vm();
    assert_eq!(again["at"].as_array().unwrap()[..at.len()], kept["at"].as_array().unwrap()[..]);
}
