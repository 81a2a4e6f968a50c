//! Steering and health, end to end: what an operator does reaches an edge through its relay, and whether a node does
//! its job is known soon after the fact.

use protocol::admin::{FailureRecord, NodeSnapshot, Reply, Request};
use protocol::link::{Open, VIEWERS_LOOK};
use protocol::transport::{Credentials, Endpoint, TlsFiles};
use protocol::{Act, Fault, Role};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::harness::{CameraServer, Cluster, Plan, Yardstick, http, ports};
use tokio::time::{sleep, timeout};

const SEED: u64 = 70;
const WITHIN: Duration = Duration::from_secs(40);
/// From the fact to its being known, both ways. What the machine itself lost meanwhile is not held against the node.
const FLIP_WITHIN: Duration = Duration::from_secs(2);
/// Of the test's own: from what it did to what the node can have seen, and a question with its answer.
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// A session's longest pause is 30 s, and it may just have begun.
const NEXT_TRY_WITHIN: Duration = Duration::from_secs(90);
const CAMERA: &str = "yard/cameras/front-door";

/// A relay and an edge with one camera; no model, so that motion is all that is judged.
struct Fixture {
    site: Cluster,
    viewer: (PathBuf, PathBuf),
}

impl Fixture {
    async fn start(camera: &CameraServer) -> Self {
        let plan = Plan::new(SEED).relay("hub").edge("yard").camera("yard", "front-door", camera.url());
        let viewer = plan.certificate("ca", "bob", Role::Viewer);
        let mut site = plan.set("yard", "supervision.allow_faults", true).start();
        site.ready().await;
        linked(&mut site).await;
        Self { site, viewer }
    }

    async fn steer(&self, role: Role, path: &str, act: Act) -> Result<String, String> {
        let request = Request::Steer { path: path.to_owned(), act };
        match self.ask(role, request).await?.pop() {
            Some(Reply::Steered(told)) => Ok(told.text),
            other => Err(format!("{other:?}")),
        }
    }

    async fn failures(&self, path: &str) -> Result<Vec<FailureRecord>, String> {
        let replies = self.ask(Role::Viewer, Request::Failures { path: Some(path.to_owned()), limit: 100 }).await?;
        let failure = |reply| if let Reply::Failure(failure) = reply { Some(*failure) } else { None };
        Ok(replies.into_iter().filter_map(failure).collect())
    }

    /// Asks the relay, as an operator or as a viewer.
    async fn ask(&self, role: Role, request: Request) -> Result<Vec<Reply>, String> {
        let dir = self.site.dir();
        let (cert, key) = match role {
            Role::Viewer => self.viewer.clone(),
            _ => (dir.join("tls-ca-operator/operator.pem"), dir.join("tls-ca-operator/operator.key")),
        };
        let credentials = Credentials::load(&TlsFiles { ca: dir.join("ca/ca.pem"), cert, key }).expect("are good");
        let endpoint = Endpoint::dialer(&credentials).expect("a socket");
        let asking = async {
            let port = self.site.node("hub").quic_port.expect("a relay listens");
            let connection = endpoint.dial("127.0.0.1", port, Role::Relay).await.map_err(text)?;
            let (mut tx, mut rx) = connection.open_bi(&Open::Admin).await.map_err(text)?;
            tx.send(&request).await.map_err(text)?;
            let mut replies = Vec::new();
            while let Some(reply) = rx.recv::<Reply>().await.map_err(text)? {
                if let Reply::Refused(why) = reply {
                    return Err(why);
                }
                replies.push(reply);
            }
            Ok(replies)
        };
        timeout(WITHIN, asking).await.map_err(text)?
    }

    /// Waits until the edge, as the relay's HTTP shows it, has `path` in `state`.
    async fn is(&mut self, path: &str, state: &str) {
        let hub = self.site.node("hub").http;
        let what = format!("{path} is {state}");
        let look = async |_: &Cluster| {
            let tree: NodeSnapshot = http::get_json(hub, "/api/v1/tree?node=yard").await?;
            let row = tree.actors.iter().find(|actor| actor.path == path).ok_or("it is not in the tree")?;
            if row.state == state { Ok(()) } else { Err(format!("{row:?}")) }
        };
        self.site.eventually(&what, WITHIN, look).await;
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The relay can ask the edge.
async fn linked(site: &mut Cluster) {
    let hub = site.node("hub").http;
    let look = async |_: &Cluster| http::get_json::<NodeSnapshot>(hub, "/api/v1/tree?node=yard").await.map(drop);
    site.eventually("the edge shows its tree through the relay", WITHIN, look).await;
}

async fn camera() -> CameraServer {
    CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "3"]).await
}

