//! The record against lists, and through its handle.

mod old;

use super::file::PAGE_ROWS_MAX;
use super::*;
use crate::events::testing::{SmallDisk, becomes, camera_id, edge, entry, event, run};
use proptest::prelude::*;
use protocol::{Event, Phase, Timestamp};
use tempfile::TempDir;
use tokio::sync::broadcast::error::RecvError;

const YARD: &str = "main/edge/yard";

fn open() -> (TempDir, StoreFile) {
    let dir = TempDir::new().expect("a directory");
    let file = StoreFile::open(&dir.path().join("events.redb")).expect("opens");
    (dir, file)
}

fn append(file: &StoreFile, who: &str, entries: Vec<Entry>) -> u64 {
    file.append(&[Append { edge: edge(who), entries }]).expect("is written").through[0]
}

fn holding(epoch: u64, seq: u64, event: Event) -> Entry {
    Entry { event, ..entry(epoch, seq) }
}

fn seqs(entries: Vec<Entry>) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

fn record(file: &StoreFile, who: &str, epoch: Option<Epoch>, after: u64, limit: u32) -> Vec<u64> {
    let edge = edge(who);
    seqs(file.record((&edge.tenant, &edge.name), epoch, after, limit).expect("reads"))
}

/// All pages, one after the other.
fn all_pages(file: &StoreFile, tenant: &str, filter: &EventFilter) -> (Vec<Event>, usize) {
    let (mut events, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = file.events(&tenant.parse().expect("a name"), filter, cursor).expect("reads");
        events.extend(page.events.into_iter().map(|recorded| recorded.event));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            return (events, pages);
        }
    }
}

#[test]
fn what_comes_alone_is_committed_at_once_and_a_crowd_shares_the_next_commit() {
    let (mut pace, began) = (Pace::default(), Instant::now());
    assert_eq!(pace.wait(began, 1), Duration::ZERO, "the first of all");
    pace.last = Some(began);
    assert_eq!(pace.wait(began + COMMIT_EVERY / 4, 1), COMMIT_EVERY * 3 / 4);
    assert_eq!(pace.wait(began + COMMIT_EVERY / 4, BATCH_ENTRIES_MAX), Duration::ZERO, "nobody else fits");
    assert_eq!(pace.wait(began + COMMIT_EVERY, 1), Duration::ZERO);
    assert_eq!(pace.wait(began + 10 * COMMIT_EVERY, 1), Duration::ZERO);
}

#[test]
fn what_comes_again_is_skipped() {
    let (_dir, file) = open();
    assert_eq!(append(&file, YARD, vec![entry(1, 1), entry(1, 2)]), 2);
    assert_eq!(append(&file, YARD, vec![entry(1, 1), entry(1, 2), entry(1, 3)]), 3);
    assert_eq!(append(&file, YARD, vec![entry(1, 2)]), 3, "the mark never goes back");
    assert_eq!(record(&file, YARD, Some(Epoch(1)), 0, 100), [1, 2, 3]);
}

#[test]
fn the_same_number_of_another_epoch_edge_or_tenant_is_another_entry() {
    let (_dir, file) = open();
    for who in [YARD, "main/edge/gate", "acme/edge/yard"] {
        for epoch in [1, 2] {
            assert_eq!(append(&file, who, vec![entry(epoch, 1)]), 1);
            assert_eq!(file.through(&edge(who), Epoch(epoch)).expect("reads"), 1);
            assert_eq!(file.through(&edge(who), Epoch(epoch + 7)).expect("reads"), 0);
        }
    }
}

