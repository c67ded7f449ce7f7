//! `GET /` for people who come by browser: what is offered, at which price, and how to rent it.
//!
//! Owns the page's words and looks, and that nothing on it is code: every text is escaped, nothing is loaded from anywhere,
//! and browsers are told so. It tells what adverts and the other routes tell. Never asks for anything, and never rents.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use golem_reach::public_ip;
use golem_types::Resources;
use golem_types::price::MonthlyPrice;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};

/// The web page on which renters of upstream rent.
const WEB_CLIENT: &str = "https://golem-requestor.vercel.app/";

/// How long a browser may show the page without asking again, in seconds.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=30");

/// All that makes it readable, on a phone too, in the light and in the dark.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1b1f24;--faint:#59636e;--line:#d1d9e0;--back:#fff;--box:#f6f8fa;--link:#0550ae}\
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--faint:#9198a1;--line:#3d444d;--back:#0d1117;--box:#151b23;--link:#79c0ff}}\
body{margin:0 auto;max-width:42rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);overflow-wrap:anywhere}\
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:1.5rem 0 .25rem}p{margin:.5rem 0}a{color:var(--link)}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .5rem .35rem 0;border-bottom:1px solid var(--line)}\
th{font-weight:normal;color:var(--faint);width:40%}pre{background:var(--box);border:1px solid var(--line);border-radius:.4rem;padding:.6rem;overflow-x:auto}\
footer{margin-top:2rem;color:var(--faint);font-size:.85rem}";

/// Nothing but that style, by its hash; no frame around the page, and nothing that it could send.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// What the page tells.
struct Page {
    name: String,
    provider_id: String,
    country: String,
    free: Resources,
    images: Vec<String>,
    /// What a month costs, row by row.
    prices: Vec<(&'static str, String)>,
    /// SSH ports that were reached from outside, and when the last of them was.
    reached: Option<(usize, Timestamp)>,
    https: Option<String>,
    /// The URL of the API that renters' programs are given.
    api: String,
}

/// A page about this node, for people.
///
/// Browsers ask for HTML by its name; nobody else gets any.
#[utoipa::path(
    get, path = "/", tag = "Provider",
    responses(
        (status = 200, body = String, content_type = "text/html", description = "The page"),
        (status = 404, description = "`Accept` does not name `text/html`"),
    ),
)]
pub(super) async fn show(State(public): Shared, headers: HeaderMap) -> ApiResult {
    if !wants_html(&headers) {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "Not Found"));
    }
    let mut response = Response::new(Body::from(render(&Page::of(&public))));
    let policy = HeaderValue::from_str(&POLICY).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    for (name, value) in [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, CACHE_CONTROL),
        (header::VARY, HeaderValue::from_static("accept")),
    ] {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Whether HTML is asked for by its name, as browsers do and programs do not.
fn wants_html(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|ranges| ranges.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|part| part.trim_end_matches(['0', '.']).eq_ignore_ascii_case("q="))
    })
}

impl Page {
    fn of(public: &Public) -> Self {
        let Public { node, provider, https, .. } = public;
        let https = https.as_ref().and_then(|https| https.endpoint().borrow().clone());
        let address = public_ip::advertised_address(&provider.public_ip, provider.host);
        let ssh_ports = &node.config().ports;
        let verdicts = node.port_verdicts();
        let reached = verdicts.values().filter(|at| at.problem.is_none() && ssh_ports.contains(&at.port));
        let last = reached.clone().map(|verdict| verdict.at).max();
        Self {
            name: provider.name.clone(),
            provider_id: provider.provider_id.clone(),
            country: provider.country.clone(),
            free: node.capacity().free,
            images: super::provider::image_names(public).iter().map(ToString::to_string).collect(),
            prices: prices(public),
            reached: last.map(|last| (reached.count(), last)),
            api: https
                .clone()
                .unwrap_or_else(|| format!("http://{}", SocketAddr::new(address, provider.port))),
            https,
        }
    }
}

/// What a month costs here.
fn prices(public: &Public) -> Vec<(&'static str, String)> {
    let offered = public.node.contracts().offered();
    let Some(first) = offered.first() else { return vec![("Price", "free of charge".to_owned())] };
    let Some(prices) = public.prices.as_ref().map(|prices| *prices.borrow()) else {
        return vec![("Price", "as a quote says".to_owned())];
    };
    let streams = prices.of_streams.map(|prices| prices.month);
    let networks: Vec<&str> = offered.iter().map(|payments| &*payments.config().name).collect();
    asked(&prices.usd, streams.as_ref(), &first.config().symbol, &networks.join(", "))
}

/// A price in dollars, and in the money of streams, which is called `symbol`, where it is known.
fn asked(
    usd: &MonthlyPrice,
    streams: Option<&MonthlyPrice>,
    symbol: &str,
    network: &str,
) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Price of a month", month(usd, "US dollars"))];
    rows.extend(streams.map(|price| ("In streams", month(price, symbol))));
    rows.push(("Paid by the second on", network.to_owned()));
    rows
}

