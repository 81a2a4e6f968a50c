//! Check: the files of all recordings against each other and the index, by hand and without the node.
//!
//!   <root>/DAY/CAMERA/*.mp4, *.json ──▶ [check] ──▶ what is wrong, and the rows of an index
//!                                          └── repair: torn ends are cut, takes finished, the index made to agree
//!
//! Nothing is ever deleted: what cannot be repaired is named.

#[cfg(test)]
mod tests;
mod walk;

use super::index::Index;
use super::library::{finish, sha256};
use super::rows::{Class, ClipRow, TakeFormat, TakeRow};
use crate::events::disk::FileError;
use crate::media::fmp4::{ScanError, Take, TakeId, scan};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Named in a report. What is beyond is counted.
const PROBLEMS_MAX: usize = 10_000;
/// A clip's words are short; a larger file is none of ours.
const CLIP_FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Cut, finish, and write the index.
    pub repair: bool,
    /// Files that the index knows by their length are not read whole.
    pub quick: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub takes: u64,
    pub clips: u64,
    /// Of takes.
    pub bytes: u64,
    /// The node runs and writes here: there is no index to be had, and what is unfinished may be being written.
    pub in_use: bool,
    pub problems: Vec<Problem>,
    pub problems_not_named: u64,
    /// Of all takes that are finished, or are by now.
    #[serde(skip)]
    pub rows: Vec<TakeRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Below the root.
    pub path: PathBuf,
    pub kind: ProblemKind,
    pub text: String,
    pub repaired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Nobody finished it: plays, and has no duration and no index of its own.
    Unfinished,
    /// It ends within a fragment.
    Torn,
    /// It was cut before its first picture.
    Empty,
    /// Its bytes are not those that were finished.
    Corrupt,
    /// None of this program's, or not where it belongs.
    Foreign,
    /// The system does not let it be read or written.
    Unreadable,
    /// The index does not know it, or something else of it.
    Unindexed,
    /// The index knows it, and it is not there.
    Missing,
}

impl ProblemKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::Torn => "torn",
            Self::Empty => "empty",
            Self::Corrupt => "corrupt",
            Self::Foreign => "foreign",
            Self::Unreadable => "unreadable",
            Self::Unindexed => "unindexed",
            Self::Missing => "missing",
        }
    }
}

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{0} is in use: stop this edge's node before its recordings are repaired; it repairs them itself when it starts"
    )]
    InUse(PathBuf),
    #[error("{path}: {text}; move it away, and it is made again from the files")]
    Index { path: PathBuf, text: String },
}

impl Report {
    pub fn is_well(&self) -> bool {
        self.problems_not_named == 0 && self.problems.iter().all(|problem| problem.repaired)
    }

    fn add(&mut self, path: &Path, kind: ProblemKind, text: impl Into<String>, repaired: bool) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { path: path.to_owned(), kind, text: text.into(), repaired });
        } else {
            self.problems_not_named += 1;
        }
    }
}

/// Everything below `root`. Takes as long as reading all files does.
pub fn check(root: &Path, options: Options) -> Result<Report, CheckError> {
    let index = open_index(root, options)?;
    let mut check = Check { root, options, index: None, known: BTreeMap::new(), report: Report::default() };
    match index {
        Opened::InUse => check.report.in_use = true,
        Opened::Absent => {}
        Opened::Index(index) => {
            index.each_take(|row| drop(check.known.insert(row.id, row))).map_err(|error| broken(root, &error))?;
            check.index = Some(index);
        }
    }
    let files = walk::files(root).map_err(|(path, error)| CheckError::Io { path, error })?;
    for file in &files {
        match walk::what(root, file) {
            walk::What::Take(id) => check.take(file, id),
            walk::What::Clip => check.clip(file),
            walk::What::Picture => {}
            walk::What::Other => check.report.add(file, ProblemKind::Foreign, "is no recording of this program", false),
        }
    }
    check.compare()?;
    Ok(check.report)
}

enum Opened {
    Index(Index),
    Absent,
    InUse,
}

fn index_path(root: &Path) -> PathBuf {
    root.join("index.redb")
}

fn broken(root: &Path, error: &FileError) -> CheckError {
    CheckError::Index { path: index_path(root), text: error.to_string() }
}

fn open_index(root: &Path, options: Options) -> Result<Opened, CheckError> {
    let path = index_path(root);
    if !options.repair && !path.exists() {
        return Ok(Opened::Absent);
    }
    match Index::open(&path) {
        Ok(index) => Ok(Opened::Index(index)),
        Err(FileError::Disk(redb::Error::DatabaseAlreadyOpen)) if options.repair => Err(CheckError::InUse(path)),
        Err(FileError::Disk(redb::Error::DatabaseAlreadyOpen)) => Ok(Opened::InUse),
        Err(error) => Err(broken(root, &error)),
    }
}

struct Check<'a> {
    root: &'a Path,
    options: Options,
    index: Option<Index>,
    /// Rows whose files were not met yet.
    known: BTreeMap<TakeId, TakeRow>,
    report: Report,
}

