//! A real guest whose memory is kept while it does not run.

use std::path::Path;
use std::time::Duration;

use golem_vm::{Backend, Guest, Observed, Started};

use super::world::{World, says, until};

/// Longest that this guest's memory may take to be written.
const DEADLINE: Duration = Duration::from_secs(120);

/// What is kept of memory in the machine's folder.
fn files(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.machine()).unwrap().map(|file| file.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("memory."));
    names.sort();
    names
}

/// Suspends the guest under load and lets it go on: the same processes, with their memory, and a clock that is right. A
/// memory that cannot be taken up is told of, and the guest boots from its disk.
pub(crate) async fn keep_a_memory_and_give_it_back(
    world: &World,
    backend: &Backend,
    guest: Guest,
    key: &Path,
) -> Guest {
    let id = &world.spec.id;
    // A secret on no disk, and a process that is busy.
    says(guest, key, "sudo mount -t tmpfs none /mnt && echo in-memory | sudo tee /mnt/word");
    let busy = says(guest, key, "nohup sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!");
    let boot = says(guest, key, "cat /proc/sys/kernel/random/boot_id");
    backend.suspend(id, DEADLINE).await.unwrap();
    // A node that was killed says so again.
    backend.suspend(id, DEADLINE).await.unwrap();
    assert_eq!(backend.list().await.unwrap()[id], Observed::Stopped);
    assert_eq!(files(world), ["memory.img", "memory.json"]);
    // It belongs to the disk as it is.
    let restored = backend.restore_snapshot(id, &"any".parse().unwrap()).await.unwrap_err();
    assert!(restored.to_string().contains("memory is kept"), "{restored}");
    let private = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(world.machine().join("memory.img")).unwrap().permissions(),
    );
    assert_eq!(private & 0o777, 0o600);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(backend.start(&world.spec).await.unwrap(), Started::Resumed);
    assert!(files(world).is_empty(), "{:?}", files(world));
    until(backend, id, |seen| matches!(seen, Some(Observed::Running(_)))).await;
    let guest = backend.wait_ready(id).await.unwrap();
    let look = format!("cat /mnt/word; kill -0 {busy} && echo busy; cat /proc/sys/kernel/random/boot_id");
    assert_eq!(says(guest, key, &look), format!("in-memory\nbusy\n{boot}"));
    says(guest, key, &format!("kill {busy}"));
    let there: i64 = says(guest, key, "date +%s").parse().unwrap();
    let here = jiff::Timestamp::now().as_second();
    assert!((here - there).abs() <= 2, "the guest's clock is {} s behind", here - there);

    // What cannot be read back costs the memory and nothing else.
    says(guest, key, "echo on-disk >kept; sync");
    backend.suspend(id, DEADLINE).await.unwrap();
    let memory = world.machine().join("memory.img");
    let whole = std::fs::metadata(&memory).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&memory).unwrap().set_len(whole / 2).unwrap();
    let started = backend.start(&world.spec).await.unwrap();
    assert!(matches!(&started, Started::MemoryLost(why) if !why.is_empty()), "{started:?}");
    assert!(files(world).is_empty(), "{:?}", files(world));
    let guest = backend.wait_ready(id).await.unwrap();
    assert_eq!(says(guest, key, "cat kept; ls /mnt"), "on-disk");
    guest
}
