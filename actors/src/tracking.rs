//! Tracking: what a camera's frames showed, told as events with a beginning and an end.
//!
//!   watch ──sight──▶ [tracking: tracker ▸ events] ──push──▶ outbox
//!
//! Stops when: it panics.  On restart: the events it had begun are ended with `reason = "restart"`,
//! at the time they were last seen; what is still in view begins anew.

pub mod episode;
pub mod tracker;

use crate::events::outbox::Outbox;
use episode::Episode;
use protocol::{CameraId, Detection, EndReason, Event, EventId, Evidence, Phase, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use supervision::{Actor, Context, Failure, Mailbox, Node, Overflow, Progress, child};
use tracker::{Change, TrackView, Tracker, TrackerSettings};

/// Sights that wait while the outbox writes. When full, the watch waits, and newer frames replace older ones.
const SIGHTS_WAITING_MAX: usize = 16;
/// Between two tries to hand an event to an outbox that is being restarted.
const PUSH_AGAIN: Duration = Duration::from_millis(100);

/// Tells tracking what was seen. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Tracking {
    mailbox: Mailbox<Sight>,
    live: Arc<AtomicBool>,
}

/// What one frame showed, or that it showed nothing to anybody.
pub enum Sight {
    Judged(Judgement),
    /// Nobody judged this moment: it says nothing about who is there.
    Unjudged {
        at: Timestamp,
    },
    /// No model: areas that changed, as fractions of the frame.
    Motion {
        at: Timestamp,
        areas: Vec<[f32; 4]>,
    },
    /// Tracking tells itself that events of its predecessor are to be ended.
    Begin,
}

/// A model's verdict on one frame.
pub struct Judgement {
    pub at: Timestamp,
    pub model: String,
    /// The gpu node that ran it.
    pub node: String,
    pub detections: Vec<Detection>,
    pub width: u32,
    pub height: u32,
}

/// What the actor is made from, at each start.
#[derive(Clone)]
pub struct TrackingSettings {
    pub camera: CameraId,
    pub tracker: TrackerSettings,
    pub lost_after: Duration,
    pub update_every: Duration,
    /// Only these labels become events; all if empty.
    pub labels: Vec<String>,
}

impl Default for Tracking {
    fn default() -> Self {
        Self { mailbox: Mailbox::new("tracking", SIGHTS_WAITING_MAX, Overflow::Wait), live: Arc::default() }
    }
}

impl Tracking {
    pub async fn sight(&self, sight: Sight) {
        // While tracking is parked there is nobody to tell, and the tree says so.
        let _ = self.mailbox.send(sight).await;
    }

    /// Something is being tracked, so frames matter even if nothing moves.
    pub fn live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    pub fn child(&self, settings: TrackingSettings, outbox: Outbox) -> Node {
        let live = self.live.clone();
        child("tracking", &self.mailbox, move || Ok(TrackingState::new(settings.clone(), outbox.clone(), live.clone())))
    }
}

struct TrackingState {
    settings: TrackingSettings,
    outbox: Outbox,
    /// To wait for an outbox that refuses, as one on a full disk does, is no hang.
    progress: Option<Progress>,
    live: Arc<AtomicBool>,
    tracker: Tracker,
    episode: Episode,
    /// What an earlier life began and did not end is ended.
    took_over: bool,
    /// Events that have begun, by the tracker's number.
    open: HashMap<u64, Event>,
    /// When each was last told.
    told: HashMap<u64, Timestamp>,
}

impl Actor for TrackingState {
    type Msg = Sight;

    async fn started(&mut self, cx: &mut Context<Sight>) -> Result<(), Failure> {
        self.live.store(false, Ordering::Relaxed);
        self.progress = Some(cx.progress());
        // As the first work: an outbox that does not answer for now must not keep this actor from starting, and with it
        // the supervisor that all cameras have. If there is no room, what waits is work.
        let _ = cx.me().tell(Sight::Begin);
        Ok(())
    }

    async fn handle(&mut self, sight: Sight, cx: &mut Context<Sight>) -> Result<(), Failure> {
        self.take_over().await?;
        match sight {
            Sight::Begin => {}
            Sight::Judged(judgement) => self.judged(judgement).await,
            Sight::Unjudged { at } => self.unjudged(at).await,
            Sight::Motion { at, areas } => self.moved(at, &areas).await,
        }
        let live = self.tracker.live() || self.episode.live();
        if self.live.swap(live, Ordering::Relaxed) != live {
            cx.note(if live { format!("{} tracked", self.open.len().max(1)) } else { "nothing tracked".to_owned() });
        }
        Ok(())
    }

    async fn stopping(&mut self, _cx: &mut Context<Sight>) {
        let mut changes = self.tracker.end_all(EndReason::Stopped);
        changes.extend(self.episode.end(EndReason::Stopped));
        self.tell(changes, &Evidence::Motion, Timestamp::now()).await;
    }
}

