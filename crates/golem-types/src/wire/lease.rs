//! Leases: what a renter asks a price for, what a stream pays, and what the provider answers.
//!
//! Owns their JSON, as clients of contract version 4 know it; wei may be numbers or decimal text. Never judges a lease.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Exact;
use super::fields::{
    Fields, cpu, keep, members, memory, number, object, optional, parsed_text, required, storage, whole,
};
use super::problem::{Problem, Problems};
use crate::{ImageName, Resources, StreamId, VmName};

/// Longest that a lease may be quoted for, in seconds: ten years.
const LONGEST: u64 = 10 * 365 * 86_400;

/// The lease that pays for a VM, as its renter says: nobody has judged it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePayment {
    /// The stream that was opened with it.
    pub stream_id: StreamId,
    /// Tells the lease from every other.
    pub lease_id: B256,
    /// The hash of its terms.
    pub terms_hash: B256,
    /// Wei a second.
    pub rate: u128,
    /// How long it was quoted for, in seconds.
    pub duration: u64,
}

/// What a price is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// What the renter will call the VM.
    pub name: VmName,
    /// Its image, as it is asked for; the operator's default if `None`.
    pub image: Option<ImageName>,
    /// Its size.
    pub resources: Resources,
    /// How long it is to be paid for, in seconds.
    pub duration: u64,
    /// Who will pay.
    pub requestor: Address,
    /// The payment network, by the operator's name for it; the first that takes leases if `None`.
    pub network: Option<String>,
}

/// A lease as the provider quotes it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaseQuoteInfo {
    /// Who rents out, is paid, and signed.
    pub provider_address: String,
    /// The chain.
    pub chain_id: u64,
    /// Its payment contract.
    pub contract_address: String,
    /// The token in which it is paid.
    pub glm_token_address: String,
    /// Tells the lease from every other; opens one stream.
    pub lease_id: String,
    /// The hash of its terms.
    pub terms_hash: String,
    /// The price.
    pub provider_rate_per_second_wei: Exact,
    /// What has to be paid in.
    pub provider_deposit_wei: Exact,
    /// How long that lasts, in seconds.
    pub min_runway_seconds: u64,
    /// Until when a stream may be opened with it, in seconds since the epoch.
    pub quote_expires_at: u64,
    /// The 65 bytes r, s, v.
    pub signature: String,
    /// Until when the VM's cores, memory and storage are kept for whoever creates it with this lease, in seconds since the
    /// epoch; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_until: Option<u64>,
}

