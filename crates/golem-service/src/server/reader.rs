//! A connection's other end, which has to read what it is sent.
//!
//! Owns how long it may take. Never looks at the bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may take to read an answer, beyond what the kernel holds for it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A socket whose other end has to read what it is sent.
pub(super) struct Reader<S> {
    stream: S,
    /// Ends the connection, since the kernel took no more.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Reader<S> {
    pub(super) fn of(stream: S) -> Self {
        Self { stream, stuck: None }
    }

    /// Passes `written` on, or the end of the other side's time.
    fn in_time(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            return written;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(ANSWER_DEADLINE)));
        ready!(stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Reader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when everything was handed to the kernel: what comes next has its own time.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stuck = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What is read in time may take as long as it is long.
    #[tokio::test(start_paused = true)]
    async fn i_06_an_answer_that_is_not_read_ends_the_connection() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut writer = Reader::of(near);
        for _ in 0..10 {
            let read = async {
                sleep(ANSWER_DEADLINE / 2).await;
                far.read_exact(&mut [0; 32]).await.unwrap();
            };
            let write = async {
                writer.write_all(&[1; 32]).await.unwrap();
                writer.flush().await.unwrap();
            };
            tokio::join!(read, write);
        }
        let dribble = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                if far.read_u8().await.is_err() {
                    return;
                }
            }
        };
        let error = tokio::select! {
            written = writer.write_all(&[1; 4096]) => written.unwrap_err(),
            () = dribble => unreachable!("the other end is held"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
