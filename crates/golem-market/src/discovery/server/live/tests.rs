//! Sockets of a server in this process, with a clock that moves only when a test says so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use axum::Router;
use axum::routing::get;
use golem_service::http::{self, Options};
use golem_service::server::TrustedProxies;
use golem_service::server::serve::serve;
use golem_service::web_socket::{Received, SocketError, connect};
use golem_types::{Resources, Wallet};
use tokio::net::TcpListener;
use tokio::time::advance;

use super::*;
use crate::discovery::live::advert::LiveAdvert;
use crate::discovery::live::requestor;
use crate::discovery::live::words::{Authenticate, FromServer, PROTOCOL, subscription};

/// Longest that anything may take by the machine's clock.
const DEADLINE: Duration = Duration::from_secs(30);

/// `future`, while the runtime's clock stands: it moves by itself only where no blocking task runs.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let (keep, end) = std::sync::mpsc::channel::<()>();
    let late = tokio::task::spawn_blocking(move || end.recv_timeout(DEADLINE));
    let result = tokio::select! {
        result = future => result,
        _ = late => panic!("not in time: {what}"),
    };
    drop(keep);
    result
}

/// Waits until `level` holds, while the runtime's clock stands.
async fn until(what: &'static str, level: impl Fn() -> bool) {
    let end = std::time::Instant::now() + DEADLINE;
    while !level() {
        assert!(std::time::Instant::now() < end, "not in time: {what}");
        tokio::task::spawn_blocking(golem_test_support::pause).await.unwrap();
    }
}

struct Run {
    tasks: Tasks,
    directory: Directory,
    address: String,
    clients: Mutex<HashMap<Option<IpAddr>, http::Client>>,
}

/// The other end of a socket, that does as it likes.
struct Raw(WebSocket);

impl Run {
    async fn start() -> Self {
        let tasks = Tasks::new();
        let live = Arc::new(Live::new(&tasks));
        let directory = live.directory.clone();
        let router = Router::new()
            .route("/api/v1/discovery/providers", get(providers))
            .route("/api/v1/discovery/requestors", get(requestors))
            .with_state(live);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("ws://{}/api/v1/discovery", listener.local_addr().unwrap());
        tasks.spawn("server", serve("test", listener, router, TrustedProxies::default(), tasks.clone()));
        Self { tasks, directory, address, clients: Mutex::default() }
    }

    async fn open(&self, path: &str, from: Option<IpAddr>) -> Result<Raw, SocketError> {
        let http = {
            let make = || http::Client::new(Options { from, ..Options::within(DEADLINE) }).unwrap();
            self.clients.lock().unwrap().entry(from).or_insert_with(make).clone()
        };
        let limits = Limits { message_bytes: 16 << 20, write: DEADLINE };
        let url = format!("{}/{path}", self.address);
        let opening = connect(&http, &url, limits);
        within("a socket", opening).await.map(Raw)
    }

    /// A provider that was greeted with that nonce.
    async fn provider(&self) -> (Raw, String) {
        let raw = self.open("providers", None).await.unwrap();
        raw.greeted().await
    }

    /// A provider at `from` that proved itself, or how it was refused.
    async fn proven_at(&self, number: u8, from: IpAddr) -> Result<Raw, SocketError> {
        let (mut raw, nonce) = self.open("providers", Some(from)).await?.greeted().await;
        raw.says(&FromProvider::Authenticate(proof(number, &nonce))).await;
        assert_eq!(raw.said().await, FromServer::Authenticated);
        Ok(raw)
    }

    /// A provider that proved itself.
    async fn proven(&self, number: u8) -> Raw {
        let (mut raw, nonce) = self.provider().await;
        raw.says(&FromProvider::Authenticate(proof(number, &nonce))).await;
        assert_eq!(raw.said().await, FromServer::Authenticated);
        raw
    }

    /// A renter who looks for `filter`, and what is shown.
    async fn requestor(&self, filter: &Filter) -> (Raw, usize) {
        let mut raw = self.open("requestors", None).await.unwrap();
        raw.0.send(subscription(filter)).await.unwrap();
        assert!(matches!(raw.said().await, FromServer::Hello { .. }));
        let FromServer::Snapshot(listed) = raw.said().await else { panic!("no snapshot") };
        (raw, listed.len())
    }
}

impl Raw {
    async fn greeted(mut self) -> (Self, String) {
        let FromServer::Hello { protocol, nonce } = self.said().await else { panic!("no hello") };
        assert_eq!((protocol.as_str(), nonce.len()), (PROTOCOL, 32));
        (self, nonce)
    }

