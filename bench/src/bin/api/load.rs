//! Load: requests over connections that stay open, each sent when the last was answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest that one answer may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What came back in one measurement.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answers a second, those with status 2xx only.
    pub(crate) a_second: f64,
    /// Milliseconds of each such answer.
    pub(crate) milliseconds: Vec<f64>,
    /// Answers with another status.
    pub(crate) refused: usize,
}

/// A request, ready to be sent.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A connection that asks and reads.
pub(crate) struct Asker(BufReader<TcpStream>);

impl Asker {
    pub(crate) async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(1 << 16, stream)))
    }

    /// Sends `request` and reads the whole answer; its status and body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        timeout(DEADLINE, self.exchange(request)).await.context("no answer in time")?
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.0.write_all(request).await?;
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status line")?;
        let mut length = 0;
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                bail!("the connection ended in an answer's head");
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((status, body))
    }
}

/// Sends `request` over `connections` connections for `time`.
pub(crate) async fn measure(
    port: u16,
    connections: usize,
    request: &[u8],
    time: Duration,
) -> anyhow::Result<Outcome> {
    let mut askers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..connections {
        let request = request.to_vec();
        askers.spawn(async move {
            let mut asker = Asker::connect(port).await?;
            let mut outcome = Outcome::default();
            while began.elapsed() < time {
                let sent = Instant::now();
                let (status, _) = asker.ask(&request).await?;
                if (200..300).contains(&status) {
                    outcome.milliseconds.push(sent.elapsed().as_secs_f64() * 1000.0);
                } else {
                    outcome.refused += 1;
                }
            }
            anyhow::Ok(outcome)
        });
    }
    let mut all = Outcome::default();
    while let Some(one) = askers.join_next().await {
        let one = one??;
        all.milliseconds.extend(one.milliseconds);
        all.refused += one.refused;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 answers")]
    let answered = all.milliseconds.len() as f64;
    all.a_second = answered / began.elapsed().as_secs_f64();
    Ok(all)
}
