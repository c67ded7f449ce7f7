//! What a renter wants of a VM's first boot, beside keys and size.
//!
//! Owns which host names, time zones and user-data are taken. Never runs any of it and never merges it with what the
//! provider needs: the seed of a guest does.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::text::text_conversions;

/// What a guest is told at its first boot, as its renter wants it; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstBoot {
    /// What cloud-init is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// What the guest calls itself, in place of the VM's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostName>,
    /// The guest's time zone, in place of that of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<TimeZoneName>,
}

/// Why a host name was refused. The text is shown to the renter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a host name: labels of 1 to 63 letters, digits and hyphens, divided by dots, none of them beginning or ending \
     with a hyphen, at most {} characters in all, and not digits alone",
    HostName::MAXIMUM
)]
pub struct HostNameError;

/// A host name (RFC 1123), in lower case; of several labels, it is a fully qualified one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// Most characters: RFC 1035 has 255 bytes on the wire, which are 253 as text.
    pub const MAXIMUM: usize = 253;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first label.
    #[must_use]
    pub fn label(&self) -> &str {
        self.0.split('.').next().unwrap_or(&self.0)
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A name of digits and dots would be taken for an address.
        let is_name = text.bytes().any(|byte| byte.is_ascii_alphabetic());
        if text.len() > Self::MAXIMUM || !is_name || !text.split('.').all(is_label) {
            return Err(HostNameError);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// Why a time zone was refused. The text is shown to the renter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time zone of the IANA database, such as Europe/Berlin or UTC")]
pub struct TimeZoneError;

/// The name of a time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZoneName(String);

impl TimeZoneName {
    /// The name, in the database's own spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TimeZoneName {
    type Err = TimeZoneError;

    fn from_str(text: &str) -> Result<Self, TimeZoneError> {
        // Of the program, not of the host: every provider takes the same names.
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(text).map_err(|_| TimeZoneError)?;
        zone.iana_name().map(|name| Self(name.to_owned())).ok_or(TimeZoneError)
    }
}

/// Why user-data was refused. The text is shown to the renter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// More than any provider of machines takes.
    #[error("is longer than {} bytes", UserData::MAXIMUM)]
    TooLong,
    /// A byte that no text has.
    #[error("must not hold a NUL character")]
    Nul,
    /// cloud-init would not know what to do with it, and say so to nobody.
    #[error(
        "must begin with #cloud-config, #! and a program, #cloud-boothook, #include, #cloud-config-archive or \
         ## template: jinja, or be a MIME message of several parts"
    )]
    Kind,
    /// It is no YAML.
    #[error("is no valid YAML: {0}")]
    Yaml(String),
    /// What the provider needs there could not be added.
    #[error("has {0} that is no list")]
    NotList(&'static str),
}

/// User-data for cloud-init: cloud-config, a script, or several of them in a MIME message. At most 64 KiB; lines end with
/// a newline alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserData(String);

impl UserData {
    /// Most bytes, as clouds have it (16 to 64 KiB): it is kept for as long as the VM.
    pub const MAXIMUM: usize = 64 * 1024;

    /// With what cloud-init recognises a text, beside a MIME message.
    const BEGINNINGS: [&'static str; 6] =
        ["#cloud-config", "#!", "#cloud-boothook", "#include", "#cloud-config-archive", "## template: jinja"];

    /// Lists to which the provider adds something of its own.
    const LISTS: [&'static str; 3] = ["users", "write_files", "bootcmd"];

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a MIME message, with headers of its own.
    #[must_use]
    pub fn is_message(&self) -> bool {
        is_message(&self.0)
    }
}

/// Whether cloud-init takes `text` for a MIME message.
fn is_message(text: &str) -> bool {
    let header = text.split("\n\n").next().unwrap_or_default().to_ascii_lowercase();
    let has = |name: &str| header.lines().any(|line| line.starts_with(name));
    header.len() < 4096 && has("mime-version:") && has("content-type: multipart/")
}

impl FromStr for UserData {
    type Err = UserDataError;

    fn from_str(text: &str) -> Result<Self, UserDataError> {
        if text.len() > Self::MAXIMUM {
            return Err(UserDataError::TooLong);
        }
        if text.contains('\0') {
            return Err(UserDataError::Nul);
        }
        // A carriage return would become part of a script's interpreter, and of each of its lines.
        let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
        let text = lines.join("\n");
        if !Self::BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) && !is_message(&text) {
            return Err(UserDataError::Kind);
        }
        if text.lines().next().is_some_and(|line| line.trim_end() == "#cloud-config") {
            check_cloud_config(&text)?;
        }
        Ok(Self(text))
    }
}

/// What stands at the top of a cloud-config.
#[derive(PartialEq)]
enum Member {
    List,
    Other,
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Member, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_unit<E>(self) -> Result<Member, E> {
        Ok(Member::Other)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

/// The names of a cloud-config's lists that are none. Nothing of its values is kept.
struct TopLevel(Vec<&'static str>);

impl<'de> Deserialize<'de> for TopLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Top;
        impl<'de> Visitor<'de> for Top {
            type Value = TopLevel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel, A::Error> {
                let mut wrong = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let member: Member = map.next_value()?;
                    let list = UserData::LISTS.into_iter().find(|list| **list == *name);
                    wrong.extend(list.filter(|_| member != Member::List));
                }
                Ok(TopLevel(wrong))
            }
        }
        deserializer.deserialize_map(Top)
    }
}

/// cloud-init leaves out a cloud-config that it cannot read, and says so in a log that nobody can log in to read.
fn check_cloud_config(text: &str) -> Result<(), UserDataError> {
    let options = serde_saphyr::options! {
        // As the parser that guests have.
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
        // Its text is 64 KiB at most; these keep a few anchors from standing for more than that.
        budget: serde_saphyr::budget! { max_aliases: 200, max_anchors: 200, max_depth: 64 },
    };
    let is_empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if is_empty {
        return Ok(());
    }
    let top: TopLevel = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| UserDataError::Yaml(error.to_string()))?;
    top.0.first().map_or(Ok(()), |list| Err(UserDataError::NotList(list)))
}