    async fn says(&mut self, message: &FromProvider) {
        self.0.send(message.write()).await.unwrap();
    }

    async fn hears(&mut self) -> Result<FromServer, SocketError> {
        loop {
            if let Received::Text(text) = within("a message", self.0.next()).await? {
                return Ok(FromServer::read(&text).unwrap());
            }
        }
    }

    async fn said(&mut self) -> FromServer {
        self.hears().await.unwrap()
    }

    /// Why the server ends it, whatever it says before.
    async fn ended(&mut self) -> (Option<u16>, String) {
        loop {
            match self.hears().await {
                Ok(_) => {}
                Err(SocketError::Closed { code, reason }) => return (code, reason),
                Err(other) => panic!("{other}"),
            }
        }
    }

    async fn refused(&mut self) -> String {
        match self.said().await {
            FromServer::Error(text) => text,
            other => panic!("{other:?}"),
        }
    }

    /// What was said to a renter: cores, or the beginning of an id that is gone.
    async fn news(&mut self) -> String {
        match self.said().await {
            FromServer::Upsert(listed) => format!("cpu {}", listed.resources["cpu"]),
            FromServer::Remove(id) => format!("gone {}", wallet(7).address().to_string() == id),
            other => panic!("{other:?}"),
        }
    }
}

fn wallet(number: u8) -> Wallet {
    Wallet::from_bytes(&[number; 32]).unwrap()
}

fn proof(number: u8, nonce: &str) -> Authenticate {
    Authenticate::sign(&wallet(number), nonce, Timestamp::now()).unwrap()
}

fn advert(cpu: u32) -> LiveAdvert {
    LiveAdvert {
        ip_address: [203, 0, 113, 7].into(),
        country: "SE".to_owned(),
        platform: Some("x86_64".to_owned()),
        endpoint_protocol: None,
        endpoint_host: None,
        endpoint_port: None,
        endpoint_url: Some("https://203.0.113.7".to_owned()),
        resources: Resources::new(cpu, 8, 100),
        pricing: None,
    }
}

