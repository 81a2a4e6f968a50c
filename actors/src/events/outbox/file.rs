//! The outbox's file: what a transaction changes, and what reading finds. No actor, no clock.
//!
//!   meta     "outbox"             → Mark: epoch, accepted, acked, removed
//!   entries  seq                  → Entry            removed < seq <= accepted, without a gap
//!   open     (camera, event id)   → its last Entry   started and not ended
//!
//! All three change in one transaction or not at all.

use crate::events::disk::{self, FileError};
use protocol::codec::{decode, encode};
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::{CameraId, Entry, Epoch, Event, Phase, Timestamp};
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::path::Path;
use supervision::Failure;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const OPEN: TableDefinition<(&str, u128), &[u8]> = TableDefinition::new("open");
const MARK: &str = "outbox";

/// Longest encoded entry: three texts of 300 characters and the numbers around them.
const ENTRY_BYTES_MAX: usize = 8 * 1024;
/// What `next` returns at once: fits a message with its frame. The rest comes with the next call.
const NEXT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 1024;
const NEXT_ENTRIES_MAX: usize = 512;

/// How far everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub epoch: Epoch,
    /// The newest sequence number given; 0 before the first.
    pub accepted: u64,
    /// The newest one the relay has.
    pub acked: u64,
    /// Entries through this one are no longer in the file: acknowledged, or dropped when it was full.
    pub removed: u64,
}

pub(super) struct OutboxFile {
    db: Database,
    mark: Mark,
}

impl OutboxFile {
    /// Opens the file; a new one gets a new epoch.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let db = disk::open(path, |write| {
            let mark = Mark { epoch: Epoch::random(), accepted: 0, acked: 0, removed: 0 };
            write.open_table(ENTRIES)?;
            write.open_table(OPEN)?;
            put_mark(write, &mark)
        })?;
        let mark = read_mark(&db).map_err(|error| error.refusal(path))?;
        Ok(Self { db, mark })
    }

    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Gives `events` the next numbers and has them on disk when it returns, and forgets what the relay
    /// has. More than `entries_max` entries are never kept: returns how many of the oldest were dropped.
    pub fn append(&mut self, events: &[Event], acked: u64, now: Timestamp, entries_max: u64) -> Result<u64, FileError> {
        let mut mark = self.mark;
        mark.accepted += events.len() as u64;
        mark.acked = mark.acked.max(acked);
        let unacked_from = mark.removed.max(mark.acked);
        mark.removed = unacked_from.max(mark.accepted.saturating_sub(entries_max));
        let write = disk::begin(&self.db)?;
        if !events.is_empty() {
            insert(&write, &self.mark, events, now)?;
        }
        if mark.removed > self.mark.removed {
            write.open_table(ENTRIES)?.retain_in(..=mark.removed, |_, _| false)?;
        }
        put_mark(&write, &mark)?;
        write.commit()?;
        self.mark = mark;
        Ok(mark.removed - unacked_from)
    }

    /// Entries after `after`, oldest first, as many as fit one message.
    pub fn next(&self, after: u64) -> Result<Vec<Entry>, FileError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let table = self.db.begin_read()?.open_table(ENTRIES)?;
        for row in table.range((Bound::Excluded(after), Bound::Unbounded))? {
            let (_, entry) = row?;
            bytes += entry.value().len();
            if bytes > NEXT_BYTES_MAX || entries.len() == NEXT_ENTRIES_MAX {
                break;
            }
            entries.push(decode_entry(entry.value())?);
        }
        Ok(entries)
    }

    /// What `camera` started and did not end.
    pub fn open_events(&self, camera: &CameraId) -> Result<Vec<Event>, FileError> {
        let table = self.db.begin_read()?.open_table(OPEN)?;
        let rows = table.range((camera.as_str(), u128::MIN)..=(camera.as_str(), u128::MAX))?;
        rows.map(|row| Ok(decode_entry(row?.1.value())?.event)).collect()
    }
}

/// One encoding of an entry serves both tables.
fn insert(write: &WriteTransaction, mark: &Mark, events: &[Event], now: Timestamp) -> Result<(), FileError> {
    let mut entries = write.open_table(ENTRIES)?;
    let mut open = write.open_table(OPEN)?;
    // Numbers only grow, so all go in at the end: much cheaper than finding each one's place.
    let mut end = entries.upper_bound_mut(Bound::<u64>::Unbounded)?;
    for (seq, event) in (mark.accepted + 1..).zip(events) {
        let bytes = encode(&Entry { epoch: mark.epoch, seq, accepted: now, event: event.clone() });
        end.insert_before(seq, bytes.as_slice())?;
        note_open(&mut open, event, &bytes)?;
    }
    end.close()?;
    Ok(())
}

fn note_open(open: &mut Table<(&str, u128), &[u8]>, event: &Event, entry: &[u8]) -> Result<(), FileError> {
    let key = (event.camera.as_str(), event.id.0);
    match event.phase {
        Phase::Start | Phase::Update => open.insert(key, entry)?,
        Phase::End => open.remove(key)?,
    };
    Ok(())
}

fn put_mark(write: &WriteTransaction, mark: &Mark) -> Result<(), FileError> {
    write.open_table(META)?.insert(MARK, encode(mark).as_slice())?;
    Ok(())
}

/// Reads the mark and holds the entries against it: a file that contradicts itself is not built upon.
fn read_mark(db: &Database) -> Result<Mark, FileError> {
    let read = db.begin_read()?;
    let mark = read.open_table(META)?.get(MARK)?.ok_or_else(|| FileError::Broken("it holds no outbox".to_owned()))?;
    let mark: Mark = decode::<_, 64>(mark.value())?;
    let entries = read.open_table(ENTRIES)?;
    let first = entries.first()?.map_or(mark.accepted + 1, |(seq, _)| seq.value());
    let last = entries.last()?.map_or(mark.accepted, |(seq, _)| seq.value());
    let whole = first == mark.removed + 1 && last == mark.accepted && entries.len()? == mark.accepted - mark.removed;
    if whole {
        Ok(mark)
    } else {
        Err(FileError::Broken(format!("it holds entries {first} to {last}, and says {mark:?}")))
    }
}

fn decode_entry(bytes: &[u8]) -> Result<Entry, FileError> {
    Ok(decode::<_, ENTRY_BYTES_MAX>(bytes)?)
}
