//! Prices of the true binary, from a feed that answers as it is told.
use golem_test_support::{Feed, Home, wait_until};
use serde_json::{Value, json};

const QUARTER: &str = r#"{"golem": {"usd": 0.25}, "ethereum": {"usd": 3000}}"#;

fn home(feed: &Feed) -> Home {
    Home::new()
        .set("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "true")
        .set("GOLEM_PROVIDER_COINGECKO_API_URL", &feed.url)
        .set("GOLEM_PROVIDER_PRICING_UPDATE_INTERVAL_SECONDS", "1")
}

/// The documented command sets the documented prices, and GLM follows.
#[test]
fn prices_are_set_in_dollars_and_follow_in_glm() {
    let feed = Feed::start(QUARTER);
    let home = home(&feed).set("GOLEM_PROVIDER_API_AUTH", "open");
    home.json(&[
        "pricing",
        "set",
        "--usd-per-core",
        "12",
        "--usd-per-mem",
        "4",
        "--usd-per-disk",
        "0.1",
        "--json",
    ]);
    let check = |shown: &Value| {
        // S-014
        assert_eq!(shown["usd"], json!({ "per_core": "12", "per_gb_ram": "4", "per_gb_storage": "0.1" }));
        // S-015
        assert_eq!(shown["glm"], json!({ "per_core": "48", "per_gb_ram": "16", "per_gb_storage": "0.4" }));
        assert_eq!(shown["glm_usd"], "0.25");
        let medium = &shown["examples"][1];
        // 2 cores, 4 GB, 20 GB.
        assert_eq!((&medium["usd_month"], &medium["glm_month"]), (&json!("42"), &json!("168")));
        assert_eq!(medium["rate_wei_per_second"], 63_926_940_639_269u64);
    };
    check(&home.json(&["pricing", "show", "--json"]));
    let line = feed.asked.lock().unwrap()[0].clone();
    assert!(
        line.contains("/api/v3/simple/price?ids=golem%2C") && line.contains("vs_currencies=usd"),
        "{line}"
    );
    {
        let _node = home.start(&[]);
        wait_until("the node has asked", || !home.json(&["pricing", "show", "--json"])["glm"].is_null());
        check(&home.json(&["pricing", "show", "--json"]));
        // U-13
        assert_eq!(
            home.http("GET", "/api/v1/summary", "").1["pricing"],
            json!({
                "usd_per_core_month": 12.0, "usd_per_gb_ram_month": 4.0, "usd_per_gb_storage_month": 0.1,
                "glm_per_core_month": 48.0, "glm_per_gb_ram_month": 16.0, "glm_per_gb_storage_month": 0.4,
            })
        );
    }
    let quote = home.json(&[
        "pricing",
        "quote",
        "--cpu",
        "2",
        "--memory",
        "4",
        "--storage",
        "20",
        "--hours",
        "2",
        "--json",
    ]);
    assert_eq!(quote["rate_wei_per_second"], "63926940639269");
    assert_eq!(quote["deposit_wei"], (63_926_940_639_269u64 * 7200).to_string());
    let text = String::from_utf8(home.run(&["pricing", "show"]).stdout).unwrap();
    assert!(text.contains("xlarge") && text.contains("A GLM is worth 0.25 USD"), "{text}");
    for bad in ["-1", "nan", "1e30", "a lot"] {
        assert_eq!(home.run(&["pricing", "set", "--usd-per-core", bad]).status.code(), Some(2), "{bad}");
    }
    check(&home.json(&["pricing", "show", "--json"]));
}

/// A feed that is down, lies or slips changes no price; the last good one survives a restart; another
/// feed takes over.
#[test]
fn a_feed_that_fails_or_lies_changes_no_price() {
    let feed = Feed::start(QUARTER);
    let home = home(&feed);
    let core = |home: &Home| home.json(&["pricing", "show", "--json"])["glm"]["per_core"].clone();
    {
        let _node = home.start(&[]);
        wait_until("there is a price", || core(&home) == "20");
        let lies = [
            "",
            "{",
            "<html>",
            "[]",
            r#"{"golem": {"usd": 0}}"#,
            r#"{"golem": {"usd": -5}}"#,
            r#"{"golem": {"usd": "NaN"}}"#,
            r#"{"golem": {"usd": 1e30}}"#,
            r#"{"golem": {"usd": null}}"#,
            r#"{"golem": {"usd": 25}}"#,
        ];
        for lie in lies {
            feed.say(lie);
            let before = feed.asked();
            wait_until("it was asked again", || feed.asked() > before);
            assert_eq!(core(&home), "20", "{lie}");
        }
    }
    feed.say("");
    {
        let _node = home.start(&[]);
        assert_eq!(core(&home), "20", "the last good rate is remembered");
    }
    let other = Feed::start(r#"{"golem-network-tokens": {"usd": 0.5}}"#);
    let both = format!("{},{}", feed.url, other.url);
    let home = home.set("GOLEM_PROVIDER_COINGECKO_API_URL", &both);
    assert_eq!(core(&home), "10", "the second feed, and the second name");
}

/// Without a rate nothing is asked in GLM, and prices can be fixed.
#[test]
fn prices_in_glm_can_be_fixed() {
    let feed = Feed::start("");
    let home = home(&feed);
    assert!(home.json(&["pricing", "show", "--json"])["glm"].is_null());
    let home = home
        .set("GOLEM_PROVIDER_PRICING_UPDATE_ENABLED", "false")
        .set("GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH", "7.5");
    let shown = home.json(&["pricing", "show", "--json"]);
    assert_eq!(shown["glm"]["per_core"], "7.5");
}
