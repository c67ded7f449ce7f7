//! What guests may reach: the internet, and nothing nearer, whatever becomes of the host's firewall.
//!
//! ```text
//!                   launch                        every few seconds
//!   (no process) ──────────► own namespace ──┬─► as it should be ──────────► own namespace
//!         │                                  ├─► rules or uplink are not ─► mended: own namespace
//!         │ no namespace to be had           └─► cannot be mended ────────► cut, and tried again
//!         └────────────────► restricted            nobody can look for 60 s ┘
//!   guests of an older version: shared, while the host's packet filter is as it should be; else cut
//! ```
//!
//! Owns each running guest's network: the namespace that its QEMU runs in, the rules in there, its
//! uplink, and the packet filter of the host. A guest gets its network after its rules, and loses it
//! before them. Never ends a guest, and touches nothing of the host but one table of its own.

mod host_table;
mod local_networks;
mod namespace;
mod nft;
mod rules;
#[cfg(test)]
#[cfg(feature = "guest-tests")]
mod tests;
mod uplink;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use golem_types::VmId;
use golem_types::wire::NetworkTraffic;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Mutex as Lock, OwnedMutexGuard};
use tokio::time::Instant;

pub(super) use host_table::uids;
pub use host_table::{ISOLATION_FOLDER, is_guest_user};
pub(super) use namespace::{ETC_FOLDER, around_qemu};
pub(super) use rules::{ADDRESS, SSH_PORT};
pub(super) use uplink::end as end_uplink;

use local_networks::LocalNetworks;

use super::name::name_word;
use super::qmp;
use super::{process, replace};
use crate::machine::{GuestNetwork, NetworkLimits, NetworkState};

/// How long a guest keeps its network while nobody can look at it (I3): the node may be short of
/// descriptors or memory for a moment.
const BLIND: Duration = Duration::from_secs(60);

/// Attempts at a loopback port that another program took between its choice and its use.
pub(super) const PORT_ATTEMPTS: u32 = 5;

/// How a guest was launched, in the machine's folder.
pub(super) const LAUNCH_FILE: &str = "launch.json";

/// How a guest was launched; [`LAUNCH_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Launched {
    /// Loopback port of the host that leads to the guest's SSH server.
    pub(super) ssh_port: u16,
    /// How it is connected; `None` if a version launched it that knew one way only.
    #[serde(default)]
    pub(super) network: Option<Way>,
}

impl Launched {
    /// Writes down that the guest in `folder` is launched this `way`.
    ///
    /// # Errors
    /// Any error of writing.
    pub(super) fn note(folder: &Path, ssh_port: u16, way: &Way) -> io::Result<()> {
        let launched = Self { ssh_port, network: Some(way.clone()) };
        replace(&folder.join(LAUNCH_FILE), &serde_json::to_vec(&launched).map_err(io::Error::other)?)
    }
}

/// How a guest can be launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// In a namespace of its own.
    Namespace,
    /// With no network but SSH in; why, with the fix.
    Restricted(String),
}

/// The networks of this node's guests.
#[derive(Debug)]
pub(super) struct Networks {
    limits: NetworkLimits,
    /// The host's packet filter as it was put in place; `None` until this node has done so.
    table: Lock<Option<host_table::InPlace>>,
    guests: Mutex<BTreeMap<VmId, Arc<Lock<Known>>>>,
    /// The address at which the internet sees this host; `None` until it is known.
    outside: Mutex<Option<IpAddr>>,
}

/// A guest's network, held while it is changed.
pub(super) type Held = OwnedMutexGuard<Known>;

/// What is known of one guest's network.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The rules that were put in place for a process, and what a listing of them is.
    in_place: Option<InPlace>,
    /// When all was last seen to be as it should be.
    good: Option<Instant>,
    /// Whether the link of a guest without a namespace is known to be up.
    link: Option<bool>,
}

#[derive(Debug)]
struct InPlace {
    qemu: Pid,
    text: String,
    digest: [u8; 32],
}

/// A running guest, as far as its network goes.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    pub(super) id: VmId,
    pub(super) folder: PathBuf,
    pub(super) uid: Option<u32>,
    pub(super) qemu: Pid,
    /// Loopback port of the host that leads to its SSH server.
    pub(super) ssh_port: u16,
}

/// Whether an error says that nobody could look, and nothing about what there is.
fn is_blind(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::TimedOut
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::IO)
        )
}

/// What this host lacks for guests to use the internet, with the fix. Guests have IPv4 only.
pub(super) fn missing_on_host() -> Option<String> {
    if local_networks::has_internet().is_ok_and(|has| !has) {
        return Some(
            "guests reach nothing, because they have IPv4 only and this host has no IPv4 route to the \
             internet; fix: give it one, or CLAT (464XLAT)"
                .to_owned(),
        );
    }
    let resolvers = host_table::resolvers_now().ok()?;
    (!resolvers.iter().any(IpAddr::is_ipv4)).then(|| {
        "guests resolve no names, because /etc/resolv.conf names no IPv4 resolver; fix: name one; a stub \
         like systemd-resolved's 127.0.0.53 is one"
            .to_owned()
    })
}

