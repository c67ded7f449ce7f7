use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::*;

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server that tells what it is told to tell.
#[derive(Clone)]
struct Echo {
    url: String,
    says: Arc<Mutex<(u16, String)>>,
}

impl Echo {
    async fn start(tasks: &Tasks, says: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ip", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new((200, says.to_owned())));
        let answer = says.clone();
        let router = Router::new().fallback(async move || {
            let (status, text) = answer.lock().unwrap().clone();
            if text == "(silence)" {
                std::future::pending::<()>().await;
            }
            (StatusCode::from_u16(status).unwrap(), text).into_response()
        });
        let stop = tasks.stopping().clone();
        tasks.spawn("echo", async move {
            stop.run_until_cancelled(async { axum::serve(listener, router).await.unwrap() }).await;
        });
        Self { url, says }
    }

    fn say(&self, status: u16, text: &str) {
        *self.says.lock().unwrap() = (status, text.to_owned());
    }
}

/// A node on the loopback, where no renter is.
fn site() -> Site {
    Site {
        host: Ipv4Addr::LOCALHOST.into(),
        api: std::num::NonZeroU16::new(7466).unwrap(),
        ssh: 50800..50900,
        web: Vec::new(),
        development: false,
        public_address: None,
        address_servers: Vec::new(),
        address_interval: Duration::from_secs(1),
    }
}

/// The same, where `echoes` tell the address.
fn asking(echoes: &[&Echo]) -> Site {
    Site { address_servers: echoes.iter().map(|echo| echo.url.clone()).collect(), ..site() }
}

#[tokio::test]
async fn a_given_address_wins_and_development_takes_this_machines() {
    let tasks = Tasks::new();
    let given = Site { public_address: Some([203, 0, 113, 7].into()), ..site() };
    // S-113
    assert_eq!(*follow(&given, &tasks).borrow(), Some([203, 0, 113, 7].into()));
    let given = Site { public_address: Some("2001:db8::7".parse().unwrap()), development: true, ..site() };
    assert_eq!(*follow(&given, &tasks).borrow(), Some("2001:db8::7".parse().unwrap()));
    let development = Site { host: Ipv4Addr::UNSPECIFIED.into(), development: true, ..site() };
    let found = follow(&development, &tasks).borrow().unwrap();
    // Only an address of this machine can be bound.
    // S-192
    assert!(UdpSocket::bind((found, 0)).is_ok(), "{found}");
    tasks.stop().await;
}

#[tokio::test]
async fn s_113_two_servers_agree_whatever_the_others_are() {
    let tasks = Tasks::new();
    let (one, two) =
        (Echo::start(&tasks, "203.0.113.7").await, Echo::start(&tasks, r#"{"ip":"203.0.113.7"}"#).await);
    let odd = Echo::start(&tasks, "198.51.100.1").await;
    let found = async || find(&asking(&[&one, &odd, &two])).await.map_err(|error| error.to_string());
    let agreed: IpAddr = [203, 0, 113, 7].into();
    let huge = "9".repeat(1 << 20);
    for (status, says) in [
        (200, "198.51.100.1"),
        (500, "203.0.113.7"),
        (200, "<html>"),
        (200, huge.as_str()),
        (302, ""),
        (200, "::1"),
    ] {
        odd.say(status, says);
        assert_eq!(found().await, Ok(agreed), "{says:.20}");
    }
    // One that lies and one that is dead leave no two that agree.
    two.say(503, "");
    let error = found().await.unwrap_err();
    assert!(error.contains("HTTP status 503") && error.contains("127.0.0.1"), "{error}");
    // Nor do two that tell an address inside.
    for says in ["192.168.1.5", "10.0.0.1", "100.64.3.2", "127.0.0.1", "169.254.1.1", "0.0.0.0", "240.0.0.1"]
    {
        one.say(200, says);
        two.say(200, says);
        assert!(found().await.unwrap_err().contains(says), "{says}");
    }
    tasks.stop().await;
}

/// On a clock that moves when nothing else does.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_and_the_others_count() {
    let tasks = Tasks::new();
    let silent = Echo::start(&tasks, "(silence)").await;
    let began = tokio::time::Instant::now();
    let settings = asking(&[&silent, &silent]);
    assert!(find(&settings).await.unwrap_err().to_string().contains("does not answer"));
    assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
    tasks.stop().await;
}

#[tokio::test]
async fn s_113_changes_are_noticed_and_what_was_known_outlives_servers() {
    let tasks = Tasks::new();
    let (one, two) = (Echo::start(&tasks, "203.0.113.7").await, Echo::start(&tasks, "nothing").await);
    let mut known = follow(&asking(&[&one, &two]), &tasks);
    assert_eq!(*known.borrow(), None, "no start waits for it");
    let own = advertised_address(&known, "127.0.0.1".parse().unwrap());
    assert!(own.is_loopback());
    let mut becomes = async |address: [u8; 4]| {
        let wanted = known.wait_for(|known| *known == Some(address.into()));
        tokio::time::timeout(DEADLINE, wanted).await.unwrap().unwrap();
    };
    two.say(200, "203.0.113.7");
    becomes([203, 0, 113, 7]).await;
    one.say(500, "");
    two.say(200, "203.0.113.8");
    assert_eq!(find(&asking(&[&one, &two])).await.ok(), None);
    becomes([203, 0, 113, 7]).await;
    one.say(200, "203.0.113.8");
    becomes([203, 0, 113, 8]).await;
    tasks.stop().await;
}

#[test]
fn addresses_inside_are_not_public() {
    for (address, public) in [
        ("8.8.8.8", true),
        ("172.15.0.1", true),
        ("172.16.0.1", false),
        ("100.63.0.1", true),
        ("100.127.0.1", false),
        ("255.255.255.255", false),
        ("2a01:4f8::1", true),
        ("fd00::1", false),
        ("fe80::1", false),
        ("::1", false),
        ("::ffff:10.0.0.1", false),
    ] {
        assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
    }
}
