//! Events made durable by the outbox, against the same disk alone.
//!
//!   64 producers ──push──▶ [outbox] ──▶ redb      acks 1,000 behind, as when a relay is linked
//!   64 producers ──1 KiB─▶ [thread] ──▶ append, fdatasync     what the disk can do at best
//!
//! Both group what waits into one write. The two take turns in one run, since a neighbour on the disk
//! changes everything; the result is the median of the rounds. Writes `target/bench/outbox.json` and
//! fails below the bar.

use actors::events::outbox::Outbox;
use protocol::codec::encode;
use protocol::{Entry, Epoch, Event, EventId, Evidence, Phase, Timestamp};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use supervision::{Intensity, Roll, Root, Strategy, Tree};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

const PRODUCERS: usize = 64;
const RECORD_BYTES: usize = 1024;
/// What an entry of these events has beside its label; checked before the first round.
const ENTRY_BYTES_WITHOUT_LABEL: usize = 122;
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 5;
/// Before a round counts: files have grown and pages are in memory.
const WARM_UP: Duration = Duration::from_millis(500);
/// How far acknowledgements trail what is accepted.
const ACK_BEHIND: u64 = 1000;
/// The outbox makes at least this share of what the disk does alone.
const BAR: f64 = 0.5;

/// What one round did.
struct Round {
    per_s: f64,
    /// From push to answer, of each push.
    ack_us: Vec<u32>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(measure()) {
        Ok(ratio) if ratio >= BAR => ExitCode::SUCCESS,
        Ok(ratio) => {
            eprintln!("below the bar: {ratio:.2} of the disk alone, {BAR} is due");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("not measured: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<f64, String> {
    let out = bench_dir()?;
    let filesystem = filesystem_of(&out);
    if ["tmpfs", "ramfs"].contains(&filesystem.as_str()) {
        return Err(format!("{} is {filesystem}, which is memory; set CARGO_TARGET_DIR to a disk", out.display()));
    }
    let conditions = conditions(&out, &filesystem)?;
    let (mut durable, mut raw, mut ack_us) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=ROUNDS {
        let dir = out.join(format!("round-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let round = durable_round(&dir.join("outbox.redb")).await;
        durable.push(round.per_s);
        ack_us.extend(round.ack_us);
        raw.push(raw_round(&dir.join("raw.log")).await.per_s);
        fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        println!("round {n} of {ROUNDS}: outbox {:.0}/s, disk alone {:.0}/s", durable[n - 1], raw[n - 1]);
    }
    ack_us.sort_unstable();
    let (durable_per_s, raw_per_s) = (median(&durable), median(&raw));
    let ratio = durable_per_s / raw_per_s;
    let result = json!({
        "durable_per_s": durable_per_s.round(),
        "raw_per_s": raw_per_s.round(),
        "ratio": (ratio * 100.0).round() / 100.0,
        "ack_ms": { "p50": percentile_ms(&ack_us, 50), "p99": percentile_ms(&ack_us, 99) },
        "rounds": { "durable_per_s": durable, "raw_per_s": raw },
        "conditions": conditions,
        "load_average_after": load_average(),
    });
    let file = out.join("outbox.json");
    fs::write(&file, format!("{result:#}\n")).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("{result:#}\nwritten to {}", file.display());
    Ok(ratio)
}

/// All that a figure needs to be compared with another.
fn conditions(out: &Path, filesystem: &str) -> Result<Value, String> {
    let entry = Entry { epoch: Epoch::random(), seq: 100_000, accepted: Timestamp::now(), event: event(0, 400_000) };
    let entry_bytes = encode(&entry).len();
    if entry_bytes.abs_diff(RECORD_BYTES) > 8 {
        return Err(format!("an entry has {entry_bytes} B: correct ENTRY_BYTES_WITHOUT_LABEL"));
    }
    Ok(json!({
        "producers": PRODUCERS,
        "record_bytes": entry_bytes,
        "seconds": ROUND.as_secs(),
        "rounds": ROUNDS,
        "ack_behind": ACK_BEHIND,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "path": out,
        "filesystem": filesystem,
        "redb": redb_version(),
        "load_average": load_average(),
    }))
}

async fn durable_round(path: &Path) -> Round {
    let outbox = Outbox::new();
    let children = vec![outbox.child(path.to_owned(), NonZeroU64::MAX)];
    let intensity = Intensity { restarts: 0, within: Duration::from_secs(1) };
    let tree = Tree { name: "bench".to_owned(), strategy: Strategy::OneForOne, intensity, children };
    let root = Root::start(tree, Roll::default()).await.expect("the outbox starts");
    let acker = tokio::spawn(ack_behind(outbox.clone()));
    let pusher = outbox.clone();
    let round = produce(move |producer, n| {
        let outbox = pusher.clone();
        async move {
            outbox.push(event(producer, n)).await.expect("the outbox accepts");
        }
    })
    .await;
    acker.abort();
    root.stop().await;
    round
}

async fn ack_behind(outbox: Outbox) {
    let mut newest = outbox.newest();
    while newest.changed().await.is_ok() {
        let through = newest.borrow_and_update().saturating_sub(ACK_BEHIND);
        outbox.ack(through).await.expect("the outbox listens");
    }
}

type Handed = (Vec<u8>, oneshot::Sender<()>);

async fn raw_round(path: &Path) -> Round {
    let (to_writer, from_producers) = mpsc::channel(PRODUCERS);
    let file = File::create_new(path).expect("the directory is new");
    let writer = std::thread::spawn(move || write_groups(file, from_producers));
    let round = produce(move |producer, _| {
        let to_writer = to_writer.clone();
        async move {
            let (reply, written) = oneshot::channel();
            to_writer.send((vec![producer as u8; RECORD_BYTES], reply)).await.expect("the writer runs");
            written.await.expect("the writer answers");
        }
    })
    .await;
    writer.join().expect("the writer ends");
    round
}

fn write_groups(mut file: File, mut from_producers: mpsc::Receiver<Handed>) {
    let (mut bytes, mut replies) = (Vec::new(), Vec::new());
    while let Some(first) = from_producers.blocking_recv() {
        // As the outbox does: those just answered may have more.
        std::thread::yield_now();
        let mut next = Some(first);
        while let Some((record, reply)) = next {
            bytes.extend_from_slice(&record);
            replies.push(reply);
            next = from_producers.try_recv().ok();
        }
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the disk takes it");
        bytes.clear();
        for reply in replies.drain(..) {
            let _ = reply.send(());
        }
    }
}

/// Lets all producers push, one event after the other, until the round is over.
async fn produce<F, Fut>(push: F) -> Round
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let counted_from = Instant::now() + WARM_UP;
    let end = counted_from + ROUND;
    let mut producers = JoinSet::new();
    for producer in 0..PRODUCERS {
        let push = push.clone();
        producers.spawn(async move {
            let mut ack_us = Vec::new();
            for n in 0.. {
                let began = Instant::now();
                push(producer, n).await;
                match Instant::now() {
                    now if now >= end => break,
                    now if began >= counted_from => ack_us.push(now.duration_since(began).as_micros() as u32),
                    _ => {}
                }
            }
            ack_us
        });
    }
    drop(push);
    let ack_us = producers.join_all().await.concat();
    Round { per_s: ack_us.len() as f64 / ROUND.as_secs_f64(), ack_us }
}

/// Four a track, as the tracker makes them: start, two updates, end. Padded to a record's size.
fn event(producer: usize, n: u64) -> Event {
    let (begin, revision) = (Timestamp::now(), (n % 4) as u32);
    let phase = [Phase::Start, Phase::Update, Phase::Update, Phase::End][revision as usize];
    let track = u128::from(n / 4);
    Event {
        id: EventId(track << 80 | 0xfeed_0000_0000 | producer as u128),
        camera: format!("camera-{producer:02}").parse().expect("is a name"),
        phase,
        revision,
        label: PADDING.clone(),
        evidence: Evidence::Model { model: "yolo-nas-s".to_owned(), node: "brain-1".to_owned() },
        score: 0.87,
        top_score: 0.87,
        area: [0.1, 0.2, 0.3, 0.4],
        begin,
        end: begin,
        reason: None,
        zones: Vec::new(),
        has_clip: false,
        has_snapshot: false,
    }
}

/// A label that makes an entry as long as a record. Of long characters: labels are cut at 300 of them.
static PADDING: LazyLock<String> = LazyLock::new(|| {
    // An empty entry's numbers and names, and the label's length.
    let missing = RECORD_BYTES - ENTRY_BYTES_WITHOUT_LABEL;
    format!("{}{}", "\u{1d11e}".repeat(missing / 4), "x".repeat(missing % 4))
});

/// `target/bench`, wherever the target directory is: this program lies in `<target>/release/deps`.
fn bench_dir() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = program.ancestors().nth(3).ok_or("this program is not in a target directory; use cargo bench")?;
    let dir = target.join("bench");
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}

/// The type of the file system that holds `dir`, by the longest mount point above it.
fn filesystem_of(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = |line: &str| -> Option<(usize, String)> {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then(|| (point.len(), kind.to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map_or("unknown".to_owned(), |(_, kind)| kind)
}

fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn redb_version() -> Option<&'static str> {
    let (_, from_redb) = include_str!("../../Cargo.lock").split_once("name = \"redb\"\nversion = \"")?;
    from_redb.split('"').next()
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn percentile_ms(sorted_us: &[u32], percent: usize) -> f64 {
    let index = (sorted_us.len() * percent / 100).min(sorted_us.len().saturating_sub(1));
    sorted_us.get(index).map_or(f64::NAN, |&us| f64::from(us) / 1000.0)
}
