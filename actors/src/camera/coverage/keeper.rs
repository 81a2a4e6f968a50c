//! Coverage keeper: that nobody looks at a camera is an event of its own, from when to when, and why.
//!
//!   coverage of each camera ──looks──▶ [keeper: a course each] ──push──▶ outbox
//!                                           └──marks, spells──▶ book (disk) ──▶ timeline of this edge
//!
//! Stops when: it panics.  On restart: goes on with what it knows; each event is pushed once, as the outbox is asked for
//! what it took. A node that was down says at its next start from when to when nobody looked.

use super::book::Book;
use super::course::{Course, Seen, Span};
use super::{Coverage, Coverages, Look};
use crate::events::outbox::Outbox;
use protocol::{CameraId, Event, Phase, Timestamp, limits};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervision::{Failure, ServiceCx};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

/// Between two looks at all cameras: with it, a camera is told of as blind within 2 s.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two writes of how far all is told. After a crash so much is called blind that was not.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Between two tries to hand an event to an outbox that is being restarted.
const PUSH_AGAIN: Duration = Duration::from_millis(100);
/// On an orderly stop, for the disk.
const LAST_SAVE_WITHIN: Duration = Duration::from_secs(1);

/// Why nothing works at a camera's place, which nobody there can tell.
pub type Parked = Arc<dyn Fn(&CameraId) -> Option<String> + Send + Sync>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    coverages: Coverages,
    outbox: Outbox,
    book: Book,
    parked: Parked,
    state: Arc<Mutex<State>>,
}

/// Stays over restarts of the service.
#[derive(Default)]
struct State {
    /// Told by an earlier life of this node, or of this service.
    loaded: bool,
    courses: BTreeMap<CameraId, Course>,
    /// Made, and not yet taken by the outbox.
    pending: VecDeque<Event>,
    /// The disk with the book failed when last tried.
    trouble: Option<String>,
}

impl Keeper {
    pub fn new(coverages: Coverages, outbox: Outbox, book: Book, parked: Parked) -> Self {
        Self { coverages, outbox, book, parked, state: Arc::default() }
    }

