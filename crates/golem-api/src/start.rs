//! Both APIs, from their start to their stop.
//!
//! Owns the tasks that serve them, and the wish of a client that the node stop.

use std::io;
use std::sync::Arc;

use axum::Router;
use golem_node::Node;
use golem_service::server::tls::TlsKeys;
use golem_service::server::{TrustedProxies, serve};
use golem_service::tasks::Tasks;
use tokio::net::TcpListener;

use crate::config::ApiConfig;
use crate::operator::{Asked, OperatorSocket};
use crate::requests::Requests;
use crate::{operator, public};

/// The APIs while they are served.
pub struct Api {
    tasks: Tasks,
    asked: Asked,
    https: Router,
    proxies: TrustedProxies,
    /// The operator API for those whom the kernel knows.
    known: Router,
}

/// Serves the public API on `public` and the operator API on `operator`.
///
/// # Errors
/// Any error of reading or making the operator's token.
pub fn start(config: ApiConfig, node: Node, public: TcpListener, operator: TcpListener) -> io::Result<Api> {
    let token = operator::Token::ensure(&config.data_dir)?;
    let asked = Asked::default();
    let tasks = Tasks::new();
    let requests = Requests::new();
    let public::Routes { plain, https } =
        public::routes(&config, node.clone(), asked.stop.clone(), tasks.clone(), Arc::clone(&requests));
    let proxies = config.public.trusted_proxies.clone();
    let serving = serve::serve("public API connection", public, plain, proxies.clone(), tasks.clone());
    tasks.spawn("public API", serving);
    let place = (operator.local_addr()?.port(), tasks.stopping().clone());
    let operator::Routes { guarded, known } =
        operator::routes(config, node, token, asked.clone(), requests, place);
    tasks.spawn(
        "operator API",
        serve::serve("operator API connection", operator, guarded, TrustedProxies::default(), tasks.clone()),
    );
    Ok(Api { tasks, asked, https, proxies, known })
}

impl Api {
    /// Serves what renters need on `listener` as well, over TLS with `keys`.
    pub fn serve_https(&self, listener: TcpListener, keys: TlsKeys) {
        let (https, proxies, tasks) = (self.https.clone(), self.proxies.clone(), self.tasks.clone());
        self.tasks.spawn("https API", async move {
            let serving = serve::serve_tls("https API connection", listener, keys, https, proxies, tasks);
            if let Err(error) = serving.await {
                tracing::error!(error = &error as &dyn std::error::Error, "https cannot be served");
            }
        });
    }

    /// Serves the operator API on `socket` as well, until the stop, which removes it.
    pub fn serve_operator(&self, socket: OperatorSocket) {
        let may = socket.rule();
        let OperatorSocket { listener, path, .. } = socket;
        let (name, known, tasks) = ("operator API connection", self.known.clone(), self.tasks.clone());
        self.tasks
            .spawn("operator API's socket", serve::serve_socket(name, listener, path, may, known, tasks));
    }

    /// Ready when somebody who may has asked that the node stop.
    pub async fn stop_requested(&self) {
        self.asked.stop.cancelled().await;
    }

    /// Ready each time somebody who may has changed settings, with which the node is to start anew.
    pub async fn reload_requested(&self) {
        self.asked.reload.notified().await;
    }

    /// Ready when a task of the APIs has panicked.
    pub async fn failed(&self) {
        self.tasks.failed().await;
    }

    /// Takes no new connection, and waits a moment for the requests under way.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }
}
