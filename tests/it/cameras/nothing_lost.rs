//! Eight cameras that fail in every way, and an edge that records them: what was delivered is on the disk.
//!
//!   [schedule from the seed] ─▶ cameras ──RTSP──▶ edge ─▶ files ──ffprobe──▶ recorded time
//!                                  └─▶ books ─▶ delivered time ──────────────▶ the same, but for the moments of faults
//!
//! Three minutes; `WATCHTREE_SOAK_SECONDS=3600` makes it the hour.

use super::faults::{Event, Fault, schedule, suffer};
use super::{EDGE, all_seen, label, setting};
use std::path::Path;
use std::time::Duration;
use tests::harness::camera::Deliveries;
use tests::harness::recordings::{self, Take};
use tests::harness::{CameraServer, Cluster, Counters, Plan};
use tests::test_camera::book::now_us;
use tests::test_camera::squares::Rng;

const SEED: u64 = 500;
const SECONDS: usize = 180;
/// Eight encoders and eight ports begin at once.
const SEEN_WITHIN: Duration = Duration::from_secs(90);

const FPS: u64 = 10;
const FRAME: Duration = Duration::from_millis(1000 / FPS);
const GOP: Duration = Duration::from_secs(1);
/// Beside the group of pictures that it hits, what a fault may cost.
const FAULT: Duration = Duration::from_secs(1);
pub const SIZE: &str = "640x360";
pub const OTHER_SIZE: &str = "320x180";

/// More than half of all packets' neighbours: no picture is whole.
const WRECK: &str = "loss 30";
/// Blindness is told within two seconds of the last judged frame; the broken ones before it have to be noticed first.
const BLIND_WITHIN: Duration = Duration::from_secs(10);
const SEES_AGAIN_WITHIN: Duration = Duration::from_secs(40);

struct Spec {
    id: &'static str,
    /// Of the test camera, beside what all have.
    arguments: &'static [&'static str],
    /// Of the edge's configuration.
    toml: &'static str,
    kinds: &'static [Fault],
    /// All of it is recorded.
    whole: bool,
}

const fn spec(
    id: &'static str,
    arguments: &'static [&'static str],
    toml: &'static str,
    kinds: &'static [Fault],
    whole: bool,
) -> Spec {
    Spec { id, arguments, toml, kinds, whole }
}

const CAMERAS: [Spec; 8] = [
    spec("kill", &[], "record = \"all\"", &[Fault::Kill], true),
    spec("hevc", &["--codec", "h265"], "record = \"all\"", &[Fault::Stall, Fault::Kill], true),
    spec("reordered", &["--bframes", "2"], "record = \"all\"", &[Fault::Stall, Fault::Garbage], true),
    spec("resized", &["--size2", OTHER_SIZE], "record = \"all\"", &[Fault::Resize, Fault::Stall], true),
    spec("sound", &["--audio", "aac"], "record = \"all\"", &[Fault::Clock, Fault::Garbage, Fault::Kill], true),
    // A picture in one packet or two: each packet that is lost costs one group of pictures at most.
    spec("udp", &["--kbit-s", "200"], "record = \"all\"\ntransport = \"udp\"", &[Fault::Loss, Fault::Kill], true),
    spec("motion", &["--audio", "pcmu"], "record = \"motion\"", &[Fault::Stall, Fault::Kill, Fault::Clock], false),
    spec("wreck", &[], "record = \"events\"\ntransport = \"udp\"", &[Fault::Loss, Fault::Garbage], false),
];

#[tokio::test]
async fn what_failing_cameras_delivered_is_recorded() {
    let length = Duration::from_secs(setting("WATCHTREE_SOAK_SECONDS", SECONDS) as u64);
    let mut plan = Plan::new(SEED).relay("hub").edge(EDGE);
    let mut cameras = Vec::new();
    for spec in &CAMERAS {
        let scene = ["--size", SIZE, "--fps", "10", "--gop-s", "1", "--length-s", "10", "--lifetime-s", "3"];
        // What is encoded too late would not be sent, and is no fault of the edge's.
        let arguments: Vec<&str> = scene.iter().chain(&["--prepare"]).chain(spec.arguments).copied().collect();
        let camera = CameraServer::start_with_book(&arguments, &plan.dir().join(format!("{}.book", spec.id))).await;
        plan = plan.camera_with(EDGE, spec.id, camera.url(), spec.toml);
        cameras.push(camera);
    }
    let mut site = plan.set(EDGE, "record.segment_s", 20).set(EDGE, "retain.free_min_mib", 64).start();
    site.ready().await;
    let ids = CAMERAS.each_ref().map(|spec| spec.id);
    all_seen(&mut site, &ids, SEEN_WITHIN).await;
    let began_us = now_us();
    let seed = site.seed();
    let suffering = (0..).zip(&CAMERAS).zip(cameras).map(|((nth, spec), camera)| {
        let events = schedule(&mut Rng::new(seed, nth), spec.kinds, length);
        async { (events.clone(), suffer(camera, events).await) }
    });
    let mut suffered = futures_util::future::join_all(suffering).await;
    tokio::time::sleep(remaining(began_us, length)).await;
    let wreck = &mut suffered.last_mut().expect("there are eight").1;
    is_blind_while_wrecked(&mut site, wreck).await;
    let ended_us = now_us();
    site.node_mut(EDGE).terminate().await;
    let dir = site.dir().join(EDGE).join("data/recordings");
    let mut faults = Vec::new();
    for (spec, (events, camera)) in CAMERAS.iter().zip(&suffered) {
        faults.extend(held_against_its_book(spec, events, &camera.deliveries(), &dir, (began_us, ended_us)));
    }
    assert!(faults.is_empty(), "seed {seed}:\n{}", faults.join("\n"));
}

