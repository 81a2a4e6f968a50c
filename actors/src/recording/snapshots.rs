//! Snapshots: the best picture of each event, as JPEG files.
//!
//!   tracking ──best frame──▶ [snapshots] ──▶ DIR/YYYY-MM-DD/CAMERA/EVENT.jpg, EVENT-crop.jpg, EVENT-thumb.jpg
//!
//! The day is that of the event's begin in UTC, which its id tells too. A file is written under another name and
//! renamed, the whole picture last: if it is there, so are the others.
//!
//! Stops when: it panics.  On restart: what waited is written.  A disk that fails costs snapshots, which are counted,
//! and nothing else: who hands one over never waits.

pub mod best;
mod jpeg;
pub mod picture;

use picture::Picture;
use protocol::camera::Frame;
use protocol::{CameraId, EventId, Timestamp};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Frames of all cameras that wait to be written, at 0.8 MB each. When full, a snapshot is not taken, and counted.
const SHOTS_WAITING_MAX: usize = 16;
/// What waits when the node stops is written for so long.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// Takes frames to be written. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Snapshots(Option<Arc<Shared>>);

struct Shared {
    dir: PathBuf,
    settings: std::sync::Mutex<config::recording::Snapshots>,
    shots: mpsc::Sender<Job>,
    /// Held by the service while it runs.
    jobs: Mutex<mpsc::Receiver<Job>>,
}

struct Job {
    shot: Shot,
    done: oneshot::Sender<bool>,
}

/// A frame that shows an event.
#[derive(Debug, Clone)]
pub struct Shot {
    pub camera: CameraId,
    pub event: EventId,
    pub frame: Arc<Frame>,
    /// Where in it, as fractions.
    pub area: [f32; 4],
}

/// What is written of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The frame, with a box if so configured.
    Whole,
    /// What it shows, and a margin.
    Crop,
    /// The whole, small.
    Thumbnail,
}

impl Cut {
    /// In the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Thumbnail, Self::Crop, Self::Whole];

    fn ending(self) -> &'static str {
        match self {
            Self::Whole => ".jpg",
            Self::Crop => "-crop.jpg",
            Self::Thumbnail => "-thumb.jpg",
        }
    }
}

impl Snapshots {
    /// In the directory of recordings.
    pub fn new(dir: PathBuf, settings: config::recording::Snapshots) -> Self {
        let (shots, jobs) = mpsc::channel(SHOTS_WAITING_MAX);
        let settings = std::sync::Mutex::new(settings);
        Self(Some(Arc::new(Shared { dir, shots, jobs: Mutex::new(jobs), settings })))
    }

    /// None are taken.
    pub fn off() -> Self {
        Self(None)
    }

    pub fn enabled(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.settings().enabled)
    }

    /// From the next one on.
    pub fn set(&self, settings: config::recording::Snapshots) {
        if let Some(shared) = &self.0 {
            *shared.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        }
    }

    /// Hands a frame over to be written; the receiver is told whether the files are there. Takes the place of an
    /// earlier one of the same event.
    pub fn take(&self, shot: Shot) -> oneshot::Receiver<bool> {
        let (done, told) = oneshot::channel();
        if let Some(shared) = &self.0
            && self.enabled()
            && shared.shots.try_send(Job { shot, done }).is_err()
        {
            count("dropped");
        }
        told
    }

    /// For where recordings are served.
    pub fn path(&self, camera: &CameraId, event: EventId, cut: Cut) -> Option<PathBuf> {
        Some(path(&self.0.as_ref()?.dir, camera, event, cut))
    }

    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let Some(shared) = self.0 else {
            cx.place.note("off");
            cx.waits(cx.stop.cancelled()).await;
            return Ok(());
        };
        let mut jobs = shared.jobs.lock().await;
        let mut told = Told::default();
        let mut writing: Option<JoinHandle<io::Result<()>>> = None;
        loop {
            tokio::select! {
                () = cx.stop.cancelled() => break,
                () = cx.asked() => {}
                written = finished(&mut writing) => told.tell(&cx, written),
                // While the disk is slow, they wait, and then are dropped.
                Some(job) = jobs.recv(), if writing.is_none() => writing = Some(shared.start(job)),
            }
        }
        let drain = async {
            loop {
                if writing.is_some() {
                    told.tell(&cx, finished(&mut writing).await);
                }
                let Ok(job) = jobs.try_recv() else { return };
                writing = Some(shared.start(job));
            }
        };
        let _ = cx.waits(tokio::time::timeout(DRAIN_WITHIN, drain)).await;
        Ok(())
    }
}

