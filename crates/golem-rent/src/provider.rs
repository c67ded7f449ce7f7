//! The client of a provider's public API.
//!
//! Owns the bounds on an untrusted peer: time, size, no redirects, and that no answer reaches a terminal with control
//! characters in it. Where rentals are paid by leases it asks with a session's token ([`super::session`]). Never repeats a
//! call that may have done something.

use std::net::IpAddr;
use std::time::Duration;

use alloy_primitives::Address;
use golem_service::http::{self, Answer, HttpError, Method, Options, StatusCode, Url};
use golem_types::wire::{Exact, LatestMetrics, LeaseQuoteInfo, MetricsHistory, QuoteInfo, VmEvents};
use golem_types::{ImageName, Resources, VmId, VmStatus};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Renter;
use super::lease::LeaseWish;
use super::rental::Rental;
use super::session::Session;
use super::shown::shown;
use super::store::StoreError;

/// How long a question may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a stop or a deletion may take: the provider waits for the guest.
const LONG_DEADLINE: Duration = Duration::from_secs(300);

/// Largest answer.
const ANSWER_BYTES: usize = 256 << 10;

/// Why a request to a provider failed.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its address is not a URL.
    #[error("{0:?} is no address of a provider; fix: give one like http://192.0.2.7:7466")]
    Address(String),
    /// It did not answer in time, or not at all.
    #[error("the provider at {url} does not answer{}", source.through())]
    NoAnswer {
        url: String,
        /// Why not.
        #[source]
        source: HttpError,
    },
    /// Its response is not one of a provider.
    #[error("the provider's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// The key cannot sign the session.
    #[error("the wallet's key cannot sign a session")]
    Unsigned,
    /// The session cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It refused.
    #[error("the provider says: {detail} (HTTP {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its error text.
        detail: String,
    },
}

/// A provider.
#[derive(Debug, Clone)]
pub struct Provider {
    http: http::Client,
    base: Url,
    /// Who asks; `None` where a VM's id is the right to use it.
    session: Option<Session>,
}

/// A create that the provider has accepted. What it names has the forms of this implementation, or others.
#[derive(Debug, Deserialize)]
pub struct Accepted {
    vm_id: String,
    job_id: String,
}

/// Most characters of a provider's name for a create.
const JOB_ID: usize = 128;

impl Accepted {
    /// The VM's id, where it has this implementation's form.
    pub fn vm_id(&self) -> Option<VmId> {
        self.vm_id.parse().ok()
    }

    /// What the create is known by; `None` if no path can hold it.
    pub fn job_id(&self) -> Option<String> {
        let fits =
            self.job_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (fits && (1..=JOB_ID).contains(&self.job_id.len())).then(|| self.job_id.clone())
    }
}

/// The stream of a VM.
#[derive(Debug, Deserialize)]
struct Paying {
    stream_id: Exact,
}

/// How far a create is.
#[derive(Debug, Deserialize)]
struct Job {
    status_message: Option<String>,
    progress: Option<u8>,
}

/// The images that a provider has.
#[derive(Debug, Deserialize)]
struct Images {
    images: Vec<Image>,
}

#[derive(Debug, Deserialize)]
struct Image {
    name: ImageName,
    #[serde(default)]
    default: bool,
}

/// The image of a VM whose create names none, where a provider does not say.
const DEFAULT_IMAGE: &str = "24.04";

/// The state of a VM, as the provider says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmStanding {
    pub status: VmStatus,
    /// Why.
    pub error_message: Option<String>,
}

/// How a VM is reached, as the provider says.
#[derive(Debug, Deserialize)]
pub struct Access {
    pub ssh_port: Option<u16>,
    ssh_user: Option<String>,
}

impl Access {
    /// As whom one logs in, if that is the name of a user: nothing that a program could take for an option.
    pub fn ssh_user(&self) -> Option<&str> {
        let user = self.ssh_user.as_deref()?;
        let inside =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        let begins = user.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        (begins && user.len() <= 32 && user.bytes().all(inside)).then_some(user)
    }
}

