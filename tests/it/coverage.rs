//! Blindness is said: as an event, on a timeline, and by the edge itself; over a crash of the node too.

use protocol::Phase;
use protocol::admin::RecordedEvent;
use protocol::timeline::{Interval, Sight, Timeline};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tests::harness::{CameraServer, Cluster, Plan, http};

const SEED: u64 = 50;
const WITHIN: Duration = Duration::from_secs(40);

#[derive(Deserialize)]
struct Told {
    timelines: Vec<Timeline>,
}

async fn coverage_events(site: &Cluster) -> Result<Vec<RecordedEvent>, String> {
    let events = site.operator().events().await?;
    Ok(events.into_iter().filter(|event| event.event.tells_of_coverage()).collect())
}

/// What the node at `name` tells of the front door; without a gap, whoever tells it.
async fn timeline(site: &Cluster, name: &str) -> Result<Vec<Interval>, String> {
    let path = "/api/v1/timeline?camera=yard/front-door";
    let told: Told = http::get_json(site.node(name).http, path).await?;
    let [line] = &told.timelines[..] else { return Err(format!("{} timelines", told.timelines.len())) };
    let ends = (line.intervals.first().map(|first| first.from), line.intervals.last().map(|last| last.to));
    assert_eq!(ends, (Some(line.from), Some(line.to)));
    assert!(line.intervals.windows(2).all(|pair| pair[0].to == pair[1].from), "{line:?}");
    Ok(line.intervals.clone())
}

fn has(intervals: &[Interval], state: Sight, reason: &str) -> Result<(), String> {
    let is_it = |interval: &&Interval| {
        interval.state == state && interval.reason.as_deref().unwrap_or_default().contains(reason)
    };
    intervals.iter().find(is_it).map(drop).ok_or_else(|| format!("{intervals:?}"))
}

#[tokio::test]
async fn a_camera_that_nobody_sees_is_told_of_until_somebody_does_and_so_is_a_node_that_was_down() {
    let mut camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "1", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").edge("yard").camera("yard", "front-door", camera.url());
    let mut site = plan.start();
    site.ready().await;
    site.eventually("the first look of all is over and on the record", WITHIN, async |site| {
        let events = coverage_events(site).await?;
        let first = events.first().ok_or("none")?;
        if first.event.phase == Phase::End { Ok(()) } else { Err(format!("{first:?}")) }
    })
    .await;
    site.eventually("the relay and the edge know of coverage", WITHIN, async |site| {
        for node in ["hub", "yard"] {
            has(&timeline(site, node).await?, Sight::Covered, "")?;
        }
        Ok(())
    })
    .await;

    camera.quit();
    let blind = site
        .eventually("the camera is blind, and an event says so", WITHIN, async |site| {
            let events = coverage_events(site).await?;
            let open = events.into_iter().find(|event| event.event.phase != Phase::End && event.event.label == "blind");
            open.ok_or_else(|| "none goes on".to_owned())
        })
        .await;
    site.eventually("each tells so with the reason", WITHIN, async |site| {
        for node in ["hub", "yard"] {
            has(&timeline(site, node).await?, Sight::Blind, "")?;
        }
        let shown: Value = http::get_json(site.node("yard").http, "/api/v1/cameras").await?;
        let door = &shown["cameras"][0];
        let told = (door["camera"].as_str(), door["state"].as_str(), door["reason"].as_str().is_some());
        if told == (Some("front-door"), Some("blind"), true) { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;

    site.node_mut("yard").kill();
    site.node_mut("yard").start();
    site.eventually("what was cut is ended, and that nobody looked meanwhile is told", WITHIN, async |site| {
        let events = coverage_events(site).await?;
        let cut = events.iter().find(|event| event.event.id == blind.event.id).ok_or("it is gone")?;
        if cut.event.reason != Some(protocol::EndReason::Restart) {
            return Err(format!("{cut:?}"));
        }
        let away = events.iter().find(|event| event.event.title().contains("the edge was not running"));
        let away = away.ok_or_else(|| format!("{events:?}"))?;
        if away.event.begin == cut.event.end { Ok(()) } else { Err(format!("{away:?} after {cut:?}")) }
    })
    .await;
    // What the edge had not written down when it was killed, the relay knows.
    site.eventually("the relay still knows its past, and the edge that it was away", WITHIN, async |site| {
        let (hub, yard) = (timeline(site, "hub").await?, timeline(site, "yard").await?);
        has(&hub, Sight::Covered, "").and(has(&yard, Sight::Blind, "the edge was not running"))
    })
    .await;
}
