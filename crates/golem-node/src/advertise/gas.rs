//! Gas for adverts, from a faucet where it is worth nothing.
//!
//! ```text
//!   look (at the start, then every hour) ─► enough? nothing
//!                                      └► captcha, faucet ─► arrived ─► the advert is tried at once
//! ```
//! Owns when the faucet is asked: rarely, since it has limits, and captchas cost work. A network that
//! does not tell the balance is not asked for more.

use std::sync::Arc;
use std::time::Duration;

use golem_chain::Sender;
use golem_chain::faucet::{ENOUGH, Faucet, FaucetError, Work};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How often the wallet is looked at.
const LOOK: Duration = Duration::from_secs(3600);

/// How long after the faucet paid it is asked again: known ones pay once a day or so.
const PAID: Duration = Duration::from_secs(12 * 3600);

/// How long it is waited for the money.
const ARRIVAL: Duration = Duration::from_secs(120);

/// How often it is looked whether it is there.
const POLL: Duration = Duration::from_secs(2);

/// Keeps gas in the wallet of `sender` on the network `name`, for ever.
pub(super) async fn keep(name: String, sender: Sender, faucet: Faucet, check: Arc<Notify>) {
    let mut told = false;
    loop {
        let Ok(balance) = sender.balance().await else {
            sleep(LOOK).await;
            continue;
        };
        if balance >= ENOUGH {
            tracing::debug!(network = name, %balance, "the wallet has gas for adverts");
            sleep(LOOK).await;
            continue;
        }
        tracing::info!(network = name, %balance, "asking the faucet for gas; its captcha takes some work");
        match faucet.request(sender.address(), &Work::default()).await {
            Ok(transaction) => {
                told = false;
                tracing::info!(network = name, transaction, "the faucet sent gas for adverts");
                let arrived = async {
                    while !sender.balance().await.is_ok_and(|now| now > balance) {
                        sleep(POLL).await;
                    }
                };
                if timeout(ARRIVAL, arrived).await.is_err() {
                    tracing::warn!(network = name, "what the faucet sent has not arrived");
                }
                check.notify_one();
                sleep(PAID).await;
            }
            Err(error) => {
                if !told {
                    tell(&name, &sender, &error);
                }
                told = true;
                sleep(LOOK).await;
            }
        }
    }
}

fn tell(name: &str, sender: &Sender, error: &FaucetError) {
    tracing::warn!(
        network = name,
        error = error as &dyn std::error::Error,
        "the faucet sent no gas; without gas the advert cannot be written; fix: send some to {}; it is \
         tried again every hour",
        sender.address()
    );
}
