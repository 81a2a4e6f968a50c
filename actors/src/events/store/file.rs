//! The record's file: what a transaction changes, and what reading finds. No actor, no clock.
//!
//!   marks   (tenant, edge, epoch)       → Mark            everything through it is on the record
//!   log     (tenant, edge, epoch, seq)  → Entry           as it came
//!   events  (tenant, event id)          → RecordedEvent   newest revision; ids sort by begin
//!   spells  (tenant, edge, camera, event id)              which of them say that nobody looked; not in a file of before
//!
//! All change in one transaction or not at all. Every key begins with the tenant: a read that is
//! given one cannot meet another's rows.

use crate::events::disk::{self, FileError};
use crate::events::timeline::Spell;
use protocol::admin::{EventFilter, RecordedEvent};
use protocol::codec::{decode, decode_record, encode, encode_record};
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::{CameraId, Entry, Epoch, EventId, Identity, NodeName, TenantId, Timestamp};
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use supervision::Failure;

type LogKey = (&'static str, &'static str, u64, u64);
type MarkKey = (&'static str, &'static str, u64);
type EventKey = (&'static str, u128);
type SpellKey = (&'static str, &'static str, &'static str, u128);

const LOG: TableDefinition<LogKey, &[u8]> = TableDefinition::new("log");
const MARKS: TableDefinition<MarkKey, &[u8]> = TableDefinition::new("marks");
const EVENTS: TableDefinition<EventKey, &[u8]> = TableDefinition::new("events");
const SPELLS: TableDefinition<SpellKey, ()> = TableDefinition::new("spells");

/// Events of one page, unless fewer are asked for.
const PAGE_EVENTS_DEFAULT: u32 = 100;
/// Who asks for more gets this many and a cursor to go on.
const PAGE_EVENTS_MAX: u32 = 1000;
/// Rows looked at for one page, whatever the filter finds. Then the page ends with a cursor.
pub(super) const PAGE_ROWS_MAX: usize = 50_000;
/// Times in which nobody looked, for one question.
const SPELLS_MAX: usize = 2000;
/// So many in a row that were over before a moment: the ones before them were too.
const OVER_BEFORE: usize = 8;
/// Entries of the raw record at once. The rest is asked for after the last of them.
const RECORD_ENTRIES_MAX: u32 = 10_000;

/// How far one outbox is on the record.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Mark {
    through: u64,
    /// How many outboxes this edge had before: the highest is the one in use.
    order: u32,
}

/// Times in which nobody looked at one camera, on the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Spells {
    /// Those that reach into the span asked for, oldest first.
    pub spells: Vec<Spell>,
    /// The begin of the oldest of all: what is known of this camera begins there.
    pub since: Option<Timestamp>,
    /// There are more, and these are complete up to here.
    pub next: Option<Timestamp>,
}

/// One page of events, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub events: Vec<RecordedEvent>,
    /// Ask again with it; `None` at the end of the record. A page may be empty and still have one.
    pub next: Option<EventId>,
}

/// What one edge handed over.
pub(super) struct Append {
    pub edge: Identity,
    pub entries: Vec<Entry>,
}

/// What one transaction did.
#[derive(Default)]
pub(super) struct Appended {
    /// For each `Append`: everything through this of its last entry's epoch is on the record.
    pub through: Vec<u64>,
    /// New revisions, in the order in which they came.
    pub news: Vec<RecordedEvent>,
    pub entries: u64,
    pub duplicates: u64,
}

#[derive(Clone)]
pub(super) struct StoreFile(Arc<Database>);

