//! What is measured, through whatever is in between.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bench::figures::percentile;
use bench::wait_for;

use crate::contenders::Running;
use crate::endpoints::{Endpoints, PIECE, order, send};

/// A measurement that takes longer has hung.
const LIMIT: Duration = Duration::from_secs(60);

/// How long nothing more is accepted before a writer counts as stopped.
const STOPPED_AFTER: Duration = Duration::from_millis(500);

/// Renters who connect at once.
const RENTERS: usize = 8;

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).context("a proxy does not answer")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn figure(count: u64) -> f64 {
    count as f64
}

/// MiB per second and processor seconds per GiB.
pub(crate) struct Bulk {
    pub(crate) rate: f64,
    pub(crate) cpu: f64,
}

fn bulk(
    running: &Running,
    bytes: u64,
    transfer: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Bulk> {
    let cpu = running.cpu_seconds()?;
    let began = Instant::now();
    transfer()?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = running.cpu_seconds()? - cpu;
    let mebibytes = figure(bytes) / 1_048_576.0;
    Ok(Bulk { rate: mebibytes / seconds, cpu: cpu / (mebibytes / 1024.0) })
}

/// From the guest to the renter.
pub(crate) fn down(running: &Running, bytes: u64) -> anyhow::Result<Bulk> {
    bulk(running, bytes, || {
        let mut stream = connect(running.serve)?;
        ask(&mut stream, order::SEND, bytes)?;
        let received = read_all(&mut stream)?;
        ensure!(received == bytes, "{received} of {bytes} bytes arrived");
        Ok(())
    })
}

/// From the renter to the guest, until the guest says that it has read all.
pub(crate) fn up(running: &Running, bytes: u64) -> anyhow::Result<Bulk> {
    bulk(running, bytes, || {
        let mut stream = connect(running.serve)?;
        ask(&mut stream, order::TAKE, bytes)?;
        send(&mut stream, bytes, &AtomicU64::new(0))?;
        ensure!(read_all(&mut stream)? == 1, "the guest did not get every byte");
        Ok(())
    })
}

fn ask(stream: &mut TcpStream, order: u8, bytes: u64) -> anyhow::Result<()> {
    let mut question = vec![order];
    question.extend(bytes.to_le_bytes());
    Ok(stream.write_all(&question)?)
}

fn read_all(stream: &mut TcpStream) -> anyhow::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut received = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(received),
            Ok(count) => received += count as u64,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(received),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Round trips of 64 bytes: the median and the 99th percentile in microseconds.
pub(crate) fn round_trips(running: &Running, count: usize) -> anyhow::Result<(f64, f64)> {
    let mut stream = connect(running.serve)?;
    stream.write_all(&[order::ECHO])?;
    let mut message = [7; 64];
    let mut times = Vec::with_capacity(count);
    // The first tenth warms up.
    for turn in 0..count + count / 10 {
        let began = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        if turn >= count / 10 {
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok((percentile(&times, 0.5), percentile(&times, 0.99)))
}

/// Connections per second: connect, one byte from the guest, close.
pub(crate) fn connections(running: &Running, count: usize) -> anyhow::Result<f64> {
    let address = running.brief;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let renters: Vec<_> = (0..RENTERS)
            .map(|_| {
                scope.spawn(move || -> anyhow::Result<()> {
                    for _ in 0..count / RENTERS {
                        let mut stream = connect(address)?;
                        ensure!(read_all(&mut stream)? == 1, "a connection carried nothing");
                    }
                    Ok(())
                })
            })
            .collect();
        renters.into_iter().try_for_each(|renter| match renter.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a renter's thread failed"),
        })
    })?;
    Ok(figure((count / RENTERS * RENTERS) as u64) / began.elapsed().as_secs_f64())
}

/// Bytes of memory for each of `count` connections on which nothing moves any more: each has
/// carried a line both ways before, as an SSH session has.
pub(crate) fn idle_memory(running: &Running, count: usize) -> anyhow::Result<f64> {
    // What the first connection of all makes the proxy set up is not the price of the second.
    let first = greet(running)?;
    let before = running.memory()?;
    let streams = (0..count).map(|_| greet(running)).collect::<anyhow::Result<Vec<_>>>()?;
    let after = running.memory()?;
    drop((first, streams));
    Ok((after - before) / figure(count as u64))
}

fn greet(running: &Running) -> anyhow::Result<TcpStream> {
    let mut stream = connect(running.serve)?;
    let mut line = [7; 64];
    stream.write_all(&[order::ECHO])?;
    stream.write_all(&line)?;
    stream.read_exact(&mut line)?;
    Ok(stream)
}

/// A reader that stalls: bytes that were accepted for it, and memory that this cost.
pub(crate) struct Stalled {
    pub(crate) accepted: f64,
    pub(crate) memory: f64,
}

/// The renter asks for `bytes` and reads none.
pub(crate) fn stalled_renter(running: &Running, ends: &Endpoints, bytes: u64) -> anyhow::Result<Stalled> {
    let first = greet(running)?;
    let before = running.memory()?;
    let sent = ends.sent.load(Ordering::Relaxed);
    let mut stream = connect(running.serve)?;
    ask(&mut stream, order::SEND, bytes)?;
    let accepted = stops(bytes, || Ok(ends.sent.load(Ordering::Relaxed) - sent))?;
    let memory = running.memory()? - before;
    drop((first, stream));
    Ok(Stalled { accepted: figure(accepted), memory })
}

/// The renter pushes `bytes` at a guest that reads none.
pub(crate) fn stalled_guest(running: &Running, ends: &Endpoints, bytes: u64) -> anyhow::Result<Stalled> {
    let first = greet(running)?;
    let before = running.memory()?;
    let mut stream = connect(running.hold)?;
    wait_for("the guest's end", LIMIT, || Ok(ends.held() > 0))?;
    stream.set_nonblocking(true)?;
    let piece = vec![7; PIECE];
    let mut written = 0;
    let accepted = stops(bytes, || {
        while written < bytes {
            match stream.write(&piece) {
                Ok(count) => written += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(written)
    })?;
    let memory = running.memory()? - before;
    drop((first, stream));
    ends.release();
    Ok(Stalled { accepted: figure(accepted), memory })
}

/// Waits until `progress` stands still or reaches `most`, and gives it.
fn stops(most: u64, mut progress: impl FnMut() -> anyhow::Result<u64>) -> anyhow::Result<u64> {
    let mut last = (0, Instant::now());
    wait_for("a writer that is stopped", LIMIT, || {
        let now = progress()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok(now >= most || last.1.elapsed() >= STOPPED_AFTER)
    })?;
    Ok(last.0)
}

/// How many of `bytes` arrive that are sent after the renter has ended its own side.
pub(crate) fn half_close(running: &Running, bytes: u64) -> anyhow::Result<u64> {
    let mut stream = connect(running.serve)?;
    ask(&mut stream, order::ANSWER_AFTER_END, bytes)?;
    stream.shutdown(Shutdown::Write)?;
    read_all(&mut stream)
}
