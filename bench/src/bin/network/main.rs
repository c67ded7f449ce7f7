//! What a guest's network costs: the node's way beside QEMU's plain user networking in the host's own namespace,
//! which is open to everything near the host. Two guests of the same image, rounds interleaved.
//!
//! `cargo xtask bench network`. Needs root, iproute2 and the image that `GOLEM_TEST_IMAGE` names.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

mod contenders;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use bench::figures::{Figures, Table};
use bench::internet::{self, PORT, SERVER};
use bench::plain::Plain;
use bench::say;
use contenders::{Contender, NodesWay};

/// Rounds of transfers, and of launches.
const ROUNDS: usize = 5;

/// MiB that are sent each way in a round, and round trips that are timed.
const MIB: usize = 64;
const TRIPS: usize = 200;

fn main() -> anyhow::Result<()> {
    internet::on_the_host(measure)
}

/// The guest's side: `d`, `u` or `e`; prints seconds.
fn script(what: char) -> String {
    let body = match what {
        'd' => format!(
            "s.sendall(b'd')\nleft = {MIB} << 20\ns.recv(1)\nt = time.perf_counter()\n\
             while left > 0:\n left -= len(s.recv(1 << 20))\nprint(time.perf_counter() - t)"
        ),
        'u' => format!(
            "s.sendall(b'u')\nb = bytes(1 << 20)\nt = time.perf_counter()\nfor _ in range({MIB}):\n s.sendall(b)\n\
             s.shutdown(1)\ns.recv(8)\nprint(time.perf_counter() - t)"
        ),
        _ => format!(
            "s.setsockopt(6, 1, 1)\ns.sendall(b'e')\nn = []\nfor _ in range({TRIPS}):\n t = time.perf_counter()\n \
             s.sendall(b'x')\n s.recv(1)\n n.append(time.perf_counter() - t)\nn.sort()\nprint(n[len(n) // 2])"
        ),
    };
    format!(
        "python3 - <<'E'\nimport socket, time\ns = socket.create_connection(('{SERVER}', {PORT}), 20)\n{body}\nE"
    )
}

/// What was measured of one contender.
#[derive(Default)]
struct Measured {
    down: Figures,
    up: Figures,
    down_cpu: Figures,
    up_cpu: Figures,
    trip: Figures,
    launch: Figures,
    helpers: Figures,
}

#[expect(clippy::cast_precision_loss, reason = "a few MiB")]
fn transfer(guest: &dyn Contender, what: char, speed: &mut Figures, cpu: &mut Figures) -> anyhow::Result<()> {
    let processes = guest.processes()?;
    let before = bench::guests::cpu_seconds(&processes);
    let seconds: f64 = guest.login().says(&script(what))?.parse().context("the guest printed no number")?;
    let used = bench::guests::cpu_seconds(&processes) - before;
    speed.push(MIB as f64 / seconds);
    cpu.push(used * 1024.0 / MIB as f64);
    Ok(())
}

fn measure() -> anyhow::Result<()> {
    let image = std::env::var_os("GOLEM_TEST_IMAGE").context("GOLEM_TEST_IMAGE has to name an image")?;
    let image = PathBuf::from(image);
    let (mut plain, mut node) = (Measured::default(), Measured::default());
    for round in 1..=ROUNDS {
        say(&format!("launch {round} of {ROUNDS} …"));
        plain.launch.push(Plain::start(&image)?.launch_seconds());
        node.launch.push(NodesWay::start(&image)?.launch_seconds());
    }
    say("both guests boot …");
    let guests: [Box<dyn Contender>; 2] =
        [Box::new(Plain::start(&image)?), Box::new(NodesWay::start(&image)?)];
    for guest in &guests {
        guest.login().wait()?;
        // Logs in once more, so that the first transfer is not beside the end of the boot.
        guest.login().says("cloud-init status --wait >/dev/null 2>&1; sleep 5")?;
    }
    for round in 1..=ROUNDS {
        say(&format!("transfers {round} of {ROUNDS} …"));
        for (guest, measured) in guests.iter().zip([&mut plain, &mut node]) {
            transfer(guest.as_ref(), 'd', &mut measured.down, &mut measured.down_cpu)?;
            transfer(guest.as_ref(), 'u', &mut measured.up, &mut measured.up_cpu)?;
            let trip: f64 =
                guest.login().says(&script('e'))?.parse().context("the guest printed no number")?;
            measured.trip.push(trip * 1000.0);
            let helpers =
                guest.processes()?.into_iter().filter(|id| !bench::guests::name_of(*id).starts_with("qemu"));
            measured.helpers.push(helpers.map(bench::guests::memory_mib).fold(0.0, |sum, mib| sum + mib));
        }
    }
    ensure!(guests.iter().all(|guest| guest.login().says("true").is_ok()), "a guest did not live to the end");

    let mut table = Table::new(&["", "plain user networking", "the node's way", "ratio"]);
    let mut row = |what: &str, plain: &Figures, node: &Figures, precision: usize| {
        let ratio = node.median() / plain.median();
        let ratio = if ratio.is_finite() { format!("{ratio:.2}×") } else { "-".to_owned() };
        let show = |figures: &Figures| format!("{figures:.precision$}");
        table.row(vec![what.to_owned(), show(plain), show(node), ratio]);
    };
    row("to the guest, MiB/s", &plain.down, &node.down, 1);
    row("from the guest, MiB/s", &plain.up, &node.up, 1);
    row("round trip, ms", &plain.trip, &node.trip, 2);
    row("CPU s/GiB to the guest (QEMU and helpers)", &plain.down_cpu, &node.down_cpu, 1);
    row("CPU s/GiB from the guest", &plain.up_cpu, &node.up_cpu, 1);
    row("memory of helpers, MiB", &plain.helpers, &node.helpers, 1);
    row("launch until QEMU answers, s", &plain.launch, &node.launch, 3);
    println!("\n{table}");
    Ok(())
}
