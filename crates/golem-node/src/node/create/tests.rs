use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use golem_reach::verdict::{PortVerdict, UnreachableReason};
use golem_types::Resources;
use golem_vm::Backend;
use golem_vm::sim::{Sim, SimConfig};

use super::*;
use crate::admit::AdmissionLimits;
use crate::config::{NodeConfig, RestartPolicy};
use crate::host::Rent;
use crate::ports::PortPolicy;
use crate::proxy::ProxyLimits;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// Longest that a test waits for a level.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node that has no port of `ports` tried but by the test's own function.
async fn node(folder: &tempfile::TempDir, ports: Range<u16>, port_policy: PortPolicy) -> Node {
    let sim =
        SimConfig { data_dir: folder.path().to_owned(), images: BTreeSet::from([image()]), boot: DEADLINE };
    let config = NodeConfig {
        history: None,
        data_dir: folder.path().to_owned(),
        ports,
        ssh_bind: Ipv4Addr::LOCALHOST.into(),
        port_policy,
        limits: AdmissionLimits {
            cpu_threshold: 100,
            memory_threshold: 100,
            storage_threshold: 100,
            ..AdmissionLimits::default()
        },
        closed: None,
        default_image: image(),
        boot_deadline: DEADLINE,
        stop_grace: DEADLINE,
        watch_interval: Duration::from_millis(50),
        restart_delay: Duration::from_millis(50),
        restart_policy: RestartPolicy::OnFailure,
        proxy: ProxyLimits {
            per_port: 1,
            total: 1,
            greeting: 1,
            speak: DEADLINE,
            idle: DEADLINE,
            drain: Duration::ZERO,
            connect: DEADLINE,
        },
        rent: Rent::default(),
        totals: Some(Resources::new(100, 100, 1000)),
        payments: None,
        more_payments: Vec::new(),
        known_contracts: Vec::new(),
        payout: crate::payout::PayoutConfig::default(),
    };
    Node::start(config, Backend::Sim(Sim::open(sim).unwrap())).await.unwrap()
}

fn image() -> ImageName {
    "24.04".parse().unwrap()
}

fn request(name: &str) -> CreateVm {
    CreateVm {
        name: name.parse().unwrap(),
        resources: Resources::new(1, 1, 10),
        image: None,
        ssh_key: KEY.parse().unwrap(),
        more_keys: Vec::new(),
        first_boot: golem_types::FirstBoot::default(),
        stream_id: None,
        quote_id: None,
        stream_proof: None,
        payment: None,
        renter: None,
    }
}

fn verdict(port: u16, reachable: bool) -> PortVerdict {
    PortVerdict {
        port,
        problem: (!reachable).then_some(UnreachableReason::TimedOut),
        address: [203, 0, 113, 7].into(),
        sources: BTreeSet::new(),
        answered: 3,
        at: Timestamp::now(),
    }
}

/// A try that tells when it begins and ends when it is told to.
fn held_back() -> (impl Fn(u16) -> bool, mpsc::Receiver<u16>, mpsc::Sender<()>) {
    let (begins, begun) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    let is_free = move |port| {
        begins.send(port).unwrap();
        ends.recv_timeout(2 * DEADLINE).is_ok()
    };
    (is_free, begun, end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_write_waits_while_ports_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder, 50_800..50_801, PortPolicy::Free).await;
    let (is_free, begun, end) = held_back();
    let (creator, runtime) = (node.clone(), tokio::runtime::Handle::current());
    let creating = tokio::task::spawn_blocking(move || {
        runtime.block_on(creator.reserve(request("one"), image(), &Paid::free(), is_free))
    });
    let port = tokio::task::spawn_blocking(move || begun.recv_timeout(DEADLINE)).await.unwrap();
    assert_eq!(port, Ok(50_800));
    for draining in [true, false] {
        let written = tokio::time::timeout(DEADLINE, node.set_draining(draining)).await;
        written.expect("written while the port is being tried").unwrap();
        assert_eq!(node.draining(), draining);
    }
    end.send(()).unwrap();
    assert_eq!(creating.await.unwrap().unwrap().unwrap().0.ssh_port, 50_800);
    node.shutdown(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ports_that_are_not_to_be_had_any_more_fail_no_create_while_another_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let ports = 50_800..50_806;
    let node = node(&folder, ports.clone(), PortPolicy::Verified).await;
    node.keep_port_verdicts(ports.clone().map(|port| verdict(port, true)).collect()).await.unwrap();
    let tries = AtomicUsize::new(0);
    let is_free = |_| {
        // While the last of the first ones is tried, they turn out to be unreachable, all of them.
        if tries.fetch_add(1, Ordering::Relaxed) + 1 == CANDIDATES {
            let gone = ports.clone().take(CANDIDATES).map(|port| verdict(port, false)).collect();
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(node.keep_port_verdicts(gone)).unwrap();
            });
        }
        true
    };
    let (vm, _) = node.reserve(request("one"), image(), &Paid::free(), is_free).await.unwrap().unwrap();
    assert_eq!(vm.ssh_port, 50_804);
    let gone = ports.clone().map(|port| verdict(port, false)).collect();
    node.keep_port_verdicts(gone).await.unwrap();
    let refused = node.reserve(request("two"), image(), &Paid::free(), |_| true).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::Unverified);
    node.shutdown(false).await;
}

#[tokio::test]
async fn a_port_on_which_another_program_listens_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let node = node(&folder, 50_800..50_807, PortPolicy::Free).await;
    let is_free = |port| port >= 50_805;
    for wanted in [50_805, 50_806] {
        let name = format!("vm-{wanted}");
        let reserved = node.reserve(request(&name), image(), &Paid::free(), is_free).await.unwrap();
        assert_eq!(reserved.unwrap().0.ssh_port, wanted);
    }
    let refused = node.reserve(request("last"), image(), &Paid::free(), is_free).await.unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::NoPort);
    node.shutdown(false).await;
}
