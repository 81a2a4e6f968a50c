//! Truth: six people walk by, one after the other; six events say so, each at its time, in whichever gear the camera is.

use protocol::{Event, Phase};
use std::time::Duration;
use tests::harness::{CameraServer, Cluster, Counters, Plan, assets};

const SEED: u64 = 50;
/// Of begin and end, in seconds.
const TOLERANCE_S: f64 = 1.0;
/// The video lasts two minutes.
const VIDEO_WITHIN: Duration = Duration::from_secs(200);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
const SCENE_WITHIN: Duration = Duration::from_secs(150);
/// Cameras at one server: one is always awake, the others idle whenever they may.
const AWAKE: &str = "awake";
const THRIFTY: &str = "thrifty";
/// Edges that look at the same: one is woken by sizes and by key frames, the other by key frames alone.
const EDGES: [&str; 2] = ["yard", "field"];

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
    let mut site = twice(plan, EDGES[0], camera.url(), "labels = [\"person\"]").start();
    site.ready().await;
    let first_us = camera.first_frame_us().await;
    site.eventually("the video was played", VIDEO_WITHIN, async |_| camera.fact("ended")).await;
    let [awake, thrifty] = by_camera(&ended(&mut site, &EDGES[..1]).await, EDGES[0]);
    says_so(&intervals, first_us, &awake);
    // Its pauses are short: whether it idles in them is up to it, what it finds is not.
    says_so(&intervals, first_us, &thrifty);
    println!("woken {} times", wakes(&site, EDGES[0], THRIFTY).await);
}

#[tokio::test]
async fn what_is_found_in_the_idle_gear_is_what_full_decoding_finds() {
    let pauses = ["--objects", "1", "--lifetime-s", "5", "--pause-s", "8", "--length-s", "100"];
    let scene = ["--once", "--prepare", "--gop-s", "4"].into_iter().chain(pauses).collect::<Vec<_>>();
    let camera = CameraServer::start(&scene).await;
    let visits = camera.fact("ready").expect("it is ready")["visits"].as_array().expect("a list").len();
    let plan = Plan::new(SEED + 1).relay("hub").gpu("engine", &["squares"]);
    let plan = EDGES.iter().fold(plan, |plan, edge| twice(plan, edge, camera.url(), ""));
    let mut site = plan.set(EDGES[1], "gears.size_ratio", 0.0).start();
    site.ready().await;
    site.eventually("the scene was played", SCENE_WITHIN, async |_| camera.fact("ended")).await;
    let found = ended(&mut site, &EDGES).await;
    for edge in EDGES {
        let [awake, thrifty] = by_camera(&found, edge);
        println!("{edge}: {visits} visits, {} events awake, {} where it idles", awake.len(), thrifty.len());
        let labels = |events: &[Event]| events.iter().map(|event| event.label.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&awake), labels(&thrifty));
        assert!(awake.len() + 1 >= visits, "{} events for {visits} visits", awake.len());
        for (one, other) in awake.iter().zip(&thrifty) {
            let off_s = (other.begin.micros() - one.begin.micros()) as f64 / 1e6;
            println!("    {}: {off_s:.2} s later", one.label);
            assert!(off_s.abs() <= TOLERANCE_S, "{off_s:.2} s between {one:?} and {other:?}");
        }
        idled(&site, edge).await;
    }
}

/// An edge that looks twice at one camera, in two ways.
fn twice(plan: Plan, edge: &str, url: &str, more: &str) -> Plan {
    let plan = plan.edge(edge).set(edge, "gears.idle_after_s", 1);
    let plan = plan.camera_with(edge, AWAKE, url, &format!("gear = \"awake\"\n{more}"));
    plan.camera_with(edge, THRIFTY, url, more)
}

/// What was seen, in the order of its begin, once all of it has ended and is on the record; and by which edge.
async fn ended(site: &mut Cluster, edges: &[&str]) -> Vec<(String, Event)> {
    let mut events = site
        .eventually("all events have ended", SETTLED_WITHIN, async |site| {
            for edge in edges {
                let (accepted, acked) = site.node(edge).outbox().await?;
                if accepted != acked {
                    return Err(format!("{edge}: {acked} of {accepted} are on the record"));
                }
            }
            let events = site.operator().events().await?.into_iter();
            let events = events.filter(|recorded| !recorded.event.tells_of_coverage());
            let events: Vec<_> = events.map(|recorded| (recorded.edge.to_string(), recorded.event)).collect();
            let open = events.iter().filter(|(_, event)| event.phase != Phase::End).count();
            if open == 0 { Ok(events) } else { Err(format!("{open} open")) }
        })
        .await;
    events.sort_by_key(|(_, event)| event.begin);
    events
}

fn by_camera(found: &[(String, Event)], edge: &str) -> [Vec<Event>; 2] {
    [AWAKE, THRIFTY].map(|camera| {
        let is_it = |(by, event): &&(String, Event)| by == edge && event.camera.as_str() == camera;
        found.iter().filter(is_it).map(|(_, event)| event.clone()).collect()
    })
}

/// The comparison says something only if one of them did idle.
async fn idled(site: &Cluster, edge: &str) {
    let [thrifty, awake] = [wakes(site, edge, THRIFTY).await, wakes(site, edge, AWAKE).await];
    println!("{edge}: woken {thrifty} times, and {awake} where it is always awake");
    assert!(thrifty >= 2.0 && awake == 0.0);
}

async fn wakes(site: &Cluster, edge: &str, camera: &str) -> f64 {
    let counters = Counters::read(site, edge).await.expect("it answers");
    counters.sum("watchtree_camera_wakes_total", &[&format!("camera=\"{camera}\"")])
}

fn says_so(intervals: &[[f64; 2]], first_us: i64, people: &[Event]) {
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
