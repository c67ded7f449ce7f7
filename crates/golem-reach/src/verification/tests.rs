//! Rounds against check servers of every kind, over real sockets.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use golem_service::server::TrustedProxies;
use golem_service::server::serve::serve;
use golem_types::Wallet;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::port_checker::{Checker, Targets, router};
use crate::probe::is_free;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Far longer than anything on this host takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest that a check server may take, where one is there that takes for ever.
const SHORT: Duration = Duration::from_secs(2);

/// From here on, up to the system's own, lie the ports of the test that takes ten thousand at once; below, those of the others.
const MANY: u16 = 17_000;

/// `count` ports of this process that are free now, and that no other test of it takes.
fn ports(count: u16) -> Vec<u16> {
    const RUNS: u16 = 10;
    const EACH: u16 = 150;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = MANY - RUNS * EACH + (std::process::id() % u32::from(RUNS)) as u16 * EACH;
    loop {
        let next = NEXT.fetch_add(count, Ordering::Relaxed);
        assert!(next + count <= EACH, "this process has no ports left");
        let start = first + next;
        if (start..start + count).all(|port| is_free(HOST, port)) {
            return (start..start + count).collect();
        }
    }
}

/// A check server.
#[derive(Clone, Copy)]
enum Kind {
    /// Our own.
    Honest,
    /// As the original: it connects, and says no more than that.
    Old,
    /// Says yes to everything and does nothing.
    Yes,
    /// As before, and makes up what the ports say.
    YesAndMore,
    /// Says no to everything.
    No,
    /// Nobody listens.
    Down,
    /// Never answers.
    Silent,
    /// Answers byte by byte, for ever.
    Slow,
    /// Answers what is no JSON.
    Text,
    /// Answers JSON that is something else.
    Other,
    /// Tells of ports that nobody asked for.
    Uninvited,
    /// Answers more than anyone should read.
    Huge,
    /// Sends the caller to an honest one.
    Redirect,
    /// Fails.
    Broken,
    /// Cuts its answer off.
    Cut,
}

impl Kind {
    /// Starts it, and gives its address.
    async fn start(self, tasks: &Tasks) -> String {
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        match self {
            Self::Honest => {
                let targets = Targets { any: false, private: true };
                let checker = Checker::new(Wallet::from_bytes(&[7; 32]).unwrap(), targets);
                tasks.spawn(
                    "checker",
                    serve(
                        "checker",
                        listener,
                        router(Arc::new(checker)),
                        TrustedProxies::default(),
                        tasks.clone(),
                    ),
                );
            }
            Self::Down => drop(listener),
            kind => {
                let (all, stop) = (tasks.clone(), tasks.stopping().clone());
                tasks.spawn("checker", async move {
                    stop.run_until_cancelled(async {
                        while let Ok((stream, _)) = listener.accept().await {
                            let stop = all.stopping().clone();
                            all.spawn("checker", async move {
                                stop.run_until_cancelled(kind.answer(stream)).await;
                            });
                        }
                    })
                    .await;
                });
            }
        }
        url
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let request: Value = loop {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await.unwrap();
            bytes.extend_from_slice(&part[..count]);
            let text = String::from_utf8_lossy(&bytes);
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(request) = serde_json::from_str(body)
            {
                break request;
            }
            assert!(count > 0);
        };
        let asked: Vec<u64> =
            request["ports"].as_array().unwrap().iter().map(|port| port.as_u64().unwrap()).collect();
        let every = |result: Value| {
            let results: serde_json::Map<_, _> =
                asked.iter().map(|port| (port.to_string(), result.clone())).collect();
            json!({ "success": true, "results": results, "message": "" }).to_string()
        };
        let open = json!({ "accessible": true, "error": null });
        let (head, body) = match self {
            Self::Old => {
                let mut results = serde_json::Map::new();
                for port in &asked {
                    let connected = TcpStream::connect((HOST, u16::try_from(*port).unwrap())).await;
                    let error = connected.as_ref().err().map(|_| "Connection refused");
                    results
                        .insert(port.to_string(), json!({ "accessible": connected.is_ok(), "error": error }));
                }
                ("200 OK", json!({ "success": true, "results": results, "message": "" }).to_string())
            }
            Self::Yes => ("200 OK", every(open)),
            Self::YesAndMore => {
                ("200 OK", every(json!({ "accessible": true, "error": null, "read": "golem-port-check 00" })))
            }
            Self::No => ("200 OK", every(json!({ "accessible": false, "error": "Connection refused" }))),
            Self::Text => ("200 OK", "reachable".to_owned()),
            Self::Other => ("200 OK", json!({ "success": true, "results": [true] }).to_string()),
            Self::Uninvited => {
                ("200 OK", json!({ "success": true, "results": { "22": open }, "message": "" }).to_string())
            }
            Self::Huge => ("200 OK", format!("{}{}", " ".repeat(2 << 20), every(open))),
            Self::Redirect => ("302 Found\r\nLocation: http://127.0.0.1:1/check-ports", String::new()),
            Self::Broken => ("500 Internal Server Error", "Internal Server Error".to_owned()),
            Self::Cut => ("200 OK\r\nContent-Length: 1000", "{".to_owned()),
            Self::Slow => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
                while stream.write_all(b" ").await.is_ok() {
                    tokio::task::yield_now().await;
                    sleep(Duration::from_millis(5)).await;
                }
                return;
            }
            Self::Silent | Self::Honest | Self::Down => std::future::pending().await,
        };
        let _ =
            stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).await;
    }
}