    /// The service.
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let state = self.state.clone();
        // One that was given up as hung still holds it: its successor waits, and is asked meanwhile.
        let mut state = cx.waits(state.lock()).await;
        cx.waits(self.load(&mut state)).await;
        self.push_pending(&mut state, &cx).await;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut saved, mut saving) = (Instant::now(), None);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    self.look(&mut state, &cx).await;
                    if saving.is_none() && saved.elapsed() >= SAVE_EVERY {
                        (saved, saving) = (Instant::now(), Some(self.save()));
                    }
                }
                done = finished(&mut saving) => {
                    saving = None;
                    tell(&mut state, done);
                }
                () = cx.asked() => {}
                () = cx.stop.cancelled() => break,
            }
        }
        self.stop(&mut state, &cx).await;
        Ok(())
    }

    async fn load(&self, state: &mut State) {
        if state.loaded {
            return;
        }
        let book = self.book.clone();
        let loaded = tokio::task::spawn_blocking(move || book.load()).await;
        tell(state, loaded.map_err(|error| error.to_string()).flatten());
        state.loaded = true;
    }

    /// One round.
    async fn look(&self, state: &mut State, cx: &ServiceCx) {
        let cameras: Vec<(CameraId, Coverage)> =
            self.coverages.iter().map(|(id, coverage)| (id.clone(), coverage.clone())).collect();
        for (camera, coverage) in &cameras {
            if !state.courses.contains_key(camera) {
                let course = cx.waits(self.begin(state, camera)).await;
                state.courses.insert(camera.clone(), course);
            }
            let look = coverage.look();
            let now = Timestamp::now();
            let seen = by_wall_clock(look, (self.parked)(camera), Instant::now(), now);
            if let Some(course) = state.courses.get_mut(camera) {
                let events = course.look(seen, now);
                self.note(camera, course, &events);
                state.pending.extend(events);
            }
        }
        let gone: Vec<CameraId> =
            state.courses.keys().filter(|known| !cameras.iter().any(|(id, _)| id == *known)).cloned().collect();
        for camera in gone {
            if let Some(course) = state.courses.get_mut(&camera) {
                let events = course.gone(Timestamp::now());
                self.note(&camera, course, &events);
                state.pending.extend(events);
            }
        }
        if !state.pending.is_empty() {
            cx.place.note(told(&state.courses));
            self.push_pending(state, cx).await;
        }
    }

    /// What an earlier life of this node began is ended first.
    async fn begin(&self, state: &mut State, camera: &CameraId) -> Course {
        let open = loop {
            match self.outbox.open_coverage(camera.clone()).await {
                Ok(open) => break open,
                Err(_) => sleep(PUSH_AGAIN).await,
            }
        };
        // A life that was killed before it wrote anything down left what it had begun.
        let known = self.book.mark(camera).or_else(|| open.iter().map(|event| event.end.max(event.begin)).max());
        let course = Course::new(camera.clone(), known, Timestamp::now());
        let cut = course.cut(open);
        cut.iter().for_each(|event| self.book.keep(event.clone()));
        state.pending.extend(cut);
        course
    }

    fn note(&self, camera: &CameraId, course: &Course, events: &[Event]) {
        if let Some(known) = course.known() {
            self.book.set_mark(camera, known);
        }
        for event in events {
            self.book.keep(event.clone());
            match event.phase {
                Phase::Start => {
                    warn!(%camera, event = %event.id, "{}", event.title());
                    let label = event.label.clone();
                    metrics::counter!("watchtree_camera_unseen_total", "camera" => camera.to_string(), "label" => label)
                        .increment(1);
                }
                Phase::Update => info!(%camera, event = %event.id, "{}", event.title()),
                Phase::End => {
                    let lasted_s = event.end.since(event.begin).as_secs_f32();
                    info!(%camera, event = %event.id, "no longer {}, after {lasted_s:.1} s", event.label);
                }
            }
        }
    }

    /// Until the outbox has all of it: one that refuses, as on a full disk, is worth waiting for.
    async fn push_pending(&self, state: &mut State, cx: &ServiceCx) {
        while let Some(event) = state.pending.front() {
            cx.waits(self.push(event.clone())).await;
            state.pending.pop_front();
        }
    }

    /// One that died may have taken the event without saying so; it is asked before the event is pushed again. So is the
    /// outbox of a service that was cut in the middle of this.
    async fn push(&self, event: Event) {
        while !self.was_taken(&event).await && self.outbox.push(event.clone()).await.is_err() {
            sleep(PUSH_AGAIN).await;
        }
    }

    /// Of an event that has begun and is not open any more, the end was taken.
    async fn was_taken(&self, event: &Event) -> bool {
        let open = loop {
            match self.outbox.open_coverage(event.camera.clone()).await {
                Ok(open) => break open,
                Err(_) => sleep(PUSH_AGAIN).await,
            }
        };
        match open.iter().find(|open| open.id == event.id) {
            Some(open) => open.revision >= event.revision,
            None => event.phase == Phase::End,
        }
    }

    fn save(&self) -> JoinHandle<Result<(), String>> {
        let book = self.book.clone();
        tokio::task::spawn_blocking(move || book.save())
    }

    async fn stop(&self, state: &mut State, cx: &ServiceCx) {
        let now = Timestamp::now();
        let mut events = Vec::new();
        for (camera, course) in &mut state.courses {
            // A service that is restarted alone goes on; its node's last words are these all the same, and the next look
            // begins anew where they end.
            let ended = course.stop(now);
            self.note(camera, course, &ended);
            events.extend(ended);
        }
        state.pending.extend(events);
        let last = timeout(LAST_SAVE_WITHIN, async {
            self.push_pending(state, cx).await;
            self.save().await
        });
        if !matches!(last.await, Ok(Ok(Ok(())))) {
            warn!("up to when the cameras were looked at is not written down; what was last written counts");
        }
    }
}

async fn finished(saving: &mut Option<JoinHandle<Result<(), String>>>) -> Result<(), String> {
    match saving {
        Some(saving) => saving.await.map_err(|error| error.to_string()).flatten(),
        None => std::future::pending().await,
    }
}

/// Each new trouble once.
fn tell(state: &mut State, done: Result<(), String>) {
    let trouble = done.err();
    if let Some(why) = trouble.as_ref().filter(|why| state.trouble.as_ref() != Some(why)) {
        warn!("up to when cameras were looked at cannot be written down: {why}");
    }
    state.trouble = trouble;
}

fn told(courses: &BTreeMap<CameraId, Course>) -> String {
    let blind: Vec<String> =
        courses.iter().filter_map(|(camera, course)| Some(format!("{camera} is blind: {}", course.blind()?))).collect();
    let text = if blind.is_empty() { format!("{} cameras looked at", courses.len()) } else { blind.join("; ") };
    limits::short_text(&text)
}

/// A clock that may jump is read once for each look. `parked` explains a gap that goes on.
fn by_wall_clock(look: Look, parked: Option<String>, now: Instant, wall: Timestamp) -> Seen {
    let at = |then: Instant| wall.minus(now.saturating_duration_since(then));
    let gaps = look.gaps.into_iter().map(|gap| Span {
        from: at(gap.from),
        to: gap.to.map(at),
        reason: parked.clone().filter(|_| gap.to.is_none()).unwrap_or(gap.reason),
        first: gap.first,
    });
    Seen { gaps: gaps.collect(), judged: look.judged.map(at), unwatched: look.unwatched }
}

#[cfg(test)]
mod tests;
