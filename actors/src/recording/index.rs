//! Index: which takes and clips there are, in one redb file beside them. Everything in it can be read from the files.
//!
//!   takes    id                 → TakeRow      an id begins with the take's begin
//!   order    (class, id)        → ()           what goes first
//!   cameras  (camera, id)       → its end      what is there of a time
//!   clips    event              → ClipRow
//!   parts    (take, event)      → ()           what loses its footage with a take
//!
//! No actor and no clock. Anybody reads; those who write take turns.

use super::rows::{Class, ClipRow, TakeId, TakeRow, first_at};
use crate::events::disk::{self, FileError};
use protocol::codec::{decode, encode};
use protocol::{CameraId, EventId, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const TAKES: TableDefinition<u128, &[u8]> = TableDefinition::new("takes");
const ORDER: TableDefinition<(u8, u128), ()> = TableDefinition::new("order");
const CAMERAS: TableDefinition<(&str, u128), i64> = TableDefinition::new("cameras");
const CLIPS: TableDefinition<u128, &[u8]> = TableDefinition::new("clips");
const PARTS: TableDefinition<(u128, u128), ()> = TableDefinition::new("parts");

const TAKE_BYTES_MAX: usize = 1024;
const CLIP_BYTES_MAX: usize = 128 * 1024;
/// Of one clip: minutes of three days. What comes after is in no clip.
pub(super) const CLIP_TAKES_MAX: usize = 4096;
/// A clock that was set back leaves takes that begin later and end earlier: so many in a row are looked behind.
const ASTRAY_MAX: usize = 8;

pub(super) struct Index {
    db: Database,
    usage: Mutex<Usage>,
}

/// Bytes and takes, as the index has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Usage(BTreeMap<(CameraId, Class), u64>);

impl Usage {
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    pub fn of_class(&self, class: Class) -> u64 {
        self.0.iter().filter(|((_, of), _)| *of == class).map(|(_, bytes)| bytes).sum()
    }

    pub fn of_camera(&self, camera: &CameraId) -> u64 {
        self.0.iter().filter(|((of, _), _)| of == camera).map(|(_, bytes)| bytes).sum()
    }

    fn add(&mut self, row: &TakeRow) {
        *self.0.entry((row.camera.clone(), row.class)).or_default() += row.bytes;
    }

    fn subtract(&mut self, row: &TakeRow) {
        if let Some(bytes) = self.0.get_mut(&(row.camera.clone(), row.class)) {
            *bytes = bytes.saturating_sub(row.bytes);
        }
    }
}

impl Index {
    /// Opens the file; where there is none, an empty one is made.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let db = disk::try_open(path, make)?;
        let mut usage = Usage::default();
        for row in db.begin_read()?.open_table(TAKES)?.range::<u128>(..)? {
            usage.add(&decode::<_, TAKE_BYTES_MAX>(row?.1.value())?);
        }
        Ok(Self { db, usage: Mutex::new(usage) })
    }

    pub fn usage(&self) -> Usage {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In place of what it has of this take.
    pub fn put(&self, row: &TakeRow) -> Result<(), FileError> {
        self.change(|tables| tables.put(row).map(|before| (before, Some(row.clone()))).map(|change| vec![change]))
    }

    /// Takes of an event are kept as such, whatever they were recorded as.
    pub fn put_clip(&self, clip: &ClipRow) -> Result<(), FileError> {
        self.change(|tables| {
            let mut lifted = Vec::new();
            for id in &clip.takes {
                let Some(before) = tables.take(*id)?.filter(|row| row.class < Class::Events) else { continue };
                let row = TakeRow { class: Class::Events, ..before };
                lifted.push((tables.put(&row)?, Some(row)));
            }
            tables.put_clip(clip)?;
            Ok(lifted)
        })
    }

    /// Removes these takes; the clips of which nothing is left then are removed and returned.
    pub fn remove(&self, ids: &[TakeId]) -> Result<Vec<ClipRow>, FileError> {
        let mut gone = Vec::new();
        self.change(|tables| {
            let mut changes = Vec::new();
            for id in ids {
                changes.push((tables.remove(*id)?, None));
                gone.extend(tables.cut_clips(*id)?);
            }
            Ok(changes)
        })?;
        Ok(gone)
    }

    /// One transaction, which is on disk when this returns; `work` says which rows became which.
    fn change(&self, work: impl FnOnce(&mut Tables) -> Result<Changes, FileError>) -> Result<(), FileError> {
        let write = disk::begin(&self.db, true)?;
        let changes = work(&mut Tables::open(&write)?)?;
        write.commit()?;
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        for (before, after) in changes {
            before.iter().for_each(|row| usage.subtract(row));
            after.iter().for_each(|row| usage.add(row));
        }
        Ok(())
    }

    pub fn take(&self, id: TakeId) -> Result<Option<TakeRow>, FileError> {
        let row = self.db.begin_read()?.open_table(TAKES)?.get(id.bits())?;
        Ok(row.map(|row| decode::<_, TAKE_BYTES_MAX>(row.value())).transpose()?)
    }

    pub fn clip(&self, event: EventId) -> Result<Option<ClipRow>, FileError> {
        let row = self.db.begin_read()?.open_table(CLIPS)?.get(event.0)?;
        Ok(row.map(|row| decode::<_, CLIP_BYTES_MAX>(row.value())).transpose()?)
    }

    /// What is there of a camera from `from` until `to`: ids, oldest first.
    pub fn takes_of(&self, camera: &CameraId, from: Timestamp, to: Timestamp) -> Result<Vec<TakeId>, FileError> {
        let read = self.db.begin_read()?;
        let cameras = read.open_table(CAMERAS)?;
        let after = first_at(to.plus(Duration::from_millis(1))).bits();
        let mut takes = Vec::new();
        let mut astray = 0;
        for row in cameras.range((camera.as_str(), 0)..(camera.as_str(), after))?.rev() {
            let (key, end) = row?;
            if end.value() > from.micros() {
                takes.push(TakeId::from_bits(key.value().1));
                astray = 0;
            } else {
                astray += 1;
            }
            if astray > ASTRAY_MAX || takes.len() >= CLIP_TAKES_MAX {
                break;
            }
        }
        takes.reverse();
        Ok(takes)
    }

    /// Takes of a class, oldest first, until `enough` says so.
    pub fn oldest(&self, class: Class, mut enough: impl FnMut(&TakeRow) -> bool) -> Result<(), FileError> {
        let read = self.db.begin_read()?;
        let (order, takes) = (read.open_table(ORDER)?, read.open_table(TAKES)?);
        for row in order.range((class as u8, 0)..=(class as u8, u128::MAX))? {
            let (_, id) = row?.0.value();
            let Some(row) = takes.get(id)? else { continue };
            if enough(&decode::<_, TAKE_BYTES_MAX>(row.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// All takes, oldest first.
    pub fn each_take(&self, mut see: impl FnMut(TakeRow)) -> Result<(), FileError> {
        for row in self.db.begin_read()?.open_table(TAKES)?.range::<u128>(..)? {
            see(decode::<_, TAKE_BYTES_MAX>(row?.1.value())?);
        }
        Ok(())
    }

    /// All clips, oldest first.
    #[cfg(test)]
    pub fn each_clip(&self, mut see: impl FnMut(ClipRow)) -> Result<(), FileError> {
        for row in self.db.begin_read()?.open_table(CLIPS)?.range::<u128>(..)? {
            see(decode::<_, CLIP_BYTES_MAX>(row?.1.value())?);
        }
        Ok(())
    }
}

type Changes = Vec<(Option<TakeRow>, Option<TakeRow>)>;

fn make(write: &WriteTransaction) -> Result<(), FileError> {
    Tables::open(write).map(drop)
}

/// All of them, open for writing.
struct Tables<'a> {
    takes: redb::Table<'a, u128, &'static [u8]>,
    order: redb::Table<'a, (u8, u128), ()>,
    cameras: redb::Table<'a, (&'static str, u128), i64>,
    clips: redb::Table<'a, u128, &'static [u8]>,
    parts: redb::Table<'a, (u128, u128), ()>,
}

impl<'a> Tables<'a> {
    fn open(write: &'a WriteTransaction) -> Result<Self, FileError> {
        Ok(Self {
            takes: write.open_table(TAKES)?,
            order: write.open_table(ORDER)?,
            cameras: write.open_table(CAMERAS)?,
            clips: write.open_table(CLIPS)?,
            parts: write.open_table(PARTS)?,
        })
    }

    fn take(&self, id: TakeId) -> Result<Option<TakeRow>, FileError> {
        let row = self.takes.get(id.bits())?;
        Ok(row.map(|row| decode::<_, TAKE_BYTES_MAX>(row.value())).transpose()?)
    }

    fn put(&mut self, row: &TakeRow) -> Result<Option<TakeRow>, FileError> {
        let before = self.remove(row.id)?;
        let id = row.id.bits();
        self.takes.insert(id, encode(row).as_slice())?;
        self.order.insert((row.class as u8, id), ())?;
        self.cameras.insert((row.camera.as_str(), id), row.end.micros())?;
        Ok(before)
    }

    fn remove(&mut self, id: TakeId) -> Result<Option<TakeRow>, FileError> {
        let Some(row) = self.take(id)? else { return Ok(None) };
        self.takes.remove(id.bits())?;
        self.order.remove((row.class as u8, id.bits()))?;
        self.cameras.remove((row.camera.as_str(), id.bits()))?;
        Ok(Some(row))
    }

    fn put_clip(&mut self, clip: &ClipRow) -> Result<(), FileError> {
        self.clips.insert(clip.event.0, encode(clip).as_slice())?;
        for id in &clip.takes {
            self.parts.insert((id.bits(), clip.event.0), ())?;
        }
        Ok(())
    }

    /// A take is gone: the clips that had nothing else.
    fn cut_clips(&mut self, take: TakeId) -> Result<Vec<ClipRow>, FileError> {
        let of_take = (take.bits(), 0)..=(take.bits(), u128::MAX);
        let events = self.parts.range(of_take)?.map(|part| Ok(part?.0.value().1));
        let events = events.collect::<Result<Vec<u128>, FileError>>()?;
        let mut gone = Vec::new();
        for event in events {
            self.parts.remove((take.bits(), event))?;
            let Some(row) = self.clips.get(event)? else { continue };
            let clip: ClipRow = decode::<_, CLIP_BYTES_MAX>(row.value())?;
            drop(row);
            let mut left = false;
            for id in &clip.takes {
                left |= self.takes.get(id.bits())?.is_some();
            }
            if !left {
                self.clips.remove(event)?;
                gone.push(clip);
            }
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests;