/// What a verification finds out about `ports` at `address`, with these check servers.
async fn find(address: IpAddr, ports: &[u16], kinds: &[Kind], deadline: Duration) -> VerificationOutcome {
    let tasks = Tasks::new();
    let mut urls = Vec::new();
    for kind in kinds {
        urls.push(kind.start(&tasks).await);
    }
    let sources = CheckSource::all(&urls).unwrap();
    let probes = Probes::default();
    let verification = Verification {
        address,
        bind: HOST,
        ports: ports.to_vec(),
        sources: &sources,
        end: Instant::now() + PATIENCE,
        deadline,
        probes: probes.clone(),
        tasks: &tasks,
        served: &|_| None,
    };
    let mut outcome = verification.run(|_| {}).await.unwrap();
    assert!(ports.iter().all(|port| probes.arrivals(*port).is_none()));
    // Their addresses differ from run to run; their places do not.
    for verdict in &mut outcome.verdicts {
        let place = |url: &String| urls.iter().position(|known| known == url).unwrap().to_string();
        verdict.sources = verdict.sources.iter().map(place).collect();
    }
    tasks.stop().await;
    outcome
}

/// The one thing that is known of all of `ports`: none, that they are reachable, or why not.
fn all(outcome: &VerificationOutcome, ports: &[u16]) -> Option<Result<(), UnreachableReason>> {
    let of = |port: &u16| outcome.verdicts.iter().find(|verdict| verdict.port == *port);
    let known: Vec<_> =
        ports.iter().map(|port| of(port).map(|v| v.problem.clone().map_or(Ok(()), Err))).collect();
    assert!(known.windows(2).all(|pair| pair[0] == pair[1]), "{known:?}");
    known[0].clone()
}

#[tokio::test]
async fn ports_are_tried_while_listeners_are_up_and_none_is_left() {
    let ports = ports(5);
    let outcome = find(HOST, &ports, &[Kind::Honest, Kind::Old], PATIENCE).await;
    // S-059
    assert_eq!(all(&outcome, &ports), Some(Ok(())));
    let verdict = &outcome.verdicts[0];
    assert_eq!((verdict.answered, verdict.sources.len(), verdict.address), (2, 2, HOST));
    assert!(outcome.local.values().all(|local| *local == LocalPort::Free));
    assert!(outcome.asked.iter().all(|asked| asked.problem.is_none()), "{:?}", outcome.asked);
    // S-060
    assert!(ports.iter().all(|port| is_free(HOST, *port)));
}

/// Whatever the others do, those that answer decide.
#[tokio::test]
async fn what_does_not_answer_changes_nothing_and_is_told() {
    let ports = ports(3);
    for (kind, told) in [
        (Kind::Down, "Connection refused"),
        (Kind::Silent, "not answer"),
        (Kind::Slow, "not answer"),
        (Kind::Text, "makes no sense"),
        (Kind::Other, "makes no sense"),
        (Kind::Uninvited, "not asked for"),
        (Kind::Huge, "too large"),
        (Kind::Redirect, "redirect"),
        (Kind::Broken, "status 500"),
        (Kind::Cut, "does not answer"),
    ] {
        let outcome = find(HOST, &ports, &[kind, Kind::Honest, kind], SHORT * 5).await;
        assert_eq!(all(&outcome, &ports), Some(Ok(())), "{told}");
        // S-064
        assert_eq!(outcome.verdicts[0].sources, BTreeSet::from(["1".to_owned()]), "{told}");
        let problem = outcome.asked[0].problem.as_ref().unwrap();
        assert!(problem.contains(told), "{problem}");
        // Alone, it leaves everything unknown.
        let outcome = find(HOST, &ports, &[kind], SHORT).await;
        // S-070
        assert_eq!(outcome.verdicts, [], "{told}");
    }
}

/// S-070: who ran out of time is told in other words than who came too late for a decision.
#[tokio::test]
async fn s_070_one_that_hangs_is_not_waited_for_once_the_others_have_decided() {
    let ports = ports(3);
    for hanging in [Kind::Silent, Kind::Slow] {
        for (kinds, verdict) in [
            (&[hanging, Kind::Honest, Kind::Old][..], Ok(())),
            (&[Kind::No, hanging, Kind::No], Err(UnreachableReason::Refused)),
            // One that shows that it came through stands against one.
            (&[hanging, Kind::Honest], Ok(())),
        ] {
            let outcome = find(HOST, &ports, kinds, PATIENCE).await;
            assert_eq!(all(&outcome, &ports), Some(verdict));
            let late: Vec<_> = outcome.asked.iter().filter_map(|asked| asked.problem.as_deref()).collect();
            assert_eq!(late, ["did not answer while the others did, whose answers decide"]);
        }
    }
    // Where it could still turn the verdict, it is waited for.
    let outcome = find(HOST, &ports, &[Kind::Old, Kind::Silent], SHORT).await;
    assert_eq!(outcome.asked[1].problem.as_deref(), Some("does not answer"));
}

