//! Who may do what: every route, by every kind of caller.

use golem_api::VmAccess;
use golem_chain::session::SessionClaim;
use golem_types::Wallet;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::console::Console;
use crate::live::Socket;
use crate::world::{KEY, PROVIDER_ID, World, create_body};

pub(crate) fn wallet(number: u8) -> Wallet {
    Wallet::from_bytes(&[number; 32]).unwrap()
}

fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap()
}

/// The body that opens a session of `wallet`, which signs for `provider`.
fn signed(wallet: &Wallet, provider: &str, claim: SessionClaim) -> Value {
    let digest = claim.digest(provider.parse().unwrap());
    let signature = wallet.sign_hash(digest).unwrap().to_bytes();
    let mut body = json!({
        "requestor_address": claim.wallet.to_string(), "nonce": claim.nonce, "deadline": claim.deadline,
        "scope": "provider", "signature": alloy_primitives::hex::encode_prefixed(signature),
    });
    if let Some(vm) = claim.vm {
        (body["scope"], body["vm_id"]) = (json!("vm"), json!(vm));
    }
    body
}

fn claim(wallet: &Wallet, nonce: &str) -> SessionClaim {
    SessionClaim { wallet: wallet.address(), vm: None, nonce: nonce.to_owned(), deadline: now() + 3600 }
}

async fn open(world: &World, wallet: &Wallet, claim: SessionClaim) -> (StatusCode, Value) {
    world.post("/auth/requestor-sessions", &signed(wallet, PROVIDER_ID, claim)).await
}

pub(crate) async fn token(world: &World, wallet: &Wallet, nonce: &str) -> String {
    let (status, session) = open(world, wallet, claim(wallet, nonce)).await;
    assert_eq!(status, StatusCode::OK, "{session}");
    session["access_token"].as_str().unwrap().to_owned()
}

