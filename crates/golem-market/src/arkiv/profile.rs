//! Networks that hold the market: which chain, which protocol, which endpoint.
//!
//! Owns the profiles: those that ship, and files `markets/<name>.toml` in the data directory, of
//! which one with a shipped name takes its place. Networks die and others come: a file adds one
//! without a release. Never asks a network.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Generation;
use golem_chain::faucet::Faucet;
use golem_chain::network::{NetworkError, is_name, parse};

/// The profile that is taken when the operator names none: the original's.
pub const DEFAULT: &str = "ethwarsaw.holesky";

/// A network that holds a market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The protocol.
    pub generation: Generation,
    /// What chain the endpoint must be of.
    pub chain_id: u64,
    /// The JSON-RPC endpoint; `None` if the operator has to name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_url: Option<String>,
    /// Seconds between blocks.
    #[serde(default = "two")]
    pub block_seconds: u32,
    /// Whether its money is worth nothing: only then are faucets asked.
    #[serde(default)]
    pub testnet: bool,
    /// Where test money for gas can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faucet: Option<Faucet>,
    /// Where a transaction can be looked at: `{hash}` is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explorer: Option<String>,
    /// What there is to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What both generations' networks are built on makes a block every two seconds.
const fn two() -> u32 {
    2
}

/// Why a profile cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No profile has this name.
    #[error(
        "no market network is called {name:?}; known are {known}; fix: name one of these, or write markets/{name}.toml in the data directory"
    )]
    Unknown {
        name: String,
        /// The names there are.
        known: String,
    },
    /// Its name or its file is wrong.
    #[error(transparent)]
    File(#[from] NetworkError),
}

/// The profiles that ship.
#[must_use]
pub fn shipped() -> BTreeMap<String, Profile> {
    let golem_base = Profile {
        generation: Generation::GolemBase,
        chain_id: 60_138_453_033,
        rpc_url: Some("https://ethwarsaw.holesky.golemdb.io/rpc".to_owned()),
        block_seconds: two(),
        testnet: true,
        faucet: Some(Faucet {
            url: "https://ethwarsaw.holesky.golemdb.io/faucet".to_owned(),
            captcha_url: "https://cap.gobas.me".to_owned(),
            captcha_key: "05381a2cef5e".to_owned(),
        }),
        explorer: None,
        note: Some("the original's; Holesky was shut down, so it is presumed dead".to_owned()),
    };
    let tiramisu = Profile {
        generation: Generation::Tiramisu,
        chain_id: 7_738_577,
        rpc_url: Some("https://rpc.tiramisu.db-chain.testnet.arkiv.network".to_owned()),
        block_seconds: two(),
        testnet: true,
        faucet: None,
        explorer: Some("https://tiramisu.explorer.arkiv.network/tx/{hash}".to_owned()),
        note: Some(
            "Arkiv's test network of October 2026; the original's requestors cannot read it".to_owned(),
        ),
    };
    [(DEFAULT.to_owned(), golem_base), ("tiramisu".to_owned(), tiramisu)].into()
}

/// The profile `name`.
///
/// # Errors
/// [`ProfileError`].
pub fn load(data_dir: &Path, name: &str) -> Result<Profile, ProfileError> {
    if !is_name(name) {
        return Err(NetworkError::Name(name.to_owned()).into());
    }
    let folder = data_dir.join("markets");
    let file = folder.join(format!("{name}.toml"));
    if file.exists() {
        return Ok(parse(&file)?);
    }
    let mut shipped = shipped();
    if let Some(profile) = shipped.remove(name) {
        return Ok(profile);
    }
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let own = files.filter_map(|file| {
        let file = file.file_name().into_string().ok()?;
        file.strip_suffix(".toml").map(str::to_owned)
    });
    let known: std::collections::BTreeSet<_> = shipped.into_keys().chain(own).collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    Err(ProfileError::Unknown { name: name.to_owned(), known })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_adds_a_network_or_takes_the_place_of_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path(), DEFAULT).unwrap().chain_id, 60_138_453_033);
        assert_eq!(load(folder.path(), "tiramisu").unwrap().generation, Generation::Tiramisu);
        std::fs::create_dir(folder.path().join("markets")).unwrap();
        let file = |name: &str| folder.path().join(format!("markets/{name}.toml"));
        std::fs::write(file("mine"), "generation = \"golem-base\"\nchain_id = 1337\n").unwrap();
        let mine = load(folder.path(), "mine").unwrap();
        assert_eq!((mine.chain_id, mine.rpc_url, mine.block_seconds), (1337, None, 2));
        let unknown = load(folder.path(), "other").unwrap_err().to_string();
        assert!(unknown.contains("ethwarsaw.holesky, mine, tiramisu"), "{unknown}");
        std::fs::write(file("tiramisu"), "generation = \"golem-base\"\nchain_id = 5\n").unwrap();
        assert_eq!(load(folder.path(), "tiramisu").unwrap().chain_id, 5);
        for (name, text) in [("bad", "generation = \"third\"\nchain_id = 1"), ("worse", "chain_id = 1")] {
            std::fs::write(file(name), text).unwrap();
            assert!(matches!(load(folder.path(), name), Err(ProfileError::File(_))), "{name}");
        }
        assert!(matches!(load(folder.path(), "../mine"), Err(ProfileError::File(NetworkError::Name(_)))));
    }
}
