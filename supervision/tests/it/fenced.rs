//! A blocked thread cannot be taken back: what it cost is limited, and nobody waits for it.

use crate::helpers::*;
use std::sync::mpsc;
use std::time::Duration;
use supervision::{
    Act, Actor, Context, Failure, FailureKind, Gone, Mailbox, Node, Overflow, Root, State, SteerError, Strategy, child,
};

/// The shortest limits that a slow machine keeps.
const WITHIN: Duration = Duration::from_secs(1);
/// As long as nobody hangs.
const NEVER: Duration = Duration::from_secs(600);

/// Blocks the actor's thread until the sender is dropped, and returns when a successor answers or nobody does.
async fn block(mailbox: &Mailbox<Msg>) -> (mpsc::Sender<()>, Result<u32, Gone>) {
    let (release, until) = mpsc::channel();
    tell(mailbox, Msg::Block(until));
    (release, count(mailbox).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn one_that_blocks_a_thread_at_every_start_is_parked_after_its_second_and_comes_back_when_they_are_gone() {
    let (mailbox, other, journal) = (mailbox(), mailbox(), Journal::default());
    // It is not marked to be parked: what it costs is the node's, whatever its supervisor's budget is.
    let blocking = puppet("blocking", &mailbox, &journal).answers_within(WITHIN);
    let inner = tree("inner", Strategy::OneForOne, 100, vec![blocking, puppet("other", &other, &journal)]);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 100, vec![inner.into()])).await;
    let path = "top/inner/blocking";
    let (first, answered) = block(&mailbox).await;
    assert_eq!((answered, roll.blocked()), (Ok(1), 1), "the first has a successor");
    let (second, answered) = block(&mailbox).await;
    assert_eq!(answered, Err(Gone("puppet")), "the second has none");
    eventually("it is parked", || state(&roll, path) == Some(State::Parked)).await;
    assert_eq!(roll.blocked(), 2);
    assert_eq!(last(&roll, path).text, "blocks a thread, the limit is 1s");
    assert!(roll.get(path).and_then(|row| row.resumes).is_some(), "the slow timer tries it again");
    assert_eq!((count(&other).await, journal.count("other made")), (Ok(1), 1));

    let refused = roll.steer(path, Act::Resume, "ada").await.expect_err("two threads are enough");
    assert!(
        matches!(&refused, SteerError::NotStarted { failure, .. } if failure.contains("2 earlier ones")),
        "{refused}"
    );
    // Neither by its supervisor's restart, which forgets budgets.
    roll.steer("top/inner", Act::Restart, "ada").await.expect("it restarts");
    assert_eq!((state(&roll, path), journal.count("blocking made")), (Some(State::Parked), 2));
    drop((first, second));
    eventually("they are gone", || roll.blocked() == 0).await;
    roll.steer(path, Act::Resume, "ada").await.expect("it resumes");
    assert_eq!(count(&mailbox).await, Ok(1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn an_orderly_stop_and_a_restart_do_not_wait_for_a_thread_that_stays_blocked() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let blocking = puppet("blocking", &mailbox, &journal).answers_within(WITHIN).stop_within(NEVER);
    let inner = Node::from(tree("inner", Strategy::OneForOne, 100, vec![blocking])).stop_within(NEVER);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 100, vec![inner])).await;
    let (release, answered) = block(&mailbox).await;
    assert_eq!(answered, Ok(1));
    let restarted = tokio::time::timeout(PATIENCE, roll.steer("top/inner", Act::Restart, "ada")).await;
    restarted.expect("in time").expect("it restarts");
    assert_eq!((count(&mailbox).await, roll.blocked()), (Ok(1), 1));
    tokio::time::timeout(PATIENCE, root.stop()).await.expect("a stop waits for those that can stop");
    assert_eq!(journal.count("blocking stopping"), 2, "the successors stopped in good order");
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_asked_one_that_blocks_a_thread_is_told_when_it_is_found() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let node = puppet("one", &mailbox, &journal).answers_within(WITHIN);
    let (root, _) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    let (release, until) = mpsc::channel();
    let asked = mailbox.ask(|reply| Msg::BlockInHand(until, reply));
    // One that still waits is the successor's to answer.
    let (asked, waits) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(asked, count(&mailbox)) }).await.expect("both are told");
    assert_eq!((asked, waits), (Err(Gone("puppet")), Ok(1)));
    drop(release);
    root.stop().await;
}

