//! Other providers as check servers: no central server is needed.
//!
//! ```text
//!   market ─► adverts with an owner ─► a dozen by lot, one a network ─► asked as any server is
//! ```
//! Owns which of them are asked. An advert counts where the account that wrote it is the provider that it
//! names, and that account has to sign the verdict; a peer without a good signature has not answered.
//! Never judges: see [`LEAST`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use alloy_primitives::Address;
use golem_market::arkiv::offer::Filter;
use golem_market::arkiv::{Client, FoundAdvert};
use golem_types::net::customer;
use golem_types::net::is_public;

use super::source::CheckSource;

/// Peers that are asked in a verification. Most may not serve checks at all.
const ASKED: usize = 12;

/// Peers that have to answer before any of their verdicts counts: of three, one that lies decides
/// nothing.
pub const LEAST: usize = 3;

/// Adverts that are read to choose from.
const ADVERTS: usize = 500;

/// Port of a provider's API: adverts have none, and existing clients know this one only.
const PORT: u16 = 7466;

/// Another provider.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Peer {
    id: Address,
    address: IpAddr,
}

/// Where other providers are found.
#[derive(Debug, Clone)]
pub struct PeerMarket {
    /// A client of the network on which they advertise.
    pub client: Client,
    /// Which of them count: those that say that they are on `mainnet`, `testnet` or `development`.
    pub environment: String,
    /// Whether private addresses are as good as public ones.
    pub private: bool,
}

/// Peers to ask about the node at `own`, chosen at random; `known` first, which answered before. `None` if the
/// market does not answer.
pub async fn peers(market: &PeerMarket, own: IpAddr, known: &BTreeSet<String>) -> Vec<CheckSource> {
    match find(market).await {
        Ok(peers) => {
            let private = market.private;
            let mut seed = [0; 32];
            // Without randomness the lot is the same each time.
            let _ = getrandom::fill(&mut seed);
            let lot = |peer: &Peer| {
                let name = name(peer);
                (!known.contains(&name), alloy_primitives::keccak256([&seed[..], name.as_bytes()].concat()))
            };
            let chosen = choose(peers, own, private, lot);
            let url = |peer: &Peer| match peer.address {
                IpAddr::V4(address) => format!("http://{address}:{PORT}"),
                IpAddr::V6(address) => format!("http://[{address}]:{PORT}"),
            };
            let peers = chosen.iter().map(|peer| (name(peer), url(peer), peer.id));
            CheckSource::peers(peers).unwrap_or_default()
        }
        Err(error) => {
            tracing::warn!("the market cannot be asked for providers that try ports: {error:#}");
            Vec::new()
        }
    }
}

fn name(peer: &Peer) -> String {
    format!("provider {} at {}", peer.id, peer.address)
}

async fn find(market: &PeerMarket) -> anyhow::Result<Vec<Peer>> {
    let client = &market.client;
    let filter = Filter { network: Some(market.environment.clone()), ..Filter::default() };
    let Some(query) = filter.query(client.generation()) else { return Ok(Vec::new()) };
    let found = client.find(&query, ADVERTS).await?;
    let peer = |entity: &golem_market::arkiv::Entity| {
        let offer = FoundAdvert::of(entity)?;
        let id: Address = offer.provider_id.parse().ok()?;
        // Anyone can write any provider's id into an advert of their own.
        (id == entity.owner)
            .then_some(Peer { id, address: offer.ip_address.parse::<IpAddr>().ok()?.to_canonical() })
    };
    Ok(found.entities.iter().filter_map(peer).collect())
}

/// Those of `peers` that are asked, in the order of `lot`: each provider and each network once, none of
/// the node's own address, and none inside, unless `private` addresses are as good.
fn choose<L: Ord>(mut peers: Vec<Peer>, own: IpAddr, private: bool, lot: impl Fn(&Peer) -> L) -> Vec<Peer> {
    peers.sort_by_cached_key(&lot);
    let (mut ids, mut networks) = (BTreeSet::new(), BTreeSet::new());
    peers
        .into_iter()
        .filter(|peer| peer.address != own && (private || is_public(peer.address)))
        .filter(|peer| ids.insert(peer.id) && networks.insert(customer(peer.address)))
        .take(ASKED)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(id: u8, address: [u8; 4]) -> Peer {
        Peer { id: Address::repeat_byte(id), address: address.into() }
    }

    #[test]
    fn each_provider_and_network_is_asked_once_and_nobody_inside() {
        let own = IpAddr::from([203, 0, 113, 7]);
        let all = vec![
            peer(1, [203, 0, 113, 7]),
            peer(2, [192, 168, 1, 1]),
            peer(3, [127, 0, 0, 1]),
            peer(4, [169, 254, 169, 254]),
            peer(5, [198, 51, 100, 1]),
            peer(5, [198, 51, 100, 2]),
            peer(6, [198, 51, 100, 1]),
            peer(7, [198, 51, 100, 3]),
        ];
        let chosen = choose(all.clone(), own, false, |peer| peer.id);
        assert_eq!(chosen, [peer(5, [198, 51, 100, 1]), peer(7, [198, 51, 100, 3])]);
        assert!(choose(all, own, true, |peer| peer.id).contains(&peer(3, [127, 0, 0, 1])));
    }

    proptest! {
        #[test]
        fn never_more_than_a_dozen(all in proptest::collection::vec((any::<u8>(), any::<[u8; 4]>()), 0..60)) {
            let all: Vec<Peer> = all.into_iter().map(|(id, address)| peer(id, address)).collect();
            let chosen = choose(all, [203, 0, 113, 7].into(), false, |peer| peer.id);
            prop_assert!(chosen.len() <= ASKED && chosen.iter().all(|peer| is_public(peer.address)));
        }
    }
}
