//! The HTTP client of every part of the node.
//!
//! Owns how an endpoint is asked: through the proxy that the environment names or directly, within a
//! deadline, without following redirects unless told to, and with answers that are read in bounded memory.
//! Never asks twice, and never looks at what an answer says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use golem_types::visible::line_of;
use hyper_util::client::proxy::matcher::Matcher;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use reqwest::{Method, StatusCode, Upgraded, Url, header};

/// What is never asked through a proxy, whatever `NO_PROXY` says: this machine.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1,::ffff:127.0.0.0/104";

/// Most characters of a response body that messages show.
const SHOWN: usize = 200;

/// Why a request got no usable response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No client could be made.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
    /// A variable of the environment names no proxy that can be used.
    #[error("{0} in the environment does not name a proxy (example: http://proxy.example:3128)")]
    ProxyName(&'static str, #[source] reqwest::Error),
    /// It could not be reached, took too long or broke off.
    #[error(transparent)]
    NoAnswer(Unanswered),
    /// The proxy did not get through, or wants to know who asks.
    #[error("the proxy {proxy} answers with HTTP status {status}")]
    Proxy {
        /// The proxy.
        proxy: HttpProxy,
        /// 407, 502 or 504.
        status: StatusCode,
    },
    /// There is more than was asked for.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl HttpError {
    /// Whether no connection was made, so that nothing was asked.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::NoAnswer(unanswered) if unanswered.error.is_connect())
    }

    /// For a sentence on an endpoint that does not answer: empty, or ` through the proxy …`.
    #[must_use]
    pub fn through(&self) -> String {
        match self {
            Self::NoAnswer(unanswered) => through(unanswered.proxy.as_ref()),
            Self::Proxy { proxy, .. } => through(Some(proxy)),
            Self::Client(_) | Self::ProxyName(..) | Self::TooLarge(_) => String::new(),
        }
    }
}

/// How an exchange failed, in the words of the one who tried, and through which proxy. The endpoint's own address,
/// which may hold a key, is not part of it.
#[derive(Debug)]
pub struct Unanswered {
    proxy: Option<HttpProxy>,
    error: reqwest::Error,
}

impl Unanswered {
    fn of(error: reqwest::Error, proxy: Option<HttpProxy>) -> HttpError {
        HttpError::NoAnswer(Self { proxy, error: error.without_url() })
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.error, through(self.proxy.as_ref()))
    }
}

impl std::error::Error for Unanswered {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

fn through(proxy: Option<&HttpProxy>) -> String {
    proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"))
}

/// A proxy, as messages name it: its address without user and password, and the variable that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProxy {
    address: String,
    variable: &'static str,
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.address, self.variable)
    }
}

/// The proxies that the environment names, as curl reads it, except that loopback is always asked directly.
#[derive(Debug, Default)]
struct Proxies {
    matcher: Option<Matcher>,
    http: Option<Named>,
    https: Option<Named>,
    no: String,
}

#[derive(Debug, Clone)]
struct Named {
    variable: &'static str,
    value: String,
}

impl Proxies {
    fn read(environment: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = environment(name).filter(|value| !value.trim().is_empty())?;
                Some(Named { variable: name, value: value.trim().to_owned() })
            })
        };
        let all = first(&["ALL_PROXY", "all_proxy"]);
        // In a CGI program HTTP_PROXY is what a client's header says.
        let http = if environment("REQUEST_METHOD").is_some() {
            first(&["http_proxy"])
        } else {
            first(&["HTTP_PROXY", "http_proxy"])
        };
        let http = http.or_else(|| all.clone());
        let https = first(&["HTTPS_PROXY", "https_proxy"]).or(all);
        let no = match first(&["NO_PROXY", "no_proxy"]) {
            Some(named) => format!("{},{LOOPBACK}", named.value),
            None => LOOPBACK.to_owned(),
        };
        let value = |named: &Option<Named>| named.as_ref().map_or("", |named| &named.value).to_owned();
        let matcher = Matcher::builder().http(value(&http)).https(value(&https)).no(no.as_str()).build();
        Self { matcher: Some(matcher), http, https, no }
    }

    /// Has `builder` use them.
    fn apply(&self, builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, HttpError> {
        // What reqwest would read from the environment by itself knows nothing of loopback.
        let mut builder = builder.no_proxy();
        for (named, is_https) in [(&self.http, false), (&self.https, true)] {
            let Some(Named { variable, value }) = named else { continue };
            let proxy = if is_https { reqwest::Proxy::https(value) } else { reqwest::Proxy::http(value) };
            let proxy = proxy.map_err(|error| HttpError::ProxyName(variable, error.without_url()))?;
            builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&self.no)));
        }
        Ok(builder)
    }

    /// The proxy through which `url` is asked.
    fn of(&self, url: &str) -> Option<HttpProxy> {
        let way = self.matcher.as_ref()?.intercept(&url.parse().ok()?)?;
        let named = if url.starts_with("https:") { &self.https } else { &self.http };
        let host = way.uri().authority()?.as_str().rsplit('@').next()?.to_owned();
        let address = format!("{}://{host}", way.uri().scheme_str().unwrap_or("http"));
        Some(HttpProxy { address, variable: named.as_ref()?.variable })
    }
}