text_conversions!(HostName: HostNameError);
text_conversions!(TimeZoneName: TimeZoneError);
text_conversions!(UserData: UserDataError);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_names_are_those_of_the_network() {
        for (text, label) in [("web", "web"), ("Web-1.Example.org", "web-1"), ("a.b", "a"), ("4a", "4a")] {
            let name: HostName = text.parse().unwrap();
            assert_eq!((name.as_str(), name.label()), (text.to_ascii_lowercase().as_str(), label));
        }
        let long = format!("{0}.{0}.{0}.{0}", "a".repeat(63));
        for bad in ["", ".", "a.", ".a", "-a", "a-", "a_b", "a b", "10", "10.0.0.1", "ä", "a\n", &long] {
            assert_eq!(bad.parse::<HostName>(), Err(HostNameError), "{bad:?}");
        }
    }

    #[test]
    fn time_zones_are_those_of_the_database() {
        for (text, name) in
            [("Europe/Berlin", "Europe/Berlin"), ("utc", "UTC"), ("america/new_york", "America/New_York")]
        {
            assert_eq!(text.parse::<TimeZoneName>().unwrap().as_str(), name);
        }
        for bad in ["", "Europe/Atlantis", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\n", "+01:00"]
        {
            assert_eq!(bad.parse::<TimeZoneName>(), Err(TimeZoneError), "{bad:?}");
        }
    }

    #[test]
    fn user_data_that_cloud_init_would_pass_over_is_refused() {
        let yaml = |text: &str| format!("#cloud-config\n{text}").parse::<UserData>();
        for good in [
            "",
            "# nothing\n",
            "packages: [jq]\n",
            "users:\n  - default\n  - {name: bob}\n",
            "a: 0644\nb: yes\nc: 'x'\n",
            "ssh_pwauth: true\ndisable_root: true\n",
            "a: 1\na: 2\n",
            "x: &x [1]\ny: *x\n",
            "1: number\n",
            "---\na: ~\n",
            "write_files:\n- path: /x\n  content: |\n    a\n    \tb\n",
            "runcmd:\n - [ls, -l]\n - echo 'a: b'\n",
        ] {
            assert!(yaml(good).is_ok(), "{good:?}: {:?}", yaml(good));
        }
        for bad in ["a:\n\tb: 1\n", "a: [1\n", "- a\n", "text\n", "a: 'x\n", "a: *gone\n"] {
            assert!(matches!(yaml(bad), Err(UserDataError::Yaml(_))), "{bad:?}: {:?}", yaml(bad));
        }
        for (bad, list) in [
            ("users: default\n", "users"),
            ("bootcmd: {a: 1}\n", "bootcmd"),
            ("write_files:\n", "write_files"),
        ] {
            assert_eq!(yaml(bad), Err(UserDataError::NotList(list)), "{bad:?}");
        }
        for bad in ["", "hello", " #cloud-config\n", "Content-Type: text/plain\n\nx", "{}"] {
            assert_eq!(bad.parse::<UserData>(), Err(UserDataError::Kind), "{bad:?}");
        }
        assert_eq!("#!/bin/sh\n\0".parse::<UserData>(), Err(UserDataError::Nul));
        assert_eq!("#!/bin/sh\r\nid\r\n".parse::<UserData>().unwrap().as_str(), "#!/bin/sh\nid\n");
        let length = |bytes: usize| format!("#!/bin/sh\n{}", "a".repeat(bytes - 10)).parse::<UserData>();
        assert!(length(UserData::MAXIMUM).is_ok());
        assert_eq!(length(UserData::MAXIMUM + 1), Err(UserDataError::TooLong));
    }

    #[test]
    fn messages_of_several_parts_are_taken_as_they_are() {
        let message = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"x\"\n\n--x\n\n#!/bin/sh\nid\n--x--\n";
        assert!(message.parse::<UserData>().unwrap().is_message());
        assert!(message.replace('\n', "\r\n").parse::<UserData>().unwrap().is_message());
        assert!(!"#!/bin/sh\nMIME-Version: 1.0\n".parse::<UserData>().unwrap().is_message());
    }

    /// An anchor that stands for a thousand million values is not followed.
    #[test]
    fn a_yaml_bomb_is_refused_soon() {
        let mut text = "#cloud-config\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "));
        }
        assert!(matches!(text.parse::<UserData>(), Err(UserDataError::Yaml(_))));
        let deep = format!("#cloud-config\na: {}{}\n", "[".repeat(30_000), "]".repeat(30_000));
        assert!(matches!(deep.parse::<UserData>(), Err(UserDataError::Yaml(_))));
    }

    proptest! {
        /// What was kept is read back as it was.
        #[test]
        fn what_is_kept_is_read_back(text in "(#cloud-config\n|#!/bin/sh\n|)[ -~\n\t\r]{0,200}", host in "[a-z.-]{0,20}") {
            let (user_data, hostname) = (text.parse::<UserData>().ok(), host.parse::<HostName>().ok());
            let wanted = FirstBoot { user_data, hostname, timezone: "UTC".parse().ok() };
            let kept = serde_json::to_string(&wanted).unwrap();
            prop_assert_eq!(serde_json::from_str::<FirstBoot>(&kept).unwrap(), wanted);
        }
    }
}
