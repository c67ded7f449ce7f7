//! The Multipass backend against a stand-in that speaks as the real one.
//!
//! Instances are real SSH servers with `--features multipass-tests`; everything else needs none.
use std::time::Duration;

use fake_multipass::Mode;
use golem_test_support::PAUSE;
use golem_types::{Resources, VmId, VmName};
use golem_vm::multipass::{Multipass, MultipassConfig, State};
use golem_vm::{Backend, BackendError, MachineSpec, Observed};
use tokio::time::timeout;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(30);

struct Host {
    folder: tempfile::TempDir,
    backend: Backend,
}

impl Host {
    fn new(mode: &Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        mode.set(folder.path()).unwrap();
        let backend = Backend::Multipass(multipass(folder.path()));
        Self { folder, backend }
    }

    fn now(&self, mode: &Mode) {
        mode.set(self.folder.path()).unwrap();
    }

    fn log(&self, id: &VmId) -> std::path::PathBuf {
        self.folder.path().join("data/multipass").join(format!("{id}.log"))
    }

    async fn launched(&self, spec: &MachineSpec) {
        self.backend.create(spec).await.unwrap();
        self.until(&spec.id, |seen| seen.is_some()).await;
    }

    async fn until(&self, id: &VmId, is_it: impl Fn(Option<&Observed>) -> bool) {
        let look = async {
            while !is_it(self.backend.list().await.unwrap().get(id)) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        timeout(DEADLINE, look).await.expect("the instance stands as expected");
    }
}

fn multipass(folder: &std::path::Path) -> Multipass {
    let program = fake_multipass::install(folder).unwrap();
    let data_dir = folder.join("data");
    Multipass::open(MultipassConfig { program, data_dir, boot_deadline: DEADLINE })
}

fn spec(name: &str) -> MachineSpec {
    let name: VmName = name.parse().unwrap();
    MachineSpec {
        id: VmId::new(&name, "2025-02-19T13:04:24Z".parse().unwrap(), [7; 10]),
        name,
        resources: Resources::new(2, 4, 20),
        image: "24.04".parse().unwrap(),
        keys: vec![KEY.parse().unwrap()],
        first_boot: golem_types::FirstBoot::default(),
        rebuild_at: 0,
    }
}

/// The instance has what was asked for, its seed came through no file, and a
/// deletion leaves nothing.
#[tokio::test]
async fn an_instance_is_made_as_asked_and_leaves_no_trace() {
    let host = Host::new(&Mode::default());
    let spec = spec("webserver");
    host.backend.check().await.unwrap();
    host.launched(&spec).await;
    // S-086
    host.until(&spec.id, |seen| matches!(seen, Some(Observed::Running(_)))).await;
    let instances = multipass(host.folder.path()).instances().await.unwrap();
    assert_eq!(instances[0].name.as_str(), spec.id.as_str());
    let sizes = multipass(host.folder.path()).sizes(&instances[0].name).await.unwrap();
    assert_eq!((sizes.cpus, sizes.disk), (Some(2), Some(20 << 30)));
    let seed = host.folder.path().join("instances").join(spec.id.as_str()).join("user-data");
    let seed = std::fs::read_to_string(seed).unwrap();
    // S-088
    assert!(seed.starts_with("#cloud-config\n") && seed.contains(KEY));

    // Made already is fine, and changes nothing.
    host.backend.create(&spec).await.unwrap();
    host.backend.stop(&spec.id, DEADLINE).await.unwrap();
    host.until(&spec.id, |seen| seen == Some(&Observed::Stopped)).await;
    let stopped = multipass(host.folder.path()).sizes(&instances[0].name).await.unwrap();
    assert_eq!((stopped.cpus, stopped.memory), (Some(2), Some(4 << 30)), "blank while it is stopped");
    host.backend.start(&spec).await.unwrap();
    host.until(&spec.id, |seen| matches!(seen, Some(Observed::Running(_)))).await;
    for _ in 0..2 {
        host.backend.delete(&spec.id).await.unwrap();
    }
    host.backend.stop(&spec.id, DEADLINE).await.unwrap();
    // S-092
    assert!(host.backend.list().await.unwrap().is_empty());
    assert!(!host.log(&spec.id).exists());
}

/// I3: a daemon that does not answer says nothing of any machine.
#[tokio::test]
async fn a_daemon_that_is_down_or_answers_half_is_cannot_see() {
    let host = Host::new(&Mode::default());
    let spec = spec("webserver");
    host.launched(&spec).await;
    let unseen = |error: &BackendError| matches!(error, BackendError::Unavailable { .. });
    for mode in [Mode { down: true, ..Mode::default() }, Mode { half_list: true, ..Mode::default() }] {
        host.now(&mode);
        assert!(unseen(&host.backend.list().await.unwrap_err()), "{mode:?}");
        assert!(unseen(&host.backend.create(&self::spec("other")).await.unwrap_err()), "{mode:?}");
        assert!(unseen(&host.backend.start(&self::spec("other")).await.unwrap_err()), "{mode:?}");
    }
    host.now(&Mode { down: true, ..Mode::default() });
    let error = host.backend.check().await.unwrap_err();
    assert!(unseen(&error) && error.to_string().contains("multipassd"), "{error}");
    assert!(unseen(&host.backend.delete(&spec.id).await.unwrap_err()));
    host.now(&Mode::default());
    assert_eq!(host.backend.list().await.unwrap().len(), 1);
}

/// I3: a program that never ends is given up, and says nothing of any machine. Time is let pass as soon as
/// nothing else is left to do.
#[tokio::test(start_paused = true)]
async fn a_program_that_hangs_is_cannot_see() {
    let host = Host::new(&Mode { hangs: true, ..Mode::default() });
    let spec = spec("webserver");
    let unseen = |error: &BackendError| matches!(error, BackendError::Unavailable { .. });
    for error in [
        host.backend.list().await.unwrap_err(),
        host.backend.check().await.unwrap_err(),
        host.backend.create(&spec).await.unwrap_err(),
        host.backend.start(&spec).await.unwrap_err(),
        host.backend.stop(&spec.id, DEADLINE).await.unwrap_err(),
        host.backend.delete(&spec.id).await.unwrap_err(),
    ] {
        assert!(unseen(&error) && error.to_string().contains("no answer within"), "{error}");
    }
}

#[tokio::test]
async fn states_that_say_nothing_change_nothing() {
    let host = Host::new(&Mode::default());
    let spec = spec("webserver");
    host.launched(&spec).await;
    for (state, seen) in [
        ("Starting", Observed::Unclear),
        ("Restarting", Observed::Unclear),
        ("Delayed Shutdown", Observed::Unclear),
        ("Suspending", Observed::Unclear),
        ("Unknown", Observed::Unclear),
        ("Unavailable", Observed::Unclear),
        ("Levitating", Observed::Unclear),
        ("Suspended", Observed::Stopped),
        ("Stopped", Observed::Stopped),
    ] {
        host.now(&Mode { state: Some(state.to_owned()), ..Mode::default() });
        assert_eq!(host.backend.list().await.unwrap()[&spec.id], seen, "{state}");
    }
    host.now(&Mode { state: Some("Deleted".to_owned()), ..Mode::default() });
    assert!(matches!(host.backend.list().await.unwrap()[&spec.id], Observed::Halted { .. }));
}

#[tokio::test]
async fn a_launch_that_fails_says_why_and_an_old_version_is_refused() {
    let words = "Remote \"\" is unknown or unreachable.";
    let host = Host::new(&Mode { launch_fails: Some(words.to_owned()), ..Mode::default() });
    let spec = spec("webserver");
    host.backend.create(&spec).await.unwrap();
    host.backend.start(&spec).await.unwrap();
    let error = timeout(DEADLINE, host.backend.wait_ready(&spec.id)).await.unwrap().unwrap_err();
    assert!(matches!(&error, BackendError::Failed { .. }) && error.to_string().contains(words), "{error}");
    let old = Mode { version: Some("1.10.1".to_owned()), ..Mode::default() };
    host.now(&old);
    assert!(host.backend.check().await.unwrap_err().to_string().contains("too old"));
}

/// Instances with other names are nobody's business; those that were taken over keep theirs.
#[tokio::test]
async fn instances_of_others_are_not_listed_and_adopted_ones_are() {
    let host = Host::new(&Mode::default());
    let theirs = "golem-5f0c7c0e-0d5b-4e0c-9f7b-3b1b7f3b9f10";
    for name in ["primary", theirs] {
        let made = std::process::Command::new(host.folder.path().join("multipass"))
            .args(["launch", "24.04", "--name", name])
            .output()
            .unwrap();
        assert!(made.status.success());
    }
    assert!(host.backend.list().await.unwrap().is_empty());
    let id = spec("webserver").id;
    host.backend.register_adopted([(id.clone(), theirs.to_owned())].into());
    let seen = host.backend.list().await.unwrap();
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&id]);
    host.backend.delete(&id).await.unwrap();
    let left = multipass(host.folder.path()).instances().await.unwrap();
    assert_eq!(
        left.iter().map(|one| (one.name.as_str(), one.state)).collect::<Vec<_>>(),
        [("primary", State::Running)]
    );
}