#[tokio::test]
async fn an_operator_steers_an_edge_through_the_relay_and_a_viewer_only_looks() {
    let camera = camera().await;
    let mut fixture = Fixture::start(&camera).await;
    let pid = fixture.site.node("yard").pid();
    let session = format!("{CAMERA}/session");

    let refused = fixture.steer(Role::Viewer, CAMERA, Act::Park).await;
    assert_eq!(refused, Err(VIEWERS_LOOK.to_owned()));
    fixture.is(CAMERA, "running").await;

    fixture.steer(Role::Operator, &session, Act::Restart).await.expect("is done");
    fixture.is(&session, "running").await;
    fixture.steer(Role::Operator, CAMERA, Act::Park).await.expect("is done");
    fixture.is(CAMERA, "parked").await;
    let again = fixture.steer(Role::Operator, CAMERA, Act::Park).await.expect_err("it is parked");
    assert!(again.contains("parked already"), "{again}");
    fixture.steer(Role::Operator, CAMERA, Act::Resume).await.expect("is done");
    fixture.is(&session, "running").await;
    fixture.site.node_ready("yard").await;

    for way in ["yard/relay-link", "hub/gateway"] {
        let cut_off = fixture.steer(Role::Operator, way, Act::Park).await.expect_err("nobody could resume it");
        assert!(cut_off.contains("use restart"), "{cut_off}");
    }
    let slip = fixture.steer(Role::Operator, "yard/camers/front-door", Act::Park).await.expect_err("a slip");
    assert!(slip.contains(CAMERA), "{slip}");
    let nobody = fixture.steer(Role::Operator, "yrad/outbox", Act::Park).await.expect_err("a slip");
    assert!(nobody.contains("there are: hub, yard"), "{nobody}");

    for (node, wanted) in [("yard", "main/operator/operator"), ("hub", "main/operator/operator")] {
        audited(&fixture.site, node, &["\"audit\"", wanted, "\"park\"", "\"steered\""]);
    }
    audited(&fixture.site, "hub", &["\"audit\"", "main/viewer/bob", "\"not steered\""]);
    let metrics = http::get(fixture.site.node("yard").http, "/metrics").await.expect("it answers").body;
    assert!(metrics.contains("watchtree_steered_total{node=\"yard\",act=\"park\"} 1"), "{metrics}");
    assert_eq!(fixture.site.node("yard").pid(), pid, "the edge is the same process");
}

/// One line of the node's log has all of these.
fn audited(site: &Cluster, node: &str, wanted: &[&str]) {
    let log = site.node(node).log_text();
    let found = log.lines().any(|line| wanted.iter().all(|wanted| line.contains(wanted)));
    assert!(found, "no line of {node} has all of {wanted:?}");
}

#[tokio::test]
async fn failures_outlive_a_killed_edge_and_are_listed_through_the_relay() {
    let camera = camera().await;
    let mut fixture = Fixture::start(&camera).await;
    let not_here = fixture.steer(Role::Operator, "hub/gateway", Act::Inject(Fault::Panic)).await;
    assert!(not_here.expect_err("only the edge allows it").contains("allow_faults"));
    fixture.steer(Role::Operator, "yard/forwarder", Act::Inject(Fault::Panic)).await.expect("is done");
    let before = remembered(&mut fixture).await;
    assert_eq!((before.kind.as_str(), before.then.as_str()), ("panic", "restarted"));

    fixture.site.node_mut("yard").kill();
    fixture.site.node_mut("yard").start();
    fixture.site.node_ready("yard").await;
    linked(&mut fixture.site).await;
    assert_eq!(remembered(&mut fixture).await, before, "the next process remembers it");
    let yard = fixture.site.node("yard").http;
    let own: Vec<FailureRecord> = http::get_json(yard, "/api/v1/failures?path=yard/forwarder").await.expect("answers");
    assert_eq!(own, [before]);
    let metrics = http::get(yard, "/metrics").await.expect("it answers").body;
    assert!(metrics.contains("watchtree_node_last_end{node=\"yard\",reason=\"killed\"} 1"), "{metrics}");
}

/// The forwarder's one failure, as the relay lists it, once its text is on the edge's disk as well.
async fn remembered(fixture: &mut Fixture) -> FailureRecord {
    let file = fixture.site.dir().join("yard/data/failures");
    tests::harness::wait_for("the failure is listed and on disk", WITHIN, async || {
        let failures = fixture.failures("yard/forwarder").await?;
        let [failure] = &failures[..] else { return Err(format!("{failures:?}")) };
        let files = std::fs::read_dir(&file).map_err(text)?.flatten();
        let texts: String = files.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
        if texts.contains("yard/forwarder") { Ok(failure.clone()) } else { Err("it is not on disk".to_owned()) }
    })
    .await
}

