//! The outbox's file: what a transaction changes, and what reading finds. No actor, no clock.
//!
//!   entries  last seq of a chunk  → the chunk: Entries in order, a few pages of them
//!   meta     "outbox"             → Mark, at the last save
//!            "spool"              → Spool, at the last save; not in a file of before there were gaps
//!   open     (camera, event id)   → Event started and not ended, at the last save
//!
//! A push writes its entries and nothing else: how far the numbers are, and which events are open, is
//! the last save and what follows it. A save goes along with a push once it is worth it; it also takes out
//! the entries that are done with, many at once. All of a transaction is on disk, or none.
//!
//! A full outbox drops entries, and then numbers are missing between those that are left. Each such transaction is a
//! save, so what follows the last save has no gap.

use super::open::OpenEvents;
use super::spool::{BySeverity, Span, Spool};
use crate::events::disk::{self, FileError};
use protocol::codec::{self, decode, decode_record, encode, encode_record};
use protocol::limits::{EVENT_ZONES_MAX, MESSAGE_BYTES_MAX, TEXT_CHARS_MAX, ZONE_CHARS_MAX, short};
use protocol::{CameraId, Entry, Epoch, Event, Evidence, Timestamp};
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::path::Path;
use supervision::Failure;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const MARK: &str = "outbox";
const SPOOL: &str = "spool";
/// A dozen and a half numbers of ten bytes at most.
const SPOOL_BYTES_MAX: usize = 512;

/// A chunk and its key fill four of redb's pages: one write instead of a dozen.
const CHUNK_BYTES: usize = 16_000;
/// No chunk is longer: a single entry has three texts of 300 characters and sixteen of 48 at most.
const CHUNK_BYTES_MAX: usize = 2 * CHUNK_BYTES;
/// An entry beside its texts, at most.
const ENTRY_BYTES: usize = 192;
/// By so much at most an entry of before version 4 of the transport grows when it is read.
const GREW_BYTES: usize = 8;
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
    /// Entries through this one are gone.
    pub removed: u64,
}

impl Mark {
    /// What follows is still to be forwarded. An outbox of before there were gaps may have dropped more than was
    /// acknowledged.
    fn done(&self) -> u64 {
        self.acked.max(self.removed)
    }
}

/// What one transaction did.
pub(super) struct Appended {
    /// What was pushed, then the reports.
    pub entries: Vec<Entry>,
    pub reports: usize,
    /// Entries, not acknowledged, that had to go; some of these may be among them.
    pub dropped: BySeverity<u64>,
}

