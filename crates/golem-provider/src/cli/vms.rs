//! `vms …` and `drain …`: what the operator asks the running node.
//!
//! Owns what is printed of it. Never decides: the node does.

mod logs;

use std::time::Duration;

use anyhow::bail;
use golem_types::VmStatus;
use serde_json::json;
use tokio::time::sleep;

use super::arguments::{OnOff, Vms};
use super::confirm::confirmed;
use super::layout::{table, time};
use super::ssh::Login;
use super::{Exit, Invocation, reachable};
use golem_api::operator::{Client, OperatorError};
use golem_api::views::{NetworkProblem, VmView};

/// Columns of the VMs.
const COLUMNS: &str = "\
    id,name,status,ssh_port,ip_address,resources.cpu,resources.memory,resources.storage,image,stream_id,\
    created_at,error";

/// How often the node is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// `vms …`.
pub(super) async fn vms(invocation: &Invocation, command: Vms) -> anyhow::Result<Exit> {
    let client = invocation.client()?;
    let printer = invocation.printer;
    match command {
        Vms::List => {
            let vms = client.vms().await?;
            printer.list(&vms, &vms, COLUMNS, || list(&vms));
        }
        Vms::Show { vm } => {
            let vm = client.vm(&vm).await?;
            printer.answer(&vm, || show(&vm));
        }
        Vms::Stop { vm } => act(invocation, &client, &vm, "stop").await?,
        Vms::Start { vm } => act(invocation, &client, &vm, "start").await?,
        Vms::Restart { vm } => act(invocation, &client, &vm, "restart").await?,
        Vms::Delete { vm, yes } => {
            let vm = client.vm(&vm).await?;
            if !yes && !agreed(&vm)? {
                return Ok(printer.declined("Nothing was deleted."));
            }
            let delete = client.delete(vm.id.as_str());
            printer.watched(&format!("Deleting {}", vm.name), delete, stage(&client, vm.id.as_str())).await?;
            printer.done(&json!({ "id": vm.id, "deleted": true }), || format!("{} is deleted.", vm.name));
        }
        Vms::Logs { vm, raw, follow: true } => return logs::follow(&client, printer, &vm, raw).await,
        Vms::Logs { vm, raw, follow: false } => {
            let logs = client.logs(&vm).await?;
            if raw && !printer.json {
                printer.raw(&logs.console)?;
            } else {
                printer.answer(&logs, || printer.others(&logs::text(&logs)));
            }
        }
        Vms::Ssh { vm, user, identity, command } => {
            let vm = client.vm(&vm).await?;
            let settings = &invocation.resolved.settings;
            if vm.status != VmStatus::Running {
                bail!("{} is {}; fix: golem-provider vms start {}", vm.name, vm.status, vm.name);
            }
            let login = Login {
                host: reachable(settings.api.host).to_string(),
                port: vm.ssh_port,
                alias: vm.id.redacted().to_owned(),
                user,
                identity,
                known_hosts: settings.node.data_dir.join("known_hosts"),
                command,
            };
            match login.become_ssh()? {}
        }
    }
    Ok(Exit::Done)
}

/// `drain on` and `drain off`.
pub(super) async fn drain(invocation: &Invocation, state: OnOff, wait: bool) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let client = invocation.client()?;
    let draining = client.drain(matches!(state, OnOff::On)).await?.draining;
    let left = async || Ok::<_, OperatorError>(client.vms().await?.len());
    if draining && wait && left().await? > 0 {
        printer.note(
            "The provider takes no new rentals; waiting until no VM is left. Ctrl-C: VMs and draining go on.",
        );
        let waiting = printer.waiting("");
        loop {
            match left().await? {
                0 => break,
                left => waiting.say(format!("VMs left: {left}")),
            }
            sleep(LOOK).await;
        }
    }
    printer.done(&json!({ "draining": draining }), || match (draining, wait) {
        (true, true) => "The provider takes no new rentals, and no VM is left.".to_owned(),
        (true, false) => "The provider takes no new rentals; the VMs it has run on.".to_owned(),
        (false, _) => "The provider takes new rentals.".to_owned(),
    });
    Ok(Exit::Done)
}

