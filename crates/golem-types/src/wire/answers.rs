//! What clients are told.
//!
//! Owns the names of the members, as existing clients know them. Never decides who may see which.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::exact::Exact;
use crate::{JobId, Resources, SnapshotConsistency, SnapshotName, SnapshotState, VmId, VmName, VmStatus};

/// A time as the original writes it: UTC, microseconds, no zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$")]
pub struct WireTime(pub Timestamp);

impl Serialize for WireTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.strftime("%Y-%m-%dT%H:%M:%S%.6f"))
    }
}

/// A snapshot of a VM's disk.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SnapshotInfo<'a> {
    /// What its renter calls it.
    pub name: &'a SnapshotName,
    /// The VM's id.
    pub vm_id: &'a VmId,
    /// Where it stands.
    pub status: SnapshotState,
    /// What may be expected of its files; null while it is being made.
    pub consistency: Option<SnapshotConsistency>,
    /// What it counts as on the provider's disk, in GiB: at most that is there.
    pub storage: u32,
    /// When it was asked for.
    pub created_at: WireTime,
    /// Why the last that was asked of it was not done.
    pub error_message: Option<&'a str>,
}

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let utc = text.parse::<DateTime>().and_then(|time| time.to_zoned(TimeZone::UTC));
        utc.map(|time| Self(time.timestamp())).map_err(D::Error::custom)
    }
}

/// A VM, as every route that answers with one shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VmInfo<'a> {
    /// Its unguessable id.
    pub id: &'a VmId,
    /// What its renter calls it.
    pub name: &'a VmName,
    /// Where it stands.
    pub status: VmStatus,
    /// What it was sold.
    pub resources: Resources,
    /// The guest's private address, once known.
    #[schema(value_type = Option<String>)]
    pub ip_address: Option<IpAddr>,
    /// Its public SSH port; null until it has run, because clients take a port for readiness.
    pub ssh_port: Option<u16>,
    /// When it was reserved.
    pub created_at: WireTime,
    /// When it last changed.
    pub updated_at: WireTime,
    /// Why it cannot run.
    pub error_message: Option<&'a str>,
    /// How far it is on its way.
    #[serde(flatten)]
    pub lifecycle: Lifecycle,
    /// How it is connected, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkInfo>,
}

/// How far a VM is on its way to where it should be, for people who wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Lifecycle {
    /// The step: a stage of its boot while it is being made, else its state.
    pub lifecycle_stage: &'static str,
    /// The same for people.
    pub status_message: String,
    /// Percent of the way.
    pub progress: u8,
    /// Whether it goes on by itself.
    pub transitioning: bool,
    /// When to look again, in seconds.
    pub next_poll_seconds: u32,
}

/// How a running VM is connected, and what passed since it was booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkInfo {
    /// What it reaches: `internet`, `ssh` when its renter can log in and nothing else passes, or `none` when
    /// its network was cut because it could not be secured.
    pub access: String,
    /// What passed, where that is counted.
    #[serde(flatten)]
    pub traffic: Option<NetworkTraffic>,
}

/// What passed between a running VM and the outside since it was booted, with IP headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkTraffic {
    /// Bytes that it received.
    pub bytes_in: u64,
    /// Bytes that it sent.
    pub bytes_out: u64,
    /// Packets that it received.
    pub packets_in: u64,
    /// Packets that it sent.
    pub packets_out: u64,
    /// Packets that were refused, of either direction.
    pub packets_blocked: u64,
}

/// How a VM is paid for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StreamInfo {
    /// The VM.
    pub vm_id: VmId,
    /// Its stream.
    pub stream_id: Exact,
    /// Whether the stream pays.
    pub verified: bool,
    /// `ok`, or why it does not.
    pub reason: String,
    /// `active`, `grace`, `expired` or `terminated`; `invalid` where it does not pay for another reason.
    #[serde(default)]
    pub payment_state: String,
    /// What the contract holds.
    pub chain: ChainStream,
    /// What follows from it.
    pub computed: Computed,
}

/// A stream, in the contract's own names.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainStream {
    /// Token; the zero address is the chain's own money.
    pub token: String,
    /// Who pays.
    pub sender: String,
    /// Who is paid; zero once terminated.
    pub recipient: String,
    /// Seconds since the epoch.
    pub start_time: Exact,
    /// Seconds since the epoch.
    pub stop_time: Exact,
    /// Wei.
    pub rate_per_second: Exact,
    /// Wei.
    pub deposit: Exact,
    /// Wei.
    pub withdrawn: Exact,
    /// Whether vesting was frozen.
    pub halted: bool,
    /// Wei a second, of contracts of version 4 as all that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_rate_per_second: Option<Exact>,
    /// Wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_deposit: Option<Exact>,
    /// Wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_withdrawn: Option<Exact>,
    /// The donation, in hundredths of a percent of what vests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation_bps: Option<u16>,
    /// Who gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation_recipient: Option<String>,
    /// Wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation_deposit: Option<Exact>,
    /// Wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation_withdrawn: Option<Exact>,
    /// Tells the lease from every other: 32 bytes, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_id: Option<String>,
    /// The hash of the lease's terms: 32 bytes, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_hash: Option<String>,
}

/// What follows from a stream at the chain's time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Computed {
    /// The chain's time, in seconds since the epoch.
    pub now: Exact,
    /// Seconds of payment left.
    pub remaining_seconds: Exact,
    /// Wei that the provider has earned.
    pub vested_wei: Exact,
    /// Wei of it that were not yet paid out.
    pub withdrawable_wei: Exact,
    /// Wei that the provider has earned; the two above are sums with the donation, of contracts of version 4 as all that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_vested_wei: Option<Exact>,
    /// Wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_withdrawable_wei: Option<Exact>,
    /// Wei that are due as a donation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation_vested_wei: Option<Exact>,
    /// Wei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation_withdrawable_wei: Option<Exact>,
    /// Wei that were paid in, the donation with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_deposit_wei: Option<Exact>,
}

