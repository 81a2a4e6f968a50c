//! Watch: looks at frames, asks a model while something moves or is to be followed.
//!
//!   slot ──▶ [watch: motion] ──moving, or a track to look at──▶ regions ──▶ asker ══▶ gpu
//!               │  │  └──nothing moves──▶ that is a judgement too
//!               │  └──▶ gears
//!               └──verdicts, in the order of the frames──▶ tracking
//!
//! Stops when: it panics.  On restart: motion learns its background anew.

mod asking;
#[cfg(test)]
mod tests;

use super::coverage::Coverage;
use super::gears::Gearbox;
use super::motion::{Motion, MotionSettings, MotionVerdict};
use super::regions::{self, Part};
use super::slot::Slot;
use crate::inference::asker::Asker;
use crate::recording::Footage;
use crate::tracking::{Attention, Judgement, Sight, Tracking};
use asking::{Answer, Question};
use config::watching::{Polygon, Regions};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use protocol::camera::{Frame, Gear};
use protocol::{CameraId, Outcome, Priority, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use supervision::{Failure, ServiceCx};
use tokio::time::Instant;

/// Frames of one camera that may be with a model at once. With all of them out, newer frames
/// replace each other in the slot, and replayed ones wait there.
const ASKED_MAX: usize = 2;
/// Frames whose turn it is not yet: still ones wait for what was asked before them. With as many, no frame is taken.
const ANSWERS_MAX: usize = 16;
/// Frames are still asked about for so long after the last motion: things stop and go on.
const ATTENTION: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Watch {
    pub camera: CameraId,
    pub slot: Slot,
    pub coverage: Coverage,
    pub motion: MotionSettings,
    /// Nothing inside counts as motion.
    pub masks: Vec<Polygon>,
    pub regions: Regions,
    pub gears: Gearbox,
    pub footage: Footage,
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

/// What a watch remembers from frame to frame.
struct Eyes {
    motion: Motion,
    /// When something last moved, and where.
    moved: Option<(Instant, Vec<[f32; 4]>)>,
    /// Something reached beyond the part that was looked at.
    whole_next: bool,
    /// Frames that are with a model.
    asked: usize,
}

impl Watch {
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let motion = Motion::new(self.motion, self.masks.clone());
        let mut eyes = Eyes { motion, moved: None, whole_next: false, asked: 0 };
        let mut answers = FuturesOrdered::new();
        let mut blind_check = tokio::time::interval(Duration::from_millis(500));
        if self.model.is_none() {
            cx.place.note("motion alone: no model is configured");
        }
        // Where it waits, it waits for tracking, which has its own limit: a full disk there is no hang here.
        loop {
            tokio::select! {
                () = cx.stop.cancelled() => return Ok(()),
                () = cx.asked() => {}
                frame = self.slot.next(), if eyes.asked < ASKED_MAX && answers.len() < ANSWERS_MAX => {
                    answers.push_back(self.look(&mut eyes, frame));
                }
                Some(answer) = answers.next(), if !answers.is_empty() => {
                    cx.waits(self.answered(&mut eyes, answer)).await;
                }
                _ = blind_check.tick() => cx.waits(self.check_blindness()).await,
            }
        }
    }

    /// Judges motion, and says what becomes of the frame.
    fn look(&self, eyes: &mut Eyes, frame: Arc<Frame>) -> impl Future<Output = Answer> + use<> {
        let question = self.question(eyes, &frame);
        if matches!(question, Question::Ask { .. }) {
            eyes.asked += 1;
        }
        asking::settle(self.camera.clone(), frame, question)
    }

    fn question(&self, eyes: &mut Eyes, frame: &Arc<Frame>) -> Question {
        let verdict = eyes.judge(frame);
        if verdict.moving {
            self.footage.moved(captured(frame));
            metrics::counter!("watchtree_camera_motion_frames_total", "camera" => self.camera.to_string()).increment(1);
        }
        let idled = matches!(self.gears.gear(), Gear::Idle { .. });
        self.gears.frame(verdict.moving, verdict.learning);
        if idled && self.gears.gear() == Gear::Awake {
            return Question::Later;
        }
        let Some(model) = &self.model else {
            if !verdict.learning {
                self.judged("motion");
            }
            return Question::Motion(verdict.areas);
        };
        let attention = self.tracking.attention();
        if !attention.areas.is_empty() {
            self.gears.attention();
        }
        // While motion learns what is usual, only the model can tell.
        if !(verdict.learning || eyes.are_attentive() || attention.due || !attention.areas.is_empty()) {
            // "Nothing moves" is an answer.
            self.judged("motion");
            return Question::Still(verdict.areas);
        }
        let parts = self.parts(eyes, frame, &verdict, &attention);
        let camera = self.camera.to_string();
        metrics::counter!("watchtree_camera_regions_total", "camera" => camera).increment(parts.len() as u64);
        Question::Ask { model: model.clone(), parts }
    }

    /// None for the whole frame.
    fn parts(&self, eyes: &mut Eyes, frame: &Frame, verdict: &MotionVerdict, attention: &Attention) -> Vec<Part> {
        if std::mem::take(&mut eyes.whole_next) || verdict.learning || attention.due {
            return Vec::new();
        }
        let moved = eyes.moved.iter().filter(|_| eyes.are_attentive()).flat_map(|(_, areas)| areas);
        let areas: Vec<_> = moved.chain(&attention.areas).copied().collect();
        regions::choose(&self.regions, (frame.width, frame.height), &areas)
    }

    async fn answered(&self, eyes: &mut Eyes, answer: Answer) {
        let sight = match answer {
            Answer::Later => return,
            Answer::Still { at, moving } => Sight::Still { at, moving },
            Answer::Motion { at, areas, frame } => Sight::Motion { at, areas, frame: Some(frame) },
            Answer::Asked { frame, looked, node, outcome, cut } => {
                eyes.asked -= 1;
                eyes.whole_next |= cut;
                self.told(&frame, looked, node, outcome)
            }
        };
        self.tracking.sight(sight).await;
    }

    fn told(&self, frame: &Arc<Frame>, looked: Vec<[f32; 4]>, node: String, outcome: Outcome) -> Sight {
        let (at, width, height) = (captured(frame), frame.width, frame.height);
        match outcome {
            Outcome::Ok { model, detections } => {
                self.judged("model");
                let frame = Some(frame.clone());
                Sight::Judged(Judgement { at, model, node, detections, width, height, looked, frame })
            }
            Outcome::Shed => self.unjudged(at, "frames are shed: the gpu node is overloaded"),
            Outcome::Expired => self.unjudged(at, "frames expire before they are judged"),
            Outcome::Failed { reason } => self.unjudged(at, &reason),
        }
    }

    fn judged(&self, by: &'static str) {
        metrics::counter!("watchtree_camera_judged_total", "camera" => self.camera.to_string(), "by" => by)
            .increment(1);
        match self.gears.looks_apart() {
            Some(apart) => self.coverage.judged_until_next(apart),
            None => self.coverage.judged(),
        }
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

impl Eyes {
    fn judge(&mut self, frame: &Frame) -> MotionVerdict {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let luma = frame.pixels.0.get(..width * height).unwrap_or_default();
        let verdict = self.motion.judge(Duration::from_micros(frame.pts_us), width, height, luma);
        if verdict.moving {
            self.moved = Some((Instant::now(), verdict.areas.clone()));
        }
        verdict
    }

    fn are_attentive(&self) -> bool {
        self.moved.as_ref().is_some_and(|(at, _)| at.elapsed() < ATTENTION)
    }
}

fn captured(frame: &Frame) -> Timestamp {
    Timestamp::from_micros(frame.captured_us)
}
