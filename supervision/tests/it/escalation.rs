//! Too many failures: a child is parked, or its supervisor fails in turn.

use crate::helpers::*;
use supervision::{FailureKind, Gone, Node, State, Strategy, TellError};

async fn panic_times(mailbox: &supervision::Mailbox<Msg>, times: usize) {
    for n in 0..times {
        tell(mailbox, Msg::Panic(format!("panic {}", n + 1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_budget_is_survived() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (root, roll) = start(tree("top", Strategy::OneForOne, 3, vec![puppet("one", &mailbox, &journal)])).await;
    panic_times(&mailbox, 3).await;
    assert_eq!(count(&mailbox).await, Ok(1));
    eventually("each restart is counted", || restarts(&roll, "top/one") == 3).await;
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_than_the_budget_fails_the_tree_with_the_innermost_reason() {
    let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
    let children = vec![puppet("a", &a, &journal), puppet("b", &b, &journal)];
    let (mut root, roll) = start(tree("top", Strategy::OneForOne, 3, children)).await;
    panic_times(&b, 4).await;
    let failure = root.failed().await;
    assert_eq!(failure.kind, FailureKind::Escalated);
    assert_eq!(failure.text, "more than 3 restarts in 60s; last: top/b: panic: panic 4");
    assert_eq!(root.failed().await, failure, "it may be asked twice");
    assert_eq!(state(&roll, "top"), Some(State::Failed));
    assert_eq!(state(&roll, "top/b"), Some(State::Failed));
    assert_eq!(journal.count("a stopping"), 1, "its siblings were stopped in good order");
    assert_eq!(count(&a).await, Err(Gone("puppet")));
    assert_eq!(count(&b).await, Err(Gone("puppet")));
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_share_the_budget_of_their_supervisor() {
    let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
    let children = vec![puppet("a", &a, &journal), puppet("b", &b, &journal)];
    let (mut root, roll) = start(tree("top", Strategy::OneForOne, 3, children)).await;
    panic_times(&a, 2).await;
    eventually("a is back", || restarts(&roll, "top/a") == 2).await;
    panic_times(&b, 2).await;
    assert_eq!(root.failed().await.kind, FailureKind::Escalated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subtree_that_gives_up_is_restarted_by_the_supervisor_above_and_loses_no_message() {
    let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
    let inner = tree("inner", Strategy::OneForOne, 1, vec![puppet("a", &a, &journal), puppet("b", &b, &journal)]);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 3, vec![Node::from(inner).backoff(BRISK)])).await;
    panic_times(&b, 2).await;
    tell(&b, Msg::Write("waited".to_owned()));
    eventually("the message is handled", || journal.count("waited") == 1).await;
    eventually("the restart is counted", || restarts(&roll, "top/inner") == 1).await;
    assert_eq!(last(&roll, "top/inner").text, "more than 1 restarts in 60s; last: top/inner/b: panic: panic 2");
    assert_eq!(count(&a).await, Ok(1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_innermost_reason_passes_through_every_supervisor() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let inner = tree("inner", Strategy::OneForOne, 0, vec![puppet("one", &mailbox, &journal)]);
    let middle = tree("middle", Strategy::OneForOne, 0, vec![inner.into()]);
    let (mut root, _) = start(tree("top", Strategy::OneForOne, 0, vec![middle.into()])).await;
    panic_times(&mailbox, 1).await;
    let failure = root.failed().await;
    assert_eq!(failure.text, "more than 0 restarts in 60s; last: top/middle/inner/one: panic: panic 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_child_leaves_its_siblings_untouched_and_refuses_at_once() {
    for strategy in [Strategy::OneForOne, Strategy::RestForOne] {
        let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
        let children = vec![puppet("a", &a, &journal).parked(), puppet("b", &b, &journal)];
        let (root, roll) = start(tree("top", strategy, 2, children)).await;
        panic_times(&a, 3).await;
        eventually("a is parked", || state(&roll, "top/a") == Some(State::Parked)).await;
        assert_eq!(last(&roll, "top/a").text, "panic 3");
        assert_eq!(count(&a).await, Err(Gone("puppet")));
        assert!(matches!(a.tell(Msg::Hang), Err(TellError::Gone(_))));
        assert!(count(&b).await.is_ok());
        assert_eq!(state(&roll, "top/b"), Some(State::Running));
        if strategy == Strategy::OneForOne {
            assert_eq!(journal.count("b made"), 1);
        }
        root.stop().await;
        assert_eq!(state(&roll, "top/a"), Some(State::Parked), "its reason stays readable");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parking_child_does_not_spend_its_supervisors_budget() {
    let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
    let children = vec![puppet("a", &a, &journal).parked(), puppet("b", &b, &journal)];
    let (root, roll) = start(tree("top", Strategy::OneForOne, 2, children)).await;
    panic_times(&a, 3).await;
    eventually("a is parked", || state(&roll, "top/a") == Some(State::Parked)).await;
    panic_times(&b, 2).await;
    assert_eq!(count(&b).await, Ok(1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_subtree_refuses_for_all_in_it() {
    let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
    let inner = tree("camera", Strategy::OneForOne, 0, vec![puppet("a", &a, &journal), puppet("b", &b, &journal)]);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 0, vec![Node::from(inner).parked()])).await;
    panic_times(&b, 1).await;
    eventually("the subtree is parked", || state(&roll, "top/camera") == Some(State::Parked)).await;
    assert_eq!(count(&a).await, Err(Gone("puppet")));
    assert_eq!(count(&b).await, Err(Gone("puppet")));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_already_waits_for_a_child_is_told_when_it_is_parked() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let children = vec![puppet("one", &mailbox, &journal).parked()];
    let (root, _) = start(tree("top", Strategy::OneForOne, 0, children)).await;
    let (release, until) = tokio::sync::oneshot::channel();
    tell(&mailbox, Msg::Hold(until));
    panic_times(&mailbox, 1).await;
    let asked = mailbox.clone();
    let waits = tokio::spawn(async move { count(&asked).await });
    eventually("the question waits", || mailbox.depth() >= 2).await;
    release.send(()).expect("the puppet holds");
    assert_eq!(waits.await.expect("the task ends"), Err(Gone("puppet")));
    root.stop().await;
}
