//! The SSH proxy over real sockets: what it delivers, what it refuses, when it ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use golem_node::proxy::{Proxy, ProxyError, ProxyLimits};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::proxy_support::{EchoGuest, PAUSE, Renter, WIDE, counted, free_port, in_time, joined, open};

/// Bytes that show where they belong: `salt` tells the directions apart.
fn pattern(length: usize, salt: u32) -> Vec<u8> {
    let mut state = salt | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}

/// Sends `chunks` pieces of a pattern and ends its side.
async fn send(mut to: impl tokio::io::AsyncWrite + Unpin, bytes: &[u8], chunks: &[usize]) {
    let mut rest = bytes;
    let mut sizes = chunks.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).min(rest.len());
        to.write_all(&rest[..size]).await.unwrap();
        rest = &rest[size..];
    }
    to.shutdown().await.unwrap();
}

async fn receive(mut from: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[derive(Debug, Clone, Copy)]
enum First {
    Renter,
    Guest,
    Both,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whoever ends their side first still gets every byte of the other.
    #[test]
    fn s_096_every_byte_arrives_however_it_is_cut_and_whoever_ends_first(
        inward in 0usize..3_000_000,
        outward in 0usize..3_000_000,
        chunks in prop::collection::vec(1usize..200_000, 1..8),
        first in prop_oneof![Just(First::Renter), Just(First::Guest), Just(First::Both)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(in_time("all bytes", async {
            let proxy = Proxy::start(WIDE).unwrap();
            let (mut renter, mut guest) = joined(&proxy).await;
            let (question, answer) = (pattern(inward, 3), pattern(outward, 5));
            let (heard_by_guest, heard_by_renter) = match first {
                First::Renter => {
                    let (_, heard) = tokio::join!(send(&mut renter, &question, &chunks), receive(&mut guest));
                    // The renter's side has ended, and the guest has seen so: now it answers.
                    let (_, answered) = tokio::join!(send(&mut guest, &answer, &chunks), receive(&mut renter));
                    (heard, answered)
                }
                First::Guest => {
                    let (_, answered) = tokio::join!(send(&mut guest, &answer, &chunks), receive(&mut renter));
                    let (_, heard) = tokio::join!(send(&mut renter, &question, &chunks), receive(&mut guest));
                    (heard, answered)
                }
                First::Both => {
                    let (renter_read, renter_write) = renter.split();
                    let (guest_read, guest_write) = guest.split();
                    let (_, _, heard, answered) = tokio::join!(
                        send(renter_write, &question, &chunks),
                        send(guest_write, &answer, &chunks),
                        receive(guest_read),
                        receive(renter_read),
                    );
                    (heard, answered)
                }
            };
            assert!(heard_by_guest == question, "the guest got {} of {inward} bytes", heard_by_guest.len());
            assert!(heard_by_renter == answer, "the renter got {} of {outward} bytes", heard_by_renter.len());
            in_time("the end", proxy.shutdown()).await;
        }));
    }
}

#[tokio::test]
async fn s_093_bytes_and_connections_are_counted() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, guest.address).await;
    for _ in 0..3 {
        let (mut renter, _) = Renter::greeted(port).await;
        assert!(renter.is_alive().await);
    }
    let counts = counted(&proxy, port, |counts| counts.connections_open == 0).await;
    assert_eq!((counts.connections_total, counts.connections_refused), (3, 0));
    assert_eq!((counts.bytes_in, counts.bytes_out), (3, 6));
}

#[tokio::test]
async fn s_098_a_reader_that_stalls_stops_the_writer_and_loses_nothing() {
    let echo = EchoGuest::start(b'e').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let (renter, mut guest) = joined(&proxy).await;
    let (mut other, _) = Renter::greeted(open(&proxy, echo.address).await).await;

    // The guest reads nothing. The writer has been stopped when nothing was accepted while the
    // proxy's thread, which serves `other` too, went round a hundred times.
    let piece = vec![7; 64 * 1024];
    let mut written = 0;
    let mut rounds = 0;
    while rounds < 100 {
        match renter.try_write(&piece) {
            Ok(count) => {
                written += count;
                rounds = 0;
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                assert!(other.is_alive().await);
                rounds += 1;
            }
        }
        // The sockets' own buffers take some; a proxy without back-pressure takes all.
        assert!(written < 64 << 20, "{written} bytes were accepted for a reader that reads nothing");
    }
    drop(renter);
    let heard = in_time("what was accepted", receive(&mut guest)).await;
    assert_eq!(heard.len(), written);
}

#[tokio::test]
async fn s_098_a_port_takes_no_more_than_its_cap_and_gives_places_back() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(ProxyLimits { per_port: 2, ..WIDE }).unwrap();
    let port = open(&proxy, guest.address).await;
    let (mut first, _) = Renter::greeted(port).await;
    let (mut second, _) = Renter::greeted(port).await;
    // Who says nothing would have to make room after a while.
    assert!(first.is_alive().await && second.is_alive().await);
    Renter::connect(port).await.is_ended().await;
    assert!(first.is_alive().await);
    assert_eq!(counted(&proxy, port, |_| true).await.connections_refused, 1);

    drop(second);
    counted(&proxy, port, |counts| counts.connections_open == 1).await;
    let (mut third, _) = Renter::greeted(port).await;
    assert!(third.is_alive().await);
}

