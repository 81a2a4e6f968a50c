//! Mending: what an earlier life left half done is finished, and index and files are made to agree again.
//!
//!   unfinished file ──cut behind its last whole fragment, finished──▶ as any other
//!   file without a row ▸ row from the file      row without a file ▸ goes      no index ▸ all rows from the files
//!
//! Newest first: those are asked for. Cameras record meanwhile. Files that are none of ours are left alone.

use super::{Library, lock};
use crate::media::fmp4::{Scan, ScanError, Take, scan};
use crate::recording::index::{CLIP_TAKES_MAX, Index};
use crate::recording::rows::{self, Class, ClipRow, SNAPSHOTS, TakeFormat, TakeId, TakeRow, folder};
use crate::recording::trouble::Trouble;
use protocol::{CameraId, EventId, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// A clip's words are short; a larger file is none of ours.
const CLIP_FILE_BYTES_MAX: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);

/// What is in a row without its file's bytes.
struct Known {
    bytes: u64,
    finished: bool,
    seen: bool,
}

impl Library {
    pub(super) fn mend(&self, index: &Index) -> Result<(), Trouble> {
        let began = Instant::now();
        let mut known: BTreeMap<TakeId, Known> = BTreeMap::new();
        let fill = index.each_take(|row| {
            known.insert(row.id, Known { bytes: row.bytes, finished: row.is_finished(), seen: false });
        });
        fill.map_err(|error| self.failed(&error))?;
        let mut mended = 0_u32;
        for folder in self.folders()? {
            for path in files(&self.0.root.join(&folder.path))? {
                self.0.progress.fetch_add(1, Ordering::Relaxed);
                if let Some(id) = id_of(&path, ".mp4") {
                    mended += u32::from(self.mend_take(index, id, &path, known.get_mut(&id))?);
                }
            }
        }
        let gone = known.iter().filter(|(id, known)| !known.seen && !lock(&self.0.open).contains_key(id));
        let gone: Vec<TakeId> = gone.map(|(id, _)| *id).collect();
        let clips = index.remove(&gone).map_err(|error| self.failed(&error))?;
        clips.iter().try_for_each(|clip| self.remove_event(clip))?;
        self.mend_clips(index)?;
        if mended > 0 || !gone.is_empty() {
            info!(files = mended, rows = gone.len(), took = ?began.elapsed(), "recordings were mended");
        }
        Ok(())
    }