pub(super) struct OutboxFile {
    db: Database,
    mark: Mark,
    /// `mark.accepted` at the last save.
    saved: u64,
    spool: Spool,
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
        let spool = meta.get(SPOOL)?.map(|spool| decode::<Spool, SPOOL_BYTES_MAX>(spool.value())).transpose()?;
        let spool = spool.unwrap_or_default();
        let numbers = mark.accepted.checked_sub(mark.done()).filter(|numbers| spool.absent <= *numbers);
        let kept =
            numbers.ok_or_else(|| FileError::Broken("its marks contradict each other".to_owned()))? - spool.absent;
        let mut file = Self { open: OpenEvents::load(&read)?, saved: mark.accepted, mark, spool, db };
        let entries = read.open_table(ENTRIES)?;
        if kept > 0 {
            let last = entries.range(mark.done() + 1..=mark.accepted)?.next_back().transpose()?;
            // With gaps, the last may be among the missing.
            let due = if file.spool.absent == 0 { mark.accepted } else { mark.done() + 1 };
            if last.is_none_or(|(last, _)| last.value() < due) {
                return Err(FileError::Broken(format!("entry {} is missing", mark.accepted)));
            }
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

    /// Entries that are still to be forwarded.
    pub fn waiting(&self) -> u64 {
        waiting(&self.mark, &self.spool)
    }

    /// Something was dropped that no entry tells of yet.
    pub fn has_untold(&self) -> bool {
        self.spool.has_untold()
    }

    /// The relay has every report there is.
    pub fn reports_are_acked(&self) -> bool {
        self.spool.reported <= self.mark.acked
    }

    /// Gives `events` the next numbers and has them on disk when it returns; with `report`, also what tells of what
    /// was dropped before. More than `entries_max` are never kept: then the oldest of the lowest severity go, and
    /// what is new may be among them.
    pub fn append(
        &mut self,
        mut events: Vec<Event>,
        now: Timestamp,
        entries_max: u64,
        report: bool,
    ) -> Result<Appended, FileError> {
        let (epoch, first, pushed) = (self.mark.epoch, self.mark.accepted + 1, events.len());
        if report {
            events.extend(self.spool.reports());
        }
        let entry = |(seq, event)| Entry { epoch, seq, accepted: now, event };
        let entries: Vec<Entry> = (first..).zip(events).map(entry).collect();
        let mut mark = self.mark;
        mark.accepted += entries.len() as u64;
        let reports = entries.len() - pushed;
        if reports > 0 {
            self.spool.reported = mark.accepted;
        }
        let worth_it = mark.acked >= mark.removed + DONE_ENTRIES || mark.accepted >= self.saved + UNSAVED_ENTRIES;
        let write = self.begin()?;
        insert(&write, &entries)?;
        for entry in &entries {
            self.open.note(entry);
        }
        let mut dropped = BySeverity::default();
        if worth_it || reports > 0 || held(&mark, &self.spool) > entries_max {
            dropped = self.save(&write, &mut mark, entries_max)?;
        }
        write.commit()?;
        self.mark = mark;
        Ok(Appended { entries, reports, dropped })
    }

    /// The relay has everything through `through` that was not dropped. On disk with the next save: forgotten, it
    /// says so again. Returns how many entries that were.
    pub fn ack(&mut self, through: u64) -> Result<u64, FileError> {
        // A relay cannot have what was never accepted.
        let through = through.min(self.mark.accepted);
        let done = self.mark.done();
        let mut acked = through.saturating_sub(done);
        if acked > 0 && self.spool.absent > 0 {
            let there = self.there(done, through)?;
            self.spool.absent -= acked - there;
            acked = there;
        }
        self.mark.acked = self.mark.acked.max(through);
        if self.waiting() == 0 {
            // What was dropped after the last that is left comes from nobody.
            (self.mark.acked, self.spool.absent) = (self.mark.accepted, 0);
        }
        Ok(acked)
    }

    /// How many entries there are after `after`, through `through`.
    fn there(&self, after: u64, through: u64) -> Result<u64, FileError> {
        let mut there = 0;
        for row in self.entries()?.range((Bound::Excluded(after), Bound::Unbounded))? {
            let chunk = decode_chunk(row?.1.value())?;
            there += chunk.iter().filter(|entry| (after + 1..=through).contains(&entry.seq)).count() as u64;
            if chunk.last().is_some_and(|last| last.seq >= through) {
                break;
            }
        }
        Ok(there)
    }

    /// When the first of those that wait was accepted.
    pub fn oldest(&self) -> Result<Option<Timestamp>, FileError> {
        let done = self.mark.done();
        for row in self.entries()?.range((Bound::Excluded(done), Bound::Unbounded))? {
            let chunk = decode_chunk(row?.1.value())?;
            if let Some(first) = chunk.iter().find(|entry| entry.seq > done) {
                return Ok(Some(first.accepted));
            }
        }
        Ok(None)
    }

    /// Takes out what is acknowledged without waiting for a push.
    pub fn trim(&mut self) -> Result<(), FileError> {
        if self.mark.acked <= self.mark.removed { Ok(()) } else { self.rewrite() }
    }

    /// A save of what there is: whether the disk takes anything is known only by writing to it.
    pub fn rewrite(&mut self) -> Result<(), FileError> {
        let (write, mut mark) = (self.begin()?, self.mark);
        self.save(&write, &mut mark, u64::MAX)?;
        write.commit()?;
        self.mark = mark;
        Ok(())
    }

    /// Starts a new epoch: what is not acknowledged counts from 1 again, in its order. For a file that was put
    /// back from an older copy: the relay knows its next numbers already, as those of other events.
    pub fn renew(&mut self) -> Result<(), FileError> {
        let mut mark = Mark { epoch: Epoch::random(), accepted: 0, acked: 0, removed: 0 };
        let done = self.mark.done();
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
        self.spool.renumbered();
        self.save(&write, &mut mark, u64::MAX)?;
        write.commit()?;
        self.open.renumbered();
        self.mark = mark;
        Ok(())
    }

    /// After an error the file is opened again, so nothing here is taken back.
    fn save(
        &mut self,
        write: &WriteTransaction,
        mark: &mut Mark,
        entries_max: u64,
    ) -> Result<BySeverity<u64>, FileError> {
        mark.removed = mark.done();
        let mut table = write.open_table(ENTRIES)?;
        // A chunk goes with its last entry; until then reading skips its first ones.
        table.retain_in(..=mark.removed, |_, _| false)?;
        let too_many = waiting(mark, &self.spool).saturating_sub(entries_max);
        let span = Span { done: mark.removed, accepted: mark.accepted };
        let dropped = self.spool.shed(&mut table, span, too_many, entries_max)?;
        drop(table);
        self.open.save(write)?;
        self.saved = mark.accepted;
        write.open_table(META)?.insert(SPOOL, encode(&self.spool).as_slice())?;
        put_mark(write, mark)?;
        Ok(dropped)
    }

    fn begin(&self) -> Result<WriteTransaction, FileError> {
        disk::begin(&self.db, held(&self.mark, &self.spool) > QUICK_REPAIR_ENTRIES)
    }

    fn entries(&self) -> Result<ReadOnlyTable<u64, &'static [u8]>, FileError> {
        Ok(self.db.begin_read()?.open_table(ENTRIES)?)
    }