/// What the real one takes as an option, a path or a name is refused before it is asked.
#[tokio::test]
async fn an_image_that_multipass_does_not_have_is_refused() {
    let host = Host::new(&Mode::default());
    let mut spec = spec("webserver");
    spec.image = "debian-12".parse().unwrap();
    assert!(!host.backend.has_image(&spec.image));
    assert!(matches!(host.backend.create(&spec).await.unwrap_err(), BackendError::NoSuchImage(_)));
}

#[cfg(feature = "multipass-tests")]
mod with_ssh {
    use super::*;

    fn mode() -> Mode {
        Mode { ssh_servers: true, ..Mode::default() }
    }

    /// The renter's key works; through create, start and wait.
    #[tokio::test]
    async fn the_guest_is_ready_when_its_ssh_server_greets() {
        let host = Host::new(&mode());
        let spec = spec("webserver");
        host.backend.create(&spec).await.unwrap();
        host.backend.start(&spec).await.unwrap();
        let guest = timeout(DEADLINE, host.backend.wait_ready(&spec.id)).await.unwrap().unwrap();
        // S-086
        assert_eq!(guest.ssh.port(), 22);
        host.backend.delete(&spec.id).await.unwrap();
    }

    /// Multipass gives up waiting, or its daemon restarts in mid-launch: the machine is there, and is
    /// waited for rather than deleted.
    #[tokio::test]
    async fn a_launch_that_times_out_is_adopted_when_it_comes_up() {
        let host = Host::new(&Mode { launch_times_out: true, ..mode() });
        let spec = spec("webserver");
        host.backend.create(&spec).await.unwrap();
        host.until(&spec.id, |seen| seen == Some(&Observed::Unclear)).await;
        let waiting = host.backend.wait_ready(&spec.id);
        let meanwhile = async {
            host.now(&Mode { down: true, ..mode() });
            host.now(&mode());
            let started = tokio::process::Command::new(host.folder.path().join("multipass"))
                .args(["start", spec.id.as_str()])
                .status()
                .await
                .unwrap();
            assert!(started.success());
        };
        let (guest, ()) = timeout(DEADLINE, async { tokio::join!(waiting, meanwhile) }).await.unwrap();
        assert_eq!(guest.unwrap().ssh.port(), 22);
        host.backend.delete(&spec.id).await.unwrap();
    }
}
