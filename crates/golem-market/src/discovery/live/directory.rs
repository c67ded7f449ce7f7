//! Who is connected to a server, and what they offer.
//!
//! ```text
//!   provider ─► join (the newest connection of an id counts) ─► upsert, remove, or its end
//!                                                                       │
//!   requestor ◄─ snapshot, and every change after it ◄── ring of changes ┘
//! ```
//! Owns that adverts last no longer than their connection, and that a snapshot and the changes after it fit together.
//! Changes stand in one ring for all who look on: who falls behind by more than the ring loses its place, and nothing
//! is kept for it. Never opens a socket, and never judges an advert.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::Address;
use golem_service::web_socket::Utf8Bytes;
use serde::Serialize;
use tokio::sync::{Notify, broadcast};

use super::advert::LiveAdvert;
use super::words;
use crate::discovery::store::Filter;

/// Changes that are kept for those who have not read them: more than there can be providers, so that a restart of the
/// server, after which all come back at once, costs nobody its place.
const CHANGES: usize = 16_384;

/// What stands before the advert in the message of a change.
const BEFORE: &str = r#"{"type":"provider.upsert","advertisement":"#;

/// An advert that is shown.
#[derive(Debug)]
pub struct Shown {
    advert: LiveAdvert,
    /// The message that tells of it.
    message: Utf8Bytes,
}

impl Shown {
    fn of(id: Address, advert: LiveAdvert) -> Result<Self, serde_json::Error> {
        #[derive(Serialize)]
        struct Listing<'a> {
            provider_id: String,
            #[serde(flatten)]
            advert: &'a LiveAdvert,
        }
        let json = serde_json::to_string(&Listing { provider_id: id.to_string(), advert: &advert })?;
        Ok(Self { advert, message: format!("{BEFORE}{json}}}").into() })
    }

    /// The advert as a list has it.
    #[must_use]
    pub fn json(&self) -> &str {
        self.message.get(BEFORE.len()..self.message.len() - 1).unwrap_or_default()
    }
}

/// That a provider offers something else than before.
#[derive(Debug)]
pub struct Change {
    id: Address,
    before: Option<Arc<Shown>>,
    after: Option<Arc<Shown>>,
}

impl Change {
    /// What a renter who looks for `filter` is told of it, if anything.
    #[must_use]
    pub fn message(&self, filter: &Filter) -> Option<Utf8Bytes> {
        let wanted = |shown: &Option<Arc<Shown>>| {
            shown.as_ref().filter(|shown| filter.wants(&shown.advert)).map(|shown| shown.message.clone())
        };
        wanted(&self.after).or_else(|| wanted(&self.before).map(|_| words::gone(self.id)))
    }
}

/// A provider that is connected.
#[derive(Debug)]
struct Connected {
    /// Which of its connections counts.
    number: u64,
    shown: Option<Arc<Shown>>,
    replaced: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Providers {
    next: u64,
    by_id: HashMap<Address, Connected>,
}

#[derive(Debug)]
struct Shared {
    providers: Mutex<Providers>,
    changes: broadcast::Sender<Arc<Change>>,
}

/// A server's directory; clones share it.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Shared>);

impl Default for Directory {
    fn default() -> Self {
        Self(Arc::new(Shared { providers: Mutex::default(), changes: broadcast::channel(CHANGES).0 }))
    }
}

/// The connection of a provider; when dropped, its advert is shown no longer.
#[derive(Debug)]
pub struct Membership {
    directory: Directory,
    id: Address,
    number: u64,
    replaced: Arc<Notify>,
}

impl Directory {
    fn providers(&self) -> MutexGuard<'_, Providers> {
        // Whatever panicked: an entry is whole or not there.
        self.0.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection of the provider `id`, in place of an earlier one, whose advert stays until this one says
    /// something else or ends.
    #[must_use]
    pub fn join(&self, id: Address) -> Membership {
        let mut providers = self.providers();
        providers.next += 1;
        let (number, replaced) = (providers.next, Arc::new(Notify::new()));
        let notify = Arc::clone(&replaced);
        match providers.by_id.entry(id) {
            Place::Vacant(place) => drop(place.insert(Connected { number, shown: None, replaced: notify })),
            Place::Occupied(mut place) => {
                let connected = place.get_mut();
                connected.number = number;
                std::mem::replace(&mut connected.replaced, notify).notify_one();
            }
        }
        Membership { directory: self.clone(), id, number, replaced }
    }

    /// What `filter` lets through now, and every change from now on.
    #[must_use]
    pub fn subscribe(&self, filter: &Filter) -> (Vec<Arc<Shown>>, broadcast::Receiver<Arc<Change>>) {
        let providers = self.providers();
        let shown = providers.by_id.values().filter_map(|connected| connected.shown.as_ref());
        let wanted = shown.filter(|shown| filter.wants(&shown.advert)).cloned().collect();
        (wanted, self.0.changes.subscribe())
    }

    /// How many adverts are shown.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.providers().by_id.values().filter(|connected| connected.shown.is_some()).count()
    }

    /// How many look on.
    #[must_use]
    pub fn lookers(&self) -> usize {
        self.0.changes.receiver_count()
    }