/// A price that a provider promises; the members of a promise are null where VMs are free.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QuoteInfo {
    /// The text by which a create names the quote.
    pub quote_id: Option<String>,
    /// Who promises, and who is paid.
    pub provider_id: String,
    /// What for.
    pub resources: Resources,
    /// Whether nothing is asked.
    pub free: bool,
    /// Wei of the token.
    pub rate_wei_per_second: Exact,
    /// The same for a month of 730 hours, in coins, as decimal text.
    pub price_per_month: String,
    /// What the coins are called.
    pub symbol: Option<String>,
    /// What the operator asks in US dollars, as decimal text; where prices follow it.
    pub usd_per_month: Option<String>,
    /// The chain on which the stream has to be.
    pub chain_id: Option<u64>,
    /// Its payment contract.
    pub stream_payment_address: Option<String>,
    /// The token of the stream; the zero address is the chain's own money.
    pub glm_token_address: Option<String>,
    /// Until when a create may name the quote, in seconds since the epoch.
    pub expires_at: Option<u64>,
    /// Tells the quote from every other.
    pub nonce: Option<String>,
    /// The provider's signature of all this (EIP-712).
    pub signature: Option<String>,
}

/// An asynchronous create.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobInfo<'a> {
    pub job_id: &'a JobId,
    /// The VM that it makes.
    pub vm_id: &'a VmId,
    /// `creating`, `ready` or `failed`.
    pub status: &'a str,
    /// Why it failed.
    pub error: Option<&'a str>,
    /// When it was asked for.
    pub created_at: WireTime,
    /// When it last changed.
    pub updated_at: WireTime,
    /// The stage that it has reached: `reserved`, `disk`, `launch`, `boot`, `port` or `running`.
    pub stage: &'a str,
    /// When each stage was reached, oldest first.
    pub stages: Vec<StageInfo<'a>>,
    /// How far it is.
    #[serde(flatten)]
    pub lifecycle: Lifecycle,
}

/// That a stage of a boot was reached.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct StageInfo<'a> {
    /// Which.
    pub stage: &'a str,
    /// When.
    pub at: WireTime,
}

/// What is left of a VM's boot that failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FailedBootInfo<'a> {
    /// The VM.
    pub vm_id: &'a VmId,
    /// The job of its create.
    pub job_id: Option<&'a JobId>,
    /// When it failed.
    pub at: WireTime,
    /// The stage at which it failed.
    pub stage: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When each stage was reached, oldest first.
    pub stages: Vec<StageInfo<'a>>,
    /// The end of what the guest wrote to its serial console, at most 64 KiB.
    pub console: &'a str,
}

/// How to log in to a VM.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Access<'a> {
    /// Address of the provider; absent while the VM is being made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ssh_host: Option<IpAddr>,
    /// Port of the VM on it; null while the VM is being made.
    pub ssh_port: Option<u16>,
    /// Who logs in.
    pub ssh_user: &'static str,
    /// The VM's id.
    pub vm_id: &'a VmId,
    /// The original's internal name; ours is the id.
    pub multipass_name: &'a VmId,
    /// `creating` while the VM is being made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<VmStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for time in ["2025-02-19T13:04:24.5Z", "1970-01-01T00:00:00Z", "9999-12-30T22:00:00Z"] {
            let time = WireTime(time.parse().unwrap());
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<WireTime>(&text).unwrap(), time);
        }
        for bad in ["\"\"", "\"now\"", "1", "\"2025-02-30T00:00:00\"", "\"99999-01-01T00:00:00\""] {
            assert!(serde_json::from_str::<WireTime>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_vm_looks_as_clients_expect() {
        let id: VmId = "golem-abc-20250219-130424-aaaaaaaaaaaaaaaa".parse().unwrap();
        let name: VmName = "abc".parse().unwrap();
        let time = WireTime("2025-02-19T13:04:24.5Z".parse().unwrap());
        let info = VmInfo {
            id: &id,
            name: &name,
            status: VmStatus::Running,
            resources: Resources::new(2, 4, 20),
            ip_address: Some("10.0.2.15".parse().unwrap()),
            ssh_port: Some(50800),
            created_at: time,
            updated_at: time,
            error_message: None,
            lifecycle: Lifecycle {
                lifecycle_stage: "running",
                status_message: "runs".to_owned(),
                progress: 100,
                transitioning: false,
                next_poll_seconds: 30,
            },
            network: None,
        };
        // S-150, S-151, S-152, S-153, S-154, S-155
        assert_eq!(
            serde_json::to_string(&info).unwrap(),
            "{\"id\":\"golem-abc-20250219-130424-aaaaaaaaaaaaaaaa\",\"name\":\"abc\",\"status\":\"running\",\
             \"resources\":{\"cpu\":2,\"memory\":4,\"storage\":20},\"ip_address\":\"10.0.2.15\",\
             \"ssh_port\":50800,\"created_at\":\"2025-02-19T13:04:24.500000\",\
             \"updated_at\":\"2025-02-19T13:04:24.500000\",\"error_message\":null,\
             \"lifecycle_stage\":\"running\",\"status_message\":\"runs\",\"progress\":100,\"transitioning\":false,\
             \"next_poll_seconds\":30}"
        );
    }
}