/// No worker of the runtime looks after its timers and sockets while the one that did is blocked; the others sleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocked_thread_takes_no_timer_with_it() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let node = puppet("one", &mailbox, &journal).answers_within(NEVER);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    let (release, until) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    // By a thread of its own: what is tested is that nothing in the runtime would be on time.
    let rescue = std::thread::spawn(move || {
        let came_in_time = is_done.recv_timeout(PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout);
        drop(release);
        came_in_time
    });
    tell(&mailbox, Msg::SleepAndBlock(until));
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(done);
    assert!(rescue.join().expect("no panic"), "timers stood while a thread was blocked");
    assert_eq!(restarts(&roll, "top/puppet"), 0);
    root.stop().await;
}

/// Closing takes as long as somebody wants.
struct Slow(std::sync::Arc<std::sync::Mutex<mpsc::Receiver<()>>>);

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.0.lock().map(|until| until.recv());
    }
}

impl Actor for Slow {
    type Msg = ();

    async fn handle(&mut self, (): (), _cx: &mut Context<()>) -> Result<(), Failure> {
        Err(Failure::error("told to"))
    }
}

/// `slow` fails and does not come to the end of its closing, beside a puppet.
async fn closing(configure: fn(Node) -> Node) -> (mpsc::Sender<()>, Mailbox<Msg>, Root, supervision::Roll) {
    let (release, until) = mpsc::channel();
    let until = std::sync::Arc::new(std::sync::Mutex::new(until));
    let (slow, other, journal) = (Mailbox::new("slow", 9, Overflow::Refuse), mailbox(), Journal::default());
    let node = configure(child("slow", &slow, move || Ok(Slow(until.clone()))).backoff(BRISK));
    let children = vec![node, puppet("other", &other, &journal)];
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, children)).await;
    slow.tell(()).expect("there is room");
    (release, other, root, roll)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_supervisor_hears_others_while_one_that_failed_closes_slowly() {
    let (release, other, root, roll) = closing(|node| node.answers_within(NEVER)).await;
    eventually("it closes", || {
        roll.get("top/slow").and_then(|row| row.note).is_some_and(|note| note == "closes after error: told to")
    })
    .await;
    tell(&other, Msg::Panic("meanwhile".to_owned()));
    eventually("another is restarted", || restarts(&roll, "top/other") == 1).await;
    assert_eq!(restarts(&roll, "top/slow"), 0, "it has not closed yet");
    drop(release);
    eventually("it is restarted once it has closed", || restarts(&roll, "top/slow") == 1).await;
    assert_eq!(last(&roll, "top/slow"), Failure::error("told to"));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_does_not_come_to_the_end_of_its_closing_is_found_and_replaced() {
    let (release, _other, root, roll) = closing(|node| node.answers_within(WITHIN)).await;
    eventually("a successor comes", || restarts(&roll, "top/slow") == 1).await;
    assert_eq!(last(&roll, "top/slow"), Failure::hang("blocks a thread, the limit is 1s"));
    assert_eq!(roll.blocked(), 1);
    drop(release);
    eventually("it is gone", || roll.blocked() == 0).await;
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_may_wait_longer_than_it_may_block_a_thread() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let node = puppet("one", &mailbox, &journal).answers_within(WITHIN).waits_within(NEVER);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    let (release, until) = tokio::sync::oneshot::channel();
    tell(&mailbox, Msg::Hold(until));
    tokio::time::sleep(3 * WITHIN).await;
    assert_eq!(restarts(&roll, "top/one"), 0, "it waits");
    let _ = release.send(());
    let (release, answered) = block(&mailbox).await;
    assert_eq!((answered, last(&roll, "top/one").kind), (Ok(1), FailureKind::Hang));
    drop(release);
    root.stop().await;
}
