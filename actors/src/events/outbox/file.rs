//! The outbox's file: what a transaction changes, and what reading finds. No actor, no clock.
//!
//!   entries  last seq of a chunk  → the chunk: consecutive Entries, a few pages of them
//!   meta     "outbox"             → Mark, at the last save
//!   open     (camera, event id)   → Event started and not ended, at the last save
//!
//! A push writes its entries and nothing else: how far the numbers are, and which events are open, is
//! the last save and what follows it. A save goes along with a push once it is worth it; it also takes out
//! the entries that are done with, many at once. All of a transaction is on disk, or none.

use super::open::OpenEvents;
use crate::events::disk::{self, FileError};
use protocol::codec::{decode, encode};
use protocol::limits::{MESSAGE_BYTES_MAX, TEXT_CHARS_MAX, short_text};
use protocol::{CameraId, Entry, Epoch, Event, Evidence, Timestamp};
use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::path::Path;
use supervision::Failure;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const MARK: &str = "outbox";

/// A chunk and its key fill four of redb's pages: one write instead of a dozen.
const CHUNK_BYTES: usize = 16_000;
/// No chunk is longer: a single entry has three texts of 300 characters at most.
const CHUNK_BYTES_MAX: usize = 2 * CHUNK_BYTES;
/// An entry beside its texts, at most.
const ENTRY_BYTES: usize = 160;
/// What `next` returns at once: fits a message with its frame. The rest comes with the next call.
const NEXT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 1024;
/// Acknowledged entries that stay in the file until this many can go at once.
const DONE_ENTRIES: u64 = 1024;
/// Entries after the last save, read through when the file is opened.
const UNSAVED_ENTRIES: u64 = 8192;

/// With more entries than this, commits are made such that the file is quickly repaired after a crash.
/// With less, walking through it takes a tenth of a second, and a commit a third of the time.
const QUICK_REPAIR_ENTRIES: u64 = 65_536;

/// How far everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub epoch: Epoch,
    /// The newest sequence number given; 0 before the first.
    pub accepted: u64,
    /// The newest one the relay has.
    pub acked: u64,
    /// Entries through this one are gone: acknowledged, or dropped when there were too many.
    pub removed: u64,
}

/// What one transaction did.
pub(super) struct Appended {
    pub entries: Vec<Entry>,
    /// The oldest entries, not acknowledged, that had to go.
    pub dropped: u64,
}

pub(super) struct OutboxFile {
    db: Database,
    mark: Mark,
    /// `mark.accepted` at the last save.
    saved: u64,
    open: OpenEvents,
}