fn remaining(began_us: i64, length: Duration) -> Duration {
    length.saturating_sub(Duration::from_micros(u64::try_from(now_us() - began_us).unwrap_or(0)))
}

/// At 30 % loss nothing is whole, and nobody says that he sees. Then it is whole again.
async fn is_blind_while_wrecked(site: &mut Cluster, camera: &mut CameraServer) {
    let blind = async |site: &Cluster, wanted: f64| {
        let counters = Counters::read(site, EDGE).await?;
        let is = counters.sum("watchtree_camera_blind", &[&label("wreck")]);
        if is == wanted { Ok(()) } else { Err(format!("blind is {is}")) }
    };
    site.eventually("the camera is seen", SEES_AGAIN_WITHIN, async |site| blind(site, 0.0).await).await;
    camera.order(WRECK);
    site.eventually("at 30 % loss the camera is blind", BLIND_WITHIN, async |site| blind(site, 1.0).await).await;
    camera.order("loss 0");
    site.eventually("it sees again", SEES_AGAIN_WITHIN, async |site| blind(site, 0.0).await).await;
}

/// By the wall clock: a file's name begins with the millisecond of its begin.
fn ends_us(take: &Take) -> i64 {
    let name = take.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let from_ms = name.get(..12).and_then(|digits| i64::from_str_radix(digits, 16).ok()).expect("a file's name");
    from_ms * 1000 + take.span.as_micros() as i64
}

/// What is wrong with the recording of one camera.
fn held_against_its_book(
    spec: &Spec,
    events: &[Event],
    book: &Deliveries,
    dir: &Path,
    (began_us, ended_us): (i64, i64),
) -> Vec<String> {
    let files = recordings::files(dir, spec.id);
    let (takes, unreadable): (Vec<_>, Vec<_>) =
        files.iter().map(|file| recordings::probe(file, FRAME)).partition(Result::is_ok);
    let takes: Vec<Take> = takes.into_iter().flatten().collect();
    let mut faults: Vec<String> = unreadable.into_iter().filter_map(Result::err).collect();
    let holds_rubbish = |take: &Take| {
        // The parser keeps parameter sets that were rubbish for as long as the session lasts.
        let mut rubbish = events.iter().filter(|event| event.fault == Fault::Garbage);
        rubbish.any(|event| began_us + (event.at.as_micros() as i64) < ends_us(take))
    };
    for take in &takes {
        // What came is kept, rubbish too: that ffprobe could list the pictures of such a file is all that is asked of it.
        if !holds_rubbish(take) {
            faults.extend(take.faults(FRAME));
        }
    }
    let pictures: usize = takes.iter().map(|take| take.pictures).sum();
    let lasted: Duration = takes.iter().map(|take| take.duration).sum();
    let gaps: Duration = takes.iter().flat_map(|take| &take.gaps).map(|gap| gap.saturating_sub(FRAME)).sum();
    let recorded = FRAME * u32::try_from(pictures).expect("an hour has 36,000");
    let delivered = book.time(began_us, ended_us);
    // Its begin and its end are two.
    let hits = u32::try_from(events.len() + 2).expect("few");
    let rubbish: Duration =
        events.iter().filter(|event| event.fault == Fault::Garbage).map(|event| event.until - event.at).sum();
    // A lost packet spoils no more than the rest of its group of pictures.
    let spoiled = GOP * u32::try_from(book.dropped).unwrap_or(u32::MAX);
    println!(
        "{:10} {:2} faults, {} packets lost: delivered {delivered:.1?}, recorded {recorded:.1?} in {} files \
         that last {lasted:.1?}, of it {gaps:.1?} of gaps",
        spec.id,
        events.len(),
        book.dropped,
        takes.len(),
    );
    if takes.is_empty() {
        faults.push("nothing is recorded".to_owned());
    }
    let before = Duration::from_micros(u64::try_from(began_us - book.states[0].0).unwrap_or(0));
    let lost = delivered.saturating_sub(recorded);
    if spec.whole && lost > (GOP + FAULT) * hits + spoiled {
        faults.push(format!("{lost:.1?} of what was delivered is not recorded, after {} faults", events.len()));
    }
    let too_much = recorded.saturating_sub(delivered + before + rubbish);
    if too_much > (GOP + FAULT) * hits {
        faults.push(format!("{too_much:.1?} are recorded that were never delivered"));
    }
    faults.into_iter().map(|fault| format!("{}: {fault}", spec.id)).collect()
}
