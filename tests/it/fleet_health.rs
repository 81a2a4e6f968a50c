//! The relay says how its nodes are: who is silent, whose camera is blind, and how it was.

use super::cli::{done, json, watchtree};
use serde_json::Value;
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Plan, http};

const SEED: u64 = 140;
const WITHIN: Duration = Duration::from_secs(60);
/// Silence is noticed after 5 s, by a machine that may have other work.
const DOWN_WITHIN: Duration = Duration::from_secs(15);

/// The yard as the hub judges it, with its reasons in one line.
async fn yard(site: &Cluster) -> Result<(Value, String), String> {
    let answer: Value = http::get_json(site.node("hub").http, "/api/v1/nodes").await?;
    let nodes = answer["nodes"].as_array().ok_or_else(|| format!("no list in {answer}"))?;
    let yard = nodes.iter().find(|node| node["node"]["name"] == "yard").ok_or("the yard is not there")?;
    let reasons: Vec<&str> = yard["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok((yard.clone(), reasons.join("; ")))
}

/// Waits until the yard is in this state, with these words among its reasons; returns how it is then.
async fn becomes(site: &mut Cluster, state: &str, words: &str, within: Duration) -> Value {
    let what = format!("the yard is {state}: `{words}`");
    site.eventually(&what, within, async |site| {
        let (yard, reasons) = yard(site).await?;
        let is_so = yard["state"] == state && reasons.contains(words);
        if is_so { Ok(yard) } else { Err(format!("{}: {reasons}", yard["state"])) }
    })
    .await
}

async fn sees(site: &mut Cluster) -> Value {
    site.eventually("the yard is healthy and its camera is on line", WITHIN, async |site| {
        let (yard, reasons) = yard(site).await?;
        let on_line = yard["telemetry"]["cameras"][0]["on_line"] == true;
        if yard["state"] == "healthy" && on_line { Ok(yard) } else { Err(format!("{}: {reasons}", yard["state"])) }
    })
    .await
}

#[tokio::test]
async fn a_silent_node_is_down_in_five_seconds_and_a_blind_camera_degrades_its_edge_by_name() {
    let mut camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "2", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").edge("yard");
    let mut site = plan.camera("yard", "front-door", camera.url()).start();
    site.ready().await;
    let well = sees(&mut site).await;
    assert!(well["telemetry"]["system"]["memory_total_bytes"].as_u64() > Some(0), "{well}");
    site.eventually("both nodes are healthy", WITHIN, async |site| {
        let told = json(&watchtree(site, "nodes -o json"));
        let is_well = |node: &Value| node["state"] == "healthy" && node["ready"] == true;
        let nodes = told.as_array().ok_or("no list")?;
        if nodes.len() == 2 && nodes.iter().all(is_well) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let text = done(&watchtree(&site, "nodes"));
    assert!(text.starts_with("NODE") && text.contains("main/edge/yard  healthy") && text.contains(" 1/1 "), "{text}");

    site.node("yard").pause();
    let paused = Instant::now();
    becomes(&mut site, "down", "nothing was heard of it for", DOWN_WITHIN).await;
    println!("a node that was stopped is down after {:.1} s", paused.elapsed().as_secs_f32());
    let text = done(&watchtree(&site, "nodes"));
    assert!(text.contains("main/edge/yard  down") && text.contains("\n  nothing was heard of it for"), "{text}");
    assert!(text.contains(" ?/1 "), "{text}");
    site.eventually("that it was down is in its history", WITHIN, async |site| {
        let down_s = history(site).await?.1("down_s");
        if down_s >= 1.0 { Ok(()) } else { Err(format!("{down_s} s")) }
    })
    .await;
    site.node("yard").resume();
    sees(&mut site).await;

    camera.quit();
    becomes(&mut site, "degraded", "camera front-door is blind: ", WITHIN).await;
    let told = json(&watchtree(&site, "nodes -o json"));
    assert_eq!(
        (&told[1]["state"], &told[1]["telemetry"]["cameras"][0]["on_line"]),
        (&"degraded".into(), &false.into())
    );
    was_down_for_a_while(&site).await;
}

const HISTORY: &str = "/api/v1/nodes/history?node=main/edge/yard&step=hour";

/// What the hub tells of the yard's hours, and the sum of one of its columns.
async fn history(site: &Cluster) -> Result<(Value, impl Fn(&str) -> f64 + use<>), String> {
    let history: Value = http::get_json(site.node("hub").http, HISTORY).await?;
    let rows = history["rows"].as_array().ok_or_else(|| format!("no list in {history}"))?.clone();
    let sum = move |key: &str| rows.iter().filter_map(|row| row[key].as_f64()).sum::<f64>();
    Ok((history, sum))
}

/// The minute under way has all of it, unless a minute has ended since.
async fn was_down_for_a_while(site: &Cluster) {
    let (history, sum) = history(site).await.expect("it is told");
    assert!(sum("down_s") >= 1.0 && sum("healthy_s") >= 1.0 && sum("messages") >= 2.0, "{history}");
    let edge = http::get(site.node("yard").http, HISTORY).await.expect("it answers");
    assert!(edge.status == 404 && edge.body.contains("a node of role relay does"), "{edge:?}");
}
