//! The console of a VM over its socket, as renters use it, and as those do who mean harm.

use std::net::{IpAddr, Ipv4Addr};

use golem_api::VmAccess;
use golem_service::http::{Client, Options};
use golem_service::web_socket::{
    GOING_AWAY, Limits, NORMAL, POLICY, ReceivedAny, SocketError, WebSocket, connect,
};
use golem_vm::sim::{FLOOD, PROMPT};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::sessions::{ask, narrower, token, wallet};
use crate::strangers::raise_file_limit;
use crate::world::{DEADLINE, World, create_body};

/// A client's end of a console.
pub(crate) struct Console(WebSocket);

impl Console {
    async fn open(world: &World, which: &str, from: Option<IpAddr>) -> Result<Self, SocketError> {
        let http = Client::new(Options { from, ..Options::within(DEADLINE) }).unwrap();
        let url = format!("ws://{}/api/v1/vms/{which}/console/live", world.address());
        connect(&http, &url, Limits { message_bytes: 1 << 20, write: DEADLINE }).await.map(Self)
    }

    /// One that says first whose it is.
    pub(crate) async fn of(world: &World, which: &str, token: Option<&str>) -> Self {
        let mut console = Self::open(world, which, None).await.unwrap();
        console.says(&json!({ "type": "auth", "token": token })).await;
        console
    }

    /// One that was opened.
    async fn opened(world: &World, which: &str, token: Option<&str>) -> Self {
        let mut console = Self::of(world, which, token).await;
        assert_eq!(console.hears().await, json!({ "type": "opened", "protocol": "vm-console.v1" }));
        console
    }

    async fn says(&mut self, text: &Value) {
        self.0.send(text.to_string().into()).await.unwrap();
    }

    async fn types(&mut self, bytes: &'static [u8]) {
        self.0.send_bytes(bytes.into()).await.unwrap();
    }

    async fn next(&mut self) -> Result<ReceivedAny, SocketError> {
        timeout(DEADLINE, self.0.next_any()).await.expect("something comes in time")
    }

