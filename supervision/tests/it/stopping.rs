//! Start in order, stop in reverse, each within its deadline and then by force.

use crate::helpers::*;
use std::time::Duration;
use supervision::{Failure, Gone, Mailbox, Node, Roll, Root, State, Strategy, child, service};

#[tokio::test(flavor = "multi_thread")]
async fn start_is_in_list_order_and_stop_the_reverse_through_all_levels() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let inner =
        tree("inner", Strategy::OneForOne, 3, vec![puppet("b", &mailbox, &journal), puppet("c", &mailbox, &journal)]);
    let children = vec![puppet("a", &mailbox, &journal), inner.into(), puppet("d", &mailbox, &journal)];
    let (root, roll) = start(tree("top", Strategy::OneForOne, 3, children)).await;
    assert_eq!(state(&roll, "top/inner/c"), Some(State::Running));
    root.stop().await;
    let up = ["a", "b", "c", "d"].iter().flat_map(|name| [format!("{name} made"), format!("{name} started")]);
    let down = ["d", "c", "b", "a"].iter().flat_map(|name| [format!("{name} stopping"), format!("{name} dropped")]);
    assert_eq!(journal.read(), up.chain(down).collect::<Vec<_>>());
    for path in ["top", "top/a", "top/inner", "top/inner/b", "top/d"] {
        assert_eq!(state(&roll, path), Some(State::Stopped), "{path}");
    }
    assert_eq!(count(&mailbox).await, Err(Gone("puppet")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_undoes_the_earlier_ones_in_reverse_and_closes_every_mailbox() {
    let (before, after, journal) = (mailbox(), mailbox(), Journal::default());
    let refusing = child("refusing", &mailbox(), || Err::<Puppet, _>(Failure::error("no such disk")));
    let inner = tree("inner", Strategy::OneForOne, 3, vec![puppet("b", &before, &journal), refusing]);
    let children = vec![puppet("a", &before, &journal), inner.into(), puppet("c", &after, &journal)];
    let roll = Roll::default();
    let Err(failure) = Root::start(tree("top", Strategy::OneForOne, 3, children), roll.clone()).await else {
        panic!("the tree does not start");
    };
    assert_eq!(failure, Failure::start("top/inner/refusing: no such disk"));
    let made = ["a made", "a started", "b made", "b started"];
    let undone = ["b stopping", "b dropped", "a stopping", "a dropped"];
    assert_eq!(journal.read(), [made, undone].concat());
    assert_eq!(state(&roll, "top/inner/refusing"), Some(State::Failed));
    assert_eq!(count(&before).await, Err(Gone("puppet")));
    assert_eq!(count(&after).await, Err(Gone("puppet")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_starting_is_told_as_a_panic() {
    let panicking = child("panicking", &mailbox(), || -> Result<Puppet, Failure> { panic!("bad day") });
    let Err(failure) = Root::start(tree("top", Strategy::OneForOne, 3, vec![panicking]), Roll::default()).await else {
        panic!("the tree does not start");
    };
    assert_eq!(failure, Failure::panic("top/panicking: bad day"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parking_child_that_does_not_start_keeps_nobody_from_starting() {
    for strategy in [Strategy::OneForOne, Strategy::RestForOne] {
        let (mailbox, journal) = (mailbox(), Journal::default());
        let attempts = journal.clone();
        let refusing = child("camera", &crate::helpers::mailbox(), move || {
            attempts.write("attempt");
            Err::<Puppet, _>(Failure::error("no such camera"))
        });
        let children = vec![refusing.parked().backoff(BRISK), puppet("b", &mailbox, &journal)];
        let (root, roll) = start(tree("top", strategy, 2, children)).await;
        eventually("it is parked", || state(&roll, "top/camera") == Some(State::Parked)).await;
        assert_eq!(count(&mailbox).await, Ok(1));
        assert_eq!((journal.count("attempt"), journal.count("b made")), (3, 1), "{strategy:?}");
        root.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_stop_in_time_is_killed_and_the_others_stop_in_good_order() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let writes = journal.clone();
    let stubborn = child("puppet", &mailbox, move || Ok(Puppet::new("stubborn", &writes).stubborn()));
    let children =
        vec![puppet("a", &mailbox, &journal), stubborn.named("stubborn").stop_within(Duration::from_millis(50))];
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, children)).await;
    root.stop().await;
    let end = ["stubborn stopping", "stubborn dropped", "a stopping", "a dropped"];
    assert_eq!(journal.read()[4..], end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_hangs_in_a_message_is_killed_with_its_tasks() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let hanging = puppet("one", &mailbox, &journal).stop_within(Duration::from_millis(50));
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![hanging])).await;
    tell(&mailbox, Msg::Hang);
    eventually("it hangs", || mailbox.depth() == 0).await;
    root.stop().await;
    assert_eq!(journal.read(), ["one made", "one started", "one dropped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_told_to_stop_and_may_finish() {
    let journal = Journal::default();
    let writes = journal.clone();
    let node = service("server", move |cx| {
        let journal = writes.clone();
        async move {
            journal.write("serving");
            cx.stop.cancelled().await;
            journal.write("flushed");
            Ok(())
        }
    });
    let (root, roll) = start(tree("top", Strategy::OneForOne, 0, vec![node.answers_within(NEVER_HANGS)])).await;
    eventually("it serves", || journal.count("serving") == 1).await;
    root.stop().await;
    assert_eq!(journal.read(), ["serving", "flushed"]);
    assert_eq!(state(&roll, "top/server"), Some(State::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_the_pause_before_a_restart_restarts_nothing_and_tells_who_waits() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let pause = supervision::Backoff { base: PATIENCE * 10, max: PATIENCE * 10 };
    let inner = tree("inner", Strategy::OneForOne, 5, vec![puppet("one", &mailbox, &journal).backoff(pause)]);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 3, vec![inner.into()])).await;
    tell(&mailbox, Msg::Panic("first".to_owned()));
    tell(&mailbox, Msg::Panic("second".to_owned()));
    eventually("it pauses", || journal.count("one dropped") == 2).await;
    let asked = mailbox.clone();
    let waits = tokio::spawn(async move { count(&asked).await });
    eventually("the question waits", || mailbox.depth() == 1).await;
    root.stop().await;
    assert_eq!(waits.await.expect("the task ends"), Err(Gone("puppet")));
    assert_eq!(journal.count("one made"), 2);
    assert_eq!(state(&roll, "top/inner/one"), Some(State::Stopped));
}

/// Starts at once the first time, and never the second.
fn stuck(mailbox: &Mailbox<Msg>, journal: &Journal) -> Node {
    let journal = journal.clone();
    let make = move || {
        journal.write("stuck made");
        Ok(Stuck { hangs: journal.count("stuck made") == 2, journal: journal.clone() })
    };
    child("stuck", mailbox, make).backoff(BRISK)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_reaches_a_subtree_that_is_still_starting() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let inner = tree("inner", Strategy::OneForOne, 3, vec![stuck(&mailbox, &journal)]);
    let inner = Node::from(inner).stop_within(PATIENCE * 2);
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![inner])).await;
    tell(&mailbox, Msg::Fail("told to".to_owned()));
    eventually("it starts again", || journal.count("stuck made") == 2).await;
    tokio::time::timeout(PATIENCE, root.stop()).await.expect("it stops long before its deadline");
    assert_eq!((journal.count("stuck made"), journal.count("stuck dropped")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_that_fails_restarts_a_subtree_that_is_still_starting() {
    let (first, mailbox, journal) = (mailbox(), mailbox(), Journal::default());
    let inner = tree("inner", Strategy::OneForOne, 3, vec![stuck(&mailbox, &journal)]);
    let children = vec![puppet("first", &first, &journal), Node::from(inner).stop_within(PATIENCE * 2)];
    let (root, _) = start(tree("top", Strategy::RestForOne, 3, children)).await;
    tell(&mailbox, Msg::Fail("told to".to_owned()));
    eventually("it starts again", || journal.count("stuck made") == 2).await;
    tell(&first, Msg::Fail("told to".to_owned()));
    eventually("it starts a third time", || journal.count("stuck made") == 3).await;
    root.stop().await;
}

/// Asks, while it stops, one that has been stopped before it.
struct Asking(Mailbox<Msg>, Journal);

impl supervision::Actor for Asking {
    type Msg = Msg;

    async fn handle(&mut self, _message: Msg, _cx: &mut supervision::Context<Msg>) -> Result<(), Failure> {
        Ok(())
    }

    async fn stopping(&mut self, _cx: &mut supervision::Context<Msg>) {
        self.1.write(format!("{:?}", count(&self.0).await));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_may_ask_one_that_has_stopped_and_is_refused_at_once() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (asked, writes) = (mailbox.clone(), journal.clone());
    let make = move || Ok(Asking(asked.clone(), writes.clone()));
    let asking = child("asking", &crate::helpers::mailbox(), make).stop_within(PATIENCE * 2);
    let inner = tree("inner", Strategy::OneForOne, 3, vec![puppet("b", &mailbox, &journal)]);
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![asking, inner.into()])).await;
    root.stop().await;
    assert_eq!(journal.read()[4..], ["Err(Gone(\"puppet\"))"]);
}

struct Stuck {
    hangs: bool,
    journal: Journal,
}

impl supervision::Actor for Stuck {
    type Msg = Msg;

    async fn started(&mut self, _cx: &mut supervision::Context<Msg>) -> Result<(), Failure> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn handle(&mut self, _message: Msg, _cx: &mut supervision::Context<Msg>) -> Result<(), Failure> {
        Err(Failure::error("told to"))
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.journal.write("stuck dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_root_leaves_nobody_behind() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let inner = tree("inner", Strategy::OneForOne, 3, vec![puppet("one", &mailbox, &journal)]);
    let (root, _) = start(tree("top", Strategy::OneForOne, 3, vec![Node::from(inner)])).await;
    drop(root);
    eventually("the actor is dropped", || journal.count("one dropped") == 1).await;
    assert_eq!(count(&mailbox).await, Err(Gone("puppet")));
}
