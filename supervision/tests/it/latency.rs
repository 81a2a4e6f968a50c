//! How long a restart takes, seen by someone who asks. Prints; asserts only that it is no pause.

use crate::helpers::*;
use std::time::{Duration, Instant};
use supervision::{Backoff, Intensity, Strategy};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_actor_answers_within_milliseconds() {
    const ROUNDS: usize = 1000;
    let usual = std::panic::take_hook();
    // A thousand lines that say nothing; the panics of other tests are still told.
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some("again") {
            usual(panic);
        }
    }));
    let (mailbox, journal) = (mailbox(), Journal::default());
    let at_once = Backoff { base: Duration::ZERO, max: Duration::ZERO };
    let mut tree = tree("top", Strategy::OneForOne, 0, vec![puppet("one", &mailbox, &journal).backoff(at_once)]);
    tree.intensity = Intensity { restarts: 2 * ROUNDS as u32, within: Duration::from_secs(600) };
    let (root, roll) = start(tree).await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        tell(&mailbox, Msg::Panic("again".to_owned()));
        assert_eq!(count(&mailbox).await, Ok(1), "the answer is the successor's");
        took.push(began.elapsed());
    }
    // It may answer before its supervisor has counted it.
    eventually("each restart is counted", || restarts(&roll, "top/one") == ROUNDS as u64).await;
    took.sort();
    println!(
        "panic to answer: p50 {:?}, p99 {:?}, max {:?}",
        took[ROUNDS / 2],
        took[ROUNDS * 99 / 100],
        took[ROUNDS - 1]
    );
    assert!(took[ROUNDS / 2] < Duration::from_millis(10), "p50 is {:?}", took[ROUNDS / 2]);
    root.stop().await;
}
