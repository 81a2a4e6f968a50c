//! What operators are given is true: each panel of each dashboard has data, each alert fires and keeps quiet.

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::time::Duration;
use tests::harness::prometheus::{Prometheus, QueryError, Sample, grafana, promtool};
use tests::harness::{CameraServer, Cluster, Plan, http, wait_for};

const SEED: u64 = 80;
const WITHIN: Duration = Duration::from_secs(60);

/// Panels that have nothing to show on a site that does its job, and why.
const MAY_BE_EMPTY: &[(&str, &str)] = &[];

/// What must not only be there but has happened in this run.
const MORE_THAN_NOTHING: &[&str] = &[
    r#"increase(watchtree_actor_failures_total{class="session", reason="signal"}[5m])"#,
    r#"increase(watchtree_actor_restarts_total{class="session", reason="signal"}[5m])"#,
    "increase(watchtree_actor_restart_seconds_count{class=\"session\"}[5m])",
    r#"increase(watchtree_port_starts_total{class="watchtree-camera-port"}[5m])"#,
    r#"watchtree_port_memory_bytes{class="watchtree-camera-port"} > 1e6"#,
    r#"watchtree_port_memory_bytes{class="watchtree-model-port"} > 1e6"#,
    r#"rate(watchtree_port_cpu_seconds_total{class="watchtree-camera-port"}[1m])"#,
    r#"rate(watchtree_mailbox_handled_total{class="tracking"}[1m])"#,
    r#"rate(watchtree_mailbox_handled_total{class="outbox"}[1m])"#,
    "min(watchtree_node_ready)",
    r#"count(watchtree_node_ready{node="yard"})"#,
    r#"count(watchtree_port_cpu_seconds_total{node="yard"})"#,
    r#"count(watchtree_camera_source_failures_total{node="yard", camera="front-door", reason="silent"} == 0)"#,
    "time() - watchtree_node_start_time_seconds < 600",
];

#[tokio::test]
async fn every_panel_of_every_dashboard_has_data_on_a_site_that_does_its_job() {
    let (mut camera, mut site) = site().await;
    let mut prometheus = Prometheus::start(&site);
    wait_for("prometheus reaches three nodes", WITHIN, async || {
        let reached = prometheus.query("sum(up)").await?;
        if value(&reached) == 3.0 { Ok(()) } else { Err(format!("{reached:?}")) }
    })
    .await;
    kill_a_camera_port(&mut site, &mut prometheus).await;

    let panels = panels();
    assert!(panels.len() > 40, "{} panels", panels.len());
    let (mut waiting, mut last) = (panels, String::new());
    wait_for("every panel has data", WITHIN, async || {
        let mut empty = Vec::new();
        for panel in std::mem::take(&mut waiting) {
            match prometheus.query(&panel.expression).await {
                Ok(samples) if samples.iter().any(|sample| sample.value.is_finite()) => {}
                Ok(samples) => {
                    last = format!("{panel:?} has {samples:?}");
                    empty.push(panel);
                }
                Err(QueryError::NoAnswer(why)) => {
                    last = format!("{panel:?}: {why}");
                    empty.push(panel);
                }
                // Waiting would not help.
                Err(QueryError::Refused(why)) => panic!("{panel:?}: {why}"),
            }
        }
        waiting = empty;
        let none: Vec<_> = waiting.iter().map(|panel| panel.panel.as_str()).collect();
        if none.is_empty() { Ok(()) } else { Err(format!("{} have none: {none:?}, such as {last}", none.len())) }
    })
    .await;
    for expression in MORE_THAN_NOTHING {
        wait_for(&format!("{expression} is more than 0"), WITHIN, async || {
            let samples = prometheus.query(expression).await?;
            if samples.iter().any(|sample| sample.value > 0.0) { Ok(()) } else { Err(format!("{samples:?}")) }
        })
        .await;
    }
    every_node_counts_as_prometheus_wants_it(&site).await;
    a_camera_that_is_gone_is_an_alert(&mut camera, &mut prometheus).await;
}

/// Squares come and go, so that events do as well.
async fn site() -> (CameraServer, Cluster) {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard");
    let zone = "[[zones]]\nname = \"path\"\npolygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]";
    let plan = plan.camera_with("yard", "front-door", camera.url(), zone).set("yard", "track.update_every_ms", 200);
    let mut site = plan.set("yard", "track.lost_after_ms", 1000).set("yard", "track.blind_after_ms", 1000).start();
    site.ready().await;
    (camera, site)
}

