//! The client of a provider's public API.
//!
//! Owns the bounds on an untrusted peer: time, size, and that no answer reaches a terminal with control
//! characters in it. Never repeats a call that may have done something.

use std::net::IpAddr;
use std::time::Duration;

use golem_service::http::{self, HttpError, Method, Options, Url};
use golem_types::wire::QuoteInfo;
use golem_types::{JobId, Resources, VmId, VmState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rental::Rental;

/// How long a question may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a stop or a deletion may take: the provider waits for the guest.
const LONG_DEADLINE: Duration = Duration::from_secs(300);

/// Largest answer.
const ANSWER_BYTES: usize = 256 << 10;

/// Most characters of a provider's error text that are shown.
const SHOWN: usize = 300;

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
}

/// A create that the provider has accepted.
#[derive(Debug, Deserialize)]
pub struct Accepted {
    pub vm_id: VmId,
    pub job_id: JobId,
}

/// The state of a VM, as the provider says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmStatus {
    pub status: VmState,
    /// Why.
    pub error_message: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Access {
    pub ssh_port: Option<u16>,
}

/// The start of `text`, without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
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
        Ok(Self { http, base })
    }

    /// The URL of the API of the provider at `address`, on the port that existing clients know.
    pub fn url_of(address: IpAddr) -> String {
        format!("http://{}", std::net::SocketAddr::new(address, 7466))
    }

    /// Its address, as it was given.
    pub fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ProviderError> {
        let long = path.ends_with("/stop") || method == Method::DELETE;
        let mut request = self.http.request(method, &format!("{}/api/v1{path}", self.url()));
        if long {
            request = request.within(LONG_DEADLINE);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send(ANSWER_BYTES).await.map_err(|error| match error {
            HttpError::TooLarge(_) => ProviderError::Nonsense("it is too large"),
            source => ProviderError::NoAnswer { url: shown(&self.url()), source },
        })?;
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
        let stream = rental.payment.as_ref().and_then(|payment| payment.stream_id);
        let mut body = json!({
            "name": rental.name,
            "resources": rental.resources,
            "ssh_key": rental.ssh_key,
            // As text, because it may have more digits than a number of JSON is read with.
            "stream_id": stream.map(|stream| stream.0.to_string()),
            "quote_id": rental.quote_id,
            "stream_proof": proof,
        });
        if let (Some(image), Some(body)) = (&rental.image, body.as_object_mut()) {
            body.insert("image".to_owned(), json!(image));
        }
        self.call(Method::POST, "/vms?async=true", Some(&body)).await
    }

    /// The VM `id`.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn vm(&self, id: &VmId) -> Result<VmStatus, ProviderError> {
        let seen: VmStatus = self.call(Method::GET, &format!("/vms/{id}"), None).await?;
        let error_message = seen.error_message.as_deref().map(shown);
        Ok(VmStatus { error_message, ..seen })
    }

    /// How the VM `id` is reached.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn access(&self, id: &VmId) -> Result<Access, ProviderError> {
        self.call(Method::GET, &format!("/vms/{id}/access"), None).await
    }

    /// Starts or stops the VM `id`.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn order(&self, id: &VmId, order: &'static str) -> Result<VmStatus, ProviderError> {
        self.call(Method::POST, &format!("/vms/{id}/{order}"), None).await
    }

    /// Deletes the VM `id`; one that is gone is fine.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn delete(&self, id: &VmId) -> Result<(), ProviderError> {
        match self.call::<Value>(Method::DELETE, &format!("/vms/{id}"), None).await {
            Ok(_) | Err(ProviderError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
