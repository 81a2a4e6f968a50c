//! Cameras are changed while an edge runs: by its file, read again, and by an operator through the relay. What a change
//! does not concern goes on as if nothing had been.

use super::cli::{done, json, watchtree};
use protocol::admin::{ActorStatus, NodeSnapshot};
use std::collections::BTreeMap;
use std::time::Duration;
use tests::harness::{CameraServer, Cluster, Plan, http};
use toml::{Table, Value};

const SEED: u64 = 85;
const WITHIN: Duration = Duration::from_secs(40);
const DOOR: &str = "yard/cameras/door";
const ZONE: &str = "[[zones]]\nname = \"drive\"\npolygon = [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]\n";

/// A relay, and an edge with two cameras at the same place; motion is all that is judged.
struct Fixture {
    site: Cluster,
    _camera: CameraServer,
    url: String,
}

/// What shows that an actor or a port was not touched.
type Rows = BTreeMap<String, (u64, protocol::Timestamp, Option<u32>)>;

impl Fixture {
    async fn start() -> Self {
        let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "3"]).await;
        let url = camera.url().to_owned();
        let plan = Plan::new(SEED).relay("hub").edge("yard").camera("yard", "door", &url).camera("yard", "gate", &url);
        let site = plan.set("yard", "sources.allow", vec!["loopback"]).start();
        let mut fixture = Self { site, _camera: camera, url };
        fixture.site.ready().await;
        fixture.are("door sees, gate sees").await;
        fixture
    }

    /// Waits until `watchtree camera list` shows these.
    async fn are(&mut self, wanted: &str) {
        self.site
            .eventually(&format!("cameras are: {wanted}"), WITHIN, async |site| {
                let output = watchtree(site, "camera list yard -o json");
                if !output.status.success() {
                    return Err(String::from_utf8_lossy(&output.stderr).into_owned());
                }
                let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
                let cameras = json(&output);
                let cameras = cameras.as_array().expect("a list").iter();
                let told = cameras.map(|camera| format!("{} {}", text(camera, "camera"), text(camera, "state")));
                let told = told.collect::<Vec<_>>().join(", ");
                if told == wanted { Ok(()) } else { Err(format!("{told}: {output:?}")) }
            })
            .await;
    }

    async fn tree(&self) -> Vec<ActorStatus> {
        http::get_json::<NodeSnapshot>(self.site.node("yard").http, "/api/v1/tree").await.expect("it answers").actors
    }

    async fn rows(&self) -> Rows {
        let row = |row: ActorStatus| (row.path, (row.restarts, row.since, row.pid));
        self.tree().await.into_iter().map(row).collect()
    }

    /// Waits until a part has been restarted so often, then compares: only these rows are others.
    async fn touched(&mut self, before: &Rows, part: &str, restarts: u64, only: &[&str]) {
        let yard = self.site.node("yard").http;
        let what = format!("{part} has been restarted {restarts} times and all runs");
        self.site
            .eventually(&what, WITHIN, async |_| {
                let tree: NodeSnapshot = http::get_json(yard, "/api/v1/tree").await?;
                let down = tree.actors.iter().find(|row| row.state != "running" && !row.path.ends_with("/port"));
                let row = tree.actors.iter().find(|row| row.path == part).ok_or("it is not in the tree")?;
                match (row.restarts == restarts, down) {
                    (true, None) => Ok(()),
                    other => Err(format!("{other:?}: {row:?}")),
                }
            })
            .await;
        let after = self.rows().await;
        let differs = |path: &&String| before.get(*path) != after.get(*path);
        let differing: Vec<&String> = before.keys().chain(after.keys()).filter(differs).collect();
        let others: Vec<_> = differing.iter().filter(|path| !only.contains(&path.as_str())).collect();
        assert!(others.is_empty(), "touched as well: {others:?}\nbefore {before:?}\nafter {after:?}");
    }

    /// The edge's file, changed by hand, and the signal that says so.
    fn edit(&mut self, edit: impl FnOnce(&mut Vec<Value>)) {
        let yard = self.site.node("yard");
        let text = std::fs::read_to_string(&yard.config).expect("it is there");
        let mut table: Table = text.parse().expect("it is TOML");
        edit(table.get_mut("cameras").and_then(Value::as_array_mut).expect("it has cameras"));
        std::fs::write(&yard.config, table.to_string()).expect("written");
        yard.hang_up();
    }

    async fn logged(&self, words: &str) {
        let look = async || {
            let log = self.site.node("yard").log_text();
            if log.contains(words) { Ok(()) } else { Err(self.site.node("yard").log_tail(5)) }
        };
        tests::harness::wait_for(words, WITHIN, look).await;
    }

    async fn frames(&self, camera: &str) -> f64 {
        let metrics = http::get(self.site.node("yard").http, "/metrics").await.expect("it answers").body;
        let series = format!("watchtree_camera_frames_total{{node=\"yard\",camera=\"{camera}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
    }

    async fn frames_go_on(&self, camera: &str) {
        let before = self.frames(camera).await;
        let look = async || {
            let now = self.frames(camera).await;
            if now > before { Ok(()) } else { Err(format!("{now}, and {before} before")) }
        };
        tests::harness::wait_for("frames go on", WITHIN, look).await;
    }
}

