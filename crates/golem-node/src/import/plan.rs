//! What becomes of each VM of the Python provider.
//!
//! Owns the decision, as one pure function over what the files say and what is on the host. Nothing is
//! ever deleted: what cannot be taken over is told and left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use golem_types::{ImageName, Resources, StreamKey, VmName, VmState};
use golem_vm::multipass::{Sizes, State};
use jiff::Timestamp;

use super::files::Found;
use crate::ledger::Adoption;

const GIB: u64 = 1 << 30;

/// A machine on the host.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub state: State,
    pub ip: Option<IpAddr>,
    pub sizes: Sizes,
}

/// What is known beside the files.
pub(super) struct Host<'a> {
    /// Machines by Multipass's name.
    pub machines: &'a BTreeMap<String, Machine>,
    /// Machines that were taken over before.
    pub known: &'a BTreeSet<String>,
    /// Ports and streams that rentals have already.
    pub ports_taken: BTreeSet<u16>,
    pub streams_taken: BTreeSet<StreamKey>,
    /// SSH ports that VMs may have.
    pub range: Range<u16>,
    /// Chain and contract that streams are of; `None` where payments are off.
    pub contract: Option<Arc<str>>,
    /// The image that is written down for them; what it really was nobody knows.
    pub image: ImageName,
}

/// Bytes as whole GiB, upwards: what was sold, where the host rounded it down.
fn gib(bytes: Option<u64>, least: u32) -> u32 {
    bytes.and_then(|bytes| u32::try_from(bytes.div_ceil(GIB)).ok()).unwrap_or(0).max(least)
}

/// What is taken over, and what there is to say about the rest.
pub(super) fn plan(found: &Found, mut host: Host<'_>, now: Timestamp) -> (Vec<Adoption>, Vec<String>) {
    let mut adoptions = Vec::new();
    let mut said = Vec::new();
    let mut machines_seen = BTreeSet::new();
    for (name, machine_name) in &found.names {
        if host.known.contains(machine_name) {
            machines_seen.insert(machine_name);
            continue;
        }
        if !machines_seen.insert(machine_name) {
            said.push(format!("{name}: {machine_name} is another VM's machine already; left out"));
            continue;
        }
        let Ok(vm_name) = name.parse::<VmName>() else {
            said.push(format!("{name:?} is no name of a VM; {machine_name} is left alone"));
            continue;
        };
        let Some(machine) = host.machines.get(machine_name) else {
            said.push(format!("{name}: its machine {machine_name} is not on this host; left out"));
            continue;
        };
        let state = match (machine.state, machine.ip) {
            (State::Running, Some(_)) => VmState::Running,
            (State::Stopped | State::Suspended, _) => VmState::Stopped,
            (State::Running | State::Changing | State::Unknown, _) => VmState::Creating,
            (State::Deleted, _) => {
                said.push(format!(
                    "{name}: {machine_name} was deleted with `multipass delete`; left out (`multipass recover` \
                     brings it back)"
                ));
                continue;
            }
        };
        let port = found.ports.get(machine_name).copied();
        let ssh_port = port.filter(|port| host.range.contains(port) && host.ports_taken.insert(*port));
        match (port, ssh_port) {
            (Some(_), Some(_)) => {}
            (Some(port), None) if host.range.contains(&port) => {
                said.push(format!("{name}: its port {port} is another VM's; it gets a free one"));
            }
            (Some(port), None) => said.push(format!(
                "{name}: its port {port} is outside {}-{}; it gets a free one (widen \
                 GOLEM_PROVIDER_PORT_RANGE_START and _END before the import to keep it)",
                host.range.start,
                host.range.end.saturating_sub(1)
            )),
            (None, _) => said.push(format!("{name}: no port is known; it gets a free one")),
        }
        adoptions.push(Adoption {
            backend_name: machine_name.clone(),
            name: vm_name,
            state,
            resources: Resources::new(
                machine.sizes.cpus.unwrap_or(1).max(1),
                gib(machine.sizes.memory, 1),
                gib(machine.sizes.disk, 1),
            ),
            image: host.image.clone(),
            ip_address: machine.ip,
            ssh_port,
            stream: stream(name, found, &mut host, &mut said),
            created_at: now,
        });
    }
    for name in host.machines.keys().filter(|name| name.starts_with("golem-")) {
        if !machines_seen.contains(name) && !host.known.contains(name) {
            said.push(format!("{name} is on this host and no VM of the files; left alone"));
        }
    }
    (adoptions, said)
}

