use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{advance, pause, resume};

use super::super::client::Client;
use super::*;
use crate::Site;

/// The ports of [`Router::mapper`].
const PORTS: [u16; 4] = [7466, 50800, 50801, 50802];

/// How long a router's leases last here, in seconds.
const LEASE: u32 = 100;

/// What a router does.
#[derive(Default)]
struct State {
    forwarded: BTreeSet<u16>,
    silent: bool,
    /// It forwards nothing more.
    closed: bool,
    /// It forwards this one for ever, and says nothing about those after it.
    odd: Option<u16>,
}

/// A router that speaks NAT-PMP, on the loopback.
struct Router {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Every request: its protocol's version, and the port with how long it is wanted.
    asked: UnboundedReceiver<(u8, Option<(u16, u32)>)>,
}

impl Drop for Router {
    fn drop(&mut self) {
        // Nothing in it ends the router.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
    }
}

impl State {
    /// What is said to `request`.
    fn answer(&mut self, request: &[u8], wanted: Option<(u16, u32)>) -> Option<Vec<u8>> {
        if self.silent {
            return None;
        }
        if request[0] != 0 {
            return Some(vec![0, 0x80, 0, 1, 0, 0, 0, 1]);
        }
        let mut head = vec![0, 0x80 + request[1], 0, 0, 0, 0, 0, 1];
        let Some((port, life)) = wanted else {
            head.extend([203, 0, 113, 1]);
            return Some(head);
        };
        let life = life.min(LEASE);
        match (life, self.odd) {
            (0, Some(odd)) if odd == port => head[3] = 2,
            (0, _) => _ = self.forwarded.remove(&port),
            (_, Some(odd)) if port > odd => return None,
            _ if self.closed => head[3] = 2,
            _ => _ = self.forwarded.insert(port),
        }
        head.extend(port.to_be_bytes());
        head.extend(if life == 0 { 0 } else { port }.to_be_bytes());
        head.extend(life.to_be_bytes());
        Some(head)
    }
}

impl Router {
    fn new() -> Self {
        let free = |last| UdpSocket::bind((Ipv4Addr::new(127, 66, 1, last), 5351)).ok();
        let socket = (1..255).find_map(free).expect("an address of the loopback");
        let (sender, asked) = unbounded_channel();
        let (address, state) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(State::default())));
        let its = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((size @ 1.., caller)) = socket.recv_from(&mut buffer) {
                let request = &buffer[..size];
                let wanted = (request[0] == 0 && size == 12).then(|| {
                    let life = u32::from_be_bytes(request[8..].try_into().unwrap());
                    (u16::from_be_bytes([request[4], request[5]]), life)
                });
                let _ = sender.send((request[0], wanted));
                if let Some(answer) = its.lock().unwrap().answer(request, wanted) {
                    socket.send_to(&answer, caller).unwrap();
                }
            }
        });
        Self { address, state, asked }
    }

    /// Who asks it.
    fn mapper(&self) -> Mapper {
        let site = Site {
            host: Ipv4Addr::UNSPECIFIED.into(),
            api: NonZeroU16::new(7466).unwrap(),
            ssh: 50800..50803,
            web: Vec::new(),
            development: false,
            public_address: Some([203, 0, 113, 1].into()),
            address_servers: Vec::new(),
            address_interval: Duration::from_secs(600),
        };
        let SocketAddr::V4(address) = self.address else { panic!("{}", self.address) };
        let client = Client { lan: Ipv4Addr::LOCALHOST, router: Some(*address.ip()), nonce: [0; 3] };
        Mapper::of(&site, client)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until it was asked to forward `port`.
    async fn is_asked_for(&mut self, port: u16) {
        while !matches!(self.asked.recv().await, Some((_, Some((asked, 1..)))) if asked == port) {}
    }

    /// What it was asked for so far, and has not been looked at.
    fn all_asked(&mut self) -> Vec<(u8, Option<(u16, u32)>)> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

/// Lets time pass for what waits, and none for the router.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn a_router_that_forgot_everything_forwards_again_before_its_leases_would_have_ended() {
    let mut router = Router::new();
    let mut mapper = router.mapper();
    let mut holding = Renewal::new(&mut mapper);
    let MappingChange::Forwarded(report) = holding.news(|_, _| ()).await else { panic!("not forwarded") };
    assert_eq!((report.forwarded(), report.problems), (PORTS.into(), vec![]));
    assert_eq!(router.state().forwarded, PORTS.into());
    router.is_asked_for(50802).await;

    router.state().forwarded.clear();
    tokio::select! {
        biased;
        news = holding.news(|_, _| ()) => panic!("nothing is new: {news:?}"),
        () = async {
            pass(Duration::from_secs(LEASE.into()) / 2).await;
            router.is_asked_for(50802).await;
        } => {}
    }
    drop(holding);
    // The last answer may not have been read, and nothing is forgotten for that.
    mapper.undo(|_, _| ()).await;
    assert_eq!((router.state().forwarded.clone(), mapper.held()), ([].into(), [].into()));
}

