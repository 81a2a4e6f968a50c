//! Siblings that go down and come up together: what that counts, and whom it ends.

use crate::helpers::*;
use std::time::Duration;
use supervision::{AutoShutdown, Failure, FailureKind, Intensity, Mailbox, Node, Root, State, Strategy, child};

const NAMES: [&str; 3] = ["a", "b", "c"];
const TOGETHER: [Strategy; 2] = [Strategy::OneForAll, Strategy::RestForOne];

fn made(journal: &Journal) -> [usize; 3] {
    NAMES.map(|name| journal.count(&format!("{name} made")))
}

/// Each of them answers, so nothing more is on its way.
async fn all_made(journal: &Journal, boxes: &[Mailbox<Msg>; 3], times: [usize; 3]) {
    eventually(&format!("made {times:?} times"), || made(journal) == times).await;
    for mailbox in boxes {
        assert!(count(mailbox).await.is_ok());
    }
    assert_eq!(made(journal), times);
}

fn puppets(boxes: &[Mailbox<Msg>; 3], journal: &Journal) -> Vec<Node> {
    NAMES.iter().zip(boxes).map(|(name, mailbox)| puppet(name, mailbox, journal)).collect()
}

async fn gives_up(mut root: Root) -> Failure {
    tokio::time::timeout(PATIENCE, root.failed()).await.expect("it gives up")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_goes_down_together_spends_one_restart() {
    for strategy in TOGETHER {
        let (boxes, journal) = ([mailbox(), mailbox(), mailbox()], Journal::default());
        let (root, _) = start(tree("top", strategy, 2, puppets(&boxes, &journal))).await;
        for n in 1..=2 {
            tell(&boxes[0], Msg::Panic(format!("{n}")));
            all_made(&journal, &boxes, [n + 1; 3]).await;
        }
        tell(&boxes[0], Msg::Panic("3".to_owned()));
        let failure = gives_up(root).await;
        assert_eq!(failure.text, "more than 2 restarts in 60s; last: top/a: panic: 3", "{strategy:?}");
    }
}

/// `a` fails; when it comes back with its siblings, `b` does not start, once.
async fn a_restart_that_fails_half_way(strategy: Strategy, restarts: u32) -> (Root, [Mailbox<Msg>; 3], Journal) {
    let (boxes, journal) = ([mailbox(), mailbox(), mailbox()], Journal::default());
    let writes = journal.clone();
    let make = move || {
        writes.write("b tried");
        if writes.count("b tried") == 2 { Err(Failure::error("not yet")) } else { Ok(Puppet::new("b", &writes)) }
    };
    let mut nodes = puppets(&boxes, &journal);
    nodes[1] = child("puppet", &boxes[1], make).named("b").backoff(BRISK).answers_within(NEVER_HANGS);
    let (root, _) = start(tree("top", strategy, restarts, nodes)).await;
    tell(&boxes[0], Msg::Panic("once".to_owned()));
    (root, boxes, journal)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_a_group_that_fails_counts_once_and_is_tried_again() {
    // With the next try, those that had come up already are started anew as the strategy says.
    for (strategy, times) in [(Strategy::OneForAll, [3, 2, 2]), (Strategy::RestForOne, [2, 2, 2])] {
        let (root, boxes, journal) = a_restart_that_fails_half_way(strategy, 2).await;
        all_made(&journal, &boxes, times).await;
        assert_eq!(journal.count("b tried"), 3, "{strategy:?}");
        root.stop().await;

        let (root, ..) = a_restart_that_fails_half_way(strategy, 1).await;
        let failure = gives_up(root).await;
        assert_eq!(failure.kind, FailureKind::Escalated);
        assert_eq!(failure.text, "more than 1 restarts in 60s; last: top/b: start: not yet", "{strategy:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_longer_ago_than_the_period_are_forgotten() {
    const PERIOD: Duration = Duration::from_millis(100);
    let (mailbox, journal) = (mailbox(), Journal::default());
    let mut tree = tree("top", Strategy::OneForOne, 0, vec![puppet("one", &mailbox, &journal)]);
    tree.intensity = Intensity { restarts: 1, within: PERIOD };
    let (root, roll) = start(tree).await;
    for n in 1..=4 {
        tell(&mailbox, Msg::Panic(format!("{n}")));
        eventually("it is restarted", || restarts(&roll, "top/one") == n).await;
        tokio::time::sleep(2 * PERIOD).await;
    }
    assert_eq!((count(&mailbox).await, state(&roll, "top")), (Ok(1), Some(State::Running)));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_significant_child_that_is_stopped_with_its_siblings_ends_nobody() {
    type Configure = fn(Node) -> Node;
    // A temporary child does not come back with its siblings.
    let table: [(Configure, usize); 2] = [(Node::transient, 2), (Node::temporary, 1)];
    for strategy in TOGETHER {
        for (configure, times) in table {
            let (boxes, journal) = ([mailbox(), mailbox(), mailbox()], Journal::default());
            let mut nodes = puppets(&boxes, &journal);
            let significant = configure(nodes.remove(1)).significant();
            nodes.insert(1, significant);
            let inner = Node::from(tree("inner", strategy, 5, nodes)).auto_shutdown(AutoShutdown::AnySignificant);
            let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![inner.transient()])).await;
            tell(&boxes[0], Msg::Panic("a".to_owned()));
            eventually("the siblings are back", || made(&journal) == [2, times, 2]).await;
            // The last one's answer comes after everything that its supervisor did for the others.
            assert_eq!(count(&boxes[2]).await, Ok(1));
            assert_eq!(count(&boxes[0]).await, Ok(1));
            assert_eq!(state(&roll, "top/inner"), Some(State::Running), "{strategy:?}");
            root.stop().await;
        }
    }
}