/// The first failure of its kind: seen only if its counter stood at 0 before.
async fn kill_a_camera_port(site: &mut Cluster, prometheus: &mut Prometheus) {
    let restarts = r#"watchtree_actor_restarts_total{class="session", reason="signal"}"#;
    wait_for("a restart that has not happened is counted as 0", WITHIN, async || {
        let samples = prometheus.query(restarts).await?;
        if value(&samples) == 0.0 { Ok(()) } else { Err(format!("{samples:?}")) }
    })
    .await;
    let [port] = site.node("yard").port_pids("watchtree-camera-port")[..] else { panic!("one camera has one port") };
    kill_process(Pid::from_raw(port.cast_signed()).expect("not 0"), Signal::SEGV).expect("it is ours");
    wait_for("the restart is counted", WITHIN, async || {
        let samples = prometheus.query(restarts).await?;
        if value(&samples) >= 1.0 { Ok(()) } else { Err(format!("{samples:?}")) }
    })
    .await;
}

/// Of the one series that is expected.
fn value(samples: &[Sample]) -> f64 {
    if let [sample] = samples { sample.value } else { f64::NAN }
}

async fn every_node_counts_as_prometheus_wants_it(site: &Cluster) {
    for node in site.nodes() {
        let text = http::get(node.http, "/metrics").await.expect("it answers").body;
        promtool(&["check", "metrics"], &text).unwrap_or_else(|why| panic!("{}: {why}\n{text}", node.name));
    }
}

async fn a_camera_that_is_gone_is_an_alert(camera: &mut CameraServer, prometheus: &mut Prometheus) {
    wait_for("every alert was looked at", WITHIN, async || {
        let (evaluated, faults) = prometheus.rule_faults().await?;
        assert!(faults.is_empty(), "{faults:?}");
        let alerts = std::fs::read_to_string(grafana().join("alerts.yml")).expect("it is there");
        let all = alerts.matches("- alert: ").count();
        if evaluated == all { Ok(()) } else { Err(format!("{evaluated} of {all}")) }
    })
    .await;
    let blind = r#"ALERTS{alertname="BlindCamera", camera="front-door"}"#;
    wait_for("a camera that sees is no alert", WITHIN, async || {
        let alerts = prometheus.query(blind).await?;
        if alerts.is_empty() { Ok(()) } else { Err(format!("{alerts:?}")) }
    })
    .await;
    camera.quit();
    wait_for("Prometheus counts towards the alert", WITHIN, async || {
        let alerts = prometheus.query(blind).await?;
        if alerts.is_empty() { Err("no alert".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[derive(Deserialize)]
struct Dashboard {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Panel {
    title: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    expr: String,
}

#[derive(Debug)]
#[allow(dead_code, reason = "a failure shows them")]
struct Query {
    dashboard: String,
    panel: String,
    expression: String,
}

/// All queries of all panels, without those that may be empty.
fn panels() -> Vec<Query> {
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(grafana().join("dashboards")).expect("there are dashboards").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("it is text");
        let dashboard: Dashboard =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", entry.path().display()));
        for panel in dashboard.panels {
            if MAY_BE_EMPTY.iter().any(|(title, _)| *title == panel.title) {
                continue;
            }
            assert!(!panel.targets.is_empty(), "{} asks nothing", panel.title);
            queries.extend(panel.targets.into_iter().map(|target| Query {
                dashboard: dashboard.title.clone(),
                panel: panel.title.clone(),
                // As Grafana asks for all nodes.
                expression: target.expr.replace("$node", ".*"),
            }));
        }
    }
    queries
}

#[test]
fn prometheus_accepts_the_scrape_file_and_the_alerts() {
    promtool(&["check", "config", "prometheus.yml"], "").unwrap_or_else(|why| panic!("{why}"));
    promtool(&["check", "rules", "alerts.yml"], "").unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn alerts_fire_when_they_must_and_keep_quiet_otherwise() {
    promtool(&["test", "rules", "alerts_test.yml"], "").unwrap_or_else(|why| panic!("{why}"));
}
