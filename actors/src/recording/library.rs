//! Library: all recordings of an edge: where they are, how much they take, what goes, and what is wrong with their disk.
//!
//!   recorders ──takes, clips──▶ [library: index] ──clip, take──▶ http, relay
//!                                 │ mends what was cut, makes room
//!                                 ▼
//!                               files
//!
//! Belongs to no actor: recorders write through it on threads of their own, and whoever reads does so at the same time.
//! The service opens the index, mends, and makes room, again and again.
//!
//! Stops when: it panics.  On restart: goes on. A disk that fails is no failure: the library says so, and tries again.

mod mend;
mod tidy;

pub(super) use self::mend::{finish, sha256, sync_dir};
use super::index::{Index, Usage};
use super::rows::{ClipRow, TakeId, TakeRow};
use super::space::Limits;
use super::trouble::{self, Place, Trouble, TroubleKind};
use crate::events::disk::FileError;
use crate::media::fmp4::Take;
use protocol::{CameraId, EventId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

/// Between two looks at what has to go.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at a disk that failed. Recording is to go on within 5 s of it being well.
const TEND_AGAIN: Duration = Duration::from_secs(1);
/// Between two, whoever asks.
const TEND_PAUSE: Duration = Duration::from_millis(200);
/// A disk that gets nothing done for so long does not answer.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// As long as an index with rows of a month takes.
const OPENS_WITHIN: Duration = Duration::from_secs(5);

/// Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Library(Arc<Inner>);

struct Inner {
    root: PathBuf,
    limits: Mutex<Limits>,
    state: Mutex<State>,
    /// The index was opened, or could not be.
    opened: Condvar,
    /// Takes that are being written: they are not mended, and do not go.
    open: Mutex<BTreeMap<TakeId, OpenTake>>,
    /// Clips of events that go on.
    going_on: Mutex<BTreeMap<EventId, ClipRow>>,
    /// Which cameras' recorders wait, and for what.
    parked: Mutex<BTreeMap<CameraId, Trouble>>,
    /// Held by whoever tends it: one that hangs with its disk is waited for.
    tending: Mutex<()>,
    /// There may be something to do.
    tend: Notify,
    /// There is room again, or the disk is back.
    well: Notify,
    /// Files looked at, by whoever tends it.
    progress: AtomicU64,
}

#[derive(Default)]
struct State {
    index: Option<Arc<Index>>,
    /// Of the directory that the index is in.
    place: Option<Place>,
    /// The directory was there once: it is not made again, as its disk may be away.
    was_there: bool,
    /// Files and index may differ.
    stale: bool,
    /// The index is no use, and is moved away.
    broken: bool,
    /// Why there is no index.
    trouble: Option<Trouble>,
}

/// A take while it is written.
#[derive(Clone)]
pub(super) struct OpenTake {
    pub take: Arc<Mutex<Take>>,
    pub row: TakeRow,
}

/// A lock that is only held for work that cannot panic half-way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Library {
    /// Of what is below `root`, with these limits.
    pub fn new(root: PathBuf, limits: Limits) -> Self {
        let state = State { stale: true, ..State::default() };
        Self(Arc::new(Inner {
            root,
            limits: Mutex::new(limits),
            state: Mutex::new(state),
            opened: Condvar::new(),
            open: Mutex::default(),
            going_on: Mutex::default(),
            parked: Mutex::default(),
            tending: Mutex::default(),
            tend: Notify::new(),
            well: Notify::new(),
            progress: AtomicU64::new(0),
        }))
    }

    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// How long and how much, from now on.
    pub fn retain(&self, limits: Limits) {
        *lock(&self.0.limits) = limits;
        self.0.tend.notify_one();
    }

    fn limits(&self) -> Limits {
        lock(&self.0.limits).clone()
    }

    /// For health: that recordings are kept, or of which cameras they are not, and why.
    pub fn finding(&self) -> Result<String, String> {
        let parked = lock(&self.0.parked);
        if let Some((camera, trouble)) = parked.iter().next() {
            let others =
                if parked.len() > 1 { format!(" (and {} more cameras)", parked.len() - 1) } else { String::new() };
            return Err(format!("{camera}{others}: nothing is recorded: {trouble}"));
        }
        drop(parked);
        let state = lock(&self.0.state);
        match (&state.trouble, &state.index) {
            (Some(trouble), _) => Err(trouble.to_string()),
            (None, Some(index)) => Ok(format!("{} MiB of recordings", index.usage().total() >> 20)),
            (None, None) => Ok("recordings are being opened".to_owned()),
        }
    }

    /// On the disk, finished and not.
    pub fn bytes(&self) -> u64 {
        self.usage().total() + lock(&self.0.open).values().map(|open| lock(&open.take).bytes()).sum::<u64>()
    }

    /// The same of one camera: telemetry's `storage_bytes`.
    pub fn bytes_of(&self, camera: &CameraId) -> u64 {
        let open = lock(&self.0.open);
        let of_camera = open.values().filter(|open| open.row.camera == *camera);
        self.usage().of_camera(camera) + of_camera.map(|open| lock(&open.take).bytes()).sum::<u64>()
    }

    fn usage(&self) -> Usage {
        lock(&self.0.state).index.as_ref().map_or_else(Usage::default, |index| index.usage())
    }

    /// The service.
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut told = String::new();
        loop {
            let Some(tended) = self.tend(&cx).await? else { return Ok(()) };
            let pause = match &tended {
                Ok(true) => Duration::ZERO,
                Ok(false) => TEND_EVERY,
                Err(_) => TEND_AGAIN,
            };
            let note = tended.map_or_else(|trouble| trouble.to_string(), |_| self.finding().unwrap_or_else(|why| why));
            if note != told {
                told = note;
                cx.place.note(told.clone());
            }
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    // Not more often than this, whoever asks for room.
                    () = self.0.tend.notified() => {
                        cx.waits(tokio::time::sleep(TEND_PAUSE.min(pause))).await;
                        break;
                    }
                    () = cx.asked() => {}
                    () = cx.stop.cancelled() => return Ok(()),
                }
            }
        }
    }

    /// Whether there is more to do at once. `None`: the node stops.
    async fn tend(&self, cx: &ServiceCx) -> Result<Option<Result<bool, Trouble>>, Failure> {
        let library = self.clone();
        let mut work = tokio::task::spawn_blocking(move || library.tend_now());
        let mut seen = (self.0.progress.load(Ordering::Relaxed), Instant::now());
        let mut look = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                done = &mut work => return done.map(Some).map_err(Failure::panic),
                _ = look.tick() => {
                    let progress = self.0.progress.load(Ordering::Relaxed);
                    if progress != seen.0 {
                        seen = (progress, Instant::now());
                    } else if seen.1.elapsed() > ANSWERS_WITHIN {
                        cx.place.note(Trouble::slow(&self.0.root, ANSWERS_WITHIN).to_string());
                    }
                }
                () = cx.asked() => {}
                // A disk that hangs keeps no node from stopping.
                () = cx.stop.cancelled() => return Ok(None),
            }
        }
    }
}

