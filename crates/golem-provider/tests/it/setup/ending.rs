//! How a setup ends: with what the node gets by itself, or without it where nobody waits for that.

use std::io::Write;
use std::process::Stdio;

use golem_test_support::pebble::{Pebble, PebbleConfig, pebble_folder};
use golem_test_support::{Feed, Home, Running, StopAtEnd, ports};
use market_emulator::{DiscoveryServer, LiveServer};
use rustix::process::Signal;
use serde_json::Value;

use super::{COLUMNS, QUESTIONS, TERM, settings, types};
use crate::ports::{Puppet, verified};
use crate::terminal::Terminal;

const WAITING: &str = "Waiting until the ports are tried from outside";

/// Answers all questions about a node that runs.
fn answered(home: &Home) -> Terminal {
    let is_written = settings(home).is_some();
    let mut terminal = Terminal::sized(home, &["setup", "--here"], COLUMNS, &TERM);
    QUESTIONS.iter().for_each(|question| types(&mut terminal, question, ""));
    if !is_written {
        types(&mut terminal, "Write this? [yes]", "");
    }
    terminal.shows(WAITING);
    terminal
}

/// A checklist that tells of a node which has just started would tell that nothing is known.
#[test]
fn u_06_a_setup_waits_for_what_comes_by_itself_and_an_interrupt_goes_on() {
    let puppet = Puppet::start(Vec::new());
    let home = verified(&[&puppet.url]);
    *puppet.open.lock().unwrap() = std::iter::once(home.api).chain(home.ssh_ports()).collect();
    let silence = puppet.silence.lock().unwrap();
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);

    let mut terminal = answered(&home);
    terminal.keyboard.write_all(b"\x03").unwrap();
    terminal.shows("Not waited for any longer (interrupted)");
    terminal.shows("Can be reached  not known: ");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());

    let mut json = waiting(&home, WAITING);
    let mut terminal = answered(&home);
    drop(silence);
    terminal.shows("Can be reached  ✅ yes: TCP ");
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    assert_eq!(document(&mut json)["checklist"]["reached"]["answer"], "yes");
}

/// A node that does not know its address yet has nothing to offer, and offers it once it does.
#[test]
fn u_06_the_first_advert_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let market = runtime.block_on(DiscoveryServer::start()).unwrap();
    let sources = ["", ""].map(Feed::start);
    let home = Home::new()
        .set("GOLEM_PROVIDER_ADVERTISERS", "http")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", market.url())
        .set("GOLEM_PROVIDER_MIN_STORAGE_GB", "1")
        .set("GOLEM_PROVIDER_PUBLIC_IP", "auto")
        .set("GOLEM_PROVIDER_PUBLIC_IP_SOURCES", &sources.each_ref().map(|source| &*source.url).join(","))
        .set("GOLEM_PROVIDER_PUBLIC_IP_INTERVAL_SECONDS", "1");
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);
    let mut json = waiting(&home, "Waiting until the first advert is sent");
    sources.iter().for_each(|source| source.say("203.0.113.7"));
    assert_eq!(document(&mut json)["checklist"]["found"]["answer"], "yes");
    assert_eq!(market.adverts().len(), 1);
}

/// By default a market needs https, and https its certificate: of a true authority (Debian's Pebble).
#[test]
fn u_06_the_certificate_and_the_advert_that_needs_it_are_waited_for() {
    let Some(folder) = pebble_folder() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let market = runtime.block_on(LiveServer::start()).unwrap();
    let (port, tls) = (ports(1), ports(1));
    let home = Home::new()
        .obtains_from_pebble(folder.path(), port, tls)
        .set("GOLEM_PROVIDER_MIN_STORAGE_GB", "1")
        .set("GOLEM_PROVIDER_ADVERTISERS", "websocket")
        .set("GOLEM_PROVIDER_DISCOVERY_WS_URL", market.url());
    let config = PebbleConfig { port, http: ports(1), tls, life: 160 * 3600 };
    let pebble = Pebble::start(folder.path(), config);
    pebble.signal(Signal::STOP);
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);
    let mut json = waiting(&home, "Waiting until the certificate for https is obtained");
    pebble.signal(Signal::CONT);
    assert_eq!(document(&mut json)["checklist"]["found"]["answer"], "yes");
    assert_eq!(market.adverts().len(), 1);
}

/// A setup for programs, when it says that it waits.
fn waiting(home: &Home, says: &str) -> Running {
    let mut command = home.command(&["setup", "--here", "--yes", "--json"]);
    command.stdout(Stdio::piped());
    Running::of(command, says)
}

/// What that printed when it has ended: one document, and nothing before it.
fn document(json: &mut Running) -> Value {
    let code = json.end();
    let printed = std::io::read_to_string(json.child.stdout.take().unwrap()).unwrap();
    assert_eq!(code, Some(0), "{printed}");
    serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}"))
}
