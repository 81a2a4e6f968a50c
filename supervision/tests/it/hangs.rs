//! A hang is a fault: whoever waits for ever, blocks a thread or does nothing is found, named and replaced.

use crate::helpers::*;
use crate::yardstick::Yardstick;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use supervision::watchdog::{Heart, LOOK_EVERY};
use supervision::{
    FailureKind, Fault, History, Mailbox, Node, Overflow, Roll, Root, ServiceCx, State, Strategy, service,
};

/// Of one that is to be found.
const WITHIN: Duration = Duration::from_secs(2);
/// Of one that is never well: there is nobody to be blamed by mistake.
const SOON: Duration = Duration::from_millis(600);
/// Of one that is well, and stays so on a machine that has other things to do for a while.
const WELL_WITHIN: Duration = Duration::from_secs(3);
/// From the moment when a hang is found to the answer of a successor; what is printed is a hundredth of it.
const REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// As every node has one: while the event loop itself gets no time, nobody on it is to blame.
fn heart() -> Heart {
    supervision::watchdog::heart(History::default())
}

async fn one(node: Node) -> (Root, Roll) {
    start(tree("top", Strategy::OneForOne, 5, vec![node])).await
}

/// Held against what the code took: time that the machine itself lost is nobody's.
fn found_in_time(began: Instant, yardstick: &Yardstick) {
    let (took, lost) = (began.elapsed(), yardstick.lost_since(began));
    println!("found and replaced after {took:?}, the limit is {WITHIN:?}; the machine lost {lost:?}");
    assert!(took.saturating_sub(lost) < WITHIN + REPLACED_WITHIN, "only after {took:?}, {lost:?} of it lost");
    assert!(took > WITHIN / 2, "too soon: after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_actor_that_waits_for_ever_is_killed_and_restarted() {
    let (mailbox, journal, yardstick) = (mailbox(), Journal::default(), Yardstick::start());
    let (root, roll) = one(puppet("one", &mailbox, &journal).answers_within(WITHIN)).await;
    let began = Instant::now();
    tell(&mailbox, Msg::Hang);
    assert_eq!(count(&mailbox).await, Ok(1), "its successor answers");
    found_in_time(began, &yardstick);
    let failure = last(&roll, "top/one");
    assert_eq!(failure.kind, FailureKind::Hang);
    assert_eq!(failure.text, "does not finish with one message, the limit is 2s");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_actor_that_blocks_its_thread_is_named_and_a_successor_takes_over() {
    let (mailbox, journal, yardstick) = (mailbox(), Journal::default(), Yardstick::start());
    let (root, roll) = one(puppet("one", &mailbox, &journal).answers_within(WITHIN)).await;
    let (release, until) = mpsc::channel();
    let began = Instant::now();
    tell(&mailbox, Msg::Block(until));
    assert_eq!(count(&mailbox).await, Ok(1), "its successor answers while the thread is still blocked");
    found_in_time(began, &yardstick);
    assert_eq!(last(&roll, "top/one").text, "blocks a thread, the limit is 2s");
    assert_eq!(journal.count("one dropped"), 0);
    tell(&mailbox, Msg::Write("for the successor".to_owned()));
    drop(release);
    eventually("the blocked one goes when it can", || journal.count("one dropped") == 1).await;
    assert_eq!(count(&mailbox).await, Ok(3), "the successor goes on undisturbed");
    assert_eq!((journal.count("for the successor"), restarts(&roll, "top/one")), (1, 1));
    root.stop().await;
}

/// Blocked in a chain of them: what a thread that comes back still holds is worth nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_comes_back_takes_no_message_from_its_successor() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (root, roll) = one(puppet("one", &mailbox, &journal).answers_within(WITHIN)).await;
    let (release, until) = mpsc::channel();
    tell(&mailbox, Msg::Block(until));
    // These wait in the same batch that the blocked one had begun.
    for n in 0..20 {
        tell(&mailbox, Msg::Write(format!("{n}")));
    }
    eventually("a successor has come", || restarts(&roll, "top/one") >= 1).await;
    drop(release);
    eventually("all are handled", || journal.count("19") == 1).await;
    let numbers: Vec<String> = journal.read().into_iter().filter(|entry| entry.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "each once, in order");
    root.stop().await;
}

/// Longer at work than it may be with one message, a bit of it with each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_busy_with_many_short_messages_does_not_hang() {
    const MESSAGES: u32 = 800;
    const EACH: Duration = Duration::from_millis(5);
    let (mailbox, journal) = (Mailbox::new("puppet", MESSAGES as usize, Overflow::Refuse), Journal::default());
    let (_heart, (root, roll)) = (heart(), one(puppet("one", &mailbox, &journal).answers_within(WELL_WITHIN)).await);
    let mut releases = Vec::new();
    for _ in 0..MESSAGES {
        let (release, until) = tokio::sync::oneshot::channel();
        tell(&mailbox, Msg::Hold(until));
        releases.push(release);
    }
    let began = Instant::now();
    for release in releases {
        tokio::time::sleep(EACH).await;
        release.send(()).expect("it is held, or waits to be");
    }
    assert!(began.elapsed() > WELL_WITHIN, "it was not busy for long enough to tell");
    eventually("all are handled", || mailbox.depth() == 0).await;
    assert_eq!(restarts(&roll, "top/one"), 0);
    root.stop().await;
}

