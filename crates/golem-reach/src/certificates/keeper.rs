//! Keeps a certificate that is good for the address at which renters come.
//!
//! ```text
//!   every second, or when the address or the port's reach changes:
//!     files changed? read ── good ──► served       no certificate, another address, or a third of its life left?
//!                        └── bad ───► told, the old one stays         └─► attempt ── failed ──► told, wait longer
//!     then: judge what is served ─► report, endpoint
//! ```
//! Owns when an authority is asked, and the judgement. A failed attempt is followed by another after half an hour at the
//! earliest, also across restarts: authorities count them (Let's Encrypt five an hour for an address, and an attempt is
//! two).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use golem_service::server::tls::TlsKeys;
use golem_types::net::is_public;
use jiff::{SignedDuration, Timestamp};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::acme::{Acme, AcmeError};
use super::certificate::Certificate;
use super::config::{CertificateSource, HttpsConfig, SharedPorts};
use super::directory::Directory;
use super::files::Files;
use super::problem::{HttpsCause, HttpsProblem, Problem};
use super::report::HttpsReport;
use super::store::Store;
use crate::report::Reach;

/// How often everything is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// First and longest wait after an authority did not answer; nothing was asked of it.
const SILENT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// The same after an order that came to nothing.
const FAILED: (Duration, Duration) = (Duration::from_secs(1800), Duration::from_secs(12 * 3600));

/// Longest that an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(300);

/// How often it is looked up whether a certificate's host names lead here, and how long that may take.
const NAMES: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(5));

/// Most host names of a certificate that are looked up.
const MOST_NAMES: usize = 5;

/// How far a clock may be off before that is told.
const CLOCK: SignedDuration = SignedDuration::from_mins(5);

/// Where certificates come from, and what is known of that.
enum Source {
    Files(Files),
    Acme {
        directory: String,
        http: Directory,
        store: Store,
    },
    /// No certificate can be had, and why.
    None(Problem),
}

/// Which of a certificate's host names leads to the address.
struct Named {
    address: IpAddr,
    until: Timestamp,
    host: Option<String>,
    looked: Instant,
}

pub(super) struct Keeper {
    config: HttpsConfig,
    ports: SharedPorts,
    keys: TlsKeys,
    source: Source,
    /// Why the port cannot be had.
    unbound: Option<Problem>,
    address: watch::Receiver<Option<IpAddr>>,
    reach: watch::Receiver<Reach>,
    certificate: Option<Certificate>,
    /// Why there is no newer one.
    failure: Option<Problem>,
    /// Attempts that failed one after another.
    failures: u32,
    /// When an authority is asked next, unless it has to be before.
    not_before: Option<Timestamp>,
    named: Option<Named>,
    told: watch::Sender<HttpsReport>,
    endpoint: watch::Sender<Option<String>>,
}

impl Keeper {
    pub(super) fn new(
        config: HttpsConfig,
        ports: SharedPorts,
        keys: TlsKeys,
        unbound: Option<Problem>,
        address: watch::Receiver<Option<IpAddr>>,
        reach: watch::Receiver<Reach>,
    ) -> Self {
        let source = match &config.source {
            CertificateSource::None => Source::None(Problem::Off),
            CertificateSource::Files { certificate, key } => {
                Source::Files(Files::new(certificate.clone(), key.clone()))
            }
            CertificateSource::Acme { directory } => acme(&config, directory),
        };
        let (told, _) = watch::channel(HttpsReport {
            endpoint: None,
            port: config.port,
            source: config.source.as_str().to_owned(),
            certificate: None,
            next_renewal: None,
            problems: vec![(&Problem::Pending).into()],
        });
        let (endpoint, _) = watch::channel(None);
        let mut keeper = Self {
            config,
            ports,
            keys,
            source,
            unbound,
            address,
            reach,
            certificate: None,
            failure: None,
            failures: 0,
            not_before: None,
            named: None,
            told,
            endpoint,
        };
        keeper.take_up();
        keeper
    }

