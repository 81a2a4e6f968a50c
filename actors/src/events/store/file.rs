//! The record's file: what a transaction changes, and what reading finds. No actor, no clock.
//!
//!   marks   (tenant, edge, epoch)       → Mark            everything through it is on the record
//!   log     (tenant, edge, epoch, seq)  → Entry           as it came
//!   events  (tenant, event id)          → RecordedEvent   newest revision; ids sort by begin
//!
//! All three change in one transaction or not at all. Every key begins with the tenant: a read that is
//! given one cannot meet another's rows.

use crate::events::disk::{self, FileError};
use protocol::admin::{EventFilter, RecordedEvent};
use protocol::codec::{decode, encode};
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::{Entry, Epoch, EventId, Identity, NodeName, TenantId, Timestamp};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use supervision::Failure;

type LogKey = (&'static str, &'static str, u64, u64);
type MarkKey = (&'static str, &'static str, u64);
type EventKey = (&'static str, u128);

const LOG: TableDefinition<LogKey, &[u8]> = TableDefinition::new("log");
const MARKS: TableDefinition<MarkKey, &[u8]> = TableDefinition::new("marks");
const EVENTS: TableDefinition<EventKey, &[u8]> = TableDefinition::new("events");

/// Events of one page, unless fewer are asked for.
const PAGE_EVENTS_DEFAULT: u32 = 100;
/// Who asks for more gets this many and a cursor to go on.
const PAGE_EVENTS_MAX: u32 = 1000;
/// Rows looked at for one page, whatever the filter finds. Then the page ends with a cursor.
pub(super) const PAGE_ROWS_MAX: usize = 50_000;
/// Entries of the raw record at once. The rest is asked for after the last of them.
const RECORD_ENTRIES_MAX: u32 = 10_000;

/// How far one outbox is on the record.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Mark {
    through: u64,
    /// How many outboxes this edge had before: the highest is the one in use.
    order: u32,
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
            match decode::<_, MESSAGE_BYTES_MAX>(entry.value()) {
                Ok(entry) => entries.push(entry),
                Err(error) => unreadable.skip(u128::from(key.value().3), &error.into()),
            }
        }
        Ok(entries)
    }

    fn read(&self) -> Result<ReadTransaction, FileError> {
        Ok(self.0.begin_read()?)
    }
}

struct Tables<'w> {
    log: Table<'w, LogKey, &'static [u8]>,
    marks: Table<'w, MarkKey, &'static [u8]>,
    events: Table<'w, EventKey, &'static [u8]>,
}

impl<'w> Tables<'w> {
    fn of(write: &'w WriteTransaction) -> Result<Self, FileError> {
        let (log, marks) = (write.open_table(LOG)?, write.open_table(MARKS)?);
        Ok(Self { log, marks, events: write.open_table(EVENTS)? })
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
            self.log.insert((tenant, name, epoch.0, entry.seq), encode(entry).as_slice())?;
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
        self.events.insert(key, encode(&recorded).as_slice())?;
        Ok(Some(recorded))
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
    Ok(decode::<_, MESSAGE_BYTES_MAX>(bytes)?)
}