/// 32 bytes as hexadecimal text.
fn bytes(fields: &Fields, loc: &[&'static str]) -> Result<B256, Vec<Problem>> {
    let raw = required(fields, loc)?;
    let text = serde_json::from_str::<String>(raw.get()).ok();
    let read = text.filter(|text| text.starts_with("0x")).and_then(|text| text.parse().ok());
    let rule = "Input should be 32 bytes as hexadecimal text that begins with 0x";
    read.ok_or_else(|| vec![Problem::new("value_error", loc, rule, Some(raw))])
}

/// A duration.
fn seconds(fields: &Fields, loc: &[&'static str]) -> Result<u64, Vec<Problem>> {
    let raw = required(fields, loc)?;
    let number = whole(raw).map_err(|(kind, text)| vec![Problem::new(kind, loc, text, Some(raw))])?;
    let rule = format!("Value error, a duration must be from 1 to {LONGEST} seconds");
    u64::try_from(number)
        .ok()
        .filter(|seconds| (1..=LONGEST).contains(seconds))
        .ok_or_else(|| vec![Problem::new("value_error", loc, rule, Some(raw))])
}

/// The member `payment` of a create.
pub(super) fn payment(fields: &Fields, name: &'static str) -> Result<LeasePayment, Vec<Problem>> {
    let inner = members(&[name], required(fields, &[name])?)?;
    let (whole_256, whole_128) = (
        "Input should be a whole number of at most 256 bits",
        "Input should be a whole number of at most 128 bits",
    );
    let mut mistakes = Vec::new();
    let stream_id = keep(&mut mistakes, number(&inner, &[name, "stream_id"], whole_256));
    let lease_id = keep(&mut mistakes, bytes(&inner, &[name, "lease_id"]));
    let terms_hash = keep(&mut mistakes, bytes(&inner, &[name, "terms_hash"]));
    let rate = keep(&mut mistakes, number(&inner, &[name, "provider_rate_per_second_wei"], whole_128));
    let duration = keep(&mut mistakes, seconds(&inner, &[name, "duration_seconds"]));
    match (stream_id, lease_id, terms_hash, rate, duration) {
        (Some(stream_id), Some(lease_id), Some(terms_hash), Some(rate), Some(duration)) => {
            Ok(LeasePayment { stream_id, lease_id, terms_hash, rate, duration })
        }
        _ => Err(mistakes),
    }
}

/// Reads the body of a request for a lease's quote.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_lease_request(body: &[u8]) -> Result<LeaseRequest, Problems> {
    let fields = object(body)?;
    let mut mistakes = Vec::new();
    let name = keep(&mut mistakes, parsed_text::<VmName>(&fields, "vm_name"));
    let image = keep(&mut mistakes, optional(&fields, "image", parsed_text::<ImageName>));
    let mut part = |name: &'static str, read: fn(&[&'static str], &RawValue) -> Result<u32, Vec<Problem>>| {
        keep(&mut mistakes, required(&fields, &[name]).and_then(|raw| read(&[name], raw)))
    };
    let sizes = (part("cpu", cpu), part("memory", memory), part("storage", storage));
    let duration = keep(&mut mistakes, seconds(&fields, &["duration_seconds"]));
    let requestor = keep(&mut mistakes, parsed_text::<Address>(&fields, "requestor_address"));
    let network = keep(&mut mistakes, optional(&fields, "network", parsed_text::<String>));
    match (name, image, sizes, duration, requestor, network) {
        (
            Some(name),
            Some(image),
            (Some(cpu), Some(memory), Some(storage)),
            Some(duration),
            Some(requestor),
            Some(network),
        ) => {
            let resources = Resources::new(cpu, memory, storage);
            Ok(LeaseRequest { name, image, resources, duration, requestor, network })
        }
        _ => Err(Problems { detail: mistakes }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::parse_create;
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn payment() -> Value {
        json!({
            "stream_id": 7,
            "lease_id": format!("{:#x}", B256::repeat_byte(1)),
            "terms_hash": format!("{:#x}", B256::repeat_byte(2)),
            "provider_rate_per_second_wei": "2000000000000",
            "duration_seconds": 3600,
        })
    }

    fn create(payment: &Value) -> Result<LeasePayment, Vec<Vec<&'static str>>> {
        let body = json!({ "name": "my-vm", "ssh_key": KEY, "payment": payment });
        parse_create(body.to_string().as_bytes())
            .map(|create| create.payment.unwrap())
            .map_err(|problems| problems.detail.into_iter().map(|problem| problem.loc).collect())
    }

    #[test]
    fn a_payment_is_read_with_its_rate_as_a_number_or_as_text() {
        let read = create(&payment()).unwrap();
        assert_eq!((read.rate, read.duration), (2_000_000_000_000, 3600));
        assert_eq!((read.lease_id, read.terms_hash), (B256::repeat_byte(1), B256::repeat_byte(2)));
        let mut as_number = payment();
        as_number["provider_rate_per_second_wei"] = json!(2_000_000_000_000u64);
        as_number["stream_id"] = json!("7");
        assert_eq!(create(&as_number).unwrap(), read);
    }

    #[test]
    fn each_mistake_in_a_payment_is_named_with_its_place() {
        for (member, bad) in [
            ("stream_id", json!(-1)),
            ("stream_id", json!("+1")),
            ("lease_id", json!("11")),
            ("lease_id", json!(format!("{}", "1".repeat(64)))),
            ("terms_hash", json!("0x12")),
            ("provider_rate_per_second_wei", json!("1.5")),
            ("provider_rate_per_second_wei", json!("340282366920938463463374607431768211456")),
            ("duration_seconds", json!(0)),
            ("duration_seconds", json!(1e18)),
            ("duration_seconds", Value::Null),
        ] {
            let mut wrong = payment();
            wrong[member] = bad.clone();
            assert_eq!(create(&wrong).unwrap_err(), [vec!["body", "payment", member]], "{bad}");
        }
        assert_eq!(create(&json!({})).unwrap_err().len(), 5);
        assert_eq!(create(&json!(7)).unwrap_err(), [vec!["body", "payment"]]);
    }

    #[test]
    fn what_a_price_is_asked_for_is_read_or_each_mistake_named() {
        let asked = json!({
            "vm_name": "my-vm", "cpu": 1, "memory": 1, "storage": 10, "duration_seconds": 3600,
            "requestor_address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        });
        let read = parse_lease_request(asked.to_string().as_bytes()).unwrap();
        assert_eq!((read.resources, read.duration), (Resources::new(1, 1, 10), 3600));
        assert_eq!((read.image, read.network), (None, None));
        let problems = parse_lease_request(br#"{"cpu": 3, "image": "/etc"}"#).unwrap_err().detail;
        let named: Vec<_> = problems.into_iter().map(|problem| problem.loc[1]).collect();
        assert_eq!(
            named,
            ["vm_name", "image", "cpu", "memory", "storage", "duration_seconds", "requestor_address"]
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_a_panic(body in "\\{[ -~]{0,200}\\}") {
            let _ = parse_lease_request(body.as_bytes());
            let _ = parse_create(body.as_bytes());
        }
    }
}
