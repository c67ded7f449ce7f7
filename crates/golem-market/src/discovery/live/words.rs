//! The messages of `central-discovery.ws.v1`, read and written.
//!
//! Owns their form, and what a provider signs. Reading is bounded by the socket's largest message; what has fields that
//! are not known is read without them, and a kind of message that is not known is told as such. Never opens a socket.
//!
//! Of the messages to requestors only the kinds are known from upstream: that an upsert has its advert in
//! `advertisement` and a removal its `provider_id` is ours, and what is read may have the advert in `provider`, too.

use std::fmt::Write;

use alloy_primitives::{Address, hex};
use golem_service::web_socket::Utf8Bytes;
use golem_types::visible::line_of;
use golem_types::wallet::{Wallet, signer_of};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::advert::{BadAdvert, LiveAdvert};
use crate::discovery::client::Listed;
use crate::discovery::identity::sign;
use crate::discovery::store::Filter;

/// The protocol's name.
pub const PROTOCOL: &str = "central-discovery.ws.v1";

/// How far a signed time may be from the server's: upstream's.
pub const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// Longest nonce, in bytes.
const NONCE_BYTES: usize = 128;

/// Longest country or processor that a filter names, in bytes.
const FILTER_BYTES: usize = 32;

/// Most characters of a server's error that are kept.
const SHOWN: usize = 200;

/// Why a message is not read.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// It is no JSON object with a `type`.
    #[error("a message has to be a JSON object with a type")]
    NoMessage(#[source] serde_json::Error),
    /// Nobody here knows such a message.
    #[error("a message of type {0:?} is not known here")]
    Unknown(String),
    /// Its fields are not those of its type.
    #[error("a message's fields are not those of its type: {0}")]
    Fields(serde_json::Error),
    /// Its advert is not taken.
    #[error(transparent)]
    Advert(#[from] BadAdvert),
    /// A provider says something before it says who it is.
    #[error("the first message has to be authenticate")]
    Unauthenticated,
    /// A filter has a text that no advert can have.
    #[error("a filter's texts have at most {FILTER_BYTES} characters")]
    Filter,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

fn kind(text: &str) -> Result<String, BadMessage> {
    let Kind { kind } = serde_json::from_str(text).map_err(BadMessage::NoMessage)?;
    Ok(kind)
}

fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, BadMessage> {
    serde_json::from_str(text).map_err(BadMessage::Fields)
}

fn unknown(kind: &str) -> BadMessage {
    BadMessage::Unknown(line_of(kind, 32))
}

/// How a provider proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authenticate {
    /// Its address, as it was signed.
    pub provider_id: String,
    pub nonce: String,
    /// When it was signed (RFC 3339).
    pub timestamp: String,
    pub signature: String,
}

/// Why a proof is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// It answers another server, or another socket of this one.
    #[error("the nonce is not the one of this connection")]
    Nonce,
    /// Its time cannot be read.
    #[error("the timestamp is no time of RFC 3339")]
    NoTime,
    /// It was signed too long ago, or a clock is wrong.
    #[error("the timestamp is {seconds} s from the server's time, {now}; fix: set the clock")]
    Time { seconds: i64, now: Timestamp },
    /// It is not signed by that provider.
    #[error("the signature is not that of provider_id over this nonce and timestamp")]
    Signature,
}

/// What a provider signs, as wallets sign texts for people (EIP-191).
#[must_use]
pub fn signed_text(provider_id: &str, nonce: &str, timestamp: &str) -> String {
    format!("central-discovery-auth:{provider_id}:{nonce}:{timestamp}")
}

impl Authenticate {
    /// The proof of `wallet`'s owner; `None` only for a key that nobody has ever seen.
    #[must_use]
    pub fn sign(wallet: &Wallet, nonce: &str, now: Timestamp) -> Option<Self> {
        let provider_id = wallet.address().to_string();
        // Python's own form of RFC 3339, which every reader knows.
        let timestamp = now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string();
        let signature = sign(wallet, signed_text(&provider_id, nonce, &timestamp).as_bytes())?;
        Some(Self { provider_id, nonce: nonce.to_owned(), timestamp, signature })
    }