/// The limits of a client, and how it connects.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Longest that an exchange may take, its answer included; `None` for a download of any length.
    pub deadline: Option<Duration>,
    /// Longest that a connection may take to be made.
    pub connect: Duration,
    /// Longest that a connection may then be silent; `None` where `deadline` is enough.
    pub silence: Option<Duration>,
    /// Goes to the endpoint itself, whatever proxies the environment names: for an endpoint that has to see
    /// this machine's own address.
    pub is_direct: bool,
    /// Goes where the endpoint says; from TLS only to TLS. What answers elsewhere was not configured by the
    /// operator, so that only files with a checksum are fetched so.
    pub follows_redirects: bool,
    /// The address of this machine to ask from; `None` for whichever the route has.
    pub from: Option<IpAddr>,
}

impl Options {
    /// An exchange of at most `deadline`, with no redirects.
    #[must_use]
    pub const fn within(deadline: Duration) -> Self {
        Self {
            deadline: Some(deadline),
            connect: deadline,
            silence: None,
            is_direct: false,
            follows_redirects: false,
            from: None,
        }
    }
}

/// A client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    proxies: Arc<Proxies>,
}

impl Client {
    /// A client that asks as `options` say.
    ///
    /// # Errors
    /// [`HttpError::Client`], [`HttpError::ProxyName`].
    pub fn new(options: Options) -> Result<Self, HttpError> {
        Self::with(options, |name| std::env::var(name).ok(), |builder| builder)
    }

    /// A client that reaches `host` at `addresses` only, and asks no proxy: for a caller who has checked them.
    ///
    /// # Errors
    /// [`HttpError::Client`].
    pub fn of_addresses(host: &str, addresses: &[SocketAddr], options: Options) -> Result<Self, HttpError> {
        let options = Options { is_direct: true, ..options };
        Self::with(options, |_| None, |builder| builder.resolve_to_addrs(host, addresses))
    }

    /// A client of what listens on the Unix socket `path`, whatever address a request names.
    ///
    /// # Errors
    /// [`HttpError::Client`].
    pub fn of_socket(path: &Path, options: Options) -> Result<Self, HttpError> {
        Self::with(Options { is_direct: true, ..options }, |_| None, |builder| builder.unix_socket(path))
    }

