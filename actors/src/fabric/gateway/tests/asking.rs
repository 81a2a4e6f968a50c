//! What viewers ask of a relay and, through it, of its edges: neither too much nor all at once.

use super::*;
use crate::fabric::testing::Audit;
use protocol::admin::NodeSnapshot;
use protocol::codec;
use protocol::limits::MESSAGE_BYTES_MAX;
use tokio::sync::oneshot;

/// With a path so long that the request is the largest message there may be.
fn longest(request: impl Fn(String) -> Request) -> Request {
    let mut path = format!("yard/{}", "x".repeat(MESSAGE_BYTES_MAX));
    loop {
        let surplus = codec::encode(&request(path.clone())).len().saturating_sub(MESSAGE_BYTES_MAX);
        if surplus == 0 {
            return request(path);
        }
        path.truncate(path.len() - surplus);
    }
}

async fn heard(rx: &mut Rx) -> Down {
    timeout(WITHIN, rx.recv::<Down>()).await.expect("in time").expect("is readable").expect("the stream is open")
}

/// The tree of an edge with one actor.
fn tree(node: &str) -> Box<NodeSnapshot> {
    let facts = Facts::new(node.parse().expect("an identity"), Roll::default(), Health::default());
    let (boot, up_since) = (facts.boot, facts.up_since);
    Box::new(NodeSnapshot {
        node: facts.node,
        boot,
        up_since,
        software: "test".to_owned(),
        ready: true,
        notes: Vec::new(),
        actors: Vec::new(),
        actors_omitted: 0,
        ledgers: Vec::new(),
        outbox: None,
    })
}

#[tokio::test]
async fn a_request_as_long_as_a_message_may_be_is_refused_and_cuts_nobody_off() {
    let site = Fixture::of(Role::Relay).await;
    let (yard, _tx, mut rx) = site.link_as("main/edge/yard").await;
    let failures = longest(|path| Request::Failures { path: Some(path), limit: u32::MAX });
    let tree = longest(|path| Request::Tree { path: Some(path) });
    for request in [failures, tree] {
        assert_eq!(codec::encode(&request).len(), MESSAGE_BYTES_MAX);
        let replies = site.ask("main/viewer/bob", request).await;
        let [Reply::Refused(why)] = &replies[..] else { panic!("{replies:?}") };
        assert!(why.contains("longer than any"), "{why}");
    }
    assert_eq!(yard.close_code(), None);
    let asking = site.ask("main/viewer/bob", Request::Tree { path: Some("yard/link".to_owned()) });
    let (_, asked) = tokio::join!(timeout(Duration::from_secs(3), asking), heard(&mut rx));
    assert_eq!(asked, Down::Snapshot { call: 1, path: Some("yard/link".to_owned()) }, "it was asked nothing before");
}

#[tokio::test]
async fn trees_are_passed_on_as_they_come() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, mut yard_tx, mut yard_rx) = site.link_as("main/edge/yard").await;
    let (_barn, mut barn_tx, mut barn_rx) = site.link_as("main/edge/barn").await;
    let (seen, yard_is_seen) = oneshot::channel();
    let yard = async {
        let Down::Snapshot { call, .. } = heard(&mut yard_rx).await else { panic!("it is asked for its tree") };
        yard_tx.send(&Up::Snapshot { call, snapshot: tree("main/edge/yard") }).await.expect("is sent");
    };
    // Answers when the yard's tree has arrived: whoever collects them first waits for it in vain.
    let barn = async {
        let Down::Snapshot { call, .. } = heard(&mut barn_rx).await else { panic!("it is asked for its tree") };
        yard_is_seen.await.expect("the viewer reads on");
        barn_tx.send(&Up::Snapshot { call, snapshot: tree("main/edge/barn") }).await.expect("is sent");
    };
    let viewer = async {
        let connection = site.dial_with(&credentials(&site.dir, "main/viewer/bob")).await;
        let (mut tx, mut rx) = connection.open_bi(&Open::Admin).await.expect("a stream");
        tx.send(&Request::Tree { path: None }).await.expect("is sent");
        let (mut seen, mut nodes) = (Some(seen), Vec::new());
        loop {
            match timeout(WITHIN, rx.recv()).await.expect("in time").expect("is readable") {
                Some(Reply::Node(node)) => nodes.push(node.node.to_string()),
                Some(Reply::Done) => return nodes,
                other => panic!("{other:?}"),
            }
            if nodes.last().is_some_and(|node| node == "main/edge/yard") {
                seen.take().expect("once").send(()).expect("the barn waits");
            }
        }
    };
    let (nodes, ..) = tokio::join!(viewer, yard, barn);
    assert_eq!(nodes, ["main/relay/hub", "main/edge/yard", "main/edge/barn"]);
}

