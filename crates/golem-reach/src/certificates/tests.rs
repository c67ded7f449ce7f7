use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use golem_service::server::{TrustedProxies, serve};
use golem_service::tasks::Tasks;
use golem_test_support::pebble::{Pebble, PebbleConfig, certificate, trusting_pebble};
use golem_test_support::{DEADLINE, ports, until};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::certificate::Certificate;
use super::*;
use crate::probe::is_free;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where in this crate the tests are.
const MODULE: &str = "certificates::tests";

/// https of a node.
struct Node {
    https: Https,
    address: watch::Sender<Option<IpAddr>>,
    reach: watch::Sender<Reach>,
    tasks: Tasks,
    port: u16,
}

impl Node {
    /// One that serves, at 127.0.0.1.
    async fn start(config: HttpsConfig) -> Self {
        let (address, its_address) = watch::channel(Some(HERE));
        let (reach, its_reach) = watch::channel(Reach::Unknown);
        let (tasks, port) = (Tasks::new(), config.port);
        let (https, listening) =
            Https::start(config, SharedPorts::default(), &tasks, its_address, its_reach).await;
        if let Some((listener, keys)) = listening {
            let routes = Router::new().route("/health", get(async || "well"));
            let serving =
                serve::serve_tls("test", listener, keys, routes, TrustedProxies::default(), tasks.clone());
            tasks.spawn("serving", async move { serving.await.unwrap() });
        }
        Self { https, address, reach, tasks, port }
    }

    fn endpoint(&self) -> Option<String> {
        self.https.endpoint().borrow().clone()
    }

    /// Waits until the endpoint is `host`.
    async fn has(&self, host: &str) {
        let wanted = Some(format!("https://{host}:{}", self.port));
        self.comes_to(&format!("{wanted:?}"), |report| report.endpoint == wanted).await;
        until("others hear of it", async || self.endpoint() == wanted).await;
    }

    /// Waits until the report is as `is` has it.
    async fn comes_to(&self, what: &str, is: impl Fn(&HttpsReport) -> bool) {
        let mut report = self.https.report.clone();
        let waited = tokio::time::timeout(DEADLINE, report.wait_for(is)).await.is_ok();
        assert!(waited, "never {what}: {:#?}", self.https.report());
    }

    /// Waits until `cause` is told, with a fix.
    async fn lacks(&self, cause: HttpsCause) -> HttpsReport {
        let told = |report: &HttpsReport| report.problems.iter().any(|problem| problem.cause == cause);
        self.comes_to(&format!("{cause:?}"), told).await;
        let report = self.https.report();
        for problem in &report.problems {
            assert!(!problem.fixes.is_empty() || problem.cause == HttpsCause::Pending, "{problem:?}");
        }
        report
    }

    fn facts(&self) -> CertificateFacts {
        self.https.report().certificate.unwrap()
    }

    /// Ends it as a kill does: nothing is tidied up.
    async fn end(self) {
        self.tasks.stop().await;
    }
}

fn config(folder: &Path, source: CertificateSource) -> HttpsConfig {
    HttpsConfig {
        host: HERE,
        port: ports(1),
        http_port: ports(1),
        source,
        folder: folder.join("certificates"),
        development: true,
        clock: Timestamp::now,
    }
}

/// A node of an authority at `port`, which finds it.
fn asking(folder: &Path, port: u16) -> HttpsConfig {
    config(folder, CertificateSource::Acme { directory: Pebble::directory_at(port) })
}

