//! What a day on the market's network costs: the same hundred rentals, told by the node and by the
//! original's own advertiser, on an emulated network whose gas rule is the real one's.
//!
//! The day is passed by making its blocks, not by waiting. Rentals come at random, a fifth of them a
//! few seconds after another, as when a renter starts several VMs. The original's posts are made one
//! after another, to its advantage: its own overlap, and race into duplicates.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use bench::figures::Table;
use bench::{original, say};
use golem_market::arkiv::{Advert, AdvertPrices, Generation, Profile};
use golem_node::advertise::{AdvertiseConfig, Advertising, Pace, Standing, Wish};
use golem_node::ledger::Ledger;
use golem_service::tasks::Tasks;
use golem_types::Resources;
use golem_types::Wallet;
use market_emulator::{Emulator, Protocol};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

const DAY: u64 = 24 * 3600;
const RENTALS: u64 = 100;
const CHAIN: u64 = 60_138_453_033;
const KEY: &str = "4646464646464646464646464646464646464646464646464646464646464646";

/// Seconds between blocks.
const BLOCK: u64 = 2;

/// How often the original's loop posts: a third of its interval of 3600 seconds.
const ORIGINAL_LOOP: u64 = 1200;

/// What there is to rent out.
const TOTAL: Resources = Resources::new(256, 512, 8000);

/// How long either may take for one step.
const LIMIT: Duration = Duration::from_secs(30);

/// What is free from a second of the day on.
type Change = (u64, Resources);

/// The day's changes, in their order. The numbers are the same on every run.
fn changes() -> Vec<Change> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut moves = Vec::new();
    let mut last = 0;
    for rental in 0..RENTALS {
        let start = if rental % 5 == 4 { last + 1 + random(3) } else { random(DAY - 10) };
        last = start;
        let size = Resources::new([1, 2, 4][random(3) as usize], [1, 4, 8][random(3) as usize], 20);
        moves.push((start, true, size));
        moves.push((start + 1800 + random(8 * 3600), false, size));
    }
    moves.retain(|(at, ..)| *at < DAY);
    moves.sort_by_key(|(at, ..)| *at);
    let mut free = TOTAL;
    moves
        .into_iter()
        .map(|(at, begins, size)| {
            free = if begins { free.minus(size) } else { free.plus(size) };
            (at, free)
        })
        .collect()
}

/// What it cost.
struct Cost {
    transactions: usize,
    gas: u64,
    requests: u64,
    /// Steps of the day at which renters did not find the node.
    lost: usize,
}

fn cost(emulator: &Emulator, lost: usize) -> Cost {
    let mined = emulator.mined();
    Cost {
        transactions: mined.len(),
        gas: mined.iter().map(|transaction| transaction.gas_used).sum(),
        requests: emulator.requests(),
        lost,
    }
}

fn advert(free: Resources, id: alloy_primitives::Address) -> Advert {
    Advert {
        provider_id: id,
        ip_address: [203, 0, 113, 7].into(),
        country: "SE".to_owned(),
        name: "golem-provider".to_owned(),
        platform: "x86_64".to_owned(),
        network: "testnet".to_owned(),
        payments_network: "l2.holesky".to_owned(),
        usd: AdvertPrices { core: 5.0, ram_gb: 2.0, storage_gb: 0.1 },
        glm: AdvertPrices { core: 25.0, ram_gb: 10.0, storage_gb: 0.5 },
        free,
    }
}

/// The node's day.
async fn ours(folder: &Path, changes: &[Change]) -> anyhow::Result<Cost> {
    let emulator = Emulator::start(Protocol::GolemBase, CHAIN).await?;
    let wallet = Wallet::from_hex(KEY).context("the key is none")?;
    let id = wallet.address();
    // Time is the emulator's: what the node waits for is told by this loop.
    let real = Pace::default();
    let pace = Pace {
        quiet: Duration::from_millis(20),
        check: Duration::from_secs(DAY),
        receipt: Duration::from_millis(2),
        // The hours of this day are shorter.
        hourly: usize::MAX,
        ..real
    };
    let profile = Profile {
        generation: Generation::GolemBase,
        chain_id: CHAIN,
        rpc_url: None,
        block_seconds: u32::try_from(BLOCK)?,
        testnet: true,
        faucet: None,
        explorer: None,
        note: None,
    };
    let config = AdvertiseConfig {
        name: "bench".to_owned(),
        profile,
        rpc_url: emulator.url().to_owned(),
        lifetime: 7200,
        faucet: None,
        gas: golem_node::transactions::GasRules::default(),
        pace,
    };
    let tasks = Tasks::new();
    let ledger = Ledger::open(&folder.join("provider.db"))?;
    let shown = |free| Wish::Shown(Box::new(advert(free, id)));
    let (wish, receiver) = watch::channel(shown(TOTAL));
    let advertising = Advertising::on_network(config, wallet, ledger, receiver, &tasks).await?;
    let mut state = advertising.changes();
    timeout(LIMIT, state.wait_for(|state| state.standing == Standing::Current)).await??;

    let mut lost = 0;
    let (mut now, mut next) = (0, 0);
    while now < DAY {
        let until = changes.get(next).map_or(DAY, |change| change.0).min(now + real.check.as_secs());
        emulator.mine((until - now) / BLOCK);
        now = until;
        lost += usize::from(emulator.entities().is_empty());
        let mut last = None;
        // Changes that come before it was quiet for long enough are written as one.
        while let Some((at, free)) = changes.get(next).filter(|(at, _)| *at <= now + real.quiet.as_secs()) {
            now = *at;
            last = Some(*free);
            wish.send_replace(shown(*free));
            next += 1;
        }
        let block = emulator.block();
        advertising.check();
        let settled = state.wait_for(|state| {
            let told = state.shown.as_ref();
            let cpu = told.and_then(|told| told.annotations.number("golem_cpu"));
            state.standing == Standing::Current
                && told.is_some_and(|told| told.block >= block)
                && last.is_none_or(|free| cpu == Some(u64::from(free.cpu)))
        });
        timeout(LIMIT, settled).await??;
    }
    tasks.stop().await;
    Ok(cost(&emulator, lost))
}

