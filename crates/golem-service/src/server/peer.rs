//! The client's address.
//!
//! Owns the address that a request is counted to. Behind a reverse proxy that the operator trusts this
//! is what the proxy says; such headers from anybody else are ignored, because any client can write them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, Request, header};
use golem_types::net::Source;
use ipnet::IpNet;

/// Most steps of a request's way that are looked at, from its end.
const STEPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that a request is counted to.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// Whom `request` is counted to; `None` where nobody noted from where it came.
    #[must_use]
    pub fn source_of<B>(request: &Request<B>) -> Option<Source> {
        request.extensions().get::<Self>().map(|Self(address)| Source::of(*address))
    }
}

/// The reverse proxies whose forwarding headers are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Reads addresses and networks (`192.0.2.1`, `10.0.0.0/8`, `fd00::/8`) that commas separate;
    /// `None` if one is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let networks = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let address = part.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
            address.ok().or_else(|| part.parse().ok())
        });
        networks.collect::<Option<Vec<_>>>().map(|networks| Self(networks.into()))
    }

    /// Whether `address` is that of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request with `headers` that came from `address`: of the way that its headers
    /// tell, the last step that is no trusted proxy. The proxy itself, if they tell none, or what it
    /// tells cannot be understood.
    pub fn client(&self, address: IpAddr, headers: &HeaderMap) -> Peer {
        let address = address.to_canonical();
        if !self.contains(address) {
            return Peer(address);
        }
        let told = [way(headers, &X_FORWARDED_FOR, from_list), way(headers, &header::FORWARDED, from_pairs)];
        let client = match told {
            [None, None] => None,
            [Some(way), None] | [None, Some(way)] => self.last_stranger(way),
            // A proxy writes one of them; the other may be the client's own.
            [Some(one), Some(other)] => {
                self.last_stranger(one).filter(|client| self.last_stranger(other) == Some(*client))
            }
        };
        Peer(client.unwrap_or(address))
    }

    fn last_stranger(&self, way: Vec<Option<IpAddr>>) -> Option<IpAddr> {
        let mut first = None;
        for step in way {
            let step = step?;
            if !self.contains(step) {
                return Some(step);
            }
            first = Some(step);
        }
        first
    }
}

/// The way that the headers `name` tell, its end first; `None` if there is none.
fn way(
    headers: &HeaderMap,
    name: &HeaderName,
    address: fn(&str) -> Option<IpAddr>,
) -> Option<Vec<Option<IpAddr>>> {
    let mut lines: Vec<_> = headers.get_all(name).iter().collect();
    lines.reverse();
    let steps = lines.into_iter().flat_map(|line| match line.to_str() {
        Ok(line) => line.rsplit(',').map(address).collect::<Vec<_>>(),
        Err(_) => vec![None],
    });
    let steps: Vec<_> = steps.take(STEPS).collect();
    (!steps.is_empty()).then_some(steps)
}

/// A step of `X-Forwarded-For`: an address, maybe with a port.
fn from_list(step: &str) -> Option<IpAddr> {
    let step = step.trim();
    let bracketed = step.strip_prefix('[').and_then(|step| step.strip_suffix(']'));
    let address = bracketed.unwrap_or(step).parse::<IpAddr>().ok();
    let address = address.or_else(|| step.parse::<SocketAddr>().ok().map(|step| step.ip()))?;
    Some(address.to_canonical())
}

/// A step of `Forwarded` (RFC 7239): pairs, of which `for` has the address.
fn from_pairs(step: &str) -> Option<IpAddr> {
    let value = step.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    from_list(quoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(from: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted = TrustedProxies::parse("10.0.0.0/8, 192.0.2.1, fd00::/8").unwrap();
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        trusted.client(from.parse().unwrap(), &headers).0.to_string()
    }

    #[test]
    fn i_18_the_last_stranger_on_the_way_counts_and_only_a_trusted_proxy_tells_the_way() {
        let told = |line| client("10.0.0.1", &[("x-forwarded-for", line)]);
        assert_eq!(told("203.0.113.9"), "203.0.113.9");
        assert_eq!(told("203.0.113.9:4711"), "203.0.113.9");
        assert_eq!(
            told("1.1.1.1, 203.0.113.9 ,10.2.3.4"),
            "203.0.113.9",
            "what the client wrote is left of it"
        );
        assert_eq!(told("10.9.9.9, 10.2.3.4"), "10.9.9.9");
        assert_eq!(told("2001:db8::1"), "2001:db8::1");
        assert_eq!(told("[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(told("::ffff:203.0.113.9"), "203.0.113.9");
        let twice = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(client("::ffff:192.0.2.1", &twice), "203.0.113.9");
        // A stranger's word.
        assert_eq!(client("203.0.113.7", &twice), "203.0.113.7");
        for nonsense in
            ["", "unknown", "203.0.113.9, _hidden", "203.0.113.9, ä", "1.2.3", ",,", "203.0.113.9,"]
        {
            assert_eq!(told(nonsense), "10.0.0.1", "{nonsense:?}");
        }
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn i_18_the_standard_header_is_read_and_of_two_that_differ_none_is_believed() {
        let told = |line| client("10.0.0.1", &[("forwarded", line)]);
        assert_eq!(told("for=203.0.113.9;proto=https;by=10.0.0.1"), "203.0.113.9");
        assert_eq!(told("For=\"[2001:db8::1]:4711\", for=10.1.1.1"), "2001:db8::1");
        assert_eq!(told("for=203.0.113.9, for=unknown"), "10.0.0.1");
        assert_eq!(told("proto=https"), "10.0.0.1");
        let both =
            |other| client("10.0.0.1", &[("forwarded", "for=203.0.113.9"), ("x-forwarded-for", other)]);
        assert_eq!(both("203.0.113.9"), "203.0.113.9");
        assert_eq!(both("198.51.100.1"), "10.0.0.1");
    }

    #[test]
    fn lists_of_proxies_are_read() {
        for good in ["", "127.0.0.1", "::1,10.0.0.0/8", " 192.0.2.1 , fd00::/8,"] {
            assert!(TrustedProxies::parse(good).is_some(), "{good}");
        }
        for bad in ["localhost", "10.0.0.0/33", "10.0.0", "127.0.0.1 ::1"] {
            assert_eq!(TrustedProxies::parse(bad), None, "{bad}");
        }
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn i_18_no_header_makes_a_stranger_another(line in "[ -~]{0,80}") {
            let lines = [("x-forwarded-for", line.as_str()), ("forwarded", line.as_str())];
            prop_assert_eq!(client("203.0.113.7", &lines), "203.0.113.7");
            client("10.0.0.1", &lines[..1]);
        }
    }
}
