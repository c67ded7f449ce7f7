//! What one endpoint can do, found by asking it.
//!
//! Owns the questions and their order: nothing that is asked costs anything or changes anything. Never decides whether that is
//! enough.

use alloy_primitives::Address;
use serde::Serialize;
use serde_json::json;

use crate::contract::Version;
use crate::reader::{Reader, seconds_now};
use crate::rpc::{ChainError, EndpointHealth, Rpc, quantity};

/// Calls in the batch that is tried.
const BATCH: usize = 100;

/// Blocks whose logs are asked for at once.
const LOG_BLOCKS: u64 = 1000;

/// How far back the state is looked for: what nodes without an archive have just about thrown away.
const STATE_BLOCKS: u64 = 128;

/// What an endpoint can do.
#[derive(Debug, Clone, Serialize)]
pub struct Probe {
    /// What was learnt of it: its host, latency, batch, range of logs, rate.
    #[serde(flatten)]
    pub endpoint: EndpointHealth,
    /// The chain that it is of.
    pub chain_id: Option<u64>,
    /// Its newest block.
    pub block: Option<u64>,
    /// How old that is by this machine's clock, in seconds.
    pub age_seconds: Option<u64>,
    /// Whether it has the state of 128 blocks ago; `None` where the chain is shorter.
    pub has_state: Option<bool>,
    /// The payment contract that it has.
    pub contract_version: Option<Version>,
    /// Digits after the point of the token, as that says; `None` where the chain's own money is paid.
    pub token_decimals: Option<u8>,
    /// What the token calls itself; `None` where the chain's own money is paid, or it does not say.
    pub token_symbol: Option<String>,
    /// What is not as the profile says, and keeps nobody from using the endpoint.
    pub differences: Vec<String>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// The token that streams should pay in.
#[derive(Debug, Clone, Copy)]
pub struct ProfileToken<'a> {
    /// Where it is; zero is the chain's own money.
    pub address: Address,
    /// What it should call itself.
    pub symbol: &'a str,
    /// How many digits after the point it should say that it has.
    pub decimals: u8,
}

impl ProfileToken<'_> {
    /// Asks the token what it is.
    async fn ask(&self, rpc: &Rpc, probe: &mut Probe) -> Result<(), ChainError> {
        let Self { address, symbol, decimals } = *self;
        if address.is_zero() {
            return Ok(());
        }
        let found = match crate::token::symbol(rpc, address).await {
            Err(ChainError::Contract(_)) => {
                let why = format!(
                    "there is no contract at the token's address {address}; fix: token_address in the profile"
                );
                probe.error = Some(why);
                return Ok(());
            }
            found => found?,
        };
        if let Some(found) = found.as_deref().filter(|found| *found != symbol) {
            probe.differences.push(format!(
                "the token at {address} calls itself {found}, and the profile says {symbol}: its price is that of {symbol}; fix: \
                 token_symbol in the profile, or token_price_id, or the address"
            ));
        }
        probe.token_symbol = found;
        let digits = crate::token::decimals(rpc, address).await?;
        probe.token_decimals = Some(digits);
        if digits != decimals {
            let why = format!(
                "the token has {digits} digits after the point, and the profile says {decimals}; fix: token_decimals = {digits}"
            );
            probe.error = Some(why);
        }
        Ok(())
    }
}

/// Asks the one endpoint of `rpc`; `reader` reads the payment contract by it, which should pay in `token`.
pub async fn probe(rpc: &Rpc, reader: &Reader, token: ProfileToken<'_>) -> Probe {
    let mut probe = Probe {
        endpoint: EndpointHealth::default(),
        chain_id: None,
        block: None,
        age_seconds: None,
        has_state: None,
        contract_version: None,
        token_decimals: None,
        token_symbol: None,
        differences: Vec::new(),
        error: None,
    };
    let asked = async {
        probe.chain_id = rpc.calls(&[("eth_chainId", json!([]))]).await?.first().and_then(quantity);
        let found = reader.find_version().await?;
        probe.contract_version = Some(found);
        reader.expect(found)?;
        let head = reader.head(None).await?;
        probe.block = Some(head.block.number);
        probe.age_seconds = u64::try_from(seconds_now().saturating_sub(head.block.time)).ok();
        rpc.calls(&vec![("eth_chainId", json!([])); BATCH]).await?;
        let (from, to) = (head.block.number.saturating_sub(LOG_BLOCKS - 1), head.block.number);
        rpc.try_logs(reader.contract(), from, to).await;
        if let Some(before) = head.block.number.checked_sub(STATE_BLOCKS) {
            let call = json!([{ "to": reader.contract(), "data": "0x" }, format!("{before:#x}")]);
            let said = rpc.calls(&[("eth_call", call)]).await;
            // A contract that refuses such a call has been looked at.
            probe.has_state = Some(matches!(said, Ok(_) | Err(ChainError::Refused { .. })));
        }
        token.ask(rpc, &mut probe).await
    };
    if let Err(error) = asked.await {
        probe.error = Some(golem_service::log::with_causes(&error));
    }
    probe.endpoint = rpc.endpoints().into_iter().next().unwrap_or_default();
    probe
}