#[tokio::test]
async fn s_071_a_lying_minority_changes_nothing() {
    let ports = ports(3);
    for liar in [Kind::No, Kind::Yes, Kind::YesAndMore] {
        for honest in [Kind::Honest, Kind::Old] {
            let outcome = find(HOST, &ports, &[honest, liar, honest], PATIENCE).await;
            assert_eq!(all(&outcome, &ports), Some(Ok(())));
        }
    }
    // Behind an address where nobody listens, nothing is reachable, whoever says so.
    let nowhere = IpAddr::from([127, 0, 0, 91]);
    for kinds in [&[Kind::No, Kind::Yes, Kind::No][..], &[Kind::Yes, Kind::YesAndMore], &[Kind::Yes]] {
        let outcome = find(nowhere, &ports, kinds, PATIENCE).await;
        assert!(matches!(all(&outcome, &ports), Some(Err(_))));
    }
}

#[tokio::test]
async fn one_that_shows_that_it_came_through_is_believed_against_one_that_did_not() {
    let ports = ports(3);
    let outcome = find(HOST, &ports, &[Kind::Honest, Kind::No], PATIENCE).await;
    assert_eq!(all(&outcome, &ports), Some(Ok(())));
    assert_eq!(outcome.verdicts[0].sources, BTreeSet::from(["0".to_owned()]));
    let outcome = find(HOST, &ports, &[Kind::Old, Kind::No], PATIENCE).await;
    assert_eq!(all(&outcome, &ports), None);
}

#[tokio::test]
async fn a_middlebox_that_accepts_everything_is_no_way_in() {
    let ports = ports(3);
    let elsewhere = IpAddr::from([127, 0, 0, 92]);
    let mut middlebox = Vec::new();
    for port in &ports {
        middlebox.push(std::net::TcpListener::bind((elsewhere, *port)).unwrap());
    }
    let tasks = Tasks::new();
    let checker = Checker::new(Wallet::from_bytes(&[7; 32]).unwrap(), Targets { any: true, private: true });
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let sources = CheckSource::all(&[format!("http://{}", listener.local_addr().unwrap())]).unwrap();
    tasks.spawn(
        "checker",
        serve("checker", listener, router(Arc::new(checker)), TrustedProxies::default(), tasks.clone()),
    );
    let verification = Verification {
        address: elsewhere,
        bind: HOST,
        ports: ports.clone(),
        sources: &sources,
        end: Instant::now() + PATIENCE,
        deadline: PATIENCE,
        probes: Probes::default(),
        tasks: &tasks,
        served: &|_| None,
    };
    let outcome = verification.run(|_| {}).await.unwrap();
    assert_eq!(all(&outcome, &ports), Some(Err(UnreachableReason::AnotherAnswers)));
    tasks.stop().await;
    // The original's checker cannot tell; that nobody came here can.
    let outcome = find(elsewhere, &ports, &[Kind::Yes], PATIENCE).await;
    assert_eq!(all(&outcome, &ports), Some(Err(UnreachableReason::NobodyCame)));
}

#[tokio::test]
async fn s_058_a_port_of_another_program_is_not_asked_about() {
    let ports = ports(3);
    let held = std::net::TcpListener::bind((HOST, ports[1])).unwrap();
    let outcome = find(HOST, &ports, &[Kind::Honest], PATIENCE).await;
    let who = format!("(pid {})", std::process::id());
    assert!(matches!(&outcome.local[&ports[1]], LocalPort::Held(Some(name)) if name.ends_with(&who)));
    let known: Vec<u16> = outcome.verdicts.iter().map(|verdict| verdict.port).collect();
    assert_eq!(known, [ports[0], ports[2]]);
    drop(held);
}

#[tokio::test]
async fn a_wrong_address_is_told_by_who_sees_the_right_one() {
    let ports = ports(1);
    let outcome = find([203, 0, 113, 7].into(), &ports, &[Kind::Honest], PATIENCE).await;
    assert_eq!(outcome.asked[0].seen_at, Some(HOST));
    assert_eq!(outcome.verdicts, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_ports_are_verified_in_batches() {
    let free: Vec<u16> = (MANY..32_000).filter(|port| is_free(HOST, *port)).take(10_000).collect();
    let outcome = find(HOST, &free, &[Kind::Honest, Kind::Old, Kind::Down], PATIENCE).await;
    let reachable = outcome.verdicts.iter().filter(|verdict| verdict.problem.is_none()).count();
    // Another test may take some of them meanwhile.
    assert!(reachable > 9_900, "{reachable} of {}", free.len());
    assert!(outcome.asked[0].problem.is_none(), "{:?}", outcome.asked);
}
