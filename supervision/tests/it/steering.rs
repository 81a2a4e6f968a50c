//! What an operator does by hand.

use crate::helpers::*;
use supervision::{Act, Fault, Roll, Root, State, SteerError, Strategy};

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
async fn a_wrong_path_is_told_with_the_nearest_right_ones() {
    let (_, _, root, roll) = site().await;
    let told = |error: SteerError| error.to_string();
    let wrong = roll.steer("yard/camera/frnt", Act::Restart, "ada").await.map_err(told);
    assert!(wrong.expect_err("there is none").contains("did you mean yard/cameras/front"));
    let wrong = roll.steer("front", Act::Restart, "ada").await.map_err(told);
    assert!(wrong.expect_err("there is none").contains("yard/cameras/front"));
    assert_eq!(roll.steer("yard", Act::Restart, "ada").await, Err(SteerError::Top("yard".to_owned())));
    let supervisor = roll.steer("yard/cameras", Act::Inject(Fault::Panic), "ada").await;
    assert_eq!(supervisor, Err(SteerError::Supervisor("yard/cameras".to_owned())));
    root.stop().await;
}
