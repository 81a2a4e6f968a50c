//! The keeper with a real outbox and a real file, over lives of the node.

use super::*;
use crate::events::testing::run;
use std::num::NonZeroU64;
use std::path::Path;
use supervision::{Node, Root, service};

const WITHIN: Duration = Duration::from_secs(20);

struct Life {
    door: Coverage,
    outbox: Outbox,
    keeper: Keeper,
    root: Root,
}

impl Life {
    async fn begin(dir: &Path) -> Self {
        let coverages = Coverages::new([("door".parse().expect("a name"), 5.0)]);
        let door = coverages.iter().next().map(|(_, coverage)| coverage.clone()).expect("a camera");
        let outbox = Outbox::new();
        let book = Book::new(dir.join("coverage.redb"));
        let keeper = Keeper::new(coverages, outbox.clone(), book, Arc::new(|_| None));
        let root = run(vec![outbox.child(dir.join("outbox.redb"), NonZeroU64::MAX), child(&keeper)]).await;
        Self { door, outbox, keeper, root }
    }

    /// And its file is free for the next.
    async fn end(self) {
        self.root.stop().await;
    }

    /// Everything that was pushed, once it is so many entries.
    async fn entries(&self, count: usize) -> Vec<Event> {
        let pushed = async {
            loop {
                let entries = self.outbox.next(0).await.expect("answers");
                if entries.len() >= count {
                    break entries.into_iter().map(|entry| entry.event).collect();
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(WITHIN, pushed).await.expect("is pushed")
    }
}

fn child(keeper: &Keeper) -> Node {
    let keeper = keeper.clone();
    service("coverage-keeper", move |cx| keeper.clone().run(cx))
}

fn told(events: &[Event]) -> Vec<(Phase, String)> {
    events.iter().map(|event| (event.phase, event.title().into_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_goes_blind_and_sees_again_is_one_event() {
    let dir = tempfile::tempdir().expect("a directory");
    let life = Life::begin(dir.path()).await;
    life.door.judged();
    let first = life.entries(2).await;
    assert_eq!(first[1].label, "blind", "the first look of all");
    life.door.obstacle("refused: nobody listens");
    // Within 2 s of its last judgement.
    let began = life.entries(3).await;
    let begun = &began[2];
    assert_eq!(begun.title(), "blind: refused: nobody listens");
    let late = Timestamp::now().since(begun.begin);
    assert!(late >= super::super::BLIND_AFTER, "{late:?}");
    life.door.judged();
    let ended = life.entries(4).await;
    assert_eq!((ended[3].id, ended[3].phase, ended[3].revision), (begun.id, Phase::End, 1));
    assert!(ended[3].end > begun.begin);
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_says_from_when_to_when_nobody_looked() {
    let dir = tempfile::tempdir().expect("a directory");
    let life = Life::begin(dir.path()).await;
    life.door.judged();
    life.entries(2).await;
    life.door.judged();
    let judged = Timestamp::now();
    // Seen by the keeper before it stops.
    let known = async {
        while life
            .keeper
            .book
            .mark(&"door".parse().expect("a name"))
            .is_none_or(|known| judged.since(known) > Duration::from_millis(20))
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, known).await.expect("is marked");
    life.end().await;

    let life = Life::begin(dir.path()).await;
    let begun = life.entries(3).await;
    let away = &begun[2];
    assert_eq!(away.title(), "blind: the edge was not running");
    assert!(judged.since(away.begin).max(away.begin.since(judged)) < Duration::from_secs(1), "{away:?} after {judged}");
    life.door.judged();
    let ended = life.entries(4).await;
    assert_eq!((ended[3].id, ended[3].phase), (away.id, Phase::End));
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_cut_tells_each_event_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let coverages = Coverages::new([("door".parse().expect("a name"), 5.0)]);
    let door = coverages.iter().next().map(|(_, coverage)| coverage.clone()).expect("a camera");
    let (outbox, book) = (Outbox::new(), Book::new(dir.path().join("coverage.redb")));
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), NonZeroU64::MAX)]).await;
    let keeper = Keeper::new(coverages, outbox.clone(), book, Arc::new(|_| None));
    door.judged();
    // As a life that was cut between the outbox's answer and noting it would find it.
    let course = Course::new("door".parse().expect("a name"), None, Timestamp::now());
    let mut course = course;
    let now = Timestamp::now();
    let gap = Span { from: now, to: Some(now.plus(Duration::from_secs(1))), reason: "x".to_owned(), first: true };
    let events = course.look(Seen { gaps: vec![gap], judged: None, unwatched: false }, now);
    for _ in 0..2 {
        for event in &events[..1] {
            keeper.push(event.clone()).await;
        }
    }
    for _ in 0..2 {
        keeper.push(events[1].clone()).await;
    }
    let entries = outbox.next(0).await.expect("answers");
    let phases: Vec<Phase> = entries.iter().map(|entry| entry.event.phase).collect();
    assert_eq!(phases, [Phase::Start, Phase::End], "{:?}", told(&events));
    root.stop().await;
}