    /// Whether there was something to do.
    fn mend_take(&self, index: &Index, id: TakeId, path: &Path, known: Option<&mut Known>) -> Result<bool, Trouble> {
        let bytes = match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => found.len(),
            _ => return Ok(false),
        };
        let is_known = known.is_some_and(|known| {
            known.seen = true;
            known.finished && known.bytes == bytes
        });
        if is_known || lock(&self.0.open).contains_key(&id) {
            return Ok(false);
        }
        let began = Instant::now();
        let row = match finish_file(path, bytes) {
            Ok(Some((row, was_finished))) if row.id == id => {
                if !was_finished {
                    metrics::histogram!("watchtree_recording_recovered_seconds").record(began.elapsed().as_secs_f64());
                }
                row
            }
            Ok(None) => {
                warn!(path = %path.display(), "it was cut before its first fragment, and is removed");
                fs::remove_file(path).map_err(|error| Trouble::of(&error, path))?;
                // Its row, if it has one, is found to be without a file the next time.
                index.remove(&[id]).map_err(|error| self.failed(&error))?;
                return Ok(true);
            }
            Ok(Some(_)) => {
                warn!(path = %path.display(), "it says that it is another take, and is left alone");
                return Ok(false);
            }
            Err(MendError::Foreign(why)) => {
                warn!(path = %path.display(), "it is left alone: {why}");
                return Ok(false);
            }
            Err(MendError::Io(error)) => return Err(Trouble::of(&error, path)),
        };
        let class = index.take(id).map_err(|error| self.failed(&error))?.map(|row| row.class);
        let row = TakeRow { class: class.map_or(row.class, |class| class.max(row.class)), ..row };
        index.put(&row).map_err(|error| self.failed(&error))?;
        Ok(true)
    }

    /// Those of which only the file is there, those that an earlier life did not end, and pictures that are too old.
    fn mend_clips(&self, index: &Index) -> Result<(), Trouble> {
        let old = Timestamp::now().minus(self.limits().events + DAY);
        for Folder { path, day, .. } in self.folders()? {
            let folder = self.0.root.join(&path);
            for file in files(&folder)? {
                self.0.progress.fetch_add(1, Ordering::Relaxed);
                if let Some(event) = id_of::<EventId>(&file, ".json") {
                    self.mend_clip(index, event, &file)?;
                } else if day < rows::day(old) {
                    self.remove_picture(index, &file)?;
                }
            }
            let is_used = lock(&self.0.open).values().any(|open| rows::day(open.row.begin) == day);
            if day < rows::day(Timestamp::now().minus(DAY)) && !is_used {
                // Fails while something is in it.
                let _ = fs::remove_dir(&folder).and_then(|()| fs::remove_dir(self.0.root.join(&day)));
            }
        }
        Ok(())
    }

    fn mend_clip(&self, index: &Index, event: EventId, path: &Path) -> Result<(), Trouble> {
        let known = index.clip(event).map_err(|error| self.failed(&error))?;
        if self.going_on(event).is_some() || known.is_some_and(|clip| !clip.goes_on) {
            return Ok(());
        }
        let Some(clip) = read_clip(path).filter(|clip| clip.event == event) else { return Ok(()) };
        let until = if clip.goes_on { Timestamp::from_micros(i64::MAX - 1_000_000) } else { clip.to };
        let takes = index.takes_of(&clip.camera, clip.from, until).map_err(|error| self.failed(&error))?;
        let takes: Vec<_> =
            takes.into_iter().filter(|id| !clip.goes_on || !lock(&self.0.open).contains_key(id)).collect();
        let Some(last) = takes.last() else { return self.remove_event(&clip) };
        let last = index.take(*last).map_err(|error| self.failed(&error))?;
        let ended = last.map_or(clip.to, |row| row.end).max(clip.from);
        let clip = match clip.goes_on {
            // Until when it went on, nobody knows: all that is there is its.
            true => ClipRow { to: ended, end: clip.end.max(clip.begin), goes_on: false, takes, ..clip },
            false => ClipRow { takes, ..clip },
        };
        self.put_clip(index, &clip)
    }

    /// Of an event that has no clip.
    fn remove_picture(&self, index: &Index, path: &Path) -> Result<(), Trouble> {
        let Some(event) = SNAPSHOTS.iter().find_map(|ending| id_of::<EventId>(path, ending)) else { return Ok(()) };
        if index.clip(event).map_err(|error| self.failed(&error))?.is_none() {
            fs::remove_file(path).map_err(|error| Trouble::of(&error, path))?;
        }
        Ok(())
    }

    /// Its file beside the footage, and its row.
    pub(in crate::recording) fn put_clip(&self, index: &Index, clip: &ClipRow) -> Result<(), Trouble> {
        let mut clip = clip.clone();
        clip.takes.truncate(CLIP_TAKES_MAX);
        let path = self.make_folder(&clip.camera, clip.begin)?.join(format!("{}.json", clip.event));
        write_whole(&path, &serde_json::to_vec_pretty(&clip).expect("a row is text and numbers"))
            .map_err(|error| Trouble::of(&error, &path))?;
        index.put_clip(&clip).map_err(|error| self.failed(&error))
    }

    /// The directory of a camera and a day. The root is not made: its disk may be away.
    pub(in crate::recording) fn make_folder(&self, camera: &CameraId, at: Timestamp) -> Result<PathBuf, Trouble> {
        let inner = folder(camera, at);
        let mut path = self.0.root.clone();
        for part in inner.components() {
            let above = path.clone();
            path.push(part);
            match fs::create_dir(&path) {
                Ok(()) => sync_dir(&above).map_err(|error| Trouble::of(&error, &above))?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Trouble::of(&error, &path)),
            }
        }
        Ok(path)
    }

    /// Of days and cameras, newest first.
    fn folders(&self) -> Result<Vec<Folder>, Trouble> {
        let root = &self.0.root;
        let mut folders = Vec::new();
        for day in names(root)?.into_iter().filter(|name| is_day(name)) {
            for camera in names(&root.join(&day))? {
                if camera.parse::<CameraId>().is_ok() {
                    folders.push(Folder { path: Path::new(&day).join(&camera), day: day.clone() });
                }
            }
        }
        folders.sort_by(|a, b| b.path.cmp(&a.path));
        Ok(folders)
    }
}

