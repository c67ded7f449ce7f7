//! The networks that ship.
//!
//! Owns their numbers, and where each was read. Never says that any of them lives.

use std::collections::BTreeMap;

use alloy_primitives::address;

use super::{DEFAULT, Deployment, Network, ORIGINAL};
use crate::contract::Version;
use crate::faucet::Faucet;
use crate::price_id;

/// The deployment file of the original's test network, as it ships: the one source of its numbers.
const L2: &str = include_str!("../../../../contracts/deployments/l2.json");

fn explorer(host: &str) -> Option<String> {
    Some(format!("https://{host}/tx/{{hash}}"))
}

/// Hoodi, with the contract and token that the web client of vm-on-golem uses (its deployment file of 2026-05-21), and the
/// discovery server that it asks. The minter is its contracts' README's.
fn hoodi() -> Network {
    Network {
        rpc_url: Some("https://rpc.hoodi.ethpandaops.io".to_owned()),
        rpc_urls: vec!["https://ethereum-hoodi-rpc.publicnode.com".to_owned()],
        stream_payment_address: Some(address!("b5a225b2f82D3eFe743D95bA7Fe3BbC475C0a12E")),
        contract_version: Version::V4,
        token_address: address!("55555555555556AcFf9C332Ed151758858bd7a26"),
        token_symbol: "tGLM".to_owned(),
        token_price_id: Some(price_id::GLM.to_owned()),
        testnet: true,
        explorer: explorer("hoodi.etherscan.io"),
        faucet_page: Some("https://hoodi-faucet.pk910.de/".to_owned()),
        token_minter: Some(address!("500F965199C63865A3E666cA3fF55B64F1c8Bc8b")),
        discovery_urls: vec!["wss://78.46.172.104/api/v1/discovery/providers".to_owned()],
        ..Network::bare(560_048)
    }
}

/// Networks on which no payment contract is known: `golem-provider networks add` names one of your own.
fn without_contract(chain_id: u64, rpc_url: &str, explorer_host: &str) -> Network {
    let note = "no payment contract is known there; `golem-provider networks deploy` makes one, and GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS \
                or `networks add` names one";
    Network {
        rpc_url: Some(rpc_url.to_owned()),
        explorer: explorer(explorer_host),
        note: Some(note.to_owned()),
        ..Network::bare(chain_id)
    }
}

/// The profiles that ship.
#[must_use]
pub fn shipped() -> BTreeMap<String, Network> {
    let mut all = BTreeMap::from([(DEFAULT.to_owned(), hoodi())]);
    let sepolia = Network {
        testnet: true,
        ..without_contract(11_155_111, "https://rpc.sepolia.org", "sepolia.etherscan.io")
    };
    all.insert("sepolia".to_owned(), sepolia);
    // The addresses of GLM are Golem's own; not looked at on these chains: `networks check` compares symbol and digits.
    let polygon = Network {
        symbol: "POL".to_owned(),
        token_address: address!("0B220b82F3eA3B7F6d9A1D8ab58930C064A2b5Bf"),
        ..without_contract(137, "https://polygon-rpc.com", "polygonscan.com")
    };
    all.insert("polygon".to_owned(), polygon);
    let ethereum = Network {
        token_address: address!("7DD9c5Cba05E151C895FDe1CF355C9A1D5DA6429"),
        ..without_contract(1, "https://ethereum-rpc.publicnode.com", "etherscan.io")
    };
    all.insert("ethereum".to_owned(), ethereum);
    if let Ok(l2) = Deployment::parse(L2) {
        let original = Network {
            rpc_url: Some("https://l2.holesky.golemdb.io/rpc".to_owned()),
            stream_payment_address: Some(l2.contract.address),
            token_address: l2.contract.token,
            testnet: true,
            faucet: Some(Faucet {
                url: "https://l2.holesky.golemdb.io/faucet".to_owned(),
                captcha_url: "https://cap.gobas.me".to_owned(),
                captcha_key: "05381a2cef5e".to_owned(),
            }),
            note: Some(
                "the original's test network; Holesky was shut down, so it is presumed dead".to_owned(),
            ),
            ..Network::bare(l2.chain_id.unwrap_or_default())
        };
        all.insert(ORIGINAL.to_owned(), original);
    }
    let mainnet = Network {
        explorer: explorer("etherscan.io"),
        note: Some("real money; no contract is deployed there that this version knows".to_owned()),
        ..Network::bare(1)
    };
    all.insert("mainnet".to_owned(), mainnet);
    all
}
