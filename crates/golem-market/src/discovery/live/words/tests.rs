//! The words, beside the golden vectors of `../shared/vectors/upstream-v4.json`.

use proptest::prelude::*;

use super::*;

/// Anvil's first key.
const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const PROVIDER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const TEXT: &str =
    "central-discovery-auth:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266:abcd:2026-05-21T00:00:00+00:00";
/// By `eth-account`, over [`TEXT`].
const SIGNATURE: &str = "0x28fda1b93ae1adf90597cf8c830c22bbb103e14fd44d5d0ef5f5cf3449d462d95d538cb7f361044f1716cbb0178a3dd99bd44749f7ece5049a3ec2687a0dc9e61b";

fn signed_at() -> Timestamp {
    "2026-05-21T00:00:00Z".parse().unwrap()
}

fn proof() -> Authenticate {
    Authenticate::sign(&Wallet::from_hex(KEY).unwrap(), "abcd", signed_at()).unwrap()
}

#[test]
fn a_proof_is_the_golden_vectors_to_the_letter() {
    let proof = proof();
    assert_eq!(signed_text(&proof.provider_id, &proof.nonce, &proof.timestamp), TEXT);
    assert_eq!(proof.signature, SIGNATURE);
    let written = FromProvider::Authenticate(proof.clone()).write();
    let golden = format!(
        r#"{{"type":"authenticate","provider_id":"{PROVIDER}","nonce":"abcd","timestamp":"2026-05-21T00:00:00+00:00","signature":"{SIGNATURE}"}}"#
    );
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&written), value(&golden));
    assert_eq!(FromProvider::read(&golden).unwrap(), FromProvider::Authenticate(proof));
}

#[test]
fn a_proof_counts_once_here_and_now_and_for_its_signer_only() {
    let proof = proof();
    let at = |seconds: i64| signed_at() + SignedDuration::from_secs(seconds);
    let provider: Address = PROVIDER.parse().unwrap();
    for seconds in [0, 300, -300] {
        assert_eq!(proof.verify("abcd", at(seconds)), Ok(provider));
    }
    for seconds in [301, -301, 3600] {
        let refused = proof.verify("abcd", at(seconds));
        assert_eq!(refused, Err(BadProof::Time { seconds: -seconds, now: at(seconds) }));
    }
    let told = BadProof::Time { seconds: -3600, now: at(3600) }.to_string();
    assert_eq!(
        told,
        "the timestamp is -3600 s from the server's time, 2026-05-21T01:00:00Z; fix: set the clock"
    );
    assert_eq!(proof.verify("abce", at(0)), Err(BadProof::Nonce));
    let with = |change: fn(&mut Authenticate)| {
        let mut changed = proof.clone();
        change(&mut changed);
        changed.verify("abcd", signed_at())
    };
    // Another spelling is another text; another's id is another signer.
    assert_eq!(with(|proof| proof.provider_id.make_ascii_lowercase()), Err(BadProof::Signature));
    let other = |proof: &mut Authenticate| proof.provider_id = Address::repeat_byte(1).to_string();
    assert_eq!(with(other), Err(BadProof::Signature));
    assert_eq!(with(|proof| proof.timestamp = "2026-05-21T00:00:00Z".to_owned()), Err(BadProof::Signature));
    assert_eq!(with(|proof| proof.timestamp = "yesterday".to_owned()), Err(BadProof::NoTime));
    assert_eq!(with(|proof| proof.signature.truncate(130)), Err(BadProof::Signature));
    assert_eq!(with(|proof| proof.signature.push('0')), Err(BadProof::Signature));
    assert_eq!(with(|proof| proof.signature = String::new()), Err(BadProof::Signature));
    assert_eq!(with(|proof| drop(proof.signature.drain(..2))), Ok(provider));
}

