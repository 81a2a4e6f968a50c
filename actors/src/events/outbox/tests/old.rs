//! Files that a program of before version 4 of the transport has written.

use super::*;
use protocol::codec::{decode_record, encode};
use protocol::event::v3;
use redb::{Database, ReadableTable, TableDefinition};
use std::path::Path;

const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const OPEN: TableDefinition<(&str, u128), &[u8]> = TableDefinition::new("open");

/// Each row as that program would have written it.
fn age(path: &Path) {
    let db = Database::open(path).expect("opens");
    let write = db.begin_write().expect("begins");
    {
        let mut table = write.open_table(ENTRIES).expect("is there");
        let chunk = |row: redb::Result<(_, redb::AccessGuard<&[u8]>)>| {
            let (key, chunk): (redb::AccessGuard<u64>, _) = row.expect("reads");
            (key.value(), old_chunk(chunk.value()))
        };
        let rows: Vec<(u64, Vec<u8>)> = table.iter().expect("reads").map(chunk).collect();
        for (key, chunk) in rows {
            table.insert(key, chunk.as_slice()).expect("is written");
        }
        let mut table = write.open_table(OPEN).expect("is there");
        #[allow(clippy::type_complexity, reason = "one row of a table as redb gives it")]
        let event = |row: redb::Result<(redb::AccessGuard<(&str, u128)>, redb::AccessGuard<&[u8]>)>| {
            let (key, event) = row.expect("reads");
            let (camera, id) = key.value();
            (camera.to_owned(), id, old_event(event.value()))
        };
        let rows: Vec<(String, u128, Vec<u8>)> = table.iter().expect("reads").map(event).collect();
        for (camera, id, event) in rows {
            table.insert((camera.as_str(), id), event.as_slice()).expect("is written");
        }
    }
    write.commit().expect("is written");
}

fn old_chunk(bytes: &[u8]) -> Vec<u8> {
    let entries: Vec<Entry> = decode_record::<_, 32_000>(bytes).expect("reads");
    encode(&entries.into_iter().map(v3::Entry::from).collect::<Vec<_>>())
}

fn old_event(bytes: &[u8]) -> Vec<u8> {
    encode(&v3::Event::from(decode_record::<Event, 8192>(bytes).expect("reads")))
}

/// As it comes back: the one score it had is both.
fn as_told(event: &Event) -> Event {
    v3::Event::from(event.clone()).into()
}

#[test]
fn an_outbox_with_unsent_entries_of_the_old_shape_is_read_sent_and_written_on() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("outbox.redb");
    let mut file = OutboxFile::open(&path).expect("opens");
    let started: Vec<Event> = (1..=300).map(|n| event(0, n, 0, Phase::Start)).collect();
    file.append(started.clone(), Timestamp::now(), MANY, false).expect("is written");
    file.ack(7).expect("reads");
    file.trim().expect("is written");
    drop(file);
    age(&path);

    let mut file = OutboxFile::open(&path).expect("opens");
    assert_eq!(file.open_events(&camera_id(0)), started.iter().map(as_told).collect::<Vec<_>>());
    let ended = Event { zones: vec!["drive".to_owned()], has_clip: true, ..event(0, 9, 1, Phase::End) };
    file.append(vec![ended.clone()], Timestamp::now(), MANY, false).expect("is written");
    let due: Vec<Event> = started[7..].iter().map(as_told).chain([ended]).collect();
    for _ in 0..2 {
        let entries = file.next(7).expect("reads");
        assert!(encode(&EventsUp::Entries(entries.clone())).len() <= MESSAGE_BYTES_MAX);
        assert_eq!(entries.into_iter().map(|entry| entry.event).collect::<Vec<_>>(), due);
        drop(file);
        file = OutboxFile::open(&path).expect("opens again");
    }
    file.renew().expect("is written");
    assert_eq!(file.next(0).expect("reads").into_iter().map(|entry| entry.event).collect::<Vec<_>>(), due);
}

#[test]
fn a_message_of_entries_that_grew_when_they_were_read_is_within_its_limit() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("outbox.redb");
    let mut file = OutboxFile::open(&path).expect("opens");
    let small: Vec<Event> =
        (1..=4000).map(|n| Event { label: String::new(), ..event(0, n, 0, Phase::Start) }).collect();
    file.append(small, Timestamp::now(), MANY, false).expect("is written");
    drop(file);
    age(&path);
    let file = OutboxFile::open(&path).expect("opens");
    let (mut after, mut messages) = (0, 0);
    while after < 4000 {
        let entries = file.next(after).expect("reads");
        assert_eq!(entries[0].seq, after + 1);
        after = entries.last().expect("there are more").seq;
        assert!(encode(&EventsUp::Entries(entries)).len() <= MESSAGE_BYTES_MAX);
        messages += 1;
    }
    assert!(messages > 1, "the bound was never reached");
}
