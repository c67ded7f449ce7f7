//! `vms …` and `drain …`: what the operator asks the running node.
//!
//! Owns what is printed of it. Never decides: the node does.

mod logs;

use anyhow::bail;
use golem_types::VmState;
use serde_json::json;

use super::arguments::{OnOff, Vms};
use super::confirm::confirmed;
use super::layout::{table, time};
use super::ssh::Login;
use super::{Exit, Invocation, reachable};
use golem_api::operator::Client;
use golem_api::views::{NetworkProblem, VmView};

/// `vms …`.
pub(super) async fn vms(invocation: &Invocation, command: Vms) -> anyhow::Result<Exit> {
    let client = invocation.client()?;
    let printer = invocation.printer;
    match command {
        Vms::List => {
            let vms = client.vms().await?;
            printer.answer(&vms, || list(&vms));
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
                printer.note("Nothing was deleted.");
                return Ok(Exit::Failed);
            }
            {
                let _waiting = printer.waiting(format!("Deleting {}", vm.name));
                client.delete(vm.id.as_str()).await?;
            }
            printer.answer(&json!({ "id": vm.id, "deleted": true }), || format!("{} is deleted.", vm.name));
        }
        Vms::Logs { vm, raw } => {
            let logs = client.logs(&vm).await?;
            if raw && !printer.json {
                printer.raw(&logs.console);
            } else {
                printer.answer(&logs, || printer.others(&logs::text(&logs)));
            }
        }
        Vms::Ssh { vm, user, identity, command } => {
            let vm = client.vm(&vm).await?;
            let settings = &invocation.resolved.settings;
            if vm.status != VmState::Running {
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
pub(super) async fn drain(invocation: &Invocation, state: OnOff) -> anyhow::Result<Exit> {
    let draining = matches!(state, OnOff::On);
    let draining = invocation.client()?.drain(draining).await?.draining;
    invocation.printer.answer(&json!({ "draining": draining }), || {
        if draining {
            "The provider takes no new rentals; the VMs it has run on.".to_owned()
        } else {
            "The provider takes new rentals.".to_owned()
        }
    });
    Ok(Exit::Done)
}

async fn act(invocation: &Invocation, client: &Client, vm: &str, action: &str) -> anyhow::Result<()> {
    let waiting = invocation.printer.waiting(format!("{vm}: {action}"));
    let vm = client.act(vm, action).await?;
    drop(waiting);
    invocation.printer.answer(&vm, || format!("{} is {}.", vm.name, vm.status));
    Ok(())
}

/// Asks whether `vm` is to be deleted; without a terminal nobody can be asked.
fn agreed(vm: &VmView) -> anyhow::Result<bool> {
    let question =
        format!("{} is {} and its renter may have paid for it. Delete it and its disk?", vm.name, vm.status);
    confirmed(&question, &format!("deleting {} needs a yes; fix: add --yes", vm.name))
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
                vm.status.to_string(),
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
        ("State", vm.status.to_string()),
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
