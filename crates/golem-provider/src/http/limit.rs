//! How often one peer may ask.
//!
//! Owns a token bucket per peer address, in bounded memory. An IPv6 peer counts by its /64, which
//! is what one customer gets. Never looks at what is asked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::HeaderValue;

use super::serve::Peer;

/// Most peers that are remembered; 16 bytes of address and 16 of state each, about 1 MB in all.
const PEERS: usize = 16_384;

/// Least time between two walks over all peers: a flood of new addresses costs no more.
const SWEEP: Duration = Duration::from_secs(1);

/// Buckets of tokens, one a peer.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Tokens of a full bucket, and how many come in a minute.
    per_minute: u32,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_peer: HashMap<IpAddr, Bucket>,
    /// When full buckets were last looked for; that takes a walk over all.
    swept: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The network that counts as one peer with `address`.
pub(crate) fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

impl RateLimit {
    /// `per_minute` requests a minute and peer; 0 means no limit.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Mutex::default() }
    }

    /// Takes a token of `address`, or says when there will be one.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let full = f64::from(self.per_minute);
        let a_second = full / 60.0;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |bucket: &Bucket| {
            (bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * a_second).min(full)
        };
        if buckets.by_peer.len() >= PEERS && !buckets.by_peer.contains_key(&peer(address)) {
            if buckets.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP) {
                // Whoever has a full bucket loses nothing by being forgotten.
                buckets.by_peer.retain(|_, bucket| filled(bucket) < full);
                buckets.swept = Some(now);
            }
            if buckets.by_peer.len() >= PEERS {
                return Err(SWEEP);
            }
        }
        let bucket = buckets.by_peer.entry(peer(address)).or_insert(Bucket { tokens: full, at: now });
        let tokens = filled(bucket);
        bucket.at = now;
        bucket.tokens = tokens;
        if tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - tokens) / a_second))
    }
}

/// Takes a token of who sent `request`; else gives after how many seconds there is one.
pub(crate) fn wait(limit: &RateLimit, request: &Request) -> Option<HeaderValue> {
    let Peer(address) = request.extensions().get::<Peer>().copied()?;
    let wait = limit.take(address, Instant::now()).err()?;
    Some(HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_248_the_101st_request_in_a_minute_is_refused_until_a_token_comes() {
        let limit = RateLimit::new(100);
        let now = Instant::now();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..100 {
            limit.take(one, now).unwrap();
        }
        let wait = limit.take(one, now).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(600), "{wait:?}");
        limit.take("192.0.2.2".parse().unwrap(), now).unwrap();
        limit.take(one, now + wait).unwrap();
        assert!(limit.take(one, now + wait).is_err());
        for _ in 0..100 {
            limit.take(one, now + Duration::from_secs(120)).unwrap();
        }
    }

    #[test]
    fn s_248_one_customers_ipv6_network_is_one_peer() {
        let limit = RateLimit::new(1);
        let now = Instant::now();
        limit.take("2001:db8::1".parse().unwrap(), now).unwrap();
        assert!(limit.take("2001:db8::2".parse().unwrap(), now).is_err());
        limit.take("2001:db8:0:1::1".parse().unwrap(), now).unwrap();
        limit.take("::ffff:192.0.2.1".parse().unwrap(), now).unwrap();
        assert!(limit.take("192.0.2.1".parse().unwrap(), now).is_err());
    }

    #[test]
    fn a_flood_of_addresses_costs_bounded_memory() {
        let limit = RateLimit::new(100);
        let now = Instant::now();
        for n in 0..100_000_u32 {
            let _ = limit.take(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(limit.buckets.lock().unwrap().by_peer.len(), PEERS);
        let later = now + Duration::from_secs(60);
        limit.take("192.0.2.1".parse().unwrap(), later).unwrap();
        assert_eq!(limit.buckets.lock().unwrap().by_peer.len(), 1);
    }

    #[test]
    fn zero_means_no_limit() {
        let limit = RateLimit::new(0);
        let now = Instant::now();
        assert!((0..1000).all(|_| limit.take("192.0.2.1".parse().unwrap(), now).is_ok()));
    }
}
