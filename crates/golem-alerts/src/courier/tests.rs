//! Servers of the test on this machine, for each way in which a destination can be good or bad.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use golem_service::http::Url;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;
use crate::{MailSecurity, Shape};

const DEADLINE: Duration = Duration::from_secs(20);

/// A server that answers each request with the next of `answers`, then with the last; what it was asked comes out.
async fn server(answers: Vec<String>) -> (u16, mpsc::UnboundedReceiver<String>, Tasks) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, hear) = mpsc::unbounded_channel();
    let tasks = Tasks::new();
    tasks.spawn("server", async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = said.send(request(&mut stream).await);
            let answer = answers.get(number).or(answers.last()).unwrap();
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, hear, tasks)
}

async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return text,
        }
    }
}

fn answer(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n{more}\r\n")
}

fn webhook(port: u16) -> Webhook {
    let url = Url::parse(&format!("http://127.0.0.1:{port}/secret-path")).unwrap();
    Webhook { url, shape: Shape::Json, token: Some("secret-token".to_owned()) }
}

fn config(port: u16) -> Config {
    Config { webhook: Some(webhook(port)), allow_private: true, ..Config::default() }
}

fn message() -> Message {
    Message::test("node-1", Timestamp::UNIX_EPOCH)
}

#[tokio::test]
async fn a_message_arrives_with_its_token() {
    let (port, mut hear, _server) = server(vec![answer("204 No Content", "")]).await;
    let tasks = Tasks::new();
    let courier = Courier::start(&config(port), &tasks);
    courier.send(&message());
    let said = timeout(DEADLINE, hear.recv()).await.unwrap().unwrap();
    assert!(said.starts_with("POST /secret-path HTTP/1.1\r\n"), "{said}");
    assert!(said.contains("Bearer secret-token") && said.contains("\"node\":\"node-1\""), "{said}");
    tasks.stop().await;
}

#[tokio::test]
async fn a_server_in_trouble_is_tried_again_and_one_that_refuses_is_not() {
    let attempts = AtomicUsize::new(0);
    let (port, _hear, _server) =
        server(vec![answer("503 Busy", ""), answer("429 Slow", ""), answer("200 OK", "")]).await;
    let destination = Destination::Webhook(webhook(port));
    let attempt = async || {
        attempts.fetch_add(1, Ordering::Relaxed);
        destination.try_once(&message(), true).await
    };
    assert!(persist(&[Duration::from_millis(1); 5], attempt).await);
    assert_eq!(attempts.swap(0, Ordering::Relaxed), 3);

    let (port, _hear, _server) = server(vec![answer("403 Forbidden", "")]).await;
    let destination = Destination::Webhook(webhook(port));
    let attempt = async || {
        attempts.fetch_add(1, Ordering::Relaxed);
        destination.try_once(&message(), true).await
    };
    assert!(!persist(&[Duration::from_millis(1); 5], attempt).await);
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
}

