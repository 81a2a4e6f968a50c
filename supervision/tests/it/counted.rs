//! No message is lost in silence: refused, dropped and lost ones are counted, by class and reason.

use crate::helpers::*;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use supervision::{AskError, Gone, Mailbox, Overflow, State, Strategy, TellError};
use tokio::sync::oneshot;

/// The counters of one thread's code.
#[derive(Default)]
pub struct Counted(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let mut counters = self.0.lock().expect("no test panics while counting");
        Counter::from_arc(counters.entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl Counted {
    /// What mailboxes have counted.
    #[track_caller]
    fn are(&self, wanted: &[(&str, u64)]) {
        self.so_named("watchtree_mailbox_", wanted);
    }

    /// What counters have counted whose names begin so.
    #[track_caller]
    pub fn so_named(&self, prefix: &str, wanted: &[(&str, u64)]) {
        let counters = self.0.lock().expect("no test panics while counting");
        let named = counters.iter().filter(|(name, _)| name.starts_with(prefix));
        let found: Vec<(&str, u64)> = named.map(|(name, n)| (name.as_str(), n.load(Ordering::SeqCst))).collect();
        assert_eq!(found, wanted);
    }
}

#[tokio::test]
async fn whoever_is_refused_by_a_full_mailbox_is_counted() {
    let counted = Counted::default();
    let _here = metrics::set_default_local_recorder(&counted);
    let mailbox = Mailbox::new("small", 1, Overflow::Refuse);
    assert_eq!(mailbox.tell(1), Ok(()));
    counted.are(&[]);
    assert_eq!(mailbox.tell(2), Err(TellError::Full("small")));
    assert_eq!(mailbox.send(3).await, Err(TellError::Full("small")));
    counted.are(&[("watchtree_mailbox_refused_total class=small reason=full", 2)]);
}

#[tokio::test]
async fn a_message_that_makes_room_is_counted() {
    let counted = Counted::default();
    let _here = metrics::set_default_local_recorder(&counted);
    let mailbox = Mailbox::new("newest", 2, Overflow::DropOldest);
    (0..5).for_each(|n| mailbox.tell(n).expect("there is always room"));
    counted.are(&[("watchtree_mailbox_dropped_total class=newest", 3)]);
}

#[tokio::test]
async fn who_gives_up_waiting_for_space_is_told_so_and_nothing_is_lost() {
    let counted = Counted::default();
    let _here = metrics::set_default_local_recorder(&counted);
    let mailbox: Mailbox<Msg> = Mailbox::new("patient", 1, Overflow::Wait);
    tell(&mailbox, Msg::Hang);
    let within = std::time::Duration::from_millis(5);
    assert_eq!(mailbox.ask_within(within, Msg::Count).await, Err(AskError::Late("patient", within)));
    counted.are(&[]);
}

/// One in its hand, two that wait, and one that comes too late: each is counted for what became of it. On one
/// thread, so that all of it is counted here.
#[tokio::test]
async fn what_a_dying_actor_has_and_what_waits_for_it_is_counted_when_nobody_comes_after_it() {
    let counted = Counted::default();
    let _here = metrics::set_default_local_recorder(&counted);
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (root, roll) =
        start(tree("top", Strategy::OneForOne, 0, vec![puppet("one", &mailbox, &journal).parked()])).await;
    let (release, until) = oneshot::channel();
    let (reply, in_hand) = oneshot::channel();
    tell(&mailbox, Msg::HoldAndPanic(until, reply));
    eventually("it is in hand", || mailbox.depth() == 0).await;
    tell(&mailbox, Msg::Hang);
    tell(&mailbox, Msg::Hang);
    counted.are(&[]);
    release.send(()).expect("the puppet holds");
    assert!(in_hand.await.is_err(), "who asked is told");
    eventually("it is parked", || state(&roll, "top/one") == Some(State::Parked)).await;
    assert_eq!(count(&mailbox).await, Err(Gone("puppet")));
    counted.are(&[
        ("watchtree_mailbox_lost_total class=puppet reason=closed", 2),
        ("watchtree_mailbox_lost_total class=puppet reason=died", 1),
        ("watchtree_mailbox_refused_total class=puppet reason=gone", 1),
    ]);
    root.stop().await;
}

/// What waits is not lost by a restart, and so it is not counted.
#[tokio::test]
async fn what_waits_over_a_restart_is_no_loss() {
    let counted = Counted::default();
    let _here = metrics::set_default_local_recorder(&counted);
    let (mailbox, journal) = (mailbox(), Journal::default());
    let (root, _) = start(tree("top", Strategy::OneForOne, 1, vec![puppet("one", &mailbox, &journal)])).await;
    tell(&mailbox, Msg::Panic("once".to_owned()));
    assert_eq!(count(&mailbox).await, Ok(1), "by its successor");
    counted.are(&[("watchtree_mailbox_lost_total class=puppet reason=died", 1)]);
    root.stop().await;
}
