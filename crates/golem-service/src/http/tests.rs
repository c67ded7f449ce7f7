use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::log::with_causes;

const DEADLINE: Duration = Duration::from_secs(20);

/// A server that gives each caller `answer`, and what the callers said.
fn server(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (said, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            let mut buffer = [0; 4096];
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(count) if count > 0 => head.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let _ = stream.write_all(&answer(&head));
            let _ = said.send(head);
        }
    });
    (address, hear)
}

fn plain(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn environment(rows: &[(&'static str, String)]) -> impl Fn(&str) -> Option<String> + use<> {
    let rows = rows.to_vec();
    move |name| rows.iter().find(|(row, _)| *row == name).map(|(_, value)| value.clone())
}

fn client(rows: &[(&'static str, String)]) -> Client {
    Client::with(Options::within(DEADLINE), environment(rows), |builder| builder).unwrap()
}

/// H-19: what is on this machine, and what `NO_PROXY` names, is asked directly; all else through the proxy.
#[test]
fn h_19_loopback_and_no_proxy_go_past_the_proxy() {
    let rows = [
        ("HTTP_PROXY", "http://user:secret@proxy.example:3128".to_owned()),
        ("https_proxy", "proxy.example:3129".to_owned()),
        ("NO_PROXY", "rpc.example, .inside.example,10.0.0.0/8,2001:db8::/32".to_owned()),
    ];
    let proxies = Proxies::read(environment(&rows));
    for direct in [
        "http://localhost:8545/",
        "http://127.0.0.1:8545",
        "http://127.9.9.9/",
        "http://[::1]:8545/",
        "https://localhost/",
        "http://rpc.example/",
        "https://rpc.example:444/x",
        "https://a.inside.example/",
        "http://10.1.2.3/",
        "http://[2001:db8::5]/",
    ] {
        assert_eq!(proxies.of(direct), None, "{direct}");
    }
    for url in
        ["http://192.0.2.7:7466/api", "http://rpc.example.org/", "http://128.0.0.1", "http://[2001:db9::1]/"]
    {
        let proxy = proxies.of(url).unwrap().to_string();
        assert_eq!(proxy, "http://proxy.example:3128 (HTTP_PROXY)", "{url}");
    }
    let proxy = proxies.of("https://rpc.example.org/").unwrap().to_string();
    assert_eq!(proxy, "http://proxy.example:3129 (https_proxy)");
    let all = Proxies::read(environment(&[("ALL_PROXY", "socks5h://proxy.example:1080".to_owned())]));
    for url in ["http://rpc.example/", "https://rpc.example/"] {
        assert_eq!(all.of(url).unwrap().to_string(), "socks5h://proxy.example:1080 (ALL_PROXY)");
    }
    let none = Proxies::read(environment(&[("HTTP_PROXY", " ".to_owned())]));
    assert_eq!(none.of("http://rpc.example/"), None);
    let star =
        Proxies::read(environment(&[("HTTP_PROXY", "http://p:1".to_owned()), ("NO_PROXY", "*".to_owned())]));
    assert_eq!(star.of("http://rpc.example/"), None);
}

/// H-19: with a proxy set, an endpoint on loopback is reached all the same.
#[tokio::test]
async fn h_19_an_endpoint_on_loopback_is_reached_whatever_the_proxy() {
    let (proxy, asked) = server(|_| plain("502 Bad Gateway", ""));
    let (endpoint, _) = server(|_| plain("200 OK", "{\"a\":1}"));
    let client =
        client(&[("HTTP_PROXY", format!("http://{proxy}")), ("NO_PROXY", "elsewhere.example".to_owned())]);
    let answer = client.get(&format!("http://{endpoint}/")).send(100).await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["a"], 1);
    assert!(asked.try_recv().is_err());
}

/// H-19: an error names the proxy, by its variable and without its password, and never the endpoint's address.
#[tokio::test]
async fn h_19_errors_name_the_proxy_and_no_secret() {
    let (proxy, asked) = server(|head| match head.split(' ').next() {
        Some("CONNECT") => plain("403 Forbidden", ""),
        _ => plain("407 Proxy Authentication Required", ""),
    });
    let value = format!("http://me:hidden@{proxy}");
    let client = client(&[("HTTP_PROXY", value.clone()), ("HTTPS_PROXY", value)]);
    for url in ["http://rpc.example/key-in-path", "https://rpc.example/key-in-path"] {
        let error = client.post(url).json(&1).send(100).await.unwrap_err();
        let chain = with_causes(&error);
        assert!(chain.contains(&format!("http://{proxy}")) && chain.contains("_PROXY"), "{chain}");
        assert!(!chain.contains("hidden") && !chain.contains("key-in-path"), "{chain}");
        assert!(error.through().contains(" through the proxy http://"), "{error}");
        assert!(asked.recv().unwrap().to_lowercase().contains("proxy-authorization: basic"), "{url}");
    }
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let client = self::client(&[("HTTP_PROXY", format!("http://{dead}"))]);
    let error = client.get("http://rpc.example/").send(100).await.unwrap_err();
    assert!(with_causes(&error).contains(&format!("http://{dead} (HTTP_PROXY)")), "{}", with_causes(&error));
}

/// What the endpoint itself says through a proxy stays its own.
#[tokio::test]
async fn an_endpoint_behind_a_proxy_speaks_for_itself() {
    let (proxy, asked) = server(|_| plain("503 Service Unavailable", "{\"detail\":\"full\"}"));
    let client = client(&[("http_proxy", format!("http://{proxy}"))]);
    let answer = client.get("http://rent.example/a").send(100).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.beginning().as_str()), (503, "{\"detail\":\"full\"}"));
    assert!(asked.recv().unwrap().starts_with("GET http://rent.example/a HTTP/1.1\r\n"));
}

#[test]
fn what_names_no_proxy_is_told_by_its_variable() {
    for wrong in ["http://", "::::", "http://a b"] {
        let client = Client::with(
            Options::within(DEADLINE),
            environment(&[("HTTPS_PROXY", wrong.to_owned())]),
            |builder| builder,
        );
        let error = client.unwrap_err();
        assert!(error.to_string().starts_with("HTTPS_PROXY in the environment"), "{wrong}: {error}");
    }
    let direct = Options { is_direct: true, ..Options::within(DEADLINE) };
    Client::with(direct, environment(&[("HTTPS_PROXY", "::::".to_owned())]), |builder| builder).unwrap();
}

#[tokio::test]
async fn answers_are_bounded_and_redirects_are_not_followed_unless_wanted() {
    let (long, _) = server(|_| plain("200 OK", &"x".repeat(1000)));
    let client = client(&[]);
    let error = client.get(&format!("http://{long}/")).send(999).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLarge(999)));
    assert_eq!(client.get(&format!("http://{long}/")).send(1000).await.unwrap().bytes.len(), 1000);
    let (moved, _) = server(move |head| {
        if head.starts_with("GET /there") {
            return plain("200 OK", "there");
        }
        b"HTTP/1.1 302 Found\r\nLocation: /there\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let url = format!("http://{moved}/");
    assert_eq!(client.get(&url).send(100).await.unwrap().status, StatusCode::FOUND);
    let following = Options { follows_redirects: true, ..Options::within(DEADLINE) };
    let following = Client::with(following, environment(&[]), |builder| builder).unwrap();
    assert_eq!(following.get(&url).send(100).await.unwrap().bytes, b"there");
}

/// An endless answer, or an endless silence, ends at the deadline.
#[tokio::test]
async fn silence_ends() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let client = client(&[]);
    let error = client.get(&url).within(Duration::from_millis(200)).send(100).await.unwrap_err();
    assert!(matches!(error, HttpError::NoAnswer(_)) && error.through().is_empty(), "{error}");
}
