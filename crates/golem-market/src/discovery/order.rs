//! In which order adverts are shown, and which gives way when there is no room.
//!
//! ```text
//!   within their source's quota:  signed ─► unsigned ─► beyond it, the first of each customer: signed ─►
//!   unsigned ─► the second of each: …                                              (each by chance)
//! ```
//!
//! Owns the quotas, and an order that nobody can choose: among equals it follows from a secret of the
//! process, and is another every ten minutes. Nobody is refused for being many, only shown last: what a
//! client of the original reads, one page, has room for everybody who is not. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use golem_types::net::Source;
use jiff::Timestamp;

/// How long an order stays, in seconds.
const ROTATION_SECONDS: i64 = 600;

/// Unsigned adverts that count as one source's: of a customer (the original's clients know no port, so a
/// second node behind one address is rare), of a network, of a region. Of signed ones twice as many do.
const QUOTAS: [usize; 3] = [8, 32, 128];

/// What of an advert decides about its place.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) signed: bool,
    /// Who posted it; `None` if that is not known.
    pub(crate) source: Option<Source>,
    /// Whether the reader wants it.
    pub(crate) fits: bool,
}

/// A place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// 0 within the quota; beyond it, how many of its customer come before it, and one.
    band: usize,
    unsigned: bool,
    lot: u64,
}

/// Where a page ends, as its reader gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    rotation: i64,
    place: Place,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { band, unsigned, lot } = self.place;
        write!(formatter, "{}-{band}-{}-{lot:x}", self.rotation, u8::from(unsigned))
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, '-');
        let mut part = || parts.next().ok_or(());
        let rotation = part()?.parse().map_err(drop)?;
        let band = part()?.parse().map_err(drop)?;
        let unsigned = match part()? {
            "0" => false,
            "1" => true,
            _ => return Err(()),
        };
        let lot = u64::from_str_radix(part()?, 16).map_err(drop)?;
        Ok(Self { rotation, place: Place { band, unsigned, lot } })
    }
}

/// The order of this process.
#[derive(Debug, Default)]
pub(crate) struct Order {
    secret: RandomState,
}

impl Order {
    /// `candidates` in their order, as at `now` or as the page that `after` ends was.
    fn ordered(&self, candidates: Vec<Candidate>, rotation: i64) -> Vec<(Place, Candidate)> {
        let lots = candidates.into_iter().map(|candidate| {
            let lot = self.secret.hash_one((rotation, &candidate.id));
            (0, lot, candidate)
        });
        let mut list: Vec<(usize, u64, Candidate)> = lots.collect();
        let mut of_customer = vec![0; list.len()];
        let mut beyond = vec![false; list.len()];
        // By customer first, so that a customer with few has its share of a network that has too many.
        let groups: [fn(&Source) -> std::net::IpAddr; 3] =
            [|source| source.customer, |source| source.network, Source::region];
        for (level, (quota, group)) in QUOTAS.into_iter().zip(groups).enumerate() {
            let mut order: Vec<usize> = (0..list.len()).collect();
            order.sort_unstable_by_key(|at| (list[*at].0, list[*at].1));
            let mut counts = HashMap::new();
            for at in order {
                let (rank, _, candidate) = &mut list[at];
                let Some(source) = &candidate.source else { continue };
                let count = counts.entry((group(source), candidate.signed)).or_insert(0_usize);
                *rank = *count;
                *count += 1;
                if level == 0 {
                    of_customer[at] = *rank;
                }
                beyond[at] |= *rank >= quota * if candidate.signed { 2 } else { 1 };
            }
        }
        let mut placed: Vec<_> = list
            .into_iter()
            .zip(beyond.into_iter().zip(of_customer))
            .map(|((_, lot, candidate), (beyond, rank))| {
                let band = if beyond { rank + 1 } else { 0 };
                (Place { band, unsigned: !candidate.signed, lot }, candidate)
            })
            .collect();
        placed.sort_unstable_by_key(|(place, _)| *place);
        placed
    }

    /// The ids of at most `limit` of the `candidates` that fit, after the page that `after` ends, and where
    /// this page ends if there are more.
    pub(crate) fn page(
        &self,
        candidates: Vec<Candidate>,
        after: Option<Cursor>,
        limit: usize,
        now: Timestamp,
    ) -> (Vec<String>, Option<Cursor>) {
        let rotation = after.map_or(now.as_second() / ROTATION_SECONDS, |cursor| cursor.rotation);
        let ordered = self.ordered(candidates, rotation).into_iter();
        let mut left = ordered
            .filter(|(place, candidate)| candidate.fits && after.is_none_or(|cursor| *place > cursor.place));
        let page: Vec<_> = left.by_ref().take(limit).collect();
        let end = page.last().map(|(place, _)| Cursor { rotation, place: *place });
        let end = end.filter(|_| left.next().is_some());
        (page.into_iter().map(|(_, candidate)| candidate.id).collect(), end)
    }

