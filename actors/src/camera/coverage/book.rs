//! Book: up to when what became of each camera is told, and when nobody looked; on disk, for the next life of this node.
//!
//!   marks    camera              → the time up to which all is told
//!   spells   (camera, event id)  → the event, newest revision
//!
//! In memory it is whole; the file is some seconds behind. A disk that fails costs what is not written, and no camera.

use crate::events::disk::{self, FileError};
use crate::events::timeline::{self, Known, Spell};
use protocol::codec::{decode_record, encode_record};
use protocol::timeline::Timeline;
use protocol::{CameraId, Event, EventId, NodeName, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MARKS: TableDefinition<&str, i64> = TableDefinition::new("marks");
const SPELLS: TableDefinition<(&str, u128), &[u8]> = TableDefinition::new("spells");

/// Remembered of one camera. When full, the oldest is forgotten, and the time before the next is unknown here.
const SPELLS_MAX: usize = 4096;
/// One event with a label and a reason.
const EVENT_BYTES_MAX: usize = 8 * 1024;

/// Cheap to clone.
#[derive(Clone)]
pub struct Book(Arc<Mutex<Inner>>);

struct Inner {
    path: PathBuf,
    db: Option<Database>,
    marks: BTreeMap<CameraId, Timestamp>,
    spells: BTreeMap<CameraId, BTreeMap<EventId, Event>>,
    /// Not in the file yet, or to be taken out of it.
    changed: BTreeSet<(CameraId, EventId)>,
}

impl Book {
    pub fn new(path: PathBuf) -> Self {
        let inner = Inner { path, db: None, marks: BTreeMap::new(), spells: BTreeMap::new(), changed: BTreeSet::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// What an earlier life wrote. Waits for the disk.
    pub fn load(&self) -> Result<(), String> {
        let path = self.lock().path.clone();
        let told = |error: FileError| format!("{}: {error}", path.display());
        let db = open(&path)?;
        let (marks, spells) = read(&db).map_err(told)?;
        let mut inner = self.lock();
        inner.db = Some(db);
        inner.marks.extend(marks);
        for event in spells {
            inner.keep(event);
        }
        inner.changed.clear();
        Ok(())
    }

    pub fn mark(&self, camera: &CameraId) -> Option<Timestamp> {
        self.lock().marks.get(camera).copied()
    }

    /// All of this camera is told up to then.
    pub fn set_mark(&self, camera: &CameraId, known: Timestamp) {
        self.lock().marks.insert(camera.clone(), known);
    }

    pub fn keep(&self, event: Event) {
        self.lock().keep(event);
    }

    /// Cameras that were ever looked at here.
    pub fn cameras(&self) -> Vec<CameraId> {
        self.lock().marks.keys().cloned().collect()
    }

    /// Of one camera, from what is remembered here; up to `now` all is known of what is looked at.
    pub fn timeline(
        &self,
        edge: &NodeName,
        camera: &CameraId,
        (from, to): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Option<Timeline> {
        let inner = self.lock();
        let spells: Vec<Spell> = inner.spells.get(camera)?.values().filter_map(Spell::of).collect();
        let since = spells.iter().map(|spell| spell.begin).min();
        drop(inner);
        let mut intervals = timeline::intervals(from, to, Known { since, through: now }, &spells);
        let next = timeline::cut(&mut intervals);
        let to = next.unwrap_or(to);
        Some(Timeline { edge: edge.clone(), camera: camera.clone(), from, to, intervals, next })
    }

    /// Waits for the disk.
    pub fn save(&self) -> Result<(), String> {
        let mut inner = self.lock();
        let path = inner.path.clone();
        let db = match inner.db.take() {
            Some(db) => db,
            None => open(&path)?,
        };
        let marks: Vec<_> = inner.marks.iter().map(|(camera, known)| (camera.clone(), known.micros())).collect();
        let changed: Vec<_> = std::mem::take(&mut inner.changed).into_iter().collect();
        let row = |(camera, id): &(CameraId, EventId)| {
            let event = inner.spells.get(camera).and_then(|spells| spells.get(id));
            event.map(encode_record)
        };
        let rows: Vec<_> = changed.iter().map(row).collect();
        // Whoever asks for a timeline does not wait for the disk.
        drop(inner);
        let written = write(&db, &marks, changed.iter().zip(&rows));
        let mut inner = self.lock();
        match written {
            Ok(()) => {
                inner.db = Some(db);
                Ok(())
            }
            // The file is opened again before the next try: redb does no more work after an error.
            Err(error) => {
                inner.changed.extend(changed);
                Err(format!("{}: {error}", path.display()))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, event: Event) {
        let (camera, id) = (event.camera.clone(), event.id);
        let spells = self.spells.entry(camera.clone()).or_default();
        spells.insert(id, event);
        self.changed.insert((camera.clone(), id));
        if spells.len() > SPELLS_MAX
            && let Some((oldest, _)) = spells.pop_first()
        {
            self.changed.insert((camera, oldest));
        }
    }
}

fn open(path: &Path) -> Result<Database, String> {
    let make = |write: &redb::WriteTransaction| {
        write.open_table(MARKS)?;
        write.open_table(SPELLS)?;
        Ok(())
    };
    disk::open(path, make).map_err(|failure| failure.text)
}

type Read = (Vec<(CameraId, Timestamp)>, Vec<Event>);

/// What cannot be read is left out: it says less, and nothing that is wrong.
fn read(db: &Database) -> Result<Read, FileError> {
    let (mut marks, mut spells) = (Vec::new(), Vec::new());
    let read = db.begin_read()?;
    for row in read.open_table(MARKS)?.iter()? {
        let (camera, known) = row?;
        marks.extend(camera.value().parse().ok().map(|camera| (camera, Timestamp::from_micros(known.value()))));
    }
    for row in read.open_table(SPELLS)?.iter()? {
        spells.extend(decode_record::<Event, EVENT_BYTES_MAX>(row?.1.value()).ok());
    }
    Ok((marks, spells))
}

fn write<'a>(
    db: &Database,
    marks: &[(CameraId, i64)],
    changed: impl Iterator<Item = (&'a (CameraId, EventId), &'a Option<Vec<u8>>)>,
) -> Result<(), FileError> {
    let write = disk::begin(db, false)?;
    {
        let mut table = write.open_table(MARKS)?;
        for (camera, known) in marks {
            table.insert(camera.as_str(), known)?;
        }
        let mut table = write.open_table(SPELLS)?;
        for ((camera, id), row) in changed {
            match row {
                Some(row) => drop(table.insert((camera.as_str(), id.0), row.as_slice())?),
                None => drop(table.remove((camera.as_str(), id.0))?),
            }
        }
    }
    write.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::testing::{camera_id, event};
    use protocol::timeline::Sight;
    use protocol::{Evidence, Phase};

    fn blind(id: u64, phase: Phase) -> Event {
        Event {
            label: protocol::event::BLIND_LABEL.to_owned(),
            evidence: Evidence::Blind { reason: "dark".to_owned() },
            ..event(0, id, u32::from(phase == Phase::End) * 3, phase)
        }
    }

    #[test]
    fn what_is_kept_and_marked_is_there_in_the_next_life() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("coverage.redb");
        let book = Book::new(path.clone());
        book.load().expect("is made");
        book.keep(blind(1_000_000, Phase::Start));
        book.save().expect("is written");
        book.keep(blind(1_000_000, Phase::End));
        book.set_mark(&camera_id(0), Timestamp::from_micros(7));
        book.save().expect("is written");
        drop(book);
        let book = Book::new(path);
        book.load().expect("opens");
        assert_eq!((book.mark(&camera_id(0)), book.mark(&camera_id(1))), (Some(Timestamp::from_micros(7)), None));
        let at = |s: i64| Timestamp::from_micros(1_000_000_000 + s * 1_000_000);
        let edge = "yard".parse().expect("a name");
        let told = book.timeline(&edge, &camera_id(0), (at(0), at(10)), at(8)).expect("it is known");
        let states: Vec<_> = told.intervals.iter().map(|interval| (interval.state, interval.from)).collect();
        assert_eq!(states, [(Sight::Blind, at(0)), (Sight::Covered, at(3)), (Sight::Unknown, at(8))]);
        assert!(book.timeline(&edge, &camera_id(1), (at(0), at(10)), at(8)).is_none());
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let dir = tempfile::tempdir().expect("a directory");
        let book = Book::new(dir.path().join("coverage.redb"));
        for id in 1..=SPELLS_MAX as u64 + 3 {
            book.keep(blind(id, Phase::End));
        }
        book.save().expect("is written");
        let inner = book.lock();
        assert_eq!(inner.spells[&camera_id(0)].len(), SPELLS_MAX);
        let (_, on_disk) = read(inner.db.as_ref().expect("is open")).expect("reads");
        assert_eq!(on_disk.len(), SPELLS_MAX);
    }
}
