//! That a message arrives, or is given up.
//!
//! Owns a short queue and a task for each destination, so that one that is dead holds up no other, and how often it is tried.
//! Never waits for a destination: what finds its queue full is dropped, and that is logged.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use golem_service::log::with_causes;
use golem_service::tasks::Tasks;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;
use utoipa::ToSchema;

use crate::Config;
use crate::mail::{Mail, MailError};
use crate::message::Message;
use crate::webhook::{Webhook, WebhookError};

/// Most messages that wait for one destination.
const WAITING: usize = 16;

/// How long after a try the next one is, in seconds; after the last a message is given up.
const TRIES: [u64; 5] = [5, 30, 120, 600, 1800];

/// What is known of one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Where, without what may be secret.
    pub to: String,
    /// When a message was last taken.
    pub taken_at: Option<Timestamp>,
    /// Why the newest one was not.
    pub problem: Option<String>,
}

/// Why a message was not taken.
#[derive(Debug)]
pub enum DeliveryError {
    /// By a webhook.
    Webhook(WebhookError),
    /// By a mail server.
    Mail(MailError),
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(error) => error.fmt(f),
            Self::Mail(error) => error.fmt(f),
        }
    }
}

impl Error for DeliveryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Webhook(error) => error.source(),
            Self::Mail(error) => error.source(),
        }
    }
}

#[derive(Clone)]
enum Destination {
    Webhook(Webhook),
    Mail(Mail),
}

impl Destination {
    fn shown(&self) -> String {
        match self {
            Self::Webhook(webhook) => format!("webhook at {}", webhook.host()),
            Self::Mail(mail) => format!("mail by {}", mail.host),
        }
    }

    async fn try_once(&self, message: &Message, allow_private: bool) -> Result<(), (DeliveryError, bool)> {
        match self {
            Self::Webhook(webhook) => webhook.post(message, allow_private).await.map_err(|error| {
                let may_pass = error.may_pass();
                (DeliveryError::Webhook(error), may_pass)
            }),
            Self::Mail(mail) => mail.send(message, allow_private).await.map_err(|error| {
                let may_pass = error.may_pass();
                (DeliveryError::Mail(error), may_pass)
            }),
        }
    }
}

struct Route {
    destination: Destination,
    queue: mpsc::Sender<Message>,
    known: Arc<Mutex<Delivery>>,
}

/// Who carries messages.
pub struct Courier {
    routes: Vec<Route>,
    allow_private: bool,
}

impl Courier {
    /// One to the destinations of `config`, whose tasks are `tasks`'.
    #[must_use]
    pub fn start(config: &Config, tasks: &Tasks) -> Self {
        let webhook = config.webhook.clone().map(Destination::Webhook);
        let mail = config.mail.clone().map(Destination::Mail);
        let allow_private = config.allow_private;
        let route = |destination: Destination| {
            let known = Delivery { to: destination.shown(), taken_at: None, problem: None };
            let known = Arc::new(Mutex::new(known));
            let (queue, waiting) = mpsc::channel(WAITING);
            let carrying = carry(destination.clone(), allow_private, waiting, Arc::clone(&known));
            let stop = tasks.stopping().clone();
            tasks.spawn("alerts to a destination", async move {
                let _ = stop.run_until_cancelled(carrying).await;
            });
            Route { destination, queue, known }
        };
        Self { routes: webhook.into_iter().chain(mail).map(route).collect(), allow_private }
    }

    /// Sends `message` to every destination, as soon as each takes it.
    pub fn send(&self, message: &Message) {
        for route in &self.routes {
            if route.queue.try_send(message.clone()).is_err() {
                let to = route.destination.shown();
                tracing::warn!(
                    to,
                    most = WAITING,
                    "an alert is dropped: too many wait for their destination"
                );
            }
        }
    }

    /// Tries each destination once with `message`, and says how that went.
    pub async fn try_all(&self, message: &Message) -> Vec<Delivery> {
        let mut tried = Vec::new();
        for route in &self.routes {
            let result = route.destination.try_once(message, self.allow_private).await;
            tried.push(note(&route.known, result.as_ref().map_err(|(error, _)| error)));
        }
        tried
    }

    /// What is known of each destination.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        let known = |route: &Route| route.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.routes.iter().map(known).collect()
    }
}

fn note(known: &Mutex<Delivery>, result: Result<&(), &DeliveryError>) -> Delivery {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(()) => {
            known.taken_at = Some(Timestamp::now());
            known.problem = None;
        }
        Err(error) => known.problem = Some(with_causes(error)),
    }
    known.clone()
}

async fn carry(
    destination: Destination,
    allow_private: bool,
    mut waiting: mpsc::Receiver<Message>,
    known: Arc<Mutex<Delivery>>,
) {
    while let Some(message) = waiting.recv().await {
        let waits = TRIES.map(Duration::from_secs);
        persist(&waits, async || {
            let result = destination.try_once(&message, allow_private).await;
            note(&known, result.as_ref().map_err(|(error, _)| error));
            result
        })
        .await;
    }
}

/// Tries until it works, another try cannot help, or `waits` are over.
async fn persist<F>(waits: &[Duration], attempt: impl Fn() -> F) -> bool
where
    F: Future<Output = Result<(), (DeliveryError, bool)>>,
{
    let mut waits = waits.iter();
    loop {
        let Err((error, may_pass)) = attempt().await else { return true };
        let Some(wait) = waits.next().filter(|_| may_pass) else {
            tracing::error!(error = &error as &dyn Error, "an alert is given up");
            return false;
        };
        tracing::warn!(error = &error as &dyn Error, again_in = ?wait, "an alert is not taken");
        sleep(*wait).await;
    }
}

#[cfg(test)]
mod tests;
