//! Children that come and go at run time.

use crate::helpers::*;
use std::sync::Arc;
use std::time::Duration;
use supervision::{
    Act, Actor, Context, Dynamic, Failure, Fault, Gone, Intensity, Mailbox, Node, Overflow, Roll, Root, StartError,
    State, Strategy, child,
};
use tokio::sync::Barrier;

const INTENSITY: Intensity = Intensity { restarts: 2, within: Duration::from_secs(60) };

async fn dynamic(limit: usize) -> (Dynamic, Root, Roll) {
    let dynamic = Dynamic::new("jobs", limit);
    let node = dynamic.node(INTENSITY).backoff(BRISK);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    (dynamic, root, roll)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_comes_is_restarted_and_goes() {
    let (dynamic, root, roll) = dynamic(10).await;
    let (mailbox, journal) = (mailbox(), Journal::default());
    dynamic.start(puppet("one", &mailbox, &journal)).await.expect("it starts");
    assert_eq!(state(&roll, "top/jobs/one"), Some(State::Running));
    tell(&mailbox, Msg::Panic("once".to_owned()));
    eventually("it is restarted", || restarts(&roll, "top/jobs/one") == 1).await;
    assert_eq!(dynamic.stop("one").await, Ok(true));
    assert_eq!(journal.count("one stopping"), 1);
    assert_eq!(state(&roll, "top/jobs/one"), None, "it is forgotten");
    assert_eq!(dynamic.stop("one").await, Ok(false));
    assert!(count(&mailbox).await.is_err());
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_limit_and_a_name_is_taken_once() {
    let (dynamic, root, roll) = dynamic(2).await;
    let (journal, start) = (Journal::default(), |name| (name, mailbox()));
    let children = ["one", "two", "three"].map(start);
    let [one, two, three] = children.map(|(name, mailbox)| puppet(name, &mailbox, &journal));
    dynamic.start(one).await.expect("it starts");
    let again = puppet("one", &mailbox(), &journal);
    let taken = StartError::Taken { name: "jobs".to_owned(), child: "one".to_owned() };
    assert_eq!(dynamic.start(again).await, Err(taken));
    dynamic.start(two).await.expect("it starts");
    assert_eq!(dynamic.start(three).await, Err(StartError::Full { name: "jobs".to_owned(), limit: 2 }));
    assert_eq!(state(&roll, "top/jobs/three"), None);
    assert_eq!(dynamic.stop("two").await, Ok(true));
    dynamic.start(puppet("three", &mailbox(), &journal)).await.expect("there is room again");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_start_was_never_there() {
    let (dynamic, root, roll) = dynamic(1).await;
    let failing = supervision::service("broken", |_| async { Ok(()) }).named("broken");
    let broken = supervision::child::<Puppet, _>("puppet", &mailbox(), || Err(supervision::Failure::error("no")));
    assert!(matches!(dynamic.start(broken).await, Err(StartError::Failed(_))));
    assert_eq!(state(&roll, "top/jobs/puppet"), None);
    dynamic.start(failing.temporary()).await.expect("it starts, and there is room");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_child_that_fails_is_forgotten_and_its_reason_is_kept() {
    let (dynamic, root, roll) = dynamic(10).await;
    let (mailbox, journal) = (mailbox(), Journal::default());
    dynamic.start(puppet("one", &mailbox, &journal).temporary()).await.expect("it starts");
    tell(&mailbox, Msg::Fail("its peer is gone".to_owned()));
    eventually("it is forgotten", || state(&roll, "top/jobs/one").is_none()).await;
    let records = roll.history().of(Some("top/jobs/one"), 10);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].failure.text, "its peer is gone");
    assert_eq!(records[0].then.as_str(), "ended");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_supervisor_that_gives_up_begins_again_without_children() {
    let (dynamic, root, roll) = dynamic(10).await;
    let (mailbox, other, journal) = (mailbox(), mailbox(), Journal::default());
    dynamic.start(puppet("one", &mailbox, &journal)).await.expect("it starts");
    dynamic.start(puppet("two", &other, &journal)).await.expect("it starts");
    for n in 0..=INTENSITY.restarts {
        tell(&mailbox, Msg::Panic(format!("{n}")));
    }
    eventually("the supervisor is restarted", || restarts(&roll, "top/jobs") == 1).await;
    eventually("it runs", || state(&roll, "top/jobs") == Some(State::Running)).await;
    assert_eq!(journal.count("two stopping"), 1);
    assert_eq!((state(&roll, "top/jobs/one"), state(&roll, "top/jobs/two")), (None, None));
    let again: Node = puppet("one", &supervision::Mailbox::new("puppet", 9, supervision::Overflow::Refuse), &journal);
    dynamic.start(again).await.expect("the handle is still good");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_dynamic_supervisor_is_killed_its_children_are_forgotten_and_whoever_waits_for_them_is_told() {
    let (dynamic, root, roll) = dynamic(10).await;
    let (mailbox, journal) = (mailbox(), Journal::default());
    dynamic.start(puppet("one", &mailbox, &journal)).await.expect("it starts");
    let (_never, until) = tokio::sync::oneshot::channel();
    tell(&mailbox, Msg::Hold(until));
    let (asked, killed) = tokio::join!(count(&mailbox), roll.steer("top/jobs", Act::Inject(Fault::Panic), "a test"));
    killed.expect("it runs");
    assert_eq!(asked, Err(Gone("puppet")), "it waited behind the one that is held");
    eventually("it is restarted", || restarts(&roll, "top/jobs") == 1).await;
    assert_eq!(state(&roll, "top/jobs/one"), None);
    assert!(mailbox.tell(Msg::Finish).is_err(), "nobody comes for it");
    dynamic.start(puppet("one", &mailbox, &journal)).await.expect("its name is free");
    assert_eq!(count(&mailbox).await, Ok(1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_child_that_is_refused_is_told() {
    let (dynamic, root, _) = dynamic(1).await;
    let (first, second, journal) = (mailbox(), mailbox(), Journal::default());
    dynamic.start(puppet("one", &first, &journal)).await.expect("it starts");
    let refused = async {
        tokio::task::yield_now().await;
        dynamic.start(puppet("two", &second, &journal)).await
    };
    let (asked, refused) = tokio::join!(count(&second), refused);
    assert_eq!((asked, refused), (Err(Gone("puppet")), Err(StartError::Full { name: "jobs".to_owned(), limit: 1 })));
    root.stop().await;
}

/// Stops when the others do.
struct Together(Arc<Barrier>);

impl Actor for Together {
    type Msg = ();

    async fn handle(&mut self, (): (), _cx: &mut Context<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn stopping(&mut self, _cx: &mut Context<()>) {
        self.0.wait().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_a_dynamic_supervisor_stop_together() {
    const CHILDREN: usize = 5;
    let (dynamic, root, _) = dynamic(CHILDREN).await;
    let all = Arc::new(Barrier::new(CHILDREN));
    for n in 0..CHILDREN {
        let (mailbox, all) = (Mailbox::new("together", 1, Overflow::Refuse), all.clone());
        let child = child("together", &mailbox, move || Ok(Together(all.clone())));
        // One after the other, each would wait for so long.
        dynamic.start(child.named(n.to_string()).stop_within(10 * PATIENCE)).await.expect("it starts");
    }
    tokio::time::timeout(PATIENCE, root.stop()).await.expect("each waits for all the others");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_a_dynamic_supervisor_that_does_not_run_is_told() {
    let gone = Dynamic::new("jobs", 1);
    assert_eq!(gone.stop("one").await, Err(StartError::Gone("jobs".to_owned())));
    let (dynamic, root, _) = dynamic(1).await;
    root.stop().await;
    assert_eq!(dynamic.stop("one").await, Err(StartError::Gone("jobs".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lasting_supervisor_has_its_children_again_after_its_own_restart_but_for_those_that_were_stopped() {
    let (first, second, third, journal) = (mailbox(), mailbox(), mailbox(), Journal::default());
    let lasting =
        Dynamic::lasting("cameras", 3, vec![puppet("one", &first, &journal), puppet("two", &second, &journal)]);
    let node = lasting.node(INTENSITY).backoff(BRISK);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    lasting.start(puppet("three", &third, &journal)).await.expect("there is room");
    let full = lasting.start(puppet("four", &mailbox(), &journal)).await;
    assert_eq!(full, Err(StartError::Full { name: "cameras".to_owned(), limit: 3 }));
    assert_eq!(lasting.stop("one").await, Ok(true));
    assert_eq!(state(&roll, "top/cameras/one"), None, "it is forgotten");
    assert!(count(&first).await.is_err(), "nobody comes for it");
    roll.steer("top/cameras/two", Act::Park, "a test").await.expect("it runs");

    roll.steer("top/cameras", Act::Inject(Fault::Panic), "a test").await.expect("it runs");
    eventually("it is restarted", || restarts(&roll, "top/cameras") == 1).await;
    eventually("three is back", || state(&roll, "top/cameras/three") == Some(State::Running)).await;
    assert_eq!(state(&roll, "top/cameras/one"), None);
    assert_eq!(state(&roll, "top/cameras/two"), Some(State::Parked), "it was parked by hand");
    assert_eq!(count(&third).await, Ok(1));
    roll.steer("top/cameras/two", Act::Resume, "a test").await.expect("it is parked");
    assert_eq!(count(&second).await, Ok(1));
    lasting.start(puppet("one", &first, &journal)).await.expect("its name is free");
    root.stop().await;
    assert_eq!(state(&roll, "top/cameras/three"), Some(State::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_a_lasting_supervisor_that_fails_too_often_is_parked_alone() {
    let (bad, good, journal) = (mailbox(), mailbox(), Journal::default());
    let lasting = Dynamic::lasting("cameras", 3, vec![puppet("bad", &bad, &journal), puppet("good", &good, &journal)]);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![lasting.node(INTENSITY).backoff(BRISK)])).await;
    for n in 0..=INTENSITY.restarts {
        tell(&bad, Msg::Panic(format!("{n}")));
    }
    eventually("it is parked", || state(&roll, "top/cameras/bad") == Some(State::Parked)).await;
    assert_eq!((restarts(&roll, "top/cameras"), restarts(&roll, "top/cameras/good")), (0, 0));
    let broken = supervision::child::<Puppet, _>("puppet", &mailbox(), || Err(Failure::error("no")));
    lasting.start(broken).await.expect("it is kept, and tried again");
    eventually("it is parked too", || state(&roll, "top/cameras/puppet") == Some(State::Parked)).await;
    root.stop().await;
}