impl StoreFile {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let db = disk::open(path, |write| {
            write.open_table(LOG)?;
            write.open_table(MARKS)?;
            write.open_table(EVENTS)?;
            Ok(())
        })?;
        // Tables of other types or names are found here and not in the middle of an append.
        let tables = db.begin_read().map_err(FileError::from).and_then(|read| {
            read.open_table(LOG)?;
            read.open_table(MARKS)?;
            read.open_table(EVENTS)?;
            Ok(())
        });
        tables.map_err(|error| error.refusal(path))?;
        Ok(Self(Arc::new(db)))
    }

    /// All of it is on disk when this returns. Entries at or below their mark are skipped.
    pub fn append(&self, batch: &[Append]) -> Result<Appended, FileError> {
        let write = disk::begin(&self.0, true)?;
        let mut done = Appended::default();
        {
            let mut tables = Tables::of(&write)?;
            for Append { edge, entries } in batch {
                let mut through = 0;
                for entries in entries.chunk_by(|a, b| a.epoch == b.epoch) {
                    through = tables.append(edge, entries, &mut done)?;
                }
                done.through.push(through);
            }
        }
        write.commit()?;
        Ok(done)
    }

    /// Everything through this is on the record; 0 for an outbox never heard of.
    pub fn through(&self, edge: &Identity, epoch: Epoch) -> Result<u64, FileError> {
        let read = self.read()?;
        let key = (edge.tenant.as_str(), edge.name.as_str(), epoch.0);
        let known = match read.open_table(MARKS)?.get(key)? {
            None => return Ok(0),
            Some(mark) => decode_mark(mark.value()),
        };
        known.map_or_else(|_| last_logged(&read.open_table(LOG)?, key), |mark| Ok(mark.through))
    }

    /// Events of `tenant` that `filter` matches, oldest first, after `cursor`.
    pub fn events(&self, tenant: &TenantId, filter: &EventFilter, cursor: Option<EventId>) -> Result<Page, FileError> {
        let limit = filter.limit.unwrap_or(PAGE_EVENTS_DEFAULT).clamp(1, PAGE_EVENTS_MAX) as usize;
        let table = self.read()?.open_table(EVENTS)?;
        let tenant = tenant.as_str();
        let first = match (cursor, filter.from.map(first_id)) {
            (Some(cursor), Some(from)) if from > cursor.0 => Bound::Included((tenant, from)),
            (Some(cursor), _) => Bound::Excluded((tenant, cursor.0)),
            (None, from) => Bound::Included((tenant, from.unwrap_or(u128::MIN))),
        };
        let last = filter.until.map_or(u128::MAX, last_id);
        // A cursor past the end asks for nothing; redb wants its ranges the right way round.
        if matches!(first, Bound::Included((_, id)) | Bound::Excluded((_, id)) if id >= last) {
            return Ok(Page { events: Vec::new(), next: None });
        }
        let (mut events, mut scanned, mut unreadable) = (Vec::new(), None, Unreadable::new("events"));
        for (rows, row) in table.range((first, Bound::Included((tenant, last))))?.enumerate() {
            if events.len() == limit || rows == PAGE_ROWS_MAX {
                return Ok(Page { events, next: scanned });
            }
            let (key, event) = row?;
            scanned = Some(EventId(key.value().1));
            match decode_event(event.value()) {
                Ok(event) if filter.matches(&event.event) => events.push(event),
                Ok(_) => {}
                Err(error) => unreadable.skip(key.value().1, &error),
            }
        }
        Ok(Page { events, next: None })
    }

    /// The raw record of one edge's outbox, in order; without an epoch, of the one in use.
    pub fn record(
        &self,
        (tenant, edge): (&TenantId, &NodeName),
        epoch: Option<Epoch>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, FileError> {
        let read = self.read()?;
        let (tenant, edge) = (tenant.as_str(), edge.as_str());
        let current = || epoch_in_use(&read.open_table(MARKS)?, tenant, edge);
        let Some(epoch) = epoch.map_or_else(current, |epoch| Ok(Some(epoch)))? else { return Ok(Vec::new()) };
        let log = read.open_table(LOG)?;
        let first = Bound::Excluded((tenant, edge, epoch.0, after));
        let last = Bound::Included((tenant, edge, epoch.0, u64::MAX));
        if after == u64::MAX {
            return Ok(Vec::new());
        }
        let (mut entries, mut unreadable) = (Vec::new(), Unreadable::new("log"));
        for row in log.range((first, last))? {
            if entries.len() == limit.min(RECORD_ENTRIES_MAX) as usize {
                break;
            }
            let (key, entry) = row?;
            match decode_record::<_, MESSAGE_BYTES_MAX>(entry.value()) {
                Ok(entry) => entries.push(entry),
                Err(error) => unreadable.skip(u128::from(key.value().3), &error.into()),
            }
        }
        Ok(entries)
    }

    /// Cameras of this edge of which the record tells when nobody looked.
    pub fn watched(&self, (tenant, edge): (&TenantId, &NodeName), most: usize) -> Result<Vec<CameraId>, FileError> {
        let read = self.read()?;
        let Some(table) = spells_of(&read)? else { return Ok(Vec::new()) };
        let (tenant, edge) = (tenant.as_str(), edge.as_str());
        let (mut cameras, mut after) = (Vec::<CameraId>::new(), String::new());
        while cameras.len() < most {
            let first = Bound::Excluded((tenant, edge, after.as_str(), u128::MAX));
            // After the longest name there is.
            let Some(row) = table.range((first, Bound::Unbounded))?.next().transpose()? else { break };
            let (of_tenant, of_edge, camera, _) = row.0.value();
            if (of_tenant, of_edge) != (tenant, edge) {
                break;
            }
            let camera = camera.to_owned();
            cameras.extend(camera.parse().ok());
            after = camera;
        }
        Ok(cameras)
    }

    /// When nobody looked at this camera between the two.
    pub fn spells(
        &self,
        (tenant, edge): (&TenantId, &NodeName),
        camera: &CameraId,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<Spells, FileError> {
        let read = self.read()?;
        let none = || Spells { spells: Vec::new(), since: None, next: None };
        let Some(table) = spells_of(&read)? else { return Ok(none()) };
        let events = read.open_table(EVENTS)?;
        let key = |id| (tenant.as_str(), edge.as_str(), camera.as_str(), id);
        let spell = |id: u128| -> Result<Option<Spell>, FileError> {
            let event = events.get((tenant.as_str(), id))?.map(|event| decode_event(event.value()));
            // One that cannot be read is told of where events are listed.
            Ok(event.and_then(Result::ok).and_then(|recorded| Spell::of(&recorded.event)))
        };
        let Some(oldest) = table.range(key(u128::MIN)..=key(u128::MAX))?.next().transpose()? else { return Ok(none()) };
        let since = spell(oldest.0.value().3)?.map(|spell| spell.begin);
        let (mut spells, mut over) = (Vec::new(), 0);
        // They follow each other: when several in a row were over before, so were those before these.
        for row in table.range(key(u128::MIN)..key(first_id(from)))?.rev().take(SPELLS_MAX) {
            let Some(found) = spell(row?.0.value().3)? else { continue };
            let reaches = found.end.is_none_or(|end| end > from);
            over = if reaches { 0 } else { over + 1 };
            if reaches {
                spells.push(found);
            } else if over == OVER_BEFORE {
                break;
            }
        }
        spells.reverse();
        let mut next = None;
        for row in table.range(key(first_id(from))..=key(last_id(to)))? {
            let id = row?.0.value().3;
            let Some(found) = spell(id)? else { continue };
            if spells.len() >= SPELLS_MAX {
                next = Some(found.begin.max(from));
                break;
            }
            spells.push(found);
        }
        Ok(Spells { spells, since, next })
    }

    /// When this edge's outbox took the newest entry of its that is on the record.
    pub fn heard(&self, (tenant, edge): (&TenantId, &NodeName)) -> Result<Option<Timestamp>, FileError> {
        let read = self.read()?;
        let (tenant, edge) = (tenant.as_str(), edge.as_str());
        let Some(epoch) = epoch_in_use(&read.open_table(MARKS)?, tenant, edge)? else { return Ok(None) };
        let log = read.open_table(LOG)?;
        let newest = log.range((tenant, edge, epoch.0, u64::MIN)..=(tenant, edge, epoch.0, u64::MAX))?.next_back();
        let entry = newest.transpose()?.map(|(_, entry)| decode_record::<Entry, MESSAGE_BYTES_MAX>(entry.value()));
        Ok(entry.and_then(Result::ok).map(|entry| entry.accepted))
    }

    fn read(&self) -> Result<ReadTransaction, FileError> {
        Ok(self.0.begin_read()?)
    }
}

struct Tables<'w> {
    log: Table<'w, LogKey, &'static [u8]>,
    marks: Table<'w, MarkKey, &'static [u8]>,
    events: Table<'w, EventKey, &'static [u8]>,
    spells: Table<'w, SpellKey, ()>,
}

