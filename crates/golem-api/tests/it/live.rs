//! The live socket of a VM, as the web client of contract version 4 uses it, and as those do who mean harm.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use golem_api::VmAccess;
use golem_service::http::{Client, Options};
use golem_service::web_socket::{
    GOING_AWAY, Limits, NORMAL, POLICY, Received, SocketError, TRY_AGAIN, WebSocket, connect,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::sessions::{ask, narrower, token, wallet};
use crate::strangers::raise_file_limit;
use crate::world::{DEADLINE, World, create_body};

/// A client's end of a live socket.
pub(crate) struct Socket(WebSocket);

impl Socket {
    /// A socket to what `path` names below `/vms/`.
    async fn open(world: &World, path: &str, from: Option<IpAddr>) -> Result<Self, SocketError> {
        let http = Client::new(Options { from, ..Options::within(DEADLINE) }).unwrap();
        let url = format!("ws://{}/api/v1/vms/{path}", world.address());
        let limits = Limits { message_bytes: 1 << 20, write: DEADLINE };
        connect(&http, &url, limits).await.map(Self)
    }

    /// One that says first whose it is.
    pub(crate) async fn of(world: &World, path: &str, token: Option<&str>) -> Self {
        let mut socket = Self::open(world, path, None).await.unwrap();
        socket.says(&json!({ "type": "auth", "token": token }).to_string()).await;
        socket
    }

    async fn says(&mut self, text: &str) {
        self.0.send(text.to_owned().into()).await.unwrap();
    }

    /// The next message.
    pub(crate) async fn hears(&mut self) -> Result<Value, SocketError> {
        loop {
            let received = timeout(DEADLINE, self.0.next()).await.expect("something is said in time")?;
            if let Received::Text(text) = received {
                return Ok(serde_json::from_str(&text).unwrap());
            }
        }
    }

    /// The first message that is `wanted`; those before it are dropped.
    async fn hears_of(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let message = self.hears().await.unwrap_or_else(|error| panic!("{what}: {error}"));
                if wanted(&message) {
                    return message;
                }
            }
        };
        timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("not told in time: {what}"))
    }

    /// What is said until the server ends it, and how it does.
    async fn ends(&mut self) -> (Vec<Value>, u16, String) {
        let mut said = Vec::new();
        let end = async {
            loop {
                match self.hears().await {
                    Ok(message) => said.push(message),
                    Err(SocketError::Closed { code, reason }) => return (code, reason),
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let (code, reason) = timeout(DEADLINE, end).await.expect("it is ended in time");
        (said, code.expect("a close frame comes"), reason)
    }
}

fn is_update(scope: &str, message: &Value) -> bool {
    message["type"] == "update" && message["scope"] == scope
}

/// A create that is not waited for: its VM's id, and its job's.
async fn create(world: &World, token: &str, name: &str) -> (String, String) {
    let made = ask(world, Some(token), Method::POST, "/vms?async=true", Some(&create_body(name))).await;
    assert_eq!(made.0, StatusCode::ACCEPTED, "{}", made.1);
    let text = |member: &str| made.1[member].as_str().unwrap().to_owned();
    (text("vm_id"), text("job_id"))
}

#[tokio::test]
async fn a_vm_is_followed_from_its_create_to_its_end() {
    let world = World::start_slow(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    let (id, job) = create(&world, &own, "web").await;
    let path = format!("web/live?job_id={job}&history_range=24h");
    let mut socket = Socket::of(&world, &path, Some(&own)).await;

    let hello = socket.hears().await.unwrap();
    assert_eq!((&hello["type"], &hello["data"]["protocol"]), (&json!("hello"), &json!("vm-live.v1")));
    let snapshot = socket.hears().await.unwrap();
    assert_eq!((&snapshot["type"], &snapshot["error"]), (&json!("snapshot"), &Value::Null));
    assert!(snapshot["generated_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{snapshot}");
    let data = snapshot["data"].as_object().unwrap();
    let mut keys: Vec<_> = data.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let wanted = [
        "access",
        "errors",
        "job",
        "lifecycle",
        "metrics_history",
        "metrics_live",
        "provider_info",
        "snapshots",
        "stream",
    ];
    assert_eq!(keys, wanted);
    assert_eq!(data["lifecycle"]["id"], json!(id));
    assert_eq!(data["lifecycle"]["status"], "creating");
    assert_eq!((&data["access"]["status"], &data["access"]["ssh_port"]), (&json!("creating"), &Value::Null));
    assert_eq!((&data["job"]["job_id"], &data["job"]["status"]), (&json!(job), &json!("creating")));
    assert_eq!(data["provider_info"], world.get("/provider/info").await.1);
    assert_eq!(
        (&data["snapshots"], &data["metrics_live"]["cpu_percent"], &data["stream"]),
        (&json!([]), &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&data["metrics_live"]["vm_id"], &data["metrics_history"]["range"]),
        (&json!(id), &json!("24h"))
    );
    assert_eq!(data["metrics_history"]["points"], json!([]), "it never ran");
    assert!(data["errors"]["stream"].as_str().unwrap().contains("payments not enabled"), "{snapshot}");
    assert_eq!(data["errors"].as_object().unwrap().len(), 1, "{snapshot}");

    world.let_boot();
    let (mut runs, mut reached, mut ready) = (false, false, false);
    while !(runs && reached && ready) {
        let update = socket.hears_of("that it runs", |message| message["type"] == "update").await;
        let data = &update["data"];
        runs |= is_update("lifecycle", &update) && data["status"] == "running" && data["progress"] == 100;
        reached |=
            is_update("access", &update) && data["ssh_host"] == "203.0.113.7" && data["ssh_port"].is_u64();
        ready |= is_update("job", &update) && data["status"] == "ready";
    }
    assert_eq!(ask(&world, Some(&own), Method::POST, "/vms/web/stop", None).await.0, StatusCode::OK);
    socket
        .hears_of("the stop", |message| {
            is_update("lifecycle", message) && message["data"]["status"] == "stopped"
        })
        .await;

    // What it is asked, it answers; what it does not understand, too, and goes on.
    for (said, answer) in [
        (json!({ "type": "ping" }), ["heartbeat", "", "server_time"]),
        (json!({ "type": "refresh", "scopes": ["job", "job"] }), ["update", "job", "ready"]),
        (
            json!({ "type": "set_history_range", "history_range": "6h" }),
            ["update", "metrics", "\"range\":\"6h\""],
        ),
        (json!({ "type": "set_history_range", "history_range": "2h" }), ["error", "metrics", "known: 1h"]),
        (json!({ "type": "refresh", "scopes": ["all"] }), ["error", "", "unsupported scope: all"]),
        (json!({ "type": "auth", "token": own }), ["error", "", "is authenticated"]),
        (json!("\u{202e}"), ["error", "", "unsupported live event"]),
        (json!({ "type": "dance" }), ["error", "", "dance"]),
    ] {
        socket.says(&said.to_string()).await;
        let heard = socket.hears().await.unwrap();
        let scope = heard["scope"].as_str().unwrap_or_default();
        let [kind, of, word] = answer;
        assert!(heard["type"] == kind && scope == of && heard.to_string().contains(word), "{said}: {heard}");
    }
    socket.says(r#"{"type":"#).await;
    assert_eq!(socket.hears().await.unwrap()["type"], "error");
    socket.says(r#"{"type":"refresh"}"#).await;
    let mut scopes = Vec::new();
    for _ in 0..7 {
        scopes.push(socket.hears().await.unwrap()["scope"].as_str().unwrap().to_owned());
    }
    assert_eq!(scopes, ["provider_info", "lifecycle", "access", "job", "snapshots", "stream", "metrics"]);

    assert_eq!(ask(&world, Some(&own), Method::DELETE, "/vms/web", None).await.0, StatusCode::OK);
    let (said, code, reason) = socket.ends().await;
    assert_eq!((code, reason.as_str()), (NORMAL, "the VM is gone"));
    let last = said.iter().rfind(|message| is_update("lifecycle", message)).unwrap();
    assert_eq!(last["data"]["status"], "deleted", "{said:?}");
    world.stop().await;
}

/// A renter learns why a create failed, whenever the socket is opened.
#[tokio::test]
async fn a_create_that_fails_is_told_and_ends_the_socket() {
    let world = World::start_slow(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    world.fail_next_create();
    let (id, job) = create(&world, &own, "web").await;
    let path = format!("web/live?job_id={job}");
    let mut early = Socket::of(&world, &path, Some(&own)).await;
    let failed = |message: &Value| {
        let of_job = if message["type"] == "snapshot" { &message["data"]["job"] } else { &message["data"] };
        of_job["status"] == "failed" && of_job["error"].is_string()
    };
    let (said, code, _) = early.ends().await;
    assert!(code == NORMAL && said.iter().any(failed), "{said:?}");
    golem_test_support::until("given up", async || world.node().vms().is_empty()).await;
    // By its name, which it has no longer, and its id; to whom both ids are known, and nobody else.
    for (which, token) in [("web", Some(&*own)), (&id, Some(&*own)), ("web", None)] {
        let mut late = Socket::of(&world, &format!("{which}/live?job_id={job}"), token).await;
        let (said, code, _) = late.ends().await;
        assert!(code == NORMAL && said.iter().any(failed), "{which}: {said:?}");
    }
    let others = token(&world, &wallet(2), "nonce-0001").await;
    let (said, code, _) = Socket::of(&world, &path, Some(&others)).await.ends().await;
    assert_eq!((said[0]["type"].as_str().unwrap(), code), ("error", POLICY));
    world.stop().await;
}

#[tokio::test]
async fn whoever_may_not_look_on_or_does_as_it_likes_is_told_why_and_ended() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    let others = token(&world, &wallet(2), "nonce-0001").await;
    let elsewhere = narrower(&world, &own, &json!({ "vm_id": "another" })).await.1;
    let elsewhere = elsewhere["access_token"].as_str().unwrap();
    let over = narrower(&world, &own, &json!({ "expires_in_seconds": 0 })).await.1;
    let over = over["access_token"].as_str().unwrap();
    let (id, job) = create(&world, &own, "web").await;
    let (_, other_job) = create(&world, &own, "more").await;
    let auth = |token: &str| json!({ "type": "auth", "token": token }).to_string();
    let open = |which: &str| format!("{which}/live");
    let silent = async {
        let mut socket = Socket::open(&world, &open(&id), None).await.unwrap();
        let (said, code, _) = socket.ends().await;
        assert_eq!((said[0]["error"].as_str(), code), (Some("no authentication within 10 s"), POLICY));
    };
    let rest = async {
        for (path, first, word) in [
            (open(&id), "no JSON".to_owned(), "unsupported live event"),
            (open(&id), r#"{"type":"ping"}"#.to_owned(), "the first message"),
            (open(&id), auth("golem-session-00"), "the session is over"),
            (open(&id), auth(over), "the session is over"),
            (open(&id), auth(&others), "not for that VM"),
            (open("web"), auth(&others), "VM web not found"),
            (open("web"), auth(elsewhere), "not for that VM"),
            (open("web"), auth(""), "VM web not found"),
            (open("nothing"), auth(&own), "VM nothing not found"),
            (open("%00%22%3Cb%3E"), auth(&own), "not found"),
            (format!("web/live?job_id={other_job}"), auth(&own), "job not found"),
            ("web/live?job_id=nothing".to_owned(), auth(&own), "job not found"),
            (format!("more/live?job_id={job}"), auth(&own), "job not found"),
            ("web/live?history_range=2h".to_owned(), auth(&own), "known: 1h, 6h, 24h, 7d, 30d"),
        ] {
            let mut socket = Socket::open(&world, &path, None).await.unwrap();
            socket.says(&first).await;
            let (said, code, reason) = socket.ends().await;
            assert_eq!((said.len(), code), (1, POLICY), "{path} {first}: {said:?} {reason}");
            assert!(said[0]["error"].as_str().unwrap().contains(word), "{path} {first}: {said:?}");
        }
        // Before who it is, and after.
        for greeted in [false, true] {
            let mut socket = Socket::open(&world, &open("web"), None).await.unwrap();
            if greeted {
                socket.says(&auth(&own)).await;
                socket.hears_of("the snapshot", |message| message["type"] == "snapshot").await;
            }
            socket.says(&"x".repeat(5 << 10)).await;
            let (_, code, reason) = socket.ends().await;
            assert_eq!((code, reason.as_str()), (POLICY, "messages are texts of at most 4 KiB"));
        }
        let mut flood = Socket::of(&world, &open("web"), Some(&own)).await;
        for _ in 0..100 {
            // Ended meanwhile, it takes no more.
            let _ = flood.0.send(r#"{"type":"ping"}"#.into()).await;
        }
        let (_, code, reason) = flood.ends().await;
        assert_eq!((code, reason.as_str()), (POLICY, "too many messages"));
        let mut greedy = Socket::of(&world, &open("web"), Some(&own)).await;
        for _ in 0..10 {
            let _ = greedy.0.send(r#"{"type":"refresh"}"#.into()).await;
        }
        assert_eq!(greedy.ends().await.1, POLICY);
        let plain = ask(&world, Some(&own), Method::GET, "/vms/web/live", None).await;
        assert_eq!(plain.0, StatusCode::UPGRADE_REQUIRED);
    };
    tokio::join!(silent, rest);
    let mut honest = Socket::of(&world, &open("web"), Some(&own)).await;
    honest.hears_of("the snapshot", |message| message["type"] == "snapshot").await;
    world.stop().await;
    assert_eq!(honest.ends().await.1, GOING_AWAY, "a stop is told");
}

#[tokio::test]
async fn a_session_that_ends_or_is_ended_takes_its_sockets_with_it() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    create(&world, &own, "web").await;
    let minted = async |body: Value| narrower(&world, &own, &body).await.1;
    let short = minted(json!({ "read_only": true, "expires_in_seconds": 3 })).await;
    let revoked = minted(json!({ "read_only": true, "vm_id": "web" })).await;
    let kept = minted(json!({ "read_only": true })).await;
    let mut sockets = Vec::new();
    for session in [&short, &revoked, &kept] {
        let mut socket = Socket::of(&world, "web/live", session["access_token"].as_str()).await;
        socket.hears_of("the snapshot", |message| message["type"] == "snapshot").await;
        sockets.push(socket);
    }
    let [short, ended, kept] = &mut sockets[..] else { panic!("three") };
    let path = format!("/auth/tokens/{}", revoked["session_id"].as_str().unwrap());
    assert_eq!(ask(&world, Some(&own), Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    for socket in [ended, short] {
        let (said, code, _) = socket.ends().await;
        let last = said.last().unwrap();
        assert!(
            last["type"] == "error" && last["error"].as_str().unwrap().contains("session is over"),
            "{said:?}"
        );
        assert_eq!(code, POLICY);
    }
    kept.says(r#"{"type":"ping"}"#).await;
    kept.hears_of("a sign of life", |message| message["type"] == "heartbeat").await;
    world.stop().await;
}

/// The head of the response to a handshake that a browser would send from a page of another site.
async fn handshake(world: &World, from: Ipv4Addr) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let mut stream =
        timeout(DEADLINE, socket.connect(world.address().parse().unwrap())).await.unwrap().unwrap();
    let request = "GET /api/v1/vms/web/live HTTP/1.1\r\nHost: t\r\nOrigin: https://rent.example\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // Nothing comes after it before the client says something.
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|end| end == b"\r\n\r\n")
        && timeout(DEADLINE, stream.read_buf(&mut head)).await.unwrap().unwrap_or_default() > 0
    {}
    (stream, String::from_utf8_lossy(&head).into_owned())
}

/// A client's frame, whose mask is zero.
fn frame(opcode: u8, text: &[u8]) -> Vec<u8> {
    [&[0x80 | opcode, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0], text].concat()
}

/// What the server says to a client without manners until it ends the connection: its last frame's code.
async fn code_after(mut stream: TcpStream, frames: &[u8]) -> Option<u16> {
    // The server may have ended it.
    let _ = stream.write_all(frames).await;
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the server ends it");
    let mut rest = &rest[..];
    while let [kind, length, tail @ ..] = rest {
        let (length, tail) = match (length, tail) {
            (126, [high, low, tail @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), tail),
            (length, tail) => (usize::from(*length), tail),
        };
        if *kind == 0x88 {
            return Some(u16::from_be_bytes([tail[0], tail[1]]));
        }
        rest = &tail[length..];
    }
    None
}

#[tokio::test]
async fn frames_that_no_client_sends_end_the_socket_alone() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    create(&world, &own, "web").await;
    let auth = frame(1, json!({ "type": "auth", "token": own }).to_string().as_bytes());
    let close = frame(8, &1000_u16.to_be_bytes());
    let text = frame(1, b"{}");
    for (what, frames, code) in [
        ("binary", frame(2, b"{}"), Some(POLICY)),
        ("binary after auth", [auth.clone(), frame(2, b"{}")].concat(), Some(POLICY)),
        ("no UTF-8", frame(1, b"\xff\xfe"), Some(POLICY)),
        ("an unknown kind", frame(3, b""), Some(POLICY)),
        ("a frame without mask", vec![0x81, 2, b'{', b'}'], Some(POLICY)),
        (
            "a giant that is only announced",
            vec![0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Some(POLICY),
        ),
        ("text after close", [auth.clone(), close.clone(), text.clone(), text].concat(), Some(1000)),
        ("close at once", close, Some(1000)),
    ] {
        let (stream, head) = handshake(&world, Ipv4Addr::LOCALHOST).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.contains("access-control-allow-origin: https://rent.example"), "{head}");
        assert_eq!(code_after(stream, &frames).await, code, "{what}");
    }
    let mut honest = Socket::of(&world, "web/live", Some(&own)).await;
    honest.hears_of("the snapshot", |message| message["type"] == "snapshot").await;
    world.stop().await;
}

/// I-06: five thousand sockets that say nothing.
#[tokio::test]
async fn i_06_a_crowd_of_sockets_has_its_share_and_a_renter_looks_on_all_the_same() {
    raise_file_limit();
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    create(&world, &own, "web").await;
    let mut first = Socket::of(&world, "web/live", Some(&own)).await;
    first.hears_of("the snapshot", |message| message["type"] == "snapshot").await;
    // One customer's share is told to the one that comes too late.
    let neighbour = Ipv4Addr::new(127, 2, 0, 1);
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(handshake(&world, neighbour).await);
    }
    let mut late = Socket::open(&world, "web/live", Some(neighbour.into())).await.unwrap();
    let (said, code, reason) = late.ends().await;
    assert_eq!((said.len(), code), (0, TRY_AGAIN));
    assert!(reason.starts_with("too many live sockets of this network"), "{reason}");
    drop(held);
    let mut crowd = Vec::new();
    for number in 0..5000_u16 {
        let [network, customer] = [number % 100, number / 100].map(|part| u8::try_from(part).unwrap());
        crowd.push(handshake(&world, Ipv4Addr::new(127, 3, network, customer + 1)).await);
    }
    let opened = crowd.iter().filter(|(_, head)| head.starts_with("HTTP/1.1 101")).count();
    let refused = crowd.iter().filter(|(_, head)| head.starts_with("HTTP/1.1 503")).count();
    assert_eq!(opened + refused, crowd.len());
    crowd.retain(|(_, head)| head.starts_with("HTTP/1.1 101"));
    let held = std::cell::RefCell::new(crowd);
    // A close frame comes, or the end; on one that has a place, nothing.
    let is_held = |stream: &TcpStream| stream.try_read(&mut [0; 64]).is_err();
    let within = async || {
        held.borrow_mut().retain(|(stream, _)| is_held(stream));
        held.borrow().len() <= 1024
    };
    golem_test_support::until("no more are held than there are places", within).await;
    // Who looked on before still does, and a newcomer finds a place.
    first.says(r#"{"type":"ping"}"#).await;
    first.hears_of("a sign of life", |message| message["type"] == "heartbeat").await;
    let mut newcomer = Socket::of(&world, "web/live", Some(&own)).await;
    newcomer.hears_of("the snapshot", |message| message["type"] == "snapshot").await;
    drop(held);
    world.stop().await;
}
