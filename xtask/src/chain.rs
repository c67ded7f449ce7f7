//! A chain for `cargo xtask demo --paid`: a process of its own (`testchain serve`), whose clock is moved on.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use crate::run::{built, cargo, root, step};

/// A chain.
pub(crate) struct DemoChain {
    process: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    facts: Value,
}

impl Drop for DemoChain {
    fn drop(&mut self) {
        // The chain ends when nobody can tell it anything any more.
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}

impl DemoChain {
    /// Starts the chain and deploys the contract.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-progress"]).current_dir(root().join("contracts"));
        step("the chain's packages", npm)?;
        step("build the chain", cargo(&["build", "-p", "golem-testchain"]))?;
        println!("==> start a chain and deploy StreamPayment");
        let mut process = Command::new(built("testchain"))
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the chain did not start")?;
        let orders = process.stdin.take();
        let output = process.stdout.take().context("the chain has no output")?;
        let mut answers = BufReader::new(output).lines();
        let first = answers.next().context("the chain ended")??;
        let facts = serde_json::from_str(&first).context("the chain does not say where it is")?;
        let market = Self { process, orders, answers, facts };
        println!("    contract {} on {}", market.fact("contract"), market.fact("url"));
        Ok(market)
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_default()
    }

    /// What the node and the renter have to know.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("GOLEM_PROVIDER_PAYMENTS_NETWORK", "demo".to_owned()),
            ("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", self.fact("provider_key").to_owned()),
            ("GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS", "2".to_owned()),
            ("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", "5".to_owned()),
            ("GOLEM_PROVIDER_PRICE_GLM_PER_GB_RAM_MONTH", "2".to_owned()),
            ("GOLEM_PROVIDER_PRICE_GLM_PER_GB_STORAGE_MONTH", "0.1".to_owned()),
            ("GOLEM_RENTER_PRIVATE_KEY", self.fact("renter_key").to_owned()),
        ]
    }

    /// Writes the chain's profile for the node in `data_dir`.
    pub(crate) fn profile(&self, data_dir: &Path) -> anyhow::Result<()> {
        let mut write = Command::new(built("testchain"));
        write.arg("profile").arg(data_dir).args([self.fact("url"), self.fact("contract")]);
        step("write the chain's profile", write)
    }

    /// Moves the chain's clock on.
    pub(crate) fn pass(&mut self, seconds: u64) -> anyhow::Result<()> {
        let orders = self.orders.as_mut().context("the chain has ended")?;
        writeln!(orders, "warp {seconds}").context("the chain does not listen")?;
        self.answers.next().context("the chain ended")??;
        Ok(())
    }
}
