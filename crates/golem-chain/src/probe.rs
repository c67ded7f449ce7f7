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
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// Asks the one endpoint of `rpc`; `reader` reads the payment contract by it, which should pay in `token`, of so many digits after the
/// point.
pub async fn probe(rpc: &Rpc, reader: &Reader, (token, digits): (Address, u8)) -> Probe {
    let mut probe = Probe {
        endpoint: EndpointHealth::default(),
        chain_id: None,
        block: None,
        age_seconds: None,
        has_state: None,
        contract_version: None,
        token_decimals: None,
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
        if !token.is_zero() {
            probe.token_decimals = Some(crate::token::decimals(rpc, token).await?);
        }
        Ok::<_, ChainError>(())
    };
    if let Err(error) = asked.await {
        probe.error = Some(golem_service::log::with_causes(&error));
    } else if let Some(found) = probe.token_decimals.filter(|found| *found != digits) {
        probe.error =
            Some(format!("the token has {found} digits after the point, and the profile says {digits}"));
    }
    probe.endpoint = rpc.endpoints().into_iter().next().unwrap_or_default();
    probe
}
