//! Hours in which only what is critical is told.
//!
//! Owns how they are written and which times lie in them. Never reads a clock.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;

/// From one time of day until another, perhaps over midnight; of local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    until: Time,
}

impl QuietHours {
    /// Whether `time` lies in them. The end does not.
    #[must_use]
    pub fn contain(&self, time: Time) -> bool {
        if self.from < self.until {
            self.from <= time && time < self.until
        } else {
            self.from <= time || time < self.until
        }
    }
}

impl FromStr for QuietHours {
    type Err = ();

    /// Reads `22:00-07:00`. Hours that end as they begin are refused: that could mean always or never.
    fn from_str(text: &str) -> Result<Self, ()> {
        let time = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(hour) || !digits(minute) {
                return None;
            }
            Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
        };
        let (from, until) = text.split_once('-').ok_or(())?;
        let (from, until) = (time(from).ok_or(())?, time(until).ok_or(())?);
        if from == until { Err(()) } else { Ok(Self { from, until }) }
    }
}

impl fmt::Display for QuietHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from.hour(), from.minute(), until.hour(), until.minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i8, minute: i8) -> Time {
        Time::new(hour, minute, 0, 0).unwrap()
    }

    #[test]
    fn quiet_hours_go_over_midnight_and_their_end_is_outside() {
        let night: QuietHours = "22:00-07:00".parse().unwrap();
        for (hour, minute, inside) in [
            (21, 59, false),
            (22, 0, true),
            (23, 59, true),
            (0, 0, true),
            (6, 59, true),
            (7, 0, false),
            (12, 0, false),
        ] {
            assert_eq!(night.contain(at(hour, minute)), inside, "{hour}:{minute}");
        }
        let day: QuietHours = "09:30 - 17:00".parse().unwrap();
        assert!(day.contain(at(9, 30)) && !day.contain(at(17, 0)) && !day.contain(at(0, 0)));
        assert_eq!(night.to_string(), "22:00-07:00");
    }

    #[test]
    fn what_names_no_hours_is_refused() {
        for text in ["", "22:00", "22-7", "24:00-07:00", "22:60-07:00", "07:00-07:00", "+2:00-07:00", "a-b"] {
            assert_eq!(text.parse::<QuietHours>(), Err(()), "{text}");
        }
    }
}
