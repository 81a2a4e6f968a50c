//! What has to go: footage that is too old or too much, and with it the clips and pictures of its events.

use super::{Library, lock};
use crate::recording::index::Index;
use crate::recording::rows::{Class, ClipRow, SNAPSHOTS, TakeRow, event_file};
use crate::recording::space::{Held, Reason, Sweep};
use crate::recording::trouble::{self, Trouble};
use protocol::Timestamp;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::{debug, info};

/// Deleted in one round, before anything else gets its turn.
const ROUND_MAX: usize = 512;

impl Library {
    /// Opens, mends, and makes room. Whether there is more to do at once.
    pub(in crate::recording) fn tend_now(&self) -> Result<bool, Trouble> {
        // One that hung with its disk may still be at it.
        let Ok(_turn) = self.0.tending.try_lock() else {
            return Err(Trouble::slow(&self.0.root, super::ANSWERS_WITHIN));
        };
        let index = self.open_index()?;
        // Room first: to mend may take some.
        let more = self.make_room(&index)?;
        if std::mem::take(&mut lock(&self.0.state).stale) {
            self.mend(&index).inspect_err(|_| lock(&self.0.state).stale = true)?;
        }
        self.show(&index);
        Ok(more)
    }

    fn make_room(&self, index: &Arc<Index>) -> Result<bool, Trouble> {
        let free = trouble::free(&self.0.root)?;
        let goes = self.goes(index, free).map_err(|error| self.failed(&error))?;
        if goes.is_empty() {
            return Ok(false);
        }
        // Files first: the index needs room itself to write down that they are gone.
        for (row, reason) in &goes {
            debug!(take = %row.id, camera = %row.camera, class = row.class.as_str(), reason = reason.as_str(), "goes");
            self.unlink(&row.path())?;
        }
        let ids: Vec<_> = goes.iter().map(|(row, _)| row.id).collect();
        let clips = index.remove(&ids).map_err(|error| self.failed(&error))?;
        for clip in &clips {
            self.remove_event(clip)?;
        }
        for (row, reason) in &goes {
            let (class, reason) = (row.class.as_str(), reason.as_str());
            metrics::counter!("watchtree_recording_deleted_bytes_total", "class" => class, "reason" => reason)
                .increment(row.bytes);
        }
        let bytes: u64 = goes.iter().map(|(row, _)| row.bytes).sum();
        info!(takes = goes.len(), clips = clips.len(), bytes, why = goes[0].1.as_str(), "recordings were deleted");
        self.0.well.notify_waiters();
        Ok(goes.len() >= ROUND_MAX)
    }

    /// What has to go now, and why.
    fn goes(&self, index: &Index, free: u64) -> Result<Vec<(TakeRow, Reason)>, crate::events::disk::FileError> {
        let (now, limits) = (Timestamp::now(), self.limits());
        let mut sweep = Sweep::new(&limits, now, self.bytes(), free);
        let mut goes = Vec::new();
        for class in Class::ALL {
            index.oldest(class, |row| {
                if lock(&self.0.open).contains_key(&row.id) {
                    return false;
                }
                let held = Held { class, end: row.end, bytes: row.bytes };
                let Some(reason) = sweep.judge(&held) else { return true };
                goes.push((row.clone(), reason));
                goes.len() >= ROUND_MAX
            })?;
        }
        goes.truncate(ROUND_MAX);
        Ok(goes)
    }

    /// A clip of which nothing is left, with its event's pictures.
    pub(super) fn remove_event(&self, clip: &ClipRow) -> Result<(), Trouble> {
        for ending in SNAPSHOTS.iter().chain(&[".json"]) {
            self.unlink(&event_file(&clip.camera, clip.event, clip.begin, ending))?;
        }
        Ok(())
    }

    pub(super) fn unlink(&self, path: &Path) -> Result<(), Trouble> {
        let path = self.0.root.join(path);
        self.0.progress.fetch_add(1, Ordering::Relaxed);
        missing_is_fine(std::fs::remove_file(&path)).map_err(|error| Trouble::of(&error, &path))
    }

    fn show(&self, index: &Index) {
        let usage = index.usage();
        for class in Class::ALL {
            let bytes = usage.of_class(class) as f64;
            metrics::gauge!("watchtree_recording_disk_bytes", "class" => class.as_str()).set(bytes);
        }
    }
}

fn missing_is_fine(done: io::Result<()>) -> io::Result<()> {
    done.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
