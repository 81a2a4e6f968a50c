//! History: how each node was, minute by minute for a day and hour by hour for a month, in sled.
//!
//!   minute's figures ──▶ [history] ──▶ tenant/role/name · step · index ▸ point
//!
//! What is here can be lost: on any error of sled the directory is deleted and begun afresh, which costs history and
//! never truth. Everything waits for the disk: for threads that may.

use super::point::Point;
use protocol::limits::short_text;
use protocol::{Identity, Timestamp, codec};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};

/// Of each node: one day.
pub const MINUTES_MAX: u64 = 24 * 60;
/// Of each node: thirty days.
pub const HOURS_MAX: u64 = 30 * 24;
/// Rows of one answer; the oldest of those asked for are kept, and whoever asks goes on from there.
pub const ROWS_MAX: usize = MINUTES_MAX as usize;
/// On disk: [`super::board::NODES_MAX`] nodes x ([`MINUTES_MAX`] + [`HOURS_MAX`]) rows of some 100 B, and what sled takes
/// around them. When full, the history is begun afresh.
const DISK_BYTES_MAX: u64 = 2 << 30;
/// What sled keeps in memory beside the pages that it is writing.
const CACHE_BYTES: u64 = 8 << 20;
const FLUSH_EVERY_MS: u64 = 1000;
/// Rows of nodes that are gone are looked for, so many with each minute.
const SWEPT_ROWS: usize = 5000;
/// One point with every number at its largest takes less.
const POINT_BYTES_MAX: usize = 512;

/// How long a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Minute,
    Hour,
}

impl Step {
    pub fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    /// Counts since 1970.
    pub fn index(self, at: Timestamp) -> u64 {
        u64::try_from(at.micros()).unwrap_or(0) / 1_000_000 / self.seconds()
    }

    pub fn begin(self, index: u64) -> Timestamp {
        Timestamp::from_micros(i64::try_from(index * self.seconds() * 1_000_000).unwrap_or(i64::MAX))
    }

    fn kept(self) -> u64 {
        match self {
            Self::Minute => MINUTES_MAX,
            Self::Hour => HOURS_MAX,
        }
    }

