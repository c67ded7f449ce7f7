//! The types that a setting can have, and how each is read from text.
//!
//! Owns parsing of single values. Never looks at two settings at once: `check` does.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use golem_service::server::TrustedProxies;
use golem_types::{Decimal, ImageName};
use ruint::aliases::U256;

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// What a good value looks like, for documentation and for the fix of a bad one.
    fn expects() -> String;
    /// Reads `text`, which has no white space around it and is not empty.
    fn read(text: &str) -> Option<Self>;
    /// What it means that nobody sets it; `None` if this cannot be.
    fn unset() -> Option<Self> {
        None
    }
    /// What is made of a bad `text` that a file or the environment has from before it was bad: a node that ran has to run on. An
    /// empty text is the default; `None` if nothing is made of it, and it is a mistake.
    fn mended(_text: &str) -> Option<String> {
        None
    }
}

impl Value for String {
    fn expects() -> String {
        "one line of text".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.chars().all(|c| !c.is_control()).then(|| text.to_owned())
    }
}

impl Value for bool {
    fn expects() -> String {
        "`true` or `false`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }
}

impl Value for TrustedProxies {
    fn expects() -> String {
        "addresses or networks, separated by commas: `127.0.0.1,10.0.0.0/8,fd00::/8`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }
    fn unset() -> Option<Self> {
        Some(Self::default())
    }
}

impl Value for u32 {
    fn expects() -> String {
        "a whole number".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for NonZeroU16 {
    fn expects() -> String {
        "a port from 1 to 65535".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for IpAddr {
    fn expects() -> String {
        "an IP address".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for PathBuf {
    fn expects() -> String {
        "a path; a leading `~` is the home directory".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
}

impl Value for Duration {
    fn expects() -> String {
        "a whole number of seconds, at least 1".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        // A day bounds every deadline that an operator can mean.
        let seconds: u64 = text.parse().ok()?;
        (1..=86_400).contains(&seconds).then(|| Self::from_secs(seconds))
    }
}

impl Value for ImageName {
    fn expects() -> String {
        "a name of the image catalogue (`golem-provider images list`)".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A share from 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

impl Value for Percent {
    fn expects() -> String {
        "a percentage from 1 to 100".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let number: u8 = text.strip_suffix('%').unwrap_or(text).trim_end().parse().ok()?;
        (1..=100).contains(&number).then_some(Self(number))
    }
}

/// A count of at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLeastOne(pub u32);

impl Value for AtLeastOne {
    fn expects() -> String {
        "a whole number, at least 1".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number| *number >= 1).map(Self)
    }
}

/// How often each core is rented out, in percent. Below a tenth hardly a guest has a core, and beyond ten
/// guests have too little time to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overcommit(pub u32);

impl Value for Overcommit {
    fn expects() -> String {
        "a number from 0.1 to 10 with at most two digits after the point, e.g. `1.5`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let exact: Decimal = text.parse().ok()?;
        let hundredth = U256::from(10).pow(U256::from(16));
        let (percent, rest) = exact.atto().div_rem(hundredth);
        let percent = u32::try_from(percent).ok().filter(|percent| (10..=1000).contains(percent));
        percent.filter(|_| rest.is_zero()).map(Self)
    }
}

/// A country as two letters, in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Country(pub String);

impl Value for Country {
    fn expects() -> String {
        "a country as two letters (ISO 3166), e.g. `SE`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let two_letters = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
        two_letters.then(|| Self(text.to_ascii_uppercase()))
    }
}

/// An Ethereum address; `0x0` is the zero address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub alloy_primitives::Address);

impl Value for Address {
    fn expects() -> String {
        "an Ethereum address: `0x` and 40 hexadecimal digits, or `0x0`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        if text == "0x0" {
            return Some(Self(alloy_primitives::Address::ZERO));
        }
        text.starts_with("0x").then(|| text.parse().ok()).flatten().map(Self)
    }
}

/// An Ethereum address that money is sent to for good: its capitals, where there are any, have to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayoutAddress(pub alloy_primitives::Address);

impl Value for PayoutAddress {
    fn expects() -> String {
        "an Ethereum address, `0x` and 40 hexadecimal digits, whose capitals are its checksum (EIP-55); not zero".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x")?;
        let address: alloy_primitives::Address = text.parse().ok()?;
        let has = |is: fn(&char) -> bool| digits.chars().any(|digit| is(&digit));
        let is_mixed = has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase);
        let is_right = !is_mixed || address.to_checksum(None) == text;
        (is_right && !address.is_zero()).then_some(Self(address))
    }
}

/// A time of at most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u32);

impl Value for Seconds {
    fn expects() -> String {
        "a whole number of seconds, at most a year".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().filter(|seconds| *seconds <= 366 * 86_400).map(Self)
    }
}

impl Seconds {
    /// The time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// An amount of money in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wei(pub U256);

impl Value for Wei {
    fn expects() -> String {
        "a whole number of wei".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| U256::from_str_radix(text, 10).ok()).flatten().map(Self)
    }
}

/// A price in some currency. What a billion would buy is no virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price(pub Decimal);

impl Value for Price {
    fn expects() -> String {
        "a number from 0 to 1000000000, e.g. `2.5`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let most = Decimal::from_atto(U256::from(10).pow(U256::from(27)));
        text.parse().ok().filter(|price| *price <= most).map(Self)
    }
}

/// Where an HTTP service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(pub String);

impl Value for Url {
    fn expects() -> String {
        "an address that begins with http:// or https://".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let scheme = text.starts_with("http://") || text.starts_with("https://");
        (scheme && golem_service::http::Url::parse(text).is_ok()).then(|| Self(text.to_owned()))
    }
}

/// Where a WebSocket service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketUrl(pub String);

impl Value for WebSocketUrl {
    fn expects() -> String {
        "an address that begins with ws:// or wss://".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let scheme = text.starts_with("ws://") || text.starts_with("wss://");
        (scheme && golem_service::http::Url::parse(text).is_ok()).then(|| Self(text.to_owned()))
    }
}

/// The address that renters are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicIp {
    /// Found by the node.
    Auto,
    /// Given by the operator.
    Fixed(IpAddr),
}

impl Value for PublicIp {
    fn expects() -> String {
        "`auto` or an IP address".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("auto") {
            return Some(Self::Auto);
        }
        let address: IpAddr = text.parse().ok()?;
        (!address.is_unspecified() && !address.is_multicast()).then_some(Self::Fixed(address))
    }
}

impl<T: Value> Value for Option<T> {
    fn expects() -> String {
        T::expects()
    }
    fn read(text: &str) -> Option<Self> {
        T::read(text).map(Some)
    }
    fn unset() -> Option<Self> {
        Some(None)
    }
}

/// Defines an enum whose values are words.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $variant_doc])+ $variant,)+ }

        impl $name {
            /// The word as operators write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Value for $name {
            fn expects() -> String {
                let words: &[&str] = &[$($word),+];
                format!("one of `{}`", words.join("`, `"))
            }
            fn read(text: &str) -> Option<Self> {
                match text.to_ascii_lowercase().as_str() { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

choice! {
    /// How the node is being used.
    Environment {
        /// For renters.
        Production = "production",
        /// For trying and building things on one's own machine.
        Development = "development",
    }
}
choice! {
    /// Where the node offers itself.
    AdvertiserType {
        /// On the network of Golem Base, or on its successor.
        GolemBase = "golem_base",
        /// On a discovery server.
        DiscoveryServer = "discovery_server",
        /// On both.
        Both = "both",
        /// Nowhere: renters have to be told where it is.
        None = "none",
    }
}
choice! {
    /// A kind of market.
    Advertiser {
        /// Discovery servers that show who is connected.
        WebSocket = "websocket",
        /// The network of Golem Base, or its successor Arkiv.
        Arkiv = "arkiv",
        /// A discovery server that is posted to.
        Http = "http",
    }
}
choice! {
    /// Whether a certificate is obtained.
    Acme {
        /// Where none is given.
        Auto = "auto",
        /// Never.
        Off = "off",
    }
}
choice! {
    /// The market in which the node offers itself.
    Network {
        /// Real money.
        Mainnet = "mainnet",
        /// Worthless test coins.
        Testnet = "testnet",
        /// One's own machine.
        Development = "development",
    }
}
choice! {
    /// Who may use a VM over the public API.
    ApiAuth {
        /// Whoever knows its id.
        Capability = "capability",
        /// Everyone, and everyone sees every VM; for development.
        Open = "open",
    }
}
choice! {
    /// What makes the VMs.
    VmBackend {
        /// Multipass where it is installed, else QEMU.
        Auto = "auto",
        /// QEMU.
        Qemu = "qemu",
        /// Multipass.
        Multipass = "multipass",
        /// Nothing: machines that only pretend, for trying the API.
        Sim = "sim",
    }
}
choice! {
    /// What runs the guests' processors.
    VmAccel {
        /// KVM where it works, else TCG.
        Auto = "auto",
        /// The processor's own virtualisation.
        Kvm = "kvm",
        /// Emulation: works everywhere, slowly.
        Tcg = "tcg",
    }
}
choice! {
    /// What becomes of a guest that shut itself down.
    RestartPolicy {
        /// It stays off until it is started.
        OnFailure = "on-failure",
        /// It is booted again.
        Always = "always",
    }
}
choice! {
    /// How log lines look.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
choice! {
    /// The least important log lines that are written.
    LogLevel {
        /// What failed and needs the operator.
        Error = "error",
        /// What may need the operator.
        Warn = "warn",
        /// What the node does.
        Info = "info",
        /// How it does it.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(super::MASK)
    }
}

impl Value for Secret {
    fn expects() -> String {
        "a private key of 64 hexadecimal digits".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let shaped = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        shaped.then(|| Self(digits.to_owned()))
    }
}
