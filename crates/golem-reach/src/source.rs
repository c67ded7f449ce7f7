//! A check server or another provider, as a source of verdicts on ports.
//!
//! Owns the request to it: bounded in time and size, without redirects; the response is parsed
//! strictly, and a signature in it has to be valid. Never judges what is said.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use alloy_primitives::Address;
use golem_service::http::{self, HttpError, Options};
use golem_types::net::customer;
use golem_types::net::is_public;
use golem_types::visible::line_of;
use golem_types::wallet::signer_of;
use golem_types::wire::port_check::{CheckAnswer, CheckRequest};
use jiff::Timestamp;
use tokio::time::timeout;

/// Longest that a checker may take for a batch of ports: as the original's client.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How long connecting may take: a dead checker should not hold up the others' verdict.
const CONNECT: Duration = Duration::from_secs(5);

/// Largest answer; a thousand ports with what they said are about 200 KiB.
const ANSWER_BYTES: usize = 1 << 20;

/// Longest text of a checker's refusal that is shown, in characters.
const REFUSAL: usize = 200;

/// How far the clock of a checker that signs may be off, in seconds.
const CLOCK: i64 = 300;

/// Why a source gave no usable response. None of these says anything about a port.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No client can be made.
    #[error("no HTTP client can be made")]
    Client(#[source] HttpError),
    /// It did not answer.
    #[error("does not answer{}", .0.as_ref().map_or_else(String::new, |error| format!(" ({})", innermost(error))))]
    NoAnswer(#[source] Option<HttpError>),
    /// It had not answered when the others had decided.
    #[error("did not answer while the others did, whose answers decide")]
    Late,
    /// It redirects, to where the operator did not send the node.
    #[error("answers with a redirect, which is not followed")]
    Redirect,
    /// It refuses.
    #[error("refuses with HTTP status {status}: {text}")]
    Refused {
        status: u16,
        /// What it says.
        text: String,
    },
    /// It dials only the caller's address, which is not the one to be verified.
    #[error("sees this node at {0}, and dials no other address")]
    Elsewhere(IpAddr),
    /// Its answer is larger than any that is expected.
    #[error("its answer is too large")]
    TooLarge,
    /// Its response does not fit the request.
    #[error("its answer makes no sense: {0}")]
    Nonsense(&'static str),
}

/// The innermost cause: "Connection refused", not "error sending request".
fn innermost(error: &HttpError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A checker.
#[derive(Debug, Clone)]
pub struct CheckSource {
    http: http::Client,
    name: String,
    url: String,
    /// Who has to sign; of a check server that the operator named, nobody has to.
    signer: Option<Address>,
}

/// The body of a refusal.
#[derive(serde::Deserialize)]
struct Detail {
    detail: serde_json::Value,
    #[serde(default)]
    caller: Option<IpAddr>,
}

/// The client with which every checker is asked.
fn client() -> Result<http::Client, SourceError> {
    // A checker dials who calls it; that has to be this node and no proxy. Its deadline is that of the whole
    // verification.
    let options = Options { deadline: None, connect: CONNECT, is_direct: true, ..Options::within(CONNECT) };
    http::Client::new(options).map_err(SourceError::Client)
}

impl CheckSource {
    /// The checkers at `urls`, each once.
    ///
    /// # Errors
    /// [`SourceError::Client`].
    pub fn all(urls: &[String]) -> Result<Vec<Self>, SourceError> {
        let http = client()?;
        let source =
            |url: &str| Self { http: http.clone(), name: url.to_owned(), url: url.to_owned(), signer: None };
        // One that is named twice has one voice.
        let mut known = BTreeSet::new();
        let urls = urls.iter().map(|url| url.trim_end_matches('/')).filter(|url| known.insert(*url));
        Ok(urls.map(source).collect())
    }

    /// Other providers: what each is called, its address, and who it is.
    ///
    /// # Errors
    /// [`SourceError::Client`].
    pub(super) fn peers(
        peers: impl Iterator<Item = (String, String, Address)>,
    ) -> Result<Vec<Self>, SourceError> {
        let http = client()?;
        Ok(peers.map(|(name, url, id)| Self { http: http.clone(), name, url, signer: Some(id) }).collect())
    }

    /// Its name in verdicts.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is another provider, and not named by the operator.
    pub const fn is_peer(&self) -> bool {
        self.signer.is_some()
    }

    /// Asks whether `ports` are reachable at `address`, for at most `deadline`: what it says, and whether it
    /// stands in the same network as this node.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn ask(
        &self,
        address: IpAddr,
        ports: &[u16],
        nonce: &str,
        deadline: Duration,
    ) -> Result<(CheckAnswer, bool), SourceError> {
        let request = CheckRequest {
            provider_ip: address.to_string(),
            ports: ports.to_vec(),
            nonce: Some(nonce.to_owned()),
        };
        let answer = timeout(deadline, self.exchange(&request)).await;
        let (answer, from) = answer.map_err(|_| SourceError::NoAnswer(None))??;
        if !answer.results.keys().all(|port| ports.contains(port)) {
            return Err(SourceError::Nonsense("it is about ports that were not asked for"));
        }
        if let Some(signature) = &answer.signature {
            let now = Timestamp::now().as_second();
            let signer = check_signature(&answer, signature, &request, now).map_err(SourceError::Nonsense)?;
            if self.signer.is_some_and(|wanted| wanted != signer) {
                return Err(SourceError::Nonsense("it is not signed by the provider that was asked"));
            }
        } else if self.is_peer() {
            return Err(SourceError::Nonsense("it is not signed"));
        }
        Ok((answer, from.is_some_and(|from| is_inside(from, address))))
    }

    /// What it says, and from where.
    async fn exchange(&self, request: &CheckRequest) -> Result<(CheckAnswer, Option<IpAddr>), SourceError> {
        let url = format!("{}/check-ports", self.url);
        let answer = self.http.post(&url).json(request).send(ANSWER_BYTES).await;
        let answer = answer.map_err(|error| match error {
            HttpError::TooLarge(_) => SourceError::TooLarge,
            error => SourceError::NoAnswer(Some(error)),
        })?;
        let (status, from) = (answer.status, answer.from.map(|from| from.ip()));
        if status.is_redirection() {
            return Err(SourceError::Redirect);
        }
        if !status.is_success() {
            let Detail { detail, caller } =
                answer.json().unwrap_or(Detail { detail: serde_json::Value::Null, caller: None });
            if let Some(caller) = caller {
                return Err(SourceError::Elsewhere(caller));
            }
            let text = detail.as_str().map_or_else(|| detail.to_string(), str::to_owned);
            let text = line_of(&text, REFUSAL);
            return Err(SourceError::Refused { status: status.as_u16(), text });
        }
        let answer = answer.json();
        answer
            .map(|answer| (answer, from))
            .map_err(|_| SourceError::Nonsense("it is not what a checker says"))
    }
}

/// Whether who answers at `from` stands in the same network as a node with the public `address`, so that
/// a router that loops connections back (hairpin NAT), or does not, decides what it finds.
fn is_inside(from: IpAddr, address: IpAddr) -> bool {
    is_public(address) && (!is_public(from) || customer(from) == customer(address))
}

/// Who signed `answer`, if it is one to `request`, now, by whom it names.
fn check_signature(
    answer: &CheckAnswer,
    signature: &str,
    request: &CheckRequest,
    now: i64,
) -> Result<Address, &'static str> {
    if answer.nonce != request.nonce {
        return Err("it answers another question");
    }
    if answer.provider_ip.as_deref() != Some(request.provider_ip.as_str()) {
        return Err("it is about another address");
    }
    let at = answer.checked_at.and_then(|at| i64::try_from(at).ok()).ok_or("it has no time")?;
    if now.abs_diff(at) > CLOCK.unsigned_abs() {
        return Err("it is not of now");
    }
    let bytes = alloy_primitives::hex::decode(signature).map_err(|_| "its signature is none")?;
    let signer = signer_of(answer.signed_text().as_bytes(), &bytes).ok_or("its signature is none")?;
    let named = answer.checker.as_ref().and_then(|text| text.parse::<Address>().ok());
    if named == Some(signer) { Ok(signer) } else { Err("it is not signed by whom it names") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use golem_types::Wallet;
    use golem_types::wire::port_check::PortResult;
    use std::collections::BTreeMap;

    const NOW: i64 = 1_800_000_000;

    fn request() -> CheckRequest {
        CheckRequest {
            provider_ip: "203.0.113.7".to_owned(),
            ports: vec![7466],
            nonce: Some("abc".to_owned()),
        }
    }

    fn signed(change: impl FnOnce(&mut CheckAnswer)) -> CheckAnswer {
        let wallet = Wallet::from_bytes(&[7; 32]).unwrap();
        let result = PortResult { accessible: true, error: None, read: Some("golem".to_owned()) };
        let mut answer = CheckAnswer {
            provider_ip: Some("203.0.113.7".to_owned()),
            checked_at: Some(NOW as u64),
            nonce: Some("abc".to_owned()),
            checker: Some(wallet.address().to_string()),
            ..CheckAnswer::of(BTreeMap::from([(7466, result)]))
        };
        change(&mut answer);
        let signature = wallet.sign_message(answer.signed_text().as_bytes()).unwrap().to_bytes();
        answer.signature = Some(alloy_primitives::hex::encode(signature));
        answer
    }

    fn verdict(answer: &CheckAnswer, now: i64) -> Result<(), &'static str> {
        check_signature(answer, answer.signature.as_deref().unwrap(), &request(), now).map(drop)
    }

    #[test]
    fn s_071_a_check_server_that_is_named_twice_has_one_voice() {
        let urls = ["http://one:9000", "http://two:9000/", "http://one:9000/", "http://two:9000"];
        let sources = CheckSource::all(&urls.map(str::to_owned)).unwrap();
        let names: Vec<&str> = sources.iter().map(CheckSource::name).collect();
        assert_eq!(names, ["http://one:9000", "http://two:9000"]);
    }

    #[test]
    fn who_stands_in_the_same_network_is_told_from_who_does_not() {
        let is_inside =
            |from: &str, address: &str| is_inside(from.parse().unwrap(), address.parse().unwrap());
        for from in ["192.168.7.9", "127.0.0.1", "44.0.113.1", "::ffff:10.0.0.1", "fd00::1"] {
            assert!(is_inside(from, "44.0.113.1"), "{from}");
        }
        assert!(is_inside("2a0b:cafe:7::9", "2a0b:cafe:7::2"));
        assert!(!is_inside("2a0b:cafe:8::9", "2a0b:cafe:7::2") && !is_inside("44.0.113.9", "44.0.113.1"));
        // Where nothing is public, there is no outside.
        assert!(!is_inside("127.0.0.1", "127.0.0.1") && !is_inside("10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn s_073_forged_replayed_and_stale_verdicts_are_refused() {
        assert_eq!(verdict(&signed(|_| {}), NOW), Ok(()));
        let mut forged = signed(|_| {});
        forged.results.get_mut(&7466).unwrap().accessible = false;
        assert_eq!(verdict(&forged, NOW), Err("it is not signed by whom it names"));
        let mut another = signed(|_| {});
        another.checker = Some(Wallet::from_bytes(&[8; 32]).unwrap().address().to_string());
        assert_eq!(verdict(&another, NOW), Err("it is not signed by whom it names"));
        let replayed = signed(|answer| answer.nonce = Some("old".to_owned()));
        assert_eq!(verdict(&replayed, NOW), Err("it answers another question"));
        let elsewhere = signed(|answer| answer.provider_ip = Some("203.0.113.8".to_owned()));
        assert_eq!(verdict(&elsewhere, NOW), Err("it is about another address"));
        for now in [NOW + CLOCK + 1, NOW - CLOCK - 1, i64::MIN, i64::MAX] {
            assert_eq!(verdict(&signed(|_| {}), now), Err("it is not of now"));
        }
        for signature in ["", "0x", "zz", &"0".repeat(130)] {
            let answer = CheckAnswer { signature: Some(signature.to_owned()), ..signed(|_| {}) };
            assert_eq!(verdict(&answer, NOW), Err("its signature is none"), "{signature}");
        }
    }
}