    fn tag(self) -> u8 {
        match self {
            Self::Minute => b'm',
            Self::Hour => b'h',
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct History(Arc<Mutex<Inner>>);

struct Inner {
    dir: PathBuf,
    db: Option<sled::Db>,
    /// Where the last look for rows of nodes that are gone ended.
    swept: Vec<u8>,
    /// Why it cannot even be begun, as last told.
    told: Option<String>,
}

/// Whatever it is, the history is begun afresh.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("a row cannot be read: {0}")]
    Row(#[from] codec::CodecError),
    #[error("it has {0} B on disk, the limit is {DISK_BYTES_MAX} B")]
    Full(u64),
    #[error("sled panicked")]
    Panic,
}

impl History {
    /// Nothing is opened before it is needed.
    pub fn new(dir: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(Inner { dir, db: None, swept: Vec::new(), told: None })))
    }

    /// Adds the figures of one minute. What is there of it already, by a process before this one, is added to.
    pub fn write(&self, minute: u64, points: &[(Identity, Point)]) -> Result<(), String> {
        let mut inner = self.lock();
        let swept = std::mem::take(&mut inner.swept);
        inner.swept = inner.attempt(|db| {
            let size_bytes = db.size_on_disk()?;
            if size_bytes > DISK_BYTES_MAX {
                return Err(Trouble::Full(size_bytes));
            }
            put(db, minute, points)?;
            sweep(db, &swept, minute)
        })?;
        Ok(())
    }

    /// Of one node, from `from` and before `to`, oldest first; [`ROWS_MAX`] at most.
    pub fn read(
        &self,
        node: &Identity,
        step: Step,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(u64, Point)>, String> {
        // A row counts by its begin.
        let first = step.index(from) + u64::from(step.begin(step.index(from)) < from);
        let last = step.index(to) + u64::from(step.begin(step.index(to)) < to);
        if first >= last {
            return Ok(Vec::new());
        }
        self.lock().attempt(|db| {
            let rows = db.range(key(node, step, first)..key(node, step, last)).take(ROWS_MAX);
            rows.map(|row| {
                let (key, value) = row?;
                Ok((index_of(&key), decode(&value)?))
            })
            .collect()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Does it, after a fresh begin if it fails the first time.
    fn attempt<T>(&mut self, work: impl Fn(&sled::Db) -> Result<T, Trouble>) -> Result<T, String> {
        let first = match self.try_once(&work) {
            Ok(done) => return Ok(done),
            Err(trouble) => trouble,
        };
        self.afresh(&first);
        match self.try_once(&work) {
            Ok(done) => {
                self.told = None;
                Ok(done)
            }
            Err(again) => {
                // Perhaps the disk is full: it is tried again with the next minute.
                self.close();
                Err(short_text(&again.to_string()))
            }
        }
    }

    fn try_once<T>(&mut self, work: impl Fn(&sled::Db) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let (dir, db) = (&self.dir, &mut self.db);
        // Some files make it panic, which is as good as an error.
        let done = catch_unwind(AssertUnwindSafe(|| {
            if db.is_none() {
                *db = Some(open(dir)?);
            }
            work(db.as_ref().expect("it was opened above"))
        }));
        done.unwrap_or(Err(Trouble::Panic))
    }

    fn afresh(&mut self, why: &Trouble) {
        self.close();
        self.swept.clear();
        let why = short_text(&why.to_string());
        if self.told.as_ref() != Some(&why) {
            warn!(dir = %self.dir.display(), "the telemetry history is begun afresh: {why}");
            self.told = Some(why);
        }
        metrics::counter!("watchtree_fleet_history_restarts_total").increment(1);
        match std::fs::remove_dir_all(&self.dir) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                warn!(dir = %self.dir.display(), "the telemetry history cannot be removed: {why}");
            }
            _ => {}
        }
    }

    fn close(&mut self) {
        let db = self.db.take();
        // It writes once more while it goes, which may fail like everything before.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

fn open(dir: &Path) -> Result<sled::Db, Trouble> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS));
    let db = config.open()?;
    info!(dir = %dir.display(), "telemetry history is open");
    Ok(db)
}

fn put(db: &sled::Db, minute: u64, points: &[(Identity, Point)]) -> Result<(), Trouble> {
    let hour = minute / 60;
    let mut batch = sled::Batch::default();
    for (node, point) in points {
        for (step, index) in [(Step::Minute, minute), (Step::Hour, hour)] {
            let key = key(node, step, index);
            let mut sum = db.get(&key)?.map(|value| decode(&value)).transpose()?.unwrap_or_default();
            sum.merge(point);
            batch.insert(key, codec::encode(&sum));
            // The one that becomes too old now; others are found by the sweep.
            if let Some(old) = index.checked_sub(step.kept()) {
                batch.remove(self::key(node, step, old));
            }
        }
    }
    Ok(db.apply_batch(batch)?)
}

/// Removes what is too old among the next rows; where to go on.
fn sweep(db: &sled::Db, from: &[u8], minute: u64) -> Result<Vec<u8>, Trouble> {
    let (mut batch, mut last, mut seen) = (sled::Batch::default(), Vec::new(), 0);
    for row in db.range(from.to_vec()..).take(SWEPT_ROWS) {
        let (key, _) = row?;
        (last, seen) = (key.to_vec(), seen + 1);
        if is_too_old(&key, minute) {
            batch.remove(key);
        }
    }
    db.apply_batch(batch)?;
    // After the end it begins again.
    Ok(if seen < SWEPT_ROWS { Vec::new() } else { last })
}

/// `main/edge/yard`, 0, the step, the index: in order of time for each node, and a tenant's rows beside each other.
fn key(node: &Identity, step: Step, index: u64) -> Vec<u8> {
    let mut key = node.to_string().into_bytes();
    key.extend([0, step.tag()]);
    key.extend(index.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn is_too_old(key: &[u8], minute: u64) -> bool {
    let tag = key.len().checked_sub(9).map(|at| key[at]);
    match tag {
        Some(b'm') => index_of(key) + MINUTES_MAX <= minute,
        Some(b'h') => index_of(key) + HOURS_MAX <= minute / 60,
        // Nothing of ours.
        _ => true,
    }
}

fn decode(value: &[u8]) -> Result<Point, codec::CodecError> {
    codec::decode::<Point, POINT_BYTES_MAX>(value)
}

#[cfg(test)]
mod tests;