#[tokio::test]
async fn whoever_asks_for_failures_is_told_what_is_missing() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, mut tx, mut rx) = site.link_as("main/edge/yard").await;
    let (barn, ..) = site.link_as("main/edge/barn").await;
    barn.close(CloseCode::Done, "the test leaves");
    site.proxies_are(&["main.edge.yard"]).await;
    let yard = async {
        let Down::Failures { call, limit, .. } = heard(&mut rx).await else { panic!("it is asked for its failures") };
        assert_eq!(limit, 500);
        tx.send(&Up::Failures { call, failures: Vec::new(), omitted: 400 }).await.expect("is sent");
    };
    let asking = site.ask("main/viewer/bob", Request::Failures { path: None, limit: 500 });
    let (mut replies, ()) = tokio::join!(asking, yard);
    assert_eq!(replies.pop(), Some(Reply::Done));
    let missing: Vec<String> = replies
        .into_iter()
        .map(|reply| match reply {
            Reply::Missing { node, why } => format!("{node}: {why}"),
            other => panic!("{other:?}"),
        })
        .collect();
    let [one, other] = &missing[..] else { panic!("{missing:?}") };
    let (yard, barn) = if one.starts_with("main/edge/yard") { (one, other) } else { (other, one) };
    assert!(yard.contains("400 older failures of yard"), "{yard}");
    assert!(barn.contains("main/edge/barn is not linked now"), "{barn}");
}

#[tokio::test]
async fn the_relay_audits_what_came_of_an_act_that_took_long() {
    let audit = Audit::default();
    let _here = tracing::subscriber::set_default(audit.clone());
    let site = Fixture::of(Role::Relay).await;
    let (_yard, mut tx, mut rx) = site.link_as("main/edge/yard").await;
    let edge = async {
        let Down::Steer { call, .. } = heard(&mut rx).await else { panic!("it is steered") };
        let told = Steered::under_way("restart of yard/outbox is under way");
        tx.send(&Up::Steered { call, result: Ok(told) }).await.expect("is sent");
        call
    };
    let asking = site.ask("main/operator/ada", Request::Steer { path: "yard/outbox".to_owned(), act: Act::Restart });
    let (replies, call) = tokio::join!(asking, edge);
    let [Reply::Steered(told)] = &replies[..] else { panic!("{replies:?}") };
    assert!(!told.done, "{told:?}");
    tx.send(&Up::Steered { call, result: Ok(Steered::done("restarted")) }).await.expect("is sent");
    let known = async {
        while audit.read() != ["under way", "steered"] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(WITHIN, known).await.unwrap_or_else(|_| panic!("{:?}", audit.read()));
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_missing_and_not_without_such_a_part() {
    let site = Fixture::of(Role::Relay).await;
    let (_yard, _tx, _rx) = site.link_as("main/edge/yard").await;
    for path in ["yard", "main/edge/yard/cameras"] {
        let replies = site.ask("main/viewer/bob", Request::Tree { path: Some(path.to_owned()) }).await;
        let [Reply::Missing { node, why }, Reply::Done] = &replies[..] else { panic!("{path}: {replies:?}") };
        assert_eq!(node.to_string(), "main/edge/yard");
        assert!(why.contains("does not show its tree now: main/edge/yard did not answer within 2 s"), "{why}");
    }
    let named = site.ask("main/viewer/bob", Request::Failures { path: Some("yard".to_owned()), limit: 10 }).await;
    let [Reply::Refused(why)] = &named[..] else { panic!("{named:?}") };
    assert!(why.contains("did not answer within 2 s") && why.contains("on its own disk"), "{why}");
}
