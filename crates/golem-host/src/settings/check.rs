//! Settings that are good alone and wrong together.
//!
//! Owns the rules between settings, as a pure function. Never reads a text: `value` does.

use std::collections::BTreeMap;

use golem_market::discovery::LIFETIME_SECONDS;
use golem_types::Resources;

use super::reader::shown;
use super::source::{Found, Origin};
use super::value::{ApiAuth, Network};
use super::{Mistake, Settings};

/// Most ports for VMs: in as many batches as fit into the time of one verification (`golem_node::port_verification`), and
/// thousands more than a machine has room for VMs.
const PORTS_MAXIMUM: u16 = 10_000;

/// Everything that is wrong between the settings.
pub(super) fn check(settings: &Settings, found: &BTreeMap<&'static str, Found>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut wrong = |variable: &'static str, problem: String, fix: String| {
        let (text, origin) = super::variable(variable)
            .zip(found.get(variable))
            .map_or((String::new(), Origin::Unset), |(row, found)| (shown(row, found), found.origin.clone()));
        mistakes.push(Mistake { variable: variable.to_owned(), value: Some(text), origin, problem, fix });
    };

    for (variable, problem, fix) in super::alerts::check(&settings.alerts) {
        wrong(variable, problem.to_owned(), fix.to_owned());
    }
    let (start, end) = (settings.ports.port_range_start, settings.ports.port_range_end);
    if start >= end {
        wrong(
            "GOLEM_PROVIDER_PORT_RANGE_END",
            format!(
                "is not above GOLEM_PROVIDER_PORT_RANGE_START, which is {start}: no port is between them"
            ),
            format!(
                "set it to at least {}, e.g. {} for 100 ports",
                u32::from(start.get()) + 1,
                u32::from(start.get()) + 100
            ),
        );
    }
    if settings
        .vms
        .multipass_binary_path
        .as_ref()
        .is_some_and(|path| !path.starts_with("/") && !path.starts_with("~"))
    {
        wrong(
            "GOLEM_PROVIDER_MULTIPASS_BINARY_PATH",
            "begins in the working directory, where anybody's program may lie".to_owned(),
            "set it to an absolute path".to_owned(),
        );
    }
    let ports = end.get().saturating_sub(start.get());
    if ports > PORTS_MAXIMUM {
        wrong(
            "GOLEM_PROVIDER_PORT_RANGE_END",
            format!(
                "leaves {ports} ports for VMs above GOLEM_PROVIDER_PORT_RANGE_START={start}, of which each is tried \
                 from outside: {PORTS_MAXIMUM} are the most"
            ),
            format!("set it to at most {}", u32::from(start.get()) + u32::from(PORTS_MAXIMUM)),
        );
    }
    for (variable, port) in [
        ("GOLEM_PROVIDER_PORT", settings.api.port),
        ("GOLEM_PROVIDER_OPERATOR_PORT", settings.operator.operator_port),
        ("GOLEM_PROVIDER_TLS_PORT", settings.https.port),
    ] {
        if start <= port && port < end {
            wrong(
                variable,
                format!(
                    "is inside the range of SSH ports (GOLEM_PROVIDER_PORT_RANGE_START={start} until \
                     GOLEM_PROVIDER_PORT_RANGE_END={end})"
                ),
                "set it to a port outside the range, or move the range".to_owned(),
            );
        }
    }
    if settings.api.port == settings.operator.operator_port {
        wrong(
            "GOLEM_PROVIDER_OPERATOR_PORT",
            "is the port of the public API, GOLEM_PROVIDER_PORT".to_owned(),
            "set the two to different ports".to_owned(),
        );
    }
    let others = [settings.api.port, settings.operator.operator_port];
    if others.contains(&settings.https.port) {
        wrong(
            "GOLEM_PROVIDER_TLS_PORT",
            "is the port of the public API or the operator API".to_owned(),
            "set it to a port of its own".to_owned(),
        );
    }
    for (given, missing, is_wrong) in [
        (
            "GOLEM_PROVIDER_TLS_CERT",
            "GOLEM_PROVIDER_TLS_KEY",
            settings.https.certificate.is_some() && settings.https.key.is_none(),
        ),
        (
            "GOLEM_PROVIDER_TLS_KEY",
            "GOLEM_PROVIDER_TLS_CERT",
            settings.https.key.is_some() && settings.https.certificate.is_none(),
        ),
    ] {
        if is_wrong {
            wrong(given, format!("needs {missing}"), format!("set {missing} as well"));
        }
    }
    if settings.api.public_ip_sources.0.len() < 2 {
        wrong(
            "GOLEM_PROVIDER_PUBLIC_IP_SOURCES",
            "names one server; two have to agree, so that none of them decides alone".to_owned(),
            "name more, or set GOLEM_PROVIDER_PUBLIC_IP to the address".to_owned(),
        );
    }
    if settings.market.discovery_interval.as_secs() >= LIFETIME_SECONDS.unsigned_abs() {
        wrong(
            "GOLEM_PROVIDER_DISCOVERY_ADVERTISEMENT_INTERVAL",
            format!(
                "would leave gaps: a discovery server forgets an advert after {LIFETIME_SECONDS} seconds"
            ),
            "set it to 240".to_owned(),
        );
    }
    if settings.api.api_auth == ApiAuth::Open && settings.node.network == Network::Mainnet {
        wrong(
            "GOLEM_PROVIDER_API_AUTH",
            "would let strangers use and delete VMs that were paid for: it is refused on mainnet".to_owned(),
            "set it to capability, or GOLEM_PROVIDER_NETWORK to testnet or development".to_owned(),
        );
    }
    let largest = |menu: &[u32]| menu.iter().copied().max().unwrap_or(0);
    for (variable, minimum, maximum) in [
        ("GOLEM_PROVIDER_MIN_CPU_CORES", settings.vms.min_cpu_cores.0, largest(&Resources::CPU_MENU)),
        ("GOLEM_PROVIDER_MIN_MEMORY_GB", settings.vms.min_memory_gb.0, largest(&Resources::MEMORY_MENU)),
        ("GOLEM_PROVIDER_MIN_STORAGE_GB", settings.vms.min_storage_gb.0, Resources::STORAGE_MAXIMUM),
    ] {
        if minimum > maximum {
            wrong(
                variable,
                format!("is more than any VM can have, {maximum}: nothing could be rented"),
                format!("set it to at most {maximum}"),
            );
        }
    }
    for (variable, offered, least, minimum) in [
        (
            "GOLEM_PROVIDER_RENT_MEMORY_GB",
            settings.vms.rent_memory_gb,
            "GOLEM_PROVIDER_MIN_MEMORY_GB",
            settings.vms.min_memory_gb,
        ),
        (
            "GOLEM_PROVIDER_RENT_STORAGE_GB",
            settings.vms.rent_storage_gb,
            "GOLEM_PROVIDER_MIN_STORAGE_GB",
            settings.vms.min_storage_gb,
        ),
    ] {
        if let Some(offered) = offered
            && offered.0 < minimum.0
        {
            wrong(
                variable,
                format!(
                    "is less than any renter may ask for, {least}={}: nothing could be rented",
                    minimum.0
                ),
                format!("set it to at least {}", minimum.0),
            );
        }
    }
    let vcpus = settings
        .vms
        .rent_cpu
        .map(|cores| u64::from(cores.0) * u64::from(settings.vms.cpu_overcommit.0) / 100);
    if let Some(vcpus) = vcpus
        && vcpus < u64::from(settings.vms.min_cpu_cores.0)
    {
        wrong(
            "GOLEM_PROVIDER_RENT_CPU",
            format!(
                "leaves {vcpus} virtual CPUs with this GOLEM_PROVIDER_CPU_OVERCOMMIT, less than \
                 GOLEM_PROVIDER_MIN_CPU_CORES={}: nothing could be rented",
                settings.vms.min_cpu_cores.0
            ),
            "rent out more cores".to_owned(),
        );
    }
    mistakes
}