fn table(camera: &mut Value) -> &mut Table {
    camera.as_table_mut().expect("a section")
}

#[tokio::test]
async fn a_file_that_is_read_again_touches_what_it_changes_alone() {
    let mut fixture = Fixture::start().await;
    let pid = fixture.site.node("yard").pid();

    let before = fixture.rows().await;
    let zone: Table = ZONE.parse().expect("it is TOML");
    fixture.edit(|cameras| table(&mut cameras[0]).extend(zone));
    let tracking = format!("{DOOR}/tracking");
    fixture.touched(&before, &tracking, 1, &[&tracking]).await;
    fixture.frames_go_on("gate").await;
    fixture.frames_go_on("door").await;

    let before = fixture.rows().await;
    let with_login = fixture.url.replace("rtsp://", "rtsp://watch:hunter2@");
    fixture.edit(|cameras| drop(table(&mut cameras[0]).insert("url".to_owned(), with_login.into())));
    let (session, port) = (format!("{DOOR}/session"), format!("{DOOR}/session/port"));
    fixture.touched(&before, &session, 1, &[&session, &port]).await;
    fixture.are("door sees, gate sees").await;

    // One of two changes is wrong: neither is made.
    let before = fixture.rows().await;
    fixture.edit(|cameras| {
        table(&mut cameras[0]).insert("priority".to_owned(), "high".into());
        table(&mut cameras[1]).insert("frames_per_s".to_owned(), 99.into());
    });
    fixture.logged("is refused: ").await;
    fixture.logged("cameras.gate.frames_per_s is 99; use a number from 0.1 to 30").await;
    assert_eq!(fixture.rows().await, before);
    let desk = fixture.tree().await.into_iter().find(|row| row.path == "yard/desk").expect("it is there");
    assert!(desk.note.as_ref().is_some_and(|note| note.contains("frames_per_s is 99")), "{desk:?}");

    let before = fixture.rows().await;
    fixture.edit(|cameras| {
        table(&mut cameras[0]).remove("priority");
        table(&mut cameras[1]).remove("frames_per_s");
        table(&mut cameras[1]).insert("enabled".to_owned(), false.into());
    });
    fixture.are("door sees, gate disabled").await;
    let after = fixture.rows().await;
    assert!(!after.keys().any(|path| path.starts_with("yard/cameras/gate")), "{after:?}");
    assert!(after.iter().all(|(path, row)| before.get(path) == Some(row)), "{before:?}\n{after:?}");
    let health = http::get(fixture.site.node("yard").http, "/health/deep").await.expect("it answers").body;
    assert!(health.contains("camera gate") && health.contains("disabled"), "{health}");
    fixture.edit(|cameras| drop(table(&mut cameras[1]).remove("enabled")));
    fixture.are("door sees, gate sees").await;
    fixture.edit(|cameras| drop(cameras.remove(0)));
    fixture.are("gate sees").await;
    assert_eq!(fixture.site.node("yard").pid(), pid, "it is the same process");
}

