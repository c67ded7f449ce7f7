//! What others ask, told where the price is asked for.

use golem_test_support::Home;
use golem_test_support::discovery::{DiscoveryClient, advert};
use market_emulator::{LiveFault, LiveServer};
use serde_json::json;

use super::{COLUMNS, QUESTIONS, TERM, types};
use crate::terminal::Terminal;

/// What is on the screen, in one line.
fn shown(terminal: &Terminal) -> String {
    terminal.screen().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Of each market that answers; one that is silent hides none of the others, and one that fails is not told of.
#[test]
fn what_others_ask_is_told_before_prices_where_a_market_answers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let silent = runtime.block_on(LiveServer::start()).unwrap();
    silent.set_fault(LiveFault::NoHello);
    let others = Home::new();
    let (server, url) = others.discovery_service(&[]);
    let mut server = Some(server);
    let mut other = advert(4);
    other["pricing"] = json!({
        "usd_per_core_month": 3.0, "usd_per_gb_ram_month": 1.0, "usd_per_gb_storage_month": 0.1,
        "glm_per_core_month": 1.0, "glm_per_gb_ram_month": 1.0, "glm_per_gb_storage_month": 1.0,
    });
    let posted = DiscoveryClient::new(url.clone()).post("0xAlice", &other);
    assert_eq!(posted.status, 200, "{}", posted.body);
    let home = Home::new()
        .set("GOLEM_PROVIDER_ADVERTISERS", "websocket,http")
        .set("GOLEM_PROVIDER_DISCOVERY_WS_URL", silent.url())
        .set("GOLEM_PROVIDER_DISCOVERY_URL", &url);
    for answers in [true, false] {
        let mut terminal = Terminal::sized(&home, &["setup", "--here"], COLUMNS, &TERM);
        QUESTIONS[..4].iter().for_each(|question| types(&mut terminal, question, ""));
        terminal.shows(QUESTIONS[4]);
        // 2 x 3 + 4 x 1 + 20 x 0.1, and 2 x 5 + 4 x 2 + 20 x 0.1
        let told = format!(
            "On {url} others ask 12.00 USD (the lowest), 12.00 USD (the median) a month for 2 cores, 4 GiB of memory and 20 GiB of \
             storage; here that is 20.00 USD. {}",
            QUESTIONS[4]
        );
        if answers {
            assert!(shown(&terminal).contains(&told), "{told}:\n{}", terminal.screen());
        }
        assert_eq!(
            shown(&terminal).matches("others ask").count(),
            usize::from(answers),
            "{}",
            terminal.screen()
        );
        drop(server.take());
    }
}
