//! Rate limits: how many requests a client may send in a minute.
//!
//! Owns token buckets, in bounded memory: one a customer (an IPv4 address, an IPv6 /64) and one a network
//! (a /24, a /48), which has those of [`CUSTOMERS`] customers. Where there are more of either than are
//! remembered, some are forgotten: nobody is refused for the number of others. Never looks at what is
//! asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::HeaderValue;
use golem_types::net::Source;

use super::peer::Peer;

/// Most customers, and most networks, that are remembered; about 1 MB each.
const REMEMBERED: usize = 16_384;

/// Customers of one network that can all ask as often as they may.
pub const CUSTOMERS: u32 = 10;

/// Buckets of tokens.
#[derive(Debug)]
pub struct RateLimit {
    /// Tokens of a customer's full bucket, and how many come in a minute.
    per_minute: u32,
    buckets: Mutex<(Buckets, Buckets)>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

#[derive(Debug, Default)]
struct Buckets(HashMap<IpAddr, Bucket>);

impl Buckets {
    /// The tokens of `group`, of at most `full`, of which as many come in a minute.
    fn tokens(&self, group: IpAddr, full: f64, now: Instant) -> f64 {
        self.0.get(&group).map_or(full, |bucket| filled(bucket, full, now))
    }

    /// Remembers that one of `tokens` is gone.
    fn take(&mut self, group: IpAddr, tokens: f64, full: f64, now: Instant) {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&group) {
            // Whoever has a full bucket loses nothing by being forgotten. If that is not enough, one in
            // eight is, whoever it is: the table's order is by a secret of this process.
            self.0.retain(|_, bucket| filled(bucket, full, now) < full);
            let surplus = self.0.len().saturating_sub(REMEMBERED / 8 * 7);
            let gone: Vec<IpAddr> = self.0.keys().copied().take(surplus).collect();
            for group in gone {
                self.0.remove(&group);
            }
        }
        self.0.insert(group, Bucket { tokens: tokens - 1.0, at: now });
    }
}

fn filled(bucket: &Bucket, full: f64, now: Instant) -> f64 {
    let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
    (bucket.tokens + passed * full / 60.0).min(full)
}

impl RateLimit {
    /// `per_minute` requests a minute and customer; 0 means no limit.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: Mutex::default() }
    }

    /// Takes a token of `address`, or says when there will be one.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let Source { customer, network } = Source::of(address);
        let own = f64::from(self.per_minute);
        let shared = own * f64::from(CUSTOMERS);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (customers, networks) = &mut *buckets;
        let (has, has_shared) = (customers.tokens(customer, own, now), networks.tokens(network, shared, now));
        for (tokens, full) in [(has, own), (has_shared, shared)] {
            if tokens < 1.0 {
                return Err(Duration::from_secs_f64((1.0 - tokens) * 60.0 / full));
            }
        }
        customers.take(customer, has, own, now);
        networks.take(network, has_shared, shared, now);
        Ok(())
    }
}

/// Takes a token of the client of `request`; if there is none, the `Retry-After` value in seconds.
pub fn wait(limit: &RateLimit, request: &Request) -> Option<HeaderValue> {
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
    fn i_06_a_network_has_the_tokens_of_ten_customers() {
        let limit = RateLimit::new(100);
        let now = Instant::now();
        let taken = |addresses: &mut dyn Iterator<Item = String>| {
            addresses.filter(|address| limit.take(address.parse().unwrap(), now).is_ok()).count()
        };
        let prefix = |n: u32| format!("2001:db8:1:{:x}::1", n % 5000);
        assert_eq!(taken(&mut (0..5000).map(prefix)), 1000);
        assert_eq!(taken(&mut (0..5000).map(|n| format!("192.0.2.{}", n % 256))), 1000);
        assert_eq!(taken(&mut (0..5000).map(|n| format!("192.0.{}.1", 3 + n % 100))), 5000);
    }

    #[test]
    fn i_06_a_flood_of_addresses_costs_bounded_memory_and_refuses_nobody_else() {
        let limit = RateLimit::new(100);
        let now = Instant::now();
        for n in 0..100_000_u32 {
            let _ = limit.take(IpAddr::from((n << 8).to_be_bytes()), now);
            if n % 1000 == 0 {
                limit.take("203.0.113.9".parse().unwrap(), now).unwrap();
            }
        }
        let buckets = limit.buckets.lock().unwrap();
        assert!(buckets.0.0.len() <= REMEMBERED && buckets.1.0.len() <= REMEMBERED);
    }

    #[test]
    fn zero_means_no_limit() {
        let limit = RateLimit::new(0);
        let now = Instant::now();
        assert!((0..1000).all(|_| limit.take("192.0.2.1".parse().unwrap(), now).is_ok()));
    }
}
