//! The files that hold what was acknowledged: how they are made, opened, refused, and how they fail.
//!
//!   no file ──make beside, rename──▶ file ──open──▶ [Database] ──commit──▶ on disk
//!                                     └── corrupt, foreign, in use ──▶ refused, never deleted
//!
//! A file is made under another name and moved into place: one that is there was there whole, so a power
//! cut in its first second cannot leave half a file that nobody can open.

use protocol::codec::CodecError;
use redb::{Builder, Database, Durability, WriteTransaction};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use supervision::Failure;

/// Pages kept in memory. When full, the ones used least lately are read again from the file, which the system may have
/// in memory too. The leaves to which a thousand outboxes are appended fit.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A reader of the last incarnation may still hold the file; after this it is somebody else's.
const IN_USE_WITHIN: Duration = Duration::from_secs(5);
const IN_USE_PAUSE: Duration = Duration::from_millis(20);

/// Why a file did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{0}")]
    Disk(redb::Error),
    #[error("{0}")]
    Record(#[from] CodecError),
    /// Readable, and contradicts itself.
    #[error("{0}")]
    Broken(String),
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for FileError {
            fn from(error: redb::$error) -> Self {
                Self::Disk(error.into())
            }
        })*
    };
}

from_redb!(StorageError, TableError, TransactionError, CommitError, DatabaseError, CursorError, SetDurabilityError);

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(redb::Error::Io(error))
    }
}

impl FileError {
    /// Worth waiting for: somebody may free space.
    pub fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        matches!(self, Self::Disk(redb::Error::Io(error)) if full(error.kind()))
    }

    /// What the system said, if it was no fault of the file's.
    pub fn io(&self) -> Option<&std::io::Error> {
        match self {
            Self::Disk(redb::Error::Io(error)) if !is_unreadable(error.kind()) => Some(error),
            _ => None,
        }
    }

    /// The file is none of ours, or no whole one: as it is, it is of no use.
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Disk(redb::Error::Io(error)) => is_unreadable(error.kind()),
            Self::Disk(redb::Error::DatabaseAlreadyOpen | redb::Error::PreviousIo) => false,
            Self::Disk(_) | Self::Record(_) | Self::Broken(_) => true,
        }
    }

    /// An earlier error of somebody else on the same open file.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Disk(redb::Error::PreviousIo))
    }

    /// While running: the actor ends and its successor opens the file again. redb refuses all work
    /// after an I/O error until then, so no failed write is ever taken for a good one.
    pub fn failure(&self, path: &Path) -> Failure {
        Failure::error(format!("{}: {self}", path.display()))
    }

    /// While opening: names the file, the cause and the way out.
    pub fn refusal(&self, path: &Path) -> Failure {
        let file = path.display();
        let text = match self {
            _ if self.is_full() => format!("{file}: {self}; free space on its disk, what it holds is kept"),
            Self::Disk(redb::Error::Io(error)) => match error.kind() {
                kind if is_unreadable(kind) => unreadable(path, error),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                    format!("{file}: {error}; let this user write the file and its directory")
                }
                _ => format!("{file}: {error}; check the path in the configuration, and the disk"),
            },
            Self::Disk(redb::Error::DatabaseAlreadyOpen) => {
                format!("{file} is in use by another process; stop that one, or give this node its own data directory")
            }
            other => unreadable(path, other),
        };
        Failure::start(text)
    }
}

fn is_unreadable(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn unreadable(path: &Path, cause: impl std::fmt::Display) -> String {
    format!(
        "{} cannot be read: {cause}; use the version of watchtree that wrote it, or move the file away and keep it: \
         it may hold what is nowhere else; a new one is made at the next start",
        path.display()
    )
}

/// Opens the file at `path`; where there is none, `init` writes the first records of a new one.
pub(crate) fn open(
    path: &Path,
    init: impl Fn(&WriteTransaction) -> Result<(), FileError>,
) -> Result<Database, Failure> {
    try_open(path, init).map_err(|error| error.refusal(path))
}

/// As [`open`], for a file that can be made again from others.
pub(crate) fn try_open(
    path: &Path,
    init: impl Fn(&WriteTransaction) -> Result<(), FileError>,
) -> Result<Database, FileError> {
    // A corrupt page can panic inside redb; here that is a refusal like any other.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        if !path.try_exists()? {
            make(path, init)?;
        }
        open_existing(path)
    }));
    opened.unwrap_or_else(|_| Err(FileError::Broken("its pages contradict each other".to_owned())))
}

fn make(path: &Path, init: impl Fn(&WriteTransaction) -> Result<(), FileError>) -> Result<(), FileError> {
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let db = Builder::new().create(&unfinished)?;
    let write = begin(&db, true)?;
    init(&write)?;
    write.commit()?;
    drop(db);
    fs::rename(&unfinished, path)?;
    // The name itself must survive a power cut.
    File::open(directory)?.sync_all()?;
    Ok(())
}

fn open_existing(path: &Path) -> Result<Database, FileError> {
    let began = Instant::now();
    loop {
        match Builder::new().set_cache_size(CACHE_BYTES).open(path) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if began.elapsed() < IN_USE_WITHIN => {
                std::thread::sleep(IN_USE_PAUSE);
            }
            opened => return Ok(opened?),
        }
    }
}

/// A transaction that is on disk once it is committed.
///
/// After a crash redb walks through all that is in a file, about a second a GB. With `quick_repair` it does
/// not, and each commit waits for the disk twice instead of once: for a file that can grow large.
pub(crate) fn begin(db: &Database, quick_repair: bool) -> Result<WriteTransaction, FileError> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    write.set_quick_repair(quick_repair);
    Ok(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> (String, Vec<u8>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.redb");
        fs::write(&path, bytes).expect("is written");
        let refusal = open(&path, |_| Ok(())).map(drop).expect_err("is refused").to_string();
        (refusal, fs::read(&path).expect("is still there"))
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left_alone() {
        let (refusal, left) = refused(b"not a database at all, and long enough to have a header");
        assert!(refusal.contains("events.redb cannot be read"), "{refusal}");
        assert!(refusal.contains("move the file away"), "{refusal}");
        assert_eq!(left, b"not a database at all, and long enough to have a header");
    }

    #[test]
    fn a_file_with_a_torn_body_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.redb");
        drop(open(&path, |_| Ok(())).expect("is made"));
        let whole = fs::read(&path).expect("is there");
        let (refusal, left) = refused(&whole[..whole.len() / 3]);
        assert!(refusal.contains("move the file away"), "{refusal}");
        assert_eq!(left.len(), whole.len() / 3);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("taken"), "").expect("is written");
        let refusal = open(&dir.path().join("taken/events.redb"), |_| Ok(())).map(drop).expect_err("no directory");
        assert!(refusal.to_string().contains("taken/events.redb"), "{refusal}");
    }

    #[test]
    fn half_a_file_from_an_earlier_power_cut_is_made_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("events.redb");
        fs::write(path.with_extension("new"), [0; 4096]).expect("is written");
        open(&path, |_| Ok(())).expect("is made");
    }
}
