//! Whether this machine's clock is right: leases, certificates and signatures go by it.
//!
//! Owns the comparison with the date of one server that the node asks anyway. One server can be wrong, so nothing is refused.

use std::time::Duration;

use golem_service::http::{Client, Options};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

/// Longest that the server is waited for.
const DEADLINE: Duration = Duration::from_secs(3);

/// Difference from which the clock is called wrong; what a slow answer and a sloppy server make is far less.
const MOST: SignedDuration = SignedDuration::from_mins(2);

/// What is wrong with the clock by the server at `url`, with the fix; `None` if nothing is, or that cannot be seen.
pub async fn problem(url: &str) -> Option<String> {
    told(ahead(url).await?)
}

/// How far this machine's clock is ahead of the server at `url`; `None` if that cannot be seen.
pub async fn ahead(url: &str) -> Option<SignedDuration> {
    let asked = Client::new(Options::within(DEADLINE)).ok()?.get(url).open().await.ok()?;
    // Whatever it answers, a refusal too, has its date.
    let date = asked.headers().get("date")?.to_str().ok()?;
    Some(Timestamp::now().duration_since(rfc2822::parse(date).ok()?.timestamp()))
}

/// What is wrong with a clock that is so far `ahead`, with the fix; `None` if nothing is.
#[must_use]
pub fn told(ahead: SignedDuration) -> Option<String> {
    if ahead.abs() <= MOST {
        return None;
    }
    let (minutes, word) = (ahead.abs().as_mins(), if ahead.is_negative() { "behind" } else { "ahead" });
    Some(format!(
        "this machine's clock is about {minutes} minutes {word}, and payments and certificates go by it; fix: `sudo timedatectl \
         set-ntp true`"
    ))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_clock_is_wrong_from_minutes_on() {
        let here = |seconds: i64| told(SignedDuration::from_secs(seconds));
        assert_eq!((here(0), here(119), here(-119)), (None, None, None));
        assert!(
            here(600).unwrap().contains("10 minutes ahead")
                && here(-7200).unwrap().contains("120 minutes behind")
        );
    }

    #[tokio::test]
    async fn a_refusal_has_a_date_and_silence_says_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            let said = "HTTP/1.1 405 No\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(said.as_bytes()).await.unwrap();
        };
        let (problem_told, ()) = tokio::join!(problem(&url), answer);
        assert!(problem_told.unwrap().contains("minutes ahead"));
        drop(listener);
        assert_eq!(problem(&url).await, None);
    }
}