#[test]
fn without_an_epoch_the_record_is_that_of_the_outbox_in_use() {
    let (_dir, file) = open();
    append(&file, YARD, vec![entry(9, 1), entry(9, 2)]);
    append(&file, YARD, vec![entry(4, 1)]);
    append(&file, YARD, vec![entry(9, 3)]);
    assert_eq!(record(&file, YARD, None, 0, 100), [1], "the second outbox, though its epoch is smaller");
    assert_eq!(record(&file, YARD, Some(Epoch(9)), 1, 1), [2]);
    assert_eq!(record(&file, YARD, Some(Epoch(9)), u64::MAX, 1), [0; 0]);
    assert_eq!(record(&file, "main/edge/nobody", None, 0, 100), [0; 0]);
}

#[test]
fn a_lower_revision_never_hides_a_higher_one() {
    let (_dir, file) = open();
    let revision = |n| event(0, 5, n, Phase::Update);
    append(&file, YARD, vec![holding(1, 1, revision(0)), holding(1, 2, revision(3)), holding(1, 3, revision(2))]);
    assert_eq!(all_pages(&file, "main", &EventFilter::default()).0, [revision(3)]);
    assert_eq!(record(&file, YARD, None, 0, 100), [1, 2, 3], "the raw record keeps all");
}

#[test]
fn an_edge_cannot_rewrite_the_event_of_another() {
    let (_dir, file) = open();
    append(&file, YARD, vec![holding(1, 1, event(0, 5, 0, Phase::Start))]);
    append(&file, "main/edge/gate", vec![holding(2, 1, event(1, 5, 9, Phase::End))]);
    assert_eq!(all_pages(&file, "main", &EventFilter::default()).0, [event(0, 5, 0, Phase::Start)]);
}

#[test]
fn a_tenant_sees_its_own_events_only() {
    let (_dir, file) = open();
    append(&file, YARD, vec![holding(1, 1, event(0, 5, 0, Phase::Start))]);
    append(&file, "acme/edge/yard", vec![holding(1, 1, event(1, 6, 0, Phase::Start))]);
    assert_eq!(all_pages(&file, "main", &EventFilter::default()).0, [event(0, 5, 0, Phase::Start)]);
    assert_eq!(all_pages(&file, "acme", &EventFilter::default()).0, [event(1, 6, 0, Phase::Start)]);
    assert_eq!(all_pages(&file, "nobody", &EventFilter::default()).0, []);
}

#[test]
fn a_scan_that_finds_nothing_still_ends_with_a_cursor() {
    let (_dir, file) = open();
    let rows = PAGE_ROWS_MAX as u64 + 10;
    append(&file, YARD, (1..=rows).map(|n| holding(1, n, event(0, n, 0, Phase::Start))).collect());
    let filter = EventFilter { camera: Some(camera_id(9)), ..EventFilter::default() };
    let page = file.events(&TenantId::default(), &filter, None).expect("reads");
    assert_eq!((page.events.len(), page.next), (0, Some(event(0, PAGE_ROWS_MAX as u64, 0, Phase::Start).id)));
    assert_eq!(all_pages(&file, "main", &filter), (vec![], 2));
}

/// Longer than any row that is read again; `receiver::check` keeps such from coming in.
fn unreadable(id: u64, revision: u32) -> Event {
    Event { label: "x".repeat(2 * protocol::limits::MESSAGE_BYTES_MAX), ..event(0, id, revision, Phase::Update) }
}

#[test]
fn a_row_that_cannot_be_read_is_left_out_and_the_rest_is_found() {
    let (_dir, file) = open();
    let events = [event(0, 5, 0, Phase::Start), unreadable(6, 0), event(0, 7, 0, Phase::Start)];
    append(&file, YARD, (1..).zip(events.clone()).map(|(seq, event)| holding(1, seq, event)).collect());
    assert_eq!(all_pages(&file, "main", &EventFilter::default()).0, [events[0].clone(), events[2].clone()]);
    assert_eq!(record(&file, YARD, None, 0, 2), [1, 3]);
}

