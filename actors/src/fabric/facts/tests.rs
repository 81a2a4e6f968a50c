//! What the audit log says of an act that takes its time.

use super::*;
use crate::fabric::testing::Audit;
use protocol::Act;
use std::time::Duration;
use supervision::{Actor, Context, Failure, Intensity, Mailbox, Overflow, Root, Strategy, Tree, child};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const PATH: &str = "yard/door";

/// Stops when it is let go.
struct Slow(Arc<Semaphore>);

impl Actor for Slow {
    type Msg = ();

    async fn handle(&mut self, (): (), _cx: &mut Context<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn stopping(&mut self, _cx: &mut Context<()>) {
        let _ = self.0.acquire().await;
    }
}

#[tokio::test]
async fn an_act_that_takes_long_is_under_way_until_it_is_done() {
    let audit = Audit::default();
    let _here = tracing::subscriber::set_default(audit.clone());
    let (let_go, mailbox) = (Arc::new(Semaphore::new(0)), Mailbox::new("door", 1, Overflow::Wait));
    let slow = let_go.clone();
    let door = child("door", &mailbox, move || Ok(Slow(slow.clone()))).stop_within(Duration::from_secs(60));
    let intensity = Intensity { restarts: 1, within: Duration::from_secs(60) };
    let tree = Tree { name: "yard".to_owned(), strategy: Strategy::OneForOne, intensity, children: vec![door] };
    let node = "main/edge/yard".parse().expect("an identity");
    let facts = Facts::new(node, Roll::default(), Health::default());
    let root = Root::start(tree, facts.roll.clone()).await.expect("starts");

    let by: Identity = "main/operator/ada".parse().expect("an identity");
    let Steering { told, end } = facts.steer_within(Duration::from_millis(50), PATH.to_owned(), Act::Restart, by).await;
    let told = told.expect("it is obeyed");
    assert!(!told.done && told.text.starts_with("restart of yard/door is under way"), "{told:?}");
    assert_eq!(audit.read(), ["under way"]);
    let_go.add_permits(10);
    let done = timeout(Duration::from_secs(20), end.expect("it has an end")).await.expect("the door was let go");
    assert!(done.is_ok_and(|done| done.done));
    assert_eq!(audit.read(), ["under way", "steered"]);
    assert_eq!(facts.roll.get(PATH).expect("it is there").restarts, 1);
    root.stop().await;
}

/// Whoever may see a shared node may not see every node that is linked to it.
#[tokio::test]
async fn what_is_wrong_with_other_nodes_is_not_among_a_node_s_own_notes() {
    let facts = Facts::new("main/relay/hub".parse().expect("an identity"), Roll::default(), Health::default());
    facts.health.shows_nodes(|| vec![("peer acme/edge/yard".to_owned(), Err("is gone".to_owned()))]);
    facts.health.shows("disk", || Err("is nearly full".to_owned()));
    assert_eq!(facts.health.checks().len(), 2);
    assert_eq!(facts.snapshot(None).await.notes, ["disk: is nearly full"]);
}

#[tokio::test]
async fn as_many_failures_are_told_as_fit_one_message_and_the_others_counted() {
    // To be parked by hand is on record as a failure is; sixteen are kept of each.
    let names: Vec<String> = (0..7).map(|n| format!("door-{n}")).collect();
    let door = |name: &String| {
        let mailbox = Mailbox::new("door", 1, Overflow::Wait);
        child("door", &mailbox, || Ok(Slow(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))))).named(name)
    };
    let intensity = Intensity { restarts: 1, within: Duration::from_secs(60) };
    let children = names.iter().map(door).collect();
    let tree = Tree { name: "yard".to_owned(), strategy: Strategy::OneForOne, intensity, children };
    let facts = Facts::new("main/edge/yard".parse().expect("an identity"), Roll::default(), Health::default());
    let root = Root::start(tree, facts.roll.clone()).await.expect("starts");
    for path in names.iter().map(|name| format!("yard/{name}")) {
        for _ in 0..16 {
            facts.roll.steer(&path, supervision::Act::Park, "ada").await.expect("is done");
            facts.roll.steer(&path, supervision::Act::Resume, "ada").await.expect("is done");
        }
    }
    let told = |path, limit| {
        let (failures, omitted) = facts.failures_that_fit(path, limit);
        (failures.len(), omitted)
    };
    assert_eq!([told(None, 1000), told(None, 105), told(None, 50)], [(100, 12), (100, 5), (50, 0)]);
    assert_eq!(told(Some("yard/door-3"), 1000), (16, 0));
    let newest = facts.failures_that_fit(None, 1000).0.pop().expect("a hundred");
    assert_eq!(newest.path, "yard/door-6");
    root.stop().await;
}
