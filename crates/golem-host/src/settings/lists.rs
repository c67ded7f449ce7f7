//! The settings that are lists, and how each is read from text.
//!
//! Owns where one ends and the next begins. Never reads a single value: `value` does.

use super::value::{Advertiser, Url, Value, WebSocketUrl};

/// The parts of `text`, which commas separate; the original's documentation writes a list as JSON.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let list = inside.unwrap_or(text).trim().trim_end_matches(',');
    list.split(',').map(|part| part.trim().trim_matches('"'))
}

/// Where several HTTP services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls(pub Vec<String>);

impl Value for Urls {
    fn expects() -> String {
        "addresses that begin with http:// or https://, separated by commas".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        parts(text).map(|part| Url::read(part).map(|url| url.0)).collect::<Option<_>>().map(Self)
    }
}

/// Where several WebSocket services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketUrls(pub Vec<String>);

impl Value for WebSocketUrls {
    fn expects() -> String {
        "addresses that begin with ws:// or wss://, separated by commas".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let mut urls: Vec<String> =
            parts(text).map(|part| WebSocketUrl::read(part).map(|url| url.0)).collect::<Option<_>>()?;
        // A second connection to one server would end the first.
        let mut seen = std::collections::BTreeSet::new();
        urls.retain(|url| seen.insert(url.clone()));
        Some(Self(urls))
    }
}

/// The markets in which the node offers itself; none, if that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisers(pub Vec<Advertiser>);

impl Value for Advertisers {
    fn expects() -> String {
        "any of `websocket`, `arkiv`, `http`, separated by commas, or `none`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("none") {
            return Some(Self(Vec::new()));
        }
        parts(text).map(Advertiser::read).collect::<Option<_>>().map(Self)
    }
}
