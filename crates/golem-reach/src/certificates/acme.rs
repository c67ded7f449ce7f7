//! Obtains a certificate for an IP address from an authority that speaks ACME (RFC 8555 and 8738).
//!
//! ```text
//!   account (kept, or a new one) ─► order ─► challenge: tls-alpn-01, else http-01 ─► key, CSR ─► certificate ─► kept
//! ```
//! Owns one attempt. That an order is placed is on the disk before it is. Never decides when: the keeper does.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use golem_service::log::with_causes;
use golem_service::server::tls::TlsKeys;
use golem_types::visible::line_of;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};

use super::certificate::Certificate;
use super::challenge::{HttpAnswer, TlsAnswer, WebPorts};
use super::directory::Directory;
use super::store::Store;
use crate::probe::Probes;

/// The profile with which Let's Encrypt gives certificates for addresses. An authority that does
/// not offer it is not asked for one.
const PROFILE: &str = "shortlived";

/// How an authority says that it does not know an account (RFC 8555, 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// How an order is looked at while the authority works on it.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(200))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));

/// Most letters of what an authority says that are shown.
const SHOWN: usize = 300;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    /// It does not answer, or no sense.
    #[error("{0}")]
    NoAnswer(String),
    /// It does not know this node's account.
    #[error("it does not know the account that it gave")]
    NoAccount,
    /// It will not.
    #[error("{0}")]
    Refused(String),
    /// It did not find this node at the address: by each way, and why not.
    #[error("{0}")]
    NotSeen(String),
    /// What it gave cannot be used, or nothing can be made to ask with.
    #[error("{0}")]
    Unusable(&'static str),
    /// It cannot be kept.
    #[error("the data directory cannot be written")]
    Storage(#[from] io::Error),
}

impl From<Error> for AcmeError {
    fn from(error: Error) -> Self {
        match error {
            // By an authority that is out of order, and not because of what was asked.
            Error::Api(problem) if problem.status.is_some_and(|status| status >= 500) => {
                Self::NoAnswer(detail(&problem))
            }
            Error::Api(problem) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => Self::NoAccount,
            Error::Api(problem) => Self::Refused(detail(&problem)),
            Error::Timeout(_) => Self::NoAnswer("it took too long over an order".to_owned()),
            Error::Other(error) => Self::NoAnswer(shown(&with_causes(&*error))),
            error => Self::NoAnswer(shown(&error.to_string())),
        }
    }
}

/// What an authority says is wrong.
fn detail(problem: &Problem) -> String {
    let told = problem.detail.as_deref().or(problem.r#type.as_deref());
    shown(told.unwrap_or("it gives no reason"))
}

/// `text` of a stranger as a log and a terminal may show it.
fn shown(text: &str) -> String {
    line_of(text, SHOWN)
}

/// Whom and with what to ask.
pub(super) struct Acme<'a> {
    pub(super) directory: &'a str,
    pub(super) http: &'a Directory,
    pub(super) store: &'a Store,
    pub(super) keys: &'a TlsKeys,
    /// Where to listen for an authority that comes over HTTP, and on which port.
    pub(super) http_port: (IpAddr, u16),
    pub(super) probes: &'a Probes,
    pub(super) web: &'a WebPorts,
    pub(super) clock: fn() -> jiff::Timestamp,
}

/// How the authority sees this node.
#[derive(Debug, Clone, Copy)]
enum Way {
    Tls,
    Http,
}

impl Acme<'_> {
    /// A certificate for `address`, which is kept.
    pub(super) async fn obtain(&self, address: IpAddr) -> Result<Certificate, AcmeError> {
        let account = self.account().await?;
        match self.with(&account, address).await {
            // It was forgotten there.
            Err(AcmeError::NoAccount) => {
                self.store.forget_account()?;
                self.with(&self.account().await?, address).await
            }
            obtained => obtained,
        }
    }

    async fn account(&self) -> Result<Account, AcmeError> {
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        if let Some(kept) = self.store.account()? {
            return Ok(builder().from_credentials(kept).await?);
        }
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder().create(&new, self.directory.to_owned(), None).await?;
        self.store.keep_account(&credentials)?;
        Ok(account)
    }

    async fn with(&self, account: &Account, address: IpAddr) -> Result<Certificate, AcmeError> {
        self.store.begin_attempt((self.clock)())?;
        let mut not_seen = Vec::new();
        for way in [Way::Tls, Way::Http] {
            match self.order(account, address, way).await {
                Err(AcmeError::NotSeen(why)) => not_seen.push(why),
                done => return done,
            }
        }
        Err(AcmeError::NotSeen(not_seen.join("; ")))
    }

    async fn order(&self, account: &Account, address: IpAddr, way: Way) -> Result<Certificate, AcmeError> {
        let identifiers = [Identifier::Ip(address)];
        let mut order = NewOrder::new(&identifiers);
        if account.profiles().any(|offered| offered.name == PROFILE) {
            order = order.profile(PROFILE);
        }
        let mut order = account.new_order(&order).await?;
        self.be_seen(&mut order, address, way).await?;
        let unusable = |_| AcmeError::Unusable("no key can be made");
        let key = KeyPair::generate().map_err(unusable)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        let request = params.serialize_request(&key).map_err(unusable)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        let pem = key.serialize_pem() + &chain;
        let certificate = Certificate::read(pem.as_bytes(), pem.as_bytes())
            .map_err(|_| AcmeError::Unusable("the authority's certificate does not fit the key"))?;
        self.store.keep_certificate(pem.as_bytes())?;
        Ok(certificate)
    }

    /// Has the authority see this node at `address`, unless it has lately.
    async fn be_seen(&self, order: &mut Order, address: IpAddr, way: Way) -> Result<(), AcmeError> {
        let mut answers: (Option<TlsAnswer>, Option<HttpAnswer>) = (None, None);
        let (kind, name) = match way {
            Way::Tls => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
            Way::Http => (ChallengeType::Http01, "http-01"),
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                return Err(AcmeError::NotSeen(format!("{name}: it does not look so")));
            };
            let key = challenge.key_authorization();
            match way {
                Way::Tls => {
                    let digest: [u8; 32] = key
                        .digest()
                        .as_ref()
                        .try_into()
                        .map_err(|_| AcmeError::Unusable("no answer can be made"))?;
                    let answer = TlsAnswer::give(self.keys, address, &digest);
                    answers.0 = Some(answer.ok_or(AcmeError::Unusable("no answer can be made"))?);
                }
                Way::Http => {
                    let token = challenge.token.clone();
                    // RFC 8555, 8.1: nothing else is in one.
                    if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                        return Err(AcmeError::NoAnswer("its token is none".to_owned()));
                    }
                    let text = key.as_str().to_owned();
                    let answer =
                        HttpAnswer::give(self.http_port, (&token, text), (self.probes, self.web)).await;
                    let port = self.http_port.1;
                    answers.1 = Some(answer.map_err(|error| {
                        AcmeError::NotSeen(format!("{name}: TCP {port} cannot be listened on: {error}"))
                    })?);
                }
            }
            challenge.set_ready().await?;
        }
        let seen = match order.poll_ready(&PATIENCE).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
            Ok(_) | Err(Error::Api(_)) => Err(AcmeError::NotSeen(format!("{name}: {}", reason(order).await))),
            Err(error) => Err(error.into()),
        };
        drop(answers);
        seen
    }
}

/// Why the authority did not see this node.
async fn reason(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await
            && let Some(error) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
        {
            return detail(error);
        }
    }
    "it gives no reason".to_owned()
}
