//! The main job on real input: a square passes before a camera, and is on the relay's record.

use protocol::admin::RecordedEvent;
use protocol::{EndReason, EventId, Evidence, Phase};
use std::time::Duration;
use tests::harness::{CameraServer, Plan, http};

const SEED: u64 = 20;

/// A square's first visit begins within a few seconds and lasts some more.
const EVENT_WITHIN: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_square_before_the_camera_becomes_an_event_that_the_gpu_node_labelled() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "1", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let mut site = plan.camera("yard", "front-door", camera.url()).start();
    site.ready().await;
    let event = site
        .eventually("an event has ended", EVENT_WITHIN, async |site| {
            let events = site.operator().events().await?;
            let seen = format!("{} events", events.len());
            events.into_iter().find(|event| event.event.phase == Phase::End).ok_or(seen)
        })
        .await;
    assert_eq!((event.edge.as_str(), event.event.camera.as_str()), ("yard", "front-door"));
    let event = event.event;
    assert_eq!(event.label, "red", "the first square is red");
    assert_eq!(event.evidence, Evidence::Model { model: "squares".to_owned(), node: "engine".to_owned() });
    assert_eq!(event.reason, Some(EndReason::Left));
    assert!(event.score > 0.5 && event.area.iter().all(|side| (0.0..=1.0).contains(side)), "{event:?}");

    // When it came and went is known: a second to either side for the frame rate and for what edges hide.
    let visits = camera.fact("ready").expect("it told its visits");
    let first_us = camera.first_frame_us().await;
    let visit = &visits["visits"][0];
    let at_s = |us: i64| (us - first_us) as f64 / 1e6;
    let (begin_s, end_s) = (at_s(event.begin.micros()), at_s(event.end.micros()));
    let told_s = |key: &str| visit[key].as_f64().expect("a number") / 1e6;
    let off = (begin_s - told_s("begin_us"), end_s - told_s("end_us"));
    assert!(off.0.abs() < 1.0 && off.1.abs() < 1.0, "begin and end are off by {off:?} s");
}

#[tokio::test]
async fn an_edge_without_a_gpu_node_reports_motion_and_says_that_it_does() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "1", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").edge("yard").camera("yard", "front-door", camera.url());
    let mut site = plan.start();
    site.ready().await;
    let event = site
        .eventually("an event is on the record", EVENT_WITHIN, async |site| {
            site.operator().events().await?.pop().ok_or("no event".to_owned())
        })
        .await;
    assert_eq!((event.event.label.as_str(), event.event.evidence), ("motion", Evidence::Motion));
    let deep = tests::harness::http::get(site.node("yard").http, "/health/deep").await.expect("it answers").body;
    assert!(deep.contains("motion alone"), "{deep}");
}

#[tokio::test]
async fn every_node_answers_for_its_health_and_counts_what_it_did() {
    let camera = CameraServer::start(&["--gop-s", "0.5"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let mut site = plan.camera("yard", "front-door", camera.url()).start();
    site.ready().await;
    for name in ["hub", "engine", "yard"] {
        let http = site.node(name).http;
        for path in ["/health", "/health/live", "/health/ready", "/health/deep", "/metrics", "/api/v1/tree"] {
            let answer = tests::harness::http::get(http, path).await.expect("it answers");
            assert_eq!(answer.status, 200, "{name} {path}: {}", answer.body);
        }
        let metrics = tests::harness::http::get(http, "/metrics").await.expect("it answers").body;
        let running = format!("watchtree_actors{{node=\"{name}\",state=\"running\"}}");
        assert!(metrics.contains(&running), "{metrics}");
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
    let later = page(&format!("from={}", paged[1].begin)).await.events;
    assert!(later.iter().all(|event| event.event.begin >= paged[1].begin) && later.len() < paged.len());
    for (query, named) in [("limit=0", "limit"), ("from=yesterday", "RFC 3339"), ("colour=red", "parameters are")] {
        let answer = http::get(hub, &format!("/api/v1/events?{query}")).await.expect("it answers");
        assert!(answer.status == 400 && answer.body.contains(named), "{query}: {} {}", answer.status, answer.body);
    }
}