#[test]
fn what_a_server_says_is_read_whatever_else_is_in_it() {
    let read = |text: &str| FromServer::read(text).unwrap();
    assert_eq!(
        read(&hello("abcd")),
        FromServer::Hello { protocol: PROTOCOL.to_owned(), nonce: "abcd".to_owned() }
    );
    assert_eq!(read(&authenticated()), FromServer::Authenticated);
    assert_eq!(read(&accepted()), FromServer::Accepted);
    assert_eq!(read(&removed()), FromServer::Removed);
    assert_eq!(read(r#"{"type":"authenticated","at":5}"#), FromServer::Authenticated);
    assert_eq!(read(r#"{"type":"weather"}"#), FromServer::Other);
    let advert = r#"{"provider_id":"0x1","ip_address":"192.0.2.1","country":"S\u001bE","resources":{"cpu":4},
        "endpoint_url":"https://192.0.2.1","connected_at":"now"}"#;
    let FromServer::Snapshot(found) =
        read(&format!(r#"{{"type":"snapshot","advertisements":[{advert},{{"provider_id":5}},[],null]}}"#))
    else {
        panic!("no snapshot")
    };
    assert_eq!(found.len(), 1, "what makes no sense is left out");
    assert_eq!(
        (found[0].country.as_str(), found[0].endpoint_url.as_deref()),
        ("SE", Some("https://192.0.2.1"))
    );
    for name in ["advertisement", "provider"] {
        let upsert = read(&format!(r#"{{"type":"provider.upsert","{name}":{advert}}}"#));
        assert_eq!(upsert, FromServer::Upsert(Box::new(found[0].clone())));
    }
    assert_eq!(read(&gone(Address::ZERO)), FromServer::Remove(Address::ZERO.to_string()));
    let refused = failure("bad_proof", &BadProof::Nonce);
    assert_eq!(read(&refused), FromServer::Error(BadProof::Nonce.to_string()));
    assert_eq!(
        read(r#"{"type":"error","detail":{"code":4}}"#),
        FromServer::Error(r#"{"code":4}"#.to_owned())
    );
    let long = format!(r#"{{"type":"error","reason":"{}\u001b"}}"#, "x".repeat(1000));
    assert_eq!(read(&long), FromServer::Error("x".repeat(200)));
    for bad in ["", "[]", "{}", "null", r#"{"type":5}"#, r#"{"type":"hello"}"#, r#"{"type":"snapshot"}"#] {
        assert!(FromServer::read(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_a_provider_or_a_renter_says_is_refused_where_it_is_not_known() {
    assert!(matches!(FromProvider::read(r#"{"type":"subscribe"}"#), Err(BadMessage::Unknown(_))));
    assert!(matches!(FromProvider::read(r#"{"type":"advertisement.upsert"}"#), Err(BadMessage::Fields(_))));
    assert!(matches!(FromProvider::read("{"), Err(BadMessage::NoMessage(_))));
    let upsert = r#"{"type":"advertisement.upsert","advertisement":{"ip_address":"203.0.113.7","country":"SE",
        "resources":{"cpu":0,"memory":1,"storage":1}}}"#;
    assert!(matches!(FromProvider::read(upsert), Err(BadMessage::Advert(_))));
    let read = FromProvider::read(&upsert.replace(":0,", ":1,")).unwrap();
    assert_eq!(FromProvider::read(&read.write()).unwrap(), read);
    assert_eq!(FromProvider::read(&FromProvider::Remove.write()).unwrap(), FromProvider::Remove);
    let filter = Filter { cpu: Some(2), country: Some("SE".to_owned()), ..Filter::default() };
    assert_eq!(&*subscription(&filter), r#"{"filters":{"country":"SE","cpu":2},"type":"subscribe"}"#);
    assert_eq!(read_subscription(&subscription(&filter)).unwrap(), filter);
    for all in [r#"{"type":"subscribe"}"#, r#"{"type":"subscribe","filters":null}"#] {
        assert_eq!(read_subscription(all).unwrap(), Filter::default());
    }
    let others = r#"{"type":"subscribe","filters":{"network":"hoodi","cpu":null}}"#;
    assert_eq!(read_subscription(others).unwrap(), Filter::default());
    let long = format!(r#"{{"type":"subscribe","filters":{{"country":"{}"}}}}"#, "x".repeat(33));
    assert!(matches!(read_subscription(&long), Err(BadMessage::Filter)));
    assert!(read_subscription(r#"{"type":"subscribe","filters":{"cpu":-1}}"#).is_err());
}

#[test]
fn a_nonce_is_a_word() {
    for good in ["abcd", "0f8fad5b-d9cb-469f-a165-70867728950e", "a_b~c=", &"a".repeat(128)] {
        assert!(is_nonce(good), "{good}");
    }
    for bad in ["", "a b", "a:b", "a\n", "ä", &"a".repeat(129)] {
        assert!(!is_nonce(bad), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn no_message_is_too_odd(text in ".*", kind in "(hello|snapshot|error|authenticate|subscribe)") {
        let _ = (FromServer::read(&text), FromProvider::read(&text), read_subscription(&text));
        let message = json!({ "type": kind, "message": text, "nonce": text, "advertisements": text }).to_string();
        let _ = (FromServer::read(&message), FromProvider::read(&message), read_subscription(&message));
    }
}
