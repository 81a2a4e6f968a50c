//! What an operator does by hand.

use crate::helpers::*;
use supervision::{Act, FailureKind, Fault, Node, Roll, Root, State, SteerError, Strategy};

async fn site() -> (supervision::Mailbox<Msg>, Journal, Root, Roll) {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let inner = tree("cameras", Strategy::OneForOne, 1, vec![puppet("front", &mailbox, &journal)]);
    let (root, roll) = start(tree("yard", Strategy::OneForOne, 1, vec![inner.into()])).await;
    (mailbox, journal, root, roll)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_by_hand_is_orderly_and_spends_no_budget() {
    let (mailbox, journal, root, roll) = site().await;
    for n in 1..=4 {
        let told = roll.steer("yard/cameras/front", Act::Restart, "ada").await.expect("it restarts");
        assert_eq!(told, "yard/cameras/front was restarted");
        assert_eq!((journal.count("front stopping"), restarts(&roll, "yard/cameras/front")), (n, n as u64));
        assert_eq!(count(&mailbox).await, Ok(1));
    }
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_restarts_with_all_below_it() {
    let (mailbox, journal, root, roll) = site().await;
    roll.steer("yard/cameras", Act::Restart, "ada").await.expect("it restarts");
    assert_eq!((journal.count("front stopping"), journal.count("front made")), (1, 2));
    assert_eq!(count(&mailbox).await, Ok(1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_by_hand_stays_down_says_who_did_it_and_is_resumed_by_hand() {
    let (mailbox, _, root, roll) = site().await;
    let path = "yard/cameras/front";
    roll.steer(path, Act::Park, "main/operator/ada").await.expect("it parks");
    assert_eq!(state(&roll, path), Some(State::Parked));
    assert_eq!(last(&roll, path).to_string(), "stopped: parked by main/operator/ada");
    assert!(count(&mailbox).await.is_err(), "who asks is told at once");
    assert_eq!(roll.steer(path, Act::Park, "ada").await, Err(SteerError::ParkedAlready(path.to_owned())));
    roll.steer(path, Act::Resume, "ada").await.expect("it resumes");
    assert_eq!(count(&mailbox).await, Ok(1));
    assert_eq!(roll.steer(path, Act::Resume, "ada").await, Err(SteerError::NotParked(path.to_owned())));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_by_hand_stays_down_when_what_is_above_it_is_restarted() {
    let (mailbox, journal, root, roll) = site().await;
    let path = "yard/cameras/front";
    roll.steer(path, Act::Park, "ada").await.expect("it parks");
    roll.steer("yard/cameras", Act::Restart, "ada").await.expect("it restarts");
    assert_eq!(state(&roll, "yard/cameras"), Some(State::Running));
    assert_eq!((state(&roll, path), journal.count("front made")), (Some(State::Parked), 1));
    assert_eq!(last(&roll, path).to_string(), "stopped: parked by ada");
    assert!(count(&mailbox).await.is_err(), "who asks is told at once");
    roll.steer(path, Act::Resume, "ada").await.expect("it resumes");
    assert_eq!(count(&mailbox).await, Ok(1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_quarantine_would_try_again_can_be_kept_down_by_hand() {
    let (mailbox, journal) = (mailbox(), Journal::default());
    let soon = supervision::Quarantine { first: PAUSE, max: PAUSE };
    let node = puppet("front", &mailbox, &journal).parked().quarantine(soon);
    let (root, roll) = start(tree("yard", Strategy::OneForOne, 0, vec![node])).await;
    tell(&mailbox, Msg::Panic("once".to_owned()));
    // Seen in its history: the state passes with the pause.
    let parked = || roll.history().of(None, 10).iter().any(|record| record.then.as_str() == "parked");
    eventually("it was parked", parked).await;
    roll.steer("yard/front", Act::Park, "ada").await.expect("it is kept down");
    assert_eq!(roll.get("yard/front").and_then(|status| status.resumes), None, "nothing is planned");
    // The order may have come after a trial.
    let made = journal.count("front made");
    tokio::time::sleep(3 * PAUSE).await;
    assert_eq!((state(&roll, "yard/front"), journal.count("front made")), (Some(State::Parked), made));
    root.stop().await;
}

/// The shortest wait that shows that nothing comes.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread")]
async fn siblings_that_went_down_with_one_that_is_parked_meanwhile_come_back() {
    let boxes = [mailbox(), mailbox()];
    let journal = Journal::default();
    let never = supervision::Backoff { base: PATIENCE * 10, max: PATIENCE * 10 };
    let children = vec![puppet("a", &boxes[0], &journal).backoff(never), puppet("b", &boxes[1], &journal)];
    let (root, roll) = start(tree("yard", Strategy::OneForAll, 5, children)).await;
    for n in 1..=2 {
        tell(&boxes[0], Msg::Panic(format!("{n}")));
    }
    eventually("a waits for its restart", || state(&roll, "yard/a") == Some(State::Backoff)).await;
    roll.steer("yard/a", Act::Park, "ada").await.expect("it parks");
    assert_eq!((state(&roll, "yard/a"), state(&roll, "yard/b")), (Some(State::Parked), Some(State::Running)));
    roll.steer("yard/a", Act::Resume, "ada").await.expect("it resumes");
    assert_eq!((state(&roll, "yard/a"), state(&roll, "yard/b")), (Some(State::Running), Some(State::Running)));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_may_be_called_port() {
    let (front, port, journal) = (mailbox(), mailbox(), Journal::default());
    let cameras = vec![puppet("front", &front, &journal), puppet("port", &port, &journal)];
    let inner = tree("cameras", Strategy::OneForOne, 1, cameras);
    let (root, roll) = start(tree("yard", Strategy::OneForOne, 1, vec![inner.into()])).await;
    roll.steer("yard/cameras/port", Act::Park, "ada").await.expect("it parks");
    assert_eq!(state(&roll, "yard/cameras/port"), Some(State::Parked));
    assert_eq!(state(&roll, "yard/cameras/front"), Some(State::Running));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_path_is_told_with_the_nearest_right_ones() {
    let (_, _, root, roll) = site().await;
    let told = |error: SteerError| error.to_string();
    let wrong = roll.steer("yard/camera/frnt", Act::Restart, "ada").await.map_err(told);
    assert!(wrong.expect_err("there is none").contains("did you mean yard/cameras/front"));
    let wrong = roll.steer("front", Act::Restart, "ada").await.map_err(told);
    assert!(wrong.expect_err("there is none").contains("yard/cameras/front"));
    assert_eq!(roll.steer("yard", Act::Restart, "ada").await, Err(SteerError::Top("yard".to_owned())));
    let supervisor = roll.steer("yard/cameras", Act::Inject(Fault::Hang), "ada").await;
    assert_eq!(supervisor, Err(SteerError::Supervisor("yard/cameras".to_owned())));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_fails_takes_what_is_below_it_along_and_nothing_else() {
    let (front, other, journal) = (mailbox(), mailbox(), Journal::default());
    let inner = Node::from(tree("cameras", Strategy::OneForOne, 1, vec![puppet("front", &front, &journal)]));
    let children = vec![inner.backoff(BRISK), puppet("other", &other, &journal)];
    let (root, roll) = start(tree("yard", Strategy::OneForOne, 5, children)).await;
    for (n, (fault, kind)) in (1..).zip([(Fault::Panic, FailureKind::Panic), (Fault::Error, FailureKind::Error)]) {
        roll.steer("yard/cameras", Act::Inject(fault), "ada").await.expect("it runs");
        eventually(&format!("it is back after {fault}"), || restarts(&roll, "yard/cameras") == n).await;
        assert_eq!(last(&roll, "yard/cameras").kind, kind);
        assert_eq!(count(&front).await, Ok(1), "its child is a new one");
    }
    assert_eq!((journal.count("front made"), journal.count("other made")), (3, 1));
    assert_eq!(journal.count("front dropped"), 2, "killed with it");
    root.stop().await;
}
