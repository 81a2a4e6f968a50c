//! The outbox when it is full: what goes, what is told of it, and when.

use super::super::file::{Mark, OutboxFile};
use super::*;
use redb::{Database, TableDefinition};

fn judged(id: u64, phase: Phase) -> Event {
    let evidence = Evidence::Model { model: "squares".to_owned(), node: "engine".to_owned() };
    Event { evidence, ..event(0, id, 0, phase) }
}

fn file(dir: &TempDir) -> OutboxFile {
    OutboxFile::open(&dir.path().join("outbox.redb")).expect("opens")
}

/// The ids of what waits in `file`, all of it.
fn ids(file: &OutboxFile) -> Vec<u64> {
    file.next(0).expect("reads").iter().map(|entry| (entry.event.id.0 >> 80) as u64).collect()
}

/// What the reports among these say: how many, of which severity.
fn told(entries: &[Entry]) -> Vec<(u64, Severity)> {
    let told = |entry: &Entry| match entry.event.evidence {
        Evidence::Dropped { entries, severity } => Some((entries, severity)),
        _ => None,
    };
    entries.iter().filter_map(told).collect()
}

#[test]
fn the_oldest_of_the_lowest_severity_goes_first() {
    let dir = TempDir::new().expect("a directory");
    let mut file = file(&dir);
    let mut push = |event: Event| file.append(vec![event], Timestamp::now(), 4, false).expect("is written").dropped;
    // A start of what a model saw, one of what moved, an update of each.
    push(judged(1, Phase::Start));
    push(event(0, 2, 0, Phase::Start));
    push(judged(3, Phase::Update));
    push(event(0, 4, 0, Phase::Update));
    assert_eq!(push(judged(5, Phase::Start)), [1, 0, 0, 0]);
    assert_eq!(push(judged(6, Phase::Start)), [1, 0, 0, 0]);
    assert_eq!(push(judged(7, Phase::Start)), [0, 1, 0, 0]);
    assert_eq!(push(judged(8, Phase::Start)), [0, 0, 1, 0]);
    // What is new goes itself where everything else is worth more.
    assert_eq!(push(judged(9, Phase::Update)), [1, 0, 0, 0]);
    assert_eq!(ids(&file), [5, 6, 7, 8]);
    assert_eq!((file.mark().accepted, file.waiting()), (9, 4));
}

#[test]
fn an_outbox_that_stays_full_drops_a_hundredth_at_once() {
    let dir = TempDir::new().expect("a directory");
    let mut file = file(&dir);
    let mut push = |count| {
        let events = (0..count).map(|n| event(0, n, 0, Phase::Start)).collect();
        file.append(events, Timestamp::now(), 400, false).expect("is written").dropped[1]
    };
    assert_eq!([push(400), push(1), push(1), push(3), push(1)], [0, 5, 0, 0, 5]);
}

#[test]
fn a_report_that_has_to_go_itself_hands_on_what_it_said() {
    let dir = TempDir::new().expect("a directory");
    let mut file = file(&dir);
    let events = (1..=5).map(|n| event(0, n, 0, Phase::Start)).collect();
    assert_eq!(file.append(events, Timestamp::now(), 1, false).expect("is written").dropped, [0, 4, 0, 0]);
    // The first takes the place of the last event, each other that of the one before.
    for says in [4, 1, 4, 1] {
        file.append(vec![], Timestamp::now(), 1, true).expect("is written");
        assert_eq!(told(&file.next(0).expect("reads")), [(says, Severity::Normal)]);
        assert!(file.has_untold());
    }
}

#[test]
fn a_file_of_before_there_were_gaps_goes_on() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("outbox.redb");
    let mut older = file(&dir);
    let events = (1..=9).map(|n| event(0, n, 0, Phase::Start)).collect();
    older.append(events, Timestamp::now(), MANY, false).expect("is written");
    let epoch = older.mark().epoch;
    drop(older);
    // As it was written then: three dropped that nobody acknowledged, and nothing said of a spool.
    let db = Database::open(&path).expect("opens");
    let write = db.begin_write().expect("begins");
    {
        let mut meta = write.open_table(TableDefinition::<&str, &[u8]>::new("meta")).expect("is there");
        meta.remove("spool").expect("is removed");
        let mark = Mark { epoch, accepted: 9, acked: 0, removed: 3 };
        meta.insert("outbox", encode(&mark).as_slice()).expect("is written");
    }
    write.commit().expect("is written");
    drop(db);
    let mut file = file(&dir);
    assert_eq!((file.waiting(), file.has_untold()), (6, false));
    let done = file.append(vec![judged(10, Phase::Update)], Timestamp::now(), 6, false).expect("is written");
    assert_eq!((done.dropped, ids(&file)), ([1, 0, 0, 0], (4..=9).collect()));
    assert_eq!(file.ack(5).expect("reads"), 2);
}

