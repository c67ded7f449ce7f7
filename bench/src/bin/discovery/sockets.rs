//! Our server, with providers and renters on sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bench::figures::Figures;
use bench::process::Process;
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use golem_market::discovery::live::words::{Authenticate, FromProvider, FromServer};
use golem_types::Wallet;
use jiff::Timestamp;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::{CHANGES, Measured, PROVIDERS, RENTERS};

/// Providers of one address and of one network: as many as one source may have.
const OF_ONE: [usize; 2] = [16, 64];

/// Providers that connect at a time, and renters that read a list.
const AT_ONCE: usize = 64;
const LISTS_AT_ONCE: usize = 8;

/// Longest that a change may take.
const CHANGE: Duration = Duration::from_secs(30);

/// Smallest buffers: thousands of sockets are of this process.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(0)
}

type Socket = WebSocketStream<TcpStream>;

async fn open(server: SocketAddr, from: Ipv4Addr, path: &str) -> anyhow::Result<Socket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(server).await?;
    let url = format!("ws://{server}/api/v1/discovery/{path}");
    Ok(client_async_with_config(url, stream, Some(config())).await?.0)
}

async fn text(socket: &mut Socket) -> anyhow::Result<String> {
    loop {
        if let Message::Text(text) = socket.next().await.context("the server closed a socket")?? {
            return Ok(text.as_str().to_owned());
        }
    }
}

async fn say(socket: &mut Socket, message: &FromProvider) -> anyhow::Result<()> {
    Ok(socket.send(Message::text(message.write().as_str())).await?)
}

fn upsert(number: usize, cpu: usize) -> anyhow::Result<FromProvider> {
    let [_, _, third, fourth] = u32::try_from(number)?.to_be_bytes();
    let text = format!(
        r#"{{"type":"advertisement.upsert","advertisement":{{"ip_address":"203.0.{third}.{fourth}","country":"SE",
        "platform":"x86_64","endpoint_protocol":"https","endpoint_host":"203.0.{third}.{fourth}","endpoint_port":443,
        "endpoint_url":"https://203.0.{third}.{fourth}","resources":{{"cpu":{cpu},"memory":16,"storage":100}},
        "pricing":{{"usd_per_core_month":5.0,"usd_per_gb_ram_month":2.0,"usd_per_gb_storage_month":0.1,
        "glm_per_core_month":25.0,"glm_per_gb_ram_month":10.0,"glm_per_gb_storage_month":0.5}}}}}}"#
    );
    Ok(FromProvider::read(&text)?)
}

/// A provider that is connected and shown.
async fn provider(server: SocketAddr, number: usize) -> anyhow::Result<Socket> {
    let [of_customer, of_network] = OF_ONE;
    let network = u16::try_from(number / of_network)?.to_be_bytes();
    let customer = u8::try_from(number % of_network / of_customer)?;
    let from = Ipv4Addr::new(127, 16 + network[0], network[1], 1 + customer);
    let mut socket = open(server, from, "providers").await?;
    let FromServer::Hello { nonce, .. } = FromServer::read(&text(&mut socket).await?)? else {
        bail!("no hello")
    };
    let mut key = [7; 32];
    key[..8].copy_from_slice(&u64::try_from(number)?.to_be_bytes());
    let wallet = Wallet::from_bytes(&key).context("no key")?;
    let proof = Authenticate::sign(&wallet, &nonce, Timestamp::now()).context("no signature")?;
    say(&mut socket, &FromProvider::Authenticate(proof)).await?;
    ensure!(FromServer::read(&text(&mut socket).await?)? == FromServer::Authenticated, "not known");
    say(&mut socket, &upsert(number, 4)?).await?;
    ensure!(FromServer::read(&text(&mut socket).await?)? == FromServer::Accepted, "not accepted");
    Ok(socket)
}