    fn with(
        options: Options,
        environment: impl Fn(&str) -> Option<String>,
        way: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, HttpError> {
        let proxies = if options.is_direct { Proxies::default() } else { Proxies::read(environment) };
        install_cryptography();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(options.connect)
            .local_address(options.from)
            .redirect(redirects(options.follows_redirects));
        builder = way(builder);
        if let Some(deadline) = options.deadline {
            builder = builder.timeout(deadline);
        }
        if let Some(silence) = options.silence {
            builder = builder.read_timeout(silence);
        }
        let http = proxies.apply(builder)?.build().map_err(|error| HttpError::Client(error.without_url()))?;
        Ok(Self { http, proxies: Arc::new(proxies) })
    }

    /// A request to `url`, not yet sent.
    pub fn request(&self, method: Method, url: &str) -> Request {
        Request { builder: self.http.request(method, url), proxy: self.proxies.of(url) }
    }

    /// A GET request.
    pub fn get(&self, url: &str) -> Request {
        self.request(Method::GET, url)
    }

    /// A POST request.
    pub fn post(&self, url: &str) -> Request {
        self.request(Method::POST, url)
    }
}

fn redirects(follows: bool) -> reqwest::redirect::Policy {
    if !follows {
        return reqwest::redirect::Policy::none();
    }
    reqwest::redirect::Policy::custom(|attempt| {
        let was_safe = attempt.previous().iter().any(|url| url.scheme() == "https");
        if was_safe && attempt.url().scheme() != "https" {
            return attempt.error("it leads away from TLS");
        }
        reqwest::redirect::Policy::default().redirect(attempt)
    })
}

/// Has the process use the cryptography that [`Client`] uses for TLS. Only those need it who make a client of
/// `reqwest` of their own.
pub fn install_cryptography() {
    // An error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A request.
#[derive(Debug)]
#[must_use]
pub struct Request {
    builder: reqwest::RequestBuilder,
    proxy: Option<HttpProxy>,
}

impl Request {
    /// With `value` as the header `name`.
    pub fn header(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        Self { builder: self.builder.header(name.as_ref(), value.as_ref()), ..self }
    }

    /// With `body` as JSON.
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Self {
        Self { builder: self.builder.json(body), ..self }
    }

    /// With `bytes` as the body.
    pub fn body(self, bytes: Vec<u8>) -> Self {
        Self { builder: self.builder.body(bytes), ..self }
    }

    /// With another deadline than the client's.
    pub fn within(self, deadline: Duration) -> Self {
        Self { builder: self.builder.timeout(deadline), ..self }
    }

    /// Sends it, and reads an answer of at most `most` bytes, whatever its status.
    ///
    /// # Errors
    /// [`HttpError::NoAnswer`], [`HttpError::Proxy`], [`HttpError::TooLarge`]; the rest of an answer that is too
    /// large is not read.
    pub async fn send(self, most: usize) -> Result<Answer, HttpError> {
        let mut response = self.open().await?;
        let mut bytes = Vec::new();
        while let Some(part) = response.part().await? {
            if bytes.len() + part.len() > most {
                return Err(HttpError::TooLarge(most));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(Answer {
            status: response.status(),
            from: response.inner.remote_addr(),
            headers: std::mem::take(response.inner.headers_mut()),
            bytes,
        })
    }

    /// Sends it, and reads no more than the head of the answer.
    ///
    /// # Errors
    /// [`HttpError::NoAnswer`], [`HttpError::Proxy`].
    pub async fn open(self) -> Result<Response, HttpError> {
        let Self { builder, proxy } = self;
        let inner = match builder.send().await {
            Ok(inner) => inner,
            Err(error) => return Err(Unanswered::of(error, proxy)),
        };
        // Without TLS it is the proxy itself that says it cannot reach the endpoint.
        let of_a_proxy = matches!(
            inner.status(),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
        );
        match proxy {
            Some(proxy) if of_a_proxy => Err(HttpError::Proxy { proxy, status: inner.status() }),
            proxy => Ok(Response { inner, proxy }),
        }
    }
}

/// An answer whose body is read part by part.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    proxy: Option<HttpProxy>,
}

impl Response {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &header::HeaderMap {
        self.inner.headers()
    }

    /// How many bytes its body has, where the server says so.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.inner.content_length()
    }

    /// The connection, which from now on speaks what the server agreed to.
    ///
    /// # Errors
    /// [`HttpError::NoAnswer`].
    pub async fn upgrade(self) -> Result<Upgraded, HttpError> {
        self.inner.upgrade().await.map_err(|error| Unanswered::of(error, self.proxy))
    }

    /// The next bytes of its body; `None` at the end.
    ///
    /// # Errors
    /// [`HttpError::NoAnswer`].
    pub async fn part(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        match self.inner.chunk().await {
            Ok(part) => Ok(part.map(Vec::from)),
            Err(error) => Err(Unanswered::of(error, self.proxy.clone())),
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Who gave it; a proxy, where one was asked.
    pub from: Option<SocketAddr>,
    /// Its headers.
    pub headers: header::HeaderMap,
    /// Its body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Its body read as JSON.
    ///
    /// # Errors
    /// When it is none, or another document than was expected.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }

    /// The beginning of its body, as text that a log and a terminal can show.
    #[must_use]
    pub fn beginning(&self) -> String {
        beginning(&self.bytes)
    }
}

/// The beginning of `bytes`, as text that a log and a terminal can show.
#[must_use]
pub fn beginning(bytes: &[u8]) -> String {
    line_of(&String::from_utf8_lossy(bytes), SHOWN)
}

#[cfg(test)]
mod tests;
