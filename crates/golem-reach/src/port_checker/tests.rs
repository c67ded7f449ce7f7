//! The check server among strangers, over real sockets.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::StatusCode;
use futures_util::future::join_all;
use golem_service::server::TrustedProxies;
use golem_service::server::serve::serve;
use golem_service::tasks::Tasks;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;

async fn check(from: Ipv4Addr, server: SocketAddr, target: SocketAddr) -> StatusCode {
    golem_service::http::install_cryptography();
    let http = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(from)).build().unwrap();
    let body = json!({ "provider_ip": target.ip(), "ports": [target.port()], "nonce": "ab".repeat(16) });
    http.post(format!("http://{server}/check-ports")).json(&body).send().await.unwrap().status()
}

#[tokio::test]
async fn i_14_no_page_has_ports_tried() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let wallet = Wallet::from_hex(&"46".repeat(32)).unwrap();
    let routes = router(Arc::new(Checker::new(wallet, Targets { any: true, private: true })));
    let tasks = Tasks::new();
    tasks.spawn("check server", serve("test", listener, routes, TrustedProxies::default(), tasks.clone()));
    golem_service::http::install_cryptography();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({ "provider_ip": "127.0.0.1", "ports": [server.port()] }).to_string();
    let ask = async |lines: &[(&str, &str)]| {
        let request = http.post(format!("http://{server}/check-ports")).body(body.clone());
        let request = lines.iter().fold(request, |request, (name, line)| request.header(*name, *line));
        request.send().await.unwrap().status().as_u16()
    };
    let json = ("content-type", "application/json");
    assert_eq!(ask(&[json]).await, 200);
    assert_eq!(ask(&[("content-type", "text/plain")]).await, 415);
    assert_eq!(ask(&[]).await, 415);
    assert_eq!(ask(&[json, ("origin", "https://evil.example")]).await, 403);
    tasks.stopping().cancel();
}

#[tokio::test]
async fn i_08_sixteen_addresses_keep_nobody_from_a_check() {
    // Says nothing to who comes, so that a check of it lasts.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (silent_at, open_at) = (silent.local_addr().unwrap(), open.local_addr().unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = listener.local_addr().unwrap();
    let wallet = Wallet::from_hex(&"46".repeat(32)).unwrap();
    let checker = Arc::new(Checker::new(wallet, Targets { any: true, private: true }));
    let tasks = Tasks::new();
    let routes = router(checker);
    tasks.spawn("check server", serve("test", listener, routes, TrustedProxies::default(), tasks.clone()));
    tasks.spawn("greeting", async move {
        while let Ok((mut stream, _)) = open.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-test\r\n").await;
        }
    });
    let (begun, attacked) = oneshot::channel();
    tasks.spawn("strangers", async move {
        let attackers = (0..64).map(|n| check(Ipv4Addr::new(127, 1, 0, 1 + n % 16), server, silent_at));
        let accepts = async {
            let mut held = Vec::new();
            for n in 0..64 {
                held.push(silent.accept().await.unwrap());
                if n == 63 {
                    break;
                }
            }
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(held);
        };
        tokio::select! {
            _ = join_all(attackers) => {}
            () = accepts => {}
        }
    });
    attacked.await.unwrap();
    for _ in 0..7 {
        assert_eq!(check(Ipv4Addr::LOCALHOST, server, open_at).await, StatusCode::OK);
    }
    assert_eq!(
        check(Ipv4Addr::new(127, 1, 0, 99), server, open_at).await,
        StatusCode::OK,
        "a neighbour of theirs"
    );
    tasks.stopping().cancel();
}