impl<'w> Tables<'w> {
    fn of(write: &'w WriteTransaction) -> Result<Self, FileError> {
        let (log, marks) = (write.open_table(LOG)?, write.open_table(MARKS)?);
        Ok(Self { log, marks, events: write.open_table(EVENTS)?, spells: write.open_table(SPELLS)? })
    }

    /// Entries of one epoch; returns its new mark.
    fn append(&mut self, edge: &Identity, entries: &[Entry], done: &mut Appended) -> Result<u64, FileError> {
        let epoch = entries[0].epoch;
        let (tenant, name) = (edge.tenant.as_str(), edge.name.as_str());
        let key = (tenant, name, epoch.0);
        let known = self.marks.get(key)?.map(|mark| decode_mark(mark.value()));
        let order = |marks: &Table<_, _>| Ok::<_, FileError>(next_order(&epochs_of(marks, tenant, name)?));
        let mut mark = match known {
            Some(Ok(mark)) => mark,
            // What the log has is on the record, whatever became of the mark.
            Some(Err(error)) => {
                tracing::error!(%edge, %epoch, %error, "a mark cannot be read and is made again from the log");
                Mark { through: last_logged(&self.log, key)?, order: order(&self.marks)? }
            }
            None => Mark { through: 0, order: order(&self.marks)? },
        };
        for entry in entries {
            if entry.seq <= mark.through {
                done.duplicates += 1;
                continue;
            }
            self.log.insert((tenant, name, epoch.0, entry.seq), encode_record(entry).as_slice())?;
            done.news.extend(self.revise(edge, entry)?);
            done.entries += 1;
            mark.through = entry.seq;
        }
        self.marks.insert(key, encode(&mark).as_slice())?;
        Ok(mark.through)
    }