    /// Which of the `candidates` gives way: one that is beyond its source's quota, unsigned before signed,
    /// else an unsigned one for the sake of a signed `newcomer`. `None` if the newcomer, which is among
    /// them, has no better right than any other.
    pub(crate) fn gives_way(
        &self,
        candidates: Vec<Candidate>,
        newcomer: &str,
        now: Timestamp,
    ) -> Option<String> {
        let ordered = self.ordered(candidates, now.as_second() / ROTATION_SECONDS);
        let (own, _) = ordered.iter().find(|(_, candidate)| candidate.id == newcomer)?;
        let right = |place: &Place| (place.band > 0, place.unsigned);
        let (place, last) = ordered.last()?;
        (right(place) > right(own)).then(|| last.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: impl Into<String>, signed: bool, source: &str) -> Candidate {
        let source = source.parse().ok().map(Source::of);
        Candidate { id: id.into(), signed, source, fits: true }
    }

    /// Adverts of strangers, from `addresses` addresses in `networks` networks.
    fn flood(count: usize, addresses: usize, networks: usize, signed: bool) -> Vec<Candidate> {
        let source = |n: usize| format!("198.{}.{}.{}", n % networks, n % networks, n % addresses / networks);
        (0..count).map(|n| candidate(format!("0-{n}"), signed, &source(n))).collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn i_07_a_flood_leaves_room_for_the_honest_on_the_first_page_whatever_their_ids() {
        for signed in [false, true] {
            for (count, addresses, networks) in
                [(1100, 13, 13), (1100, 13, 1), (5000, 200, 1), (9000, 60, 60)]
            {
                let mut all = flood(count, addresses, networks, signed);
                let (unsigned, proven) =
                    (candidate("zz", false, "203.0.113.9"), candidate("zzz", true, "203.0.113.8"));
                // Not even who shares a network with them is lost.
                let neighbour = candidate("z", signed, "198.0.0.250");
                all.extend([unsigned, proven, neighbour]);
                let order = Order::default();
                let (page, _) = order.page(all, None, 1000, at(0));
                for honest in ["zz", "zzz", "z"] {
                    let found = page.iter().any(|id| id == honest);
                    // Sixty networks of nothing but signed lies are beyond what quotas can hold off unsigned ones.
                    assert!(
                        found || (networks == 60 && honest != "zzz"),
                        "{honest} of {count} {addresses} {networks} {signed}"
                    );
                }
            }
        }
    }

    #[test]
    fn signed_adverts_come_first_and_the_rest_by_chance_that_turns() {
        let order = Order::default();
        let mut all: Vec<_> =
            (0..20).map(|n| candidate(format!("u{n:02}"), false, &format!("192.{n}.2.1"))).collect();
        all.extend((0..20).map(|n| candidate(format!("s{n:02}"), true, &format!("192.{n}.2.1"))));
        all.push(candidate("unknown", false, ""));
        let ids = |order: &Order, seconds| order.page(all.clone(), None, 100, at(seconds)).0;
        let first = ids(&order, 0);
        assert!(first[..20].iter().all(|id| id.starts_with('s')), "{first:?}");
        assert_eq!(ids(&order, 1), first);
        assert_ne!(ids(&order, ROTATION_SECONDS), first);
        assert_ne!(ids(&Order::default(), 0), first, "another process has another order");
    }

    #[test]
    fn pages_follow_one_another_and_show_each_advert_once() {
        let order = Order::default();
        let all = flood(250, 40, 4, false);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            // A rotation in the midst of it changes nothing.
            let (page, end) = order.page(all.clone(), after, 40, at(seen.len() as i64 * 60));
            seen.extend(page);
            let Some(end) = end else { break };
            after = Some(end.to_string().parse().unwrap());
        }
        assert_eq!(seen.len(), 250);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 250);
        for bad in ["", "p1", "1-0-0", "1-0-2-a", "1-0-0-g", "a-0-0-1", "1-0-0-1-1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn i_07_where_there_is_no_room_the_greedy_unsigned_give_way_first() {
        let order = Order::default();
        let mut all = flood(500, 13, 13, false);
        all.extend(
            flood(500, 13, 13, true).into_iter().map(|one| Candidate { id: format!("s{}", one.id), ..one }),
        );
        let gone = |all: &[Candidate], newcomer: Candidate| {
            let mut all = all.to_vec();
            let id = newcomer.id.clone();
            all.push(newcomer);
            order.gives_way(all, &id, at(0))
        };
        assert!(gone(&all, candidate("z", false, "203.0.113.9")).unwrap().starts_with("0-"));
        assert!(gone(&all, candidate("z", true, "203.0.113.9")).unwrap().starts_with("0-"));
        let greedy = gone(&all, candidate("z", false, "198.1.1.0"));
        assert!(greedy.is_none_or(|id| id.starts_with("0-")), "one more of a greedy one");
        let fair: Vec<_> =
            (0..50).map(|n| candidate(format!("f{n}"), false, &format!("192.{n}.2.1"))).collect();
        assert_eq!(gone(&fair, candidate("z", false, "203.0.113.9")), None);
        assert!(gone(&fair, candidate("z", true, "203.0.113.9")).is_some());
    }
}
