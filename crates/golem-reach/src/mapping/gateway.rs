//! The router, as it is asked to forward ports to this host.
//!
//! Owns the three protocols in which that can be asked, and what answers mean. What answers is not
//! trusted: every request has a deadline, and no word of an answer is shown. Never decides which ports.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::pcp::{self, BaseMapRequest, DropMappingRange};
use crab_nat::{GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, TimeoutConfig, natpmp};
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, RemovePortError, RequestError, SearchOptions};
use serde::Serialize;
use tokio::time::timeout;

use super::client::Client;

/// How long a port is asked to be forwarded, in seconds: what a node that dies leaves behind is gone then.
pub(super) const LEASE: u32 = 3600;

/// Name of the mappings in the router's own list.
const DESCRIPTION: &str = "golem-provider";

/// How long a router may take to say that it speaks UPnP. It waits up to a second itself.
const SEARCH: Duration = Duration::from_secs(3);

/// How long one request over UPnP may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Waits for a datagram's answer: a second, and once more. The router is one hop away, but small ones take
/// half a second for a change, and one that is asked again meanwhile does everything twice.
const WAITS: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_secs(1),
    max_retries: 1,
    max_retry_timeout: Some(Duration::from_secs(1)),
};

/// Most entries of a router's list that are looked at.
const LIST: u32 = 1024;

/// A way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// The Port Control Protocol (RFC 6887).
    #[serde(rename = "pcp")]
    Pcp,
    /// The NAT Port Mapping Protocol (RFC 6886).
    #[serde(rename = "nat-pmp")]
    NatPmp,
    /// UPnP, Internet Gateway Device.
    #[serde(rename = "upnp-igd")]
    Upnp,
}

impl Protocol {
    /// All, the best first.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    /// Its name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP-IGD",
        }
    }
}

/// Why the router does not forward.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum GatewayError {
    /// Nothing came back in time.
    #[error("no answer")]
    Silent,
    /// Something came back that is none of the protocol.
    #[error("an answer that cannot be understood")]
    Nonsense,
    /// It does not allow it.
    #[error("the router refuses ({0})")]
    Refused(String),
    /// It knows another protocol, or none.
    #[error("the router does not speak it")]
    Unspoken,
    /// The port is another host's, or the router's own.
    #[error("the port is taken in the router")]
    Taken,
    /// It gave another port, which was given back.
    #[error("the router gave port {0} instead, which was given back")]
    Another(u16),
    /// It has no room for more.
    #[error("the router has no room for more")]
    Full,
    /// It forwards for ever or not at all: a node that dies would leave the port open.
    #[error("the router only forwards without an end, which a crash would leave open")]
    Endless,
}

impl GatewayError {
    /// Whether the router says the same to every port.
    pub(super) const fn is_of_all(&self) -> bool {
        matches!(self, Self::Silent | Self::Unspoken)
    }
}

/// A port that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    /// How long.
    pub life: Duration,
    /// The router's address on the other side, where it said so.
    pub external: Option<IpAddr>,
}

/// A router that may be asked.
#[derive(Debug, Clone)]
pub(super) struct Gateway {
    client: Client,
    address: IpAddr,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    Pcp,
    NatPmp,
    Upnp(Box<igd_next::aio::Gateway<Tokio>>),
}

impl Gateway {
    /// The router of `client`, by `protocol`.
    ///
    /// # Errors
    /// [`GatewayError::Silent`] where none is known, or none answers.
    pub(super) async fn find(client: Client, protocol: Protocol) -> Result<Self, GatewayError> {
        let (address, way) = match protocol {
            Protocol::Upnp => {
                let mut options = SearchOptions::default();
                options.bind_addr = SocketAddr::new(client.lan.into(), 0);
                options.timeout = Some(SEARCH);
                let found = search_gateway(options).await.map_err(|_| GatewayError::Silent)?;
                (found.addr.ip(), Way::Upnp(Box::new(found)))
            }
            other => {
                let router = client.router.ok_or(GatewayError::Silent)?;
                (router.into(), if other == Protocol::Pcp { Way::Pcp } else { Way::NatPmp })
            }
        };
        Ok(Self { client, address, way })
    }

