//! What the SSH proxy writes into the log. One test, because the log belongs to the process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod proxy_support;

use std::io;
use std::sync::{Arc, Mutex};

use golem_node::proxy::{Proxy, ProxyLimits};
use proxy_support::{EchoGuest, Renter, WIDE, in_time, open};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines_with(&self, text: &str) -> usize {
        String::from_utf8(self.0.lock().unwrap().clone())
            .unwrap()
            .lines()
            .filter(|line| line.contains(text))
            .count()
    }
}

#[tokio::test]
async fn s_243_a_port_has_one_line_when_it_opens_and_closes_and_renters_have_none() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();

    let guest = EchoGuest::start(b'a').await;
    let proxy = Proxy::start(ProxyLimits { per_port: 1, ..WIDE }).unwrap();
    let (closed, drained) = (open(&proxy, guest.address).await, open(&proxy, guest.address).await);
    let (mut renter, _) = Renter::greeted(closed).await;
    assert!(renter.is_alive().await);
    for _ in 0..100 {
        Renter::connect(closed).await.is_ended().await;
    }
    proxy.close(closed.port()).await;
    in_time("the shutdown", proxy.shutdown()).await;

    for port in [closed, drained] {
        assert_eq!(log.lines_with(&format!("SSH port opened port={}", port.port())), 1);
        assert_eq!(log.lines_with(&format!("SSH port closed port={}", port.port())), 1);
    }
    assert_eq!(log.lines_with("SSH connections refused"), 1, "strangers do not fill the log");
    assert_eq!(log.lines_with("127.0.0.1"), 0, "who a renter is stays out of the log");
    assert_eq!(log.lines_with(""), 5);
}
