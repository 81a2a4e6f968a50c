//! Parked: down with its reason, tried again by a slow timer, resumed by hand.

use crate::helpers::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use supervision::{Failure, Intensity, Node, Quarantine, State, Strategy, Tree, child};

const SOON: Quarantine = Quarantine { first: Duration::from_millis(40), max: Duration::from_millis(400) };
const LATE: Quarantine = Quarantine { first: Duration::from_secs(600), max: Duration::from_secs(600) };

/// One that does not start as long as its source is ill.
fn patient(ill: &Arc<AtomicBool>, journal: &Journal, quarantine: Quarantine) -> Node {
    let (ill, journal, mailbox) = (ill.clone(), journal.clone(), mailbox());
    let make = move || {
        journal.write("tried");
        if ill.load(Ordering::SeqCst) { Err(Failure::error("ill")) } else { Ok(Puppet::new("patient", &journal)) }
    };
    child("puppet", &mailbox, make).named("patient").backoff(BRISK).parked().quarantine(quarantine)
}

fn one(node: Node) -> Tree {
    let intensity = Intensity { restarts: 3, within: Duration::from_secs(60) };
    Tree { intensity, ..tree("top", Strategy::OneForOne, 3, vec![node]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_child_is_tried_once_a_pause_and_comes_back_when_its_source_heals() {
    let (ill, journal) = (Arc::new(AtomicBool::new(true)), Journal::default());
    let (root, roll) = start(one(patient(&ill, &journal, SOON))).await;
    eventually("it is parked", || state(&roll, "top/patient") == Some(State::Parked)).await;
    let records = roll.history().of(Some("top/patient"), 100);
    let then: Vec<&str> = records.iter().take(4).map(|record| record.then.as_str()).collect();
    assert_eq!(then, ["restarted", "restarted", "restarted", "parked"], "the first start, and its budget");
    eventually("it is tried again and again", || journal.count("tried") >= 7).await;
    ill.store(false, Ordering::SeqCst);
    eventually("it runs", || state(&roll, "top/patient") == Some(State::Running)).await;
    root.stop().await;
}

/// So few that the history still has the first failure when they are looked at.
const TRIALS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn each_trial_is_one_start_and_the_pauses_grow() {
    let (ill, journal) = (Arc::new(AtomicBool::new(true)), Journal::default());
    let (root, roll) = start(one(patient(&ill, &journal, SOON))).await;
    eventually("it has had some trials", || journal.count("tried") >= 4 + TRIALS).await;
    eventually("it is parked", || state(&roll, "top/patient") == Some(State::Parked)).await;
    let records = roll.history().of(Some("top/patient"), 100);
    let parked: Vec<_> = records.iter().filter(|record| record.then.as_str() == "parked").collect();
    assert_eq!(records.len() - parked.len(), 3, "only its budget was spent on restarts");
    let gaps: Vec<Duration> =
        parked.windows(2).map(|two| two[1].at.duration_since(two[0].at).expect("in order")).collect();
    // Jitter takes at most a quarter: of 40, 80, 160, and of 400 ms from then on.
    let least = [30, 60, 120].map(Duration::from_millis);
    assert!(gaps.len() >= TRIALS && gaps.iter().zip(least).all(|(gap, least)| *gap >= least), "{gaps:?}");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resumed_by_hand_it_has_its_whole_budget_again() {
    let (ill, journal) = (Arc::new(AtomicBool::new(true)), Journal::default());
    let (root, roll) = start(one(patient(&ill, &journal, LATE))).await;
    eventually("it is parked", || state(&roll, "top/patient") == Some(State::Parked)).await;
    assert!(roll.get("top/patient").and_then(|status| status.resumes).is_some(), "when it is tried is shown");
    let refused = roll.steer("top/patient", supervision::Act::Resume, "ada").await.expect_err("it does not start");
    assert!(refused.to_string().contains("ill"), "{refused}");
    eventually("its budget is spent again", || journal.count("tried") == 8).await;
    eventually("it is parked again", || state(&roll, "top/patient") == Some(State::Parked)).await;
    ill.store(false, Ordering::SeqCst);
    roll.steer("top/patient", supervision::Act::Resume, "ada").await.expect("it starts");
    assert_eq!(state(&roll, "top/patient"), Some(State::Running));
    root.stop().await;
}