    /// The next text; bytes before it are dropped.
    pub(crate) async fn hears(&mut self) -> Value {
        loop {
            if let ReceivedAny::Text(text) = self.next().await.unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// What the guest writes until it ends with `end`.
    async fn reads(&mut self, end: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            match self.next().await.unwrap() {
                ReceivedAny::Bytes(bytes) => read.extend_from_slice(&bytes),
                ReceivedAny::Text(text) => panic!("{text}"),
                ReceivedAny::Alive => {}
            }
        }
        read
    }

    /// The texts until the server ends it, and how it does.
    async fn ends(&mut self) -> (Vec<Value>, u16, String) {
        let mut said = Vec::new();
        loop {
            match self.next().await {
                Ok(ReceivedAny::Text(text)) => said.push(serde_json::from_str(&text).unwrap()),
                Ok(_) => {}
                Err(SocketError::Closed { code, reason }) => {
                    return (said, code.expect("a close frame comes"), reason);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// A running VM called `name`: its id.
async fn create(world: &World, token: &str, name: &str) -> String {
    let made = ask(world, Some(token), Method::POST, "/vms", Some(&create_body(name))).await;
    assert_eq!(made.0, StatusCode::OK, "{}", made.1);
    let id = made.1["id"].as_str().unwrap().to_owned();
    world.reaches(&id, "running").await;
    id
}

/// The events of `id` about its console, oldest first.
async fn events(world: &World, id: &str) -> Vec<(String, String)> {
    let events = world.node().events(Some(id.parse().unwrap()), 100).await.unwrap();
    let of_console = events.into_iter().rev().filter(|event| event.kind.starts_with("console."));
    of_console.map(|event| (event.kind, event.detail)).collect()
}

#[tokio::test]
async fn a_renter_types_at_the_console_and_a_second_session_takes_over() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    let id = create(&world, &own, "web").await;
    let mut first = Console::opened(&world, "web", Some(&own)).await;
    first.types(b"root\r").await;
    assert_eq!(first.reads(PROMPT).await, [b"root".as_slice(), PROMPT].concat());
    // A size is taken, and changes nothing; what is not understood is told, and nothing ends.
    first.says(&json!({ "type": "resize", "columns": 80, "rows": 24 })).await;
    first.says(&json!({ "type": "ping" })).await;
    assert_eq!(first.hears().await, json!({ "type": "pong" }));
    for (said, word) in
        [(json!({ "type": "dance" }), "dance"), (json!({ "type": "auth" }), "is authenticated")]
    {
        first.says(&said).await;
        assert!(first.hears().await["error"].as_str().unwrap().contains(word), "{said}");
    }
    // Somebody who knows the id takes over, as on other routes.
    let mut second = Console::opened(&world, &id, None).await;
    let (said, code, reason) = first.ends().await;
    let why = "another session took the console over";
    assert_eq!(
        (said, code, reason.as_str()),
        (vec![json!({ "type": "closed", "reason": why })], POLICY, why)
    );
    second.types(b"\r").await;
    second.reads(PROMPT).await;
    assert_eq!(ask(&world, Some(&own), Method::POST, "/vms/web/stop", None).await.0, StatusCode::OK);
    assert_eq!(second.ends().await.1, NORMAL);
    let mut stopped = Console::of(&world, "web", Some(&own)).await;
    let (said, code, _) = stopped.ends().await;
    assert_eq!(code, POLICY);
    assert_eq!(said[0]["error"], "VM is stopped: cannot open the console of it now");
    // It is started, opened and deleted.
    assert_eq!(ask(&world, Some(&own), Method::POST, "/vms/web/start", None).await.0, StatusCode::OK);
    world.reaches(&id, "running").await;
    let mut third = Console::opened(&world, "web", Some(&own)).await;
    assert_eq!(ask(&world, Some(&own), Method::DELETE, "/vms/web", None).await.0, StatusCode::OK);
    assert_eq!(third.ends().await.1, NORMAL);
    let wallet = wallet(1).address().to_string();
    golem_test_support::until("the events", async || events(&world, &id).await.len() == 6).await;
    let events = events(&world, &id).await;
    assert_eq!(events[0], ("console.opened".to_owned(), format!("by {wallet}")));
    assert!(
        events[1].1.starts_with(&format!("by {wallet}, after ")) && events[1].1.ends_with(why),
        "{events:?}"
    );
    assert_eq!(events[2].1, "by who has the VM's id");
    assert!(events[5].0 == "console.closed", "{events:?}");
    world.stop().await;
}

#[tokio::test]
async fn whoever_may_not_open_a_console_is_told_why_and_holds_nothing() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    let others = token(&world, &wallet(2), "nonce-0001").await;
    let minted = async |body: Value| narrower(&world, &own, &body).await.1;
    let reads = minted(json!({ "read_only": true })).await;
    let elsewhere = minted(json!({ "vm_id": "another" })).await;
    let over = minted(json!({ "expires_in_seconds": 0 })).await;
    let of = |session: &Value| session["access_token"].as_str().unwrap().to_owned();
    let id = create(&world, &own, "web").await;
    let silent = async {
        let mut console = Console::open(&world, &id, None).await.unwrap();
        let (said, code, _) = console.ends().await;
        assert_eq!((said[0]["error"].as_str(), code), (Some("no authentication within 10 s"), POLICY));
    };
    let rest = async {
        let auth = |token: &str| json!({ "type": "auth", "token": token });
        let operator = world.bearer();
        let operator = operator.trim_start_matches("Bearer ");
        for (which, first, word) in [
            (&*id, json!("no event"), "the first message"),
            (&id, json!({ "type": "resize" }), "the first message"),
            (&id, auth("golem-session-00"), "the session is over"),
            (&id, auth(operator), "the session is over"),
            (&id, auth(&of(&over)), "the session is over"),
            (&id, auth(&others), "not for that VM"),
            ("web", auth(&others), "VM web not found"),
            ("web", auth(&of(&elsewhere)), "not for that VM"),
            ("web", auth(&of(&reads)), "may only read"),
            ("web", auth(""), "VM web not found"),
            ("nothing", auth(&own), "VM nothing not found"),
            ("%00%22%3Cb%3E", auth(&own), "not found"),
        ] {
            let mut console = Console::open(&world, which, None).await.unwrap();
            console.says(&first).await;
            let (said, code, reason) = console.ends().await;
            assert_eq!((said.len(), code), (1, POLICY), "{which} {first}: {said:?} {reason}");
            assert!(said[0]["error"].as_str().unwrap().contains(word), "{which} {first}: {said:?}");
        }
        let mut bytes = Console::open(&world, &id, None).await.unwrap();
        bytes.types(b"\r").await;
        assert_eq!(bytes.ends().await.1, POLICY, "bytes before who it is");
        // Messages of a megabyte, before who it is, and after.
        for greeted in [false, true] {
            let mut console = Console::open(&world, "web", None).await.unwrap();
            if greeted {
                console.says(&auth(&own)).await;
                console.hears().await;
            }
            let _ = console.0.send_bytes(vec![b'x'; 1 << 20].into()).await;
            let (_, code, reason) = console.ends().await;
            assert_eq!((code, reason.as_str()), (POLICY, "messages have at most 16 KiB"));
        }
        let plain = ask(&world, Some(&own), Method::GET, "/vms/web/console/live", None).await;
        assert_eq!(plain.0, StatusCode::UPGRADE_REQUIRED);
        let wrong = ask(&world, Some(operator), Method::GET, "/vms/web/console/live", None).await;
        assert_eq!(wrong.0, StatusCode::UNAUTHORIZED);
    };
    tokio::join!(silent, rest);
    golem_test_support::until("left", async || {
        let events = events(&world, &id).await;
        events.iter().filter(|(kind, _)| kind == "console.opened").count() == 1 && events.len() == 2
    })
    .await;
    let mut honest = Console::opened(&world, "web", Some(&own)).await;
    world.stop().await;
    let (_, code, _) = honest.ends().await;
    assert_eq!(code, GOING_AWAY, "a stop is told");
}

/// The token may stand in the header, as programs have it; and a session that is ended takes its console with it.
#[tokio::test]
async fn a_console_is_its_sessions_for_as_long_as_that_counts() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    create(&world, &own, "web").await;
    create(&world, &own, "more").await;
    let short = narrower(&world, &own, &json!({ "expires_in_seconds": 3 })).await.1;
    let revoked = narrower(&world, &own, &json!({ "vm_id": "more" })).await.1;
    let text = |session: &Value, member: &str| session[member].as_str().unwrap().to_owned();
    let mut console = Console::opened(&world, "web", Some(&text(&short, "access_token"))).await;
    let mut ended = Console::opened(&world, "more", Some(&text(&revoked, "access_token"))).await;
    let path = format!("/auth/tokens/{}", text(&revoked, "session_id"));
    assert_eq!(ask(&world, Some(&own), Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    for console in [&mut ended, &mut console] {
        let (_, code, reason) = console.ends().await;
        assert_eq!((code, reason.as_str()), (POLICY, "the session is over; sign in again"));
    }
    let http = Client::new(Options::within(DEADLINE)).unwrap();
    let url = format!("ws://{}/api/v1/vms/web/console/live", world.address());
    let limits = Limits { message_bytes: 1 << 20, write: DEADLINE };
    let header = [("authorization", format!("Bearer {own}"))];
    let mut console =
        Console(golem_service::web_socket::connect_with(&http, &url, &header, limits).await.unwrap());
    assert_eq!(console.hears().await["type"], "opened");
    console.types(b"\r").await;
    console.reads(PROMPT).await;
    world.stop().await;
}

/// The guest floods, and the client reads nothing: the process does not grow by it, the socket is not ended by that, and the
/// node's other routes answer.
#[tokio::test]
async fn a_flood_that_is_not_read_is_dropped_and_told() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    let id = create(&world, &own, "web").await;
    let mut console = Console::opened(&world, "web", Some(&own)).await;
    console.types(FLOOD).await;
    console.types(b"\r").await;
    // What the kernel buffers for the two ends is some megabytes at most, after which the node keeps 64 KiB.
    let dropped = async {
        tokio::time::sleep(std::time::Duration::from_secs(9)).await;
        assert_eq!(world.get(&format!("/vms/{id}")).await.0, StatusCode::OK);
        loop {
            let said = console.hears().await;
            if said["type"] == "dropped" {
                return said["bytes"].as_u64().unwrap();
            }
        }
    };
    assert!(timeout(3 * DEADLINE, dropped).await.expect("it is told in time") > 0);
    drop(console);
    golem_test_support::until("closed", async || events(&world, &id).await.len() == 2).await;
    world.stop().await;
}

/// A thousand sockets of one stranger are a few, and somebody else's gets its place.
#[tokio::test]
async fn a_thousand_sockets_of_one_leave_room_for_others() {
    raise_file_limit();
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    create(&world, &own, "web").await;
    let stranger = Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, 9)));
    let mut open = Vec::new();
    for _ in 0..1000 {
        match Console::open(&world, "web", stranger).await {
            Ok(console) => open.push(console),
            Err(SocketError::Refused { status, text }) => {
                assert!(status == 503 && text.contains("too many consoles"), "{status} {text}");
            }
            Err(SocketError::NoAnswer(_) | SocketError::Closed { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let mut console = Console::opened(&world, "web", Some(&own)).await;
    console.types(b"\r").await;
    console.reads(PROMPT).await;
    world.stop().await;
}

/// A node that starts anew leaves no console open, and opens it again.
#[tokio::test]
async fn a_restart_of_the_node_closes_the_console_and_the_vm_goes_on() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    let id = create(&world, &own, "web").await;
    let mut before = Console::opened(&world, "web", Some(&own)).await;
    let world = world.restart().await;
    assert_eq!(before.ends().await.1, GOING_AWAY);
    world.reaches(&id, "running").await;
    assert_eq!(events(&world, &id).await.len(), 2);
    let mut after = Console::opened(&world, "web", Some(&own)).await;
    after.types(b"\r").await;
    after.reads(PROMPT).await;
    world.stop().await;
}

/// The page is the same for everybody, loads nothing from elsewhere, and says so to browsers.
#[tokio::test]
async fn the_page_of_the_console_is_bytes_of_the_program_under_a_strict_policy() {
    let world = World::start(VmAccess::Capability).await;
    for (path, kind, word) in [
        ("/console", "text/html; charset=utf-8", "console/app.js"),
        ("/console/app.js", "text/javascript; charset=utf-8", "xterm.js (MIT"),
        ("/console/app.css", "text/css; charset=utf-8", ".xterm"),
    ] {
        let answer = world.raw(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("content-type"), header("x-frame-options")), (kind.to_owned(), "DENY".to_owned()));
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let text = answer.text().await.unwrap();
        assert!(text.contains(word), "{path}");
        if path == "/console" {
            assert!(
                !text.contains("http") && !text.contains("<style") && !text.contains("onclick"),
                "{text}"
            );
        }
    }
    world.stop().await;
}
