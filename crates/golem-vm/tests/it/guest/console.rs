//! The serial console of a real guest, both ways, and its log meanwhile.

use std::time::Duration;

use golem_vm::{Backend, Guest, LiveConsole, Observed};
use tokio::time::{Instant, timeout};

use super::world::{World, says};

/// Longest that the guest may take to say something.
const DEADLINE: Duration = Duration::from_secs(60);

async fn types(console: &LiveConsole, text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        console.writable().await.unwrap();
        match console.write(left) {
            Ok(count) => left = &left[count..],
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

/// What the guest writes next.
async fn piece(console: &LiveConsole) -> Vec<u8> {
    let mut bytes = vec![0; 65_536];
    loop {
        console.readable().await.unwrap();
        match console.read(&mut bytes) {
            Ok(0) => panic!("the guest has ended"),
            Ok(count) => return bytes[..count].to_vec(),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
}

/// What the guest writes, up to `word`.
async fn hears(console: &LiveConsole, word: &str) -> String {
    let mut heard = Vec::new();
    let hear = async {
        while !String::from_utf8_lossy(&heard).contains(word) {
            heard.extend(piece(console).await);
        }
    };
    let is_heard = timeout(DEADLINE, hear).await.is_ok();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(is_heard, "no {word:?} in {heard:?}");
    heard
}

/// The log has `word`, which `script` has the guest write.
async fn is_logged(backend: &Backend, world: &World, guest: Guest, word: &str) {
    let script = format!("echo {word} | sudo tee /dev/ttyS0 >/dev/null");
    says(guest, &world.key, &script);
    let log = backend.console(&world.spec.id).await.unwrap();
    assert!(log.contains(word) && log.len() <= 65_536, "{word}: {} bytes", log.len());
}

/// What is written while nobody reads slows the writer down and nobody else; the log goes on with the console open, after it is
/// given back, and after a node that had it open is killed.
pub(super) async fn is_a_way_in(world: &World, backend: &Backend, guest: Guest) {
    let (id, key) = (&world.spec.id, world.key.as_path());
    is_logged(backend, world, guest, "before-it-was-open").await;
    let console = backend.open_console(id).await.unwrap();
    assert!(backend.open_console(id).await.unwrap_err().to_string().contains("open already"));
    types(&console, "\r").await;
    hears(&console, "login: ").await;
    types(&console, "nobody\r").await;
    let heard = hears(&console, "assword:").await;
    assert!(heard.contains("nobody"), "what is typed is echoed: {heard:?}");
    types(&console, "wrong\r").await;
    let heard = hears(&console, "login: ").await;
    assert!(heard.contains("incorrect") && !heard.contains("wrong"), "{heard:?}");
    let log = backend.console(id).await.unwrap();
    assert!(log.contains("before-it-was-open") && log.contains("assword:"), "{log}");

    let flood = "sudo systemd-run --quiet --collect --unit flood timeout 10 sh -c 'yes > /dev/ttyS0'";
    says(guest, key, flood);
    let (began, mut bytes) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        bytes += timeout(DEADLINE, piece(&console)).await.expect("it floods").len();
    }
    assert!(bytes > 10_000, "{bytes}");
    // Nobody reads now, and QEMU answers all the same.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(says(guest, key, "hostname"), "guest-test");
    assert_eq!(backend.list().await.unwrap().get(id), Some(&Observed::Running(guest)));
    assert!(backend.console(id).await.unwrap().len() <= 65_536);
    backend.close_console(id, console).await;
    assert!(!world.machine().join("console.open").exists());
    says(guest, key, "while systemctl is-active --quiet flood; do sleep 0.2; done");
    is_logged(backend, world, guest, "after-it-was-closed").await;

    // As a node that is killed leaves it, while the guest waits for it to read.
    let console = backend.open_console(id).await.unwrap();
    says(guest, key, &flood.replace("timeout 10", "timeout 5"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(console);
    says(guest, key, "while systemctl is-active --quiet flood; do sleep 0.2; done");
    let next = world.backend();
    assert_eq!((next.mend_consoles().await, next.mend_consoles().await), (vec![id.clone()], Vec::new()));
    is_logged(&next, world, guest, "after-the-node-was-killed").await;
    let console = next.open_console(id).await.unwrap();
    types(&console, "\r").await;
    hears(&console, "login: ").await;
    next.close_console(id, console).await;
}
