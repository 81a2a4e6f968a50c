//! Truth: six people walk by, one after the other; six events say so, each at its time.

use protocol::{Event, Phase};
use std::time::Duration;
use tests::harness::{CameraServer, Plan, assets};

const SEED: u64 = 50;
/// Of begin and end, in seconds.
const TOLERANCE_S: f64 = 1.0;
/// The video lasts two minutes.
const VIDEO_WITHIN: Duration = Duration::from_secs(200);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn six_people_who_walk_by_are_six_events_each_at_its_time() {
    let Some(assets) = assets::or_skip("truth") else { return };
    let Some(reference) = &assets.reference else {
        return eprintln!("SKIPPED truth: no reference_yolox_nano.json beside the weights");
    };
    let reference = std::fs::read(reference).expect("it is there");
    let reference: serde_json::Value = serde_json::from_slice(&reference).expect("it is JSON");
    let video = &reference["videos"][0];

    let file = assets.walkway.display().to_string();
    let camera = CameraServer::start(&["--file", &file, "--once", "--prepare", "--gop-s", "1"]).await;
    let length_us = camera.fact("ready").expect("it is ready")["length_us"].as_f64().expect("it is encoded");
    let frame_s = length_us / 1e6 / video["frames_total"].as_f64().expect("a number");
    let intervals = video["presence_intervals"].as_array().expect("a list").iter();
    let intervals: Vec<[f64; 2]> = intervals.map(|frames| [0, 1].map(|side| seconds(&frames[side], frame_s))).collect();

    let models = assets.models.display().to_string();
    let plan =
        Plan::new(SEED).relay("hub").gpu("engine", &["yolox-nano"]).environment("engine", "WATCHTREE_MODELS", &models);
    let plan =
        plan.edge("yard").camera("yard", "walkway", camera.url()).set("yard", "cameras.0.labels", vec!["person"]);
    let mut site = plan.start();
    site.ready().await;
    let first_us = camera.first_frame_us().await;
    site.eventually("the video was played", VIDEO_WITHIN, async |_| camera.fact("ended")).await;
    let people = site
        .eventually("all events have ended", SETTLED_WITHIN, async |site| {
            let (accepted, acked) = site.node("yard").outbox().await?;
            let events = site.operator().events().await?.into_iter().map(|event| event.event);
            let events: Vec<Event> = events.filter(|event| !event.tells_of_coverage()).collect();
            let open = events.iter().filter(|event| event.phase != Phase::End).count();
            if open == 0 && accepted == acked { Ok(events) } else { Err(format!("{open} open, {accepted}/{acked}")) }
        })
        .await;

    let at_s = |us: i64| (us - first_us) as f64 / 1e6;
    let mut found: Vec<[f64; 2]> = people.iter().map(|e| [at_s(e.begin.micros()), at_s(e.end.micros())]).collect();
    found.sort_by(|a, b| a[0].total_cmp(&b[0]));
    println!("wanted {intervals:.2?}\nfound  {found:.2?}");
    assert!(people.iter().all(|event| event.label == "person"), "{people:?}");
    assert_eq!(found.len(), intervals.len());
    for (wanted, found) in intervals.iter().zip(&found) {
        let off = [found[0] - wanted[0], found[1] - wanted[1]];
        assert!(off.iter().all(|off| off.abs() <= TOLERANCE_S), "{found:.2?} is off by {off:.2?} s");
    }
}

fn seconds(frame: &serde_json::Value, frame_s: f64) -> f64 {
    frame.as_f64().expect("a frame's number") * frame_s
}
