//! What a proxy leaves open, and another goes on with.

use std::time::Duration;

use golem_node::proxy::{Proxy, ProxyLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proxy_support::{EchoGuest, PAUSE, Renter, WIDE, counted, in_time, joined, open};

/// Bytes that keep several hand-overs busy.
const BYTES: usize = 64 * 1024 * 1024;

/// H-11: an upgrade does not cut a session, and not one byte of it is lost, doubled or moved.
#[tokio::test]
async fn a_session_outlives_its_proxy_with_every_byte() {
    let guest = EchoGuest::start(b'a').await;
    let mut proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, guest.address).await;
    let (renter, _) = Renter::greeted(port).await;
    let (mut read, mut write) = renter.0.into_split();
    let sent: Vec<u8> = (0..BYTES / 4).flat_map(|word| u32::try_from(word).unwrap().to_le_bytes()).collect();
    let expected = sent.clone();
    let talk = async move {
        let (_, heard) = tokio::join!(
            async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            },
            async {
                let mut heard = Vec::new();
                read.read_to_end(&mut heard).await.unwrap();
                heard
            }
        );
        heard
    };
    let mut left_open = 0;
    let upgrades = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            let left = in_time("what is left", proxy.leave()).await;
            left_open += left.sessions.len();
            proxy = Proxy::go_on(WIDE, left).unwrap();
            proxy.open(port, guest.address).await.unwrap();
        }
    };
    let heard = tokio::select! {
        heard = in_time("all bytes", talk) => heard,
        () = upgrades => unreachable!("they have no end"),
    };
    assert!(heard == expected, "{} of {} bytes came back, or others", heard.len(), expected.len());
    assert!(left_open >= 3, "it was left open {left_open} times only, which shows little");
}

#[tokio::test]
async fn who_comes_while_nobody_accepts_waits_and_is_served() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let port = open(&proxy, guest.address).await;
    let left = in_time("what is left", proxy.leave()).await;
    let mut waiting = Renter::connect(port).await;
    let next = Proxy::go_on(WIDE, left).unwrap();
    next.open(port, guest.address).await.unwrap();
    assert_eq!(in_time("the greeting", waiting.0.read_u8()).await.unwrap(), b'a');
    assert!(waiting.is_alive().await);
}

/// A renter that said all it has to say still hears the rest.
#[tokio::test]
async fn a_session_of_which_one_half_has_ended_goes_on() {
    let proxy = Proxy::start(WIDE).unwrap();
    let (mut renter, mut guest) = joined(&proxy).await;
    let (port, target) = (renter.peer_addr().unwrap(), guest.local_addr().unwrap());
    renter.write_all(b"question").await.unwrap();
    renter.shutdown().await.unwrap();
    let mut question = Vec::new();
    in_time("the question", guest.read_to_end(&mut question)).await.unwrap();
    let left = in_time("what is left", proxy.leave()).await;
    assert_eq!(left.sessions.len(), 1);
    let next = Proxy::go_on(WIDE, left).unwrap();
    next.open(port, target).await.unwrap();
    guest.write_all(b"answer").await.unwrap();
    guest.shutdown().await.unwrap();
    let mut answer = Vec::new();
    in_time("the answer", renter.read_to_end(&mut answer)).await.unwrap();
    assert_eq!((question.as_slice(), answer.as_slice()), (&b"question"[..], &b"answer"[..]));
    counted(&next, port, |counts| counts.connections_open == 0).await;
}

