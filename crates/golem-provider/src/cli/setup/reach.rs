//! How renters reach the ports: asked, and tried at once.
//!
//! Owns the question, which ports another program holds, and what is tried. Never judges: [`golem_api::status`] does.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use golem_api::operator::Client;
use golem_api::status::{Answer, ChecklistRow, StatusSettings, judge_ports};
use golem_host::setup::form::{Answers, Form, FormError};
use golem_host::setup::prompt;
use golem_reach::mapping::{Mapper, MappingError};
use golem_reach::port_owner::port_owner;
use golem_reach::probe::is_free;

use super::Target;
use crate::ports::{self, Display};
use golem_host::node::Node;
use golem_host::settings::Settings;

const MAPPING: &str = "GOLEM_PROVIDER_PORT_MAPPING";

/// Longest that a verification is waited for at a question; `ports check` waits longer.
const DEADLINE: Duration = Duration::from_secs(40);

/// Asks how the ports are reached, and tells what came of it, if it is tried: `tries`. `client` is of a node that runs; `mapper`
/// holds what the router forwards meanwhile.
pub(super) async fn ask(
    form: &mut Form<'_>,
    target: &Target,
    client: Option<&Client>,
    mapper: &mut Option<Mapper>,
    tries: bool,
) -> anyhow::Result<Option<String>> {
    if client.is_none() {
        free_ports(form, target).await?;
    }
    let mut default = target.now(MAPPING);
    loop {
        let question = "Have the router forward the ports (UPnP, NAT-PMP, PCP)?";
        let wanted = match form.given.get(MAPPING) {
            Some(given) => given == "true",
            None => form.yes_or_no(question, default == "true").await?,
        };
        form.accept(Answers::from([(MAPPING, wanted.to_string())])).map_err(FormError::Wrong)?;
        if !tries {
            return Ok(None);
        }
        let settings = target.check(&form.changed())?.settings;
        let mut router = String::new();
        if wanted
            && client.is_none()
            && let Err(why) = map(&settings, mapper).await
        {
            form.tell(&why.to_string());
            router = format!(" The router was asked: {why}");
            if form.asks && !form.given.contains_key(MAPPING) && !matches!(why, MappingError::Public(_)) {
                default = "false".to_owned();
                continue;
            }
        }
        let row = look(form, &target.node, &settings, client).await;
        let fix = row.fix.map_or_else(String::new, |fix| format!("; fix: {fix}"));
        let told = format!("Reached from outside: {}. {}{fix}", row.answer.as_str(), row.reason);
        form.tell(&told);
        if form.asks && row.answer == Answer::No {
            let again = prompt::line("Enter goes on; `again` asks and tries once more", "");
            if again.await.map_err(FormError::from)?.eq_ignore_ascii_case("again") {
                default = wanted.to_string();
                continue;
            }
        }
        return Ok(Some(told + &router));
    }
}

/// Has the router forward the ports, for as long as `mapper` is there.
async fn map(settings: &Settings, mapper: &mut Option<Mapper>) -> Result<(), MappingError> {
    // Not by the node's own token, which a try does not make.
    let secret = format!("setup {}", std::process::id());
    let mapper = mapper.insert(Mapper::new(&settings.reach().site, &secret)?);
    mapper.map(|_, _| ()).await.map(drop)
}

/// What is known from outside: a node that runs knows, else the ports are tried now.
async fn look(form: &Form<'_>, node: &Node, settings: &Settings, client: Option<&Client>) -> ChecklistRow {
    let reach = settings.reach();
    let report = if client.is_none() && reach.skip_verification {
        ports::report_here(&reach).await
    } else {
        let display = (form.asks && client.is_none()).then(Display::new);
        ports::report(&reach, client, DEADLINE, |at| display.iter().for_each(|display| display.tell(at)))
            .await
    };
    judge_ports(&StatusSettings::of(node, settings), &report.map_err(|error| format!("{error:#}")))
}

/// Sees to it that no other program holds the ports of the APIs.
async fn free_ports(form: &mut Form<'_>, target: &Target) -> anyhow::Result<()> {
    for (name, what) in
        [("GOLEM_PROVIDER_PORT", "the public API"), ("GOLEM_PROVIDER_OPERATOR_PORT", "the operator API")]
    {
        loop {
            let settings = target.check(&form.changed())?.settings;
            let (host, port) = match name {
                "GOLEM_PROVIDER_PORT" => (settings.api.host, settings.api.port),
                _ => (IpAddr::V4(Ipv4Addr::LOCALHOST), settings.operator.operator_port),
            };
            if is_free(host, port.get()) {
                break;
            }
            let holder = port_owner(port.get()).await.unwrap_or_else(|| "another program".to_owned());
            let told = format!("TCP port {port} of {what} is held by {holder}");
            if !form.asks {
                anyhow::bail!("{told}; fix: stop that, or set {name} to another port");
            }
            form.tell(&format!("{told}. Stop that and press Enter, or answer another port."));
            form.settings(&format!("Port of {what}"), [name], [port.to_string()]).await?;
        }
    }
    Ok(())
}
