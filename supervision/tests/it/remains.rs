//! Two incarnations never overlap: what the first held is closed before the second is made.

use crate::helpers::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use supervision::{Actor, Context, Failure, Intensity, Mailbox, Overflow, Strategy, child};

/// As a file that only one may have open; its second holder would be refused.
#[derive(Clone, Default)]
struct Door {
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Held(Door);

impl Door {
    fn enter(&self) -> Held {
        self.most.fetch_max(self.inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Held(self.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing takes a while, as it does for a file that is synced.
        std::thread::sleep(Duration::from_millis(2));
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Holds the door itself and through a task.
struct Holder {
    door: Door,
    _held: Held,
}

enum Order {
    Panic,
    Fail,
    FailInTask,
}

impl Actor for Holder {
    type Msg = Order;

    async fn started(&mut self, cx: &mut Context<Order>) -> Result<(), Failure> {
        // The same door: the task of one incarnation and the next one would meet in it.
        let held = Held(self.door.clone());
        self.door.inside.fetch_add(1, Ordering::SeqCst);
        cx.spawn(async move {
            let _held = held;
            loop {
                // Busy, so that an abort finds it at work and has to wait for it.
                std::thread::sleep(Duration::from_micros(200));
                tokio::task::yield_now().await;
            }
        });
        Ok(())
    }

    async fn handle(&mut self, order: Order, cx: &mut Context<Order>) -> Result<(), Failure> {
        match order {
            Order::Panic => panic!("told to"),
            Order::Fail => Err(Failure::error("told to")),
            Order::FailInTask => {
                cx.spawn(async { Err(Failure::error("told to")) });
                Ok(())
            }
        }
    }
}

/// However it ends, the door is empty when its successor enters.
async fn check(strategy: Strategy, order: fn() -> Order) {
    const RESTARTS: u64 = 30;
    let (door, mailbox) = (Door::default(), Mailbox::new("holder", 10, Overflow::Refuse));
    let (other, journal) = (crate::helpers::mailbox(), Journal::default());
    let at_start = door.clone();
    let make = move || {
        let inside = at_start.inside.load(Ordering::SeqCst);
        if inside > 0 {
            return Err(Failure::error(format!("{inside} still inside")));
        }
        Ok(Holder { door: at_start.clone(), _held: at_start.enter() })
    };
    // Under rest_for_one the holder is stopped by its supervisor; else it ends by itself.
    let holder = child("holder", &mailbox, make).backoff(BRISK).answers_within(NEVER_HANGS);
    let first = puppet("first", &other, &journal);
    let mut tree = tree("top", strategy, 1000, vec![first, holder]);
    tree.intensity = Intensity { restarts: 1000, within: Duration::from_secs(60) };
    let (root, roll) = start(tree).await;
    for n in 1..=RESTARTS {
        match strategy {
            Strategy::OneForOne => mailbox.tell(order()).unwrap_or_else(|error| panic!("{error}")),
            Strategy::RestForOne | Strategy::OneForAll => tell(&other, Msg::Panic("first".to_owned())),
        }
        eventually("it restarts", || restarts(&roll, "top/holder") >= n).await;
        assert!(roll.get("top/holder").and_then(|status| status.last).is_none_or(|last| last.text == "told to"));
    }
    assert_eq!(restarts(&roll, "top/holder"), RESTARTS, "no start was refused");
    assert_eq!(door.most.load(Ordering::SeqCst), 1);
    root.stop().await;
    assert_eq!(door.inside.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_panic_the_successor_finds_everything_closed() {
    check(Strategy::OneForOne, || Order::Panic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_the_successor_finds_everything_closed() {
    check(Strategy::OneForOne, || Order::Fail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_task_failed_the_successor_finds_everything_closed() {
    check(Strategy::OneForOne, || Order::FailInTask).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_with_all_siblings_the_successor_finds_everything_closed() {
    check(Strategy::OneForAll, || Order::Fail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_for_an_earlier_sibling_the_successor_finds_everything_closed() {
    check(Strategy::RestForOne, || Order::Fail).await;
}

/// Blocks its thread, in a task: nothing can end that.
struct Blocking(Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>);

impl Actor for Blocking {
    type Msg = Order;

    async fn started(&mut self, cx: &mut Context<Order>) -> Result<(), Failure> {
        let until = self.0.clone();
        cx.spawn(async move {
            // In place, or the runtime itself could stand still with a task that only this thread may run.
            tokio::task::block_in_place(|| until.lock().expect("nobody panics with it").recv().ok());
            std::future::pending().await
        });
        Ok(())
    }

    async fn handle(&mut self, _order: Order, _cx: &mut Context<Order>) -> Result<(), Failure> {
        Err(Failure::error("told to"))
    }
}

struct Blocked {
    release: std::sync::mpsc::Sender<()>,
    made: Arc<AtomicUsize>,
    root: supervision::Root,
    roll: supervision::Roll,
}

/// One whose first incarnation has failed and left a blocked thread behind.
async fn blocked(configure: fn(supervision::Node) -> supervision::Node) -> Blocked {
    let (release, until) = std::sync::mpsc::channel::<()>();
    let until = Arc::new(std::sync::Mutex::new(until));
    let (mailbox, made) = (Mailbox::new("blocking", 10, Overflow::Refuse), Arc::new(AtomicUsize::new(0)));
    let (counted, at_work) = (made.clone(), until.clone());
    let make = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Blocking(until.clone()))
    };
    // Longer than the test: what is tested here is what a supervisor does without its watchdog's help.
    let blocking = child("blocking", &mailbox, make).backoff(BRISK).answers_within(NEVER_HANGS);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 1000, vec![configure(blocking)])).await;
    // A task that has not begun can still be ended.
    eventually("the task blocks its thread", || at_work.try_lock().is_err()).await;
    mailbox.tell(Order::Fail).unwrap_or_else(|error| panic!("{error}"));
    Blocked { release, made, root, roll }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_a_predecessor_has_its_store_no_successor_is_made_and_that_is_told() {
    let Blocked { release, made, root, roll } = blocked(supervision::Node::holds_store).await;
    let note = || roll.get("top/blocking").and_then(|status| status.note);
    eventually("it is told", || note().is_some_and(|note| note == "its predecessor still has its store")).await;
    let last = last(&roll, "top/blocking");
    assert_eq!((made.load(Ordering::SeqCst), last), (1, Failure::error("told to")), "to wait is no failure");
    drop(release);
    eventually("the successor comes", || made.load(Ordering::SeqCst) == 2).await;
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_predecessor_that_blocks_a_thread_and_holds_no_store_is_left_behind() {
    let Blocked { release, made, root, .. } = blocked(|node| node).await;
    eventually("the successor comes", || made.load(Ordering::SeqCst) == 2).await;
    drop(release);
    root.stop().await;
}
