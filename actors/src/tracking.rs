//! Tracking: what a camera's frames showed, told as events with a beginning and an end.
//!
//!   watch ──sight──▶ [tracking: screen ▸ tracker ▸ rules ▸ teller] ──push──▶ outbox, footage, snapshots
//!
//! Stops when: it panics.  On restart: the events it had begun are ended with `reason = "restart"`,
//! at the time they were last seen; what is still in view begins anew.

pub mod episode;
pub mod geometry;
pub mod rules;
pub mod schedule;
pub mod teller;
pub mod tracker;
pub mod zones;

#[cfg(test)]
mod tests;

use episode::Episode;
use jiff::tz::TimeZone;
use protocol::camera::Frame;
use protocol::{CameraId, Detection, EndReason, Evidence, Timestamp};
use rules::{Rules, RulesSettings, Ruling};
use schedule::Moment;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supervision::{Actor, Context, Failure, Mailbox, Node, Overflow, child};
use teller::{Sinks, Teller};
use tracker::{Change, Counts, TrackView, Tracker, TrackerSettings};

/// Sights that wait while the outbox writes. When full, the watch waits, and newer frames replace older ones.
const SIGHTS_WAITING_MAX: usize = 16;

/// Tells tracking what was seen. Cheap to clone; stays valid across restarts.
#[derive(Clone)]
pub struct Tracking {
    mailbox: Mailbox<Sight>,
    live: Arc<AtomicBool>,
    attention: Arc<Mutex<Attention>>,
}

/// What one frame showed, or that it showed nothing to anybody.
pub enum Sight {
    Judged(Judgement),
    /// Nobody judged this moment: it says nothing about who is there.
    Unjudged {
        at: Timestamp,
    },
    /// Motion was judged and no model was asked: what stands still is still there, unless something moved at it.
    Still {
        at: Timestamp,
        /// As fractions of the frame.
        moving: Vec<[f32; 4]>,
    },
    /// No model: areas that changed, as fractions of the frame.
    Motion {
        at: Timestamp,
        areas: Vec<[f32; 4]>,
        /// For a snapshot; of those with motion it is enough.
        frame: Option<Arc<Frame>>,
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
    /// What of the frame was looked at, as fractions of it; all of it if empty.
    pub looked: Vec<[f32; 4]>,
    /// What was judged, for a snapshot.
    pub frame: Option<Arc<Frame>>,
}

/// What has to be looked at although nothing may be moving.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attention {
    /// Places of what is followed and does not stand still, and of what is due, as fractions of the frame.
    pub areas: Vec<[f32; 4]>,
    /// Something that stands still was not looked for in a long time.
    pub due: bool,
}

/// What the actor is made from, at each start.
#[derive(Clone)]
pub struct TrackingSettings {
    pub camera: CameraId,
    pub tracker: TrackerSettings,
    pub lost_after: Duration,
    pub update_every: Duration,
    pub rules: RulesSettings,
}