/// The runtime keeps the task that was woken last for the thread that woke it, and no other thread takes it from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_is_stuck_behind_a_blocked_thread_is_found_too() {
    let (mailbox, other, journal) = (mailbox(), mailbox(), Journal::default());
    // The first would be found as well; here it is given time, so that it is the second that is seen.
    let blocking = puppet("blocking", &mailbox, &journal);
    let stuck = puppet("stuck", &other, &journal).answers_within(WITHIN);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![blocking, stuck])).await;
    let (release, until) = mpsc::channel();
    tell(&mailbox, Msg::WakeAndBlock(other.clone(), until));
    eventually("the message is handled while the thread is still blocked", || journal.count("woken") == 1).await;
    assert_eq!(last(&roll, "top/stuck").text, "takes none of the messages that wait, the limit is 2s");
    drop(release);
    eventually("the blocked one goes on", || mailbox.depth() == 0).await;
    assert_eq!((count(&other).await, journal.count("woken")), (Ok(2), 1), "handled once, by the successor");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_work_that_gets_on_does_not_hang() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (_heart, (root, roll)) = (heart(), one(puppet("one", &mailbox, &journal).answers_within(WELL_WITHIN)).await);
    tell(&mailbox, Msg::Labour(40, Duration::from_millis(100)));
    assert_eq!(count(&mailbox).await, Ok(2), "by the one that worked for four seconds");
    assert_eq!(restarts(&roll, "top/one"), 0);
    root.stop().await;
}

