//! Strangers at the public API: what they take, and what is left for others. I-06, I-18.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use golem_api::VmAccess;
use golem_service::server::TrustedProxies;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::world::{DEADLINE, KEY, World};

/// Connections of the attack: more than the node takes.
const FLOOD: usize = 2100;

pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

async fn connect(from: Ipv4Addr, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    timeout(DEADLINE, socket.connect(to.parse().unwrap())).await.unwrap().unwrap()
}

/// Connections from `addresses` that send `text`, whatever becomes of them.
async fn flood(world: &World, addresses: impl Iterator<Item = Ipv4Addr>, text: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for address in addresses {
        let mut stream = connect(address, world.address()).await;
        let _ = stream.write_all(text).await;
        held.push(stream);
    }
    held
}

/// Whether a client that comes anew each time is answered.
async fn is_answered(world: &World, from: Ipv4Addr) {
    let rounds = async {
        for _ in 0..10 {
            let mut stream = connect(from, world.address()).await;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    };
    timeout(DEADLINE, rounds).await.expect("another client is answered meanwhile");
}

#[tokio::test]
async fn i_06_half_a_request_from_one_address_delays_nobody_else() {
    raise_file_limit();
    let world = World::start(VmAccess::Capability).await;
    let half_head = b"GET /health HTTP/1.1\r\nHost: t";
    let half_body = b"POST /api/v1/vms HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{";
    let kept_alive = b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n";
    let pipelined = kept_alive.repeat(50);
    for (text, addresses) in [
        (half_head as &[u8], 1),
        (half_body, 1),
        (kept_alive, 1),
        (b"", 1),
        (&pipelined, 1),
        (half_head, 16),
        (half_body, 700),
    ] {
        let addresses = (0..FLOOD)
            .map(|n| Ipv4Addr::new(127, 1, (n % addresses / 200) as u8, (n % addresses % 200 + 1) as u8));
        let held = flood(&world, addresses, text).await;
        is_answered(&world, Ipv4Addr::LOCALHOST).await;
        is_answered(&world, Ipv4Addr::new(127, 1, 0, 250)).await;
        // A create is answered too, and an attacker's own ones that are under way are left alone.
        let body = json!({ "name": "abc", "ssh_key": KEY });
        let (status, vm) = timeout(DEADLINE, world.post("/vms", &body)).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{vm}");
        world.call(Method::DELETE, &format!("/vms/{}", vm["id"].as_str().unwrap()), None).await;
        drop(held);
    }
    world.stop().await;
}

#[tokio::test]
async fn i_18_behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let ask = async |world: &World, client: &str| {
        let request = world.raw(Method::GET, "/api/v1/provider/info").header("x-forwarded-for", client);
        request.send().await.unwrap().status()
    };
    let trusted = TrustedProxies::parse("127.0.0.1").unwrap();
    let world = World::start_behind(trusted, 5).await;
    // Its connections are those of all its clients: more than one address may have.
    let held = flood(&world, (0..600).map(|_| Ipv4Addr::LOCALHOST), b"").await;
    for client in ["203.0.113.1", "203.0.113.2", "198.51.100.1, 203.0.113.3"] {
        for _ in 0..5 {
            assert_eq!(ask(&world, client).await, StatusCode::OK, "{client}");
        }
        assert_eq!(ask(&world, client).await, StatusCode::TOO_MANY_REQUESTS, "{client}");
    }
    drop(held);
    world.stop().await;

    // From anybody else the header is only words.
    let world = World::start_behind(TrustedProxies::parse("10.0.0.0/8").unwrap(), 5).await;
    for n in 0..5 {
        assert_eq!(ask(&world, &format!("203.0.113.{n}")).await, StatusCode::OK);
    }
    assert_eq!(ask(&world, "203.0.113.9").await, StatusCode::TOO_MANY_REQUESTS);
    world.stop().await;
}

/// Silence, and answers that are asked for and not read, end.
#[tokio::test]
async fn i_06_who_says_nothing_is_cut_off() {
    let world = World::start(VmAccess::Capability).await;
    let mut silent = connect(Ipv4Addr::LOCALHOST, world.address()).await;
    let mut idle = connect(Ipv4Addr::LOCALHOST, world.address()).await;
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    let mut slow = connect(Ipv4Addr::LOCALHOST, world.address()).await;
    let dribble = async {
        // A byte a second keeps no head open.
        while slow.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let ends = async {
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        let _ = idle.read_to_end(&mut rest).await;
        dribble.await;
    };
    timeout(DEADLINE * 2, ends).await.expect("they end");
    world.stop().await;
}
