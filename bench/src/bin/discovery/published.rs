//! The published server, which renters ask again and again.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bench::process::Process;
use futures_util::future::join_all;
use golem_service::http::{Client, Options};
use serde_json::json;

use crate::{Measured, PROVIDERS, RENTERS};

/// How many ask at a time: more would only wait.
const AT_ONCE: usize = 16;

/// How long providers may take to post; adverts lapse after 300 s.
const POSTING: Duration = Duration::from_secs(100);

/// How long renters ask.
const ASKING: Duration = Duration::from_secs(40);

/// Longest that it may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Largest list.
const LIST_BYTES: usize = 64 << 20;

pub(crate) async fn measure() -> anyhow::Result<Measured> {
    let program = bench::original::discovery_server()?;
    let home = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GOLEM_DISCOVERY_HOST", "127.0.0.1")
        .env("GOLEM_DISCOVERY_PORT", port.to_string())
        .env("GOLEM_DISCOVERY_RATE_LIMIT_PER_MINUTE", "100000000")
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let server = Process::start(&mut command)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    bench::wait_for("the published server listens", Duration::from_secs(60), || {
        Ok(TcpStream::connect(address).is_ok())
    })?;
    let url = format!("http://{address}/api/v1/advertisements");
    let http = Client::new(Options::within(ANSWER))?;

    bench::say(&format!("the published server: {PROVIDERS} adverts are posted …"));
    let (next, posted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    join_all((0..AT_ONCE).map(async |_| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= PROVIDERS || began.elapsed() >= POSTING {
                return;
            }
            let advert = json!({
                "ip_address": format!("203.0.{}.{}", number / 256, number % 256), "country": "SE",
                "resources": { "cpu": 4, "memory": 16, "storage": 100 },
                "pricing": {
                    "usd_per_core_month": 5.0, "usd_per_gb_ram_month": 2.0, "usd_per_gb_storage_month": 0.1,
                    "glm_per_core_month": 25.0, "glm_per_gb_ram_month": 10.0, "glm_per_gb_storage_month": 0.5,
                },
            });
            let request = http.post(&url).header("X-Provider-ID", format!("0x{number:040x}"));
            let answer =
                request.header("X-Provider-Signature", "signature").json(&advert).send(1 << 16).await;
            posted.fetch_add(
                usize::from(answer.is_ok_and(|answer| answer.status.is_success())),
                Ordering::Relaxed,
            );
        }
    }))
    .await;
    let arrival = began.elapsed().as_secs_f64();
    let adverts = posted.into_inner();
    ensure!(adverts > 0, "it took no advert");
    bench::say(&format!("  {adverts} within {arrival:.1} s"));

    bench::say(&format!("the published server: it is asked for {} s …", ASKING.as_secs()));
    let alone = Instant::now();
    let list = http.get(&url).send(LIST_BYTES).await.context("it gave no list")?;
    ensure!(list.status.is_success(), "it gave no list: HTTP status {}", list.status);
    let alone = alone.elapsed().as_secs_f64();
    let asked = AtomicUsize::new(0);
    let (busy, began) = (server.cpu_seconds()?, Instant::now());
    join_all((0..AT_ONCE).map(async |_| {
        while began.elapsed() < ASKING && asked.load(Ordering::Relaxed) < RENTERS {
            let answer = http.get(&url).send(LIST_BYTES).await;
            asked.fetch_add(
                usize::from(answer.is_ok_and(|answer| answer.status.is_success())),
                Ordering::Relaxed,
            );
        }
    }))
    .await;
    let (seconds, asked) = (began.elapsed().as_secs_f64(), asked.into_inner());
    ensure!(asked > 0, "it answered nobody within {ASKING:?}");
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let all = RENTERS as f64 / asked as f64;
    Ok(Measured {
        adverts,
        arrival,
        memory: server.memory()?,
        list: alone,
        change_seconds: seconds * all,
        change: format!("{:.0} ({asked} renters were answered in {seconds:.0} s)", seconds * all),
        change_cpu: (server.cpu_seconds()? - busy) * all,
    })
}