    /// Where it is asked.
    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// How it is asked.
    pub(super) const fn protocol(&self) -> Protocol {
        match self.way {
            Way::Pcp => Protocol::Pcp,
            Way::NatPmp => Protocol::NatPmp,
            Way::Upnp(_) => Protocol::Upnp,
        }
    }

    fn at(&self) -> GatewayAddress {
        self.address.into()
    }

    /// Has `port` forwarded to the same port of this host, over TCP.
    ///
    /// # Errors
    /// [`GatewayError`]; then nothing is left of it.
    pub(super) async fn map(&self, port: NonZeroU16) -> Result<Lease, GatewayError> {
        let wanted = PortMappingOptions {
            external_port: Some(port),
            lifetime_seconds: Some(LEASE),
            timeout_config: Some(WAITS),
        };
        let lan = self.client.lan;
        match &self.way {
            Way::Pcp => {
                let request = BaseMapRequest::new(self.at(), lan.into(), InternetProtocol::Tcp, port);
                let mapping = pcp::port_mapping(request, Some(self.client.nonce), None, wanted).await;
                self.judge(port, mapping.map_err(of_pcp)?).await
            }
            Way::NatPmp => {
                let mapping = natpmp::port_mapping(self.at(), InternetProtocol::Tcp, port, wanted).await;
                self.judge(port, mapping.map_err(of_natpmp)?).await
            }
            Way::Upnp(gateway) => {
                let to = SocketAddr::new(lan.into(), port.get());
                let asked = gateway.add_port(PortMappingProtocol::TCP, port.get(), to, LEASE, DESCRIPTION);
                timeout(REQUEST, asked).await.map_err(|_| GatewayError::Silent)?.map_err(of_upnp)?;
                Ok(Lease { life: Duration::from_secs(LEASE.into()), external: None })
            }
        }
    }

    /// A mapping that was given: taken if it is of the port that was asked for, and else given back.
    async fn judge(&self, port: NonZeroU16, mapping: PortMapping) -> Result<Lease, GatewayError> {
        if mapping.external_port() != port {
            let _ = self.unmap(port).await;
            return Err(GatewayError::Another(mapping.external_port().get()));
        }
        let external = match mapping.mapping_type() {
            crab_nat::PortMappingType::Pcp { external_ip, .. } => Some(external_ip),
            crab_nat::PortMappingType::NatPmp => None,
        };
        Ok(Lease { life: Duration::from_secs(mapping.lifetime().into()), external })
    }

    /// Has `port` no longer forwarded to this host.
    ///
    /// # Errors
    /// [`GatewayError`]; one that is not forwarded is none.
    pub(super) async fn unmap(&self, port: NonZeroU16) -> Result<(), GatewayError> {
        match &self.way {
            Way::Pcp => {
                let one = DropMappingRange::Single { protocol: InternetProtocol::Tcp, internal_port: port };
                let Client { lan, nonce, .. } = self.client;
                match pcp::try_drop_mapping(self.at(), lan.into(), nonce, one, Some(WAITS)).await {
                    // miniupnpd says so where it forwards nothing; there is no other want of room here.
                    Ok(()) | Err(pcp::Failure::NoResources(_)) => Ok(()),
                    Err(failure) => Err(of_pcp(failure)),
                }
            }
            Way::NatPmp => {
                natpmp::try_drop_mapping(self.at(), InternetProtocol::Tcp, Some(port), Some(WAITS))
                    .await
                    .map_err(of_natpmp)
            }
            Way::Upnp(gateway) => {
                let asked = gateway.remove_port(PortMappingProtocol::TCP, port.get());
                match timeout(REQUEST, asked).await.map_err(|_| GatewayError::Silent)? {
                    Ok(()) | Err(RemovePortError::NoSuchPortMapping) => Ok(()),
                    Err(RemovePortError::ActionNotAuthorized) => Err(not_allowed()),
                    Err(RemovePortError::RequestError(error)) => Err(of_request(&error)),
                }
            }
        }
    }

