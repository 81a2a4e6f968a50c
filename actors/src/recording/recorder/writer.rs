//! Writer: one camera's open take. All of it may wait for the disk, and runs on a thread where that is no matter.

use crate::media::fmp4::{Head, Part, Take, TakeId};
use crate::recording::footage::Footage;
use crate::recording::footage::ring::Next;
use crate::recording::index::Index;
use crate::recording::library::{Library, OpenTake, finish, lock, sha256, sync_dir};
use crate::recording::plan::Wish;
use crate::recording::rows::{Class, ClipRow, TakeFormat, TakeRow};
use crate::recording::trouble::{self, Trouble, TroubleKind};
use protocol::{CameraId, EventId, Timestamp};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Between two looks while there is something to finish.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Written in one turn, before the rest is looked at. A second of footage each.
const PIECES_MAX: usize = 32;
/// A power cut costs no more than this.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// A wall clock that is off by more since the take's begin was set: its times would be wrong.
const DRIFT_MAX: Duration = Duration::from_secs(2);

pub(super) struct Writer {
    camera: CameraId,
    footage: Footage,
    library: Library,
    segment: Duration,
    open: Option<Open>,
    /// Events whose begin is written down.
    told: BTreeSet<EventId>,
}

struct Open {
    take: Arc<Mutex<Take>>,
    row: TakeRow,
    file: File,
    path: PathBuf,
    /// The last piece.
    tail: u64,
    /// Where the group of pictures that is being written began.
    group_at: Duration,
    /// When what is not yet known to be on the disk was written.
    unsynced: Option<Instant>,
}

/// What is to be done next.
pub(super) enum Turn {
    More,
    /// A take is open, or a clip is to be made: soon again.
    Open,
    /// Nothing, until there is something to write.
    Idle,
}

impl Turn {
    /// Until the next, if there is nothing to write before that.
    pub fn pause(&self) -> Option<Duration> {
        match self {
            Self::More => Some(Duration::ZERO),
            Self::Open => Some(LOOK_EVERY),
            Self::Idle => None,
        }
    }

    pub fn note(&self) -> &'static str {
        match self {
            Self::More | Self::Open => "records",
            Self::Idle => "nothing to record",
        }
    }
}

impl Writer {
    pub fn new(camera: CameraId, footage: Footage, library: Library, segment: Duration) -> Self {
        Self { camera, footage, library, segment, open: None, told: BTreeSet::new() }
    }

    /// Writes what there is to write. `tries`: the disk failed a while ago.
    pub fn turn(&mut self, now: Timestamp, tries: bool) -> Result<Turn, Trouble> {
        let index = self.ready()?;
        if tries {
            trouble::probe(self.library.root())?;
        }
        let more = self.write_what_is_wanted(&index)?;
        if self.open.as_ref().is_some_and(|open| !more && !self.footage.may_follow(open.tail)) {
            self.finish(&index)?;
        }
        self.sync(SYNC_EVERY)?;
        let waits = self.make_clips(&index, now)?;
        Ok(match (more, waits || self.open.is_some()) {
            (true, _) => Turn::More,
            (false, true) => Turn::Open,
            (false, false) => Turn::Idle,
        })
    }

    fn ready(&mut self) -> Result<Arc<Index>, Trouble> {
        self.library.ready().inspect_err(|trouble| {
            if trouble.kind == TroubleKind::Gone {
                // Its file is not where it is looked for.
                self.give_up();
            }
        })
    }

    /// The node stops.
    pub fn close(&mut self, now: Timestamp) -> Result<(), Trouble> {
        let index = self.ready()?;
        while self.write_what_is_wanted(&index)? {}
        self.finish(&index)?;
        self.make_clips(&index, now)?;
        // Nothing more of these comes; whoever tells that they end may be stopped later.
        for wish in &self.footage.clips(now).0 {
            if let Some(clip) = self.clip(&index, wish, false)? {
                self.library.put_clip(&index, &clip)?;
            }
        }
        self.library.go_on(&self.camera, Vec::new());
        Ok(())
    }