#[tokio::test]
async fn what_an_operator_changes_counts_over_the_users_file_and_outlives_the_node() {
    let mut fixture = Fixture::start().await;
    let file = fixture.site.node("yard").config.clone();
    let users_own = std::fs::read(&file).expect("it is there");
    let tell = |site: &Cluster, line: &str| done(&watchtree(site, &format!("camera {line}")));

    let before = fixture.rows().await;
    let told = tell(&fixture.site, "set yard/door labels=[\"red\"]");
    assert_eq!(told.trim_end(), "tracking of door starts anew");
    let tracking = format!("{DOOR}/tracking");
    fixture.touched(&before, &tracking, 1, &[&tracking]).await;

    let before = fixture.rows().await;
    let wrong = watchtree(&fixture.site, "camera set yard/door frames_per_s=99 priority=high");
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("cameras.door.frames_per_s is 99; use a number from 0.1 to 30"), "{told}");
    let unknown = watchtree(&fixture.site, "camera remove yard/dor");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("cameras.dor is not there"), "{unknown:?}");
    assert_eq!(fixture.rows().await, before);

    let zone = fixture.site.dir().join("zone.toml");
    std::fs::write(&zone, ZONE).expect("written");
    tell(&fixture.site, &format!("set yard/gate --file {}", zone.display()));
    tell(&fixture.site, &format!("set yard/barn url={} user=watch password=hunter2", fixture.url));
    fixture.are("door sees, gate sees, barn sees").await;
    tell(&fixture.site, "remove yard/gate");
    fixture.are("door sees, barn sees, gate removed").await;
    let shown = tell(&fixture.site, "show yard/barn");
    assert!(shown.contains("password = \"***\"") && !shown.contains("hunter2"), "{shown}");

    fixture.site.node_mut("yard").terminate().await;
    fixture.site.node_mut("yard").start();
    fixture.are("door sees, barn sees, gate removed").await;
    let shown = json(&watchtree(&fixture.site, "camera show yard/door -o json"));
    assert_eq!(shown["changed"], serde_json::json!(["labels"]), "{shown}");
    assert!(shown["toml"].as_str().is_some_and(|toml| toml.contains("labels = [\"red\"]")), "{shown}");

    tell(&fixture.site, "reset yard");
    fixture.are("door sees, gate sees").await;
    assert_eq!(std::fs::read(&file).expect("it is there"), users_own, "the user's file is his own");
    for node in ["hub", "yard"] {
        let log = fixture.site.node(node).log_text();
        let has = |words: &[&str]| log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(has(&["\"audit\"", "main/operator/operator", "camera changed", "\"set\"", "labels"]), "{node}");
        assert!(has(&["\"audit\"", "camera not changed", "frames_per_s is 99"]), "{node}");
        assert!(!log.contains("hunter2"), "{node} tells a password");
    }
}

#[tokio::test]
async fn a_camera_that_was_parked_by_hand_stays_so_whatever_is_changed_of_it() {
    let mut fixture = Fixture::start().await;
    done(&watchtree(&fixture.site, &format!("park {DOOR}")));
    done(&watchtree(&fixture.site, "camera set yard/door labels=[\"red\"] transport=tcp stall_ms=2000"));
    let row = fixture.tree().await.into_iter().find(|row| row.path == DOOR).expect("it is there");
    assert_eq!(row.state, "parked", "{row:?}");
    done(&watchtree(&fixture.site, &format!("resume {DOOR}")));
    fixture.are("door sees, gate sees").await;
}
