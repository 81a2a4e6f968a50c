//! The command `watchtree`, as people and programs call it: against a real relay and a real edge.

use protocol::admin::NodeSnapshot;
use serde_json::Value;
use std::process::{Command, Output};
use std::time::Duration;
use tests::harness::{Cluster, Plan, http, programs};

const SEED: u64 = 90;
const WITHIN: Duration = Duration::from_secs(40);
/// A command that has ended is nobody's guest. Who is not told of its end notices after the transport's silence, 4 s.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// A relay and an edge without cameras, linked.
async fn site() -> Cluster {
    let mut site = Plan::new(SEED).relay("hub").edge("yard").start();
    site.ready().await;
    let hub = site.node("hub").http;
    let look = async |_: &Cluster| http::get_json::<NodeSnapshot>(hub, "/api/v1/tree?node=yard").await.map(drop);
    site.eventually("the edge shows its tree through the relay", WITHIN, look).await;
    site
}

/// What the command says, as an operator, of the site's relay.
pub(super) fn watchtree(site: &Cluster, line: &str) -> Output {
    let (dir, port) = (site.dir(), site.node("hub").quic_port.expect("a relay listens"));
    let mut command = Command::new(programs::path("watchtree"));
    command.args(line.split_whitespace()).env("WATCHTREE_CONNECT", format!("127.0.0.1:{port}"));
    command.env("WATCHTREE_CA", dir.join("ca/ca.pem")).env("WATCHTREE_CERT", dir.join("tls-ca-operator/operator.pem"));
    command.env("WATCHTREE_KEY", dir.join("tls-ca-operator/operator.key")).output().expect("it starts")
}

#[track_caller]
pub(super) fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[track_caller]
pub(super) fn json(output: &Output) -> Value {
    serde_json::from_str(&done(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The one object on stderr.
#[track_caller]
fn told(output: &Output, kind: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let object: Value = serde_json::from_str(&stderr).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    object[kind].as_str().unwrap_or_else(|| panic!("no {kind}: {output:?}")).to_owned()
}

#[tokio::test]
async fn a_node_is_found_by_its_name_and_by_the_whole_of_its_identity() {
    let mut site = site().await;
    for path in ["yard/outbox", "main/edge/yard/outbox"] {
        let nodes = json(&watchtree(&site, &format!("tree {path} -o json")));
        let actors = nodes[0]["actors"].as_array().expect("a list");
        assert!(actors.len() == 1 && actors[0]["path"] == "yard/outbox", "{path}: {nodes}");
        let failures = done(&watchtree(&site, &format!("failures {path}")));
        assert_eq!(failures.trim_end(), format!("no failure is on record at or below {path}"));
        let restarted = json(&watchtree(&site, &format!("restart {path} -o json")));
        assert_eq!((&restarted["done"], &restarted["text"]), (&true.into(), &"yard/outbox was restarted".into()));
    }
    site.eventually("both nodes are healthy and ready", WITHIN, async |site| {
        let nodes = json(&watchtree(site, "nodes -o json"));
        let is_well = |node: &Value| node["state"] == "healthy" && node["ready"] == true;
        if is_well(&nodes[0]) && is_well(&nodes[1]) { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;

    let wrong = watchtree(&site, "tree yrad/outbox -o json");
    assert!(wrong.status.code() == Some(1) && wrong.stdout.is_empty(), "{wrong:?}");
    assert!(told(&wrong, "error").contains("no node is called yrad; there are: hub, yard"), "{wrong:?}");
}

#[tokio::test]
async fn a_command_that_has_ended_leaves_no_connection_behind() {
    let mut site = site().await;
    // Each ends in another way: with an answer, with a refusal, cut off by its reader.
    done(&watchtree(&site, "tree"));
    assert_eq!(watchtree(&site, "tree nowhere").status.code(), Some(1));
    assert_eq!(watchtree(&site, "park hub/gateway").status.code(), Some(1));
    let hub = site.node("hub").http;
    let gone = async |_: &Cluster| {
        let tree: NodeSnapshot = http::get_json(hub, "/api/v1/tree").await?;
        let guest = tree.actors.into_iter().find(|actor| actor.path.starts_with("hub/peers/main.operator."));
        guest.map_or(Ok(()), |guest| Err(format!("{} is still there", guest.path)))
    };
    site.eventually("the relay has no operator as its guest", GONE_WITHIN, gone).await;
}

#[tokio::test]
async fn a_node_that_hangs_is_not_taken_for_one_that_is_well() {
    let mut site = site().await;
    site.node("yard").pause();
    // At first it is linked and silent; then its link is gone.
    for _ in 0..2 {
        for path in ["yard", "main/edge/yard/cameras"] {
            let nodes = json(&watchtree(&site, &format!("tree {path} -o json")));
            let state = nodes[0]["state"].as_str().unwrap_or_default();
            assert!(nodes[0]["node"]["name"] == "yard" && ["silent", "gone"].contains(&state), "{path}: {nodes}");
        }
        let failures = watchtree(&site, "failures yard");
        let why = String::from_utf8_lossy(&failures.stderr);
        assert!(failures.status.code() == Some(1) && why.contains("its failures are on its own disk"), "{failures:?}");
        let all = watchtree(&site, "failures -o json");
        assert!(done(&all).is_empty() && told(&all, "warning").contains("main/edge/yard"), "{all:?}");
    }
    site.eventually("its relay says that it is down", WITHIN, async |site| {
        let nodes = json(&watchtree(site, "nodes -o json"));
        let is_told = nodes[1]["state"] == "down" && nodes[1]["ready"].is_null() && nodes[0]["ready"] == true;
        if is_told { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    site.node("yard").resume();
}