#[tokio::test]
async fn the_tree_is_served_over_http_for_the_node_and_for_those_linked_to_it() {
    let camera = camera().await;
    let mut fixture = Fixture::start(&camera).await;
    let hub = fixture.site.node("hub").http;
    let own: NodeSnapshot = http::get_json(hub, "/api/v1/tree").await.expect("answers");
    let proxy = own.actors.iter().find(|actor| actor.path == "hub/peers/main.edge.yard");
    assert!(proxy.is_some_and(|proxy| proxy.class == "proxy"), "{own:?}");
    let look = async |_: &Cluster| {
        let all: Vec<NodeSnapshot> = http::get_json(hub, "/api/v1/tree?node=all").await?;
        let names: Vec<String> = all.iter().map(|tree| tree.node.to_string()).collect();
        // One that does not answer in time is left out.
        if names == ["main/relay/hub", "main/edge/yard"] { Ok(()) } else { Err(names.join(", ")) }
    };
    fixture.site.eventually("both trees are shown", WITHIN, look).await;
    let part: NodeSnapshot = http::get_json(hub, &format!("/api/v1/tree?path={CAMERA}")).await.expect("answers");
    assert!(part.actors.len() >= 4 && part.actors.iter().all(|actor| actor.path.starts_with(CAMERA)), "{part:?}");
    let port = part.actors.iter().find(|actor| actor.path.ends_with("/session/port")).expect("the port has a row");
    assert!(port.pid.is_some() && port.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{port:?}");

    let unknown = http::get(hub, "/api/v1/tree?node=barn").await.expect("answers");
    let problem: serde_json::Value = serde_json::from_str(&unknown.body).expect("a problem is JSON");
    assert_eq!((unknown.status, &problem["nodes"][1]), (404, &"main/edge/yard".into()), "{problem}");
    let yard = fixture.site.node("yard").http;
    assert_eq!(http::get(yard, "/api/v1/tree?node=hub").await.expect("answers").status, 404, "an edge has no peers");
}

#[tokio::test]
async fn ready_follows_the_camera_both_ways() {
    // One that nobody gets while there is no camera at it.
    let port = ports::free().to_string();
    let scene = ["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "3", "--port", &port];
    let mut first = CameraServer::start(&scene).await;
    let fixture = Fixture::start(&first).await;
    let (yard, yardstick) = (fixture.site.node("yard").http, Yardstick::start());
    let killed = Instant::now();
    first.quit();
    let (why, down) = until(yard, 503, killed, &yardstick).await;
    assert!(why.contains("coverage") && why.contains("blind"), "{why}");
    shows(yard, "watchtree_node_ready{node=\"yard\"} 0").await;
    // The camera comes back at its address: from its first frame, not from its start, a frame can be judged.
    let second = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--port", &port, "--prepare"]).await;
    second.first_frame_us_within(NEXT_TRY_WITHIN).await;
    let (_, up) = until(yard, 200, Instant::now(), &yardstick).await;
    println!("not ready {down:.2?} after the camera was killed; ready {up:.2?} after its first frame was seen");
    shows(yard, "watchtree_node_ready{node=\"yard\"} 1").await;
    // Told a round of health after the fact.
    tests::harness::wait_for("each is told, in their order", WITHIN, async || {
        let log = fixture.site.node("yard").log_text();
        let at = |word: &str| log.lines().position(|line| line.contains(word)).ok_or(format!("no `{word}`"));
        if at("\"not ready: coverage")? < at("\"ready again after")? { Ok(()) } else { Err("in another".to_owned()) }
    })
    .await;
}

/// The body of the first answer with this status, and how long after the fact it came.
async fn until(node: SocketAddr, status: u16, fact: Instant, yardstick: &Yardstick) -> (String, Duration) {
    loop {
        let answer = http::get(node, "/health/ready").await.expect("a node that is not ready still answers");
        let (took, lost) = (fact.elapsed(), yardstick.lost_since(fact));
        assert!(
            took.saturating_sub(lost) < FLIP_WITHIN + LOOK_WITHIN,
            "after {took:?} ({lost:?} of it lost) {}: {}",
            answer.status,
            answer.body
        );
        if answer.status == status {
            return (answer.body, took);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the metrics have this line.
async fn shows(node: SocketAddr, line: &str) {
    let look = async || {
        let metrics = http::get(node, "/metrics").await?.body;
        if metrics.lines().any(|told| told == line) { Ok(()) } else { Err(format!("no `{line}`")) }
    };
    tests::harness::wait_for(line, WITHIN, look).await;
}
