//! Events that started and have not ended: in memory as they are, in the file as they were at a save.
//!
//! A tracker asks for those of its camera after a crash, to end each cut track once. Their number is that
//! of the tracks in all pictures, so memory has room for all.

use crate::events::disk::FileError;
use protocol::codec::{decode_record, encode_record};
use protocol::{CameraId, Entry, Event, EventId, Phase};
use redb::{ReadTransaction, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;

const OPEN: TableDefinition<(&str, u128), &[u8]> = TableDefinition::new("open");

/// Three texts of 300 characters, sixteen of 48, and the numbers around them.
const EVENT_BYTES_MAX: usize = 8 * 1024;

type Key = (CameraId, EventId);

#[derive(Default)]
pub(super) struct OpenEvents {
    /// With the number of the entry that brought it; 0 for what was read from the file.
    now: BTreeMap<Key, (u64, Event)>,
    /// The same numbers, of what is in the file.
    saved: BTreeMap<Key, u64>,
}

impl OpenEvents {
    pub fn load(read: &ReadTransaction) -> Result<Self, FileError> {
        let mut open = Self::default();
        for row in read.open_table(OPEN)?.range::<(&str, u128)>(..)? {
            let event: Event = decode_record::<_, EVENT_BYTES_MAX>(row?.1.value())?;
            let key = (event.camera.clone(), event.id);
            open.saved.insert(key.clone(), 0);
            open.now.insert(key, (0, event));
        }
        Ok(open)
    }

    pub fn note(&mut self, entry: &Entry) {
        let key = (entry.event.camera.clone(), entry.event.id);
        match entry.event.phase {
            Phase::Start | Phase::Update => self.now.insert(key, (entry.seq, entry.event.clone())),
            Phase::End => self.now.remove(&key),
        };
    }

    /// Writes what changed since the last save: what came and went in between costs nothing.
    pub fn save(&mut self, write: &WriteTransaction) -> Result<(), FileError> {
        let mut table = write.open_table(OPEN)?;
        for ((camera, id), _) in self.saved.iter().filter(|(key, _)| !self.now.contains_key(key)) {
            table.remove((camera.as_str(), id.0))?;
        }
        for (key, (seq, event)) in &self.now {
            if self.saved.get(key) != Some(seq) {
                table.insert((key.0.as_str(), key.1.0), encode_record(event).as_slice())?;
            }
        }
        self.saved = self.now.iter().map(|(key, (seq, _))| (key.clone(), *seq)).collect();
        Ok(())
    }

    /// After a save in which all entries got other numbers: what is here is what is in the file.
    pub fn renumbered(&mut self) {
        self.now.values_mut().for_each(|(seq, _)| *seq = 0);
        self.saved.values_mut().for_each(|seq| *seq = 0);
    }

    pub fn of(&self, camera: &CameraId) -> Vec<Event> {
        let all = (camera.clone(), EventId(u128::MIN))..=(camera.clone(), EventId(u128::MAX));
        self.now.range(all).map(|(_, (_, event))| event.clone()).collect()
    }
}