    pub(super) fn report(&self) -> watch::Receiver<HttpsReport> {
        self.told.subscribe()
    }

    pub(super) fn endpoint(&self) -> watch::Receiver<Option<String>> {
        self.endpoint.subscribe()
    }

    /// Goes on with what an authority gave before this process.
    fn take_up(&mut self) {
        let Source::Acme { store, .. } = &self.source else { return };
        let kept = store.certificate().and_then(|kept| Ok((kept, store.attempted()?)));
        match kept {
            Ok((pem, attempted)) => {
                let certificate = pem.and_then(|pem| Certificate::read(&pem, &pem).ok());
                // One in the future was written by a clock that was wrong.
                let attempted = attempted.filter(|attempted| *attempted <= (self.config.clock)());
                self.not_before = attempted.and_then(|attempted| attempted.checked_add(FAILED.0).ok());
                self.take(certificate);
            }
            Err(error) => self.failure = Some(Problem::Storage { why: error.to_string() }),
        }
    }

    /// Serves `certificate`, if there is one.
    fn take(&mut self, certificate: Option<Certificate>) {
        let Some(certificate) = certificate else { return };
        let facts = &certificate.facts;
        tracing::info!(issuer = facts.issuer, names = ?facts.names, until = %facts.until, "https has a certificate");
        self.keys.serve(Some(certificate.key.clone()));
        self.certificate = Some(certificate);
    }

    pub(super) async fn run(mut self) {
        let mut reach = *self.reach.borrow_and_update();
        loop {
            self.look().await;
            self.publish().await;
            tokio::select! {
                () = sleep(LOOK) => {}
                Ok(()) = self.address.changed() => {}
                Ok(()) = self.reach.changed() => {}
            }
            // Compared with what was handled last: an attempt takes minutes, and the change may come meanwhile.
            let before = std::mem::replace(&mut reach, *self.reach.borrow_and_update());
            if before != Reach::Reachable && reach == Reach::Reachable {
                // What kept an authority out may be gone, too.
                self.failures = 0;
                self.not_before = self.earliest();
            }
        }
    }

    /// Takes what is new.
    async fn look(&mut self) {
        if let Source::Files(files) = &mut self.source {
            match files.look() {
                Some(Ok(certificate)) => {
                    self.failure = None;
                    self.take(Some(certificate));
                }
                Some(Err(problem)) => self.failure = Some(problem),
                None => {}
            }
            return;
        }
        let address = *self.address.borrow_and_update();
        if let Some(address) = address.filter(|address| self.is_due(*address)) {
            self.publish().await;
            self.attempt(address).await;
        }
    }

    /// The true time, as far as an authority has told it.
    fn now(&self) -> Timestamp {
        let now = (self.config.clock)();
        now.checked_add(self.clock_error().unwrap_or_default()).unwrap_or(now)
    }

    /// How far this machine's clock is behind an authority's, if that is more than a little.
    fn clock_error(&self) -> Option<SignedDuration> {
        let Source::Acme { http, .. } = &self.source else { return None };
        http.said().ahead.filter(|ahead| ahead.abs() > CLOCK)
    }

    /// Whether an authority has to be asked now for a certificate for `address`.
    fn is_due(&self, address: IpAddr) -> bool {
        let is_possible = matches!(self.source, Source::Acme { .. })
            && self.unbound.is_none()
            && self.is_nameable(address)
            && *self.reach.borrow() != Reach::Unreachable;
        let is_waiting = self.not_before.is_some_and(|time| (self.config.clock)() < time);
        let is_good = self.certificate.as_ref().is_some_and(|certificate| {
            certificate.facts.names_address(address) && self.now() < certificate.facts.renewal()
        });
        is_possible && !is_waiting && !is_good
    }

    /// Whether an authority gives certificates for `address`.
    fn is_nameable(&self, address: IpAddr) -> bool {
        self.config.development || is_public(address)
    }