struct Folder {
    path: PathBuf,
    day: String,
}

/// Why a file cannot be mended.
enum MendError {
    Io(io::Error),
    Foreign(&'static str),
}

impl From<io::Error> for MendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Cuts the file behind its last whole fragment and finishes it, unless it is finished; what it is then, and whether it
/// was so before. `None`: nothing in it is worth keeping.
fn finish_file(path: &Path, bytes: u64) -> Result<Option<(TakeRow, bool)>, MendError> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut found = match scan(&mut file, bytes) {
        Ok(found) => found,
        Err(ScanError::Headless) => return Ok(None),
        Err(ScanError::Foreign(why)) => return Err(MendError::Foreign(why)),
        Err(ScanError::Io(error)) => return Err(error.into()),
    };
    if !found.finished {
        found.trim(&mut file)?;
    }
    let Scan { head, finished, fragments, valid_bytes, kind, .. } = found;
    if fragments.is_empty() {
        return Ok(None);
    }
    let take = Take::resume(head, fragments);
    let is_whole = finished && valid_bytes == bytes;
    if !is_whole {
        file.set_len(valid_bytes)?;
        finish(&file, &take, kind)?;
    }
    let head = take.head();
    let row = TakeRow {
        id: head.take,
        camera: head.camera.clone(),
        begin: head.begin,
        end: take.end(),
        bytes: valid_bytes,
        class: Class::of_kind(kind),
        sha256: Some(sha256(&mut file)?),
        format: TakeFormat::from(&head.format),
    };
    Ok(Some((row, is_whole)))
}

/// Durations and index, then the word that they are there.
pub(in crate::recording) fn finish(file: &File, take: &Take, kind: u8) -> io::Result<()> {
    for patch in take.finish_as(kind) {
        file.write_all_at(&patch.bytes, patch.offset)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Of the whole file, which is in the system's memory if it was just written.
pub(in crate::recording) fn sha256(file: &mut File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read_clip(path: &Path) -> Option<ClipRow> {
    let is_small = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() <= CLIP_FILE_BYTES_MAX);
    is_small.then(|| fs::read(path).ok()).flatten().and_then(|text| serde_json::from_slice(&text).ok())
}

/// All of it or nothing, also after a power cut.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&unfinished, path)
}

pub(in crate::recording) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn names(path: &Path) -> Result<Vec<String>, Trouble> {
    let read = fs::read_dir(path).map_err(|error| Trouble::of(&error, path))?;
    let names = read.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_owned()));
    Ok(names.collect())
}

/// Newest first, as far as they are named by time.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let mut names = match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => names(folder)?,
        // A file of somebody else, or a folder that was just removed.
        _ => Vec::new(),
    };
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn is_day(name: &str) -> bool {
    let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = name.split('-').collect();
    matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

fn id_of<T: std::str::FromStr>(path: &Path, ending: &str) -> Option<T> {
    path.file_name()?.to_str()?.strip_suffix(ending)?.parse().ok()
}
