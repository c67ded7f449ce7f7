//! The bodies that clients send, as the OpenAPI document describes them.
//!
//! Owns nothing that is read: the parsers beside this (`parse_create` and the others) read bodies member by member, tell every
//! mistake at once, and take more than is described here, whole numbers as text for one.

use utoipa::ToSchema;

use super::exact::Exact;
use crate::{ImageName, SnapshotName, VmName};

/// Virtual CPUs, memory in GiB and storage in GiB, as a renter may ask for them.
#[derive(ToSchema)]
pub struct WantedResources {
    /// Virtual CPUs: 1, 2, 4, 8 or 16.
    #[schema(minimum = 1, maximum = 16, example = 2)]
    pub cpu: u32,
    /// Memory in GiB: 1, 2, 4, 8, 16, 32 or 64.
    #[schema(minimum = 1, maximum = 64, example = 4)]
    pub memory: u32,
    /// Storage in GiB.
    #[schema(minimum = 10, maximum = 65_536, example = 20)]
    pub storage: u32,
}

/// A named size: 1 CPU, 1 GiB, 10 GiB; 2, 4, 20; 4, 8, 40; 8, 16, 80.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum NamedSize {
    Small,
    Medium,
    Large,
    Xlarge,
}

/// A size, in one of three forms: `resources`, else `size`, else the three members of their own, of which those that are
/// absent are those of `small`.
#[derive(ToSchema)]
pub struct SizeBody {
    pub resources: Option<WantedResources>,
    pub size: Option<NamedSize>,
    /// Virtual CPUs: 1, 2, 4, 8 or 16.
    #[schema(minimum = 1, maximum = 16)]
    pub cpu_cores: Option<u32>,
    /// Memory in GiB: 1, 2, 4, 8, 16, 32 or 64.
    #[schema(minimum = 1, maximum = 64)]
    pub memory_gb: Option<u32>,
    /// Storage in GiB.
    #[schema(minimum = 10, maximum = 65_536)]
    pub storage_gb: Option<u32>,
}

/// The lease that pays for a VM.
#[derive(ToSchema)]
pub struct LeasePaymentBody {
    /// The stream that was opened with it.
    pub stream_id: Exact,
    /// As the quote has it: 32 bytes, hexadecimal.
    #[schema(pattern = "^0x[0-9a-fA-F]{64}$")]
    pub lease_id: String,
    /// As the quote has it: 32 bytes, hexadecimal.
    #[schema(pattern = "^0x[0-9a-fA-F]{64}$")]
    pub terms_hash: String,
    /// As the quote has it: wei a second, below 2^128; a number, or the same as decimal text.
    #[schema(value_type = WholeOrText)]
    pub provider_rate_per_second_wei: Exact,
    /// For how many seconds it was quoted: at most ten years.
    #[schema(minimum = 1, maximum = 315_360_000)]
    pub duration_seconds: u64,
}

/// A whole number, or the same as decimal text.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum WholeOrText {
    Number(Exact),
    Text(String),
}

/// A VM that is wanted, and what pays for it: a lease (`payment`), or a stream (`stream_id`) of an earlier contract. Neither
/// where rentals are free.
#[derive(ToSchema)]
pub struct CreateBody {
    pub name: VmName,
    /// The SSH key that may log in: one line of an `authorized_keys` file.
    #[schema(example = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ")]
    pub ssh_key: String,
    /// Further keys that may log in, in the same form.
    #[schema(max_items = 16)]
    pub ssh_keys: Option<Vec<String>>,
    /// What cloud-init is to do at the first boot: a text that begins with `#cloud-config`, `#!`, `#cloud-boothook`, `#include`,
    /// `#cloud-config-archive` or `## template: jinja`, or a MIME message of several parts; at most 64 KiB. The keys, users and
    /// SSH settings with which the provider lets its renter in are kept beside it.
    #[schema(max_length = 65_536)]
    pub user_data: Option<String>,
    /// What the guest calls itself, in place of `name`: a host name, fully qualified or not.
    #[schema(max_length = 253)]
    pub hostname: Option<String>,
    /// The guest's time zone, by its name in the IANA database.
    #[schema(example = "Europe/Berlin")]
    pub timezone: Option<String>,
    /// An image of `GET /api/v1/images`; the default one if absent.
    pub image: Option<ImageName>,
    #[serde(flatten)]
    pub size: SizeBody,
    pub payment: Option<LeasePaymentBody>,
    /// The stream that pays.
    pub stream_id: Option<Exact>,
    /// The quote to which both sides are held: the `quote_id` of `POST /api/v1/quotes`.
    pub quote_id: Option<String>,
    /// The signature of the stream's sender that it is to pay this VM.
    pub stream_proof: Option<String>,
}

