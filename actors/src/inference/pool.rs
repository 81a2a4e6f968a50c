//! Pool: the frames that wait for one model, and the workers that take them.
//!
//!   desk ──judge──▶ [models: which pool?] ──▶ [pool: batcher] ◀──take── worker, worker, …
//!   desk ◀──────────────────outcome───────────────────────────────────────┘

use super::answers::Answers;
use super::batcher::{Batcher, BatcherSettings, OfEdge, Request, Why};
use protocol::telemetry::InferenceFigures;
use protocol::{CameraId, FrameHeader, Identity, Outcome};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

/// A frame waits no longer, whatever its asker says: a claim must not keep a picture in memory for weeks.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Pixels in memory, of all edges together. When full, a frame waits to be read until others are judged,
/// and its sender with it; after the transport's `FRAME_WITHIN` it is given up.
const PIXEL_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The pools of a node, by model. Cheap to clone.
#[derive(Clone)]
pub struct Models {
    pools: Arc<BTreeMap<String, Pool>>,
    first: Option<String>,
    room: Arc<Semaphore>,
    /// Since this node's last telemetry.
    answers: Arc<Answers>,
}

impl Models {
    /// The first pool answers those who name no model.
    pub fn new(pools: Vec<Pool>) -> Self {
        let first = pools.first().map(|pool| pool.model().to_owned());
        let pools = pools.into_iter().map(|pool| (pool.model().to_owned(), pool)).collect();
        let (pools, room) = (Arc::new(pools), Arc::new(Semaphore::new(PIXEL_BYTES_MAX)));
        Self { pools, first, room, answers: Arc::default() }
    }

    /// Room for so many bytes of pixels, once there is; first come, first served.
    pub async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        room(&self.room, bytes).await
    }

    pub async fn judge(&self, edge: &Identity, header: FrameHeader, pixels: Vec<u8>) -> Outcome {
        self.answers.asked();
        let asked = header.model.as_ref().or(self.first.as_ref());
        match asked.and_then(|model| self.pools.get(model)) {
            Some(pool) => {
                let began = Instant::now();
                let outcome = pool.judge(edge, header, pixels).await;
                if matches!(outcome, Outcome::Ok { .. }) {
                    self.answers.took(began.elapsed());
                }
                outcome
            }
            None => {
                let there = self.pools.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let asked = asked.map_or("any model", String::as_str);
                Outcome::Failed { reason: format!("this gpu node does not have {asked}; it has: {there}") }
            }
        }
    }

    /// For telemetry, which is the one that asks: the mean is of the answers since it last did.
    pub fn figures(&self) -> InferenceFigures {
        self.answers.figures(self.pools().map(Pool::waiting).sum::<usize>() as u64)
    }

    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values()
    }
}

/// Frames that wait for one model. Cheap to clone; outlives its workers.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

type CameraKey = (Identity, CameraId);

impl OfEdge for CameraKey {
    type Edge = Identity;
    fn edge(&self) -> &Identity {
        &self.0
    }
}

struct Shared {
    model: String,
    began: Instant,
    ids: AtomicU64,
    queue: Mutex<Batcher<CameraKey, Job>>,
    offered: Notify,
    workers: Mutex<Workers>,
    /// What all workers together spent judging, in microseconds.
    busy_us: AtomicU64,
}

struct Workers {
    ready: usize,
    /// Why there is none, as last known.
    reason: String,
}

/// A frame on its way to a worker.
pub struct Job {
    id: u64,
    pub header: FrameHeader,
    pub pixels: Vec<u8>,
    reply: oneshot::Sender<Outcome>,
}

impl Job {
    /// Whoever asked may be gone; that is not the worker's concern.
    pub fn answer(self, outcome: Outcome) {
        let _ = self.reply.send(outcome);
    }
}

impl Pool {
    pub fn new(model: String, settings: BatcherSettings) -> Self {
        Self(Arc::new(Shared {
            model,
            began: Instant::now(),
            ids: AtomicU64::new(0),
            queue: Mutex::new(Batcher::new(settings)),
            offered: Notify::new(),
            workers: Mutex::new(Workers { ready: 0, reason: "its workers have not started".to_owned() }),
            busy_us: AtomicU64::new(0),
        }))
    }

    pub fn model(&self) -> &str {
        &self.0.model
    }

    /// Why no worker takes frames, or `None`.
    pub fn idle_reason(&self) -> Option<String> {
        let workers = lock(&self.0.workers);
        (workers.ready == 0).then(|| workers.reason.clone())
    }