    /// Of `ports`, those that the router may forward to this host. Over UPnP anyone may remove
    /// anyone's, so that only what its list says is this node's is named; by the other protocols
    /// nobody reaches another host's.
    pub(super) async fn own(&self, ports: &BTreeSet<NonZeroU16>) -> BTreeSet<NonZeroU16> {
        let Way::Upnp(gateway) = &self.way else { return ports.clone() };
        let mut own = BTreeSet::new();
        for index in 0..LIST {
            let Ok(Ok(entry)) = timeout(REQUEST, gateway.get_generic_port_mapping_entry(index)).await else {
                break;
            };
            let ours = entry.internal_client == self.client.lan.to_string()
                && entry.port_mapping_description == DESCRIPTION
                && entry.protocol == PortMappingProtocol::TCP;
            own.extend(ports.iter().copied().find(|port| ours && port.get() == entry.external_port));
        }
        own
    }

    /// The router's address on the other side; `None` if it does not say.
    pub(super) async fn external(&self) -> Option<IpAddr> {
        let address = match &self.way {
            // It says so with each mapping.
            Way::Pcp => return None,
            Way::NatPmp => natpmp::external_address(self.at(), Some(WAITS)).await.ok()?.into(),
            Way::Upnp(gateway) => timeout(REQUEST, gateway.get_external_ip()).await.ok()?.ok()?,
        };
        Some(address)
    }
}

fn not_allowed() -> GatewayError {
    GatewayError::Refused("not allowed".to_owned())
}

fn of_pcp(failure: pcp::Failure) -> GatewayError {
    use pcp::Failure;
    match failure {
        Failure::Socket(_) | Failure::Timeout => GatewayError::Silent,
        Failure::Nonce | Failure::InvalidResponse(_) => GatewayError::Nonsense,
        Failure::UnsupportedVersion(_) => GatewayError::Unspoken,
        Failure::NotAuthorized(_) => not_allowed(),
        Failure::NetworkFailure(_) => GatewayError::Refused("it has no public address now".to_owned()),
        Failure::NoResources(_) | Failure::UserExceededQuota(_) => GatewayError::Full,
        Failure::CannotProvideExternal(_) => GatewayError::Taken,
        Failure::AddressMismatch => GatewayError::Refused("another router stands in between".to_owned()),
        _ => GatewayError::Refused("not supported".to_owned()),
    }
}

fn of_natpmp(failure: natpmp::Failure) -> GatewayError {
    use natpmp::Failure;
    match failure {
        Failure::Socket(_) | Failure::Timeout => GatewayError::Silent,
        Failure::InvalidResponse(_) => GatewayError::Nonsense,
        Failure::UnsupportedVersion(_) => GatewayError::Unspoken,
        Failure::NotAuthorized => not_allowed(),
        Failure::NetworkFailure => GatewayError::Refused("it has no public address now".to_owned()),
        Failure::OutOfResources => GatewayError::Full,
        Failure::UnsupportedOpcode => GatewayError::Unspoken,
    }
}

fn of_upnp(error: AddPortError) -> GatewayError {
    match error {
        AddPortError::ActionNotAuthorized => not_allowed(),
        AddPortError::PortInUse => GatewayError::Taken,
        AddPortError::OnlyPermanentLeasesSupported => GatewayError::Endless,
        AddPortError::RequestError(error) => of_request(&error),
        _ => GatewayError::Refused("not supported".to_owned()),
    }
}

fn of_request(error: &RequestError) -> GatewayError {
    match error {
        // NoPortMapsAvailable of IGD 2.
        RequestError::ErrorCode(728, _) => GatewayError::Full,
        RequestError::ErrorCode(code, _) => GatewayError::Refused(format!("UPnP error {code}")),
        RequestError::UnsupportedAction(_) => GatewayError::Unspoken,
        RequestError::InvalidResponse(_) | RequestError::Utf8Error(_) => GatewayError::Nonsense,
        _ => GatewayError::Silent,
    }
}
