//! The SSH proxy's descriptors. In a process of its own, to which descriptors belong.

use golem_node::proxy::Proxy;
use golem_test_support::in_own_process;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;

use crate::proxy_support::{EchoGuest, PAUSE, Renter, WIDE, counted, in_time, open};

/// Connections held at once; each costs this process four descriptors.
const AT_ONCE: usize = 1_000;

/// Connections made one after the other.
const IN_TURN: usize = 10_000;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory that this process takes, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

#[tokio::test]
async fn descriptors_come_back_and_running_out_of_them_is_survived() {
    if !in_own_process("proxy_descriptors::descriptors_come_back_and_running_out_of_them_is_survived") {
        return;
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();

    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, guest.address).await;
    let (mut witness, _) = Renter::greeted(port).await;
    assert!(witness.is_alive().await);
    let (before, memory) = (descriptors(), resident());

    let mut held = Vec::new();
    for _ in 0..AT_ONCE {
        held.push(Renter::greeted(port).await.0);
    }
    assert_eq!(proxy.counts(port.port()).unwrap().connections_open, AT_ONCE as u64 + 1);
    // Two ends here, two in the proxy: an idle connection holds no pipe.
    // S-098
    assert!(descriptors() <= before + 4 * AT_ONCE + 8, "{} descriptors", descriptors() - before);
    // S-098: what an idle connection costs in memory, both ends and the guest's in this process.
    assert!(resident() < memory + AT_ONCE * (32 << 10), "{} bytes", resident() - memory);
    for renter in &mut held {
        assert!(renter.is_alive().await);
    }
    drop(held);
    for _ in 0..IN_TURN {
        Renter::greeted(port).await;
    }
    counted(&proxy, port, |counts| counts.connections_open == 1).await;
    // S-096
    in_time("every descriptor back", async {
        // The guest's ends close a moment after the proxy's.
        while descriptors() > before + 8 {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;

    // No descriptor is left when the next connection comes; the kernel completes it all the same.
    let socket = TcpSocket::new_v4().unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
    let mut starved = Renter(in_time("a connection", socket.connect(port)).await.unwrap());
    for _ in 0..100 {
        assert!(witness.is_alive().await, "connections that are open go on");
    }
    assert_eq!(proxy.counts(port.port()).unwrap().connections_open, 1);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    // Its first byte is the guest's name: it is served, late.
    let mut name = [0];
    in_time("the guest's greeting", tokio::io::AsyncReadExt::read_exact(&mut starved.0, &mut name))
        .await
        .unwrap();
    assert_eq!(&name, b"a");
    assert!(starved.is_alive().await);
}