pub(crate) async fn ask(
    world: &World,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (StatusCode, Value) {
    let mut request = world.raw(method, &format!("/api/v1{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or(Value::Null))
}

pub(crate) async fn narrower(world: &World, token: &str, body: &Value) -> (StatusCode, Value) {
    ask(world, Some(token), Method::POST, "/auth/tokens", Some(body)).await
}

/// The routes of a VM, and whether they change it.
const ROUTES: [(Method, &str, bool); 23] = [
    (Method::GET, "", false),
    (Method::GET, "/access", false),
    (Method::GET, "/stream", false),
    (Method::GET, "/failed-boot", false),
    (Method::GET, "/live", false),
    (Method::GET, "/snapshots", false),
    (Method::GET, "/metrics/latest", false),
    (Method::GET, "/metrics/history", false),
    (Method::GET, "/events", false),
    (Method::GET, "/console-log", false),
    (Method::DELETE, "/snapshots/one", true),
    (Method::GET, "/console/live", true),
    (Method::POST, "/stop", true),
    (Method::POST, "/start", true),
    (Method::POST, "/restart", true),
    (Method::POST, "/resize", true),
    (Method::POST, "/clone", false),
    (Method::POST, "/rebuild", true),
    (Method::POST, "/suspend", true),
    (Method::POST, "/resume", true),
    (Method::POST, "/ssh-keys", true),
    (Method::POST, "/stream", true),
    (Method::DELETE, "", true),
];

fn is_missing_or_done(answer: &(StatusCode, Value)) -> bool {
    // To delete what is not there succeeds.
    answer.0 == StatusCode::NOT_FOUND || answer == &(StatusCode::OK, Value::Null)
}

/// M-05, and the rights of DESIGN: each caller on each route, by id and by name.
#[tokio::test]
async fn each_caller_does_on_each_route_what_its_token_says_and_no_more() {
    let world = World::start(VmAccess::Capability).await;
    let (owner, stranger) = (wallet(1), wallet(2));
    let own = token(&world, &owner, "nonce-0001").await;
    let others = token(&world, &stranger, "nonce-0001").await;
    let reads = narrower(&world, &own, &json!({ "read_only": true })).await.1;
    let reads = reads["access_token"].as_str().unwrap();
    let over = narrower(&world, &own, &json!({ "expires_in_seconds": 0 })).await.1;
    let over = over["access_token"].as_str().unwrap();
    let elsewhere = narrower(&world, &own, &json!({ "vm_id": "another" })).await.1;
    let elsewhere = elsewhere["access_token"].as_str().unwrap();
    let here = narrower(&world, &own, &json!({ "vm_id": "rented" })).await.1;
    let here = here["access_token"].as_str().unwrap();

    for (method, route, changes) in ROUTES {
        let body = match route {
            "/ssh-keys" => Some(json!({ "key": KEY })),
            "/resize" => Some(json!({ "cpu_cores": 2 })),
            "/stream" if changes => Some(json!({ "stream_id": 1 })),
            _ => None,
        };
        let create = ask(&world, Some(&own), Method::POST, "/vms", Some(&create_body("rented"))).await;
        assert_eq!(create.0, StatusCode::OK, "{}", create.1);
        let id = create.1["id"].as_str().unwrap().to_owned();
        world.reaches(&id, "running").await;
        let call = async |token: Option<&str>, which: &str| {
            if let "/live" | "/console/live" = route {
                return look_on(&world, token, which, route).await;
            }
            ask(&world, token, method.clone(), &format!("/vms/{which}{route}"), body.as_ref()).await
        };
        let what = format!("{method} {route}");
        // Nobody's word, and words that do not count.
        let nobodys = call(None, "rented").await;
        // That payments are off here is told first.
        assert!(
            is_missing_or_done(&nobodys) || (route == "/stream" && is_granted(&nobodys, route)),
            "{what}"
        );
        for wrong in ["nothing", "golem-session-00", over] {
            assert_eq!(call(Some(wrong), &id).await.0, StatusCode::UNAUTHORIZED, "{what} {wrong}");
            assert_eq!(call(Some(wrong), "rented").await.0, StatusCode::UNAUTHORIZED, "{what} {wrong}");
        }
        // Another wallet, and tokens that are too narrow.
        assert_eq!(call(Some(&others), &id).await.0, StatusCode::FORBIDDEN, "{what}");
        assert!(is_missing_or_done(&call(Some(&others), "rented").await), "{what}");
        for which in [&*id, "rented"] {
            assert_eq!(call(Some(elsewhere), which).await.0, StatusCode::FORBIDDEN, "{what}");
            let read = call(Some(reads), which).await;
            if changes {
                assert_eq!(read.0, StatusCode::FORBIDDEN, "{what}");
            } else {
                assert!(is_granted(&read, route), "{what} {read:?}");
            }
        }
        assert_eq!(world.get(&format!("/vms/{id}")).await.1["status"], "running", "{what} was refused");
        // Those that may: the holder by name, one for this VM by id, and whoever knows the id.
        for (token, which) in [(Some(&*own), "rented"), (Some(here), &*id), (None, &*id)] {
            let granted = call(token, which).await;
            assert!(is_granted(&granted, route) || is_missing_or_done(&granted), "{what} {granted:?}");
        }
        ask(&world, Some(&own), Method::DELETE, "/vms/rented", None).await;
        let gone = async || world.node().vms().is_empty();
        golem_test_support::until("deleted", gone).await;
    }
    world.stop().await;
}

/// What is shown first on a socket, or why nothing is, as the status that another route would have.
async fn look_on(world: &World, token: Option<&str>, which: &str, route: &str) -> (StatusCode, Value) {
    let first = if route == "/live" {
        let mut socket = Socket::of(world, &format!("{which}/live"), token).await;
        let first = socket.hears().await.unwrap();
        if first["type"] == "hello" {
            return (StatusCode::OK, socket.hears().await.unwrap());
        }
        first
    } else {
        let first = Console::of(world, which, token).await.hears().await;
        if first["type"] == "opened" {
            return (StatusCode::OK, first);
        }
        first
    };
    let why = first["error"].as_str().unwrap_or_default();
    let status = match why {
        why if why.ends_with("not found") => StatusCode::NOT_FOUND,
        why if why.contains("not for that VM") || why.contains("may only read") => StatusCode::FORBIDDEN,
        why if why.contains("the session is over") => StatusCode::UNAUTHORIZED,
        _ => panic!("{first}"),
    };
    (status, first)
}

/// Whether it was the route that answered, and not the door before it.
fn is_granted((status, answer): &(StatusCode, Value), route: &str) -> bool {
    match route {
        "/live" => answer["type"] == "snapshot" && answer["data"]["lifecycle"]["name"] == "rented",
        "/failed-boot" => answer["detail"].as_str().is_some_and(|text| text.starts_with("no failed boot")),
        "/stream" => answer["detail"].as_str().is_some_and(|text| text.contains("payments not enabled")),
        "/clone" => *status == StatusCode::NOT_IMPLEMENTED,
        "/snapshots/one" => answer["detail"] == "the VM has no snapshot called one",
        // One may be under way that another caller began.
        _ => status.is_success() || *status == StatusCode::CONFLICT,
    }
}

#[tokio::test]
async fn a_session_is_opened_once_by_its_wallet_for_this_provider() {
    let world = World::start(VmAccess::Capability).await;
    let (one, two) = (wallet(1), wallet(2));
    let (status, session) = open(&world, &one, claim(&one, "nonce-0001")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&session["token_type"], &session["scope"]), (&json!("bearer"), &json!("provider")));
    let ends = session["expires_at"].as_u64().unwrap();
    assert!((now() + 3500..=now() + 3600).contains(&ends), "no later than was signed");

    let refused = async |wallet: &Wallet, claim| open(&world, wallet, claim).await.0;
    assert_eq!(refused(&one, claim(&one, "nonce-0001")).await, StatusCode::UNAUTHORIZED, "used");
    assert_eq!(refused(&two, claim(&two, "nonce-0001")).await, StatusCode::OK, "another wallet's nonce");
    assert_eq!(refused(&two, claim(&one, "nonce-0002")).await, StatusCode::UNAUTHORIZED, "not its signature");
    let at = |deadline| SessionClaim { deadline, ..claim(&one, "nonce-0003") };
    assert_eq!(refused(&one, at(now() - 1)).await, StatusCode::UNAUTHORIZED, "over");
    assert_eq!(refused(&one, at(now() + 365 * 86_400)).await, StatusCode::BAD_REQUEST, "in a year");
    let long = open(&world, &one, at(now() + 3 * 86_400)).await.1;
    assert!(long["expires_at"].as_u64().unwrap() <= now() + 86_400, "a day at most");
    let elsewhere = signed(&one, "0x0000000000000000000000000000000000000001", claim(&one, "nonce-0004"));
    let (status, _) = world.post("/auth/requestor-sessions", &elsewhere).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "for another provider");
    let vm = SessionClaim { vm: Some("web".to_owned()), ..claim(&one, "nonce-0005") };
    let of_one = open(&world, &one, vm).await.1;
    assert_eq!((&of_one["scope"], &of_one["vm_id"]), (&json!("vm"), &json!("web")));
    assert!(of_one["expires_at"].as_u64().unwrap() <= now() + 900);
    let bare = world.post("/auth/requestor-sessions", &json!({})).await.0;
    assert_eq!(bare, StatusCode::UNPROCESSABLE_ENTITY);
    world.stop().await;
}

#[tokio::test]
async fn a_sign_in_message_opens_a_session_too() {
    let world = World::start(VmAccess::Capability).await;
    let one = wallet(1);
    let until = Timestamp::now().checked_add(jiff::SignedDuration::from_secs(600)).unwrap();
    let message = format!(
        "rent.example wants you to sign in with your Ethereum account:\n{}\n\n\nURI: https://rent.example\nVersion: 1\n\
         Chain ID: 1\nNonce: abcdefgh\nIssued At: {}\nExpiration Time: {until}\nResources:\n- golem-provider:{PROVIDER_ID}",
        one.address(),
        Timestamp::now(),
    );
    let signature =
        alloy_primitives::hex::encode_prefixed(one.sign_message(message.as_bytes()).unwrap().to_bytes());
    let body = json!({ "message": message, "signature": signature });
    let (status, session) = world.post("/auth/requestor-sessions", &body).await;
    assert_eq!(status, StatusCode::OK, "{session}");
    assert_eq!(session["requestor_address"], one.address().to_string());
    assert_eq!(world.post("/auth/requestor-sessions", &body).await.0, StatusCode::UNAUTHORIZED, "once");
    world.stop().await;
}

/// Tokens narrow, never widen; ending one ends what was minted from it; all of it is there after a restart.
#[tokio::test]
async fn tokens_are_narrowed_listed_ended_and_kept() {
    let world = World::start(VmAccess::Capability).await;
    let own = token(&world, &wallet(1), "nonce-0001").await;
    let (_, reads) = narrower(&world, &own, &json!({ "read_only": true, "vm_id": "web" })).await;
    let child = reads["access_token"].as_str().unwrap();
    let (_, grandchild) = narrower(&world, child, &json!({ "expires_in_seconds": 60 })).await;
    assert_eq!((&grandchild["read_only"], &grandchild["vm_id"]), (&json!(true), &json!("web")));
    for wider in [json!({ "read_only": false }), json!({ "vm_id": "other" })] {
        assert_eq!(narrower(&world, child, &wider).await.0, StatusCode::FORBIDDEN, "{wider}");
    }
    let longer = narrower(&world, &own, &json!({ "expires_in_seconds": u64::MAX })).await.1;
    assert!(longer["expires_at"].as_u64().unwrap() <= now() + 3600);
    let list = async |token: &str| ask(&world, Some(token), Method::GET, "/auth/tokens", None).await;
    let all = list(&own).await.1;
    assert_eq!(all.as_array().unwrap().len(), 4);
    assert!(all.as_array().unwrap().iter().all(|session| session.get("access_token").is_none()), "{all}");
    assert_eq!(list(child).await.1.as_array().unwrap().len(), 2, "itself, and what it minted");
    let end = async |token: &str, id: &Value| {
        let path = format!("/auth/tokens/{}", id.as_str().unwrap());
        ask(&world, Some(token), Method::DELETE, &path, None).await.0
    };
    assert_eq!(end(child, &longer["session_id"]).await, StatusCode::NOT_FOUND, "not its own");
    assert_eq!(end(&own, &reads["session_id"]).await, StatusCode::NO_CONTENT);
    for ended in [child, grandchild["access_token"].as_str().unwrap()] {
        assert_eq!(list(ended).await.0, StatusCode::UNAUTHORIZED);
    }
    let world = world.restart().await;
    let list = async |token: &str| ask(&world, Some(token), Method::GET, "/auth/tokens", None).await;
    assert_eq!(list(&own).await.1.as_array().unwrap().len(), 2);
    assert_eq!(list(child).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(open(&world, &wallet(1), claim(&wallet(1), "nonce-0001")).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        ask(&world, Some(&own), Method::DELETE, "/auth/tokens/current", None).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(list(&own).await.0, StatusCode::UNAUTHORIZED);
    world.stop().await;
}

/// A wallet sees its own VMs, and two wallets may use one name.
#[tokio::test]
async fn each_wallet_has_its_own_names() {
    let world = World::start(VmAccess::Capability).await;
    let (one, two) =
        (token(&world, &wallet(1), "nonce-0001").await, token(&world, &wallet(2), "nonce-0001").await);
    let mut ids = Vec::new();
    for token in [&one, &two] {
        let made = ask(&world, Some(token), Method::POST, "/vms", Some(&create_body("same"))).await;
        assert_eq!(made.0, StatusCode::OK, "{}", made.1);
        ids.push(made.1["id"].clone());
    }
    for (token, id) in [(&one, &ids[0]), (&two, &ids[1])] {
        let list = ask(&world, Some(token), Method::GET, "/vms", None).await.1;
        assert_eq!((list.as_array().unwrap().len(), &list[0]["id"]), (1, id));
        assert_eq!(&ask(&world, Some(token), Method::GET, "/vms/same", None).await.1["id"], id);
    }
    assert_eq!(world.get("/vms").await.1, json!([]));
    let third = ask(&world, Some(&one), Method::POST, "/vms", Some(&create_body("same"))).await;
    assert_eq!(third.0, StatusCode::CONFLICT);
    world.stop().await;
}
