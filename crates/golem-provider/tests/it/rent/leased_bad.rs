//! Providers that quote leases and mean something else: nothing is paid, or all but the gas and the seconds comes back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use golem_chain::{LeaseQuote, LeaseTerms, Place};
use golem_test_support::Home;
use golem_testchain::{Anvil, CHAIN_ID};
use golem_types::{Resources, Wallet};
use serde_json::{Value, json};

use super::world::{PROVIDER, RATE, World};

/// What a lease of a bad provider says before it is signed.
#[derive(Clone)]
struct Says {
    terms_rate: u128,
    quote: LeaseQuote,
    place: Place,
    token: Address,
    signer: Wallet,
    /// Whether the terms hash is that of what is said.
    fits: bool,
}

/// How a bad provider answers.
#[derive(Clone, Copy)]
enum Answer {
    Json(u16, fn() -> Value),
    /// Bytes without an end.
    Endless,
    /// To another server.
    Redirect,
    /// The connection is closed instead.
    Nothing,
}

/// A provider that signs leases as they should be, but for what `change` does before it signs and `spoil` after; and answers
/// `others`' paths as they say.
struct Bad {
    change: fn(&mut Says),
    spoil: fn(&mut Value),
    others: &'static [(&'static str, Answer)],
}

const HONEST: Bad = Bad { change: |_| {}, spoil: |_| {}, others: &[] };

/// A session, as it should be.
const SESSION: (&str, Answer) =
    ("/auth/requestor-sessions", Answer::Json(200, || json!({ "access_token": "token" })));

/// Serves `bad` in a thread of its own; its URL.
fn serve(world: &World, bad: Bad) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (contract, token) = (world.contract, world.token);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that goes away is no end of the server.
            let _ = exchange(stream.unwrap(), &bad, (contract, token));
        }
    });
    url
}

fn exchange(mut stream: TcpStream, bad: &Bad, paid_in: (Address, Address)) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let answer = bad.others.iter().find(|(ends, _)| path.ends_with(ends)).map(|(_, answer)| *answer);
    let (status, json) = match answer {
        Some(Answer::Json(status, json)) => (status, json()),
        Some(Answer::Nothing) => return Ok(()),
        Some(Answer::Redirect) => {
            return write!(
                stream,
                "HTTP/1.1 307 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
            );
        }
        Some(Answer::Endless) => {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{{\"a\":\"")?;
            loop {
                stream.write_all(&[b'a'; 4096])?;
            }
        }
        None if path.ends_with("/payments/lease-quotes") => {
            (200, lease(bad, &serde_json::from_slice(&body).unwrap(), paid_in))
        }
        None => (404, json!({ "detail": "Not Found" })),
    };
    let json = json.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}",
        json.len()
    )
}

/// The lease for what was asked.
fn lease(bad: &Bad, asked: &Value, (contract, token): (Address, Address)) -> Value {
    let number = |name: &str| asked[name].as_u64().unwrap();
    let size = |name: &str| u32::try_from(number(name)).unwrap();
    let (rate, duration) = (u128::from(RATE), number("duration_seconds"));
    let wallet = Anvil::wallet(PROVIDER).unwrap();
    let quote = LeaseQuote {
        recipient: wallet.address(),
        deposit: U256::from(rate) * U256::from(duration),
        rate,
        lease_id: keccak256(format!("{:?}", std::time::Instant::now())),
        terms_hash: B256::ZERO,
        expires_at: u64::try_from(jiff::Timestamp::now().as_second()).unwrap() + 900,
    };
    let place = Place { chain_id: CHAIN_ID, contract };
    let mut says = Says { terms_rate: rate, quote, place, token, signer: wallet, fits: true };
    (bad.change)(&mut says);
    if says.fits {
        let terms = LeaseTerms {
            provider: says.quote.recipient,
            requestor: asked["requestor_address"].as_str().unwrap().parse().unwrap(),
            name: asked["vm_name"].as_str().unwrap(),
            image: asked["image"].as_str().unwrap(),
            resources: Resources::new(size("cpu"), size("memory"), size("storage")),
            rate: says.terms_rate,
            duration,
            token: says.token,
            place: says.place,
            lease_id: says.quote.lease_id,
        };
        says.quote.terms_hash = terms.hash();
    }
    let quote = says.quote;
    let mut answer = json!({
        "provider_address": quote.recipient.to_string(),
        "chain_id": says.place.chain_id,
        "contract_address": says.place.contract.to_string(),
        "glm_token_address": says.token.to_string(),
        "lease_id": quote.lease_id,
        "terms_hash": quote.terms_hash,
        "provider_rate_per_second_wei": u64::try_from(quote.rate).unwrap(),
        "provider_deposit_wei": u64::try_from(quote.deposit).unwrap(),
        "min_runway_seconds": duration,
        "quote_expires_at": quote.expires_at,
        "signature": hex::encode_prefixed(quote.sign(says.place, &says.signer).unwrap()),
    });
    (bad.spoil)(&mut answer);
    answer
}

