//! Mail.
//!
//! Owns one try to hand a message to a mail server. Never sends a password without TLS but to this machine or a private
//! network that the operator allowed.

use std::fmt;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::address::{self, AddressError};
use crate::message::Message;

/// Longest that one step of the exchange may take.
const STEP: Duration = Duration::from_secs(10);

/// Longest that all of it may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// How a connection to the server is made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the start.
    Tls,
    /// TLS after `STARTTLS`; to a loopback address, none.
    StartTls,
}

/// A mail server, and who is told.
#[derive(Clone)]
pub struct Mail {
    /// The server's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is made safe.
    pub security: MailSecurity,
    /// Name and password, where it asks for them.
    pub login: Option<(String, String)>,
    /// From whom.
    pub from: Mailbox,
    /// To whom.
    pub to: Vec<Mailbox>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mail({}:{})", self.host, self.port)
    }
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server may not be told, or is not found.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The message cannot be written as mail.
    #[error(
        "the mail cannot be written; fix: check GOLEM_PROVIDER_ALERT_MAIL_FROM and GOLEM_PROVIDER_ALERT_MAIL_TO"
    )]
    Written(#[source] lettre::error::Error),
    /// The server says no, or does not answer.
    #[error(
        "the mail server {host} does not take the message; fix: check GOLEM_PROVIDER_ALERT_SMTP and its user and password"
    )]
    Server {
        /// Its host.
        host: String,
        /// Why.
        #[source]
        source: lettre::transport::smtp::Error,
    },
    /// It takes too long.
    #[error("the mail server {host} took longer than {} s", DEADLINE.as_secs())]
    Slow {
        /// Its host.
        host: String,
    },
}

impl MailError {
    /// Whether another try can help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Address(error) => matches!(error, AddressError::Unknown { .. }),
            Self::Written(_) => false,
            Self::Server { source, .. } => !source.is_permanent(),
            Self::Slow { .. } => true,
        }
    }
}

/// Whether `text` is an address of mail, perhaps with a name.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok()
}

impl Mail {
    /// Hands `message` to the server once.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn send(&self, message: &Message, allow_private: bool) -> Result<(), MailError> {
        let addresses = address::checked(&self.host, self.port, allow_private).await?;
        let host = || self.host.clone();
        let server = |source| MailError::Server { host: host(), source };
        golem_service::http::install_cryptography();
        let mut mail = lettre::Message::builder()
            .from(self.from.clone())
            .subject(message.title())
            .message_id(Some(format!("<{}@{}>", message.id, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let mail = mail.body(message.body(str::to_owned)).map_err(MailError::Written)?;
        let sent = async {
            let mut last = Ok(());
            // The first address that answers; one was checked at least.
            for address in addresses {
                let is_here = address.ip().to_canonical().is_loopback();
                let tls = || TlsParameters::new(host()).map_err(server);
                let tls = match self.security {
                    MailSecurity::Tls => Tls::Wrapper(tls()?),
                    MailSecurity::StartTls if is_here => Tls::None,
                    MailSecurity::StartTls => Tls::Required(tls()?),
                };
                let transport =
                    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
                        .port(self.port)
                        .tls(tls)
                        .timeout(Some(STEP));
                let transport = match &self.login {
                    Some((user, password)) => {
                        transport.credentials(Credentials::new(user.clone(), password.clone()))
                    }
                    None => transport,
                };
                last = transport.build().send(mail.clone()).await.map(|_| ()).map_err(server);
                if last.as_ref().err().is_none_or(|error| !error.may_pass()) {
                    break;
                }
            }
            last
        };
        match tokio::time::timeout(DEADLINE, sent).await {
            Ok(sent) => sent,
            Err(_) => Err(MailError::Slow { host: host() }),
        }
    }
}