/// `text` as it stands in HTML, within an element or an attribute's quotes.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Neither line ends nor what turns the direction of what follows.
            control if control.is_control() => html.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => html.push(' '),
            other => html.push(other),
        }
    }
    html
}

/// A word of a command, as a shell takes it: the brackets of an IPv6 address mean something else to some.
fn word(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || ":/.-_".contains(character);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "")) }
}

fn month(price: &MonthlyPrice, unit: &str) -> String {
    let MonthlyPrice { core, memory, storage } = price;
    format!("{core} {unit} a core, {memory} {unit} a GB of memory, {storage} {unit} a GB of storage")
}

fn render(page: &Page) -> String {
    let Page { name, provider_id, country, free, images, prices, reached, https, api } = page;
    let mut rows = String::new();
    let mut row = |what: &str, told: &str| {
        // A String takes all that is written to it.
        let _ = writeln!(rows, "<tr><th scope=\"row\">{what}</th><td>{}</td></tr>", escaped(told));
    };
    row(
        "Free now",
        &format!("{} cores, {} GB of memory, {} GB of storage", free.cpu, free.memory, free.storage),
    );
    row("Images", &images.join(", "));
    for (what, told) in prices {
        row(what, told);
    }
    row("Country", country);
    row("Provider", provider_id);
    row(
        "Reached from outside",
        &match reached {
            Some((count, at)) => {
                format!("yes: {count} ports for SSH, last on {}", at.strftime("%Y-%m-%d %H:%M UTC"))
            }
            None => "not verified yet".to_owned(),
        },
    );
    row("https", https.as_deref().unwrap_or("not offered"));
    let name = escaped(if name.is_empty() { "A Golem provider" } else { name });
    let by_browser = if https.is_some() {
        format!(
            "By browser: the <a href=\"{WEB_CLIENT}\" rel=\"noreferrer\">web page for renters</a> finds this node, too."
        )
    } else {
        format!(
            "The <a href=\"{WEB_CLIENT}\" rel=\"noreferrer\">web page for renters</a> shows nodes with https only, and this one has none."
        )
    };
    let command = escaped(&format!("golem-provider rent create web --provider {} --hours 2", word(api)));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}: virtual machines for rent</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>{name}</h1>\n<p>This machine rents out virtual machines, paid by the second.</p>\n\
         <table>\n{rows}</table>\n\
         <h2>How to rent</h2>\n<p>By command line:</p>\n<pre><code>{command}\ngolem-provider rent ssh web</code></pre>\n\
         <p>{by_browser}</p>\n\
         <footer>Programs ask <code>/api/v1/provider/info</code> and <code>/api/v1/images</code>.</footer>\n\
         </body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(name: &str) -> Page {
        let price = |core: &str| MonthlyPrice {
            core: core.parse().unwrap(),
            memory: "2".parse().unwrap(),
            storage: "0.1".parse().unwrap(),
        };
        Page {
            name: name.to_owned(),
            provider_id: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".to_owned(),
            country: "SE".to_owned(),
            free: Resources::new(7, 28, 450),
            images: vec!["24.04".to_owned(), "debian-12".to_owned()],
            prices: asked(&price("5"), Some(&price("12.5")), "tGLM", "hoodi"),
            reached: Some((101, "2026-05-21T22:24:00Z".parse().unwrap())),
            https: Some("https://203.0.113.7".to_owned()),
            api: "https://203.0.113.7".to_owned(),
        }
    }

    #[test]
    fn the_page_is_as_it_was() {
        insta::assert_snapshot!(render(&page("garage")));
    }

    const HOSTILE: &str = "</title><script>alert(1)</script><img src=x onerror='a'>\"&\u{202e}\n";

    #[test]
    fn names_are_words_and_never_code() {
        let zero = MonthlyPrice::default();
        let hostile = Page {
            provider_id: HOSTILE.to_owned(),
            country: HOSTILE.to_owned(),
            images: vec![HOSTILE.to_owned()],
            prices: asked(&zero, Some(&zero), HOSTILE, HOSTILE),
            https: Some(HOSTILE.to_owned()),
            api: HOSTILE.to_owned(),
            ..page(HOSTILE)
        };
        let shown = render(&hostile);
        let tags = |html: &str| html.matches('<').count();
        assert_eq!(tags(&shown), tags(&render(&page("garage"))), "{shown}");
        assert!(!shown.contains("<script") && !shown.contains("<img") && !shown.contains('\u{202e}'));
        assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    }

    #[test]
    fn only_who_names_html_gets_it() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            wants_html(&headers)
        };
        for browser in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html",
            "application/json, TEXT/HTML ; q=0.1",
        ] {
            assert!(wants(browser), "{browser}");
        }
        for program in ["*/*", "application/json", "text/*", "text/html;q=0", "text/html; q=0.0", ""] {
            assert!(!wants(program), "{program}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_place(text in "\\PC{0,60}|[<>&\"'a-z]{0,60}") {
            let html = escaped(&text);
            let free = html.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").replace("&quot;", "").replace("&#39;", "");
            prop_assert!(!free.contains(['<', '>', '&', '"', '\'']));
        }
    }
}