fn finding(config: &HttpsConfig, port: u16) -> PebbleConfig {
    PebbleConfig { port, http: config.http_port, tls: config.port, life: 160 * 3600 }
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// When an order was last placed that has come to nothing.
fn attempted(home: &Path) -> Timestamp {
    let files = files(&home.join("certificates"));
    let file = files.iter().find(|file| file.ends_with("attempted")).unwrap();
    std::fs::read_to_string(file).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_the_bare_address_is_obtained_over_tls_kept_and_taken_up_after_a_kill() {
    let name = "a_certificate_for_the_bare_address_is_obtained_over_tls_kept_and_taken_up_after_a_kill";
    let Some(trust) = trusting_pebble(&format!("{MODULE}::{name}")) else { return };
    let (home, port) = (tempfile::tempdir().unwrap(), ports(1));
    let config = asking(home.path(), port);
    // It comes over TLS only.
    let pebble = Pebble::start(&trust, PebbleConfig { http: ports(1), ..finding(&config, port) });
    let node = Node::start(config.clone()).await;
    node.has("127.0.0.1").await;
    let facts = node.facts();
    assert!(facts.issuer.contains("Pebble"), "{facts:?}");
    assert_eq!(facts.names, ["127.0.0.1"]);
    let report = node.https.report();
    assert!(report.problems.is_empty(), "{report:?}");
    let left = facts.until.duration_since(report.next_renewal.unwrap());
    assert!(left >= SignedDuration::from_hours(48), "{left}: 48 hours before its end at the latest");
    // I8: nobody else reads the keys.
    let kept = files(&home.path().join("certificates"));
    assert_eq!(kept.len(), 2, "the account, the certificate with its key, and nothing unfinished: {kept:?}");
    for file in kept {
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "{}", file.display());
    }
    node.end().await;
    drop(pebble);
    let node = Node::start(config).await;
    node.has("127.0.0.1").await;
    assert_eq!(node.facts(), facts, "nobody was there to ask");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_before_its_end_and_obtained_anew_for_another_address_and_account() {
    let name = "a_certificate_is_renewed_before_its_end_and_obtained_anew_for_another_address_and_account";
    let Some(trust) = trusting_pebble(&format!("{MODULE}::{name}")) else { return };
    let (home, port) = (tempfile::tempdir().unwrap(), ports(1));
    let config = HttpsConfig { host: Ipv4Addr::UNSPECIFIED.into(), ..asking(home.path(), port) };
    let pebble = Pebble::start(&trust, PebbleConfig { life: 15, ..finding(&config, port) });
    let node = Node::start(config.clone()).await;
    node.has("127.0.0.1").await;
    let first = node.facts();
    until("it is renewed", async || node.facts().until > first.until).await;
    let second = node.facts();
    assert!(second.from < first.until, "there was one at any time: {first:?} {second:?}");
    drop(pebble);
    // Another authority of that name, which has never heard of the account.
    let _pebble = Pebble::start(&trust, finding(&config, port));
    node.address.send(Some(Ipv4Addr::new(127, 0, 0, 2).into())).unwrap();
    node.has("127.0.0.2").await;
    assert_eq!(node.facts().names, ["127.0.0.2"]);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_does_not_come_over_tls_is_answered_over_http_and_only_while_it_asks() {
    let name = "an_authority_that_does_not_come_over_tls_is_answered_over_http_and_only_while_it_asks";
    let Some(trust) = trusting_pebble(&format!("{MODULE}::{name}")) else { return };
    let (home, port) = (tempfile::tempdir().unwrap(), ports(1));
    let config = asking(home.path(), port);
    let _pebble = Pebble::start(&trust, PebbleConfig { tls: ports(1), ..finding(&config, port) });
    assert!(is_free(HERE, config.http_port));
    let node = Node::start(config.clone()).await;
    node.has("127.0.0.1").await;
    until("the port is free again", async || is_free(HERE, config.http_port)).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_refuses_is_not_asked_again_for_half_an_hour_not_even_after_a_restart() {
    let name = "an_authority_that_refuses_is_not_asked_again_for_half_an_hour_not_even_after_a_restart";
    let Some(trust) = trusting_pebble(&format!("{MODULE}::{name}")) else { return };
    let (home, port) = (tempfile::tempdir().unwrap(), ports(1));
    let config = asking(home.path(), port);
    let pebble =
        Pebble::start(&trust, PebbleConfig { http: ports(1), tls: ports(1), ..finding(&config, port) });
    let begin = Timestamp::now();
    let node = Node::start(config.clone()).await;
    let report = node.lacks(HttpsCause::Refused).await;
    assert_eq!((&report.endpoint, &report.certificate), (&None, &None));
    let what = &report.problems[0].what;
    assert!(what.contains("tls-alpn-01: ") && what.contains("http-01: "), "{what}");
    let half_an_hour = SignedDuration::from_mins(30);
    assert!(report.next_renewal.unwrap().duration_since(begin) >= half_an_hour, "{report:?}");
    // A port that becomes reachable is a reason to try, but not too often.
    let asked = attempted(home.path());
    node.reach.send(Reach::Reachable).unwrap();
    let earliest = Some(asked + half_an_hour);
    node.comes_to("the earliest next attempt", |report| report.next_renewal == earliest).await;
    node.address.send(None).unwrap();
    node.lacks(HttpsCause::Address).await;
    assert_eq!(attempted(home.path()), asked);
    node.end().await;
    drop(pebble);
    let _pebble = Pebble::start(&trust, finding(&config, port));
    let node = Node::start(config).await;
    until("the pause goes on", async || node.https.report().next_renewal.is_some()).await;
    let next = node.https.report().next_renewal.unwrap();
    assert!(next.duration_since(begin) >= half_an_hour, "{next}");
    // What is told of an address that went away comes after every attempt for the one before.
    for address in [None, Some(HERE), None] {
        node.address.send(address).unwrap();
        let cause = if address.is_none() { HttpsCause::Address } else { HttpsCause::Pending };
        node.lacks(cause).await;
    }
    assert_eq!(node.https.report().certificate, None, "it was not asked");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_away_is_asked_again_when_the_port_becomes_reachable() {
    let name = "an_authority_that_is_away_is_asked_again_when_the_port_becomes_reachable";
    let Some(trust) = trusting_pebble(&format!("{MODULE}::{name}")) else { return };
    let (home, port) = (tempfile::tempdir().unwrap(), ports(1));
    let config = asking(home.path(), port);
    let node = Node::start(config.clone()).await;
    let report = node.lacks(HttpsCause::Directory).await;
    assert_eq!(report.endpoint, None);
    assert!(report.next_renewal.unwrap() > Timestamp::now());
    let _pebble = Pebble::start(&trust, finding(&config, port));
    // Nobody is asked while the port is known to be closed.
    node.reach.send(Reach::Unreachable).unwrap();
    node.reach.send(Reach::Reachable).unwrap();
    node.has("127.0.0.1").await;
    // A port that is closed has no endpoint, whatever certificate there is.
    node.reach.send(Reach::Unreachable).unwrap();
    assert_eq!(node.lacks(HttpsCause::Unreachable).await.endpoint, None);
    node.end().await;
}

/// An hour late.
fn behind() -> Timestamp {
    Timestamp::now().checked_sub(SignedDuration::from_hours(1)).unwrap()
}

/// An hour early.
fn ahead() -> Timestamp {
    Timestamp::now().checked_add(SignedDuration::from_hours(1)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_off_is_told_and_keeps_no_certificate_away() {
    let name = "a_clock_that_is_an_hour_off_is_told_and_keeps_no_certificate_away";
    let Some(trust) = trusting_pebble(&format!("{MODULE}::{name}")) else { return };
    for (clock, which) in [(behind as fn() -> Timestamp, "behind"), (ahead, "ahead")] {
        let (home, port) = (tempfile::tempdir().unwrap(), ports(1));
        let config = HttpsConfig { clock, ..asking(home.path(), port) };
        // By a clock that is ahead, it would be over when it is obtained.
        let _pebble = Pebble::start(&trust, PebbleConfig { life: 1800, ..finding(&config, port) });
        let node = Node::start(config).await;
        node.has("127.0.0.1").await;
        let report = node.lacks(HttpsCause::Clock).await;
        assert_eq!(report.problems.len(), 1, "{report:?}");
        assert!(report.problems[0].what.contains(which), "{report:?}");
        node.end().await;
    }
}

/// The files of an operator who gives a certificate.
struct Given(tempfile::TempDir);

impl Given {
    /// Puts a certificate for `names` there.
    fn new(names: &[&str], from: i32, until: i32) -> Self {
        let given = Self(tempfile::tempdir().unwrap());
        given.put(names, from, until);
        given
    }

    fn put(&self, names: &[&str], from: i32, until: i32) {
        let pem = certificate(names, from, until);
        std::fs::write(self.key(), pem.key).unwrap();
        self.let_read(0o600);
        std::fs::write(self.certificate(), pem.certificate).unwrap();
    }

    fn let_read(&self, mode: u32) {
        std::fs::set_permissions(self.key(), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn certificate(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    fn config(&self) -> HttpsConfig {
        let source = CertificateSource::Files { certificate: self.certificate(), key: self.key() };
        config(self.0.path(), source)
    }
}

#[tokio::test]
async fn a_given_certificate_is_served_and_another_in_its_place_is_taken_without_a_restart() {
    let given = Given::new(&["127.0.0.1", "example.invalid"], 2020, 2090);
    let node = Node::start(given.config()).await;
    node.has("127.0.0.1").await;
    let first = node.facts();
    given.put(&["127.0.0.1"], 2020, 2091);
    until("the new one is served", async || node.facts().until > first.until).await;
    node.has("127.0.0.1").await;
    // A host name that leads here is as good.
    given.put(&["*.example.invalid", "localhost"], 2020, 2092);
    node.has("localhost").await;
    node.end().await;
}

#[tokio::test]
async fn a_given_certificate_that_no_client_would_take_has_no_endpoint_and_its_fix_is_told() {
    for (names, from, until, cause) in [
        (&["127.0.0.1"], 2020, 2021, HttpsCause::Expired),
        (&["127.0.0.1"], 2090, 2091, HttpsCause::NotYetValid),
        (&["203.0.113.7"], 2020, 2090, HttpsCause::OtherAddress),
        (&["example.invalid"], 2020, 2090, HttpsCause::OtherAddress),
    ] {
        let given = Given::new(names, from, until);
        let node = Node::start(given.config()).await;
        assert_eq!(node.lacks(cause).await.endpoint, None, "{cause:?}");
        node.end().await;
    }
}

#[tokio::test]
async fn a_key_that_others_can_read_or_that_is_another_certificates_is_not_used_and_the_old_one_stays() {
    let given = Given::new(&["127.0.0.1"], 2020, 2090);
    given.let_read(0o640);
    let node = Node::start(given.config()).await;
    let report = node.lacks(HttpsCause::KeyNotPrivate).await;
    assert_eq!((&report.endpoint, &report.certificate), (&None, &None));
    assert!(report.problems[0].fixes[0].starts_with("chmod 600 "), "{report:?}");
    given.let_read(0o600);
    node.has("127.0.0.1").await;
    assert!(node.https.report().problems.is_empty());
    std::fs::write(given.key(), certificate(&["127.0.0.1"], 2020, 2090).key).unwrap();
    let report = node.lacks(HttpsCause::File).await;
    assert!(report.problems[0].what.contains("the key is not the certificate's"), "{report:?}");
    assert!(report.endpoint.is_some(), "what was good is still served: {report:?}");
    let chain = std::fs::read(given.certificate()).unwrap();
    for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "nonsense"] {
        let error = Certificate::read(&chain, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no private key"), "{text:?}: {error}");
    }
    std::fs::write(given.key(), "nonsense").unwrap();
    until("it is told", async || node.https.report().problems[0].what.contains("no private key")).await;
    std::fs::remove_file(given.key()).unwrap();
    until("it is told", async || node.https.report().problems[0].what.contains("cannot be read")).await;
    node.end().await;
}

#[tokio::test]
async fn a_port_that_another_program_holds_keeps_no_node_from_starting() {
    let held = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let given = Given::new(&["127.0.0.1"], 2020, 2090);
    let port = held.local_addr().unwrap().port();
    let node = Node::start(HttpsConfig { port, ..given.config() }).await;
    let report = node.lacks(HttpsCause::Port).await;
    assert_eq!(report.endpoint, None);
    assert!(report.problems[0].what.contains(&format!("(pid {})", std::process::id())), "{report:?}");
    node.end().await;
}

#[tokio::test]
async fn no_authority_is_asked_for_an_address_that_is_none_of_the_internet() {
    let home = tempfile::tempdir().unwrap();
    let config = HttpsConfig { development: false, ..asking(home.path(), ports(1)) };
    let node = Node::start(config).await;
    node.lacks(HttpsCause::Address).await;
    node.address.send(None).unwrap();
    until("it is not known", async || node.https.report().problems[0].what.contains("not known yet")).await;
    assert!(files(&home.path().join("certificates")).is_empty(), "no account was made");
    node.end().await;
}

#[tokio::test]
async fn without_certificate_and_authority_nothing_is_listened_on() {
    let home = tempfile::tempdir().unwrap();
    let config = config(home.path(), CertificateSource::None);
    let port = config.port;
    let node = Node::start(config).await;
    node.lacks(HttpsCause::Off).await;
    assert!(is_free(HERE, port) && !home.path().join("certificates").exists());
    tokio::time::timeout(Duration::from_secs(60), node.end()).await.unwrap();
}
