//! The payment contract of version 4 on the chain, and streams that are opened there with a signed lease.
//!
//! Owns what a renter's wallet does: tokens, allowance, `createStream`. Never signs for a provider.

use std::path::Path;

use alloy_primitives::Address;
use golem_chain::Reader;
use golem_chain::contract::Version;
use golem_chain::contract::v4::OpenLease;
use golem_types::StreamId;
use ruint::aliases::U256;

use crate::{Anvil, CHAIN_ID, word};

/// Who gets the donations.
const DONATIONS: usize = 9;

/// The payment contract of version 4 and its token.
#[derive(Clone, Copy)]
pub struct Leases<'a> {
    chain: &'a Anvil,
    /// The payment contract.
    pub contract: Address,
    /// The token of every stream.
    pub token: Address,
}

impl<'a> Leases<'a> {
    /// Deploys both from `contracts`.
    ///
    /// # Errors
    /// When the chain refuses it.
    pub async fn deploy(chain: &'a Anvil, contracts: &Path) -> anyhow::Result<Self> {
        let token = chain.deploy(contracts, "TestToken", &[U256::ZERO]).await?;
        let arguments = [word(token), word(chain.account(DONATIONS))];
        let contract = chain.deploy(contracts, "StreamPaymentV4", &arguments).await?;
        Ok(Self { chain, contract, token })
    }

    /// Who gets the donations.
    #[must_use]
    pub fn donations(&self) -> Address {
        self.chain.account(DONATIONS)
    }

    /// A reader of the contract.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.chain.rpc().clone(), self.contract, CHAIN_ID, true).of(Version::V4)
    }

    /// What `address` has of the token, in its smallest unit.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn balance(&self, address: Address) -> anyhow::Result<U256> {
        self.chain.view_of(self.token, "balanceOf(address)", &[word(address)]).await
    }

    /// Gives account `from` tokens, and lets the contract take them.
    ///
    /// # Errors
    /// When the chain refuses it.
    pub async fn fund(&self, from: usize, amount: U256) -> anyhow::Result<()> {
        let chain = self.chain;
        chain.invoke(from, self.token, "mint(address,uint256)", &[word(chain.account(from)), amount]).await?;
        chain.invoke(from, self.token, "approve(address,uint256)", &[word(self.contract), amount]).await
    }

    /// A stream from account `from` by `lease`, paid with new tokens; gives its id.
    ///
    /// # Errors
    /// When the contract refuses it.
    pub async fn open(&self, from: usize, lease: &OpenLease) -> anyhow::Result<StreamId> {
        // Twice the deposit is more than any donation takes.
        self.fund(from, lease.quote.deposit * U256::from(2)).await?;
        self.chain.submit(from, self.contract, lease.call()).await?;
        Ok(StreamId(self.chain.view_of(self.contract, "nextStreamId()", &[]).await?))
    }
}