    /// The take is left as it is: the library mends it.
    pub fn give_up(&mut self) {
        if let Some(open) = self.open.take() {
            self.library.take_closed(open.row.id, false);
        }
    }

    /// Whether there is more.
    fn write_what_is_wanted(&mut self, index: &Index) -> Result<bool, Trouble> {
        for _ in 0..PIECES_MAX {
            let Some(next) = self.footage.next(self.open.as_ref().map(|open| open.tail)) else { return Ok(false) };
            self.write(index, &next)?;
            self.footage.wrote(next.seq);
        }
        Ok(true)
    }

    fn write(&mut self, index: &Index, next: &Next) -> Result<(), Trouble> {
        let fits = next.continues && self.open.as_ref().is_some_and(|open| open.takes(next, self.segment));
        if !fits {
            let before = self.finish(index)?;
            self.begin(index, next, before.filter(|_| next.continues))?;
        }
        let open = self.open.as_mut().expect("it was begun above, or is open");
        let written = open.append(next).map_err(|error| Trouble::of(&error, &open.path));
        if let Err(trouble) = written {
            let is_empty = lock(&open.take).fragments().is_empty();
            if open.undo().is_err() || is_empty {
                self.give_up();
            }
            return Err(trouble);
        }
        metrics::counter!("watchtree_recording_written_bytes_total", "camera" => self.camera.to_string())
            .increment(next.fragment.bytes() as u64);
        Ok(())
    }

    fn begin(&mut self, index: &Index, next: &Next, follows: Option<TakeId>) -> Result<(), Trouble> {
        let id = TakeId::new(next.fragment.captured);
        let head = Head::new(&next.fragment, id, follows, self.camera.clone(), (*next.format).clone());
        let row = TakeRow {
            id,
            camera: self.camera.clone(),
            begin: head.begin,
            end: head.begin,
            bytes: 0,
            class: next.class,
            sha256: None,
            format: TakeFormat::from(&*next.format),
        };
        let (begin, take) = (head.begin, Take::new(head));
        let bytes = take.head_bytes();
        let take = Arc::new(Mutex::new(take));
        // Before the file is there: nobody is to mend it, or to remove its folder.
        self.library.take_opened(id, OpenTake { take: take.clone(), row: row.clone() });
        let path = self.library.root().join(row.path());
        let made = self.library.make_folder(&self.camera, begin).and_then(|folder| {
            let made = make_file(&path, &bytes).and_then(|file| sync_dir(&folder).map(|()| file));
            let file = made.map_err(|error| Trouble::of(&error, &path))?;
            index.put(&row).map_err(|error| self.library.failed(&error))?;
            Ok(file)
        });
        let file = made.inspect_err(|_| {
            let removed = std::fs::remove_file(&path);
            let is_gone = removed.is_ok() || !path.exists();
            self.library.take_closed(id, is_gone);
        })?;
        self.open = Some(Open {
            take,
            row,
            file,
            path,
            tail: next.seq,
            group_at: Duration::ZERO,
            unsynced: Some(Instant::now()),
        });
        Ok(())
    }

