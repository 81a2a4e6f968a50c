//! Trouble: why nothing can be recorded for now, in words that name the way out.

use rustix::fs::{StatVfs, StatVfsMountFlags};
use std::io::{self, ErrorKind};
use std::path::Path;

/// A disk that cannot be written to. Recording waits for it, and tries again and again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    pub kind: TroubleKind,
    pub text: String,
}

/// The label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    Full,
    ReadOnly,
    /// The directory is not there, or is another one than before.
    Gone,
    /// It does not answer.
    Slow,
    Failed,
}

impl TroubleKind {
    pub const ALL: [Self; 5] = [Self::Full, Self::ReadOnly, Self::Gone, Self::Slow, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Gone => "gone",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

impl Trouble {
    /// Of work at `path`.
    pub(super) fn of(error: &io::Error, path: &Path) -> Self {
        let shown = path.display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::new(TroubleKind::Full, format!("{shown}: {error}; make room on its disk"))
            }
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                let text = format!(
                    "{shown}: {error}; let this user write there, and look for disk errors in the system's log"
                );
                Self::new(TroubleKind::ReadOnly, text)
            }
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                Self::new(TroubleKind::Gone, format!("{shown}: {error}; mount its disk again, or make record.dir"))
            }
            _ => Self::new(TroubleKind::Failed, format!("{shown}: {error}; look for disk errors in the system's log")),
        }
    }

    pub(super) fn slow(path: &Path, within: std::time::Duration) -> Self {
        let text = format!(
            "{}: its disk has not answered for {within:?}; look for disk errors in the system's log",
            path.display()
        );
        Self::new(TroubleKind::Slow, text)
    }

    pub(super) fn new(kind: TroubleKind, text: String) -> Self {
        Self { kind, text }
    }
}

/// Which directory this is: another one may be mounted over it.
pub(super) type Place = (u64, u64);

pub(super) fn place(root: &Path) -> Result<Place, Trouble> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(root).map_err(|error| Trouble::of(&error, root))?;
    Ok((found.dev(), found.ino()))
}

/// Bytes that this user may still write.
pub(super) fn free(root: &Path) -> Result<u64, Trouble> {
    let disk: StatVfs = rustix::fs::statvfs(root).map_err(|error| Trouble::of(&error.into(), root))?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let text = format!("{} is mounted read-only; look for disk errors in the system's log", root.display());
        return Err(Trouble::new(TroubleKind::ReadOnly, text));
    }
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether a file can be made, written and made durable: what says "full" may be a quota that no figure shows.
pub(super) fn probe(root: &Path) -> Result<(), Trouble> {
    let path = root.join(PROBE);
    let written = write_probe(&path);
    let removed = std::fs::remove_file(&path);
    written.and(removed).map_err(|error| Trouble::of(&error, root))
}

const PROBE: &str = ".probe";
/// A second of a camera.
const PROBE_BYTES: usize = 256 * 1024;

fn write_probe(path: &Path) -> io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    file.write_all(&vec![0; PROBE_BYTES])?;
    file.sync_data()
}