    async fn attempt(&mut self, address: IpAddr) {
        let Source::Acme { directory, http, store } = &self.source else { return };
        let acme = Acme {
            directory,
            http,
            store,
            keys: &self.keys,
            http_port: (self.config.host, self.config.http_port),
            probes: &self.ports.probes,
            web: &self.ports.web,
            clock: self.config.clock,
        };
        let obtained = timeout(ATTEMPT, acme.obtain(address)).await;
        let error = match obtained.unwrap_or(Err(AcmeError::NoAnswer("it took too long".to_owned()))) {
            Ok(certificate) => {
                (self.failure, self.failures, self.not_before) = (None, 0, None);
                return self.take(Some(certificate));
            }
            Err(error) => error,
        };
        let (asked, wait) = (directory.clone(), http.said().wait);
        let (range, problem) = match error {
            AcmeError::NoAnswer(why) => (SILENT, Problem::Directory { directory: asked, why }),
            AcmeError::Storage(error) => (FAILED, Problem::Storage { why: error.to_string() }),
            error => (FAILED, Problem::Refused { why: error.to_string() }),
        };
        let pause = pause(range, self.failures).max(wait.unwrap_or_default());
        self.failures = self.failures.saturating_add(1);
        let next = (self.config.clock)().checked_add(pause).ok();
        self.not_before = next.max(self.earliest());
        let told = HttpsProblem::from(&problem);
        tracing::warn!(
            next = ?self.not_before.map(|next| next.to_string()),
            "no certificate was obtained: {}",
            told.line()
        );
        self.failure = Some(problem);
    }

    /// Before when no order is placed, because one has come to nothing.
    fn earliest(&self) -> Option<Timestamp> {
        let Source::Acme { store, .. } = &self.source else { return None };
        let attempted = store.attempted().ok().flatten()?;
        attempted.checked_add(FAILED.0).ok()
    }

    /// Tells where https stands.
    async fn publish(&mut self) {
        let judged = self.judge().await;
        let clock = self.clock_error().map(|ahead| Problem::Clock { seconds: ahead.as_secs() });
        let (endpoint, why) = match judged {
            Ok(endpoint) => (Some(endpoint), None),
            Err(problem) => (None, Some(problem)),
        };
        let mut problems: Vec<HttpsProblem> = Vec::new();
        for problem in why.iter().chain(&self.failure).chain(&clock) {
            let problem = HttpsProblem::from(problem);
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        let next_renewal = match (&self.source, &self.certificate) {
            (Source::Acme { .. }, Some(certificate)) => Some(certificate.facts.renewal()),
            _ => None,
        };
        let waits = self.unbound.is_none().then_some(self.not_before).flatten();
        let report = HttpsReport {
            endpoint: endpoint.clone(),
            port: self.config.port,
            source: self.config.source.as_str().to_owned(),
            certificate: self.certificate.as_ref().map(|certificate| certificate.facts.clone()),
            next_renewal: next_renewal.max(waits),
            problems,
        };
        self.told.send_if_modified(|told| {
            if *told == report {
                return false;
            }
            if told.problems != report.problems || told.endpoint != report.endpoint {
                log(&report);
            }
            *told = report;
            true
        });
        self.endpoint.send_if_modified(|told| std::mem::replace(told, endpoint.clone()) != endpoint);
    }

    /// The endpoint, or why there is none.
    async fn judge(&mut self) -> Result<String, Problem> {
        if let Source::None(problem) = &self.source {
            return Err(problem.clone());
        }
        if let Some(problem) = &self.unbound {
            return Err(problem.clone());
        }
        let address = *self.address.borrow();
        let address = address.ok_or(Problem::AddressUnknown)?;
        let is_reachable = *self.reach.borrow() != Reach::Unreachable;
        let Some(certificate) = &self.certificate else {
            return Err(match &self.failure {
                Some(problem) => problem.clone(),
                _ if !self.is_nameable(address) && matches!(self.source, Source::Acme { .. }) => {
                    Problem::AddressNotPublic { address }
                }
                _ if !is_reachable => Problem::Unreachable { port: self.config.port },
                None => Problem::Pending,
            });
        };
        let facts = certificate.facts.clone();
        let now = self.now();
        if now >= facts.until {
            return Err(Problem::Expired { until: facts.until });
        }
        if now < facts.from {
            return Err(Problem::NotYetValid { from: facts.from });
        }
        let host = if facts.names_address(address) {
            match address.to_canonical() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            }
        } else {
            let named = self.named(address, facts.until, facts.hosts()).await;
            named.ok_or(Problem::OtherAddress { names: facts.names, address })?
        };
        if !is_reachable {
            return Err(Problem::Unreachable { port: self.config.port });
        }
        Ok(match self.config.port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        })
    }

    /// The first of `hosts`, of a certificate that ends `until`, that leads to `address`.
    async fn named(
        &mut self,
        address: IpAddr,
        until: Timestamp,
        hosts: impl Iterator<Item = &str>,
    ) -> Option<String> {
        let is_fresh = |named: &&Named| {
            named.address == address && named.until == until && named.looked.elapsed() < NAMES.0
        };
        if let Some(named) = self.named.as_ref().filter(is_fresh) {
            return named.host.clone();
        }
        let mut host = None;
        for name in hosts.take(MOST_NAMES) {
            let found = timeout(NAMES.1, lookup_host((name, 0))).await;
            let leads_here = |found: SocketAddr| found.ip().to_canonical() == address.to_canonical();
            if found.is_ok_and(|found| found.is_ok_and(|mut found| found.any(leads_here))) {
                host = Some(name.to_owned());
                break;
            }
        }
        self.named = Some(Named { address, until, host: host.clone(), looked: Instant::now() });
        host
    }
}

