//! Who speaks for a link, and who steers over it.

use super::answers::{THROUGH_ITS_RELAY, refused};
use super::*;
use crate::fabric::testing::Pair;
use protocol::cameras::CameraChange;
use protocol::roles::{self, Listed};
use protocol::{Act, Identity};

fn published(link: &Link) -> Option<usize> {
    link.connections().borrow().as_ref().map(Connection::id)
}

#[tokio::test]
async fn one_that_was_blocked_takes_nothing_from_its_successor_when_it_wakes() {
    let (pair, link) = (Pair::new(), Link::new(vec!["127.0.0.1:1".parse().expect("an address")], Role::Relay));
    let ((first, _first), (second, _second)) = (pair.connect().await, pair.connect().await);
    let blocked = Turn::begin(&link);
    let up = blocked.publish(&first, "linked first".to_owned());
    assert_eq!(published(&link), Some(first.id()));

    let successor = Turn::begin(&link);
    assert_eq!(published(&link), None, "nobody answers on it any more");
    assert!(first.closed().await.contains("was restarted"));
    let up_again = successor.publish(&second, "linked again".to_owned());
    drop(up);
    drop(blocked.publish(&first, "linked first".to_owned()));
    assert_eq!((published(&link), link.state()), (Some(second.id()), "linked again".to_owned()));
    drop(up_again);
    assert_eq!(published(&link), None, "its own it takes away");
}

/// One of each, as a peer may make them up.
fn all_down() -> Vec<Down> {
    let by = identity("main/operator/ada");
    let change = CameraChange::Remove { keys: Vec::new() };
    vec![
        Down::Welcome { node: "x".to_owned(), software: "x".to_owned() },
        Down::Snapshot { call: 1, path: None },
        Down::Steer { call: 2, path: "yard/outbox".to_owned(), act: Act::Restart, by: by.clone() },
        Down::Failures { call: 3, path: None, limit: 1 },
        Down::Pong { call: 4, answer: Err("x".to_owned()) },
        Down::Directory(Vec::new()),
        Down::Cameras { call: 5, camera: None },
        Down::ChangeCamera { call: 2, camera: None, change, by },
    ]
}

#[test]
fn only_a_relay_steers_and_says_where_the_frames_go() {
    let facts = |role| {
        let node = Identity { role, ..identity("main/edge/yard") };
        Facts::new(node, supervision::Roll::default(), crate::api::health::Health::default())
    };
    for (here, upstream, wanted) in [
        (Role::Edge, "main/relay/hub", vec![]),
        (Role::Edge, "main/gpu/engine", vec!["steer", "directory", "cameras", "change-camera"]),
        (Role::Gpu, "main/relay/hub", vec!["directory", "cameras", "change-camera"]),
        (Role::Gpu, "main/edge/barn", all_down().iter().map(|down| down.row().name).collect()),
    ] {
        let upstream = identity(upstream);
        let denied = all_down().into_iter().filter(|down| !roles::may(here, upstream.role, down.row()));
        let denied: Vec<Down> = denied.collect();
        let names: Vec<_> = denied.iter().map(|down| down.row().name).collect();
        assert_eq!(names, wanted, "{upstream} to {here}");
        for down in denied {
            match (down.row().name, refused(&facts(here), &upstream, down)) {
                ("steer" | "change-camera", Ok(Up::Steered { call: 2, result: Err(why) })) => {
                    assert_eq!(why, THROUGH_ITS_RELAY)
                }
                (name, Err(why)) => assert!(why.contains(name) && why.contains("role"), "{why}"),
                (name, told) => panic!("{name}: {told:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_gpu_node_that_says_what_only_relays_say_loses_the_link() {
    let pair = Pair::new();
    let (edge, relay) = pair.connect().await;
    let (_edge_tx, mut edge_rx) = edge.open_bi(&Open::Control).await.expect("a stream");
    let (_, mut tx, _rx) = relay.accept_bi().await.expect("a stream").open().await.expect("says what it is");
    let facts = Facts::new(identity("main/edge/yard"), supervision::Roll::default(), Default::default());
    tx.send(&Down::Directory(Vec::new())).await.expect("is sent");
    let (mut edge_tx, _) = edge.open_bi(&Open::Events).await.expect("a stream");
    let engine = identity("main/gpu/engine");
    let asked = Asks::new(Role::Gpu).on(&edge);
    let mut uses = Uses { label: String::new(), news: None, asked, clips: Clips::default() };
    let ended = answer(&mut edge_tx, &mut edge_rx, &mut uses, &facts, &engine);
    let why = timeout(Duration::from_secs(20), ended).await.expect("it ends");
    assert!(why.contains("the role gpu may not say directory"), "{why}");
}

fn identity(text: &str) -> Identity {
    text.parse().expect("an identity")
}