#[tokio::test]
async fn a_router_that_is_gone_for_a_while_is_told_of_once_and_asked_until_it_is_back() {
    let mut router = Router::new();
    let mut mapper = router.mapper();
    let mut holding = Renewal::new(&mut mapper);
    assert!(matches!(holding.news(|_, _| ()).await, MappingChange::Forwarded(_)));

    router.state().silent = true;
    router.state().forwarded.clear();
    // Time passes as soon as all wait, and no answer is there to be waited for.
    pause();
    let MappingChange::Failed(error) = holding.news(|_, _| ()).await else { panic!("not told") };
    assert!(error.to_string().contains("NAT-PMP: no answer"), "{error}");
    router.all_asked();
    let before = Instant::now();
    tokio::select! {
        biased;
        news = holding.news(|_, _| ()) => panic!("nothing is new: {news:?}"),
        () = async {
            // Each round tries it as before and from the beginning, in two protocols, twice each.
            for _request in 0..3 * 6 {
                router.asked.recv().await;
            }
        } => {}
    }
    assert!(before.elapsed() >= 3 * AGAIN, "{:?}", before.elapsed());
    resume();
    router.state().silent = false;
    let MappingChange::Forwarded(report) = holding.news(|_, _| ()).await else { panic!("not back") };
    assert_eq!(report.forwarded(), PORTS.into());
    assert_eq!(router.state().forwarded, PORTS.into());
}

#[tokio::test]
async fn one_port_that_is_refused_keeps_no_other_and_silence_ends_the_rest() {
    let mut router = Router::new();
    let mut mapper = router.mapper();
    let report = mapper.map(|_, _| ()).await.unwrap();
    assert_eq!(report.forwarded(), PORTS.into());
    router.state().odd = Some(50800);
    mapper.undo(|_, _| ()).await;
    assert_eq!((router.state().forwarded.clone(), mapper.held()), ([50800].into(), [50800].into()));

    // It falls silent in the middle of a round: the rest is asked for soon, and not now.
    router.all_asked();
    let report = mapper.map(|_, _| ()).await.unwrap();
    assert_eq!(report.forwarded(), [7466, 50800].into());
    assert!(report.ports[2..].iter().all(|port| port.problem.as_deref() == Some("no answer")));
    let asked = router.all_asked();
    assert!(!asked.iter().any(|(_, wanted)| wanted.is_some_and(|(port, _)| port == 50802)), "{asked:?}");
    assert_eq!(report.renewal(), Duration::from_secs(u64::from(LEASE) / 2));
    let long = MappingReport { lease_seconds: 3600, ..report };
    assert_eq!(long.renewal(), AGAIN);

    router.state().silent = true;
    mapper.undo(|_, _| ()).await;
    assert_eq!(mapper.held(), [7466, 50800, 50801].into());
    assert_eq!(router.all_asked().len(), 2, "one port, and once more");
}

#[tokio::test]
async fn a_renewal_that_is_refused_leaves_what_was_given_to_be_removed() {
    let router = Router::new();
    let mut mapper = router.mapper();
    mapper.map(|_, _| ()).await.unwrap();
    router.state().closed = true;
    let error = mapper.map(|_, _| ()).await.unwrap_err();
    assert!(error.to_string().contains("NAT-PMP: the router refuses (not allowed)"), "{error}");
    assert_eq!(mapper.held(), PORTS.into());
    mapper.undo(|_, _| ()).await;
    assert_eq!((router.state().forwarded.clone(), mapper.held()), ([].into(), [].into()));
}
