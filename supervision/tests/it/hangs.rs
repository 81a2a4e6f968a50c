//! A hang is a fault: whoever waits for ever, blocks a thread or does nothing is found, named and replaced.

use crate::helpers::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use supervision::{FailureKind, Fault, Mailbox, Node, Overflow, ServiceCx, State, Strategy, service};

/// Short, so that the tests are; the watchdog looks five times a second.
const WITHIN: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_actor_that_waits_for_ever_is_killed_and_restarted() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let node = puppet("one", &mailbox, &journal).answers_within(WITHIN);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    let began = std::time::Instant::now();
    tell(&mailbox, Msg::Hang);
    assert_eq!(count(&mailbox).await, Ok(1), "its successor answers");
    println!("found and replaced after {:?}, the limit is {WITHIN:?}", began.elapsed());
    let failure = last(&roll, "top/one");
    assert_eq!(failure.kind, FailureKind::Hang);
    assert_eq!(failure.text, "does not finish with one message, the limit is 600ms");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_actor_that_blocks_its_thread_is_named_and_a_successor_takes_over() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let node = puppet("one", &mailbox, &journal).answers_within(WITHIN);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    let (release, until) = std::sync::mpsc::channel();
    tell(&mailbox, Msg::Block(until));
    assert_eq!(count(&mailbox).await, Ok(1), "its successor answers while the thread is still blocked");
    assert_eq!(last(&roll, "top/one").text, "blocks a thread, the limit is 600ms");
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
    let node = puppet("one", &mailbox, &journal).answers_within(WITHIN);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    let (release, until) = std::sync::mpsc::channel();
    tell(&mailbox, Msg::Block(until));
    // These wait in the same batch that the blocked one had begun.
    for n in 0..20 {
        tell(&mailbox, Msg::Write(format!("{n}")));
    }
    eventually("the successor has come", || restarts(&roll, "top/one") == 1).await;
    drop(release);
    eventually("all are handled", || journal.count("19") == 1).await;
    let numbers: Vec<String> = journal.read().into_iter().filter(|entry| entry.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "each once, in order");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_busy_with_many_short_messages_does_not_hang() {
    let mailbox = Mailbox::new("puppet", 100_000, Overflow::Refuse);
    let journal = Journal::default();
    let node = puppet("one", &mailbox, &journal).answers_within(Duration::from_millis(600));
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    for _ in 0..400 {
        let (release, until) = tokio::sync::oneshot::channel();
        tell(&mailbox, Msg::Hold(until));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let _ = release.send(());
        });
    }
    eventually("all are handled", || mailbox.depth() == 0).await;
    assert_eq!(restarts(&roll, "top/one"), 0);
    root.stop().await;
}

/// The runtime keeps the task that was woken last for the thread that woke it, and no other thread takes it from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_is_stuck_behind_a_blocked_thread_is_found_too() {
    let (mailbox, other, journal) = (mailbox(), mailbox(), Journal::default());
    // The first would be found as well; here it is given time, so that it is the second that is seen.
    let blocking = puppet("blocking", &mailbox, &journal).answers_within(Duration::from_secs(600));
    let stuck = puppet("stuck", &other, &journal).answers_within(WITHIN);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![blocking, stuck])).await;
    let (release, until) = std::sync::mpsc::channel();
    tell(&mailbox, Msg::WakeAndBlock(other.clone(), until));
    eventually("the message is handled while the thread is still blocked", || journal.count("woken") == 1).await;
    assert_eq!(last(&roll, "top/stuck").text, "takes none of the messages that wait, the limit is 600ms");
    drop(release);
    eventually("the blocked one goes on", || mailbox.depth() == 0).await;
    assert_eq!((count(&other).await, journal.count("woken")), (Ok(2), 1), "handled once, by the successor");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_work_that_gets_on_does_not_hang() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let node = puppet("one", &mailbox, &journal).answers_within(WITHIN);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![node])).await;
    tell(&mailbox, Msg::Labour(20, Duration::from_millis(100)));
    assert_eq!(count(&mailbox).await, Ok(2), "by the one that worked for two seconds");
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
    service("serving", body).answers_within(WITHIN).backoff(BRISK)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_does_not_answer_is_restarted_and_one_that_answers_is_not() {
    let (silent, well) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let children = vec![serving(&silent, false).named("silent"), serving(&well, true).named("well")];
    let (root, roll) = start(tree("top", Strategy::OneForOne, 100, children)).await;
    eventually("the silent one is restarted twice", || silent.load(Ordering::SeqCst) >= 3).await;
    assert_eq!(last(&roll, "top/silent").text, "does not answer the watchdog, the limit is 600ms");
    assert_eq!(well.load(Ordering::SeqCst), 1);
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wait_with_a_limit_of_its_own_may_be_long() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let body = move |cx: ServiceCx| {
        let counted = counted.clone();
        async move {
            counted.fetch_add(1, Ordering::SeqCst);
            cx.waits(tokio::time::sleep(4 * WITHIN)).await;
            cx.waits(cx.stop.cancelled()).await;
            Ok(())
        }
    };
    let waiting = service("waiting", body).answers_within(WITHIN);
    let other = serving(&Arc::new(AtomicUsize::new(0)), false).named("silent").backoff(BRISK);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 100, vec![waiting, other])).await;
    eventually("another is found silent six times", || restarts(&roll, "top/silent") >= 6).await;
    assert_eq!(made.load(Ordering::SeqCst), 1);
    root.stop().await;
}

/// Threads that are all busy elsewhere keep everybody from answering: nobody is to blame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_event_loop_stands_nobody_is_blamed() {
    let made = Arc::new(AtomicUsize::new(0));
    let children = (0..7).map(|n| serving(&made, true).named(format!("{n}"))).collect();
    let (root, roll) = start(tree("top", Strategy::OneForOne, 0, children)).await;
    let heart = supervision::watchdog::heart(supervision::History::default());
    eventually("the heart beats", || heart.beats() > 2).await;
    for _ in 0..2 {
        // Nobody's code, as far as the watchdog knows: as if the machine gave no time.
        tokio::spawn(async { std::thread::sleep(5 * WITHIN) });
    }
    let before = heart.beats();
    tokio::time::sleep(WITHIN).await;
    eventually("the loop turns again", || heart.beats() > before + 5).await;
    let names = (0..7).map(|n| format!("top/{n}"));
    assert_eq!(names.map(|path| restarts(&roll, &path)).sum::<u64>(), 0);
    assert_eq!(state(&roll, "top"), Some(State::Running));
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
    let actor = puppet("actor", &mailbox, &journal).answers_within(WITHIN);
    let (root, roll) =
        start(tree("top", Strategy::OneForOne, 100, vec![actor, serving(&made, true).named("service")])).await;
    for path in ["top/actor", "top/service"] {
        for (n, fault) in (1..).zip(Fault::ALL) {
            roll.steer(path, supervision::Act::Inject(fault), "a test").await.expect("it runs");
            eventually(&format!("{path} is back after {fault}"), || {
                restarts(&roll, path) == n && state(&roll, path) == Some(State::Running)
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