#[test]
fn a_row_that_cannot_be_read_is_written_anew_and_stops_nobody() {
    let (_dir, file) = open();
    append(&file, YARD, vec![holding(1, 1, unreadable(5, 3))]);
    assert_eq!(append(&file, "main/edge/gate", vec![holding(9, 1, event(0, 8, 0, Phase::Start))]), 1);
    assert_eq!(append(&file, YARD, vec![holding(1, 2, event(0, 5, 4, Phase::End))]), 2);
    let found = all_pages(&file, "main", &EventFilter::default()).0;
    assert_eq!(found, [event(0, 5, 4, Phase::End), event(0, 8, 0, Phase::Start)]);
}

#[test]
fn a_mark_that_cannot_be_read_is_made_again_from_the_log() {
    let (dir, file) = open();
    append(&file, YARD, vec![entry(1, 1), entry(1, 2)]);
    drop(file);
    let path = dir.path().join("events.redb");
    let db = redb::Database::open(&path).expect("opens");
    let write = db.begin_write().expect("begins");
    let marks = redb::TableDefinition::<(&str, &str, u64), &[u8]>::new("marks");
    write.open_table(marks).expect("is there").insert(("main", "yard", 1), [9u8; 3].as_slice()).expect("is written");
    write.commit().expect("is written");
    drop(db);
    let file = StoreFile::open(&path).expect("opens again");
    assert_eq!(file.through(&edge(YARD), Epoch(1)).expect("reads"), 2);
    assert_eq!(append(&file, YARD, vec![entry(1, 2), entry(1, 3)]), 3);
    assert_eq!(record(&file, YARD, None, 0, 100), [1, 2, 3]);
}

