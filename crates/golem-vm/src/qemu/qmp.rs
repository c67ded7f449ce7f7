//! Clients of QEMU (QMP) and of the agent in a guest: both speak JSON lines over a local socket.
//!
//! Owns framing and deadlines. What a guest's agent says is a renter's word: it is bounded in
//! size and time, and believed only about its own guest.

use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest that one exchange may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Bytes of console that are kept in QEMU's memory; a power of two.
pub(super) const CONSOLE_BYTES: usize = crate::console::LOG_BYTES;

/// Longest line that is read: the console's ring, every byte escaped as six.
const LINE_BYTES: u64 = 6 * CONSOLE_BYTES as u64 + 4096;

/// Most lines that are skipped as events before an answer must have come.
const EVENTS: usize = 1000;

/// A conversation.
pub(super) struct Client(BufReader<UnixStream>);

/// Connects to `folder/socket`, however long the folder's path is: a socket's path is limited to
/// 108 bytes, a path through an open directory is short.
pub(super) async fn connect(folder: &Path, socket: &str) -> io::Result<UnixStream> {
    let open = std::fs::File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{socket}", open.as_raw_fd())).await
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

impl Client {
    /// Greets the QEMU of the machine in `folder`.
    ///
    /// # Errors
    /// Any error of the socket; `TimedOut` when QEMU does not answer.
    pub(super) async fn qmp(folder: &Path) -> io::Result<Self> {
        let greet = async {
            let mut client = Self(BufReader::new(connect(folder, "run/qmp.sock").await?));
            let greeting = client.line().await?;
            if greeting.get("QMP").is_none() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no QMP greeting"));
            }
            client.exchange("qmp_capabilities", Value::Null).await?;
            Ok(client)
        };
        timeout(DEADLINE, greet).await.map_err(|_| late())?
    }

    /// Greets the agent in the guest of the machine in `folder`.
    ///
    /// # Errors
    /// Any error of the socket; `TimedOut` when no agent runs.
    pub(super) async fn agent(folder: &Path) -> io::Result<Self> {
        let greet = async {
            let mut client = Self(BufReader::new(connect(folder, "run/agent.sock").await?));
            // An answer meant for someone who went away may come first; the agent puts 0xff
            // before the one to `guest-sync-delimited`, and anything up to it is dropped.
            client
                .0
                .write_all(b"\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":1}}\n")
                .await?;
            let mut dropped = Vec::new();
            (&mut client.0).take(LINE_BYTES).read_until(0xff, &mut dropped).await?;
            client.line().await?;
            Ok(client)
        };
        timeout(DEADLINE, greet).await.map_err(|_| late())?
    }

    /// Says `command` and returns what it returned.
    ///
    /// # Errors
    /// Any error of the socket; `TimedOut`; `Other` with the peer's own words when it refused.
    pub(super) async fn call(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        self.call_within(DEADLINE, command, arguments).await
    }

    /// As [`Self::call`], for what may take up to `deadline`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) async fn call_within(
        &mut self,
        deadline: Duration,
        command: &str,
        arguments: Value,
    ) -> io::Result<Value> {
        timeout(deadline, self.exchange(command, arguments)).await.map_err(|_| late())?
    }

    async fn exchange(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        self.0.write_all(format!("{request}\n").as_bytes()).await?;
        self.answer().await
    }

    /// Hands `end` to QEMU, which knows it as `name` from then on.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) async fn hand_over(&mut self, name: &str, end: impl AsFd) -> io::Result<()> {
        let request = format!("{}\n", json!({ "execute": "getfd", "arguments": { "fdname": name } }));
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let ends = [end.as_fd()];
            if !ancillary.push(SendAncillaryMessage::ScmRights(&ends)) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let parts = [IoSlice::new(request.as_bytes())];
            Ok(sendmsg(self.0.get_ref(), &parts, &mut ancillary, SendFlags::NOSIGNAL)?)
        };
        let sent = timeout(DEADLINE, self.0.get_ref().async_io(Interest::WRITABLE, send)).await;
        if sent.map_err(|_| late())?? != request.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        timeout(DEADLINE, self.answer()).await.map_err(|_| late())?.map(drop)
    }

    async fn answer(&mut self) -> io::Result<Value> {
        for _ in 0..EVENTS {
            let mut answer = self.line().await?;
            if let Some(error) = answer.get("error") {
                let text = error.get("desc").and_then(Value::as_str).unwrap_or("refused");
                return Err(io::Error::other(text.chars().take(200).collect::<String>()));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "no answer among too many events"))
    }

    async fn line(&mut self) -> io::Result<Value> {
        let mut line = Vec::new();
        (&mut self.0).take(LINE_BYTES).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_slice(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// QEMU's word for how the guest stands; `None` if it does not answer.
pub(super) async fn status(folder: &Path) -> Option<String> {
    let mut client = Client::qmp(folder).await.ok()?;
    let answer = client.call("query-status", Value::Null).await.ok()?;
    Some(answer.get("status")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// A peer that says `script`, one entry after each line that it reads, the first at once.
    fn peer(folder: &Path, socket: &str, script: &'static [&'static str]) -> tokio::task::JoinSet<()> {
        std::fs::create_dir_all(folder.join("run")).unwrap();
        let listener = UnixListener::bind(folder.join(socket)).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            for part in script {
                stream.write_all(part.as_bytes()).await.unwrap();
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap_or_default();
            }
        });
        tasks
    }

    const GREETING: &str = "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\n";

    #[tokio::test]
    async fn events_are_skipped_and_refusals_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let script = &[
            GREETING,
            "{\"return\":{}}\n",
            "{\"event\":\"RESET\",\"data\":{}}\n{\"return\":{\"status\":\"running\"}}\n",
            "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such thing\"}}\n",
        ];
        let _peer = peer(folder.path(), "run/qmp.sock", script);
        let mut client = Client::qmp(folder.path()).await.unwrap();
        assert_eq!(client.call("query-status", Value::Null).await.unwrap()["status"], "running");
        let refused = client.call("nonsense", Value::Null).await.unwrap_err();
        assert_eq!(refused.to_string(), "no such thing");
    }

    #[tokio::test]
    async fn a_peer_that_talks_nonsense_is_an_error() {
        for script in [&["garbage\n"] as &'static [_], &["{}\n"], &[""], &[GREETING, "{\"return\":"]] {
            let folder = tempfile::tempdir().unwrap();
            let tasks = peer(folder.path(), "run/qmp.sock", script);
            if script == [""] {
                drop(tasks);
            }
            assert!(Client::qmp(folder.path()).await.is_err(), "{script:?}");
        }
    }
}