#[test]
fn a_track_whose_start_was_dropped_is_still_open_and_its_end_goes_to_the_relay() {
    let dir = TempDir::new().expect("a directory");
    let mut outbox = file(&dir);
    outbox.append(vec![event(0, 1, 0, Phase::Start)], Timestamp::now(), 2, false).expect("is written");
    for n in 2..=3 {
        outbox.append(vec![judged(n, Phase::Start)], Timestamp::now(), 2, false).expect("is written");
    }
    assert_eq!(ids(&outbox), [2, 3]);
    drop(outbox);
    let mut outbox = file(&dir);
    let open: Vec<u64> = outbox.open_events(&camera_id(0)).iter().map(|e| (e.id.0 >> 80) as u64).collect();
    assert_eq!(open, [1, 2, 3]);
    outbox.ack(9).expect("reads");
    outbox.append(vec![event(0, 1, 1, Phase::End)], Timestamp::now(), 2, false).expect("is written");
    assert_eq!(ids(&outbox).last(), Some(&1));
    assert_eq!(outbox.open_events(&camera_id(0)).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_outbox_says_at_once_that_it_drops_and_how_many_when_it_has_room_again() {
    let dir = TempDir::new().expect("a directory");
    let mut outbox = Outbox::new();
    let mut root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(4))]).await;
    for n in 1..=10 {
        outbox.push(event(0, n, 0, Phase::Start)).await.expect("accepted");
    }
    // The sixth number is the first report's: one was dropped when it was written.
    let kept = outbox.next(0).await.expect("answers");
    assert_eq!(kept.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [6, 9, 10, 11]);
    assert_eq!(told(&kept), [(1, Severity::Normal)]);
    let figures = outbox.spool().await.expect("answers");
    assert_eq!((figures.waiting, figures.dropped), (4, 7));
    // What is not told yet is told by whoever opens the file next.
    root.stop().await;
    outbox = Outbox::new();
    root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(4))]).await;
    assert_eq!(outbox.next(0).await.expect("answers"), kept);
    outbox.ack(11).await.expect("is taken");
    let report = async {
        let mut newest = outbox.newest();
        newest.wait_for(|newest| *newest == 12).await.map(drop).expect("it runs");
        outbox.next(11).await.expect("answers")
    };
    let report = tokio::time::timeout(Duration::from_secs(20), report).await.expect("is reported");
    assert_eq!(told(&report), [(6, Severity::Normal)]);
    let Event { begin, end, .. } = report[0].event;
    assert!(begin <= kept[0].accepted && kept[0].accepted <= end && end <= kept[1].accepted, "{begin} to {end}");
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_stays_full_one_report_waits_at_a_time() {
    let dir = TempDir::new().expect("a directory");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(20))]).await;
    for n in 1..=200 {
        outbox.push(event(0, n, 0, [Phase::Start, Phase::Update][n as usize % 2])).await.expect("accepted");
    }
    let kept = outbox.next(0).await.expect("answers");
    assert_eq!((kept.len(), told(&kept).len()), (20, 1));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_hears_how_much_waits_and_for_how_long() {
    let dir = TempDir::new().expect("a directory");
    let outbox = Outbox::new();
    let root = run(vec![outbox.child(dir.path().join("outbox.redb"), entries_max(MANY))]).await;
    let spool = async || outbox.spool().await.expect("answers");
    assert_eq!(spool().await, SpoolFigures::default());
    for n in 1..=3 {
        outbox.push(event(0, n, 0, Phase::Start)).await.expect("accepted");
    }
    let aged = async {
        while spool().await.oldest_ms < 30 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), aged).await.expect("grows older");
    outbox.ack(1).await.expect("is taken");
    let figures = spool().await;
    assert_eq!((figures.waiting, figures.dropped), (2, 0));
    outbox.ack(3).await.expect("is taken");
    assert_eq!(spool().await, SpoolFigures::default());
    root.stop().await;
}
