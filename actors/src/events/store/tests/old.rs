//! A record that a program of before version 4 of the transport has written.

use super::*;
use protocol::codec::{decode_record, encode};
use protocol::event::v3;
use redb::{AccessGuard, Database, ReadableTable, TableDefinition};
use std::path::Path;

const LOG: TableDefinition<(&str, &str, u64, u64), &[u8]> = TableDefinition::new("log");
const EVENTS: TableDefinition<(&str, u128), &[u8]> = TableDefinition::new("events");

/// Each row as that program would have written it, of one edge called yard.
fn age(path: &Path) {
    let db = Database::open(path).expect("opens");
    let write = db.begin_write().expect("begins");
    write.delete_table(TableDefinition::<(&str, &str, &str, u128), ()>::new("spells")).expect("is removed");
    {
        let mut log = write.open_table(LOG).expect("is there");
        #[allow(clippy::type_complexity, reason = "one row of a table as redb gives it")]
        let entry = |row: redb::Result<(AccessGuard<(&str, &str, u64, u64)>, AccessGuard<&[u8]>)>| {
            let (key, entry) = row.expect("reads");
            let entry: Entry = decode_record::<_, 8192>(entry.value()).expect("reads");
            ((key.value().2, key.value().3), encode(&v3::Entry::from(entry)))
        };
        let rows: Vec<_> = log.iter().expect("reads").map(entry).collect();
        for ((epoch, seq), entry) in rows {
            log.insert(("main", "yard", epoch, seq), entry.as_slice()).expect("is written");
        }
        let mut events = write.open_table(EVENTS).expect("is there");
        #[allow(clippy::type_complexity, reason = "one row of a table as redb gives it")]
        let event = |row: redb::Result<(AccessGuard<(&str, u128)>, AccessGuard<&[u8]>)>| {
            let (key, event) = row.expect("reads");
            let event: RecordedEvent = decode_record::<_, 8192>(event.value()).expect("reads");
            (key.value().1, encode(&v3::RecordedEvent::from(event)))
        };
        let rows: Vec<_> = events.iter().expect("reads").map(event).collect();
        for (id, event) in rows {
            events.insert(("main", id), event.as_slice()).expect("is written");
        }
    }
    write.commit().expect("is written");
}

#[test]
fn an_old_record_is_read_and_written_on() {
    let (dir, file) = open();
    let started: Vec<Entry> = (1..=5).map(|seq| entry(1, seq)).collect();
    append(&file, YARD, started.clone());
    drop(file);
    let path = dir.path().join("events.redb");
    age(&path);
    let file = StoreFile::open(&path).expect("opens");
    assert_eq!(record(&file, YARD, None, 0, 10), [1, 2, 3, 4, 5]);
    let as_told = |entry: &Entry| Event::from(v3::Event::from(entry.event.clone()));
    let (events, _) = all_pages(&file, "main", &EventFilter::default());
    assert_eq!(events, started.iter().map(as_told).collect::<Vec<_>>());
    let (tenant, yard) = (TenantId::default(), "yard".parse().expect("a name"));
    let span = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX));
    let spells = file.spells((&tenant, &yard), &camera_id(0), span).expect("reads");
    assert_eq!((spells.since, file.watched((&tenant, &yard), 9).expect("reads")), (None, vec![]));
    // One that goes on, with a word for what it has.
    let ended = Event { zones: vec!["drive".to_owned()], has_clip: true, ..event(0, 5, 1, Phase::End) };
    assert_eq!(append(&file, YARD, vec![holding(1, 6, ended.clone())]), 6);
    let (events, _) = all_pages(&file, "main", &EventFilter::default());
    assert_eq!(events.last(), Some(&ended));
}
