//! What fails is told by its kind and started again; its siblings follow the strategy.

use crate::helpers::*;
use supervision::{Failure, FailureKind, State, Strategy, service};
use tokio::sync::oneshot;

/// One puppet is hurt; it comes back and the roll says why it was gone.
async fn check(hurt: Msg, kind: FailureKind, text: &str) {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (root, roll) = start(tree("top", Strategy::OneForOne, 3, vec![puppet("one", &mailbox, &journal)])).await;
    assert_eq!(count(&mailbox).await, Ok(1));
    tell(&mailbox, hurt);
    eventually("it restarts", || restarts(&roll, "top/one") == 1).await;
    assert_eq!(last(&roll, "top/one"), Failure { kind, text: text.to_owned() });
    assert_eq!(count(&mailbox).await, Ok(1), "the successor counts from new");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_with_its_text() {
    check(Msg::Panic("boom".to_owned()), FailureKind::Panic, "boom").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_told_apart_from_a_panic() {
    check(Msg::Fail("disk full".to_owned()), FailureKind::Error, "disk full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_fails_its_actor() {
    check(Msg::SpawnFailing("too slow".to_owned()), FailureKind::Hang, "too slow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_panics_fails_its_actor() {
    check(Msg::SpawnPanicking("oh".to_owned()), FailureKind::Panic, "oh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_takes_longer_than_it_may_fails_its_actor() {
    let text = "a task of it does not end, the limit is 10ms";
    check(Msg::SpawnEndless(std::time::Duration::from_millis(10)), FailureKind::Hang, text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_finished_takes_nothing_more() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let node = puppet("one", &mailbox, &journal).transient();
    let (root, roll) = start(tree("top", Strategy::OneForOne, 3, vec![node])).await;
    let (release, until) = oneshot::channel();
    tell(&mailbox, Msg::Hold(until));
    eventually("it holds", || mailbox.depth() == 0).await;
    // One batch.
    [Msg::Finish, Msg::Write("after its end".to_owned())].into_iter().for_each(|message| tell(&mailbox, message));
    release.send(()).expect("it holds");
    eventually("it has finished", || state(&roll, "top/one") == Some(State::Stopped)).await;
    assert_eq!((journal.count("one stopping"), journal.count("after its end")), (1, 0));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_by_itself_has_failed() {
    let node = service("fleeting", |_cx| async { Ok(()) }).parked().backoff(BRISK);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 2, vec![node])).await;
    eventually("it is parked", || state(&roll, "top/fleeting") == Some(State::Parked)).await;
    assert_eq!(last(&roll, "top/fleeting"), Failure::error("ended by itself"));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_panics_has_failed() {
    let node = service("jumpy", |_cx| async { panic!("boo") }).parked().backoff(BRISK);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 1, vec![node])).await;
    eventually("it is parked", || state(&roll, "top/jumpy") == Some(State::Parked)).await;
    assert_eq!(last(&roll, "top/jumpy"), Failure::panic("boo"));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_for_one_touches_no_sibling() {
    let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
    let children = vec![puppet("a", &a, &journal), puppet("b", &b, &journal)];
    let (root, roll) = start(tree("top", Strategy::OneForOne, 3, children)).await;
    tell(&a, Msg::Panic("a".to_owned()));
    eventually("a restarts", || restarts(&roll, "top/a") == 1).await;
    assert_eq!((journal.count("a made"), journal.count("b made")), (2, 1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_for_one_restarts_those_after_it_in_order_and_nobody_before() {
    let (a, b, c, journal) = (mailbox(), mailbox(), mailbox(), Journal::default());
    let children = vec![puppet("a", &a, &journal), puppet("b", &b, &journal), puppet("c", &c, &journal)];
    let (root, roll) = start(tree("top", Strategy::RestForOne, 3, children)).await;
    tell(&b, Msg::Panic("b".to_owned()));
    eventually("c restarts", || restarts(&roll, "top/c") == 1).await;
    let start = ["a", "b", "c"].iter().flat_map(|name| [format!("{name} made"), format!("{name} started")]);
    let after = start.collect::<Vec<_>>().len();
    let story = journal.read()[after..].to_vec();
    // b's own end may be told before or after c's stop; it is over before b is made again.
    let made = ["b dropped", "c stopping", "c dropped"].map(|entry| journal.position(entry));
    let again = story.iter().position(|entry| entry == "b made").expect("b is made again") + after;
    assert!(made.iter().all(|&at| at < again), "{story:?}");
    assert_eq!(journal.read()[again..], ["b made", "b started", "c made", "c started"]);
    assert_eq!(journal.count("a made"), 1);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_fails_to_start_is_tried_again() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (attempts, writes) = (journal.clone(), journal.clone());
    let make = move || {
        attempts.write("attempt");
        match attempts.count("attempt") {
            2 | 3 => Err(Failure::error("not yet")),
            _ => Ok(Puppet::new("one", &writes)),
        }
    };
    let node = supervision::child("puppet", &mailbox, make).backoff(BRISK).answers_within(NEVER_HANGS);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    tell(&mailbox, Msg::Panic("again".to_owned()));
    assert_eq!(count(&mailbox).await, Ok(1), "a question waits for the one who can answer it");
    assert_eq!(journal.count("attempt"), 4);
    assert_eq!(last(&roll, "top/puppet"), Failure::start("not yet"));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_restart_after_health_does_not_wait_for_a_siblings_failures() {
    let (a, b, journal) = (mailbox(), mailbox(), Journal::default());
    let long = supervision::Backoff { base: PATIENCE * 10, max: PATIENCE * 10 };
    let children = vec![puppet("a", &a, &journal), puppet("b", &b, &journal).backoff(long)];
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, children)).await;
    tell(&a, Msg::Panic("a".to_owned()));
    eventually("a restarts", || restarts(&roll, "top/a") == 1).await;
    tell(&b, Msg::Panic("b".to_owned()));
    eventually("b restarts", || restarts(&roll, "top/b") == 1).await;
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_hand_when_the_actor_dies_is_answered_gone() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![puppet("one", &mailbox, &journal)])).await;
    let (release, until) = oneshot::channel();
    let (reply, in_hand) = oneshot::channel();
    mailbox.tell(Msg::HoldAndPanic(until, reply)).expect("there is room");
    eventually("it is in hand", || mailbox.depth() == 0).await;
    let waits = tokio::spawn({
        let mailbox = mailbox.clone();
        async move { count(&mailbox).await }
    });
    eventually("the next waits", || mailbox.depth() == 1).await;
    release.send(()).expect("the puppet holds");
    assert!(in_hand.await.is_err());
    assert_eq!(waits.await.expect("the task ends"), Ok(1), "what waited is the successor's first work");
    root.stop().await;
}