fn filters() -> impl Strategy<Value = EventFilter> {
    let time = || proptest::option::of((0i64..60).prop_map(|millis| Timestamp::from_micros(millis * 1000 - 300)));
    let label = proptest::option::of(prop_oneof![Just("person"), Just("car"), Just("boat")]);
    let camera = proptest::option::of((0u8..4).prop_map(camera_id));
    (camera, label, time(), time(), proptest::option::of(1u32..9)).prop_map(|(camera, label, from, until, limit)| {
        EventFilter { camera, label: label.map(str::to_owned), from, until, limit }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn paging_through_any_filter_finds_what_a_list_finds(
        rows in proptest::collection::vec((0u8..3, 0u64..60, 0u32..4), 1..80), filter in filters(),
    ) {
        let (_dir, file) = open();
        let mut newest: BTreeMap<EventId, Event> = BTreeMap::new();
        // An id belongs to one camera.
        let events: Vec<Event> = rows.into_iter().map(|(_, id, rev)| event((id % 3) as u8, id, rev, Phase::Update)).collect();
        for event in &events {
            let known = newest.entry(event.id).or_insert_with(|| event.clone());
            if event.revision > known.revision {
                *known = event.clone();
            }
        }
        append(&file, YARD, (1..).zip(events).map(|(seq, event)| holding(1, seq, event)).collect());
        let wanted: Vec<Event> = newest.into_values().filter(|event| filter.matches(event)).collect();
        let (found, pages) = all_pages(&file, "main", &filter);
        let full_pages = found.len() / filter.limit.unwrap_or(100) as usize;
        prop_assert!(pages <= full_pages + 1, "{} pages for {} events", pages, found.len());
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn however_edges_repeat_themselves_the_record_is_what_they_accepted(
        steps in proptest::collection::vec((0u64..2, 0u64..30, 1u64..12), 1..40),
    ) {
        let (dir, mut file) = open();
        let mut through = [0u64; 2];
        for (n, (epoch, back, count)) in steps.into_iter().enumerate() {
            // As an edge does that lost its link: from any point before the mark.
            let first = through[epoch as usize].saturating_sub(back) + 1;
            let last = first + count - 1;
            through[epoch as usize] = through[epoch as usize].max(last);
            let entries = (first..=last).map(|seq| entry(epoch, seq)).collect();
            prop_assert_eq!(append(&file, YARD, entries), through[epoch as usize]);
            if n % 7 == 6 {
                drop(file);
                file = StoreFile::open(&dir.path().join("events.redb")).expect("opens again");
            }
        }
        for epoch in [0, 1] {
            let wanted: Vec<u64> = (1..=through[epoch as usize]).collect();
            prop_assert_eq!(record(&file, YARD, Some(Epoch(epoch)), 0, 10_000), wanted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_append_together_are_each_told_their_own_mark() {
    let dir = TempDir::new().expect("a directory");
    let store = EventStore::new();
    let root = run(vec![store.child(dir.path().join("events.redb"))]).await;
    let appends = (1..=20u64).map(|n| {
        let (store, edge) = (store.clone(), edge(&format!("main/edge/e{n}")));
        tokio::spawn(async move { store.append(edge, (1..=n).map(|seq| entry(7, seq)).collect()).await })
    });
    for (n, append) in (1..=20u64).zip(appends.collect::<Vec<_>>()) {
        assert_eq!(append.await.expect("did not panic"), Ok(n));
        assert_eq!(store.resume(edge(&format!("main/edge/e{n}")), Epoch(7)).await, Ok(n));
    }
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_of_new_revisions_of_its_tenant_once_they_are_on_disk() {
    let dir = TempDir::new().expect("a directory");
    let store = EventStore::new();
    let (mut ours, mut theirs) = (store.follow(), store.for_tenant("acme".parse().expect("a name")).follow());
    let root = run(vec![store.child(dir.path().join("events.redb"))]).await;
    for revision in [0, 1, 1] {
        let entries = vec![holding(1, u64::from(revision) + 1, event(0, 5, revision, Phase::Update))];
        store.append(edge(YARD), entries).await.expect("is on disk");
    }
    store.append(edge("acme/edge/yard"), vec![entry(3, 1)]).await.expect("is on disk");
    let heard: Vec<u32> =
        [ours.recv().await, ours.recv().await].map(|news| news.expect("news").event.revision).to_vec();
    assert_eq!(heard, [0, 1]);
    assert_eq!(theirs.recv().await.expect("news").tenant.as_str(), "acme");
    assert!(ours.is_empty() && theirs.is_empty());
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_lags_is_told_how_much_it_missed() {
    let dir = TempDir::new().expect("a directory");
    let store = EventStore::new();
    let mut slow = store.follow();
    let root = run(vec![store.child(dir.path().join("events.redb"))]).await;
    let count = FOLLOW_EVENTS_MAX as u64 + 100;
    store.append(edge(YARD), (1..=count).map(|seq| entry(1, seq)).collect()).await.expect("is on disk");
    // The edge is answered before the followers hear; the store's next answer comes after both.
    store.resume(edge(YARD), Epoch(1)).await.expect("answers");
    assert_eq!(slow.recv().await.map(drop), Err(RecvError::Lagged(100)));
    root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_record_is_well_again_once_its_disk_has_space() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let store = EventStore::new();
    let root = run(vec![store.child(dir.path().join("events.redb"))]).await;
    disk.fill();
    let (yard, mut on_record) = (edge("main/edge/yard"), 0);
    while store.append(yard.clone(), vec![entry(7, on_record + 1)]).await.is_ok() {
        on_record += 1;
    }
    becomes(false, || store.finding()).await;
    // It tries again and again meanwhile, and finds nothing else.
    let full = Instant::now();
    while full.elapsed() < 3 * FULL_PAUSE {
        assert!(
            store.append(yard.clone(), vec![entry(7, on_record + 1)]).await.is_err() && store.finding().is_err(),
            "{:?}",
            store.finding()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    disk.free();
    // Nobody appends.
    becomes(true, || store.finding()).await;
    let appended = store.append(yard, vec![entry(7, on_record + 1)]).await;
    assert_eq!(appended, Ok(on_record + 1));
    root.stop().await;
}