async fn act(invocation: &Invocation, client: &Client, vm: &str, action: &str) -> anyhow::Result<()> {
    let printer = invocation.printer;
    let what = format!("{vm}: {action}");
    let vm = printer.watched(&what, client.act(vm, action), stage(client, vm)).await?;
    printer.done(&vm, || format!("{} is {}.", vm.name, words(&vm)));
    Ok(())
}

/// Asks whether `vm` is to be deleted; without a terminal nobody can be asked.
fn agreed(vm: &VmView) -> anyhow::Result<bool> {
    let question =
        format!("{} is {} and its renter may have paid for it. Delete it and its disk?", vm.name, vm.status);
    confirmed(&question, &format!("deleting {} needs a yes; fix: add --yes", vm.name))
}

/// Tells how far what is done to the VM that `which` names is.
fn stage(client: &Client, which: &str) -> impl AsyncFn() -> Option<String> {
    async move || client.vm(which).await.ok().map(|vm| words(&vm))
}

/// Where `vm` stands, in words.
fn words(vm: &VmView) -> String {
    match vm.status {
        // It has had its address since its first boot.
        VmStatus::Creating if vm.ip_address.is_some() => "booting".to_owned(),
        status => status.to_string(),
    }
}

fn list(vms: &[VmView]) -> String {
    if vms.is_empty() {
        return "No VMs are rented out.".to_owned();
    }
    table(
        ["NAME", "STATE", "SSH PORT", "CPU", "MEMORY", "STORAGE", "STREAM", "CREATED", "ID"],
        vms.iter().map(|vm| {
            [
                vm.name.to_string(),
                words(vm),
                vm.ssh_port.to_string(),
                vm.resources.cpu.to_string(),
                format!("{} GB", vm.resources.memory),
                format!("{} GB", vm.resources.storage),
                vm.stream_id.clone().unwrap_or_else(|| "-".to_owned()),
                time(vm.created_at),
                vm.id.to_string(),
            ]
        }),
    )
}

fn show(vm: &VmView) -> String {
    let mut lines = vec![
        ("Name", vm.name.to_string()),
        ("Id", vm.id.to_string()),
        ("State", words(vm)),
        ("SSH port", vm.ssh_port.to_string()),
        ("Address", vm.ip_address.map_or_else(|| "-".to_owned(), |address| address.to_string())),
        ("CPU", vm.resources.cpu.to_string()),
        ("Memory", format!("{} GB", vm.resources.memory)),
        ("Storage", format!("{} GB", vm.resources.storage)),
        ("Image", vm.image.to_string()),
        ("Created", time(vm.created_at)),
        ("Changed", time(vm.updated_at)),
    ];
    if let Some(traffic) = vm.traffic {
        let text = format!(
            "{} connections open, {} in all; {} bytes in, {} bytes out",
            traffic.connections_open, traffic.connections_total, traffic.bytes_in, traffic.bytes_out
        );
        lines.push(("Traffic", text));
    }
    if let Some(network) = &vm.network {
        let access = match &vm.network_problem {
            Some(NetworkProblem::Shared) => {
                "the internet, through the host's own namespace; restart it".to_owned()
            }
            Some(NetworkProblem::Restricted(reason)) => format!("SSH in and nothing else: {reason}"),
            Some(NetworkProblem::Cut(reason)) => format!("cut: {reason}"),
            None => "the internet".to_owned(),
        };
        let counts = network.traffic.map_or_else(String::new, |traffic| {
            format!(
                "; {} bytes in, {} bytes out, {} packets refused",
                traffic.bytes_in, traffic.bytes_out, traffic.packets_blocked
            )
        });
        lines.push(("Network", access + &counts));
    }
    if let Some(error) = &vm.error {
        lines.push(("Error", error.clone()));
    }
    lines.into_iter().map(|(name, text)| format!("{name:<10}{text}")).collect::<Vec<_>>().join("\n")
}