impl OutboxFile {
    /// Opens the file; a new one gets a new epoch.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let db = disk::open(path, |write| {
            write.open_table(ENTRIES)?;
            OpenEvents::default().save(write)?;
            put_mark(write, &Mark { epoch: Epoch::random(), accepted: 0, acked: 0, removed: 0 })
        })?;
        Self::load(db).map_err(|error| error.refusal(path))
    }

    /// The last save, and what follows it. A file that contradicts itself is not built upon.
    fn load(db: Database) -> Result<Self, FileError> {
        let read = db.begin_read()?;
        let meta = read.open_table(META)?;
        let mark = meta.get(MARK)?.ok_or_else(|| FileError::Broken("it holds no outbox".to_owned()))?;
        let mark: Mark = decode::<_, 64>(mark.value())?;
        let mut file = Self { open: OpenEvents::load(&read)?, saved: mark.accepted, mark, db };
        let entries = read.open_table(ENTRIES)?;
        let kept = mark.accepted > mark.removed;
        if kept && entries.get(mark.accepted)?.is_none() {
            return Err(FileError::Broken(format!("entry {} is missing", mark.accepted)));
        }
        for row in entries.range(mark.accepted + 1..)? {
            for entry in decode_chunk(row?.1.value())? {
                if entry.seq != file.mark.accepted + 1 || entry.epoch != mark.epoch {
                    return Err(FileError::Broken(format!("entry {} follows {}", entry.seq, file.mark.accepted)));
                }
                file.mark.accepted = entry.seq;
                file.open.note(&entry);
            }
        }
        Ok(file)
    }

    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Gives `events` the next numbers and has them on disk when it returns. More than `entries_max` are
    /// never kept: then the oldest go, acknowledged or not.
    pub fn append(&mut self, events: Vec<Event>, now: Timestamp, entries_max: u64) -> Result<Appended, FileError> {
        let (epoch, first) = (self.mark.epoch, self.mark.accepted + 1);
        let entry = |(seq, event)| Entry { epoch, seq, accepted: now, event };
        let entries: Vec<Entry> = (first..).zip(events).map(entry).collect();
        let mut mark = self.mark;
        mark.accepted += entries.len() as u64;
        let too_many = mark.accepted.saturating_sub(entries_max);
        let worth_it = mark.acked >= mark.removed + DONE_ENTRIES || mark.accepted >= self.saved + UNSAVED_ENTRIES;
        let write = self.begin()?;
        insert(&write, &entries)?;
        for entry in &entries {
            self.open.note(entry);
        }
        if worth_it || too_many > mark.removed {
            self.save(&write, &mut mark, too_many)?;
        }
        write.commit()?;
        let dropped = mark.removed.saturating_sub(self.mark.removed.max(mark.acked));
        self.mark = mark;
        Ok(Appended { entries, dropped })
    }

    /// The relay has everything through `through`. On disk with the next save: forgotten, it says so again.
    pub fn ack(&mut self, through: u64) {
        // A relay cannot have what was never accepted.
        self.mark.acked = self.mark.acked.max(through.min(self.mark.accepted));
    }

    /// Takes out what is acknowledged without waiting for a push.
    pub fn trim(&mut self) -> Result<(), FileError> {
        if self.mark.acked <= self.mark.removed { Ok(()) } else { self.rewrite() }
    }

    /// A save of what there is: whether the disk takes anything is known only by writing to it.
    pub fn rewrite(&mut self) -> Result<(), FileError> {
        let (write, mut mark) = (self.begin()?, self.mark);
        self.save(&write, &mut mark, 0)?;
        write.commit()?;
        self.mark = mark;
        Ok(())
    }

    /// Starts a new epoch: what is not acknowledged counts from 1 again, in its order. For a file that was put
    /// back from an older copy: the relay knows its next numbers already, as those of other events.
    pub fn renew(&mut self) -> Result<(), FileError> {
        let mut mark = Mark { epoch: Epoch::random(), accepted: 0, acked: 0, removed: 0 };
        let done = self.mark.removed.max(self.mark.acked);
        let old = self.db.begin_read()?.open_table(ENTRIES)?;
        let write = disk::begin(&self.db, true)?;
        write.open_table(ENTRIES)?.retain(|_, _| false)?;
        for row in old.range((Bound::Excluded(done), Bound::Unbounded))? {
            let mut entries = decode_chunk(row?.1.value())?;
            entries.retain(|entry| entry.seq > done);
            for entry in &mut entries {
                mark.accepted += 1;
                (entry.epoch, entry.seq) = (mark.epoch, mark.accepted);
            }
            insert(&write, &entries)?;
        }
        self.save(&write, &mut mark, 0)?;
        write.commit()?;
        self.open.renumbered();
        self.mark = mark;
        Ok(())
    }

    /// After an error the file is opened again, so nothing here is taken back.
    fn save(&mut self, write: &WriteTransaction, mark: &mut Mark, too_many: u64) -> Result<(), FileError> {
        mark.removed = mark.removed.max(mark.acked).max(too_many);
        // A chunk goes with its last entry; until then reading skips its first ones.
        write.open_table(ENTRIES)?.retain_in(..=mark.removed, |_, _| false)?;
        self.open.save(write)?;
        self.saved = mark.accepted;
        put_mark(write, mark)
    }

    fn begin(&self) -> Result<WriteTransaction, FileError> {
        disk::begin(&self.db, self.mark.accepted - self.mark.removed > QUICK_REPAIR_ENTRIES)
    }

    /// Entries after `after`, oldest first, as many as fit one message.
    pub fn next(&self, after: u64) -> Result<Vec<Entry>, FileError> {
        let after = after.max(self.mark.removed);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let table = self.db.begin_read()?.open_table(ENTRIES)?;
        for row in table.range((Bound::Excluded(after), Bound::Unbounded))? {
            let (_, chunk) = row?;
            bytes += chunk.value().len();
            if bytes > NEXT_BYTES_MAX {
                break;
            }
            entries.extend(decode_chunk(chunk.value())?.into_iter().filter(|entry| entry.seq > after));
        }
        Ok(entries)
    }

    /// What `camera` started and did not end.
    pub fn open_events(&self, camera: &CameraId) -> Vec<Event> {
        self.open.of(camera)
    }
}

fn insert(write: &WriteTransaction, entries: &[Entry]) -> Result<(), FileError> {
    let mut table = write.open_table(ENTRIES)?;
    let mut rest = entries;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(chunk_entries(rest));
        let last = chunk[chunk.len() - 1].seq;
        table.insert(last, encode(&chunk).as_slice())?;
        rest = after;
    }
    Ok(())
}

/// How many of these make one chunk; one at least.
fn chunk_entries(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += ENTRY_BYTES + text_bytes(&entry.event);
        bytes <= CHUNK_BYTES
    };
    entries.iter().take_while(fits).count().max(1)
}

fn text_bytes(event: &Event) -> usize {
    let evidence = match &event.evidence {
        Evidence::Model { model, node } => model.len() + node.len(),
        Evidence::Motion | Evidence::Dropped { .. } => 0,
    };
    event.label.len() + evidence
}

fn put_mark(write: &WriteTransaction, mark: &Mark) -> Result<(), FileError> {
    write.open_table(META)?.insert(MARK, encode(mark).as_slice())?;
    Ok(())
}

fn decode_chunk(bytes: &[u8]) -> Result<Vec<Entry>, FileError> {
    Ok(decode::<_, CHUNK_BYTES_MAX>(bytes)?)
}

/// Texts cut to their limit, numbers that are none made 0: an entry that fits no message, or that the
/// relay refuses, would hold up all behind it for ever.
pub(super) fn fitting(mut event: Event) -> Event {
    cut(&mut event.label);
    for number in event.area.iter_mut().chain([&mut event.score]).filter(|number| !number.is_finite()) {
        *number = 0.0;
    }
    if let Evidence::Model { model, node } = &mut event.evidence {
        cut(model);
        cut(node);
    }
    event
}

fn cut(text: &mut String) {
    if text.chars().count() > TEXT_CHARS_MAX {
        *text = short_text(text);
    }
}
