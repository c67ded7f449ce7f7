//! A certificate with its key, and what it says.
//!
//! Owns what is read from PEM, the names it is good for, and when it has to be renewed. Never judges who issued it:
//! clients do.

use std::net::IpAddr;
use std::sync::Arc;

use golem_types::visible::line_of;
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Most names of a certificate that are read; authorities put at most a hundred on one.
const NAMES: usize = 200;

/// Why PEM texts are no certificate that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("there is no certificate in it (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    #[error(
        "there is no private key in it that can be used (-----BEGIN PRIVATE KEY-----, without a passphrase)"
    )]
    NoKey,
    #[error("the key is not the certificate's")]
    AnotherKey,
    #[error("the certificate cannot be read")]
    Malformed,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateFacts {
    /// Who issued it.
    pub issuer: String,
    /// The addresses and host names it is for.
    pub names: Vec<String>,
    /// When it begins to be good.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl CertificateFacts {
    /// Whether it is for the address `address` itself.
    pub(super) fn names_address(&self, address: IpAddr) -> bool {
        self.names.iter().any(|name| name.parse() == Ok(address.to_canonical()))
    }

    /// The host names it is for, without those that stand for many (`*.example.com`).
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let names = self.names.iter().map(String::as_str);
        names.filter(|name| !name.contains('*') && name.parse::<IpAddr>().is_err())
    }

    /// When it is renewed: at a third of its life before its end, 53 hours of the 160 that an address gets.
    pub(super) fn renewal(&self) -> Timestamp {
        let life = self.until.duration_since(self.from).max(SignedDuration::ZERO);
        self.until.checked_sub(life / 3).unwrap_or(self.until)
    }
}

/// A certificate that can be served.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: CertificateFacts,
}

impl Certificate {
    /// Reads the certificate, with those of its issuers behind it, from the PEM text `chain`, and its key from `key`.
    pub(super) fn read(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::NoCertificate)?;
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let facts = facts(first).ok_or(CertificateError::Malformed)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let key = CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::AnotherKey,
            _ => CertificateError::NoKey,
        })?;
        Ok(Self { key: Arc::new(key), facts })
    }
}

fn facts(certificate: &CertificateDer<'_>) -> Option<CertificateFacts> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let extension = parsed.subject_alternative_name().ok()?;
    let general = extension.map_or(&[][..], |extension| extension.value.general_names.as_slice());
    let names = general.iter().take(NAMES).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    let issuer = parsed.issuer();
    let common = issuer.iter_common_name().next().and_then(|name| name.as_str().ok());
    let validity = parsed.validity();
    Some(CertificateFacts {
        names: names.collect(),
        issuer: shown(&common.map_or_else(|| issuer.to_string(), ToOwned::to_owned)),
        from: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        until: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

/// `text` as a terminal may show it.
fn shown(text: &str) -> String {
    line_of(text, 253)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four: Result<[u8; 4], _> = bytes.try_into();
    let sixteen: Result<[u8; 16], _> = bytes.try_into();
    four.map(IpAddr::from).or(sixteen.map(IpAddr::from)).ok()
}