    /// Keeps the newest revision; an event belongs to the edge that brought it first.
    fn revise(&mut self, edge: &Identity, entry: &Entry) -> Result<Option<RecordedEvent>, FileError> {
        let key = (edge.tenant.as_str(), entry.event.id.0);
        let known = self.events.get(key)?.map(|known| decode_event(known.value()));
        // One bad row must not keep every edge from its record: the new revision takes its place.
        if let Some(Err(error)) = &known {
            tracing::error!(%edge, event = %entry.event.id, %error, "an event cannot be read and is written anew");
        }
        if let Some(Ok(known)) = known {
            if known.edge != edge.name {
                tracing::warn!(%edge, event = %entry.event.id, owner = %known.edge, "event of another edge left as it is");
                return Ok(None);
            }
            if known.event.revision >= entry.event.revision {
                return Ok(None);
            }
        }
        let recorded = RecordedEvent {
            tenant: edge.tenant.clone(),
            edge: edge.name.clone(),
            epoch: entry.epoch,
            seq: entry.seq,
            event: entry.event.clone(),
        };
        self.events.insert(key, encode_record(&recorded).as_slice())?;
        if entry.event.tells_of_coverage() {
            self.spells.insert((key.0, edge.name.as_str(), entry.event.camera.as_str(), key.1), ())?;
        }
        Ok(Some(recorded))
    }
}

/// `None` in a file in which nobody has said yet that nobody looked.
fn spells_of(read: &ReadTransaction) -> Result<Option<ReadOnlyTable<SpellKey, ()>>, FileError> {
    match read.open_table(SPELLS) {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

type Epochs = Vec<(Epoch, Mark)>;

fn epochs_of(
    marks: &impl ReadableTable<MarkKey, &'static [u8]>,
    tenant: &str,
    edge: &str,
) -> Result<Epochs, FileError> {
    let rows = marks.range((tenant, edge, u64::MIN)..=(tenant, edge, u64::MAX))?;
    let mut epochs = Epochs::new();
    let mut unreadable = Unreadable::new("marks");
    for row in rows {
        let (key, mark) = row?;
        match decode_mark(mark.value()) {
            Ok(mark) => epochs.push((Epoch(key.value().2), mark)),
            Err(error) => unreadable.skip(u128::from(key.value().2), &error),
        }
    }
    Ok(epochs)
}

/// That of an outbox which comes after all these.
fn next_order(epochs: &[(Epoch, Mark)]) -> u32 {
    epochs.iter().map(|(_, mark)| mark.order + 1).max().unwrap_or(0)
}

/// The newest entry of one outbox in the log; 0 without one.
fn last_logged(
    log: &impl ReadableTable<LogKey, &'static [u8]>,
    (tenant, edge, epoch): (&str, &str, u64),
) -> Result<u64, FileError> {
    let mut rows = log.range((tenant, edge, epoch, u64::MIN)..=(tenant, edge, epoch, u64::MAX))?;
    Ok(rows.next_back().transpose()?.map_or(0, |(key, _)| key.value().3))
}

/// Rows that a read leaves out, told in one line at its end.
struct Unreadable {
    table: &'static str,
    rows: u64,
    first: Option<String>,
}

impl Unreadable {
    fn new(table: &'static str) -> Self {
        Self { table, rows: 0, first: None }
    }

    fn skip(&mut self, key: u128, error: &FileError) {
        self.rows += 1;
        self.first.get_or_insert_with(|| format!("{key:x}: {error}"));
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        if let Some(first) = &self.first {
            metrics::counter!("watchtree_record_unreadable_total").increment(self.rows);
            tracing::error!(table = self.table, rows = self.rows, first, "rows cannot be read and are left out");
        }
    }
}

fn epoch_in_use(
    marks: &impl ReadableTable<MarkKey, &'static [u8]>,
    tenant: &str,
    edge: &str,
) -> Result<Option<Epoch>, FileError> {
    let epochs = epochs_of(marks, tenant, edge)?;
    Ok(epochs.into_iter().max_by_key(|(_, mark)| mark.order).map(|(epoch, _)| epoch))
}

/// The smallest id of an event that begins in `time`'s millisecond: ids begin with 48 bits of them.
fn first_id(time: Timestamp) -> u128 {
    (u128::from(time.micros().max(0).unsigned_abs() / 1000) & 0xffff_ffff_ffff) << 80
}

/// The largest one.
fn last_id(time: Timestamp) -> u128 {
    first_id(time) | ((1 << 80) - 1)
}

fn decode_mark(bytes: &[u8]) -> Result<Mark, FileError> {
    Ok(decode::<_, 64>(bytes)?)
}

fn decode_event(bytes: &[u8]) -> Result<RecordedEvent, FileError> {
    Ok(decode_record::<_, MESSAGE_BYTES_MAX>(bytes)?)
}
