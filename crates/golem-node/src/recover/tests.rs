use golem_vm::Guest;
use ruint::aliases::U256;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn id(name: &str, random: u8) -> VmId {
    VmId::new(&name.parse().unwrap(), "2025-02-19T13:04:24Z".parse().unwrap(), [random; 10])
}

fn note(name: &str, ssh_port: u16, stream: Option<u64>) -> Note {
    Note {
        name: name.parse().unwrap(),
        owner: "0xabc".to_owned(),
        goal: "running".to_owned(),
        has_booted: true,
        resources: Resources::new(2, 4, 20),
        image: "24.04".parse().unwrap(),
        keys: vec![KEY.to_owned()],
        ssh_port,
        contract: stream.map(|_| "1:0x0".to_owned()),
        stream_id: stream.map(|id| id.to_string()),
        created_at: "2025-02-19T13:04:24.5Z".parse().unwrap(),
    }
}

fn noted(note: &Note) -> OnDisk {
    OnDisk { note: Some(serde_json::to_vec(note).unwrap()), complete: true, ..OnDisk::default() }
}

/// As an older version left it.
fn bare() -> OnDisk {
    OnDisk {
        note: None,
        resources: Some(Resources::new(1, 1, 10)),
        image: Some("24.04".parse().unwrap()),
        keys: vec![KEY.parse().unwrap()],
        complete: true,
    }
}

fn beside() -> Beside {
    Beside { range: 50_800..50_900, contract: Some("1:0x0".into()), ..Beside::default() }
}

fn running() -> Observed {
    Observed::Running(Guest { ssh: "127.0.0.1:2222".parse().unwrap(), ip: "10.0.2.15".parse().unwrap() })
}

fn planned(machines: Vec<(VmId, OnDisk, Observed)>, beside: Beside) -> RecoveryPlan {
    let seen = machines.iter().map(|(id, _, seen)| (id.clone(), seen.clone())).collect();
    let on_disk = machines.into_iter().map(|(id, disk, _)| (id, disk)).collect();
    plan(&on_disk, &seen, beside, Timestamp::UNIX_EPOCH)
}

#[test]
fn h_11_a_note_gives_the_rental_back_as_it_was_and_money_is_judged_anew() {
    let (web, off) = (id("web", 1), id("off", 2));
    let stopped = Note { goal: "stopped".to_owned(), ..note("off", 50_802, None) };
    let plan = planned(
        vec![
            (web.clone(), noted(&note("web", 50_801, Some(7))), running()),
            (off.clone(), noted(&stopped), Observed::Stopped),
        ],
        beside(),
    );
    let of = |id: &VmId| plan.recoveries.iter().find(|one| one.rental.vm.id == *id).unwrap();
    let one = of(&web);
    let vm = &one.rental.vm;
    assert_eq!((one.keeps_port, vm.ssh_port, vm.state), (true, 50_801, VmState::Running));
    assert_eq!((one.rental.goal, one.rental.has_booted, vm.unpaid.is_none()), (Goal::Running, true, true));
    assert_eq!((vm.owner.as_str(), vm.resources), ("0xabc", Resources::new(2, 4, 20)));
    assert_eq!(vm.keys, [KEY.parse().unwrap()]);
    assert_eq!(vm.stream, Some(StreamKey { contract: "1:0x0".into(), id: StreamId(U256::from(7)) }));
    assert_eq!(vm.ip_address, Some("10.0.2.15".parse().unwrap()));
    assert_eq!(vm.created_at, "2025-02-19T13:04:24.5Z".parse().unwrap());
    assert_eq!((of(&off).rental.goal, of(&off).rental.vm.state), (Goal::Stopped, VmState::Stopped));
    // A host that lost its power: what should run is booted again.
    let plan = planned(vec![(web, noted(&note("web", 50_801, None)), Observed::Stopped)], beside());
    assert_eq!(plan.recoveries[0].rental.aim(), Goal::Running);
}

