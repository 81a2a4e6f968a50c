//! What a fleet costs its relay: a thousand edges with an event a second each, and what happens when it is killed.
//!
//!   [bench] ──a thousand edges──▶ watchtree-relay, its own process on a real disk
//!      ├── steady ··········· ack_ms, relay_cpu_pct, rss_per_edge_kib
//!      ├── kill -9, 3 s ····· reconnect_all_s, some times
//!      └── the record ······· every accepted event once, as it was sent, in order
//!
//! Writes `target/bench/fleet.json` and says which bars are met. People judge figures: it fails if one is missing, or if
//! an event was lost. With a number as its argument it is that many edges, and nothing is written.

#[path = "../restart/conditions.rs"]
mod conditions;
#[path = "../restart/figures.rs"]
mod figures;
mod relay;

use conditions::Conditions;
use figures::{Bar, Summary, round};
use relay::Relay;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::fleet::{Certificates, Fleet, Settings};
use tests::harness::{process, programs, wait_for};

const SEED: u64 = 4;
const EDGES: usize = 1000;
const EVENTS_PER_S: f64 = 1.0;
/// From when all are linked to the first figure: what a start costs is not what an edge costs.
const SETTLES: Duration = Duration::from_secs(20);
/// For how long is measured.
const STEADY: Duration = Duration::from_secs(60);
const KILLS: usize = 3;
const DOWN: Duration = Duration::from_secs(3);
/// Between two kills, so that each meets a fleet that is well.
const BETWEEN_KILLS: Duration = Duration::from_secs(15);
const LINKED_WITHIN: Duration = Duration::from_secs(120);

const ACK_P99_BAR_MS: f64 = 50.0;
const CPU_BAR_PCT: f64 = 25.0;
const RSS_BAR_KIB: f64 = 96.0;
const RECONNECT_BAR_S: f64 = 5.0;

fn main() -> ExitCode {
    // Cargo adds options of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    // The relay dies with the thread that starts it, so it is this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(measure(&words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("not measured: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(words: &[String]) -> Result<(), String> {
    let edges = match words {
        [] => EDGES,
        [edges] => edges.parse().map_err(|_| format!("`{edges}` is no number of edges"))?,
        _ => return Err("name a number of edges, or nothing for the figures that are written".to_owned()),
    };
    programs::check_fresh_of(&["watchtree-relay"]).map_err(|stale| stale.replace("make build", "make bench-fleet"))?;
    let out = bench_dir()?;
    let conditions = Conditions::at_begin()?;
    let mut relay = Relay::start(SEED, &out.join("fleet-site")).await?;
    let idle_kib = relay.rss_kib()?;
    println!("{edges} edges with {EVENTS_PER_S} events/s each; the idle relay has {} MiB", idle_kib / 1024);
    let settings = Settings {
        edges,
        prefix: "edge".to_owned(),
        relay: ("127.0.0.1".to_owned(), relay.port()),
        certificates: Certificates::Issued(relay.ca()),
        events_per_s: EVENTS_PER_S,
        seed: SEED,
    };
    let fleet = Fleet::start(settings).await?;
    all_linked(&fleet, &vec![0; edges]).await;
    let steady = steady(&relay, &fleet, idle_kib).await?;
    let reconnects = reconnects(&mut relay, &fleet).await?;
    let lost = lost(&relay, &fleet).await?;
    let reconnect_max = reconnects.iter().copied().fold(0.0, f64::max);
    let bars = [
        Bar::new("ack, p99 in ms", steady.ack.p99, ACK_P99_BAR_MS),
        Bar::new("the relay's CPU time, % of one core", steady.relay_cpu_pct, CPU_BAR_PCT),
        Bar::new("the relay's memory, KiB an edge", steady.rss_per_edge_kib, RSS_BAR_KIB),
        Bar::new("all linked again, longest in s", reconnect_max, RECONNECT_BAR_S),
        Bar::new("events lost or changed", lost.faults.len() as f64, 0.0),
    ];
    let result = json!({
        "ack_ms": steady.ack.json(),
        "relay_cpu_pct": round(steady.relay_cpu_pct),
        "rss_per_edge_kib": round(steady.rss_per_edge_kib),
        "reconnect_all_s": round(reconnect_max),
        "reconnects_s": reconnects.iter().map(|s| round(*s)).collect::<Vec<_>>(),
        "events": { "accepted": lost.accepted, "faults": lost.faults },
        "fleet": {
            "edges": edges,
            "events_per_s_each": EVENTS_PER_S,
            "steady_s": STEADY.as_secs(),
            "relay_down_s": DOWN.as_secs(),
            "sim_cpu_pct": round(steady.sim_cpu_pct),
            "relay_rss_idle_kib": idle_kib,
            "relay_rss_steady_kib": steady.rss_kib,
        },
        "bars": bars.iter().map(Bar::json).collect::<Vec<Value>>(),
        "conditions": conditions.at_end(),
    });
    let text = format!("{result:#}\n");
    if words.is_empty() {
        let file = out.join("fleet.json");
        std::fs::write(&file, &text).map_err(|e| format!("{}: {e}", file.display()))?;
        println!("written to {}", file.display());
    } else {
        println!("{text}not written: {edges} edges are not {EDGES}");
    }
    bars.iter().for_each(|bar| println!("{bar}"));
    fleet.leave().await;
    if lost.faults.is_empty() { Ok(()) } else { Err(format!("{} faults of the record", lost.faults.len())) }
}

