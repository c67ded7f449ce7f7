//! The operator's own programs' end of the operator API.
//!
//! ```text
//!   sockets of the node ─► its port on this machine, with the token ─► nobody? the node is just starting ─► again
//! ```
//! Owns the request: on this machine, bounded in time and size. Never asks twice: only a connection is tried again, as long
//! as the node is about to listen.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use golem_host::node::{Node, Whose};
use golem_node::ledger::Event;
use golem_reach::report::PortsReport;
use golem_service::http::{self, Answer, HttpError, Method, Options};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

use super::token::Token;
use crate::views::{
    AdvertView, AlertsView, BooksCheckView, DrainView, EntryView, LoginLink, LogsView, PayoutsView,
    PricingView, StreamsView, Summary, TransactionView, VmView, WithdrawView, WithdrawalView,
};

/// Longest that an answer may take; a stop waits for its guest.
const DEADLINE: Duration = Duration::from_secs(180);

/// The same where it is only looked at something, if need be on a chain.
const LOOK: Duration = Duration::from_secs(30);

/// Largest answer, in bytes: a list of every VM there ever was.
const ANSWER_BYTES: usize = 64 << 20;

/// How long connecting may take, on this host.
const CONNECT: Duration = Duration::from_secs(2);

/// Why the operator API could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// It ended, before anything was asked.
    #[error("the provider is not running any more; fix: `golem-provider start`")]
    Ended,
    /// The token cannot be read.
    #[error("the operator token cannot be read; fix: run as the user who runs the provider")]
    Token(#[source] io::Error),
    /// Nobody answers.
    #[error("the provider does not answer on its operator API")]
    NoAnswer(#[source] HttpError),
    /// What came back is not what the node says.
    #[error("the answer on the operator API is not the provider's")]
    InvalidResponse(#[source] serde_json::Error),
    /// The node says no.
    #[error("{0}")]
    Refused(String),
}

/// How long a node that is about to listen is waited for.
const STARTS: Duration = Duration::from_secs(10);

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(50);

/// A client.
pub struct Client {
    node: Node,
    port: u16,
    /// The likeliest first.
    ways: Vec<Way>,
}

struct Way {
    http: http::Client,
    base: String,
    /// `None` where the kernel says who asks.
    token: Option<Token>,
}

impl Client {
    /// A client of `node`, whose operator API is on `port` where its sockets cannot be used.
    ///
    /// # Errors
    /// [`OperatorError::Token`].
    pub fn open(node: Node, port: u16) -> Result<Self, OperatorError> {
        let options = Options { connect: CONNECT, is_direct: true, ..Options::within(DEADLINE) };
        let mut ways = Vec::new();
        for socket in node.sockets() {
            let http = http::Client::of_socket(&socket, options).map_err(OperatorError::NoAnswer)?;
            ways.push(Way { http, base: "http://localhost/v1".to_owned(), token: None });
        }
        match Token::read(&node.data_dir) {
            Ok(token) => {
                let http = http::Client::new(options).map_err(OperatorError::NoAnswer)?;
                ways.push(Way { http, base: format!("http://127.0.0.1:{port}/v1"), token: Some(token) });
            }
            // One that has just made its data directory; the service's, which its group need not read.
            Err(error) if error.kind() == io::ErrorKind::NotFound || node.whose == Whose::Service => {}
            Err(error) => return Err(OperatorError::Token(error)),
        }
        Ok(Self { node, port, ways })
    }

    /// Waits until the node takes connections, as long as it is about to; at most 10 seconds.
    pub async fn listens(&self) {
        let end = Instant::now() + STARTS;
        while !self.is_listening().await && Instant::now() < end && self.is_coming().await {
            sleep(AGAIN).await;
        }
    }

    async fn is_listening(&self) -> bool {
        for socket in self.node.sockets() {
            if UnixStream::connect(socket).await.is_ok() {
                return true;
            }
        }
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok()
    }

    async fn is_coming(&self) -> bool {
        let node = self.node.clone();
        // It may ask systemd.
        tokio::task::spawn_blocking(move || node.is_coming()).await.unwrap_or(false)
    }

    /// The answer of the first way that leads to the node.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, OperatorError> {
        let deadline = if method == Method::GET { LOOK } else { DEADLINE };
        let end = Instant::now() + STARTS;
        loop {
            let mut unreachable = None;
            for Way { http, base, token } in &self.ways {
                let mut request = http.request(method.clone(), &format!("{base}{path}")).within(deadline);
                if let Some(token) = token {
                    request = request.header("authorization", token.bearer());
                }
                if let Some(body) = body {
                    request = request.json(body);
                }
                match request.send(ANSWER_BYTES).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if error.is_unreachable() => unreachable = Some(error),
                    Err(error) => return Err(OperatorError::NoAnswer(error)),
                }
            }
            let is_coming = self.is_coming().await;
            match unreachable {
                _ if is_coming && Instant::now() < end => sleep(AGAIN).await,
                Some(error) if is_coming => return Err(OperatorError::NoAnswer(error)),
                _ => return Err(OperatorError::Ended),
            }
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, OperatorError> {
        let answer = self.send(method, path, body.as_ref()).await?;
        if answer.status.is_success() {
            return answer.json().map_err(OperatorError::InvalidResponse);
        }
        #[derive(Deserialize)]
        struct Denial {
            detail: String,
        }
        let refusal: Denial = answer.json().map_err(OperatorError::InvalidResponse)?;
        Err(OperatorError::Refused(refusal.detail))
    }

    /// The node as a whole.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn summary(&self) -> Result<Summary, OperatorError> {
        self.call(Method::GET, "/summary", None).await
    }

    /// Every live VM, oldest first.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn vms(&self) -> Result<Vec<VmView>, OperatorError> {
        self.call(Method::GET, "/vms", None).await
    }

    /// The VM that `which` names: its id, the start of its id, or its name, where only one fits.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn vm(&self, which: &str) -> Result<VmView, OperatorError> {
        self.call(Method::GET, &format!("/vms/{}", segment(which)), None).await
    }

    /// Starts, stops or restarts (`action`) the VM that `which` names.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn act(&self, which: &str, action: &str) -> Result<VmView, OperatorError> {
        self.call(Method::POST, &format!("/vms/{}/{action}", segment(which)), None).await
    }

    /// Ends the rental that `which` names.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn delete(&self, which: &str) -> Result<(), OperatorError> {
        self.call(Method::DELETE, &format!("/vms/{}", segment(which)), None).await
    }

    /// What there is to look at of the VM that `which` names: as [`Self::vm`], and also one whose create
    /// failed within a day, and by the id of the job that made it.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn logs(&self, which: &str) -> Result<LogsView, OperatorError> {
        self.call(Method::GET, &format!("/vms/{}/logs", segment(which)), None).await
    }

    /// Takes no new rentals, or takes them again.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn drain(&self, draining: bool) -> Result<DrainView, OperatorError> {
        self.call(Method::PUT, "/drain", Some(json!({ "draining": draining }))).await
    }

    /// What VMs cost.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn pricing(&self) -> Result<PricingView, OperatorError> {
        self.call(Method::GET, "/pricing", None).await
    }

    /// What is wrong, and who is told.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn alerts(&self) -> Result<AlertsView, OperatorError> {
        self.call(Method::GET, "/alerts", None).await
    }

    /// Sends a test to everybody who would be told.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn test_alerts(&self) -> Result<Vec<golem_alerts::Delivery>, OperatorError> {
        self.call(Method::POST, "/alerts/test", None).await
    }

    /// Where what was earned goes, and went last.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn payouts(&self) -> Result<PayoutsView, OperatorError> {
        self.call(Method::GET, "/payouts", None).await
    }

    /// Every stream that may still pay.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn streams(&self) -> Result<StreamsView, OperatorError> {
        self.call(Method::GET, "/streams", None).await
    }

    /// Every withdrawal since `since`, oldest first.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn withdrawals(&self, since: Timestamp) -> Result<Vec<WithdrawalView>, OperatorError> {
        self.call(Method::GET, &format!("/withdrawals?since={}", since.as_second()), None).await
    }

    /// Every entry of the books since `since`, oldest first.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn entries(&self, since: Timestamp) -> Result<Vec<EntryView>, OperatorError> {
        self.call(Method::GET, &format!("/entries?since={}", since.as_second()), None).await
    }

    /// Compares the books with the chain, and makes good what differs if `repair`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn check_books(&self, repair: bool) -> Result<Vec<BooksCheckView>, OperatorError> {
        self.call(Method::POST, "/books", Some(json!({ "repair": repair }))).await
    }

    /// Withdraws what has vested on the stream of `vm`, or on all, by `force` also what is not worth its gas.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn withdraw(&self, vm: Option<&str>, force: bool) -> Result<Vec<WithdrawView>, OperatorError> {
        self.call(Method::POST, "/withdrawals", Some(json!({ "vm": vm, "force": force }))).await
    }

    /// What the node's wallets send and what waits; with `all` also the last that ended.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn transactions(&self, all: bool) -> Result<Vec<TransactionView>, OperatorError> {
        self.call(Method::GET, &format!("/transactions?all={all}"), None).await
    }

    /// Has the transaction with `nonce`, or all that wait, do nothing; gives how many there are.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn cancel_transactions(&self, nonce: Option<u64>) -> Result<usize, OperatorError> {
        self.call(Method::POST, "/transactions/cancel", Some(json!({ "nonce": nonce }))).await
    }

    /// What happened to the VM that `which` names, newest first.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn events(&self, which: &str) -> Result<Vec<Event>, OperatorError> {
        self.call(Method::GET, &format!("/vms/{}/events", segment(which)), None).await
    }

    /// What is known of the node's ports.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn ports(&self) -> Result<PortsReport, OperatorError> {
        self.call(Method::GET, "/ports", None).await
    }

    /// Asks for a verification of the ports, which goes on for a while.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn verify_ports(&self) -> Result<PortsReport, OperatorError> {
        self.call(Method::POST, "/ports", None).await
    }

    /// Takes the adverts off their markets; they stay off until the node starts again.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn remove_adverts(&self) -> Result<Vec<AdvertView>, OperatorError> {
        self.call(Method::DELETE, "/adverts", None).await
    }

    /// A login link for the dashboard, which works once and not for long.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn login_link(&self) -> Result<LoginLink, OperatorError> {
        self.call(Method::POST, "/dashboard/links", None).await
    }

    /// Asks the node to stop.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn shutdown(&self) -> Result<(), OperatorError> {
        self.call(Method::POST, "/shutdown", None).await
    }
}

/// `text` as one segment of a path: what is no letter, digit, `-`, `.` or `_` is escaped.
fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