    /// Tells of a change, while nobody can take a snapshot.
    fn tell(&self, id: Address, before: Option<Arc<Shown>>, after: Option<Arc<Shown>>) {
        if before.is_some() || after.is_some() {
            // Without anybody who looks on, there is nobody to tell.
            let _ = self.0.changes.send(Arc::new(Change { id, before, after }));
        }
    }
}

impl Membership {
    /// Ready when a newer connection of the same provider has come: this one counts no longer.
    pub async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Shows `advert` in place of what was shown.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which no advert that was read can be the cause of.
    pub fn upsert(&self, advert: LiveAdvert) -> Result<(), serde_json::Error> {
        let shown = Arc::new(Shown::of(self.id, advert)?);
        self.shows(Some(shown));
        Ok(())
    }

    /// Shows nothing.
    pub fn remove(&self) {
        self.shows(None);
    }

    fn shows(&self, shown: Option<Arc<Shown>>) {
        let mut providers = self.directory.providers();
        let Some(connected) = providers.by_id.get_mut(&self.id) else { return };
        let says = |shown: &Option<Arc<Shown>>| shown.as_ref().map(|shown| shown.message.clone());
        if connected.number != self.number || says(&connected.shown) == says(&shown) {
            return;
        }
        let before = std::mem::replace(&mut connected.shown, shown.clone());
        self.directory.tell(self.id, before, shown);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut providers = self.directory.providers();
        if let Place::Occupied(place) = providers.by_id.entry(self.id)
            && place.get().number == self.number
        {
            let before = place.remove().shown;
            self.directory.tell(self.id, before, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use golem_types::Resources;

    use super::*;

    fn advert(cpu: u32) -> LiveAdvert {
        LiveAdvert {
            ip_address: [203, 0, 113, 7].into(),
            country: "SE".to_owned(),
            platform: None,
            endpoint_protocol: None,
            endpoint_host: None,
            endpoint_port: None,
            endpoint_url: None,
            resources: Resources::new(cpu, 1, 10),
            pricing: None,
        }
    }

    /// What one who looks for at least four cores is told.
    struct Looker(broadcast::Receiver<Arc<Change>>);

    impl Looker {
        fn told(&mut self) -> Vec<String> {
            let mut told = Vec::new();
            while let Ok(change) = self.0.try_recv() {
                let four = Filter { cpu: Some(4), ..Filter::default() };
                let Some(message) = change.message(&four) else { continue };
                let read = words::FromServer::read(&message).unwrap();
                told.push(match read {
                    words::FromServer::Upsert(listed) => format!("cpu {}", listed.resources["cpu"]),
                    words::FromServer::Remove(id) => format!("gone {}", &id[..4]),
                    other => panic!("{other:?}"),
                });
            }
            told
        }
    }

    #[test]
    fn an_advert_lasts_as_long_as_its_connection_and_changes_are_told_to_whom_they_concern() {
        let directory = Directory::default();
        let (none, changes) = directory.subscribe(&Filter::default());
        let mut looker = Looker(changes);
        assert!(none.is_empty());
        let one = directory.join(Address::repeat_byte(0x11));
        assert_eq!(looker.told(), [] as [&str; 0], "connected is not shown");
        one.upsert(advert(8)).unwrap();
        one.upsert(advert(8)).unwrap();
        assert_eq!(looker.told(), ["cpu 8"], "the same again is no change");
        one.upsert(advert(6)).unwrap();
        one.upsert(advert(2)).unwrap();
        one.upsert(advert(3)).unwrap();
        assert_eq!(looker.told(), ["cpu 6", "gone 0x11"], "what was not wanted and is not is no news");
        one.upsert(advert(4)).unwrap();
        one.remove();
        one.remove();
        assert_eq!(looker.told(), ["cpu 4", "gone 0x11"]);
        one.upsert(advert(5)).unwrap();
        let (snapshot, _) = directory.subscribe(&Filter { cpu: Some(5), ..Filter::default() });
        let listed: serde_json::Value = serde_json::from_str(snapshot[0].json()).unwrap();
        assert_eq!(listed["provider_id"], Address::repeat_byte(0x11).to_string());
        assert_eq!(directory.subscribe(&Filter { cpu: Some(6), ..Filter::default() }).0.len(), 0);
        drop(one);
        assert_eq!((looker.told(), directory.shown()), (vec!["cpu 5".to_owned(), "gone 0x11".to_owned()], 0));
    }

    #[test]
    fn of_two_connections_of_one_provider_the_newer_counts() {
        let directory = Directory::default();
        let mut looker = Looker(directory.subscribe(&Filter::default()).1);
        let old = directory.join(Address::repeat_byte(0x11));
        old.upsert(advert(8)).unwrap();
        let new = directory.join(Address::repeat_byte(0x11));
        assert_eq!(looker.told(), ["cpu 8"], "it stays until the newer says something else");
        old.upsert(advert(7)).unwrap();
        old.remove();
        assert_eq!(looker.told(), [] as [&str; 0]);
        new.upsert(advert(6)).unwrap();
        drop(old);
        assert_eq!((looker.told(), directory.shown()), (vec!["cpu 6".to_owned()], 1));
        drop(new);
        assert_eq!(looker.told(), ["gone 0x11"]);
    }
}
