//! Endpoints that are only asked at public addresses.
//!
//! Owns what a name or address means for them: what is checked is what is connected to, so that a name that means something else a moment
//! later (DNS rebinding) is no way in.

use std::io;
use std::net::{IpAddr, SocketAddr};

use golem_types::net::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Url;

/// Names, as far as they mean public addresses.
#[derive(Debug)]
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Its port is put in later.
            let all = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = all.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                let text = format!("{} has no public address", name.as_str());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The address that `url` itself names, if it is not public: names are never asked what it means.
pub(super) fn refused(url: &str) -> Option<IpAddr> {
    let url: Url = url.parse().ok()?;
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok()?;
    (!is_public(host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use crate::http::{Client, HttpError, Options};
    use std::time::Duration;

    #[tokio::test]
    async fn neither_an_address_nor_a_name_leads_inside() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let options =
            Options { only_public: true, is_direct: true, ..Options::within(Duration::from_secs(10)) };
        let client = Client::new(options).unwrap();
        for host in
            ["127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1"]
        {
            let error = client.get(&format!("http://{host}:{port}/")).send(1).await.unwrap_err();
            assert!(matches!(error, HttpError::NotPublic(_)), "{host}: {error}");
        }
        let error = client.get(&format!("http://localhost:{port}/")).send(1).await.unwrap_err();
        let told = crate::log::with_causes(&error);
        assert!(told.contains("no public address"), "{told}");
        assert!(listener.accept().is_err(), "somebody came");
    }
}
