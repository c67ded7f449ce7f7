//! Commands find the node that runs, describe that one and no other, and go on while it starts anew.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use golem_test_support::{Home, StopAtEnd, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// How often the node is started anew.
const TIMES: usize = 3;

/// Starts a node in the background, and gives what starts it anew and waits until it serves.
fn started(home: &Home) -> impl Fn() + use<'_> {
    let started = home.json(&["start", "--daemon", "--json"]);
    let pid = Pid::from_raw(i32::try_from(started["pid"].as_i64().unwrap()).unwrap()).unwrap();
    let served = || {
        let log = std::fs::read_to_string(home.data().join("logs/provider.log")).unwrap();
        log.matches("listening on").count()
    };
    move || {
        let before = served();
        kill_process(pid, Signal::HUP).unwrap();
        wait_until("the node serves anew", || served() > before);
    }
}

/// U-01: a command that falls between a node and the one that takes its place waits for that.
#[test]
fn commands_go_on_while_the_node_starts_anew() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    let start_anew = started(&home);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let again_and_again = |words: &'static [&'static str]| {
            let mut runs = 0;
            while !over.load(Ordering::Relaxed) {
                let output = home.run(words);
                assert_eq!(output.status.code(), Some(0), "{words:?}: {}", Home::show(&output));
                runs += 1;
            }
            runs
        };
        let loops = [&["status", "--json"][..], &["vms", "list"], &["drain", "off"]]
            .map(|words| scope.spawn(move || again_and_again(words)));
        for _ in 0..TIMES {
            start_anew();
        }
        over.store(true, Ordering::Relaxed);
        let runs = loops.map(|one| one.join().unwrap());
        assert!(runs.iter().all(|runs| *runs > 0), "{runs:?}");
    });
    home.run(&["stop"]);
    // One that is not there is not waited for.
    let begin = Instant::now();
    assert_eq!(home.run(&["vms", "list"]).status.code(), Some(3));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// U-01: whoever connects to the public API while the node starts anew waits, and is not refused.
#[test]
fn nobody_is_refused_while_the_node_starts_anew() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    let start_anew = started(&home);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                TcpStream::connect((home.host, home.api)).expect("the port is open all the time");
                assert_eq!(home.http("GET", "/health", "").0, 200);
                slowest = slowest.max(begin.elapsed());
                std::thread::park_timeout(Duration::from_millis(50));
            }
            slowest
        });
        for _ in 0..TIMES {
            start_anew();
        }
        over.store(true, Ordering::Relaxed);
        println!("longest answer while the node started anew: {:?}", client.join().unwrap());
    });
}

/// U-01: whatever is looked at, no key is made.
#[test]
fn a_look_makes_no_key() {
    let looks: [&[&str]; 16] = [
        &["status", "--json"],
        &["config", "show"],
        &["wallet", "show"],
        &["wallet", "balance"],
        &["wallet", "transactions"],
        &["wallet", "export", "--out", "key.json"],
        &["networks", "list"],
        &["networks", "show"],
        &["images", "list"],
        &["pricing", "show"],
        &["streams", "list"],
        &["earnings"],
        &["ports", "list"],
        &["vms", "list"],
        &["recover", "--dry-run"],
        &["market"],
    ];
    let home = Home::new().set("GOLEM_PROVIDER_DISCOVERY_URL", "http://127.0.0.1:1");
    for words in looks {
        let output = home.run(words);
        let made = std::fs::read_dir(home.data().join("keys")).map_or(0, Iterator::count);
        assert_eq!(made, 0, "{words:?}: {}", Home::show(&output));
    }
    let output = home.run(&["wallet", "show"]);
    let text = Home::show(&output);
    assert!(output.status.code() == Some(1) && text.contains("fix: start the node once"), "{text}");
}

/// U-02: commands of another folder, whose settings are others, still speak to the node of this home.
#[test]
fn a_folder_with_other_settings_is_no_other_node() {
    let home = Home::new();
    let node = home.start(&[]);
    home.rent("web-server");
    let other = home.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut command = home.command(&["vms", "list", "--json"]);
    let output = command.current_dir(&other).env("GOLEM_PROVIDER_OPERATOR_PORT", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("web-server"), "{}", Home::show(&output));
    assert!(home.data().join("operator.sock").exists());
    node.signal(Signal::TERM);
    wait_until("the socket is gone", || !home.data().join("operator.sock").exists());
}

/// U-04, U-05: settings are written where the node reads them, or not at all.
#[test]
fn settings_are_written_below_the_data_directory_and_what_wins_is_told() {
    let home = Home::new();
    let home = {
        let data = home.folder.path().join("node").display().to_string();
        home.set("GOLEM_PROVIDER_DATA_DIR", &data)
    };
    let file = home.folder.path().join("node/.env");
    let change = ["config", "monitor", "--min-remaining", "3600", "--json"];
    assert_eq!(home.json(&change)["file"], file.display().to_string());
    assert!(!home.data().exists(), "another node's");
    let shown = home.json(&["config", "show", "--json"]).to_string();
    assert!(shown.contains("node/.env:1"), "{shown}");

    let before = std::fs::read(&file).unwrap();
    let stronger = home.folder.path().join(".env");
    std::fs::write(&stronger, "GOLEM_PROVIDER_STREAM_MIN_REMAINING_SECONDS=60\n").unwrap();
    let output = home.run(&["config", "monitor", "--min-remaining", "7200"]);
    let text = Home::show(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("is set in {}:1, which wins over", stronger.display())), "{text}");
    assert_eq!(std::fs::read(&file).unwrap(), before, "nothing was changed");
    std::fs::remove_file(stronger).unwrap();
    let output = home
        .command(&["pricing", "set", "--usd-per-core", "5"])
        .env("GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH", "4")
        .output()
        .unwrap();
    let text = Home::show(&output);
    assert!(
        output.status.code() == Some(1) && text.contains("is set in the environment, which wins"),
        "{text}"
    );
}

/// U-12: what the original's README has to be filled in refuses no start.
#[test]
fn a_placeholder_is_a_warning() {
    let home = Home::new();
    let lines = "GOLEM_PROVIDER_ID=\"your-provider-id\"\nGOLEM_PROVIDER_NAME=\"your-provider-name\"\n\
                 GOLEM_PROVIDER_COUNTRY=\"SE\"\n";
    std::fs::write(home.folder.path().join(".env"), lines).unwrap();
    let node = home.start(&[]);
    let warned = node.seen.iter().any(|line| line.contains("your-provider-id is a placeholder"));
    assert!(warned, "{:#?}", node.seen);
}