impl Check<'_> {
    fn take(&mut self, path: &Path, id: TakeId) {
        self.report.takes += 1;
        let known = self.known.remove(&id);
        match self.look(path, id, known.as_ref()) {
            Ok(Some(row)) => {
                if known.as_ref() != Some(&row) && !self.report.in_use {
                    let repaired =
                        self.index.as_ref().is_some_and(|index| self.options.repair && index.put(&row).is_ok());
                    let text = match known {
                        None => "the index does not know it",
                        Some(_) => "the index knows something else of it",
                    };
                    self.report.add(path, ProblemKind::Unindexed, text, repaired);
                }
                self.report.rows.push(row);
            }
            Ok(None) => {}
            Err(error) => self.report.add(path, ProblemKind::Unreadable, error.to_string(), false),
        }
    }

    /// Its row, if it is finished or is now.
    fn look(&mut self, path: &Path, id: TakeId, known: Option<&TakeRow>) -> io::Result<Option<TakeRow>> {
        let full = self.root.join(path);
        let mut file = OpenOptions::new().read(true).write(self.options.repair).open(&full)?;
        let bytes = file.metadata()?.len();
        self.report.bytes += bytes;
        let mut found = match scan(&mut BufReader::new(&file), bytes) {
            Ok(found) => found,
            Err(ScanError::Io(error)) => return Err(error),
            Err(ScanError::Headless) => {
                self.report.add(path, ProblemKind::Empty, "was cut before its first picture; remove it", false);
                return Ok(None);
            }
            Err(ScanError::Foreign(why)) => {
                self.report.add(path, ProblemKind::Foreign, why, false);
                return Ok(None);
            }
        };
        if found.head.take != id || !walk::is_at_home(path, &found.head.camera) {
            let text = format!("is take {} of {}, and belongs elsewhere", found.head.take, found.head.camera);
            self.report.add(path, ProblemKind::Foreign, text, false);
            return Ok(None);
        }
        if !found.finished {
            found.trim(&mut file)?;
        }
        if found.fragments.is_empty() {
            self.report.add(path, ProblemKind::Empty, "was cut before its first picture; remove it", false);
            return Ok(None);
        }
        let whole = found.finished && found.torn.is_none();
        let (kind, torn, valid_bytes) = (found.kind, found.torn, found.valid_bytes);
        let take = Take::resume(found.head, found.fragments);
        if !whole {
            self.unfinished(path, &file, &take, kind, torn, bytes)?;
            if !self.options.repair {
                return Ok(None);
            }
        }
        let known_as = known.filter(|known| known.bytes == valid_bytes).and_then(|known| known.sha256.as_ref());
        let sha256 = match known_as.filter(|_| self.options.quick && whole) {
            Some(sha256) => sha256.clone(),
            None => sha256(&mut file)?,
        };
        if whole && known_as.is_some_and(|known| *known != sha256) {
            self.report.add(path, ProblemKind::Corrupt, "its bytes are not those that were recorded", false);
            // What it was is what the index says.
            return Ok(known.cloned());
        }
        Ok(Some(self.row(&take, valid_bytes, kind, sha256, known)))
    }

    fn row(&self, take: &Take, bytes: u64, kind: u8, sha256: String, known: Option<&TakeRow>) -> TakeRow {
        let head = take.head();
        let class = Class::of_kind(kind);
        TakeRow {
            id: head.take,
            camera: head.camera.clone(),
            begin: head.begin,
            end: take.end(),
            bytes,
            // An event may have lifted it since.
            class: known.map_or(class, |known| known.class.max(class)),
            sha256: Some(sha256),
            format: TakeFormat::from(&head.format),
        }
    }

    /// Names it, and repairs it if that is wanted.
    fn unfinished(
        &mut self,
        path: &Path,
        file: &File,
        take: &Take,
        kind: u8,
        torn: Option<&'static str>,
        bytes: u64,
    ) -> io::Result<()> {
        if self.report.in_use {
            return Ok(());
        }
        let repair = self.options.repair;
        if repair {
            file.set_len(take.bytes())?;
            finish(file, take, kind)?;
        }
        let (kind, mut text) = match torn {
            Some(why) => (ProblemKind::Torn, format!("{why}: {} B of {bytes} B are whole", take.bytes())),
            None => (ProblemKind::Unfinished, "nobody finished it".to_owned()),
        };
        if repair {
            text.push_str("; it was cut there and finished");
        }
        self.report.add(path, kind, text, repair);
        Ok(())
    }

    fn clip(&mut self, path: &Path) {
        self.report.clips += 1;
        let full = self.root.join(path);
        let is_small = full.symlink_metadata().is_ok_and(|found| found.len() <= CLIP_FILE_BYTES_MAX);
        let text = is_small.then(|| std::fs::read(&full).ok()).flatten();
        if text.is_none_or(|text| serde_json::from_slice::<ClipRow>(&text).is_err()) {
            self.report.add(path, ProblemKind::Foreign, "is no clip of this program, or no whole one", false);
        }
    }

    /// What is in the index and was not met.
    fn compare(&mut self) -> Result<(), CheckError> {
        let gone: Vec<TakeId> = self.known.keys().copied().collect();
        for row in std::mem::take(&mut self.known).into_values() {
            self.report.add(
                &row.path(),
                ProblemKind::Missing,
                "is in the index, and not on the disk",
                self.options.repair,
            );
        }
        if let Some(index) = self.index.as_ref().filter(|_| self.options.repair && !gone.is_empty()) {
            index.remove(&gone).map_err(|error| broken(self.root, &error))?;
        }
        Ok(())
    }
}