impl Default for Tracking {
    fn default() -> Self {
        let mailbox = Mailbox::new("tracking", SIGHTS_WAITING_MAX, Overflow::Wait);
        Self { mailbox, live: Arc::default(), attention: Arc::default() }
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

    /// What is to be looked at now, as of the last sight.
    pub fn attention(&self) -> Attention {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `made_from` is looked up at each start.
    pub fn child(&self, made_from: impl Fn() -> (TrackingSettings, Sinks) + Send + Sync + 'static) -> Node {
        let (live, attention) = (self.live.clone(), self.attention.clone());
        let fresh = move || {
            let (settings, sinks) = made_from();
            Ok(TrackingState::new(&settings, sinks, live.clone(), attention.clone()))
        };
        child("tracking", &self.mailbox, fresh)
    }
}

struct TrackingState {
    camera: CameraId,
    blind_after: Duration,
    live: Arc<AtomicBool>,
    attention: Arc<Mutex<Attention>>,
    tracker: Tracker,
    episode: Episode,
    rules: Rules,
    teller: Teller,
    /// Of whoever wrote the schedules; `None` if there are none.
    zone: Option<TimeZone>,
    /// Who judged last.
    evidence: Evidence,
    counts: Counts,
    /// What an earlier life began and did not end is ended.
    took_over: bool,
}

impl Actor for TrackingState {
    type Msg = Sight;

    async fn started(&mut self, cx: &mut Context<Sight>) -> Result<(), Failure> {
        self.live.store(false, Ordering::Relaxed);
        self.teller.progress = Some(cx.progress());
        // As the first work: an outbox that does not answer for now must not keep this actor from starting, and with it
        // the supervisor that all cameras have. If there is no room, what waits is work.
        let _ = cx.me().tell(Sight::Begin);
        Ok(())
    }

    async fn handle(&mut self, sight: Sight, cx: &mut Context<Sight>) -> Result<(), Failure> {
        if !self.took_over {
            self.teller.take_over().await?;
            self.took_over = true;
        }
        match sight {
            Sight::Begin => {}
            Sight::Judged(judgement) => self.judged(judgement).await,
            Sight::Unjudged { at } => self.unjudged(at).await,
            Sight::Still { at, moving } => self.still(at, &moving).await,
            Sight::Motion { at, areas, frame } => self.moved(at, &areas, frame).await,
        }
        self.show(cx);
        Ok(())
    }

    async fn stopping(&mut self, _cx: &mut Context<Sight>) {
        let mut changes = self.tracker.end_all(EndReason::Stopped);
        changes.extend(self.episode.end(EndReason::Stopped));
        self.tell(changes, None).await;
    }
}

impl TrackingState {
    fn new(settings: &TrackingSettings, sinks: Sinks, live: Arc<AtomicBool>, attention: Arc<Mutex<Attention>>) -> Self {
        let teller = Teller::new(settings.camera.clone(), settings.update_every, sinks);
        teller.expect_zones(settings.rules.zones.iter().map(|zone| zone.name.as_str()));
        Self {
            camera: settings.camera.clone(),
            blind_after: settings.tracker.blind_after,
            live,
            attention,
            tracker: Tracker::new(settings.tracker.clone()),
            episode: Episode::new(settings.lost_after),
            rules: Rules::new(settings.rules.clone()),
            teller,
            zone: settings.rules.keeps_hours().then(TimeZone::system),
            evidence: Evidence::Motion,
            counts: Counts::default(),
            took_over: false,
        }
    }

    async fn judged(&mut self, judgement: Judgement) {
        let Judgement { at, model, node, mut detections, width, height, looked, frame } = judgement;
        for reason in self.rules.screen(&mut detections, width, height) {
            metrics::counter!("watchtree_detections_ignored_total", "reason" => reason.as_str()).increment(1);
        }
        self.evidence = Evidence::Model { model, node };
        let changes = self.tracker.judged(at, &detections, (width, height), &looked);
        self.tell(changes, frame).await;
        self.teller.tick(at);
    }

    async fn unjudged(&mut self, at: Timestamp) {
        let mut changes = self.tracker.blind(at);
        changes.extend(self.episode.blind(at, self.blind_after));
        self.tell(changes, None).await;
        self.teller.tick(at);
    }

    async fn still(&mut self, at: Timestamp, moving: &[[f32; 4]]) {
        let changes = self.tracker.still(at, moving);
        self.tell(changes, None).await;
        self.teller.tick(at);
    }

    async fn moved(&mut self, at: Timestamp, areas: &[[f32; 4]], frame: Option<Arc<Frame>>) {
        self.evidence = Evidence::Motion;
        for change in self.episode.see(at, areas) {
            match change {
                Change::Started(view) | Change::Updated(view) => {
                    let ruling = self.rules.follow_motion(&view, areas, at, self.moment(at));
                    self.ruled(&view, ruling, frame.as_ref()).await;
                }
                Change::Ended(view, reason) => self.end(&view, reason).await,
            }
        }
        self.teller.tick(at);
    }

    /// `frame`: the one in which all that is told of was seen.
    async fn tell(&mut self, changes: Vec<Change>, frame: Option<Arc<Frame>>) {
        for change in changes {
            match change {
                Change::Started(view) | Change::Updated(view) => {
                    let ruling = self.rules.follow(&view, view.last_seen, self.moment(view.last_seen));
                    self.ruled(&view, ruling, frame.as_ref()).await;
                }
                Change::Ended(view, reason) => self.end(&view, reason).await,
            }
        }
    }

    async fn ruled(&mut self, view: &TrackView, ruling: Ruling, frame: Option<&Arc<Frame>>) {
        if let Some(frame) = frame {
            self.teller.show(view, frame);
        }
        if !ruling.event {
            return;
        }
        if self.teller.knows(view.track) {
            let zones = ruling.entered.then(|| self.rules.zones(view.track));
            self.teller.update(view, zones).await;
        } else {
            let zones = self.rules.zones(view.track);
            self.teller.begin(view, zones, self.evidence.clone()).await;
        }
    }

    async fn end(&mut self, view: &TrackView, reason: EndReason) {
        if let Some(reason) = self.rules.forget(view.track) {
            metrics::counter!("watchtree_tracks_withheld_total", "reason" => reason.as_str()).increment(1);
        }
        self.teller.end(view, reason).await;
    }

    /// The local time, where a schedule asks for it.
    fn moment(&self, at: Timestamp) -> Moment {
        self.zone.as_ref().map_or_else(Moment::default, |zone| Moment::local(at, zone))
    }

    fn show(&mut self, cx: &Context<Sight>) {
        *self.attention.lock().unwrap_or_else(PoisonError::into_inner) = self.tracker.attention();
        let live = self.tracker.live() || self.episode.live();
        let counts = self.tracker.counts();
        if self.live.swap(live, Ordering::Relaxed) != live || counts != self.counts {
            let tracked = (counts.moving + counts.stationary).max(1);
            cx.note(match counts.stationary {
                _ if !live => "nothing tracked".to_owned(),
                0 => format!("{tracked} tracked"),
                stationary => format!("{tracked} tracked, {stationary} of them stationary"),
            });
        }
        if counts != self.counts {
            self.counts = counts;
            for (state, count) in [("moving", counts.moving), ("stationary", counts.stationary)] {
                let camera = self.camera.to_string();
                metrics::gauge!("watchtree_tracks", "camera" => camera, "state" => state).set(count as f64);
            }
        }
    }
}