    /// Entries after `after`, oldest first, as many as fit one message; dropped ones are missing between them.
    pub fn next(&self, after: u64) -> Result<Vec<Entry>, FileError> {
        let after = after.max(self.mark.removed);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for row in self.entries()?.range((Bound::Excluded(after), Bound::Unbounded))? {
            let (_, chunk) = row?;
            bytes += chunk.value().len();
            if bytes > NEXT_BYTES_MAX {
                break;
            }
            let some = decode_chunk(chunk.value())?;
            if chunk.value().first() == Some(&codec::VERSION) {
                bytes += some.len() * GREW_BYTES;
                if bytes > NEXT_BYTES_MAX && !entries.is_empty() {
                    break;
                }
            }
            entries.extend(some.into_iter().filter(|entry| entry.seq > after));
        }
        Ok(entries)
    }

    /// What `camera` started and did not end.
    pub fn open_events(&self, camera: &CameraId) -> Vec<Event> {
        self.open.of(camera)
    }
}

fn waiting(mark: &Mark, spool: &Spool) -> u64 {
    mark.accepted - mark.done() - spool.absent
}

/// As many entries as are in the file, or some more: acknowledged ones, and gaps before them.
fn held(mark: &Mark, spool: &Spool) -> u64 {
    mark.accepted - mark.removed - spool.absent
}

fn insert(write: &WriteTransaction, entries: &[Entry]) -> Result<(), FileError> {
    let mut table = write.open_table(ENTRIES)?;
    let mut rest = entries;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(chunk_entries(rest));
        let last = chunk[chunk.len() - 1].seq;
        table.insert(last, encode_chunk(chunk).as_slice())?;
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
        Evidence::Blind { reason } => reason.len(),
        Evidence::Motion | Evidence::Dropped { .. } => 0,
    };
    event.label.len() + evidence + event.zones.iter().map(|zone| zone.len() + 1).sum::<usize>()
}

fn put_mark(write: &WriteTransaction, mark: &Mark) -> Result<(), FileError> {
    write.open_table(META)?.insert(MARK, encode(mark).as_slice())?;
    Ok(())
}

pub(super) fn encode_chunk(entries: &[Entry]) -> Vec<u8> {
    encode_record(&entries.to_vec())
}

pub(super) fn decode_chunk(bytes: &[u8]) -> Result<Vec<Entry>, FileError> {
    Ok(decode_record::<_, CHUNK_BYTES_MAX>(bytes)?)
}

/// Texts cut to their limit, numbers that are none made 0: an entry that fits no message, or that the
/// relay refuses, would hold up all behind it for ever.
pub(super) fn fitting(mut event: Event) -> Event {
    cut(&mut event.label, TEXT_CHARS_MAX);
    let scores = [&mut event.score, &mut event.top_score];
    for number in event.area.iter_mut().chain(scores).filter(|number| !number.is_finite()) {
        *number = 0.0;
    }
    match &mut event.evidence {
        Evidence::Model { model, node } => {
            cut(model, TEXT_CHARS_MAX);
            cut(node, TEXT_CHARS_MAX);
        }
        Evidence::Blind { reason } => cut(reason, TEXT_CHARS_MAX),
        Evidence::Motion | Evidence::Dropped { .. } => {}
    }
    event.zones.truncate(EVENT_ZONES_MAX);
    event.zones.iter_mut().for_each(|zone| cut(zone, ZONE_CHARS_MAX));
    event
}

fn cut(text: &mut String, chars_max: usize) {
    if text.chars().nth(chars_max).is_some() {
        *text = short(text, chars_max);
    }
}