    /// The frame's one outcome.
    pub async fn judge(&self, edge: &Identity, header: FrameHeader, pixels: Vec<u8>) -> Outcome {
        if let Some(reason) = self.idle_reason() {
            return Outcome::Failed { reason: format!("no worker for {}: {reason}", self.0.model) };
        }
        let (reply, answer) = oneshot::channel();
        let id = self.0.ids.fetch_add(1, Ordering::Relaxed);
        let patience = patience(&header);
        let request = Request {
            camera: (edge.clone(), header.camera.clone()),
            priority: header.priority,
            deadline: self.now() + patience,
            payload: Job { id, header, pixels, reply },
        };
        let given_up = self.queue().offer(self.now(), request);
        self.0.offered.notify_one();
        for (job, why) in given_up {
            job.answer(match why {
                Why::Shed => Outcome::Shed,
                Why::Expired => Outcome::Expired,
            });
        }
        let mut queued = Queued { pool: self, id, answered: false };
        let answer = timeout(patience, answer).await;
        queued.answered = answer.is_ok();
        match answer {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Failed { reason: "the worker died with this frame in hand".to_owned() },
            Err(_) => Outcome::Expired,
        }
    }

    /// Waits for the next batch. Safe to drop while it waits.
    pub async fn take(&self) -> Vec<Job> {
        loop {
            let offered = self.0.offered.notified();
            let taken = self.queue().take(self.now());
            for job in taken.expired {
                job.answer(Outcome::Expired);
            }
            if !taken.batch.is_empty() {
                if taken.wake_at.is_some() {
                    // Frames are left: another worker that saw an empty queue may sleep.
                    self.0.offered.notify_one();
                }
                return taken.batch;
            }
            match taken.wake_at {
                Some(at) => drop(timeout(at.saturating_sub(self.now()), offered).await),
                None => offered.await,
            }
        }
    }

    /// A worker is ready for as long as it holds this.
    pub fn ready(&self) -> Ready {
        lock(&self.0.workers).ready += 1;
        self.0.offered.notify_one();
        Ready(self.clone())
    }

    /// Told to those who ask while there is no worker.
    pub fn not_ready(&self, reason: impl Into<String>) {
        lock(&self.0.workers).reason = reason.into();
    }

    /// A worker has judged for so long.
    pub fn judged_for(&self, time: Duration) {
        self.0.busy_us.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// The time of all its workers that was spent judging, since the node began.
    pub fn busy(&self) -> Duration {
        Duration::from_micros(self.0.busy_us.load(Ordering::Relaxed))
    }

    /// Workers that take frames.
    pub fn workers(&self) -> usize {
        lock(&self.0.workers).ready
    }

    pub fn waiting(&self) -> usize {
        self.queue().len()
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    fn queue(&self) -> MutexGuard<'_, Batcher<CameraKey, Job>> {
        lock(&self.0.queue)
    }
}

/// A frame that may still wait in the queue. Its asker gone or its time over, it leaves it.
struct Queued<'a> {
    pool: &'a Pool,
    id: u64,
    answered: bool,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.pool.queue().cancel(|job| job.id == self.id);
        }
    }
}

/// Never `None` while the semaphore is open, and nobody closes one.
pub(super) async fn room(of: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    of.clone().acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX)).await.ok()
}

fn patience(header: &FrameHeader) -> Duration {
    Duration::from_millis(header.deadline_ms.into()).min(PATIENCE_MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`Pool::ready`].
pub struct Ready(Pool);

impl Drop for Ready {
    fn drop(&mut self) {
        let mut workers = lock(&self.0.0.workers);
        workers.ready -= 1;
        workers.reason = "its worker stopped".to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::super::batcher::PER_CAMERA_FRAMES_MAX;
    use super::*;
    use protocol::{Epoch, Priority, Timestamp};
    use std::num::NonZeroUsize;

    fn pool() -> Pool {
        let queue_frames_max = NonZeroUsize::new(16).expect("not zero");
        Pool::new(
            "people".to_owned(),
            BatcherSettings {
                batch_max: NonZeroUsize::MIN,
                wait_max: Duration::ZERO,
                queue_frames_max,
                per_camera_max: PER_CAMERA_FRAMES_MAX,
            },
        )
    }

    fn header(deadline_ms: u32) -> FrameHeader {
        FrameHeader {
            asker: Epoch(7),
            seq: 1,
            camera: "door".parse().expect("a name"),
            captured: Timestamp::from_micros(1),
            deadline_ms,
            priority: Priority::Normal,
            model: None,
            width: 2,
            height: 2,
        }
    }

    fn yard() -> Identity {
        "main/edge/yard".parse().expect("an identity")
    }

    #[tokio::test]
    async fn a_frame_whose_asker_is_gone_leaves_the_queue() {
        let pool = pool();
        let _ready = pool.ready();
        let edge = yard();
        let asking = timeout(Duration::from_millis(20), pool.judge(&edge, header(60_000), vec![0; 6]));
        assert!(asking.await.is_err());
        assert_eq!(pool.waiting(), 0);
    }

    #[tokio::test]
    async fn a_frame_is_read_when_there_is_room_for_its_pixels() {
        let models = Models::new(vec![pool()]);
        let all = models.room(PIXEL_BYTES_MAX).await;
        let next = timeout(Duration::from_millis(20), models.room(1));
        assert!(next.await.is_err());
        drop(all);
        assert!(models.room(1).await.is_some());
    }

    #[test]
    fn no_frame_waits_longer_than_the_limit() {
        assert_eq!(patience(&header(500)), Duration::from_millis(500));
        assert_eq!(patience(&header(u32::MAX)), PATIENCE_MAX);
    }
}
