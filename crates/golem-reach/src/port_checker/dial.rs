//! Dials one port.
//!
//! Owns the connection and its result. Returns what the port sent only if that is a node's banner:
//! anything else is private to whatever listens there.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use golem_types::wire::port_check::{BANNER, BANNER_PATH, PortResult, printable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take. The kernel sends its SYN again after 1 and after 3 seconds.
const CONNECT: Duration = Duration::from_secs(4);

/// How long a port may take to speak first, as SSH servers and a node's listeners do.
const SPEAK: Duration = Duration::from_secs(1);

/// How long one that does not may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Most bytes that are read: an HTTP answer with a banner in it.
const BYTES: usize = 2048;

/// Tries `port` of `address`; what it says as well where `read` is wished, which takes longer where it is
/// silent.
pub(super) async fn dial(address: IpAddr, port: u16, read: bool) -> PortResult {
    let connected = timeout(CONNECT, TcpStream::connect(SocketAddr::new(address, port))).await;
    match connected {
        Ok(Ok(stream)) => {
            let read = if read { Some(banner(stream, address).await) } else { None };
            PortResult { accessible: true, error: None, read }
        }
        Ok(Err(error)) => closed(match error.kind() {
            ErrorKind::ConnectionRefused => "Connection refused",
            ErrorKind::TimedOut => "Connection timed out",
            ErrorKind::HostUnreachable => "No route to host",
            ErrorKind::NetworkUnreachable => "Network is unreachable",
            ErrorKind::ConnectionReset => "Connection reset by peer",
            _ => "Connection failed",
        }),
        Err(_) => closed("Connection timed out"),
    }
}

fn closed(error: &str) -> PortResult {
    PortResult { accessible: false, error: Some(error.to_owned()), read: None }
}

/// The banner that the port says, by itself or when it is asked over HTTP; else nothing.
async fn banner(mut stream: TcpStream, address: IpAddr) -> String {
    let mut said = Vec::new();
    let _ = timeout(SPEAK, read(&mut stream, &mut said, b'\n')).await;
    if said.is_empty() {
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let request = format!("GET {BANNER_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let ask = async {
            stream.write_all(request.as_bytes()).await?;
            read(&mut stream, &mut said, 0).await
        };
        let _ = timeout(ANSWER, ask).await;
    }
    let text = String::from_utf8_lossy(&said);
    text.lines()
        .find(|line| line.starts_with(BANNER))
        .map(|line| printable(line).to_owned())
        .unwrap_or_default()
}

/// Reads until `last` was read, the end, or the most that is read.
async fn read(stream: &mut TcpStream, said: &mut Vec<u8>, last: u8) -> std::io::Result<()> {
    let mut part = [0; 512];
    while said.len() < BYTES {
        let count = stream.read(&mut part).await?;
        said.extend_from_slice(&part[..count]);
        if count == 0 || said.contains(&last) {
            break;
        }
    }
    Ok(())
}