fn upsert(cpu: u32) -> FromProvider {
    FromProvider::Upsert(Box::new(advert(cpu)))
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_shown_to_those_whom_it_concerns_while_it_is_connected() {
    let run = Run::start().await;
    let four = Filter { cpu: Some(4), ..Filter::default() };
    let (mut all, shown) = run.requestor(&Filter::default()).await;
    let (mut large, _) = run.requestor(&four).await;
    assert_eq!(shown, 0);
    let mut provider = run.proven(7).await;
    for cpu in [8, 2] {
        provider.says(&upsert(cpu)).await;
        assert_eq!(provider.said().await, FromServer::Accepted);
    }
    assert_eq!([all.news().await, all.news().await], ["cpu 8", "cpu 2"]);
    assert_eq!([large.news().await, large.news().await], ["cpu 8", "gone true"]);
    // What is wrong is told, and what was right stays.
    provider.0.send(r#"{"type":"advertisement.upsert","advertisement":{}}"#.into()).await.unwrap();
    assert!(provider.refused().await.contains("missing field"), "what is missing is told");
    provider.0.send(r#"{"type":"dance"}"#.into()).await.unwrap();
    assert_eq!(provider.refused().await, r#"a message of type "dance" is not known here"#);
    let (url, everyone) = (format!("{}/providers", run.address), Filter::default());
    let listed = within("a list", requestor::find(&url, &everyone)).await.unwrap();
    assert_eq!((listed[0].resources["cpu"], listed.len()), (2, 1));
    assert_eq!(listed[0].provider_id, wallet(7).address().to_string());
    assert_eq!(listed[0].endpoint_url.as_deref(), Some("https://203.0.113.7"));
    assert_eq!(run.requestor(&four).await.1, 0);
    provider.says(&FromProvider::Remove).await;
    assert_eq!(provider.said().await, FromServer::Removed);
    assert_eq!(all.news().await, "gone true");
    provider.says(&upsert(4)).await;
    assert_eq!([all.news().await, large.news().await], ["cpu 4", "cpu 4"]);
    // Another search on the same socket.
    all.0.send(subscription(&four)).await.unwrap();
    assert!(matches!(all.said().await, FromServer::Snapshot(listed) if listed.len() == 1));
    drop(provider);
    assert_eq!([all.news().await, large.news().await], ["gone true", "gone true"]);
    run.tasks.stop().await;
    assert_eq!(all.ended().await, (Some(GOING_AWAY), "the server ends".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_shown_who_does_not_prove_who_it_is() {
    let run = Run::start().await;
    let (mut first, nonce) = run.provider().await;
    let good = proof(7, &nonce);
    // Of another connection: each has a nonce of its own.
    let (mut other, _) = run.provider().await;
    other.says(&FromProvider::Authenticate(good.clone())).await;
    assert_eq!(other.refused().await, "the nonce is not the one of this connection");
    assert_eq!(other.ended().await, (Some(POLICY), "authentication failed".to_owned()));
    let hour = jiff::SignedDuration::from_hours(1);
    let changes: [fn(&mut Authenticate); 2] = [
        |proof| proof.provider_id = wallet(8).address().to_string(),
        |proof| proof.signature = proof.signature.replace("0x", "0x1"),
    ];
    for change in changes {
        let (mut raw, nonce) = run.provider().await;
        let mut proof = proof(7, &nonce);
        change(&mut proof);
        raw.says(&FromProvider::Authenticate(proof)).await;
        assert!(raw.refused().await.contains("signature"));
        assert_eq!(raw.ended().await.0, Some(POLICY));
    }
    let (mut late, nonce) = run.provider().await;
    let early = Timestamp::now() - hour;
    late.says(&FromProvider::Authenticate(Authenticate::sign(&wallet(7), &nonce, early).unwrap())).await;
    assert!(late.refused().await.contains("fix: set the clock"));
    let (mut hasty, _) = run.provider().await;
    hasty.says(&upsert(8)).await;
    assert_eq!(hasty.refused().await, "the first message has to be authenticate");
    assert_eq!(hasty.ended().await.0, Some(POLICY));
    // Once, and not again.
    first.says(&FromProvider::Authenticate(good.clone())).await;
    assert_eq!(first.said().await, FromServer::Authenticated);
    first.says(&FromProvider::Authenticate(good)).await;
    assert_eq!(first.ended().await, (Some(POLICY), "a nonce counts once".to_owned()));
    assert_eq!(run.directory.shown(), 0);
    run.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_sockets_of_one_provider_the_newer_stays() {
    let run = Run::start().await;
    let (mut looker, _) = run.requestor(&Filter::default()).await;
    let mut old = run.proven(7).await;
    old.says(&upsert(8)).await;
    assert_eq!(looker.news().await, "cpu 8");
    let mut new = run.proven(7).await;
    assert_eq!(old.ended().await, (Some(POLICY), "a newer connection of this provider is there".to_owned()));
    new.says(&upsert(6)).await;
    assert_eq!(looker.news().await, "cpu 6", "and the older's end took nothing away");
    drop(new);
    assert_eq!(looker.news().await, "gone true");
    run.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_ended_and_who_is_dead_is_not_shown() {
    let run = Run::start().await;
    let (mut silent, _) = run.provider().await;
    let mut idle = run.open("requestors", None).await.unwrap();
    assert!(matches!(idle.said().await, FromServer::Hello { .. }));
    let mut provider = run.proven(7).await;
    provider.says(&upsert(8)).await;
    assert_eq!(provider.said().await, FromServer::Accepted);
    within("time", advance(BEGIN)).await;
    assert_eq!(silent.ended().await, (Some(POLICY), "no authentication within 10 s".to_owned()));
    assert_eq!(idle.ended().await, (Some(POLICY), "no subscription within 10 s".to_owned()));
    // A provider that answers no ping: nobody reads its socket.
    let (mut looker, shown) = run.requestor(&Filter::default()).await;
    assert_eq!(shown, 1);
    let gone = async {
        for _ in 0..5 {
            advance(PING).await;
            // The one who looks on answers.
            if let Ok(Received::Text(text)) = looker.0.next().await {
                return text;
            }
        }
        panic!("it is still shown")
    };
    let gone = within("the end of one that is dead", gone).await;
    assert!(gone.contains("provider.remove"), "{gone}");
    run.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_floods_or_sends_too_much_is_ended() {
    let run = Run::start().await;
    let mut provider = run.proven(7).await;
    for cpu in 1..30 {
        // Ended meanwhile, it takes no more.
        let _ = provider.0.send(upsert(cpu).write()).await;
    }
    assert_eq!(provider.ended().await, (Some(POLICY), "too many messages".to_owned()));
    let mut pings = run.proven(7).await;
    for _ in 0..100 {
        let _ = pings.0.ping().await;
    }
    assert_eq!(pings.ended().await, (Some(POLICY), "too many messages".to_owned()));
    // As often as a node changes it may go on for ever.
    let mut calm = run.proven(7).await;
    for cpu in 1..30 {
        calm.says(&upsert(cpu)).await;
        assert_eq!(calm.said().await, FromServer::Accepted);
        within("time", advance(Duration::from_secs(5))).await;
    }
    let mut large = run.proven(7).await;
    large.0.send("x".repeat(LIMITS.message_bytes + 1).into()).await.unwrap();
    assert_eq!(large.ended().await, (Some(POLICY), "messages are texts of at most 8 KiB".to_owned()));
    let (mut eager, _) = run.requestor(&Filter::default()).await;
    for _ in 0..3 {
        let _ = eager.0.send(subscription(&Filter::default())).await;
    }
    assert_eq!(eager.ended().await.0, Some(POLICY));
    run.tasks.stop().await;
}

/// I-07: one source cannot have all places, and what it has is no other's loss.
#[tokio::test(start_paused = true)]
async fn i_07_a_source_has_its_share_of_sockets_and_no_more() {
    let run = Run::start().await;
    let [of_customer, of_network] = PROVIDERS_OF_ONE;
    let address = |network: u8, number: usize| IpAddr::from([127, 1, network, u8::try_from(number).unwrap()]);
    let refused = |opened: Result<Raw, SocketError>| match opened {
        Err(SocketError::Refused { status, .. }) => status,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("one more was taken"),
    };
    let mut held = Vec::new();
    while held.len() < of_network {
        let number = u8::try_from(held.len() + 1).unwrap();
        let customer = 1 + held.len() / of_customer;
        held.push(run.proven_at(number, address(1, customer)).await.unwrap());
        if held.len() == of_customer {
            assert_eq!(refused(run.open("providers", Some(address(1, 1))).await), 503);
        }
    }
    // A neighbour who has none takes the newest place of who has most, and the network has no more than before.
    let neighbour = run.proven_at(200, address(1, 200)).await.unwrap();
    let newest = held.last_mut().unwrap();
    let (code, reason) = newest.ended().await;
    assert_eq!((code, reason.as_str()), (Some(TRY_AGAIN), "others, who hold fewer sockets, need the place"));
    assert_eq!(refused(run.open("providers", Some(address(1, 1))).await), 503);
    // Another network's, and a renter of the same address.
    run.proven_at(201, address(2, 1)).await.unwrap();
    run.open("requestors", Some(address(1, 1))).await.unwrap();
    drop(neighbour);
    run.tasks.stop().await;
}

/// Memory of the server does not grow for one that reads nothing: it waits for what the kernel takes, and ends it.
#[tokio::test(start_paused = true)]
async fn a_renter_who_never_reads_is_dropped_and_holds_up_nobody() {
    let run = Run::start().await;
    // Far more than what the kernel holds for a socket: 10 MB.
    let wordy = LiveAdvert { platform: Some("x".repeat(4000)), ..advert(8) };
    let members: Vec<_> = (0..2500_u32)
        .map(|number| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let member = run.directory.join(id.into());
            member.upsert(wordy.clone()).unwrap();
            member
        })
        .collect();
    let mut deaf = run.open("requestors", None).await.unwrap();
    deaf.0.send(subscription(&Filter::default())).await.unwrap();
    let two = Filter { memory: Some(9), ..Filter::default() };
    let (mut looker, _) = run.requestor(&two).await;
    let larger = LiveAdvert { resources: Resources::new(1, 9, 100), ..advert(1) };
    members[0].upsert(larger).unwrap();
    assert_eq!(looker.news().await, "cpu 1");
    until("both look on", || run.directory.lookers() == 2).await;
    drop(looker);
    until("only the deaf one looks on", || run.directory.lookers() == 1).await;
    // It has its time for one part, and for all of them, and no more.
    within("time", advance(LIST)).await;
    until("the deaf one is dropped", || run.directory.lookers() == 0).await;
    assert!(matches!(deaf.said().await, FromServer::Hello { .. }));
    let error = deaf.hears().await.expect_err("it got the whole list");
    assert!(matches!(error, SocketError::Closed { .. } | SocketError::Broken(_)), "{error}");
    run.tasks.stop().await;
}

/// Who reads slower than changes come, beyond the ring of changes, is told to come again.
#[tokio::test(start_paused = true)]
async fn who_falls_behind_the_changes_is_told_so() {
    let run = Run::start().await;
    let (mut slow, _) = run.requestor(&Filter::default()).await;
    let member = run.directory.join(wallet(7).address());
    // Nothing else runs meanwhile.
    for number in 0..20_000 {
        member.upsert(advert(1 + number % 7)).unwrap();
    }
    assert_eq!(slow.ended().await, (Some(TRY_AGAIN), "too slow for the changes".to_owned()));
    assert_eq!(run.requestor(&Filter::default()).await.1, 1, "and finds everything again");
    run.tasks.stop().await;
}