    /// The take becomes a whole file. Its id, if one was open.
    fn finish(&mut self, index: &Index) -> Result<Option<TakeId>, Trouble> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let take = lock(&open.take).clone();
        let hashed = finish(&open.file, &take, open.row.class.kind()).and_then(|()| sha256(&mut open.file));
        let hash = hashed.map_err(|error| Trouble::of(&error, &open.path))?;
        let id = open.row.id;
        let row = TakeRow { end: take.end(), bytes: take.bytes(), sha256: Some(hash), ..open.row.clone() };
        // An event may have claimed it meanwhile.
        let class = index.take(id).map(|row| row.map_or(Class::Continuous, |row| row.class));
        let class = class.map_err(|error| self.library.failed(&error))?.max(row.class);
        index.put(&TakeRow { class, ..row }).map_err(|error| self.library.failed(&error))?;
        self.library.take_closed(id, true);
        self.open = None;
        metrics::counter!("watchtree_recording_takes_total", "camera" => self.camera.to_string()).increment(1);
        Ok(Some(id))
    }

    fn sync(&mut self, every: Duration) -> Result<(), Trouble> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.unsynced.is_some_and(|since| since.elapsed() >= every) {
            open.file.sync_data().map_err(|error| Trouble::of(&error, &open.path))?;
            open.unsynced = None;
        }
        Ok(())
    }

    /// Whether some are still to come.
    fn make_clips(&mut self, index: &Index, now: Timestamp) -> Result<bool, Trouble> {
        let (on, over) = self.footage.clips(now);
        let mut going_on = Vec::new();
        for wish in &on {
            let Some(clip) = self.clip(index, wish, true)? else { continue };
            if self.told.insert(clip.event) {
                self.library.put_clip(index, &clip)?;
            }
            going_on.push(clip);
        }
        for wish in &over {
            let event = wish.mark.event;
            let clip = self.clip(index, wish, false)?;
            if let Some(clip) = &clip {
                // It is promised to be there.
                self.sync(Duration::ZERO)?;
                self.library.put_clip(index, clip)?;
                metrics::counter!("watchtree_recording_clips_total", "camera" => self.camera.to_string()).increment(1);
            }
            self.footage.made(event, clip.is_some());
            self.told.remove(&event);
        }
        self.library.go_on(&self.camera, going_on);
        Ok(self.footage.has_events())
    }

    fn clip(&self, index: &Index, wish: &Wish, goes_on: bool) -> Result<Option<ClipRow>, Trouble> {
        let failed = |error| self.library.failed(&error);
        let mut takes = index.takes_of(&self.camera, wish.from, wish.to).map_err(failed)?;
        let open = self.open.as_ref().map(|open| (open.row.id, open.row.begin, lock(&open.take).end()));
        if let Some((id, ..)) = open.filter(|(_, begin, end)| *begin <= wish.to && *end > wish.from)
            && !takes.contains(&id)
        {
            takes.push(id);
        }
        let span = |id: TakeId| -> Result<Option<(Timestamp, Timestamp)>, Trouble> {
            match open.filter(|(of, ..)| *of == id) {
                Some((_, begin, end)) => Ok(Some((begin, end))),
                None => Ok(index.take(id).map_err(failed)?.map(|row| (row.begin, row.end))),
            }
        };
        let (Some(first), Some(last)) = (takes.first(), takes.last()) else { return Ok(None) };
        let (Some((begin, _)), Some((_, end))) = (span(*first)?, span(*last)?) else { return Ok(None) };
        Ok(Some(ClipRow {
            event: wish.mark.event,
            camera: self.camera.clone(),
            label: wish.mark.label.clone(),
            begin: wish.mark.begin,
            end: wish.mark.last_seen,
            from: wish.from.max(begin),
            to: wish.to.min(end),
            takes,
            goes_on,
        }))
    }
}

impl Open {
    /// Whether it may go on with this.
    fn takes(&self, next: &Next, segment: Duration) -> bool {
        if !next.fragment.key {
            return true;
        }
        let take = lock(&self.take);
        let (so_far, end) = (take.duration(), take.end());
        let drift = end.since(next.fragment.captured).max(next.fragment.captured.since(end));
        let group = so_far.saturating_sub(self.group_at);
        so_far + group <= segment && drift <= DRIFT_MAX && self.row.format == TakeFormat::from(&*next.format)
    }

    fn append(&mut self, next: &Next) -> io::Result<()> {
        let take = lock(&self.take);
        if next.fragment.key {
            self.group_at = take.duration();
        }
        let Part { header, payload, info } = take.part(&next.fragment);
        // Readers of the take's books wait for no disk.
        drop(take);
        write_both(&mut self.file, &header, &payload)?;
        lock(&self.take).wrote(info);
        self.tail = next.seq;
        self.row.class = self.row.class.max(next.class);
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// What was written in part is no part of it.
    fn undo(&mut self) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        let bytes = lock(&self.take).bytes();
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes)).map(drop)
    }
}

fn make_file(path: &std::path::Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn write_both(file: &mut File, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let written = file.write_vectored(&[IoSlice::new(header), IoSlice::new(payload)])?;
    let in_header = written.min(header.len());
    file.write_all(&header[in_header..])?;
    file.write_all(&payload[written - in_header..])
}