impl Shared {
    fn settings(&self) -> config::recording::Snapshots {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start(&self, Job { shot, done }: Job) -> JoinHandle<io::Result<()>> {
        let (dir, settings) = (self.dir.clone(), self.settings());
        tokio::task::spawn_blocking(move || {
            let written = write(&dir, &settings, &shot);
            // Nobody may care any more.
            let _ = done.send(written.is_ok());
            written
        })
    }
}

/// What became of the snapshot that is being written; never, if none is.
async fn finished(writing: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let Some(handle) = writing else { return std::future::pending().await };
    let written = handle.await;
    *writing = None;
    written.map_err(io::Error::other).flatten()
}

/// Says when snapshots begin to fail and when they are written again.
#[derive(Default)]
struct Told {
    failing: bool,
    written: u64,
}

impl Told {
    fn tell(&mut self, cx: &ServiceCx, written: io::Result<()>) {
        match written {
            Ok(()) => {
                count("written");
                self.written += 1;
                self.failing = false;
                cx.place.note(format!("{} written", self.written));
            }
            Err(error) => {
                count("failed");
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("snapshots are not written: {error}");
                }
                cx.place.note(format!("not written: {error}"));
            }
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("watchtree_snapshots_total", "outcome" => outcome).increment(1);
}

/// Where a snapshot is: an event's id tells its day.
pub fn path(dir: &Path, camera: &CameraId, event: EventId, cut: Cut) -> PathBuf {
    dir.join(day_of(event)).join(camera.as_str()).join(format!("{event}{}", cut.ending()))
}

/// Where an event's snapshot is, whichever camera it is of. Blocks on the disk.
pub fn find(dir: &Path, event: EventId, cut: Cut) -> Option<PathBuf> {
    let day = day_of(event);
    let cameras = std::fs::read_dir(dir.join(day)).ok()?;
    let files = cameras.filter_map(|camera| Some(camera.ok()?.path().join(format!("{event}{}", cut.ending()))));
    files.take(config::CAMERAS_MAX).find(|file| file.is_file())
}

fn day_of(event: EventId) -> String {
    let begin_ms = i64::try_from(event.0 >> 80).unwrap_or(i64::MAX);
    let begin = Timestamp::from_micros(begin_ms.saturating_mul(1000)).to_string();
    // RFC 3339 begins with it.
    begin.split('T').next().unwrap_or(&begin).to_owned()
}

/// Blocks on the disk.
fn write(dir: &Path, settings: &config::recording::Snapshots, shot: &Shot) -> io::Result<()> {
    let whole = Picture::of(&shot.frame).ok_or_else(|| io::Error::other("a frame without its pixels"))?;
    for cut in Cut::ALL {
        let file = match cut {
            Cut::Whole if settings.draw_box => {
                let mut drawn = whole.clone();
                drawn.draw(shot.area);
                jpeg::encode(&drawn, settings.quality)
            }
            Cut::Whole => jpeg::encode(&whole, settings.quality),
            Cut::Crop => jpeg::encode(&whole.around(shot.area), settings.quality),
            Cut::Thumbnail => {
                jpeg::encode(&whole.no_wider_than(settings.thumbnail_width_px as usize), settings.quality)
            }
        };
        replace(&path(dir, &shot.camera, shot.event, cut), &file)?;
    }
    Ok(())
}

/// All of it or nothing, as far as whoever opens the file can see.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(named)?;
    }
    let draft = path.with_extension("jpg.part");
    let write = || {
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&draft, path)
    };
    write().map_err(|error| {
        // Half a file takes room that others need; if it cannot be removed, the first error says why.
        let _ = std::fs::remove_file(&draft);
        named(error)
    })
}

#[cfg(test)]
mod tests;