/// What a create at `bad` says, which fails.
fn fails(world: &World, bad: Bad) -> String {
    let url = serve(world, bad);
    let create = ["create", "web", "--provider", &url, "--payments-network", "mine", "--most", "41"];
    let output = world.run(&create);
    assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
    Home::show(&output)
}

/// Whatever is wrong with the quote or the session, nothing is paid, approved or remembered.
#[test]
fn a_lease_that_is_not_what_was_asked_is_not_paid() {
    let world = World::leased();
    let before = world.funds();
    let nothing: &[(&str, Bad)] = &[
        (
            "its terms are not what was asked for",
            Bad {
                change: |says| {
                    says.fits = false;
                    says.quote.terms_hash = B256::repeat_byte(1);
                },
                ..HONEST
            },
        ),
        ("its terms are not what was asked for", Bad { change: |says| says.terms_rate -= 1, ..HONEST }),
        (
            "its deposit is not its rate times its duration",
            Bad { change: |says| says.quote.deposit += U256::ONE, ..HONEST },
        ),
        ("is not signed by", Bad { change: |says| says.signer = Anvil::wallet(0).unwrap(), ..HONEST }),
        (
            "is not signed by",
            Bad { spoil: |answer| answer["quote_expires_at"] = json!(4_000_000_000u64), ..HONEST },
        ),
        ("none of your networks is", Bad { change: |says| says.place.chain_id = 1, ..HONEST }),
        (
            "none of your networks is",
            Bad { change: |says| says.place.contract = Address::repeat_byte(1), ..HONEST },
        ),
        ("none of your networks is", Bad { change: |says| says.token = Address::repeat_byte(1), ..HONEST }),
        (
            "more than 41; nothing was paid",
            Bad {
                change: |says| {
                    says.terms_rate *= 2;
                    says.quote.rate *= 2;
                    says.quote.deposit *= U256::from(2);
                },
                ..HONEST
            },
        ),
        // A clock that is an hour late; by the chain's it is over.
        ("the provider's quote ended at", Bad { change: |says| says.quote.expires_at -= 3600, ..HONEST }),
        ("no rate", Bad { spoil: |answer| answer["provider_rate_per_second_wei"] = json!(0), ..HONEST }),
        (
            "it is not what was asked",
            Bad { spoil: |answer| answer["provider_deposit_wei"] = json!(-1), ..HONEST },
        ),
        ("it is too large", Bad { others: &[("/lease-quotes", Answer::Endless)], ..HONEST }),
        ("HTTP 307", Bad { others: &[("/lease-quotes", Answer::Redirect)], ..HONEST }),
        ("does not answer", Bad { others: &[("/lease-quotes", Answer::Nothing)], ..HONEST }),
        // The quote is right, and nobody is let in.
        ("the provider opens no session for your wallet; nothing was paid", HONEST),
        (
            "there is no session's token in it",
            Bad { others: &[("/requestor-sessions", Answer::Json(200, || json!({})))], ..HONEST },
        ),
        ("does not answer", Bad { others: &[("/requestor-sessions", Answer::Nothing)], ..HONEST }),
        ("it is too large", Bad { others: &[("/requestor-sessions", Answer::Endless)], ..HONEST }),
        ("HTTP 307", Bad { others: &[("/requestor-sessions", Answer::Redirect)], ..HONEST }),
    ];
    for (text, Bad { change, spoil, others }) in nothing {
        let said = fails(&world, Bad { change: *change, spoil: *spoil, others });
        assert!(said.contains(text), "{text}: {said}");
        assert_eq!(
            (world.funds(), world.allowance(), world.streams()),
            (before, U256::ZERO, (0, 0)),
            "{text}"
        );
        assert_eq!(world.json(&["list"]), json!([]), "{text}");
    }
}

/// A provider that takes the money and grants nothing keeps the seconds: its stream is ended.
#[test]
fn a_provider_that_grants_nothing_for_a_lease_keeps_only_the_seconds() {
    let world = World::leased();
    let before = world.funds();
    let cases: &[(&str, &'static [(&str, Answer)])] = &[
        ("Not Found (HTTP 404)", &[SESSION]),
        ("it is too large", &[SESSION, ("/vms?async=true", Answer::Endless)]),
        // It forgets whom it let in.
        (
            "sign in (HTTP 401)",
            &[SESSION, ("/vms?async=true", Answer::Json(401, || json!({ "detail": "sign in" })))],
        ),
        (
            "the provider does not know the VM any more",
            &[
                SESSION,
                ("/vms?async=true", Answer::Json(202, || json!({ "vm_id": "other", "job_id": "../../x" }))),
            ],
        ),
    ];
    for (opened, (text, others)) in (1..).zip(cases) {
        let said = fails(&world, Bad { others, ..HONEST });
        assert!(said.contains(text), "{text}: {said}");
        assert!(said.contains(&format!("stream {opened} has ended: ")), "{said}");
        assert_eq!((world.streams(), world.json(&["list"])), ((opened, 0), json!([])), "{text}");
    }
    let minutes = U256::from(RATE) * U256::from(60 * cases.len());
    assert!(before - world.funds() < minutes, "{}", before - world.funds());
}
