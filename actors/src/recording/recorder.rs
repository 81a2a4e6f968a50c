//! Recorder: what is wanted of one camera's footage, onto the disk.
//!
//!   [footage: ring] ──pieces──▶ [recorder: writer, on a thread of its own] ──▶ takes, clips ──▶ library
//!
//! Stops when: it panics.  On restart: writes what is still in the ring; the take that was open is mended by the library.
//! A disk that is full, slow, read-only or gone: nothing is written, the ring goes on, and the disk is tried again and
//! again; the tree and health say why.

#[cfg(test)]
pub(in crate::recording) mod testing;
#[cfg(test)]
mod tests;
mod writer;

use super::footage::Footage;
use super::library::{ANSWERS_WITHIN, Library};
use super::trouble::{Trouble, TroubleKind};
use crate::camera::board::Status;
use protocol::{CameraId, Timestamp};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};
use writer::{LOOK_EVERY, Writer};

/// Between two tries at a disk that failed.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// In words, no more often than this.
const LOSS_TOLD_EVERY: Duration = Duration::from_secs(10);

/// One camera's. Cheap to clone; the same for every incarnation.
#[derive(Clone)]
pub struct Recorder {
    camera: CameraId,
    footage: Footage,
    library: Library,
    status: Status,
    /// Held by the thread that writes: one that hangs with its disk is waited for, by successors too.
    writer: Arc<Mutex<Writer>>,
}

enum Stopped {
    InGoodOrder,
    WhileTheDiskHangs,
}

/// What one incarnation remembers.
struct Told {
    trouble: Option<Trouble>,
    /// As the metric shows it; nothing before the first time.
    shown: Option<Option<TroubleKind>>,
    note: String,
    lost_at: Option<Instant>,
    /// Milliseconds that are no whole second yet: counters are whole numbers.
    lost_ms: u64,
}

impl Recorder {
    /// `segment`: of no take more.
    pub fn new(camera: CameraId, footage: Footage, library: Library, segment: Duration, status: Status) -> Self {
        let writer = Writer::new(camera.clone(), footage.clone(), library.clone(), segment);
        Self { camera, footage, library, status, writer: Arc::new(Mutex::new(writer)) }
    }

