//! The main job on real input: a square passes before a camera, and is on the relay's record.

use protocol::admin::RecordedEvent;
use protocol::{EndReason, EventId, Evidence, Phase};
use std::time::Duration;
use tests::harness::{CameraServer, Plan, http};

const SEED: u64 = 20;

/// A square's first visit begins within a few seconds and lasts some more, and so does each that follows.
const EVENT_WITHIN: Duration = Duration::from_secs(60);
/// So many visits are held against what the camera showed.
const VISITS: usize = 3;
/// Of begin and end: for the frame rate and for what edges hide.
const USUALLY_OFF_S_MAX: f64 = 1.0;
/// On a machine that stood still meanwhile.
const OFF_S_MAX: f64 = 3.0;

#[tokio::test]
async fn a_square_before_the_camera_becomes_an_event_that_the_gpu_node_labelled() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "1", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let mut site = plan.camera("yard", "front-door", camera.url()).start();
    site.ready().await;
    let events = site
        .eventually("as many events have ended", EVENT_WITHIN, async |site| {
            let events = site.operator().events().await?.into_iter();
            // What moved before the gpu node was linked is told as motion.
            let judged = events.filter(|event| matches!(event.event.evidence, Evidence::Model { .. }));
            let ended: Vec<_> = judged.filter(|event| event.event.phase == Phase::End).take(VISITS).collect();
            if ended.len() == VISITS { Ok(ended) } else { Err(format!("{} have", ended.len())) }
        })
        .await;
    for RecordedEvent { edge, event, .. } in &events {
        assert_eq!((edge.as_str(), event.camera.as_str()), ("yard", "front-door"));
        assert_eq!(event.label, "red", "the only square is red");
        assert_eq!(event.evidence, Evidence::Model { model: "squares".to_owned(), node: "engine".to_owned() });
        assert_eq!(event.reason, Some(EndReason::Left));
        assert!(event.score > 0.5 && event.area.iter().all(|side| (0.0..=1.0).contains(side)), "{event:?}");
    }
    let off_s = off_s(&camera, &events).await;
    println!("begin and end are off by at most {off_s:.2?} s");
    assert!(off_s.iter().all(|off| *off < OFF_S_MAX), "off by {off_s:?} s");
    let usual = off_s.iter().filter(|off| **off < USUALLY_OFF_S_MAX).count();
    assert!(usual + 1 >= VISITS, "off by {off_s:?} s");
}

/// When a square came and went is known: by how much each event is off its nearest visit, at its worse end.
async fn off_s(camera: &CameraServer, events: &[RecordedEvent]) -> Vec<f64> {
    let told = camera.fact("ready").expect("it told its visits");
    let first_us = camera.first_frame_us().await;
    let visits = told["visits"].as_array().expect("a list");
    let visits: Vec<[f64; 2]> =
        visits.iter().map(|visit| ["begin_us", "end_us"].map(|key| visit[key].as_f64().expect("a number"))).collect();
    let off = |event: &RecordedEvent, visit: &[f64; 2]| {
        let at = [event.event.begin, event.event.end].map(|at| (at.micros() - first_us) as f64);
        (at[0] - visit[0]).abs().max((at[1] - visit[1]).abs()) / 1e6
    };
    events.iter().map(|event| visits.iter().map(|visit| off(event, visit)).fold(f64::MAX, f64::min)).collect()
}

#[tokio::test]
async fn an_edge_without_a_gpu_node_reports_motion_and_says_that_it_does() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "1", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").edge("yard").camera("yard", "front-door", camera.url());
    let mut site = plan.start();
    site.ready().await;
    let event = site
        .eventually("an event is on the record", EVENT_WITHIN, async |site| {
            let events = site.operator().events().await?.into_iter();
            let mut seen = events.filter(|event| !event.event.tells_of_coverage());
            seen.next_back().ok_or("no event".to_owned())
        })
        .await;
    assert_eq!((event.event.label.as_str(), event.event.evidence), ("motion", Evidence::Motion));
    let deep = http::get(site.node("yard").http, "/health/deep").await.expect("it answers").body;
    assert!(deep.contains("motion alone"), "{deep}");
}

#[tokio::test]
async fn every_node_answers_for_its_health_and_counts_what_it_did() {
    let camera = CameraServer::start(&["--gop-s", "0.5"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let mut site = plan.camera("yard", "front-door", camera.url()).start();
    site.ready().await;
    for name in ["hub", "engine", "yard"] {
        let addr = site.node(name).http;
        let running = format!("watchtree_actors{{node=\"{name}\",state=\"running\"}}");
        for path in ["/health", "/health/live", "/health/ready", "/health/deep", "/metrics", "/api/v1/tree"] {
            site.eventually(&format!("{name} answers {path}"), EVENT_WITHIN, async |_| {
                let answer = http::get(addr, path).await?;
                let has = path != "/metrics" || answer.body.contains(&running);
                if answer.status == 200 && has { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.body)) }
            })
            .await;
        }
    }
    // The relay sees all three, through the links that they made to it.
    site.eventually("the relay shows all three trees", EVENT_WITHIN, async |site| {
        let trees = site.operator().trees().await?;
        let names: Vec<String> = trees.iter().map(|tree| tree.node.to_string()).collect();
        if trees.len() == 3 { Ok(()) } else { Err(names.join(", ")) }
    })
    .await;
}

/// What `GET /api/v1/events` answers.
#[derive(serde::Deserialize)]
struct Page {
    events: Vec<RecordedEvent>,
    next: Option<EventId>,
}

#[tokio::test]
async fn the_record_is_read_over_http_by_camera_label_and_time_page_by_page() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "2"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let mut site = plan.camera("yard", "front-door", camera.url()).start();
    site.ready().await;
    let all = site.eventually("four events have ended", EVENT_WITHIN, async |site| {
        let events = site.operator().events().await?;
        let ended = events.iter().filter(|event| event.event.phase == Phase::End).count();
        if ended >= 4 { Ok(events) } else { Err(format!("{ended} have ended")) }
    });
    let all = all.await;
    site.node_mut("yard").terminate().await;
    let hub = site.node("hub").http;
    let page =
        async |query: &str| http::get_json::<Page>(hub, &format!("/api/v1/events?{query}")).await.expect("a page");

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = page(&format!("limit=1{cursor}")).await;
        assert!(page.events.len() <= 1);
        paged.extend(page.events.into_iter().map(|event| event.event));
        let Some(next) = page.next else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(paged.len() >= all.len(), "{} pages for {} events", paged.len(), all.len());
    assert!(paged.is_sorted_by_key(|event| event.begin), "oldest first");

    let red = page("label=red&camera=front-door").await.events;
    assert_eq!(red.len(), paged.iter().filter(|event| event.label == "red").count());
    assert!(red.iter().all(|event| event.event.label == "red"));
    assert!(page("camera=back-door").await.events.is_empty());
    // Some may have begun in one frame.
    let from = paged.iter().map(|event| event.begin).find(|begin| *begin > paged[0].begin).expect("not all did");
    let later = page(&format!("from={from}")).await.events;
    let wanted = paged.iter().filter(|event| event.begin >= from).count();
    assert!(later.iter().all(|event| event.event.begin >= from) && later.len() == wanted, "{later:?}");
    for (query, named) in [("limit=0", "limit"), ("from=yesterday", "RFC 3339"), ("colour=red", "parameters are")] {
        let answer = http::get(hub, &format!("/api/v1/events?{query}")).await.expect("it answers");
        assert!(answer.status == 400 && answer.body.contains(named), "{query}: {} {}", answer.status, answer.body);
    }
}
