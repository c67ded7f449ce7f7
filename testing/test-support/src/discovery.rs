//! A discovery server, asked over HTTP as providers and renters of any version ask it.

use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The path of adverts.
pub const ADVERTS: &str = "/api/v1/advertisements";

/// Who asks a server.
#[derive(Debug)]
pub struct DiscoveryClient {
    pub url: String,
    runtime: Runtime,
    http: reqwest::Client,
}

/// An answer: its status, its `Link` and what it says, null if that is no JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub link: Option<String>,
    pub body: Value,
}

impl DiscoveryClient {
    /// Asks the server at `url`.
    pub fn new(url: String) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        golem_service::http::install_cryptography();
        // A connection on which too much was sent is closed, maybe just when it would be used again.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { url, runtime, http }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url));
        for (name, text) in headers {
            request = request.header(*name, *text);
        }
        if !body.is_empty() && headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        self.runtime.block_on(async {
            let answer = request.body(body.to_vec()).send().await.unwrap();
            let status = answer.status().as_u16();
            let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            Answer { status, link, body: answer.json().await.unwrap_or(Value::Null) }
        })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// Posts `advert` as the original's providers do.
    pub fn post(&self, id: &str, advert: &Value) -> Answer {
        self.provider("POST", ADVERTS, id, "signature", &advert.to_string())
    }

    /// Asks as the provider `id` with its `signature`.
    pub fn provider(&self, method: &str, path: &str, id: &str, signature: &str, body: &str) -> Answer {
        let headers = [("X-Provider-ID", id), ("X-Provider-Signature", signature)];
        self.ask(method, path, &headers, body.as_bytes())
    }

    /// The ids that a renter reads at `path`.
    pub fn ids(&self, path: &str) -> Vec<String> {
        let Answer { status, body, .. } = self.get(path);
        assert_eq!(status, 200, "{body}");
        let list = body.as_array().unwrap();
        let mut ids: Vec<_> =
            list.iter().map(|advert| advert["provider_id"].as_str().unwrap().to_owned()).collect();
        // Their order is by chance.
        ids.sort();
        ids
    }
}

/// An advert of a provider with `cpu` free cores.
pub fn advert(cpu: u32) -> Value {
    json!({
        "ip_address": "203.0.113.7", "country": "SE", "platform": "x86_64",
        "resources": { "cpu": cpu, "memory": 8, "storage": 100 },
        "pricing": { "usd_per_core_month": 5.0, "glm_per_core_month": 25.0 },
    })
}
