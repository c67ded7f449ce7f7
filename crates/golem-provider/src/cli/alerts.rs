//! `alerts …`: what is wrong with the running node, and whether those who are told are reached.
//!
//! Owns what is typed. Never looks or sends: the node does.

use anyhow::bail;
use clap::Subcommand;
use golem_api::views::deliveries;

use super::{Exit, Invocation};

/// `alerts …`.
#[derive(Debug, Subcommand)]
pub(super) enum Alerts {
    /// Show what is wrong, and what became of the last messages.
    List,
    /// Send a test to everybody who would be told.
    Test,
}

pub(super) async fn alerts(invocation: &Invocation, command: &Alerts) -> anyhow::Result<Exit> {
    let (client, printer) = (invocation.client()?, invocation.printer);
    match command {
        Alerts::List => {
            let shown = client.alerts().await?;
            printer.answer(&shown, || shown.text());
        }
        Alerts::Test => {
            let tried = client.test_alerts().await?;
            if tried.iter().any(|delivery| delivery.problem.is_some()) {
                bail!("{}", deliveries(&tried));
            }
            printer.answer(&tried, || deliveries(&tried));
        }
    }
    Ok(Exit::Done)
}
