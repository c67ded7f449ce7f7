//! What the SSH proxy writes into the log. In a process of its own, to which the log belongs.

use golem_node::proxy::{Proxy, ProxyLimits};
use golem_test_support::in_own_process;

use crate::log_support::Log;
use crate::proxy_support::{EchoGuest, Renter, WIDE, in_time, open};

#[tokio::test]
async fn s_243_a_port_has_one_line_when_it_opens_and_closes_and_renters_have_none() {
    if !in_own_process("proxy_log::s_243_a_port_has_one_line_when_it_opens_and_closes_and_renters_have_none")
    {
        return;
    }
    let log = Log::begin();

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