#[test]
fn h_11_without_a_note_the_disk_tells_what_it_can_and_the_rest_is_said() {
    let (runs, rests) = (id("runs", 1), id("rests", 2));
    let exported = BTreeMap::from([(runs.clone(), StreamId(U256::from(9)))]);
    let plan = planned(
        vec![(runs.clone(), bare(), Observed::Unclear), (rests.clone(), bare(), Observed::Stopped)],
        Beside { exported, ..beside() },
    );
    let [rests, runs] =
        [rests, runs].map(|id| plan.recoveries.iter().find(|one| one.rental.vm.id == id).unwrap().clone());
    assert_eq!((runs.rental.goal, runs.keeps_port), (Goal::Running, false));
    assert_eq!(runs.rental.vm.stream.as_ref().unwrap().id, StreamId(U256::from(9)));
    assert_eq!(runs.rental.vm.created_at, "2025-02-19T13:04:24Z".parse().unwrap());
    assert_eq!(runs.rental.vm.keys, [KEY.parse().unwrap()]);
    assert_eq!((rests.rental.goal, rests.rental.vm.name.as_str()), (Goal::Stopped, "rests"));
    for words in ["its port is not known", "no stream is known to pay for it"] {
        assert!(plan.notes.iter().any(|note| note.contains(words)), "{:#?}", plan.notes);
    }
    // The secret part of an id is the right to use the VM.
    assert!(plan.notes.iter().all(|note| !note.contains(runs.rental.vm.id.as_str())));
}

#[test]
fn h_11_what_is_known_taken_or_unknown_is_left_alone() {
    let [live, gone, half, bye, odd, web] =
        ["live", "gone", "half", "bye", "odd", "web"].map(|name| id(name, 1));
    let twin = id("live", 2);
    let known = BTreeMap::from([(live.clone(), Known::Live), (gone.clone(), Known::Ended)]);
    let deleted = Note { goal: "deleted".to_owned(), ..note("bye", 50_805, None) };
    let twin_of = note("live", 50_801, Some(7));
    let plan = planned(
        vec![
            (live, noted(&note("live", 50_801, Some(7))), running()),
            (gone, noted(&note("gone", 50_809, None)), Observed::Stopped),
            (twin.clone(), noted(&twin_of), running()),
            (half, OnDisk { complete: false, ..bare() }, Observed::Stopped),
            (bye, noted(&deleted), Observed::Stopped),
            (odd, OnDisk { resources: None, ..bare() }, Observed::Stopped),
            (web.clone(), noted(&note("web", 22, None)), running()),
        ],
        Beside {
            known,
            names: BTreeSet::from([("0xabc".to_owned(), "live".parse().unwrap())]),
            ports: BTreeSet::from([50_801]),
            streams: BTreeSet::from([StreamKey { contract: "1:0x0".into(), id: StreamId(U256::from(7)) }]),
            ..beside()
        },
    );
    let recovered: BTreeSet<_> = plan.recoveries.iter().map(|one| one.rental.vm.id.clone()).collect();
    assert_eq!(recovered, BTreeSet::from([twin.clone(), web]));
    let one = &plan.recoveries.iter().find(|one| one.rental.vm.id == twin).unwrap();
    assert!(!one.keeps_port && one.rental.vm.stream.is_none());
    assert_ne!(one.rental.vm.owner, "0xabc");
    for words in [
        "its rental ended",
        "another VM of its renter has its name",
        "its port 50801 is taken",
        "its stream 7 pays for another VM",
        "never made to the end",
        "was being deleted",
        "not written down",
        "its port 22 is taken or outside the range",
    ] {
        assert!(plan.notes.iter().any(|note| note.contains(words)), "{words}: {:#?}", plan.notes);
    }
}

/// Notes lie beside disks for as long as a machine lives: whatever version wrote one, every other reads it.
#[test]
fn a_note_has_the_fields_that_every_version_knows() {
    let written = serde_json::to_value(note("web", 50_801, Some(7))).unwrap();
    let fields: BTreeSet<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
    let known = [
        "name",
        "owner",
        "goal",
        "made",
        "resources",
        "image",
        "keys",
        "ssh_port",
        "contract",
        "stream_id",
        "created_at",
    ];
    assert_eq!(fields, BTreeSet::from(known));
    assert_eq!((&written["made"], &written["goal"]), (&true.into(), &"running".into()));
}
