//! Watch: looks at each newest frame, asks a model while something moves or is being tracked.
//!
//!   slot ──▶ [watch] ──moving, or a live track──▶ asker ══▶ gpu
//!               │  └──nothing moves──▶ that is a judgement too
//!               └──verdicts, in the order of the frames──▶ tracking
//!
//! Stops when: it panics.  On restart: motion learns its background anew.

use super::coverage::Coverage;
use super::motion::{Motion, MotionSettings};
use super::slot::Slot;
use crate::inference::asker::{Asker, Judged, Question};
use crate::tracking::{Judgement, Sight, Tracking};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use protocol::camera::Frame;
use protocol::{CameraId, Outcome, Priority, Timestamp};
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::time::Instant;

/// Frames of one camera that may be with a model at once. With all of them out, newer frames
/// replace each other in the slot.
const ASKED_MAX: usize = 2;
/// Frames are still asked about for so long after the last motion: things stop and go on.
const ATTENTION: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Watch {
    pub camera: CameraId,
    pub slot: Slot,
    pub coverage: Coverage,
    pub motion: MotionSettings,
    pub tracking: Tracking,
    /// `None`: no model is configured, and motion alone is reported.
    pub model: Option<Model>,
}

/// Whom to ask, and how.
#[derive(Clone)]
pub struct Model {
    pub asker: Asker,
    pub name: Option<String>,
    pub deadline: Duration,
    pub priority: Priority,
}

impl Watch {
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let mut motion = Motion::new(self.motion);
        let mut moved = None;
        let mut asked = FuturesOrdered::new();
        let mut blind_check = tokio::time::interval(Duration::from_millis(500));
        if self.model.is_none() {
            cx.place.note("motion alone: no model is configured");
        }
        // Where it waits, it waits for tracking, which has its own limit: a full disk there is no hang here.
        loop {
            tokio::select! {
                () = cx.stop.cancelled() => return Ok(()),
                () = cx.asked() => {}
                frame = self.slot.next(), if asked.len() < ASKED_MAX => {
                    let verdict = motion.judge(frame.width as usize, frame.height as usize, luma(&frame));
                    if verdict.moving {
                        moved = Some(Instant::now());
                    }
                    let Some(model) = &self.model else {
                        if !verdict.learning {
                            self.coverage.judged();
                        }
                        let sight = Sight::Motion { at: captured(&frame), areas: verdict.areas };
                        cx.waits(self.tracking.sight(sight)).await;
                        continue;
                    };
                    // While motion learns what is usual, only the model can tell.
                    let attentive = verdict.learning || moved.is_some_and(|at| at.elapsed() < ATTENTION);
                    if attentive || self.tracking.live() {
                        asked.push_back(ask(model.clone(), self.camera.clone(), frame));
                    } else {
                        // "Nothing moves" is an answer.
                        self.coverage.judged();
                    }
                }
                Some(answer) = asked.next(), if !asked.is_empty() => cx.waits(self.answered(answer)).await,
                _ = blind_check.tick() => cx.waits(self.check_blindness()).await,
            }
        }
    }

    async fn answered(&self, answer: Answer) {
        let Answer { at, size: (width, height), node, outcome } = answer;
        let sight = match outcome {
            Outcome::Ok { model, detections } => {
                self.coverage.judged();
                Sight::Judged(Judgement { at, model, node, detections, width, height })
            }
            Outcome::Shed => self.unjudged(at, "frames are shed: the gpu node is overloaded"),
            Outcome::Expired => self.unjudged(at, "frames expire before they are judged"),
            Outcome::Failed { reason } => self.unjudged(at, &reason),
        };
        self.tracking.sight(sight).await;
    }

    fn unjudged(&self, at: Timestamp, reason: &str) -> Sight {
        self.coverage.obstacle(reason);
        Sight::Unjudged { at }
    }

    async fn check_blindness(&self) {
        if self.coverage.blind().is_some() && self.tracking.live() {
            // No frame may come for hours: then nothing else tells tracking that time passes and nobody looks.
            self.tracking.sight(Sight::Unjudged { at: Timestamp::now() }).await;
        }
    }
}

/// What became of one frame.
struct Answer {
    at: Timestamp,
    size: (u32, u32),
    /// Who was asked.
    node: String,
    outcome: Outcome,
}

async fn ask(model: Model, camera: CameraId, frame: Frame) -> Answer {
    let (at, size) = (captured(&frame), (frame.width, frame.height));
    let question =
        Question { camera, model: model.name, deadline: model.deadline, priority: model.priority, captured: at, frame };
    let Judged { node, outcome } = model.asker.judge(question).await;
    Answer { at, size, node, outcome }
}

fn captured(frame: &Frame) -> Timestamp {
    Timestamp::from_micros(frame.captured_us)
}

fn luma(frame: &Frame) -> &[u8] {
    &frame.pixels.0[..frame.width as usize * frame.height as usize]
}
