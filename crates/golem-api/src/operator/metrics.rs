//! What the node knows of itself as OpenMetrics, for Prometheus and what reads the same.
//!
//! ```text
//!   GET /metrics ─► the look that the dashboard has as well (of this second) ─┐
//!                   requests that were counted ───────────────────────────────┴─► text
//! ```
//! Owns the names, units and labels of what is told: `docs/metrics.md` has them all. Never asks a chain or the backend more
//! often than the dashboard does, and tells of a VM only while there is one. Money is rounded to what a 64-bit float holds:
//! the books are exact, a chart need not be.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use golem_reach::report::Reach;
use golem_types::VmStatus;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use ruint::aliases::U256;

use super::dashboard::Look;
use super::{Operator, Shared};
use crate::error::{ApiError, ApiResult};
use crate::status::Answer;
use crate::views::VmView;

const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// The state of everything, as samples can be had of it.
#[derive(Debug)]
struct Scrape {
    families: Vec<Family>,
}

/// A family: what is measured, in one unit.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    /// Whether it only grows while the process lives.
    is_counter: bool,
    samples: Vec<(Vec<(&'static str, Value)>, f64)>,
}

/// A label's value. The library writes them as they are.
#[derive(Debug, Clone)]
struct Value(String);

impl EncodeLabelValue for Value {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\\' => encoder.write_str("\\\\"),
            '"' => encoder.write_str("\\\""),
            '\n' => encoder.write_str("\\n"),
            letter => encoder.write_char(letter),
        })
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, is_counter, samples } in &self.families {
            let kind = if *is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, number) in samples {
                let mut sample = family.encode_family(labels)?;
                if *is_counter {
                    sample.encode_counter::<[(&str, &str); 0], _, u64>(number, None)?;
                } else {
                    sample.encode_gauge(number)?;
                }
            }
        }
        Ok(())
    }
}