impl TrackingState {
    fn new(settings: TrackingSettings, outbox: Outbox, live: Arc<AtomicBool>) -> Self {
        Self {
            tracker: Tracker::new(settings.tracker.clone()),
            episode: Episode::new(settings.lost_after),
            settings,
            outbox,
            progress: None,
            live,
            took_over: false,
            open: HashMap::new(),
            told: HashMap::new(),
        }
    }

    async fn take_over(&mut self) -> Result<(), Failure> {
        if self.took_over {
            return Ok(());
        }
        let cut = self.outbox.open_events(self.settings.camera.clone()).await.map_err(Failure::error)?;
        for event in cut {
            tracing::info!(event = %event.id, label = event.label, "an event cut by a restart is ended");
            self.push(ended(event, EndReason::Restart)).await;
        }
        self.took_over = true;
        Ok(())
    }

    async fn judged(&mut self, judgement: Judgement) {
        let Judgement { at, model, node, mut detections, width, height } = judgement;
        if !self.settings.labels.is_empty() {
            detections.retain(|detection| self.settings.labels.contains(&detection.label));
        }
        let changes = self.tracker.judged(at, &detections, width, height);
        let evidence = Evidence::Model { model, node };
        self.tell(changes, &evidence, at).await;
    }

    async fn unjudged(&mut self, at: Timestamp) {
        let mut changes = self.tracker.blind(at);
        changes.extend(self.episode.blind(at, self.settings.tracker.blind_after));
        self.tell(changes, &Evidence::Motion, at).await;
    }

    async fn moved(&mut self, at: Timestamp, areas: &[[f32; 4]]) {
        let changes = self.episode.see(at, areas);
        self.tell(changes, &Evidence::Motion, at).await;
    }

    /// `evidence` is for events that begin; those that go on keep theirs.
    async fn tell(&mut self, changes: Vec<Change>, evidence: &Evidence, at: Timestamp) {
        for change in changes {
            match change {
                Change::Started(track) => self.begin(&track, evidence.clone(), at).await,
                Change::Updated(track) => self.update(&track, at).await,
                Change::Ended(track, reason) => self.end(&track, reason).await,
            }
        }
    }

    async fn begin(&mut self, track: &TrackView, evidence: Evidence, at: Timestamp) {
        let event = Event {
            id: EventId::new(track.begin),
            camera: self.settings.camera.clone(),
            phase: Phase::Start,
            revision: 0,
            label: track.label.clone(),
            evidence,
            score: track.score,
            area: track.area,
            begin: track.begin,
            end: track.last_seen,
            reason: None,
        };
        tracing::info!(event = %event.id, label = event.label, score = event.score, "began");
        metrics::counter!("watchtree_events_total", "phase" => "start").increment(1);
        self.push(event.clone()).await;
        self.open.insert(track.track, event);
        self.told.insert(track.track, at);
    }

    async fn update(&mut self, track: &TrackView, at: Timestamp) {
        let due = self.told.get(&track.track).is_some_and(|&told| at.since(told) >= self.settings.update_every);
        let Some(event) = self.open.get_mut(&track.track) else { return };
        refresh(event, track);
        if due {
            event.phase = Phase::Update;
            event.revision += 1;
            let event = event.clone();
            self.told.insert(track.track, at);
            self.push(event).await;
        }
    }

    async fn end(&mut self, track: &TrackView, reason: EndReason) {
        self.told.remove(&track.track);
        let Some(mut event) = self.open.remove(&track.track) else { return };
        refresh(&mut event, track);
        tracing::info!(event = %event.id, label = event.label, ?reason, "ended");
        metrics::counter!("watchtree_events_total", "phase" => "end").increment(1);
        self.push(ended(event, reason)).await;
    }

    /// Until the outbox has it: an outbox that is being restarted is worth waiting for. One that died
    /// may have taken the event without saying so; it is asked before the event is pushed again.
    async fn push(&self, event: Event) {
        while self.outbox.push(event.clone()).await.is_err() {
            tokio::time::sleep(PUSH_AGAIN).await;
            self.got_on();
            if self.was_taken(&event).await {
                return;
            }
        }
    }

    fn got_on(&self) {
        if let Some(progress) = &self.progress {
            progress.made();
        }
    }

    async fn was_taken(&self, event: &Event) -> bool {
        let open = loop {
            match self.outbox.open_events(self.settings.camera.clone()).await {
                Ok(open) => break open,
                Err(_) => tokio::time::sleep(PUSH_AGAIN).await,
            }
            self.got_on();
        };
        match open.iter().find(|open| open.id == event.id) {
            Some(open) => open.revision >= event.revision,
            // An event is in this actor's hands only while the outbox has it as open.
            None => event.phase == Phase::End,
        }
    }
}

fn refresh(event: &mut Event, track: &TrackView) {
    event.score = track.score;
    event.area = track.area;
    event.end = track.last_seen;
}

fn ended(mut event: Event, reason: EndReason) -> Event {
    event.phase = Phase::End;
    event.revision += 1;
    event.reason = Some(reason);
    event
}
