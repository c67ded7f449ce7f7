//! Telling somebody that money gets short.
//!
//! Owns the hook of `rent keep`: a URL or a program. What is told goes into JSON, or into variables of the environment,
//! so that nothing of it is ever read by a shell. A hook that fails or hangs keeps nothing from being paid.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use golem_service::http::{Client, Options};
use serde_json::json;
use tokio::time::timeout;

use super::top_up::Short;

/// Longest that a hook may take.
const LONGEST: Duration = Duration::from_secs(30);

/// Largest answer of a webhook that is read.
const ANSWER_BYTES: usize = 64 << 10;

/// Tells `hook` of `short`.
///
/// # Errors
/// When it fails, cannot be reached or started, or takes more than 30 s.
pub async fn tell(hook: &str, short: &Short) -> anyhow::Result<()> {
    if hook.starts_with("http://") || hook.starts_with("https://") {
        post(hook, short).await
    } else {
        run(hook, short).await
    }
}

async fn post(url: &str, short: &Short) -> anyhow::Result<()> {
    let client = Client::new(Options::within(LONGEST))?;
    let body = json!({ "vm": short.vm, "reason": short.reason.as_str(), "message": short.message });
    let answer = client.post(url).json(&body).send(ANSWER_BYTES).await?;
    // Its URL may be a secret.
    ensure!(answer.status.is_success(), "the webhook answers with HTTP status {}", answer.status);
    Ok(())
}

async fn run(program: &str, short: &Short) -> anyhow::Result<()> {
    let running = tokio::process::Command::new(program)
        .env("GOLEM_RENT_VM", short.vm.as_str())
        .env("GOLEM_RENT_REASON", short.reason.as_str())
        .env("GOLEM_RENT_MESSAGE", &short.message)
        .env_remove("GOLEM_RENTER_PRIVATE_KEY")
        .env_remove("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status();
    let status = timeout(LONGEST, running)
        .await
        .with_context(|| format!("{program} took more than {} s", LONGEST.as_secs()))?
        .with_context(|| format!("{program} cannot be started"))?;
    ensure!(status.success(), "{program} failed: {status}");
    Ok(())
}