/// Those who have logged in take no place of those who have not, before or after.
#[tokio::test]
async fn who_had_logged_in_has_still_and_a_stranger_is_one_still() {
    let limits = ProxyLimits { speak: Duration::from_secs(2), greeting: 6, ..WIDE };
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(limits).unwrap();
    let port = open(&proxy, guest.address).await;
    let mut users = Vec::new();
    for _ in 0..8 {
        let (mut user, _) = Renter::greeted(port).await;
        // As much as comes after a login only.
        for _ in 0..9 {
            user.0.write_all(&[b'?'; 1024]).await.unwrap();
            user.0.read_exact(&mut [0; 1024]).await.unwrap();
        }
        users.push(user);
    }
    let (mut stranger, _) = Renter::greeted(port).await;
    assert!(stranger.is_alive().await);
    // The guest has one stranger of an address at a time.
    let mut waiting = Renter::connect(port).await;
    counted(&proxy, port, |counts| counts.connections_open == 10).await;
    let left = in_time("what is left", proxy.leave()).await;
    assert_eq!(left.sessions.iter().filter(|session| session.is_proven).count(), 8);
    assert_eq!(left.sessions.iter().filter(|session| session.guest.is_none()).count(), 1);
    assert_eq!(left.sessions.len(), 10);
    let next = Proxy::go_on(limits, left).unwrap();
    next.open(port, guest.address).await.unwrap();
    for user in users.iter_mut().chain([&mut stranger]) {
        assert!(user.is_alive().await);
    }
    drop(stranger);
    let name = in_time("the greeting", waiting.0.read_u8()).await.unwrap();
    assert_eq!(name, b'a', "eight users hold no stranger's place");
}

/// A reader that takes nothing for a while keeps no upgrade waiting, and loses nothing: what is between it and the guest goes
/// along.
#[tokio::test]
async fn a_reader_that_stalls_holds_nobody_up_and_loses_nothing() {
    let mut proxy = Proxy::start(WIDE).unwrap();
    let (mut renter, mut guest) = joined(&proxy).await;
    let (port, target) = (renter.peer_addr().unwrap(), guest.local_addr().unwrap());
    let sent: Vec<u8> = (0..BYTES / 4).flat_map(|word| u32::try_from(word).unwrap().to_le_bytes()).collect();
    let mut written = 0;
    let left = loop {
        // Until every buffer on the way is full, or the proxy has had no turn for as long.
        while let Ok(count) =
            tokio::time::timeout(Duration::from_millis(500), guest.write(&sent[written..])).await
        {
            written += count.unwrap();
            assert!(written < BYTES, "there is a buffer larger than this");
        }
        let left = in_time("what is left", proxy.leave()).await;
        if left.sessions[0].outward.is_some() {
            break left;
        }
        proxy = Proxy::go_on(WIDE, left).unwrap();
        proxy.open(port, target).await.unwrap();
    };
    let next = Proxy::go_on(WIDE, left).unwrap();
    next.open(port, target).await.unwrap();
    let mut heard = Vec::new();
    let (_, read) = in_time("all bytes", async {
        tokio::join!(
            async {
                guest.write_all(&sent[written..]).await.unwrap();
                guest.shutdown().await.unwrap();
            },
            renter.read_to_end(&mut heard)
        )
    })
    .await;
    read.unwrap();
    assert!(heard == sent, "{} of {} bytes came, or others", heard.len(), sent.len());
}

#[tokio::test]
async fn a_port_that_is_closed_meanwhile_keeps_nobody() {
    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(WIDE).unwrap();
    let (kept, closed) = (open(&proxy, guest.address).await, open(&proxy, guest.address).await);
    let (mut here, _) = Renter::greeted(kept).await;
    let (mut there, _) = Renter::greeted(closed).await;
    let next = Proxy::go_on(WIDE, in_time("what is left", proxy.leave()).await).unwrap();
    next.close(closed.port()).await;
    there.is_ended().await;
    assert!(TcpStream::connect(closed).await.is_err());
    next.open(kept, guest.address).await.unwrap();
    assert!(here.is_alive().await);
    // Whoever leaves at once leaves what it was left.
    let last = Proxy::go_on(WIDE, in_time("what is left", next.leave()).await).unwrap();
    last.open(kept, guest.address).await.unwrap();
    assert!(here.is_alive().await);
}