impl Scrape {
    fn gauge<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = ([(&'static str, String); N], f64)>,
    ) {
        self.family(name, help, false, samples);
    }

    fn one(&mut self, name: &'static str, help: &'static str, number: impl Into<f64>) {
        self.gauge(name, help, [([], number.into())]);
    }

    fn family<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        is_counter: bool,
        samples: impl IntoIterator<Item = ([(&'static str, String); N], f64)>,
    ) {
        // Of several with the same labels, as two keys of one host, the least is told: Prometheus takes one of a kind.
        let mut told = BTreeMap::<[(&'static str, String); N], f64>::new();
        for (labels, number) in samples {
            told.entry(labels).and_modify(|least| *least = least.min(number)).or_insert(number);
        }
        let labelled = |(labels, number): ([(&'static str, String); N], f64)| {
            (labels.into_iter().map(|(name, text)| (name, Value(text))).collect(), number)
        };
        let samples = told.into_iter().map(labelled).collect();
        self.families.push(Family { name, help, is_counter, samples });
    }
}

/// Everything that is measured, as OpenMetrics.
#[utoipa::path(
    get, path = "/metrics", tag = "Node",
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text", description = "The measurements"),
    ),
)]
pub(super) async fn metrics(State(operator): Shared) -> ApiResult {
    let look = operator.look().await;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(operator.scrape(&look)));
    let mut text = String::new();
    let written =
        encode_registry(&mut text, operator.requests.registry()).and_then(|()| encode(&mut text, &registry));
    written.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written"))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    Ok(response)
}

impl Operator {
    fn scrape(self: &Arc<Self>, look: &Look) -> Scrape {
        let mut scrape = Scrape { families: Vec::new() };
        self.of_the_node(look, &mut scrape);
        self.of_vms(look, &mut scrape);
        self.of_money(look.at, &mut scrape);
        self.of_others(look, &mut scrape);
        scrape
    }

    fn of_the_node(&self, look: &Look, scrape: &mut Scrape) {
        let summary = &look.node.summary;
        let labels = [("version", summary.version.clone()), ("backend", summary.backend.name.clone())];
        scrape.gauge("golem_provider_build_info", "Always 1; its labels tell what runs", [(labels, 1.0)]);
        let name = "golem_provider_start_timestamp_seconds";
        scrape.one(
            name,
            "When this run of the node began to answer, as seconds since 1970",
            seconds(self.started_at),
        );
        let name = "golem_provider_draining";
        scrape.one(
            name,
            "1 while no new rentals are taken because the operator said so",
            f64::from(summary.draining),
        );
        let name = "golem_provider_backend_up";
        scrape.one(name, "1 if the VM backend answered last", f64::from(summary.backend.answers));
        let name = "golem_provider_disk_trouble";
        let trouble = f64::from(summary.disk_trouble.is_some());
        scrape.one(name, "1 while the disk under the data directory is full or fails", trouble);
        let (total, free) = (summary.total, summary.free);
        for (name, help, total, free) in [
            (
                "golem_provider_cpus",
                "Virtual CPUs to rent out, and those of them that are free",
                total.cpu,
                free.cpu,
            ),
            (
                "golem_provider_memory_bytes",
                "Memory to rent out, and what of it is free",
                total.memory,
                free.memory,
            ),
            (
                "golem_provider_storage_bytes",
                "Storage to rent out, and what of it is free",
                total.storage,
                free.storage,
            ),
        ] {
            let unit = if name.ends_with("_bytes") { GIB } else { 1.0 };
            let of = |what: &str| [("what", what.to_owned())];
            let samples = [(of("total"), f64::from(total) * unit), (of("free"), f64::from(free) * unit)];
            scrape.gauge(name, help, samples);
        }
        let host = summary.host;
        let of = |what: &str, percent: u8| ([("resource", what.to_owned())], f64::from(percent) / 100.0);
        let samples = [
            of("cpu", host.cpu_percent),
            of("memory", host.memory_percent),
            of("storage", host.storage_percent),
        ];
        scrape.gauge(
            "golem_provider_host_used_ratio",
            "How much of the host is in use, from 0 to 1",
            samples,
        );
        let Some(health) = &look.node.health else { return };
        let issues = u32::try_from(health.issues.len()).unwrap_or(u32::MAX);
        scrape.one("golem_provider_issues", "What is off, as `golem-provider status` counts it", issues);
        let rows = health.checklist.iter().filter_map(|row| {
            let number = match row.row.answer {
                Answer::Yes => 1.0,
                Answer::No => 0.0,
                Answer::Unknown => return None,
            };
            Some(([("question", row.word.to_owned())], number))
        });
        let help =
            "Whether the node can be rented, found, reached, paid; without a sample while nobody could tell";
        scrape.gauge("golem_provider_checklist", help, rows);
        let update = f64::from(health.update_available);
        scrape.one("golem_provider_update_available", "1 if a newer version is published", update);
    }

    fn of_vms(&self, look: &Look, scrape: &mut Scrape) {
        let views = &look.views;
        let count = |state: VmStatus| {
            let number = views.iter().filter(|vm| vm.status == state).count();
            ([("state", state.as_str().to_owned())], u32::try_from(number).map_or(f64::MAX, f64::from))
        };
        let states = [
            VmStatus::Creating,
            VmStatus::Running,
            VmStatus::Stopping,
            VmStatus::Stopped,
            VmStatus::Suspending,
            VmStatus::Suspended,
            VmStatus::Error,
        ];
        scrape.gauge("golem_provider_vms", "Live VMs by their state", states.map(count));
        scrape.one("golem_provider_vms_maximum", "Most live VMs", look.node.summary.max_vms);
        let id = |vm: &VmView| [("vm", vm.id.to_string())];
        let info = |vm: &VmView| {
            let labels = [
                ("vm", vm.id.to_string()),
                ("name", vm.name.to_string()),
                ("image", vm.image.to_string()),
                ("state", vm.status.as_str().to_owned()),
            ];
            (labels, 1.0)
        };
        scrape.gauge("golem_provider_vm_info", "Always 1; its labels tell of the VM", views.iter().map(info));
        let help = "1 if something is wrong with the VM: it failed, is paused, or its port is not open";
        let trouble = views.iter().map(|vm| (id(vm), f64::from(vm.error.is_some())));
        scrape.gauge("golem_provider_vm_trouble", help, trouble);
        let help = "1 if the guest can reach the internet and nothing else, 0 if it is not in a network of its own or was cut";
        let own = views.iter().map(|vm| (id(vm), f64::from(vm.network_problem.is_none())));
        scrape.gauge("golem_provider_vm_network_isolated", help, own);
        let paid = look.paid_until.iter().map(|(vm, until)| ([("vm", vm.clone())], seconds(*until)));
        let help = "By when the VM's stream has paid, as far as is known, as seconds since 1970";
        scrape.gauge("golem_provider_vm_paid_until_timestamp_seconds", help, paid);
        let counted = |index: usize, unit: f64| {
            let of =
                move |(vm, count): (&String, &[u64; 5])| ([("vm", vm.clone())], float(count[index]) * unit);
            look.counted.iter().map(of)
        };
        let help = "CPU time that the VM's process has used, in seconds";
        scrape.family("golem_provider_vm_cpu_seconds", help, true, counted(0, 0.001));
        scrape.gauge("golem_provider_vm_memory_bytes", "Memory that the VM's process holds", counted(1, 1.0));
        scrape.gauge(
            "golem_provider_vm_disk_bytes",
            "Space that the VM's disk takes on the host",
            counted(2, 1.0),
        );
        let help = "Bytes into the VM, over its network where that is counted, else through its SSH port";
        scrape.family("golem_provider_vm_network_received_bytes", help, true, counted(3, 1.0));
        let help = "Bytes out of the VM, over its network where that is counted, else through its SSH port";
        scrape.family("golem_provider_vm_network_sent_bytes", help, true, counted(4, 1.0));
        let traffic = || views.iter().filter_map(|vm| Some((vm, vm.traffic?)));
        let open = traffic().map(|(vm, traffic)| (id(vm), float(traffic.connections_open)));
        scrape.gauge(
            "golem_provider_vm_ssh_connections_open",
            "Connections through the VM's SSH port now",
            open,
        );
        let all = traffic().map(|(vm, traffic)| (id(vm), float(traffic.connections_total)));
        let help = "Connections that the VM's SSH port has taken since it was opened";
        scrape.family("golem_provider_vm_ssh_connections", help, true, all);
    }

    fn of_money(&self, at: Timestamp, scrape: &mut Scrape) {
        let mut samples = Vec::new();
        for payments in self.node.contracts().all() {
            let config = payments.config();
            let (mut vested, mut withdrawn) = (U256::ZERO, U256::ZERO);
            for copy in payments.known() {
                vested = vested.saturating_add(copy.stream.vested(copy.estimated_now(at)));
                withdrawn = withdrawn.saturating_add(copy.stream.withdrawn);
            }
            let labels = |what: &str| {
                [
                    ("network", config.name.clone()),
                    ("contract", config.contract.to_string()),
                    ("symbol", config.symbol.clone()),
                    ("what", what.to_owned()),
                ]
            };
            let coins = |amount: U256| f64::from(amount) / 10_f64.powi(i32::from(config.decimals));
            samples.push((labels("vested"), coins(vested)));
            samples.push((labels("withdrawn"), coins(withdrawn)));
            samples.push((labels("withdrawable"), coins(vested.saturating_sub(withdrawn))));
        }
        let help = "Money of streams that may still pay, in whole coins: what has vested, and what of it was withdrawn or can be";
        scrape.gauge("golem_provider_stream_coins", help, samples);
    }

    /// What others have a part in: chains, markets, the certificate, ports.
    fn of_others(&self, look: &Look, scrape: &mut Scrape) {
        let summary = &look.node.summary;
        let networks = || summary.payments.iter().chain(&summary.other_payments);
        let endpoints = || {
            networks().flat_map(|network| {
                let labels = |host: &str| [("network", network.network.clone()), ("host", host.to_owned())];
                network.endpoints.iter().map(move |endpoint| (labels(&endpoint.host), endpoint))
            })
        };
        let up = endpoints().map(|(labels, endpoint)| (labels, f64::from(endpoint.is_well)));
        scrape.gauge("golem_provider_endpoint_up", "1 if the chain's endpoint answered well last", up);
        let latency =
            endpoints().filter_map(|(labels, endpoint)| Some((labels, float(endpoint.latency_ms?) / 1000.0)));
        scrape.gauge("golem_provider_endpoint_latency_seconds", "How long its last answer took", latency);
        let of = |network: &str| [("network", network.to_owned())];
        let read = networks().filter_map(|network| Some((of(&network.network), seconds(network.read_at?))));
        let help = "When the chain was read last, as seconds since 1970";
        scrape.gauge("golem_provider_chain_read_timestamp_seconds", help, read);
        let waiting = u32::try_from(summary.transactions.len()).unwrap_or(u32::MAX);
        scrape.one(
            "golem_provider_transactions_late",
            "Transactions that wait for longer than usual",
            waiting,
        );
        let adverts = || {
            summary
                .adverts
                .iter()
                .map(|advert| ([("market", advert.market.clone()), ("place", advert.place.clone())], advert))
        };
        let current = adverts().map(|(labels, advert)| (labels, f64::from(advert.problem.is_none())));
        scrape.gauge("golem_provider_advert_up", "1 unless something keeps the advert from renters", current);
        let lapses = adverts().filter_map(|(labels, advert)| Some((labels, seconds(advert.lapses_at?))));
        let help = "About when renters stop reading the advert if nothing is written, as seconds since 1970";
        scrape.gauge("golem_provider_advert_lapses_timestamp_seconds", help, lapses);
        let until =
            summary.https.iter().filter_map(|https| Some(([], seconds(https.certificate.as_ref()?.until))));
        let help = "When the certificate for https ends, as seconds since 1970";
        scrape.gauge("golem_provider_certificate_expiry_timestamp_seconds", help, until);
        let range = summary.ports.end.saturating_sub(summary.ports.start);
        let in_use = u32::try_from(summary.ports.in_use.len()).unwrap_or(u32::MAX);
        let mut ports = vec![([("state", "range".to_owned())], f64::from(range))];
        ports.push(([("state", "in_use".to_owned())], f64::from(in_use)));
        if let Some(known) = &self.config.ports {
            let report = known.report();
            for reach in [Reach::Reachable, Reach::Unreachable, Reach::Unknown] {
                let count = report.ssh.iter().filter(|port| port.status == reach).count();
                let count = u32::try_from(count).map_or(f64::MAX, f64::from);
                ports.push(([("state", reach.as_str().to_owned())], count));
            }
        }
        let help = "SSH ports: of the range, held by VMs, and by what was found out from outside";
        scrape.gauge("golem_provider_ssh_ports", help, ports);
    }
}

/// Seconds since 1970.
fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// The nearest of the numbers that a chart can have.
#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a chart shows no difference")]
const fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two keys at one host, or two contracts on one chain, are one endpoint to a chart.
    #[test]
    fn nothing_is_told_twice_and_what_is_wrong_is_not_hidden() {
        let mut scrape = Scrape { families: Vec::new() };
        let of = |host: &str| [("host", host.to_owned())];
        scrape.gauge(
            "up",
            "Whether it is",
            [(of("a"), 1.0), (of("a"), 0.0), (of("a"), 1.0), (of("b\"\n"), 1.0)],
        );
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, [r#"up{host="a"} 0.0"#, r#"up{host="b\"\n"} 1.0"#]);
    }
}
