//! A feed of rates that answers as it is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

/// A feed: says whatever it was told, and counts.
#[derive(Clone)]
pub struct Feed {
    pub url: String,
    says: Arc<Mutex<String>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Feed {
    pub fn start(says: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let feed = Self {
            url: format!("http://{}/api/v3", listener.local_addr().unwrap()),
            says: Arc::new(Mutex::new(says.to_owned())),
            asked: Arc::default(),
        };
        let serving = feed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut stream = stream;
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                let line =
                    String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned();
                serving.asked.lock().unwrap().push(line);
                let body = serving.says.lock().unwrap().clone();
                let status = if body.is_empty() { "500 Internal Server Error" } else { "200 OK" };
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        feed
    }

    pub fn say(&self, text: &str) {
        text.clone_into(&mut self.says.lock().unwrap());
    }

    pub fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}