/// A snapshot that is wanted.
#[derive(ToSchema)]
pub struct SnapshotBody {
    /// What it is called; its time, as `20250219-130424`, if absent.
    pub name: Option<SnapshotName>,
}

/// Another SSH key for a VM.
#[derive(ToSchema)]
pub struct KeyBody {
    /// One line of an `authorized_keys` file.
    pub key: String,
    /// What it is called; not kept.
    pub name: Option<String>,
}

/// Another stream for a VM: `payment`, or `stream_id`.
#[derive(ToSchema)]
pub struct AttachBody {
    pub payment: Option<LeasePaymentBody>,
    /// The stream.
    pub stream_id: Option<Exact>,
    /// The signature of the stream's sender that it is to pay this VM.
    pub stream_proof: Option<String>,
}

/// What a VM is to become, of which what is not named stays, and what pays for that where rentals are paid for: `payment`, or
/// `stream_id`.
#[derive(ToSchema)]
pub struct ResizeBody {
    pub resources: Option<WantedResources>,
    /// In place of `resources`.
    pub size: Option<NamedSize>,
    pub payment: Option<LeasePaymentBody>,
    /// The stream; the one that pays now will do where it pays enough.
    pub stream_id: Option<Exact>,
    /// The signature of the stream's sender that it is to pay this VM.
    pub stream_proof: Option<String>,
}

/// What a VM's disk is made anew from.
#[derive(ToSchema)]
pub struct RebuildBody {
    /// The image that it has if absent.
    pub image: Option<ImageName>,
}

/// What a lease is to be quoted for.
#[derive(ToSchema)]
pub struct LeaseBody {
    pub vm_name: VmName,
    /// The default one if absent.
    pub image: Option<ImageName>,
    #[serde(flatten)]
    pub size: WantedResources,
    /// How long it is to be paid for, in seconds: at most ten years.
    #[schema(minimum = 1, maximum = 315_360_000)]
    pub duration_seconds: u64,
    /// The wallet that will pay.
    #[schema(pattern = "^0x[0-9a-fA-F]{40}$")]
    pub requestor_address: String,
    /// The payment network, by the name that the operator gave it; the first that takes leases if absent.
    pub network: Option<String>,
}

/// What a wallet signs to get a session: typed data (EIP-712) of the domain `GolemProviderSession`, version `1`; or a sign-in
/// message (EIP-4361), with `message` and `signature` alone.
#[derive(ToSchema)]
pub struct SessionBody {
    /// The wallet.
    #[schema(pattern = "^0x[0-9a-fA-F]{40}$")]
    pub requestor_address: Option<String>,
    /// `vm` (as if absent) for one VM, or `provider` for all of the wallet.
    #[schema(pattern = "^(vm|provider)$")]
    pub scope: Option<String>,
    /// The VM, by id or name.
    pub vm_id: Option<String>,
    /// Used once: 8 to 128 characters.
    #[schema(min_length = 8, max_length = 128)]
    pub nonce: Option<String>,
    /// Until when the signature counts, in seconds since the epoch.
    pub deadline: Option<u64>,
    /// A sign-in message (EIP-4361).
    pub message: Option<String>,
    /// 65 bytes, hexadecimal.
    pub signature: String,
}

/// What a narrower token may do.
#[derive(ToSchema)]
pub struct TokenBody {
    /// The one VM that it is for, by id or name; those of the session that asks if absent.
    pub vm_id: Option<String>,
    /// Whether it may only read.
    pub read_only: Option<bool>,
    /// How long it lasts, in seconds; never longer than the session that asks.
    pub expires_in_seconds: Option<u64>,
}
