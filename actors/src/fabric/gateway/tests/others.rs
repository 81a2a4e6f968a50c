//! What an edge tells of others: nothing that anybody hears.

use super::*;
use protocol::admin::{ActorStatus, FailureRecord, NodeSnapshot};
use protocol::frame::{Ledger, Tally};

fn row(path: &str) -> ActorStatus {
    ActorStatus {
        path: path.to_owned(),
        state: "failed".to_owned(),
        restarts: 0,
        since: Timestamp::now(),
        last_reason: None,
        note: None,
        class: "store".to_owned(),
        pid: None,
        waiting: None,
        waiting_max: None,
        handled: None,
        cpu_ms: None,
        memory_bytes: None,
        resumes: None,
    }
}

fn ledger(edge: &str) -> Ledger {
    Ledger { asker: Epoch(7), edge: edge.to_owned(), state: LedgerState::Open, tally: Tally::default() }
}

fn snapshot() -> Box<NodeSnapshot> {
    Box::new(NodeSnapshot {
        node: "main/relay/hub".parse().expect("an identity"),
        boot: Epoch(1),
        up_since: Timestamp::now(),
        software: "test".to_owned(),
        ready: true,
        notes: Vec::new(),
        actors: ["yard/outbox", "hub/store", "barn/outbox", "yardstick/outbox"].map(row).to_vec(),
        actors_omitted: 0,
        ledgers: ["main/edge/yard", "main/edge/barn"].map(ledger).to_vec(),
        outbox: None,
    })
}

fn failure(path: &str) -> FailureRecord {
    let (kind, text, then) = ("panic".to_owned(), "made up".to_owned(), "restarted".to_owned());
    let node = "main/relay/hub".parse().expect("an identity");
    FailureRecord { node, at: Timestamp::now(), path: path.to_owned(), kind, text, then, lived_ms: None }
}

#[tokio::test]
async fn an_edge_tells_of_its_own_actors_frames_and_failures_and_of_nobody_elses() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, mut tx, mut rx) = site.link_as("main/edge/yard").await;
    let edge = async {
        for _ in 0..2 {
            let answer = match timeout(WITHIN, rx.recv::<Down>()).await.expect("in time").expect("is readable") {
                Some(Down::Snapshot { call, .. }) => Up::Snapshot { call, snapshot: snapshot() },
                Some(Down::Failures { call, .. }) => {
                    let failures = ["yard/outbox", "hub/store", "barn/outbox"].map(failure).to_vec();
                    Up::Failures { call, failures, omitted: 0 }
                }
                other => panic!("{other:?}"),
            };
            tx.send(&answer).await.expect("is sent");
        }
    };
    let asking = async {
        let trees = site.ask("main/viewer/bob", Request::Tree { path: None }).await;
        let failures = site.ask("main/viewer/bob", Request::Failures { path: None, limit: 10 }).await;
        (trees, failures)
    };
    let ((trees, failures), ()) = tokio::join!(asking, edge);
    let told = trees.iter().find_map(|reply| match reply {
        Reply::Node(tree) if tree.node.to_string() == "main/edge/yard" => Some(tree),
        _ => None,
    });
    let told = told.expect("it is there under its own name");
    let paths: Vec<&str> = told.actors.iter().map(|actor| actor.path.as_str()).collect();
    assert_eq!(paths, ["yard/outbox"]);
    let edges: Vec<&str> = told.ledgers.iter().map(|ledger| ledger.edge.as_str()).collect();
    assert_eq!(edges, ["main/edge/yard"]);
    let told: Vec<String> = failures
        .iter()
        .filter_map(|reply| match reply {
            Reply::Failure(failure) => Some(format!("{} {}", failure.node, failure.path)),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["main/edge/yard yard/outbox"]);
}

#[tokio::test]
async fn an_answer_to_another_connections_call_is_nobodys() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, _yard_tx, mut yard_rx) = site.link_as("main/edge/yard").await;
    let (_barn, mut barn_tx, _barn_rx) = site.link_as("main/edge/barn").await;
    let others = async {
        let asked = timeout(WITHIN, yard_rx.recv::<Down>()).await.expect("in time").expect("is readable");
        let Some(Down::Steer { call, .. }) = asked else { panic!("{asked:?}") };
        barn_tx.send(&Up::Steered { call, result: Ok(Steered::done("made up")) }).await.expect("is sent");
    };
    let steering = site.steer("main/operator/ada", "yard/outbox", Act::Restart);
    let steering = async { timeout(Duration::from_secs(2), steering).await };
    let (told, ()) = tokio::join!(steering, others);
    assert!(told.is_err(), "the barn answered for the yard: {told:?}");
}
