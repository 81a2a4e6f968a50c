//! History: the last failures of every child, in memory and on disk, so that they outlive the node.
//!
//!   supervisor ──record──▶ [history] ──a bounded channel──▶ writer thread ──▶ failures.jsonl
//!
//! The file is one JSON object a line, for people too. It is written again, shorter, when it has grown to
//! [`FILE_BYTES_MAX`]. A disk that fails costs the file, never the node: the memory stays.

mod file;

use crate::{Failure, FailureKind};
use file::{File, Line};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use tracing::warn;

/// Failures kept of one child; the oldest makes room.
pub const PER_PATH_MAX: usize = 16;
/// Children remembered; beyond it the one that failed longest ago is forgotten.
const PATHS_MAX: usize = 1024;
/// Failures on their way to the disk. When full, the next is kept in memory alone and counted.
const UNWRITTEN_MAX: usize = 1024;
/// For those on their way when the process ends.
const SETTLE_WITHIN: Duration = Duration::from_millis(500);
/// Characters of a failure's text that are kept.
const TEXT_CHARS_MAX: usize = 2000;
/// The file is made shorter beyond this.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What followed a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    Restarted,
    Parked,
    /// Its supervisor gave up too.
    Escalated,
    /// It was not to be started again.
    Ended,
    /// The node's process exited.
    Exited,
}

impl Then {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Parked => "parked",
            Self::Escalated => "escalated",
            Self::Ended => "ended",
            Self::Exited => "exited",
        }
    }
}

/// One failure of one child.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub at: SystemTime,
    pub path: String,
    pub failure: Failure,
    pub then: Then,
    /// From its readiness to its failure; `None` if it never was ready.
    pub lived: Option<Duration>,
}

/// How this node's process ended before this one began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastEnd {
    /// In good order, or before its tree ran.
    Stopped,
    /// Its tree gave up.
    Escalated,
    /// It exited because a store's thread was blocked, or its event loop.
    Hang,
    /// Without a word: a kill, a crash, the power.
    Killed,
    /// There was none before, or its file is gone.
    Unknown,
}

impl LastEnd {
    pub const ALL: [Self; 5] = [Self::Stopped, Self::Escalated, Self::Hang, Self::Killed, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Escalated => "escalated",
            Self::Hang => "hang",
            Self::Killed => "killed",
            Self::Unknown => "unknown",
        }
    }
}

/// Cheap to clone; one per node.
#[derive(Clone, Default)]
pub struct History(Arc<Inner>);

#[derive(Default)]
struct Inner {
    memory: Mutex<Memory>,
    disk: OnceLock<Disk>,
}

struct Disk {
    file: Arc<Mutex<File>>,
    writer: SyncSender<Order>,
    last_end: LastEnd,
}

enum Order {
    Write(Line),
    /// What came before is written.
    Settle(SyncSender<()>),
}

impl Disk {
    /// Waits until what is on its way is written, and not for ever: the disk may be what stands.
    fn settle(&self) {
        let (done, settled) = sync_channel(1);
        if self.writer.try_send(Order::Settle(done)).is_ok() {
            let _ = settled.recv_timeout(SETTLE_WITHIN);
        }
    }
}

