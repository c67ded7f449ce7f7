//! The network of the market that is used: its profile, and the endpoint that was chosen.

use golem_chain::{ChainError, Rpc};

use super::{Client, Profile};

/// A network that holds a market, with an endpoint.
#[derive(Debug, Clone)]
pub struct MarketNetwork {
    pub name: String,
    /// What is known of it.
    pub profile: Profile,
    /// Its endpoint.
    pub rpc_url: String,
}

impl MarketNetwork {
    /// A client of it.
    ///
    /// # Errors
    /// [`ChainError`] when the endpoint's address is not a URL.
    pub fn client(&self) -> Result<Client, ChainError> {
        Ok(Client::new(Rpc::new(&self.rpc_url)?, &self.profile))
    }
}
