//! What one endpoint can do, found by asking it.
//!
//! Owns the questions and their order: nothing that is asked costs anything or changes anything. Never decides whether that is
//! enough.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use serde::Serialize;
use serde_json::json;

use crate::contract::Version;
use crate::reader::Reader;
use crate::rpc::{ChainError, EndpointHealth, Rpc};

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

/// Asks the one endpoint of `rpc`; `reader` reads the payment contract by it, which should be of `version` and pay in `token`.
pub async fn probe(rpc: &Rpc, reader: &Reader, version: Version, (token, digits): (Address, u8)) -> Probe {
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
        probe.chain_id = chain_id(rpc).await?;
        probe.contract_version = Some(reader.find_version().await?);
        reader.check().await?;
        let head = reader.head(None).await?;
        probe.block = Some(head.block.number);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u128::from(since.as_secs()));
        probe.age_seconds = u64::try_from(now.saturating_sub(head.block.time)).ok();
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
    } else if probe.contract_version != Some(version) {
        probe.error = Some("another contract than the profile names".to_owned());
    } else if let Some(found) = probe.token_decimals.filter(|found| *found != digits) {
        probe.error =
            Some(format!("the token has {found} digits after the point, and the profile says {digits}"));
    }
    probe.endpoint = rpc.endpoints().into_iter().next().unwrap_or_default();
    probe
}

async fn chain_id(rpc: &Rpc) -> Result<Option<u64>, ChainError> {
    match rpc.calls(&[("eth_chainId", json!([]))]).await {
        Ok(answers) => Ok(answers.first().and_then(crate::rpc::quantity)),
        Err(error) => Err(error),
    }
}