impl History {
    /// Reads what is in `dir` and goes on there. A damaged line is skipped.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let (file, lines) = File::open(dir, FILE_BYTES_MAX)?;
        let (history, mut last_end) = (Self::default(), LastEnd::Unknown);
        for line in lines {
            match line {
                Line::Failed(record) => history.lock().keep(record.into()),
                Line::Began => last_end = LastEnd::Killed,
                Line::Ended(end) => last_end = end,
            }
        }
        let file = Arc::new(Mutex::new(file));
        let (writer, unwritten) = sync_channel(UNWRITTEN_MAX);
        let (memory, on_disk) = (Arc::downgrade(&history.0), file.clone());
        let work = move || {
            for order in unwritten {
                let shorter = || memory.upgrade().map(|inner| Self(inner).lines());
                match order {
                    Order::Write(line) => told_once(locked(&on_disk).append(&line, shorter)),
                    Order::Settle(done) => drop(done.send(())),
                }
            }
        };
        std::thread::Builder::new().name("failures".to_owned()).spawn(work)?;
        told_once(locked(&file).rewrite(history.lines().into_iter().chain([Line::Began])));
        let _ = history.0.disk.set(Disk { file, writer, last_end });
        Ok(history)
    }

    /// How the process before this one ended.
    pub fn last_end(&self) -> LastEnd {
        self.0.disk.get().map_or(LastEnd::Unknown, |disk| disk.last_end)
    }

    /// Newest last; of `prefix` and all below it, at most `limit`.
    pub fn of(&self, prefix: Option<&str>, limit: usize) -> Vec<Record> {
        let memory = self.lock();
        let meant = |path: &str| prefix.is_none_or(|prefix| crate::steer::is_at_or_below(path, prefix));
        let mut records: Vec<Record> =
            memory.0.iter().filter(|(path, _)| meant(path)).flat_map(|(_, records)| records.iter().cloned()).collect();
        records.sort_by_key(|record| record.at);
        records.split_off(records.len().saturating_sub(limit))
    }

    pub(crate) fn record(&self, path: &str, failure: &Failure, then: Then, lived: Option<Duration>) {
        let record = self.remember(path, failure, then, lived);
        let Some(disk) = self.0.disk.get() else { return };
        if disk.writer.try_send(Order::Write(Line::Failed(record.into()))).is_err() {
            metrics::counter!("watchtree_failures_unwritten_total").increment(1);
        }
    }

    /// As `record`, and returns when it is on disk: the process is about to exit.
    pub(crate) fn record_exit(&self, path: &str, failure: &Failure, end: LastEnd) {
        let record = self.remember(path, failure, Then::Exited, None);
        let Some(disk) = self.0.disk.get() else { return };
        disk.settle();
        let mut file = locked(&disk.file);
        told_once(file.append(&Line::Failed(record.into()), || None));
        told_once(file.append(&Line::Ended(end), || None).and_then(|()| file.sync()));
    }

    /// The process ends, for this reason.
    pub fn end(&self, end: LastEnd) {
        if let Some(disk) = self.0.disk.get() {
            disk.settle();
            let mut file = locked(&disk.file);
            told_once(file.append(&Line::Ended(end), || None).and_then(|()| file.sync()));
        }
    }

    fn remember(&self, path: &str, failure: &Failure, then: Then, lived: Option<Duration>) -> Record {
        let text = failure.text.chars().take(TEXT_CHARS_MAX).collect();
        let failure = Failure { kind: failure.kind, text };
        let record = Record { at: SystemTime::now(), path: path.to_owned(), failure, then, lived };
        self.lock().keep(record.clone());
        record
    }

    fn lines(&self) -> Vec<Line> {
        self.of(None, usize::MAX).into_iter().map(|record| Line::Failed(record.into())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn locked(file: &Mutex<File>) -> MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk may be full for a week: one line says so.
fn told_once(written: io::Result<()>) {
    static TOLD: std::sync::Once = std::sync::Once::new();
    if let Err(error) = written {
        TOLD.call_once(|| warn!("failures are kept in memory alone, their file cannot be written: {error}"));
    }
}

#[derive(Default)]
struct Memory(BTreeMap<String, VecDeque<Record>>);

impl Memory {
    fn keep(&mut self, record: Record) {
        if !self.0.contains_key(&record.path) && self.0.len() >= PATHS_MAX {
            let newest = |records: &VecDeque<Record>| records.back().map(|record| record.at);
            let oldest = self.0.iter().min_by_key(|(_, records)| newest(records)).map(|(path, _)| path.clone());
            oldest.map(|path| self.0.remove(&path));
        }
        let records = self.0.entry(record.path.clone()).or_default();
        if records.len() >= PER_PATH_MAX {
            records.pop_front();
        }
        records.push_back(record);
    }
}

/// A failure as the file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Written {
    /// Microseconds since 1970.
    at_us: u64,
    path: String,
    kind: FailureKind,
    text: String,
    then: Then,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lived_us: Option<u64>,
}

impl From<Record> for Written {
    fn from(record: Record) -> Self {
        let at = record.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            at_us: at.as_micros() as u64,
            path: record.path,
            kind: record.failure.kind,
            text: record.failure.text,
            then: record.then,
            lived_us: record.lived.map(|lived| lived.as_micros() as u64),
        }
    }
}

impl From<Written> for Record {
    fn from(written: Written) -> Self {
        Self {
            at: SystemTime::UNIX_EPOCH + Duration::from_micros(written.at_us),
            path: written.path,
            failure: Failure { kind: written.kind, text: written.text },
            then: written.then,
            lived: written.lived_us.map(Duration::from_micros),
        }
    }
}

#[cfg(test)]
mod tests;