/// For recorders and those who tend it. All of it may wait for the disk.
impl Library {
    /// What is needed to write, or why it cannot be done.
    pub(super) fn ready(&self) -> Result<Arc<Index>, Trouble> {
        let inner = &*self.0;
        let (index, was) = self.opened()?;
        let here = trouble::place(&inner.root);
        if here.as_ref().ok() != was.as_ref() {
            let trouble = here.err().unwrap_or_else(|| self.is_another());
            self.lose(trouble.clone(), false);
            return Err(trouble);
        }
        let (free, limits) = (trouble::free(&inner.root)?, self.limits());
        if free < limits.free_bytes_wanted() {
            inner.tend.notify_one();
        }
        if free < limits.free_bytes_min {
            return Err(Trouble::new(
                TroubleKind::Full,
                format!(
                    "{}: {} MiB are free on its disk, retain.free_min_mib keeps {}; make room there, or lower it",
                    inner.root.display(),
                    free >> 20,
                    limits.free_bytes_min >> 20
                ),
            ));
        }
        Ok(index)
    }

    /// The index, for who only reads.
    pub(super) fn index(&self) -> Result<Arc<Index>, Trouble> {
        self.opened().map(|(index, _)| index)
    }

    /// At the node's start, others are there before the index is.
    fn opened(&self) -> Result<(Arc<Index>, Option<Place>), Trouble> {
        let waits = |state: &mut State| state.index.is_none() && state.trouble.is_none();
        let waited = self.0.opened.wait_timeout_while(lock(&self.0.state), OPENS_WITHIN, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (&state.index, &state.trouble) {
            (Some(index), _) => Ok((index.clone(), state.place)),
            (None, Some(trouble)) => Err(trouble.clone()),
            (None, None) => {
                let text = format!("{} is not open after {OPENS_WITHIN:?}", self.0.root.display());
                Err(Trouble::new(TroubleKind::Slow, text))
            }
        }
    }

    fn is_another(&self) -> Trouble {
        let text = format!("{} is another directory than before", self.0.root.display());
        Trouble::new(TroubleKind::Gone, text)
    }

    /// The index is closed, to be opened again by whoever tends it.
    fn lose(&self, trouble: Trouble, broken: bool) {
        let mut state = lock(&self.0.state);
        if state.trouble.is_none() {
            warn!("recordings: {trouble}");
        }
        (state.index, state.stale, state.trouble) = (None, true, Some(trouble));
        state.broken |= broken;
        drop(state);
        self.0.opened.notify_all();
        self.0.tend.notify_one();
    }

    /// What an error of the index means for those who wanted something of it.
    pub(super) fn failed(&self, error: &FileError) -> Trouble {
        let path = self.index_path();
        let trouble = match error.io() {
            Some(io) => Trouble::of(io, &path),
            None => Trouble::new(
                TroubleKind::Failed,
                format!("{}: {error}; it is made again from the files", path.display()),
            ),
        };
        self.lose(trouble.clone(), error.is_broken());
        trouble
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.0.root.join("index.redb")
    }

    /// Opens the index if it is not: a new one where there is none, or where there is no use in it.
    fn open_index(&self) -> Result<Arc<Index>, Trouble> {
        let here = self.find_root()?;
        let mut state = lock(&self.0.state);
        if let (Some(index), true) = (&state.index, state.place == Some(here)) {
            return Ok(index.clone());
        }
        let broken = std::mem::take(&mut state.broken);
        (state.index, state.stale) = (None, true);
        // Readers of what is there need not wait while it is opened.
        drop(state);
        let path = self.index_path();
        let opened = if broken {
            Err(FileError::Broken("it failed while it was in use".to_owned()))
        } else {
            Index::open(&path)
        };
        let opened = opened.or_else(|error| {
            if !error.is_broken() {
                return Err(error);
            }
            warn!("{}: {error}; it is made again from the files", path.display());
            std::fs::rename(&path, path.with_extension("broken"))?;
            Index::open(&path)
        });
        let index = opened.map(Arc::new).map_err(|error| self.failed(&error))?;
        let mut state = lock(&self.0.state);
        if state.trouble.take().is_some() {
            info!("recordings: {} is well again", self.0.root.display());
        }
        (state.index, state.place, state.was_there) = (Some(index.clone()), Some(here), true);
        drop(state);
        self.0.opened.notify_all();
        self.0.well.notify_waiters();
        Ok(index)
    }

    fn find_root(&self) -> Result<Place, Trouble> {
        let root = &self.0.root;
        if !lock(&self.0.state).was_there {
            std::fs::create_dir_all(root).map_err(|error| self.without_root(Trouble::of(&error, root)))?;
        }
        trouble::place(root).map_err(|trouble| self.without_root(trouble))
    }

    fn without_root(&self, trouble: Trouble) -> Trouble {
        self.lose(trouble.clone(), false);
        trouble
    }

    pub(super) fn take_opened(&self, id: TakeId, open: OpenTake) {
        lock(&self.0.open).insert(id, open);
    }

    /// It is finished, or there is none; else what is on the disk is to be mended.
    pub(super) fn take_closed(&self, id: TakeId, is_well: bool) {
        lock(&self.0.open).remove(&id);
        if !is_well {
            lock(&self.0.state).stale = true;
            self.0.tend.notify_one();
        }
    }

    pub(super) fn open_take(&self, id: TakeId) -> Option<OpenTake> {
        lock(&self.0.open).get(&id).cloned()
    }

    /// The clips of this camera's events that go on, in place of those of before.
    pub(super) fn go_on(&self, camera: &CameraId, clips: Vec<ClipRow>) {
        let mut going_on = lock(&self.0.going_on);
        going_on.retain(|_, clip| clip.camera != *camera);
        going_on.extend(clips.into_iter().map(|clip| (clip.event, clip)));
    }

    pub(super) fn going_on(&self, event: EventId) -> Option<ClipRow> {
        lock(&self.0.going_on).get(&event).cloned()
    }

    /// Returns when it is worth to try again.
    pub(super) async fn well(&self) {
        self.0.well.notified().await;
    }

    /// A camera's recorder waits for this, or goes on.
    pub(super) fn park(&self, camera: &CameraId, trouble: Option<&Trouble>) {
        let mut parked = lock(&self.0.parked);
        match trouble {
            Some(trouble) => parked.insert(camera.clone(), trouble.clone()),
            None => parked.remove(camera),
        };
    }
}