/// A service that answers the watchdog, or does not.
fn serving(made: &Arc<AtomicUsize>, answers: bool) -> Node {
    let made = made.clone();
    let body = move |cx: ServiceCx| {
        let made = made.clone();
        async move {
            made.fetch_add(1, Ordering::SeqCst);
            loop {
                tokio::select! {
                    () = cx.asked(), if answers => {}
                    () = cx.stop.cancelled() => return Ok(()),
                }
            }
        }
    };
    service("serving", body).answers_within(if answers { WELL_WITHIN } else { SOON }).backoff(BRISK)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_does_not_answer_is_restarted_and_one_that_answers_is_not() {
    let (silent, well) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let children = vec![serving(&silent, false).named("silent"), serving(&well, true).named("well")];
    let (_heart, (root, roll)) = (heart(), start(tree("top", Strategy::OneForOne, 100, children)).await);
    // The limit of the one that is well has passed meanwhile, more than once.
    eventually("the silent one is restarted again and again", || silent.load(Ordering::SeqCst) > FOUND).await;
    assert_eq!(last(&roll, "top/silent").text, "does not answer the watchdog, the limit is 600ms");
    assert_eq!(well.load(Ordering::SeqCst), 1);
    root.stop().await;
}

/// Counts how often the watchdog has asked it.
fn asked(times: &Arc<AtomicUsize>) -> Node {
    let times = times.clone();
    let body = move |cx: ServiceCx| {
        let times = times.clone();
        async move {
            loop {
                tokio::select! {
                    () = cx.asked() => {
                        times.fetch_add(1, Ordering::SeqCst);
                    }
                    () = cx.stop.cancelled() => return Ok(()),
                }
            }
        }
    };
    service("asked", body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_may_be_silent_for_long_is_asked_seldom_and_is_asked() {
    let (often, seldom) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let children = vec![
        asked(&often).named("often").answers_within(WELL_WITHIN),
        asked(&seldom).named("seldom").answers_within(5 * WELL_WITHIN),
    ];
    let (_heart, (root, roll)) = (heart(), start(tree("top", Strategy::OneForOne, 0, children)).await);
    eventually("the other is asked too", || seldom.load(Ordering::SeqCst) >= 2).await;
    let (often, seldom) = (often.load(Ordering::SeqCst), seldom.load(Ordering::SeqCst));
    assert!(often >= 2 * seldom, "one was asked {often} times, the other {seldom}");
    assert_eq!(restarts(&roll, "top/seldom"), 0);
    root.stop().await;
}

/// How often a silent one is found in twice the time of [`WELL_WITHIN`], at the most: it takes the watchdog a look to
/// ask and two to find no answer.
const FOUND: usize = 2 * WELL_WITHIN.as_millis() as usize / (3 * LOOK_EVERY.as_millis() as usize);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wait_with_a_limit_of_its_own_may_be_long() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let body = move |cx: ServiceCx| {
        let counted = counted.clone();
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            cx.waits(cx.stop.cancelled()).await;
            Ok(())
        }
    };
    let waiting = service("waiting", body).answers_within(WELL_WITHIN);
    let other = serving(&Arc::new(AtomicUsize::new(0)), false).named("silent");
    let (_heart, (root, roll)) = (heart(), start(tree("top", Strategy::OneForOne, 100, vec![waiting, other])).await);
    eventually("another is found silent again and again", || restarts(&roll, "top/silent") >= FOUND as u64).await;
    assert_eq!(made.load(Ordering::SeqCst), 1);
    root.stop().await;
}

/// Threads that are all busy elsewhere keep everybody from answering: nobody is to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_event_loop_stands_nobody_is_blamed() {
    const STANDS: Duration = Duration::from_secs(5);
    let made = Arc::new(AtomicUsize::new(0));
    let child = |n: u32| serving(&made, true).named(format!("{n}")).answers_within(Duration::from_secs(1));
    let (root, roll) = start(tree("top", Strategy::OneForOne, 0, (0..7).map(child).collect())).await;
    let (heart, busy) = (heart(), Arc::new(AtomicUsize::new(0)));
    eventually("the heart beats", || heart.beats() > 2).await;
    for _ in 0..2 {
        let busy = busy.clone();
        // Nobody's code, as far as the watchdog knows: as if the machine gave no time.
        tokio::spawn(async move {
            busy.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(STANDS);
        });
    }
    // This thread is none of the two.
    let until = Instant::now() + PATIENCE;
    while busy.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < until, "the loop has a thread left");
        std::thread::yield_now();
    }
    let before = heart.beats();
    std::thread::sleep(STANDS / 2);
    assert_eq!(heart.beats(), before, "the loop stands");
    eventually("the loop turns again", || heart.beats() > before + 5).await;
    let names = (0..7).map(|n| format!("top/{n}"));
    assert_eq!(names.map(|path| restarts(&roll, &path)).sum::<u64>(), 0);
    assert_eq!((state(&roll, "top"), made.load(Ordering::SeqCst)), (Some(State::Running), 7));
    root.stop().await;
}

/// It holds a store: if its slow start were taken for a blocked thread, this process would exit.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_that_is_slow_is_no_hang() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let at_start = journal.clone();
    let make = move || {
        std::thread::sleep(3 * WITHIN);
        Ok(Puppet::new("slow", &at_start))
    };
    let slow = supervision::child("puppet", &mailbox, make).answers_within(WITHIN).holds_store();
    let (root, roll) = start(tree("top", Strategy::OneForOne, 0, vec![slow])).await;
    tell(&mailbox, Msg::Write("handled".to_owned()));
    eventually("it works", || journal.count("handled") == 1).await;
    assert_eq!((restarts(&roll, "top/puppet"), roll.get("top/puppet").and_then(|status| status.last)), (0, None));
    root.stop().await;
}

/// Each injected fault, in an actor and in a service: the right reason, and it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_injected_fault_has_its_own_reason_and_is_survived() {
    let (mailbox, journal, made) = (mailbox(), Journal::default(), Arc::new(AtomicUsize::new(0)));
    let actor = puppet("actor", &mailbox, &journal).answers_within(WELL_WITHIN);
    let children = vec![actor, serving(&made, true).named("service")];
    let (_heart, (root, roll)) = (heart(), start(tree("top", Strategy::OneForOne, 100, children)).await);
    for path in ["top/actor", "top/service"] {
        for fault in Fault::ALL {
            let before = restarts(&roll, path);
            roll.steer(path, supervision::Act::Inject(fault), "a test").await.expect("it runs");
            eventually(&format!("{path} is back after {fault}"), || {
                restarts(&roll, path) > before && state(&roll, path) == Some(State::Running)
            })
            .await;
            let kind = match fault {
                Fault::Panic => FailureKind::Panic,
                Fault::Error => FailureKind::Error,
                Fault::Hang | Fault::Block => FailureKind::Hang,
            };
            assert_eq!(last(&roll, path).kind, kind, "{path} after {fault}");
            assert_eq!(last(&roll, path).text.contains("blocks a thread"), fault == Fault::Block);
        }
    }
    assert!(count(&mailbox).await.is_ok());
    root.stop().await;
}