/// What `answer` says, or why it was refused.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, ProviderError> {
    if answer.status.is_success() {
        return answer.json().map_err(|_| ProviderError::Nonsense("it is not what was asked"));
    }
    let said: Value = answer.json().unwrap_or_default();
    let detail = match &said["detail"] {
        Value::String(text) => shown(text),
        // A list of mistakes, each with its own words.
        Value::Array(mistakes) => {
            let words: Vec<_> = mistakes.iter().filter_map(|mistake| mistake["msg"].as_str()).collect();
            shown(&words.join("; "))
        }
        _ => "nothing more".to_owned(),
    };
    Err(ProviderError::Refused { status: answer.status.as_u16(), detail })
}

impl Provider {
    /// The provider whose API is at `url`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ProviderError::Address`].
    pub fn at(url: &str) -> Result<Self, ProviderError> {
        let wrong = || ProviderError::Address(shown(url));
        let base: Url = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong());
        }
        let http = http::Client::new(Options::within(DEADLINE))
            .map_err(|source| ProviderError::NoAnswer { url: shown(url), source })?;
        Ok(Self { http, base, session: None })
    }

    /// The provider of `rental`, asked as its renter where it is paid by a lease.
    ///
    /// # Errors
    /// [`ProviderError::Address`].
    pub fn of(renter: &Renter<'_>, rental: &Rental) -> Result<Self, ProviderError> {
        let provider = Self::at(&rental.provider_url)?;
        Ok(if rental.lease().is_some() { provider.asked_by(renter, rental.provider_id) } else { provider })
    }

    /// The same, which has to be `id`, asked by the wallet of `renter`.
    #[must_use]
    pub fn asked_by(self, renter: &Renter<'_>, id: Address) -> Self {
        let session = Session::new(renter.store, renter.wallet, id, &self.url());
        Self { session: Some(session), ..self }
    }

    /// Makes sure that there is a session, where one is needed.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn sign_in(&self) -> Result<(), ProviderError> {
        match &self.session {
            Some(session) if session.token().is_none() => self.renew(session).await.map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The token of the last session; `None` where none is needed, or there was none.
    pub(super) fn token(&self) -> Option<String> {
        self.session.as_ref()?.token()
    }

    /// A new token.
    async fn renew(&self, session: &Session) -> Result<String, ProviderError> {
        let body = session.request().ok_or(ProviderError::Unsigned)?;
        let answer = self.send(Method::POST, "/auth/requestor-sessions", Some(&body), None).await?;
        let token = session.accept(&read::<Value>(&answer)?)?;
        token.ok_or(ProviderError::Nonsense("there is no session's token in it"))
    }

    /// The URL of the API of the provider at `address`, on the port that existing clients know.
    pub fn url_of(address: IpAddr) -> String {
        format!("http://{}", std::net::SocketAddr::new(address, 7466))
    }

    /// Its address, as it was given.
    pub fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Answer, ProviderError> {
        let long = path.ends_with("/stop")
            || path.ends_with("/suspend")
            || path.contains("/snapshots")
            || method == Method::DELETE;
        let mut request = self.http.request(method, &format!("{}/api/v1{path}", self.url()));
        if long {
            request = request.within(LONG_DEADLINE);
        }
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send(ANSWER_BYTES).await.map_err(|error| match error {
            HttpError::TooLarge(_) => ProviderError::Nonsense("it is too large"),
            source => ProviderError::NoAnswer { url: shown(&self.url()), source },
        })
    }

    /// Asks, with a session where one is needed; one that the provider does not know any more is opened again.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ProviderError> {
        let Some(session) = &self.session else {
            return read(&self.send(method, path, body, None).await?);
        };
        let token = match session.token() {
            Some(token) => token,
            None => self.renew(session).await?,
        };
        let answer = self.send(method.clone(), path, body, Some(&token)).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return read(&answer);
        }
        let token = self.renew(session).await?;
        read(&self.send(method, path, body, Some(&token)).await?)
    }

    /// Its lease for what `wish` says, on `network` as the operator calls it, if that is given; not yet checked.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn lease(
        &self,
        wish: &LeaseWish,
        network: Option<&str>,
    ) -> Result<LeaseQuoteInfo, ProviderError> {
        let mut body = json!({
            "vm_name": wish.name,
            "image": wish.image,
            "cpu": wish.resources.cpu,
            "memory": wish.resources.memory,
            "storage": wish.resources.storage,
            "duration_seconds": wish.duration,
            "requestor_address": wish.requestor.to_string(),
        });
        if let (Some(network), Some(body)) = (network, body.as_object_mut()) {
            body.insert("network".to_owned(), json!(network));
        }
        self.call(Method::POST, "/payments/lease-quotes", Some(&body)).await
    }

    /// The image that it takes where a create names none; what is usual, where it does not say.
    ///
    /// # Errors
    /// [`ProviderError::NoAnswer`].
    pub async fn default_image(&self) -> Result<ImageName, ProviderError> {
        let usual = || DEFAULT_IMAGE.parse().map_err(|_| ProviderError::Nonsense("no image"));
        match self.call::<Images>(Method::GET, "/images", None).await {
            Ok(Images { images }) => {
                images.into_iter().find(|image| image.default).map_or_else(usual, |image| Ok(image.name))
            }
            Err(error @ ProviderError::NoAnswer { .. }) => Err(error),
            Err(_) => usual(),
        }
    }

    /// How far the create `job` is, in words; `None` if it does not say.
    pub async fn progress(&self, job: &str) -> Option<String> {
        let job: Job = self.call(Method::GET, &format!("/vms/jobs/{job}"), None).await.ok()?;
        let (text, percent) = (shown(&job.status_message?), job.progress?);
        Some(format!("{text} ({percent} %)"))
    }

    /// Its price for `resources`, not yet checked.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn quote(&self, resources: Resources) -> Result<QuoteInfo, ProviderError> {
        self.call(Method::POST, "/quotes", Some(&json!({ "resources": resources }))).await
    }

    /// Creates the VM of `rental`, whose stream is to pay it by the word `proof` of its sender.
    ///
    /// # Errors
    /// [`ProviderError`]; after [`ProviderError::NoAnswer`] it may be granted all the same.
    pub async fn create(&self, rental: &Rental, proof: Option<&str>) -> Result<Accepted, ProviderError> {
        let payment = rental.payment.as_ref();
        // As text, because it may have more digits than a number of JSON is read with.
        let stream = payment.and_then(|payment| payment.stream_id).map(|stream| stream.0.to_string());
        let lease = payment.and_then(|payment| Some((payment.lease?, payment.rate.0.to_string())));
        let mut body = match lease {
            None => json!({ "stream_id": stream, "quote_id": rental.quote_id, "stream_proof": proof }),
            Some((lease, rate)) => json!({
                "payment": {
                    "stream_id": stream,
                    "lease_id": lease.id,
                    "terms_hash": lease.terms_hash,
                    "provider_rate_per_second_wei": rate,
                    "duration_seconds": lease.duration,
                },
            }),
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("name".to_owned(), json!(rental.name));
            body.insert("resources".to_owned(), json!(rental.resources));
            body.insert("ssh_key".to_owned(), json!(rental.ssh_key));
            // What is not wanted is not named: other providers may not know of it.
            if let Some(image) = &rental.image {
                body.insert("image".to_owned(), json!(image));
            }
            if !rental.more_keys.is_empty() {
                body.insert("ssh_keys".to_owned(), json!(rental.more_keys));
            }
            if let serde_json::Value::Object(first_boot) = json!(rental.first_boot) {
                body.extend(first_boot);
            }
        }
        self.call(Method::POST, "/vms?async=true", Some(&body)).await
    }

    /// The VM `id`, or of that name in a session.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn vm(&self, id: &str) -> Result<VmStanding, ProviderError> {
        let seen: VmStanding = self.call(Method::GET, &format!("/vms/{id}"), None).await?;
        let error_message = seen.error_message.as_deref().map(shown);
        Ok(VmStanding { error_message, ..seen })
    }

    /// How the VM `id` is reached.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn access(&self, id: &str) -> Result<Access, ProviderError> {
        self.call(Method::GET, &format!("/vms/{id}/access"), None).await
    }

    /// What the VM `id` uses.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn metrics(&self, id: &str) -> Result<LatestMetrics, ProviderError> {
        self.call(Method::GET, &format!("/vms/{id}/metrics/latest"), None).await
    }

    /// What the VM `id` used in the `range` before now.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn metrics_history(&self, id: &str, range: &str) -> Result<MetricsHistory, ProviderError> {
        self.call(Method::GET, &format!("/vms/{id}/metrics/history?range={range}"), None).await
    }

    /// The last `limit` events of the VM `id`, with others' words as they come.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn events(&self, id: &str, limit: u32) -> Result<VmEvents, ProviderError> {
        self.call(Method::GET, &format!("/vms/{id}/events?limit={limit}"), None).await
    }

    /// Starts, stops, suspends or resumes the VM `id`.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn order(&self, id: &str, order: &'static str) -> Result<VmStanding, ProviderError> {
        self.call(Method::POST, &format!("/vms/{id}/{order}"), None).await
    }

    /// Whether there is a VM `name` of the wallet in the session, and the stream `id` pays it.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn is_paid_by(&self, name: &str, id: Exact) -> Result<bool, ProviderError> {
        match self.call::<Paying>(Method::GET, &format!("/vms/{name}/stream"), None).await {
            Ok(paying) => Ok(paying.stream_id == id),
            Err(ProviderError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes the VM `id`; one that is gone is fine.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn delete(&self, id: &str) -> Result<(), ProviderError> {
        match self.call::<Value>(Method::DELETE, &format!("/vms/{id}"), None).await {
            Ok(_) | Err(ProviderError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a provider says of a login is not more than a user's name.
    #[test]
    fn nothing_that_a_provider_says_becomes_an_option_of_ssh() {
        let user = |text: &str| {
            let access = Access { ssh_port: None, ssh_user: Some(text.to_owned()) };
            access.ssh_user().map(str::to_owned)
        };
        assert_eq!(user("golem").as_deref(), Some("golem"));
        for bad in ["", "-oProxyCommand=x", "a b", "root@x", "A", &"a".repeat(33), "a\n"] {
            assert_eq!(user(bad), None, "{bad:?}");
        }
        let job = |text: &str| Accepted { vm_id: String::new(), job_id: text.to_owned() }.job_id();
        assert_eq!(job("a-1_B").as_deref(), Some("a-1_B"));
        assert_eq!((job(""), job("../../vms"), job(&"a".repeat(129))), (None, None, None));
    }

    #[test]
    fn addresses_are_taken_and_anything_else_is_named() {
        let url = |text: &str| Provider::at(text).map(|provider| provider.url());
        assert_eq!(url("http://192.0.2.7:7466/").unwrap(), "http://192.0.2.7:7466");
        assert_eq!(url("https://rent.example").unwrap(), "https://rent.example");
        assert_eq!(Provider::url_of("2001:db8::1".parse().unwrap()), "http://[2001:db8::1]:7466");
        for bad in ["", "192.0.2.7", "ftp://192.0.2.7", "http://", "file:///etc/passwd", "\x1b[31m"] {
            let error = url(bad).unwrap_err().to_string();
            assert!(!error.contains('\x1b') && error.contains("is no address"), "{error}");
        }
    }
}