    /// The provider that proved itself on the connection that was greeted with `nonce`.
    ///
    /// # Errors
    /// [`BadProof`].
    pub fn verify(&self, nonce: &str, now: Timestamp) -> Result<Address, BadProof> {
        if self.nonce != nonce {
            return Err(BadProof::Nonce);
        }
        let signed: Timestamp = self.timestamp.parse().map_err(|_| BadProof::NoTime)?;
        let seconds = signed.duration_since(now).as_secs();
        if signed.duration_since(now).abs() > CLOCKS {
            return Err(BadProof::Time { seconds, now });
        }
        let digits = self.signature.strip_prefix("0x").unwrap_or(&self.signature);
        let signature: [u8; 65] = hex::decode_to_array(digits).map_err(|_| BadProof::Signature)?;
        let text = signed_text(&self.provider_id, nonce, &self.timestamp);
        let id: Address = self.provider_id.parse().map_err(|_| BadProof::Signature)?;
        if signer_of(text.as_bytes(), &signature) == Some(id) { Ok(id) } else { Err(BadProof::Signature) }
    }
}

/// What a provider says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromProvider {
    /// Who it is.
    Authenticate(Authenticate),
    /// What it offers from now on.
    Upsert(Box<LiveAdvert>),
    /// It offers nothing.
    Remove,
}

impl FromProvider {
    /// The message `text`.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn read(text: &str) -> Result<Self, BadMessage> {
        #[derive(Deserialize)]
        struct Upsert {
            advertisement: LiveAdvert,
        }
        match kind(text)?.as_str() {
            "authenticate" => Ok(Self::Authenticate(fields(text)?)),
            "advertisement.upsert" => {
                let Upsert { advertisement } = fields(text)?;
                Ok(Self::Upsert(Box::new(advertisement.checked()?)))
            }
            "advertisement.remove" => Ok(Self::Remove),
            other => Err(unknown(other)),
        }
    }

    /// The message, as it is sent.
    #[must_use]
    pub fn write(&self) -> Utf8Bytes {
        let message = match self {
            Self::Authenticate(Authenticate { provider_id, nonce, timestamp, signature }) => json!({
                "type": "authenticate", "provider_id": provider_id, "nonce": nonce, "timestamp": timestamp,
                "signature": signature,
            }),
            Self::Upsert(advert) => json!({ "type": "advertisement.upsert", "advertisement": advert }),
            Self::Remove => json!({ "type": "advertisement.remove" }),
        };
        message.to_string().into()
    }
}

/// The filters of the subscription `text`, the only message of a requestor. What a filter does not name does not
/// matter, and a name that is not known neither.
///
/// # Errors
/// [`BadMessage`].
pub fn read_subscription(text: &str) -> Result<Filter, BadMessage> {
    #[derive(Deserialize)]
    struct Subscribe {
        #[serde(default)]
        filters: Option<Filters>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Filters {
        cpu: Option<u32>,
        memory: Option<u32>,
        storage: Option<u32>,
        country: Option<String>,
        platform: Option<String>,
    }
    match kind(text)?.as_str() {
        "subscribe" => {
            let Subscribe { filters } = fields(text)?;
            let Filters { cpu, memory, storage, country, platform } = filters.unwrap_or_default();
            let texts = [&country, &platform];
            if texts.into_iter().flatten().any(|text| text.len() > FILTER_BYTES) {
                return Err(BadMessage::Filter);
            }
            Ok(Filter { cpu, memory, storage, country, platform })
        }
        other => Err(unknown(other)),
    }
}

/// The subscription of a renter who looks for `filter`.
#[must_use]
pub fn subscription(filter: &Filter) -> Utf8Bytes {
    let Filter { cpu, memory, storage, country, platform } = filter;
    let filters = json!({
        "cpu": cpu, "memory": memory, "storage": storage, "country": country, "platform": platform,
    });
    // A server may not know what null means.
    let named = filters.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let named: serde_json::Map<_, _> = named.map(|(name, value)| (name.clone(), value.clone())).collect();
    json!({ "type": "subscribe", "filters": named }).to_string().into()
}

/// What a server says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromServer {
    /// The first message: what is spoken, and what a provider has to sign.
    Hello { protocol: String, nonce: String },
    /// The provider is who it says.
    Authenticated,
    /// The advert is shown.
    Accepted,
    /// No advert is shown.
    Removed,
    /// All adverts that the filters let through. Those that make no sense are left out.
    Snapshot(Vec<Listed>),
    /// An advert is new, or another.
    Upsert(Box<Listed>),
    /// A provider is gone: its id.
    Remove(String),
    /// What it refuses, and why.
    Error(String),
    /// Something else, which does not matter.
    Other,
}