/// What is needed to ask the authority at `directory`.
fn acme(config: &HttpsConfig, directory: &str) -> Source {
    let http = match Directory::new(config.clock) {
        Ok(http) => http,
        Err(error) => {
            let why = error.to_string();
            return Source::None(Problem::Directory { directory: directory.to_owned(), why });
        }
    };
    match Store::open(&config.folder, directory) {
        Ok(store) => Source::Acme { directory: directory.to_owned(), http, store },
        Err(error) => Source::None(Problem::Storage { why: error.to_string() }),
    }
}

/// How long to wait after `failures` and one more: between the bounds of `range`, doubled each time, and up to a quarter
/// more, so that nodes that failed together do not come again together.
fn pause(range: (Duration, Duration), failures: u32) -> Duration {
    let (first, most) = range;
    let pause = first.saturating_mul(1 << failures.min(16)).min(most);
    let mut random = [0];
    // Without randomness the wait is only less even.
    let _ = getrandom::fill(&mut random);
    pause + pause / 4 * u32::from(random[0]) / 255
}

/// Tells the log how https stands now.
fn log(report: &HttpsReport) {
    match &report.endpoint {
        Some(endpoint) => tracing::info!(endpoint, "https is there"),
        None => {
            if let Some(problem) = report.problems.first() {
                match problem.cause {
                    HttpsCause::Off | HttpsCause::Pending => tracing::info!("{}", problem.what),
                    _ => tracing::warn!(help = problem.help, "no https: {}", problem.line()),
                }
            }
        }
    }
    let others = report.problems.iter().skip(usize::from(report.endpoint.is_none()));
    for problem in others {
        tracing::warn!(help = problem.help, "https: {}", problem.line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Let's Encrypt allows five failures an hour for an address, and an attempt is two orders.
    #[test]
    fn waits_grow_and_two_attempts_that_fail_are_half_an_hour_apart() {
        for (range, times) in [(SILENT, 0..20), (FAILED, 0..20)] {
            let (first, most) = range;
            for failures in times {
                let waited = pause(range, failures);
                let least = first.saturating_mul(1 << failures).min(most);
                assert!(waited >= least && waited <= least + least / 4, "{failures}: {waited:?}");
            }
        }
        assert!(FAILED.0 >= Duration::from_secs(3600) / 5 * 2);
    }
}