    /// The service.
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut told = Told { trouble: None, shown: None, note: String::new(), lost_at: None, lost_ms: 0 };
        let stopped = self.record(&mut told, &cx).await?;
        if let Stopped::InGoodOrder = stopped {
            // What is open becomes a whole file.
            let work = self.spawn(|writer| writer.close(Timestamp::now()));
            if let Some(Err(trouble)) = self.wait(work, &mut told, &cx).await? {
                info!(camera = %self.camera, "the last take is not finished: {trouble}");
            }
        }
        // This camera may be one of the past.
        self.library.park(&self.camera, None);
        self.show_parked(&mut told, None);
        Ok(())
    }

    /// Until the node stops.
    async fn record(&self, told: &mut Told, cx: &ServiceCx) -> Result<Stopped, Failure> {
        loop {
            let tries = told.trouble.is_some();
            let work = self.spawn(move |writer| writer.turn(Timestamp::now(), tries));
            let Some(turned) = self.wait(work, told, cx).await? else { return Ok(Stopped::WhileTheDiskHangs) };
            let pause = match turned {
                Ok(turn) => {
                    self.goes_on(told);
                    self.note(told, cx, turn.note());
                    turn.pause()
                }
                Err(trouble) => {
                    self.waits(told, trouble, cx);
                    Some(TRY_EVERY)
                }
            };
            if !self.rest(pause, told, cx).await {
                return Ok(Stopped::InGoodOrder);
            }
        }
    }

    /// Until there is something to do, or so long; without a limit if there is none. `false`: the node stops.
    async fn rest(&self, pause: Option<Duration>, told: &mut Told, cx: &ServiceCx) -> bool {
        let until = pause.map(|pause| Instant::now() + pause);
        let mut report = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = self.footage.work(), if told.trouble.is_none() => return true,
                () = async { tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await }, if until.is_some() => return true,
                () = self.library.well(), if told.trouble.is_some() => return true,
                _ = report.tick(), if told.trouble.is_some() => self.report(told, cx),
                () = cx.asked() => {}
                () = cx.stop.cancelled() => return false,
            }
        }
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, Trouble> + Send + 'static,
    ) -> JoinHandle<Result<T, Trouble>> {
        let (writer, root) = (self.writer.clone(), self.library.root().to_owned());
        tokio::task::spawn_blocking(move || match writer.try_lock() {
            Ok(mut writer) => work(&mut writer),
            // It panicked with the take in its hand, which the library mends.
            Err(std::sync::TryLockError::Poisoned(poisoned)) => {
                let mut held = poisoned.into_inner();
                held.give_up();
                writer.clear_poison();
                work(&mut held)
            }
            Err(std::sync::TryLockError::WouldBlock) => Err(Trouble::slow(&root, ANSWERS_WITHIN)),
        })
    }

    /// For the disk, which may take its time: then it is said. `None`: the node stops before the disk answers.
    async fn wait<T>(
        &self,
        mut work: JoinHandle<Result<T, Trouble>>,
        told: &mut Told,
        cx: &ServiceCx,
    ) -> Result<Option<Result<T, Trouble>>, Failure> {
        let began = Instant::now();
        let mut report = tokio::time::interval(LOOK_EVERY);
        let mut stopped = pin!(stopped_for(cx, STOP_WITHIN));
        loop {
            tokio::select! {
                done = &mut work => {
                    self.report(told, cx);
                    return done.map(Some).map_err(Failure::panic);
                }
                _ = report.tick() => {
                    if began.elapsed() > ANSWERS_WITHIN && told.trouble.is_none() {
                        self.waits(told, Trouble::slow(self.library.root(), ANSWERS_WITHIN), cx);
                    }
                    self.report(told, cx);
                }
                () = cx.asked() => {}
                // A node that stops waits a little for its takes to be finished, and for no disk that hangs.
                () = &mut stopped => return Ok(None),
            }
        }
    }

    fn waits(&self, told: &mut Told, trouble: Trouble, cx: &ServiceCx) {
        if told.trouble.as_ref().map(|before| before.kind) != Some(trouble.kind) {
            warn!(camera = %self.camera, "nothing is recorded: {trouble}");
        }
        self.library.park(&self.camera, Some(&trouble));
        self.show_parked(told, Some(trouble.kind));
        self.note(told, cx, format!("nothing is recorded: {trouble}"));
        told.trouble = Some(trouble);
    }

    fn goes_on(&self, told: &mut Told) {
        if told.trouble.take().is_some() {
            info!(camera = %self.camera, "recording goes on");
        }
        self.library.park(&self.camera, None);
        self.show_parked(told, None);
    }

    fn show_parked(&self, told: &mut Told, why: Option<TroubleKind>) {
        if told.shown.replace(why) == Some(why) {
            return;
        }
        for kind in TroubleKind::ALL {
            let parked = f64::from(u8::from(why == Some(kind)));
            metrics::gauge!("watchtree_recording_parked", "camera" => self.camera.to_string(), "reason" => kind.as_str())
                .set(parked);
        }
    }

    fn note(&self, told: &mut Told, cx: &ServiceCx, note: impl Into<String>) {
        let note = note.into();
        if told.note != note {
            self.status.recording(&note);
            told.note = note;
            cx.place.note(told.note.clone());
        }
    }

    /// The ring, and what it lost.
    fn report(&self, told: &mut Told, cx: &ServiceCx) {
        let camera = || self.camera.to_string();
        metrics::gauge!("watchtree_recording_ring_bytes", "camera" => camera()).set(self.footage.bytes() as f64);
        let lost = self.footage.take_lost();
        if lost.units == 0 {
            return;
        }
        told.lost_ms += u64::try_from(lost.time.as_millis()).unwrap_or(u64::MAX);
        metrics::counter!("watchtree_recording_lost_seconds_total", "camera" => camera())
            .increment(told.lost_ms / 1000);
        metrics::counter!("watchtree_recording_lost_units_total", "camera" => camera()).increment(lost.units);
        told.lost_ms %= 1000;
        if told.lost_at.is_none_or(|at| at.elapsed() > LOSS_TOLD_EVERY) {
            told.lost_at = Some(Instant::now());
            warn!(camera = %self.camera, lost = ?lost.time, "footage that was wanted had to be forgotten: the disk took it too late");
            if told.trouble.is_none() {
                self.note(told, cx, "the disk is too slow: footage is lost");
            }
        }
    }
}

/// Of the time that a service has to stop.
const STOP_WITHIN: Duration = Duration::from_millis(1500);

async fn stopped_for(cx: &ServiceCx, within: Duration) {
    cx.stop.cancelled().await;
    tokio::time::sleep(within).await;
}