impl FromServer {
    /// The message `text`. One of a kind that is not known is [`FromServer::Other`].
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn read(text: &str) -> Result<Self, BadMessage> {
        #[derive(Deserialize)]
        struct Hello {
            protocol: String,
            nonce: String,
        }
        #[derive(Deserialize)]
        struct Snapshot<'a> {
            #[serde(borrow)]
            advertisements: Vec<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Upsert {
            #[serde(alias = "provider")]
            advertisement: Listed,
        }
        #[derive(Deserialize)]
        struct Remove {
            provider_id: String,
        }
        #[derive(Deserialize)]
        struct Failure {
            #[serde(default, alias = "detail", alias = "error", alias = "reason")]
            message: serde_json::Value,
        }
        match kind(text)?.as_str() {
            "hello" => {
                let Hello { protocol, nonce } = fields(text)?;
                Ok(Self::Hello { protocol, nonce })
            }
            "authenticated" => Ok(Self::Authenticated),
            "advertisement.accepted" => Ok(Self::Accepted),
            "advertisement.removed" => Ok(Self::Removed),
            "snapshot" => {
                let Snapshot { advertisements } = fields(text)?;
                let adverts = advertisements.into_iter();
                let read = adverts.filter_map(|advert| serde_json::from_str::<Listed>(advert.get()).ok());
                Ok(Self::Snapshot(read.map(Listed::cleaned).collect()))
            }
            "provider.upsert" => {
                let Upsert { advertisement } = fields(text)?;
                Ok(Self::Upsert(Box::new(advertisement.cleaned())))
            }
            "provider.remove" => {
                let Remove { provider_id } = fields(text)?;
                Ok(Self::Remove(provider_id))
            }
            "error" => {
                let Failure { message } = fields(text)?;
                let text = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
                Ok(Self::Error(line_of(&text, SHOWN)))
            }
            _ => Ok(Self::Other),
        }
    }
}

/// Whether `nonce` is a text that can be signed as part of the protocol's: no more than a word of one.
#[must_use]
pub fn is_nonce(nonce: &str) -> bool {
    let is_word = nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    is_word && !nonce.is_empty() && nonce.len() <= NONCE_BYTES
}

/// A server's first message.
#[must_use]
pub fn hello(nonce: &str) -> Utf8Bytes {
    json!({ "type": "hello", "protocol": PROTOCOL, "nonce": nonce }).to_string().into()
}

/// A server's answer to a proof.
#[must_use]
pub const fn authenticated() -> Utf8Bytes {
    Utf8Bytes::from_static(r#"{"type":"authenticated"}"#)
}

/// A server's answer to an advert that it shows.
#[must_use]
pub const fn accepted() -> Utf8Bytes {
    Utf8Bytes::from_static(r#"{"type":"advertisement.accepted"}"#)
}

/// A server's answer to a removal.
#[must_use]
pub const fn removed() -> Utf8Bytes {
    Utf8Bytes::from_static(r#"{"type":"advertisement.removed"}"#)
}

/// A server's word that a provider is gone.
#[must_use]
pub fn gone(id: Address) -> Utf8Bytes {
    json!({ "type": "provider.remove", "provider_id": id.to_string() }).to_string().into()
}

/// A server's refusal.
#[must_use]
pub fn failure(code: &str, error: &dyn std::error::Error) -> Utf8Bytes {
    let mut text = String::new();
    // A text takes everything.
    let _ = write!(text, "{error}");
    json!({ "type": "error", "code": code, "message": text }).to_string().into()
}

#[cfg(test)]
mod tests;