#[tokio::test]
async fn s_098_all_ports_together_take_no_more_than_the_cap() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(ProxyLimits { total: 2, ..WIDE }).unwrap();
    let (one, two) = (open(&proxy, guest.address).await, open(&proxy, guest.address).await);
    let (mut first, _) = Renter::greeted(one).await;
    let (mut second, _) = Renter::greeted(two).await;
    assert!(first.is_alive().await && second.is_alive().await);
    Renter::connect(one).await.is_ended().await;
    Renter::connect(two).await.is_ended().await;
    assert!(first.is_alive().await && second.is_alive().await);

    drop(first);
    counted(&proxy, one, |counts| counts.connections_open == 0).await;
    let (mut third, _) = Renter::greeted(two).await;
    assert!(third.is_alive().await);
}

#[tokio::test]
async fn s_096_a_connection_on_which_nothing_moves_is_closed_and_a_busy_one_is_not() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(ProxyLimits { idle: Duration::from_secs(2), ..WIDE }).unwrap();
    let port = open(&proxy, guest.address).await;
    // The busy one is older, so its deadline would come first if moving did not move it.
    let (mut busy, _) = Renter::greeted(port).await;
    let (mut silent, _) = Renter::greeted(port).await;
    tokio::select! {
        () = silent.is_ended() => {}
        () = async { while busy.is_alive().await {} } => panic!("the busy connection ended"),
    }
    assert!(busy.is_alive().await);
    counted(&proxy, port, |counts| counts.connections_open == 1).await;
}

#[tokio::test]
async fn s_095_a_port_that_is_open_can_lead_elsewhere() {
    let (before, after) = (EchoGuest::start(b'a').await, EchoGuest::start(b'b').await);
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, before.address).await;
    let (mut old, name) = Renter::greeted(port).await;
    assert_eq!(name, b'a');
    proxy.open(port, after.address).await.unwrap();
    assert_eq!(Renter::greeted(port).await.1, b'b');
    assert!(old.is_alive().await);
}

#[tokio::test]
async fn s_097_close_cuts_frees_the_port_and_it_can_be_opened_again_at_once() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, guest.address).await;
    let other = open(&proxy, guest.address).await;
    for _ in 0..20 {
        let (mut renter, _) = Renter::greeted(port).await;
        let (mut bystander, _) = Renter::greeted(other).await;
        in_time("close", proxy.close(port.port())).await;
        assert_eq!(proxy.counts(port.port()), None);
        assert!(TcpStream::connect(port).await.is_err());
        renter.is_ended().await;
        assert!(bystander.is_alive().await);
        proxy.open(port, guest.address).await.unwrap();
    }
    // Nothing to close is no error.
    proxy.close(free_port().port()).await;
}

#[tokio::test]
async fn s_096_a_guest_that_refuses_ends_the_renters_connection() {
    let nobody = free_port();
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, nobody).await;
    Renter::connect(port).await.is_ended().await;
    let counts = counted(&proxy, port, |counts| counts.connections_open == 0).await;
    assert_eq!(counts.connections_total, 1);
}

#[tokio::test]
async fn s_096_a_guest_that_does_not_answer_is_waited_for_no_longer_than_the_limit() {
    // A listener without room answers nobody; those who wait in it are held to keep it full.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let deaf = socket.listen(1).unwrap();
    let address = deaf.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    let proxy = Proxy::start(ProxyLimits { connect: Duration::from_millis(50), ..WIDE }).unwrap();
    let port = open(&proxy, address).await;
    Renter::connect(port).await.is_ended().await;
    counted(&proxy, port, |counts| counts.connections_open == 0).await;
}

#[tokio::test]
async fn s_094_a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let proxy = Proxy::start(WIDE).unwrap();
    let error = proxy.open(address, address).await.unwrap_err();
    assert!(matches!(error, ProxyError::Bind(..)));
    assert_eq!(error.to_string(), format!("port {} cannot be listened on", address.port()));
    assert_eq!(proxy.counts(address.port()), None);
    drop(taken);
    proxy.open(address, address).await.unwrap();
}

#[tokio::test]
async fn s_096_a_shutdown_waits_for_those_who_finish() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, guest.address).await;
    let (mut renter, _) = Renter::greeted(port).await;
    let ending = proxy.shutdown();
    tokio::pin!(ending);
    let refused = async {
        while TcpStream::connect(port).await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = in_time("the listener's end", refused) => {}
        () = &mut ending => panic!("the shutdown did not wait for an open connection"),
    }
    assert!(renter.is_alive().await, "a connection goes on while the proxy drains");
    drop(renter);
    in_time("the shutdown", ending).await;
    assert_eq!(proxy.counts(port.port()), None);
    assert!(matches!(proxy.open(port, guest.address).await, Err(ProxyError::Ended)));
}

#[tokio::test]
async fn s_096_a_shutdown_cuts_those_who_do_not_finish_in_time() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(ProxyLimits { drain: Duration::from_millis(50), ..WIDE }).unwrap();
    let port = open(&proxy, guest.address).await;
    let (mut renter, _) = Renter::greeted(port).await;
    in_time("the shutdown", proxy.shutdown()).await;
    renter.is_ended().await;
    // A second shutdown finds nothing to do.
    in_time("the second shutdown", proxy.shutdown()).await;
}

#[tokio::test]
async fn s_096_a_proxy_without_handles_ends() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, guest.address).await;
    let (mut renter, _) = Renter::greeted(port).await;
    drop(proxy);
    renter.is_ended().await;
}