/// A renter who looks on, and the seconds that the list took.
async fn renter(server: SocketAddr, number: usize) -> anyhow::Result<(Socket, f64)> {
    let network = u8::try_from(number / 256)?;
    let from = Ipv4Addr::new(127, 200, network, 1 + u8::try_from(number % 256 / 64)?);
    let mut socket = open(server, from, "requestors").await?;
    let began = Instant::now();
    socket.send(Message::text(r#"{"type":"subscribe","filters":{}}"#)).await?;
    let mut list = text(&mut socket).await?;
    if list.contains(r#""hello""#) {
        list = text(&mut socket).await?;
    }
    let count = list.matches("provider_id").count();
    ensure!(count == PROVIDERS, "a list has {count} adverts");
    Ok((socket, began.elapsed().as_secs_f64()))
}

pub(crate) async fn measure() -> anyhow::Result<Measured> {
    let binary = std::env::current_exe()?.with_file_name("golem-provider");
    let home = tempfile::tempdir()?;
    let (server, address) = start(&binary, home.path())?;
    bench::say(&format!("our server: {PROVIDERS} providers connect …"));
    let places = Semaphore::new(AT_ONCE);
    let began = Instant::now();
    let connected = try_join_all((0..PROVIDERS).map(async |number| {
        let _place = places.acquire().await?;
        provider(address, number).await.with_context(|| format!("provider {number}"))
    }));
    let mut providers = connected.await?;
    let arrival = began.elapsed().as_secs_f64();
    bench::say(&format!("  within {arrival:.1} s; {:.1} MB", server.memory()? / 1e6));

    let tasks = golem_service::tasks::Tasks::new();
    let mut changing = providers.pop().context("no provider")?;
    for mut socket in providers {
        // Its socket answers pings as long as it is read.
        tasks.spawn("provider", async move { while let Some(Ok(_)) = socket.next().await {} });
    }

    bench::say(&format!("our server: {RENTERS} renters look on …"));
    let places = Semaphore::new(LISTS_AT_ONCE);
    let looking = try_join_all((0..RENTERS).map(async |number| {
        let _place = places.acquire().await?;
        renter(address, number).await.with_context(|| format!("renter {number}"))
    }));
    let (sockets, lists): (Vec<_>, Vec<_>) = looking.await?.into_iter().unzip();
    let memory = server.memory()?;
    bench::say(&format!("  {:.1} MB", memory / 1e6));
    let (told, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    for socket in sockets {
        let (told, all) = (Arc::clone(&told), Arc::clone(&all));
        tasks.spawn("renter", look_on(socket, told, all));
    }
    let mut changes = Figures::default();
    let busy = server.cpu_seconds()?;
    for number in 0..CHANGES {
        // As often as a provider may.
        tokio::time::sleep(Duration::from_secs(if number < 8 { 1 } else { 5 })).await;
        told.store(0, Ordering::Relaxed);
        let began = Instant::now();
        say(&mut changing, &upsert(PROVIDERS - 1, 5 + number)?).await?;
        timeout(CHANGE, all.notified()).await.with_context(|| {
            format!("a change came to {} renters within {CHANGE:?}", told.load(Ordering::Relaxed))
        })?;
        changes.push(began.elapsed().as_secs_f64());
        ensure!(FromServer::read(&text(&mut changing).await?)? == FromServer::Accepted, "not accepted");
    }
    #[expect(clippy::cast_precision_loss, reason = "a score")]
    let change_cpu = (server.cpu_seconds()? - busy) / CHANGES as f64;
    renter(address, RENTERS).await.context("not every provider is shown in the end")?;
    Ok(Measured {
        adverts: PROVIDERS,
        arrival,
        memory,
        list: lists.into_iter().collect::<Figures>().median(),
        change_seconds: changes.median(),
        change: format!("{changes:.3}"),
        change_cpu,
    })
}

/// Counts every change in `told`; the last renter to whom one comes tells `all`.
async fn look_on(mut socket: Socket, told: Arc<AtomicUsize>, all: Arc<Notify>) {
    while let Some(Ok(message)) = socket.next().await {
        let is_change = matches!(&message, Message::Text(text) if text.contains("provider.upsert"));
        if is_change && told.fetch_add(1, Ordering::Relaxed) + 1 == RENTERS {
            all.notify_one();
        }
    }
}

fn start(binary: &Path, home: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let port = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut command = Command::new(binary);
    command.args(["discovery", "--host", "127.0.0.1", "--port", &port.to_string()]);
    command.env_clear().env("HOME", home).env("GOLEM_DISCOVERY_RATE_LIMIT_PER_MINUTE", "0");
    let server = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    bench::wait_for("the server listens", Duration::from_secs(20), || {
        Ok(std::net::TcpStream::connect(address).is_ok())
    })?;
    Ok((server, address))
}