/// Runs the original's advertiser over steps of [blocks before it, what is free].
const ORIGINAL: &str = r#"
import asyncio, json, sys
from provider.discovery.golem_base_advertiser import GolemBaseAdvertiser
class Tracker:
    free = None
    def on_update(self, what): pass
    def get_available_resources(self): return dict(self.free)
    def _meets_minimum_requirements(self, resources): return True
async def main():
    advertiser = GolemBaseAdvertiser(Tracker())
    await advertiser.initialize()
    http = advertiser.client.http_client()
    lost = 0
    for blocks, cpu, memory, storage in json.load(sys.stdin):
        await http.provider.make_request("evm_mine", [blocks])
        lost += int(blocks > 0 and await advertiser.client.get_entity_count() == 0)
        advertiser.resource_tracker.free = {"cpu": cpu, "memory": memory, "storage": storage}
        await advertiser.post_advertisement()
    await advertiser.stop()
    print("lost", lost)
asyncio.run(main())
"#;

/// The original's day.
async fn theirs(folder: &Path, changes: &[Change]) -> anyhow::Result<Cost> {
    let emulator = Emulator::start(Protocol::GolemBase, CHAIN).await?;
    let mut steps: Vec<(u64, Option<Resources>)> =
        changes.iter().map(|(at, free)| (*at, Some(*free))).collect();
    steps.extend((0..DAY).step_by(ORIGINAL_LOOP as usize).map(|at| (at, None)));
    steps.sort_by_key(|(at, _)| *at);
    let (mut now, mut free) = (0, TOTAL);
    let steps: Vec<Value> = steps
        .into_iter()
        .map(|(at, change)| {
            let blocks = at / BLOCK - now / BLOCK;
            now = at;
            free = change.unwrap_or(free);
            json!([blocks, free.cpu, free.memory, free.storage])
        })
        .collect();
    let input = folder.join("steps.json");
    std::fs::write(&input, Value::from(steps).to_string())?;
    let python = original::python()?;
    let url = emulator.url().to_owned();
    let (home, file) = (folder.to_owned(), std::fs::File::open(&input)?);
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .args(["-c", ORIGINAL])
            .current_dir(&home)
            .env("HOME", &home)
            .env("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", KEY)
            .env("GOLEM_PROVIDER_PUBLIC_IP", "203.0.113.7")
            .env("GOLEM_PROVIDER_NETWORK", "testnet")
            .env("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", "/bin/true")
            .env("GOLEM_PROVIDER_GOLEM_BASE_RPC_URL", &url)
            .env("GOLEM_PROVIDER_GOLEM_BASE_WS_URL", url.replace("http", "ws"))
            .stdin(Stdio::from(file))
            .stderr(Stdio::null())
            .output()
    })
    .await??;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the original's advertiser ended with {}", output.status);
    let lost = text.lines().rev().find_map(|line| line.strip_prefix("lost ")?.parse().ok());
    Ok(cost(&emulator, lost.context("the original's advertiser did not tell how it went")?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let changes = changes();
    say(&format!("a day of {RENTALS} rentals, {} changes of what is free", changes.len()));
    let ours = ours(folder.path(), &changes).await?;
    let theirs = theirs(folder.path(), &changes).await?;
    let mut table = Table::new(&["a day", "transactions", "gas", "requests", "looks without an advert"]);
    for (name, cost) in [("ours", ours), ("original", theirs)] {
        table.row(vec![
            name.to_owned(),
            cost.transactions.to_string(),
            cost.gas.to_string(),
            cost.requests.to_string(),
            cost.lost.to_string(),
        ]);
    }
    say(&table.to_string());
    Ok(())
}