struct Steady {
    ack: Summary,
    relay_cpu_pct: f64,
    sim_cpu_pct: f64,
    rss_kib: u64,
    rss_per_edge_kib: f64,
}

async fn steady(relay: &Relay, fleet: &Fleet, idle_kib: u64) -> Result<Steady, String> {
    let edges = fleet.members().len();
    tokio::time::sleep(SETTLES).await;
    drop(fleet.waits().take());
    let (began, me) = (Instant::now(), std::process::id());
    let before = (relay.cpu_time()?, process::cpu_time(me)?);
    tokio::time::sleep(STEADY).await;
    let (wall, after) = (began.elapsed(), (relay.cpu_time()?, process::cpu_time(me)?));
    let waits: Vec<f64> = fleet.waits().take().into_iter().map(f64::from).collect();
    // A tenth may be on the way; fewer would mean that edges were silent.
    let due = (edges as f64 * EVENTS_PER_S * STEADY.as_secs_f64() * 0.9) as usize;
    let pct = |cpu: Duration| cpu.as_secs_f64() / wall.as_secs_f64() * 100.0;
    let rss_kib = relay.rss_kib()?;
    let steady = Steady {
        ack: Summary::of(waits, due)?,
        relay_cpu_pct: pct(after.0 - before.0),
        sim_cpu_pct: pct(after.1 - before.1),
        rss_kib,
        rss_per_edge_kib: rss_kib.saturating_sub(idle_kib) as f64 / edges as f64,
    };
    println!(
        "steady: ack p50 {:.1} ms, p99 {:.1} ms; relay {:.1} % CPU, {:.1} KiB an edge; the fleet itself {:.1} % CPU",
        steady.ack.p50, steady.ack.p99, steady.relay_cpu_pct, steady.rss_per_edge_kib, steady.sim_cpu_pct
    );
    Ok(steady)
}

/// From when the relay listens again until all are linked again, in seconds.
async fn reconnects(relay: &mut Relay, fleet: &Fleet) -> Result<Vec<f64>, String> {
    let mut took = Vec::with_capacity(KILLS);
    for _ in 0..KILLS {
        let links = fleet.links();
        relay.kill();
        tokio::time::sleep(DOWN).await;
        let listens = relay.start_again().await;
        all_linked(fleet, &links).await;
        took.push(listens.elapsed().as_secs_f64());
        println!("killed, {} s down: all linked {:.2} s after it listens", DOWN.as_secs(), took[took.len() - 1]);
        tokio::time::sleep(BETWEEN_KILLS).await;
    }
    Ok(took)
}

struct Lost {
    accepted: u64,
    faults: Vec<String>,
}

/// What is wrong with the record once everything is acknowledged.
async fn lost(relay: &Relay, fleet: &Fleet) -> Result<Lost, String> {
    fleet.rest();
    wait_for("everything is acknowledged", LINKED_WITHIN, async || match fleet.unsettled() {
        0 => Ok(()),
        edges => Err(format!("{edges} edges have something to tell")),
    })
    .await;
    let (accepted, _) = fleet.entries();
    let faults = [fleet.faults(), fleet.record_faults(&relay.operator()).await?].concat();
    println!("{accepted} events accepted; {} faults", faults.len());
    Ok(Lost { accepted, faults })
}

async fn all_linked(fleet: &Fleet, since: &[u64]) {
    const LOOK_EVERY: Duration = Duration::from_millis(10);
    let began = Instant::now();
    while fleet.linked_since(since) < fleet.members().len() {
        let why = || fleet.members().iter().map(|member| member.book.lost()).find(|lost| !lost.is_empty());
        assert!(began.elapsed() < LINKED_WITHIN, "only {} are linked: {:?}", fleet.linked_since(since), why());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `target/bench`, wherever the target directory is: this program lies in `<target>/<profile>/deps`.
fn bench_dir() -> Result<PathBuf, String> {
    let target = programs::dir().parent().map(Path::to_path_buf);
    let dir = target.ok_or("this program is not in a target directory; use cargo bench")?.join("bench");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}