/// The stream of the VM `name`, unless another one has it.
fn stream(name: &str, found: &Found, host: &mut Host<'_>, said: &mut Vec<String>) -> Option<StreamKey> {
    let id = *found.streams.get(name)?;
    let Some(contract) = &host.contract else {
        said.push(format!("{name}: payments are off, so its stream {id} is not taken over"));
        return None;
    };
    let key = StreamKey { contract: Arc::clone(contract), id };
    if host.streams_taken.insert(key.clone()) {
        Some(key)
    } else {
        said.push(format!("{name}: its stream {id} pays for another VM; attach another one to it"));
        None
    }
}

#[cfg(test)]
mod tests {
    use golem_types::StreamId;
    use ruint::aliases::U256;

    use super::*;

    fn machine(state: State) -> Machine {
        let ip = (state == State::Running).then(|| "10.1.2.3".parse().unwrap());
        let sizes = Sizes { cpus: Some(2), memory: Some(4 * GIB - 1), disk: None };
        Machine { state, ip, sizes }
    }

    fn host<'a>(machines: &'a BTreeMap<String, Machine>, known: &'a BTreeSet<String>) -> Host<'a> {
        Host {
            machines,
            known,
            ports_taken: BTreeSet::new(),
            streams_taken: BTreeSet::new(),
            range: 50_800..50_900,
            contract: Some("1:0x00".into()),
            image: "24.04".parse().unwrap(),
        }
    }

    /// Each file may contradict the others and the host; nothing is lost and nothing is deleted.
    #[test]
    fn what_contradicts_itself_is_told_and_left_alone() {
        let names = [
            ("web", "golem-1"),
            ("dbs", "golem-2"),
            ("two", "golem-3"),
            ("gone", "golem-9"),
            ("Bad Name", "golem-4"),
            ("twin", "golem-1x"),
            ("off", "golem-5"),
            ("trash", "golem-6"),
        ];
        let mut found = Found {
            names: names.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            ports: [("golem-1", 50_801u16), ("golem-2", 50_801), ("golem-3", 22)]
                .map(|(a, b)| (a.to_owned(), b))
                .into(),
            streams: [("web", 7u64), ("dbs", 7), ("two", 7)]
                .map(|(a, b)| (a.to_owned(), StreamId(U256::from(b))))
                .into(),
            ..Found::default()
        };
        found.names.insert("copy".to_owned(), "golem-1".to_owned());
        let machines: BTreeMap<String, Machine> = ["golem-1", "golem-2", "golem-3", "golem-4", "golem-7"]
            .into_iter()
            .map(|name| (name.to_owned(), machine(State::Running)))
            .chain([
                ("golem-5".to_owned(), machine(State::Stopped)),
                ("golem-6".to_owned(), machine(State::Deleted)),
            ])
            .collect();
        let known = BTreeSet::new();
        let (adoptions, said) = plan(&found, host(&machines, &known), Timestamp::UNIX_EPOCH);
        let of = |name: &str| adoptions.iter().find(|one| one.name.as_str() == name);
        // Of two VMs the files give one machine, port or stream to, one gets it.
        let web = of("web").or(of("copy")).unwrap();
        assert_eq!((web.resources, web.state), (Resources::new(2, 4, 1), VmState::Running));
        assert!(of("web").is_none() || of("copy").is_none());
        let with_port = adoptions.iter().filter(|one| one.ssh_port == Some(50_801)).count();
        let with_stream = adoptions.iter().filter(|one| one.stream.is_some()).count();
        assert_eq!((with_port, with_stream), (1, 1));
        assert_eq!(of("two").unwrap().ssh_port, None);
        assert_eq!(of("off").unwrap().state, VmState::Stopped);
        assert!(of("gone").is_none() && of("trash").is_none());
        for words in [
            "not on this host",
            "another VM's machine",
            "outside 50800-50899",
            "Bad Name",
            "multipass recover",
            "golem-7 is on this host",
            "pays for another VM",
        ] {
            assert!(said.iter().any(|line| line.contains(words)), "{words}: {said:#?}");
        }
        let known = adoptions.iter().map(|one| one.backend_name.clone()).collect();
        let (again, _) = plan(&found, host(&machines, &known), Timestamp::UNIX_EPOCH);
        assert!(again.is_empty(), "taken over once");
    }
}