/// A redirect leads nowhere, above all not inside.
#[tokio::test]
async fn a_redirect_is_not_followed_and_nothing_secret_is_told() {
    let (inside, mut hear, _inner) = server(vec![answer("200 OK", "")]).await;
    let location = format!("Location: http://127.0.0.1:{inside}/\r\n");
    let (port, _hear, _server) = server(vec![answer("307 Temporary Redirect", &location)]).await;
    let error = webhook(port).post(&message(), true).await.unwrap_err();
    assert!(matches!(error, WebhookError::Redirect { .. }), "{error:?}");
    assert!(!error.may_pass());
    assert!(hear.try_recv().is_err());
    let shown = format!("{error} {error:?} {:?} {:?}", webhook(port), config(port));
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn what_is_on_this_machine_is_asked_only_where_that_is_set() {
    let (port, mut hear, _server) = server(vec![answer("200 OK", "")]).await;
    let error = webhook(port).post(&message(), false).await.unwrap_err();
    assert!(error.to_string().contains("GOLEM_PROVIDER_ALERT_ALLOW_PRIVATE"), "{error}");
    assert!(!error.may_pass());
    assert!(hear.try_recv().is_err());
}

#[tokio::test]
async fn a_dead_and_a_silent_webhook_hold_up_nobody() {
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = dead.local_addr().unwrap().port();
    let tasks = Tasks::new();
    // It takes connections, and says nothing.
    let courier = Courier::start(&config(port), &tasks);
    let before = Instant::now();
    for _ in 0..10_000 {
        courier.send(&message());
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    // The stop does not wait for it, either.
    timeout(DEADLINE, tasks.stop()).await.unwrap();
    // Silent, then gone.
    let error = timeout(DEADLINE, webhook(port).post(&message(), true)).await.unwrap().unwrap_err();
    assert!(matches!(error, WebhookError::NoAnswer { .. }) && error.may_pass(), "{error}");
    drop(dead);
    let error = webhook(port).post(&message(), true).await.unwrap_err();
    assert!(matches!(error, WebhookError::NoAnswer { .. }) && error.may_pass(), "{error}");
}

/// An answer without an end is not read.
#[tokio::test]
async fn an_answer_of_any_length_is_taken_by_its_head() {
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{}", "x".repeat(100_000));
    let (port, _hear, _server) = server(vec![endless]).await;
    timeout(DEADLINE, webhook(port).post(&message(), true)).await.unwrap().unwrap();
}

/// A mail server that says `greeting`, then takes everything; the mail comes out.
async fn mail_server(refuses: bool) -> (u16, mpsc::UnboundedReceiver<String>, Tasks) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, hear) = mpsc::unbounded_channel();
    let tasks = Tasks::new();
    tasks.spawn("mail server", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 test\r\n").await.unwrap();
        let (mut all, mut in_data) = (String::new(), false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                break;
            }
            all.push_str(&line);
            let command = line.to_ascii_uppercase();
            let reply = match command.trim_end() {
                "." if in_data => {
                    in_data = false;
                    "250 taken\r\n"
                }
                _ if in_data => continue,
                "DATA" => {
                    in_data = true;
                    "354 go on\r\n"
                }
                "QUIT" => "221 bye\r\n",
                text if text.starts_with("EHLO") => "250-test\r\n250 AUTH PLAIN\r\n",
                text if text.starts_with("RCPT") && refuses => "550 nobody\r\n",
                text if text.starts_with("AUTH") => "235 welcome\r\n",
                _ => "250 fine\r\n",
            };
            stream.write_all(reply.as_bytes()).await.unwrap();
            if reply.starts_with("221") || reply.starts_with("250 taken") || reply.starts_with("550") {
                let _ = said.send(std::mem::take(&mut all));
            }
        }
    });
    (port, hear, tasks)
}

fn mail(port: u16) -> Mail {
    Mail {
        host: "127.0.0.1".to_owned(),
        port,
        security: MailSecurity::StartTls,
        login: Some(("me".to_owned(), "secret".to_owned())),
        from: "node@example.org".parse().unwrap(),
        to: vec!["operator@example.org".parse().unwrap()],
    }
}

#[tokio::test]
async fn a_mail_arrives() {
    let (port, mut hear, _server) = mail_server(false).await;
    timeout(DEADLINE, mail(port).send(&message(), true)).await.unwrap().unwrap();
    let said = timeout(DEADLINE, hear.recv()).await.unwrap().unwrap();
    for part in ["MAIL FROM:<node@example.org>", "RCPT TO:<operator@example.org>", "Subject: node-1: info"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("This is a test"), "{said}");
}

#[tokio::test]
async fn a_mail_server_that_refuses_is_not_tried_again_and_no_password_is_shown() {
    let (port, _hear, _server) = mail_server(true).await;
    let error = timeout(DEADLINE, mail(port).send(&message(), true)).await.unwrap().unwrap_err();
    assert!(!error.may_pass(), "{error:?}");
    let shown = format!("{} {:?}", with_causes(&error), mail(port));
    assert!(shown.contains("550") || shown.contains("nobody"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    assert!(matches!(mail(port).send(&message(), false).await, Err(MailError::Address(_))));
}
