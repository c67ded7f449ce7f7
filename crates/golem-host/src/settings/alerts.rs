//! The settings of alerts: how each is read, what does not fit together, and the way to [`golem_alerts::Config`].
//!
//! Owns no default: `table` has them. Never resolves a name: who sends does, each time.

use std::fmt;

use golem_alerts::{Config, Mail, MailSecurity, Webhook};
use golem_service::http::Url;

use super::value::Value;
use super::{AlertSettings, Settings};

/// Where mail is handed in without TLS from the start, where no port is named (RFC 6409).
const SUBMISSION: u16 = 587;

/// The same with TLS from the start (RFC 8314).
const SUBMISSIONS: u16 = 465;

/// The address of a webhook, which is shown to nobody: with many services it is all that it takes to write there.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::MASK)
    }
}

impl Value for SecretUrl {
    fn expects() -> String {
        "an address that begins with https:// or http://".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_bare = url.username().is_empty() && url.password().is_none();
        (matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare).then_some(Self(url))
    }
}

/// A token or a password, which is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(super::MASK)
    }
}

impl Value for SecretText {
    fn expects() -> String {
        "a token or password of visible ASCII letters".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '))
            .then(|| Self(text.to_owned()))
    }
}

/// What a webhook speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertShape(pub golem_alerts::Shape);

impl Value for AlertShape {
    fn expects() -> String {
        "`json`, `ntfy`, `slack`, `discord` or `matrix`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        golem_alerts::Shape::named(&text.to_ascii_lowercase()).map(Self)
    }
}

/// Hours in which only what is critical is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours(golem_alerts::QuietHours);

impl Value for QuietHours {
    fn expects() -> String {
        "two times of day that differ, like 22:00-07:00".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    host: String,
    port: u16,
    security: MailSecurity,
}

impl Value for MailServer {
    fn expects() -> String {
        "smtps://HOST or smtp://HOST, perhaps with a port".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let (security, usual) = match url.scheme() {
            "smtps" => (MailSecurity::Tls, SUBMISSIONS),
            "smtp" => (MailSecurity::StartTls, SUBMISSION),
            _ => return None,
        };
        let is_bare = url.username().is_empty() && url.password().is_none() && url.path().len() <= 1;
        let host = url.host_str().filter(|host| !host.is_empty() && is_bare)?.to_owned();
        Some(Self { host, port: url.port().unwrap_or(usual), security })
    }
}

/// Addresses of mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailAddresses(Vec<String>);

impl Value for MailAddresses {
    fn expects() -> String {
        "addresses of mail, separated by commas".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let addresses: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        addresses.iter().all(|address| golem_alerts::mail::is_address(address)).then_some(Self(addresses))
    }
}

/// One thing that does not fit together: the variable, what is wrong, and the fix.
pub(super) type Wrong = (&'static str, &'static str, &'static str);

/// What does not fit together in `alerts`.
pub(super) fn check(alerts: &AlertSettings) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if let Some(SecretUrl(url)) = &alerts.webhook {
        if !alerts.shape.0.takes(url) {
            wrong.push((
                "GOLEM_PROVIDER_ALERT_WEBHOOK",
                "names no topic or room, which GOLEM_PROVIDER_ALERT_SHAPE wants",
                "set it to https://ntfy.sh/TOPIC, or to https://SERVER/!ROOM:SERVER",
            ));
        }
        if url.scheme() == "http" && !alerts.allow_private {
            wrong.push((
                "GOLEM_PROVIDER_ALERT_WEBHOOK",
                "goes over the internet without TLS",
                "set it to an address with https://, or set GOLEM_PROVIDER_ALERT_ALLOW_PRIVATE=true if it is in your own network",
            ));
        }
    }
    if alerts.smtp.is_some() && (alerts.mail_from.is_none() || alerts.mail_to.is_none()) {
        wrong.push((
            "GOLEM_PROVIDER_ALERT_SMTP",
            "is set, but not from whom and to whom mail goes",
            "set GOLEM_PROVIDER_ALERT_MAIL_FROM and GOLEM_PROVIDER_ALERT_MAIL_TO",
        ));
    }
    if alerts.smtp_user.is_some() != alerts.smtp_password.is_some() {
        wrong.push((
            "GOLEM_PROVIDER_ALERT_SMTP_USER",
            "and GOLEM_PROVIDER_ALERT_SMTP_PASSWORD go together, and one is not set",
            "set both, or neither",
        ));
    }
    wrong
}

impl Settings {
    /// Whom to tell when something is wrong.
    #[must_use]
    pub fn alerts_config(&self) -> Config {
        let alerts = &self.alerts;
        let webhook = alerts.webhook.as_ref().map(|SecretUrl(url)| Webhook {
            url: url.clone(),
            shape: alerts.shape.0,
            token: alerts.token.as_ref().map(|token| token.0.clone()),
        });
        let mail = || {
            let MailServer { host, port, security } = alerts.smtp.clone()?;
            let mut from = alerts.mail_from.as_ref()?.0.iter().filter_map(|text| text.parse().ok());
            let user = alerts.smtp_user.clone();
            let password = alerts.smtp_password.as_ref().map(|password| password.0.clone());
            let to = alerts.mail_to.as_ref()?.0.iter().filter_map(|text| text.parse().ok()).collect();
            Some(Mail { host, port, security, login: user.zip(password), from: from.next()?, to })
        };
        Config {
            node: self.node.advertised_name(),
            webhook,
            mail: mail(),
            allow_private: alerts.allow_private,
            repeat_hours: alerts.repeat_hours,
            quiet: alerts.quiet.map(|QuietHours(quiet)| quiet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_their_secrets_are_not_shown() {
        let url = SecretUrl::read("https://hooks.example/T0/secret").unwrap();
        assert_eq!(format!("{url:?} {:?}", SecretText::read("secret").unwrap()), "(secret) (secret)");
        for wrong in ["ftp://a", "https://", "https://user:password@a/", "hooks.example"] {
            assert_eq!(SecretUrl::read(wrong), None, "{wrong}");
        }
        for wrong in ["", "a\nb", "ä"] {
            assert_eq!(SecretText::read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn mail_servers_have_their_usual_ports() {
        let read = |text| MailServer::read(text).map(|server| (server.host, server.port, server.security));
        assert_eq!(read("smtps://mail.example"), Some(("mail.example".to_owned(), 465, MailSecurity::Tls)));
        assert_eq!(
            read("smtp://mail.example"),
            Some(("mail.example".to_owned(), 587, MailSecurity::StartTls))
        );
        assert_eq!(read("smtp://[::1]:25").map(|server| server.1), Some(25));
        for wrong in
            ["mail.example", "smtp://user:password@mail.example", "http://mail.example", "smtp://a/b"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(MailAddresses::read("a@example.org, B <b@example.org>").is_some());
        assert_eq!(MailAddresses::read("a@example.org,,"), None);
    }
}
