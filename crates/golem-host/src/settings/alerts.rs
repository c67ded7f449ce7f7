//! The settings of alerts, and how each is read from text.
//!
//! Owns that addresses with secrets in them are never shown. What is done with them, [`crate::alerts`] knows.

use std::fmt;
use std::time::Duration;

use golem_service::http::Url;
use jiff::civil::Time;
use lettre::message::Mailbox;

use super::value::Value;
use super::{MASK, Settings};
use crate::alerts::{AlertSettings, Email, Quiet, Shape, Webhook};

/// Defines a text that is never shown.
macro_rules! secret {
    ($(#[doc = $doc:literal])+ $name:ident, $expects:literal, $is_good:expr) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(MASK)
            }
        }

        impl Value for $name {
            fn expects() -> String {
                $expects.to_owned()
            }
            fn read(text: &str) -> Option<Self> {
                let is_good: fn(&str) -> bool = $is_good;
                is_good(text).then(|| Self(text.to_owned()))
            }
        }
    };
}

/// Whether `text` is an address of one of `schemes` with a host.
fn is_address(text: &str, schemes: &[&str]) -> bool {
    let url = text.parse::<Url>();
    url.is_ok_and(|url| {
        schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty())
    })
}

secret! {
    /// Where a webhook is: often its path is all that keeps others from using it.
    WebhookUrl, "an address that begins with https:// or http://", |text| is_address(text, &["https", "http"])
}
secret! {
    /// A token that goes with each request.
    Token, "a token without spaces", |text| text.bytes().all(|byte| byte.is_ascii_graphic())
}
secret! {
    /// A mail server, with who logs in there.
    MailServer, "smtps://user:password@host or smtp://user:password@host, where an @ in the password is written %40",
    |text| is_address(text, &["smtps", "smtp"])
}

/// One e-mail address, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailboxes(Vec<String>);

impl Value for Mailboxes {
    fn expects() -> String {
        "e-mail addresses, separated by commas".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let one = |part: &str| part.parse::<Mailbox>().ok().map(|_| part.to_owned());
        text.split(',').map(str::trim).map(one).collect::<Option<_>>().map(Self)
    }
}

impl Value for Shape {
    fn expects() -> String {
        "one of `generic`, `ntfy`, `slack`, `discord`, `matrix`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "generic" => Self::Generic,
            "ntfy" => Self::Ntfy,
            "slack" => Self::Slack,
            "discord" => Self::Discord,
            "matrix" => Self::Matrix,
            _ => return None,
        })
    }
}

impl Value for Quiet {
    fn expects() -> String {
        "hours of the day such as `22:00-07:00`".to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
        Some(Self { from: time(from)?, to: time(to)? }).filter(|quiet| quiet.from != quiet.to)
    }
}

impl Settings {
    /// Where alerts go, and when not.
    #[must_use]
    pub fn alerts(&self) -> AlertSettings {
        let alerts = &self.alerts;
        let webhook = alerts.alert_webhook.as_ref().map(|url| Webhook {
            url: url.0.clone(),
            shape: alerts.alert_webhook_kind,
            token: alerts.alert_webhook_token.as_ref().map(|token| token.0.clone()),
        });
        let email =
            alerts.alert_smtp.as_ref().zip(alerts.alert_email_to.as_ref()).map(|(server, to)| Email {
                server: server.0.clone(),
                from: match &alerts.alert_email_from {
                    Some(Mailboxes(from)) => from.first().cloned().unwrap_or_default(),
                    None => to.0.first().cloned().unwrap_or_default(),
                },
                to: to.0.clone(),
            });
        let hours = u64::from(alerts.alert_repeat_hours);
        AlertSettings {
            webhook,
            email,
            quiet: alerts.alert_quiet_hours,
            repeat: (hours > 0).then(|| Duration::from_secs(hours * 3600)),
            may_be_private: alerts.alert_allow_private,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_are_two_times() {
        for good in ["22:00-07:00", "00:00 - 23:59", "9:30-10:00"] {
            assert!(Quiet::read(good).is_some(), "{good}");
        }
        for bad in ["", "22-7", "22:00", "24:00-07:00", "22:60-07:00", "07:00-07:00", "night"] {
            assert!(Quiet::read(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_and_never_shown() {
        for good in ["smtps://u:p%40ss@mail.example", "smtp://mail.example:25"] {
            assert_eq!(format!("{:?}", MailServer::read(good).unwrap()), MASK);
        }
        for bad in ["mail.example", "https://mail.example", "smtp://", "smtp:mail.example"] {
            assert!(MailServer::read(bad).is_none(), "{bad}");
        }
        assert!(WebhookUrl::read("https://hooks.example/a/b").is_some());
        for bad in ["hooks.example", "file:///etc/passwd", "https://"] {
            assert!(WebhookUrl::read(bad).is_none(), "{bad}");
        }
        assert!(Token::read("tk_abc").is_some() && Token::read("a\nb").is_none());
        assert!(Mailboxes::read("a@b.example, C <c@d.example>").is_some());
        assert!(Mailboxes::read("a@b.example,").is_none() && Mailboxes::read("nobody").is_none());
    }
}
