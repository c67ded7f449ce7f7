//! Telling by e-mail.
//!
//! Owns how a server is spoken to: a password goes over TLS or not at all, and the address that was checked is the one that is connected
//! to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use golem_service::http::Url;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::message::Message;
use super::settings::Email;
use super::webhook::may_go_to;

/// Longest that a server may take for each step.
const DEADLINE: Duration = Duration::from_secs(15);

/// Ports of mail servers: TLS from the first byte, and STARTTLS.
const PORTS: [(&str, u16); 2] = [("smtps", 465), ("smtp", 587)];

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The setting is no mail server.
    #[error(
        "the mail server's address is none; fix: smtps://user:password@host or smtp://user:password@host"
    )]
    Address,
    /// A mailbox is none.
    #[error("{0} is no e-mail address")]
    Mailbox(String, #[source] lettre::address::AddressError),
    /// Its name means nothing.
    #[error("the mail server {host} cannot be found")]
    Name {
        /// Its name.
        host: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It is inside.
    #[error("the mail server {host} has no public address")]
    NotPublic {
        /// Its name.
        host: String,
    },
    /// The message could not be put together.
    #[error("the message cannot be written")]
    Message(#[source] lettre::error::Error),
    /// The server did not take it.
    #[error("the mail server {host} did not take the message")]
    Refused {
        /// Its name.
        host: String,
        /// Why.
        #[source]
        error: lettre::transport::smtp::Error,
    },
}

impl EmailError {
    /// Whether another try may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Name { .. } => true,
            Self::Refused { error, .. } => !error.is_permanent(),
            Self::Address | Self::Mailbox(..) | Self::NotPublic { .. } | Self::Message(_) => false,
        }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, EmailError> {
    text.parse().map_err(|error| EmailError::Mailbox(text.to_owned(), error))
}

/// Sends `message`; `id` is the same for every try of one message.
pub(super) async fn send(
    to: &Email,
    message: &Message,
    id: &str,
    may_be_private: bool,
) -> Result<(), EmailError> {
    let url: Url = to.server.parse().map_err(|_| EmailError::Address)?;
    let known = PORTS.iter().find(|(scheme, _)| *scheme == url.scheme());
    let (Some((scheme, port)), Some(host)) = (known, url.host_str()) else { return Err(EmailError::Address) };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(*port);
    let mut email = lettre::Message::builder()
        .from(mailbox(&to.from)?)
        .subject(message.title())
        .message_id(Some(format!("<{id}@golem-provider>")));
    for receiver in &to.to {
        email = email.to(mailbox(receiver)?);
    }
    let email = email.body(message.text()).map_err(EmailError::Message)?;
    let address = address(&host, port, may_be_private).await?;
    let refused = |error| EmailError::Refused { host: host.clone(), error };
    // The certificate is the name's, wherever that is.
    let tls = TlsParameters::new(host.clone()).map_err(refused)?;
    let tls = match (*scheme, url.password()) {
        ("smtps", _) => Tls::Wrapper(tls),
        (_, Some(_)) => Tls::Required(tls),
        (_, None) => Tls::Opportunistic(tls),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.to_string())
        .port(port)
        .tls(tls)
        .timeout(Some(DEADLINE));
    if let Some(password) = url.password() {
        let plain = |text: &str| percent_decoded(text).ok_or(EmailError::Address);
        transport = transport.credentials(Credentials::new(plain(url.username())?, plain(password)?));
    }
    transport.build().send(email).await.map_err(refused)?;
    Ok(())
}

/// An address of `host` to which a message may go.
async fn address(host: &str, port: u16, may_be_private: bool) -> Result<IpAddr, EmailError> {
    let all = tokio::net::lookup_host((host, port)).await;
    let mut all = all.map_err(|error| EmailError::Name { host: host.to_owned(), error })?;
    let allowed = all.find(|address: &SocketAddr| may_go_to(address.ip(), may_be_private));
    allowed.map(|address| address.ip()).ok_or_else(|| EmailError::NotPublic { host: host.to_owned() })
}

/// What stands for `text` in an address, where `%40` is an at sign.
fn percent_decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_have_every_letter() {
        assert_eq!(percent_decoded("p%40ss%2Fw%c3%b6rd").as_deref(), Some("p@ss/wörd"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }
}