/// A loopback port that is free now.
///
/// # Errors
/// When none is.
pub(super) fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

impl Networks {
    pub(super) fn new(limits: NetworkLimits) -> Self {
        Self { limits, table: Lock::default(), guests: Mutex::default(), outside: Mutex::default() }
    }

    /// Keeps guests from `address`, too, at which the internet sees this host.
    pub(super) fn is_seen_at(&self, address: IpAddr) {
        *self.outside.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    fn near(&self) -> io::Result<LocalNetworks> {
        local_networks::now(*self.outside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn known(&self, id: &VmId) -> Arc<Lock<Known>> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.entry(id.clone()).or_default().clone()
    }

    /// Takes the guest's network: until the guard is dropped, nobody else changes it.
    pub(super) async fn hold(&self, id: &VmId) -> Held {
        self.known(id).lock_owned().await
    }

    /// The guest's network if nobody is at it.
    pub(super) fn try_hold(&self, id: &VmId) -> Option<Held> {
        self.known(id).try_lock_owned().ok()
    }

    /// Forgets a guest that is gone.
    pub(super) fn forget(&self, id: &VmId) {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// How a guest of `uid` can be launched on this host now. Tries it.
    pub(super) async fn way(&self, uid: Option<u32>) -> Way {
        let rules = match self.near() {
            Ok(near) => rules::of_guest(&near, self.limits, false),
            Err(error) => return Way::Restricted(format!("this host's addresses cannot be read ({error})")),
        };
        match namespace::hindrance(uid, self.limits, &rules).await {
            None => Way::Namespace,
            Some(reason) => Way::Restricted(reason),
        }
    }

    /// Puts the host's packet filter in place, if it is not.
    ///
    /// # Errors
    /// `NotFound` without nftables; `Other` with its words when it refuses.
    pub(super) async fn enforce_host_table(&self) -> io::Result<()> {
        let mut table = self.table.lock().await;
        match host_table::enforce(table.as_ref(), &self.near()?).await {
            Ok(in_place) => {
                *table = Some(in_place);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether this node has put the host's packet filter in place, and not taken it away.
    pub(super) async fn has_host_table(&self) -> bool {
        self.table.lock().await.is_some()
    }

    /// Takes the host's packet filter away if no guest is left on this host.
    ///
    /// # Errors
    /// As [`Networks::enforce_host_table`].
    pub(super) async fn lift_host_table(&self) -> io::Result<()> {
        let mut table = self.table.lock().await;
        if host_table::lift().await? {
            *table = None;
        }
        Ok(())
    }

    /// Sees to it that the guest's rules are in place and then that its uplink lives, and counts.
    /// Nothing that is as it should be is touched. A port that another program has taken is replaced,
    /// and written down.
    ///
    /// # Errors
    /// What could not be mended, or not be looked at.
    pub(super) async fn mend(&self, known: &mut Known, guest: &Connected) -> io::Result<NetworkTraffic> {
        let inside = namespace::enter(guest.uid, guest.qemu);
        let near = self.near()?;
        let text = rules::of_guest(&near, self.limits, false);
        let ours = known.in_place.as_ref().filter(|in_place| in_place.qemu == guest.qemu);
        let listing = match ours {
            Some(in_place) if in_place.text == text => {
                Some(nft::list(&inside, None).await?).filter(|listing| listing.digest == in_place.digest)
            }
            _ => None,
        };
        let adopted = ours.is_none();
        let traffic = match listing {
            Some(listing) => listing.traffic,
            None => {
                if let Some(in_place) = ours {
                    let why =
                        if in_place.text == text { "were changed" } else { "follow the host's addresses" };
                    golem_service::log_limited_each!(
                        guest.id,
                        warn,
                        vm = guest.id.redacted(),
                        "the guest's packet filter: rules {why}"
                    );
                }
                if let Err(error) = nft::load(&inside, &text).await {
                    if is_blind(&error) {
                        return Err(error);
                    }
                    // Something there is in the way: then without what was counted.
                    nft::load(&inside, &rules::of_guest(&near, self.limits, true)).await?;
                }
                let listing = nft::list(&inside, None).await?;
                known.in_place = Some(InPlace { qemu: guest.qemu, text, digest: listing.digest });
                listing.traffic
            }
        };
        let listener = guest.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        if namespace::has_device(guest.qemu)?
            && uplink::listens(listener, guest.ssh_port)?
            && !uplink::is_frozen(&guest.folder, &name_word(&guest.id))?
        {
            if adopted {
                self.limit_sending(&inside).await?;
            }
        } else {
            start_uplink(guest).await?;
            self.limit_sending(&inside).await?;
            if !adopted {
                golem_service::log_limited_each!(
                    guest.id,
                    warn,
                    vm = guest.id.redacted(),
                    "the guest's uplink had ended or was frozen, and was started again"
                );
            }
        }
        known.good = Some(Instant::now());
        Ok(traffic)
    }

    /// Sets how fast the guest may send. What it receives is limited by its rules.
    async fn limit_sending(&self, inside: &[String]) -> io::Result<()> {
        let Some(rate) = self.limits.rate() else { return Ok(()) };
        let (bits, burst) = (format!("{}bit", rate * 8), rules::burst(rate).to_string());
        let words =
            ["tc", "qdisc", "replace", "dev", rules::DEVICE, "root", "tbf", "rate", &bits, "burst", &burst];
        let words = inside.iter().cloned().chain(words.map(str::to_owned));
        let words: Vec<_> = words.chain(["latency", "400ms"].map(str::to_owned)).collect();
        nft::run(&words, "").await.map(drop)
    }

    /// Checks the guest's network, launched this `way`, mends it, and cuts it where that fails. `table`
    /// says whether the host's packet filter is in place.
    pub(super) async fn keep(
        &self,
        known: &mut Known,
        guest: &Connected,
        way: Option<Way>,
        table: &io::Result<()>,
    ) -> GuestNetwork {
        match way {
            Some(Way::Namespace) => self.keep_own(known, guest).await,
            Some(Way::Restricted(reason)) => {
                GuestNetwork { state: NetworkState::Restricted { reason }, traffic: None }
            }
            None if guest.uid.is_some() => keep_shared(known, guest, table).await,
            None => {
                let reason =
                    "an older version of this program launched it, not as root; fix: restart it".to_owned();
                GuestNetwork { state: NetworkState::Restricted { reason }, traffic: None }
            }
        }
    }

    async fn keep_own(&self, known: &mut Known, guest: &Connected) -> GuestNetwork {
        let error = match self.mend(known, guest).await {
            Ok(traffic) => return GuestNetwork { state: NetworkState::Own, traffic: Some(traffic) },
            Err(error) => error,
        };
        if matches!(process::of(&guest.folder, &guest.id), Ok(None)) {
            // It ended meanwhile, and its network with it.
            return GuestNetwork { state: NetworkState::Own, traffic: None };
        }
        let good = known.good.get_or_insert_with(Instant::now);
        if is_blind(&error) && good.elapsed() < BLIND {
            golem_service::log_limited_each!(
                guest.id,
                warn,
                vm = guest.id.redacted(),
                error = &error as &dyn std::error::Error,
                "the guest's network cannot be checked now"
            );
            return GuestNetwork { state: NetworkState::Own, traffic: None };
        }
        golem_service::log_limited_each!(
            guest.id,
            error,
            vm = guest.id.redacted(),
            error = &error as &dyn std::error::Error,
            "the guest's network is not as it should be and is cut"
        );
        if let Err(error) = uplink::end(&guest.folder, &name_word(&guest.id)).await {
            golem_service::log_limited_each!(
                guest.id,
                error,
                vm = guest.id.redacted(),
                error = &error as &dyn std::error::Error,
                "the guest's uplink was not ended"
            );
            let _ = set_link(&guest.folder, false).await;
        }
        GuestNetwork { state: NetworkState::Cut { reason: error.to_string() }, traffic: None }
    }
}

/// Lets a guest of an older version, which is in the host's own namespace, have its network while
/// the host's packet filter is in place, which `table` says; and not otherwise.
async fn keep_shared(known: &mut Known, guest: &Connected, table: &io::Result<()>) -> GuestNetwork {
    let state = match table {
        Ok(()) => NetworkState::Shared,
        Err(error) => NetworkState::Cut { reason: format!("the host's packet filter: {error}") },
    };
    let up = state == NetworkState::Shared;
    if known.link != Some(up) {
        match set_link(&guest.folder, up).await {
            Ok(()) => known.link = Some(up),
            Err(error) => tracing::error!(
                vm = guest.id.redacted(),
                error = &error as &dyn std::error::Error,
                up,
                "the guest's network was not switched"
            ),
        }
    }
    GuestNetwork { state, traffic: None }
}

/// Starts an uplink anew, at another port if the guest's is taken.
async fn start_uplink(guest: &Connected) -> io::Result<()> {
    let name = name_word(&guest.id);
    uplink::end(&guest.folder, &name).await?;
    let mut port = guest.ssh_port;
    for _ in 1..PORT_ATTEMPTS {
        match uplink::start(&guest.folder, &name, guest.uid, guest.qemu, port).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            done => return done,
        }
        port = free_port()?;
        Launched::note(&guest.folder, port, &Way::Namespace)?;
    }
    uplink::start(&guest.folder, &name, guest.uid, guest.qemu, port).await
}

/// Plugs the guest's network in or out, as with a cable.
async fn set_link(folder: &Path, up: bool) -> io::Result<()> {
    let mut client = qmp::Client::qmp(folder).await?;
    client.call("set_link", json!({ "name": "net0", "up": up })).await.map(drop)
}
