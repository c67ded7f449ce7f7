//! Messages on their way out.
//!
//! Owns the queue, and how often a receiver that does not take a message is tried again. Never holds up who has something to tell: of more
//! messages than wait, the newest is dropped, and the log has it.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use golem_service::log::with_causes;
use golem_service::tasks::Tasks;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::email::{self, EmailError};
use super::message::Message;
use super::settings::AlertSettings;
use super::webhook::{self, WebhookError};

/// Messages that wait.
const QUEUE: usize = 16;

/// Pauses between tries: an hour in all.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(2_250),
];

/// Why a receiver did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The webhook.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The mail server.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// Nobody is there to be told.
    #[error(
        "nobody is told of anything; fix: set GOLEM_PROVIDER_ALERT_WEBHOOK, or GOLEM_PROVIDER_ALERT_SMTP with …_EMAIL_TO"
    )]
    Nobody,
}

impl DeliveryError {
    fn is_passing(&self) -> bool {
        match self {
            Self::Webhook(error) => error.is_passing(),
            Self::Email(error) => error.is_passing(),
            Self::Nobody => false,
        }
    }
}

/// What became of the last message to a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// `webhook` or `email`.
    pub receiver: &'static str,
    /// When it was taken, or tried last.
    pub at: Timestamp,
    /// Why it was not taken.
    pub problem: Option<String>,
}

/// The way out. Clones share it.
#[derive(Clone)]
pub struct Delivery {
    settings: Arc<AlertSettings>,
    queues: Vec<mpsc::Sender<Message>>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
}

#[derive(Clone, Copy)]
enum Receiver {
    Webhook,
    Email,
}

impl Receiver {
    const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Email => "email",
        }
    }

    async fn send(self, settings: &AlertSettings, message: &Message, id: &str) -> Result<(), DeliveryError> {
        let inside = settings.may_be_private;
        match (self, &settings.webhook, &settings.email) {
            (Self::Webhook, Some(to), _) => Ok(webhook::send(to, message, id, inside).await?),
            (Self::Email, _, Some(to)) => Ok(email::send(to, message, id, inside).await?),
            _ => Err(DeliveryError::Nobody),
        }
    }
}

impl AlertSettings {
    fn receivers(&self) -> Vec<Receiver> {
        let webhook = self.webhook.is_some().then_some(Receiver::Webhook);
        webhook.into_iter().chain(self.email.is_some().then_some(Receiver::Email)).collect()
    }
}

impl Delivery {
    /// Delivers to the receivers of `settings`, by tasks of `tasks`: one that hangs holds up no other.
    #[must_use]
    pub fn start(settings: AlertSettings, tasks: &Tasks) -> Self {
        let (settings, outcomes) = (Arc::new(settings), Arc::<Mutex<Vec<Outcome>>>::default());
        let start = |receiver: Receiver| {
            let (queue, messages) = mpsc::channel(QUEUE);
            let (settings, outcomes) = (Arc::clone(&settings), Arc::clone(&outcomes));
            let stop = tasks.stopping().clone();
            tasks.spawn("alerts' delivery", deliver(receiver, settings, messages, outcomes, stop));
            queue
        };
        let queues = settings.receivers().into_iter().map(start).collect();
        Self { settings, queues, outcomes }
    }

    /// Sends `message` to everybody, some time.
    pub fn tell(&self, message: &Message) {
        for queue in &self.queues {
            if queue.try_send(message.clone()).is_err() {
                golem_service::log_limited!(
                    error,
                    "an alert is dropped: too many wait for a receiver that takes none"
                );
            }
        }
    }

    /// Sends `message` to everybody once, and waits for what becomes of it.
    pub async fn try_now(&self, message: &Message) -> Vec<Outcome> {
        let id = new_id();
        let mut all = Vec::new();
        for receiver in self.settings.receivers() {
            let done = receiver.send(&self.settings, message, &id).await;
            all.push(outcome(receiver, done.as_ref().err()));
        }
        all
    }

    /// What became of the last message to each receiver.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The same for all tries of one message, so that a receiver that took it without saying so shows it once.
fn new_id() -> String {
    format!("{}-{}", Timestamp::now().as_microsecond(), std::process::id())
}

fn outcome(receiver: Receiver, error: Option<&DeliveryError>) -> Outcome {
    Outcome {
        receiver: receiver.name(),
        at: Timestamp::now(),
        problem: error.map(|error| with_causes(error)),
    }
}

async fn deliver(
    receiver: Receiver,
    settings: Arc<AlertSettings>,
    mut messages: mpsc::Receiver<Message>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    stop: CancellationToken,
) {
    stop.run_until_cancelled(async {
        while let Some(message) = messages.recv().await {
            let id = new_id();
            let mut pauses = PAUSES.iter();
            loop {
                let done = receiver.send(&settings, &message, &id).await;
                {
                    let mut all = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    all.retain(|known| known.receiver != receiver.name());
                    all.push(outcome(receiver, done.as_ref().err()));
                }
                let Err(error) = done else { break };
                let pause = if error.is_passing() { pauses.next() } else { None };
                let last = pause.is_none();
                golem_service::log_limited!(
                    warn,
                    error = &error as &dyn Error,
                    receiver = receiver.name(),
                    last,
                    "an alert was not taken"
                );
                let Some(pause) = pause else { break };
                sleep(*pause).await;
            }
        }
    })
    .await;
}
