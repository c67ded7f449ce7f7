//! The SSH proxy while strangers try to keep renters out: I-05.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use golem_node::proxy::{Proxy, ProxyLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::proxy_support::{EchoGuest, Renter, WIDE, counted, in_time, open};

/// As the node has them.
const REAL: ProxyLimits = ProxyLimits { per_port: 256, total: 4096, greeting: 48, ..WIDE };

const HONEST: Ipv4Addr = Ipv4Addr::new(127, 77, 7, 7);

async fn connect(from: Ipv4Addr, port: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    in_time("a connection", socket.connect(port)).await.unwrap()
}

/// Connections from `addresses` that say `greeting` and no more. Those that the proxy closes are kept too.
async fn flood(
    addresses: impl IntoIterator<Item = Ipv4Addr>,
    port: SocketAddr,
    greeting: &[u8],
) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for address in addresses {
        let mut stream = connect(address, port).await;
        // It may have been closed already.
        let _ = stream.write_all(greeting).await;
        held.push(stream);
    }
    held
}

/// A renter who speaks first, as OpenSSH does, gets an answer.
async fn is_served(port: SocketAddr) -> Renter {
    let mut stream = connect(HONEST, port).await;
    stream.write_all(b"SSH-2.0-renter\r\n").await.unwrap();
    let mut echoed = [0; 17];
    in_time("the guest's answer", stream.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed[1..], b"SSH-2.0-renter\r\n");
    Renter(stream)
}

#[tokio::test]
async fn i_05_a_port_full_of_strangers_still_takes_its_renter() {
    let one = (0..300).map(|_| Ipv4Addr::new(127, 1, 0, 1)).collect::<Vec<_>>();
    let neighbours = (0..300).map(|n| Ipv4Addr::new(127, 2, 0, n as u8 % 16)).collect();
    let near_the_renter = (0..300).map(|n| Ipv4Addr::new(127, 77, 7, 100 + n as u8 % 3)).collect();
    let many = (0..320).map(|n| Ipv4Addr::new(127, 3, n as u8 % 16, 1)).collect();
    for (addresses, greeting) in [
        (one.clone(), b"" as &[u8]),
        (one, b"SSH-2.0-stranger\r\n"),
        (neighbours, b"SSH-2.0-stranger\r\n"),
        (near_the_renter, b"SSH-2.0-stranger\r\n"),
        (many, b"SSH-2.0-stranger\r\n"),
    ] {
        let guest = EchoGuest::start(b'a').await;
        let proxy = Proxy::start(REAL).unwrap();
        let port = open(&proxy, guest.address).await;
        let mut before = is_served(port).await;
        let held = flood(addresses.iter().copied(), port, greeting).await;
        let mut after = is_served(port).await;
        // Another renter's client waits for the guest's banner, as some do.
        let mut waits = connect(Ipv4Addr::new(127, 78, 8, 8), port).await;
        assert_eq!(in_time("the guest's banner", waits.read_u8()).await.unwrap(), b'a');
        let more = flood(addresses.iter().copied().take(100), port, greeting).await;
        assert!(before.is_alive().await && after.is_alive().await, "{:?}", addresses.last());
        assert!(guest.connections() <= REAL.greeting, "{} are at the guest", guest.connections());
        let counts = proxy.counts(port.port()).unwrap();
        assert!(
            counts.connections_open <= REAL.per_port as u64 && counts.connections_refused > 0,
            "{counts:?}"
        );
        drop((held, more));
    }
}

#[tokio::test]
async fn i_05_a_flood_of_one_vm_leaves_places_to_the_others() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(ProxyLimits { total: 300, ..REAL }).unwrap();
    let (one, two, three) = (
        open(&proxy, guest.address).await,
        open(&proxy, guest.address).await,
        open(&proxy, guest.address).await,
    );
    // From so many networks that none holds more than another.
    let networks = |first: u8| (0..200).map(move |n| Ipv4Addr::new(127, first, n, 1));
    let mut held = flood(networks(10), one, b"SSH-2.0-stranger\r\n").await;
    held.extend(flood(networks(20), two, b"SSH-2.0-stranger\r\n").await);
    let mut renter = is_served(three).await;
    held.extend(flood(networks(30), one, b"SSH-2.0-stranger\r\n").await);
    assert!(renter.is_alive().await);
    let open: u64 =
        [one, two, three].iter().map(|port| proxy.counts(port.port()).unwrap().connections_open).sum();
    assert!(open <= 300, "{open}");
}

#[tokio::test]
async fn i_05_who_says_nothing_is_closed_and_who_spoke_is_not() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(ProxyLimits { speak: Duration::from_secs(2), greeting: 6, ..REAL }).unwrap();
    let port = open(&proxy, guest.address).await;
    let mut renter = is_served(port).await;
    // One of them reaches the guest, the others wait; none says anything.
    let silent = flood((0..3).map(|_| Ipv4Addr::new(127, 1, 0, 1)), port, b"").await;
    for stream in silent {
        Renter(stream).is_ended().await;
    }
    counted(&proxy, port, |counts| counts.connections_open == 1).await;
    assert!(renter.is_alive().await);
    // Much that came back proves a renter, who then takes no stranger's place.
    renter.0.write_all(&[b'x'; 8192]).await.unwrap();
    let mut echoed = vec![0; 8192];
    in_time("the echo", renter.0.read_exact(&mut echoed)).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(connect(HONEST, port).await);
    }
    let mut name = [0];
    in_time("the guest's banner", others[0].read_exact(&mut name)).await.unwrap();
    assert!(renter.is_alive().await);
}
