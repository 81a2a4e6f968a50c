//! What is told of events: to the outbox, to the footage, and as snapshots.
//!
//!   begin, update, end ──▶ [teller] ──push──▶ outbox
//!   best frames ─────────▶    │ ├──mark──▶ footage: what of it is kept
//!                             └──frame───▶ snapshots
//!
//! An event is told when it begins, when it enters a zone or gets another label, once in `update_every` while it goes
//! on, and when it ends. Its footage hears of it in every frame in which it was found: a clip lasts as long as there is
//! something to see. Of what stands still, with nobody looking, there is not: it is told of seldom, and its footage
//! hears of it again when it is found the next time, or ends.

use super::tracker::TrackView;
use crate::events::outbox::Outbox;
use crate::recording::snapshots::best::Best;
use crate::recording::snapshots::{Shot, Snapshots};
use crate::recording::{EventMark, Footage};
use protocol::camera::Frame;
use protocol::{CameraId, EndReason, Event, EventId, Evidence, Phase, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use supervision::{Failure, Progress};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Between two tries to hand an event to an outbox that is being restarted.
const PUSH_AGAIN: Duration = Duration::from_millis(100);
/// What stands still has nothing new to tell but that it is there.
const STILL_TOLD_EVERY: Duration = Duration::from_secs(30);
/// So long after an event was first told of, its best frame so far is written: who is alarmed wants to see.
const EARLY_AFTER: Duration = Duration::from_secs(2);
/// An event that ends before it has a snapshot waits for it so long, unless the one before waited in vain.
const FILE_WITHIN: Duration = Duration::from_secs(1);

/// Where events, their footage and their pictures go. Cheap to clone.
#[derive(Clone)]
pub struct Sinks {
    pub outbox: Outbox,
    pub footage: Footage,
    pub snapshots: Snapshots,
}

pub(super) struct Teller {
    camera: CameraId,
    update_every: Duration,
    sinks: Sinks,
    /// To wait for an outbox that refuses, as one on a full disk does, is no hang.
    pub progress: Option<Progress>,
    /// Events that have begun, by the tracker's number.
    open: HashMap<u64, Open>,
    best: Best,
    /// The last wait for a snapshot was in vain.
    disk_is_slow: bool,
}

struct Open {
    event: Event,
    began: Timestamp,
    /// When it was last told.
    told: Timestamp,
    /// How often it had been found when it was last looked at.
    hits: u32,
    early: bool,
    /// Told whether the snapshot is there.
    writing: Option<oneshot::Receiver<bool>>,
}

impl Teller {
    pub(super) fn new(camera: CameraId, update_every: Duration, sinks: Sinks) -> Self {
        let (open, best) = (HashMap::new(), Best::default());
        Self { camera, update_every, sinks, progress: None, open, best, disk_is_slow: false }
    }

    /// Counts what may come: an increment that creates its series is seen by nobody.
    pub(super) fn expect_zones<'a>(&self, zones: impl Iterator<Item = &'a str>) {
        for zone in zones {
            let (camera, zone) = (self.camera.to_string(), zone.to_owned());
            metrics::counter!("watchtree_zone_entries_total", "camera" => camera, "zone" => zone).increment(0);
        }
    }

    pub(super) fn knows(&self, track: u64) -> bool {
        self.open.contains_key(&track)
    }

    /// What an earlier life began and did not end is ended.
    pub(super) async fn take_over(&mut self) -> Result<(), Failure> {
        let cut = self.sinks.outbox.open_events(self.camera.clone()).await.map_err(Failure::error)?;
        // That nobody looks is not told by who looks.
        for event in cut.into_iter().filter(|event| !matches!(event.evidence, Evidence::Blind { .. })) {
            tracing::info!(event = %event.id, label = event.label, "an event cut by a restart is ended");
            self.sinks.footage.event(mark(&event, true));
            self.push(ended(event, EndReason::Restart)).await;
        }
        Ok(())
    }

    /// A track is to be seen in this frame.
    pub(super) fn show(&mut self, track: &TrackView, frame: &Arc<Frame>) {
        if self.sinks.snapshots.enabled() {
            self.best.offer(track.track, frame, track.seen, track.score);
        }
    }

    pub(super) async fn begin(&mut self, track: &TrackView, zones: Vec<String>, evidence: Evidence) {
        let id = EventId::new(track.begin);
        let mut event = Event {
            id,
            camera: self.camera.clone(),
            phase: Phase::Start,
            revision: 0,
            label: track.label.clone(),
            evidence,
            score: track.score,
            top_score: track.top_score,
            area: track.area,
            begin: track.begin,
            end: track.last_seen,
            reason: None,
            zones: Vec::new(),
            has_clip: false,
            has_snapshot: false,
        };
        self.enter(&mut event, zones);
        self.sinks.footage.event(mark(&event, false));
        event.has_clip = self.sinks.footage.has_clip(id);
        tracing::info!(event = %event.id, label = event.label, score = event.score, "began");
        metrics::counter!("watchtree_events_total", "phase" => "start").increment(1);
        self.push(event.clone()).await;
        let (began, told) = (track.last_seen, track.last_seen);
        self.open.insert(track.track, Open { event, began, told, hits: track.hits, early: false, writing: None });
    }

    /// `zones`: all that it has entered, if that has just changed.
    pub(super) async fn update(&mut self, track: &TrackView, zones: Option<Vec<String>>) {
        let at = track.last_seen;
        let Some(mut open) = self.open.remove(&track.track) else { return };
        let renamed = open.event.label != track.label;
        let urgent = renamed || zones.is_some();
        refresh(&mut open.event, track);
        if let Some(zones) = zones {
            self.enter(&mut open.event, zones);
        }
        let found = std::mem::replace(&mut open.hits, track.hits) < track.hits;
        if found {
            self.sinks.footage.event(mark(&open.event, false));
        }
        let told_every = if found { self.update_every } else { self.update_every.max(STILL_TOLD_EVERY) };
        if urgent || at.since(open.told) >= told_every {
            open.settle();
            open.told = at;
            open.event.phase = Phase::Update;
            open.event.revision += 1;
            open.event.has_clip = self.sinks.footage.has_clip(open.event.id);
            self.push(open.event.clone()).await;
        }
        self.open.insert(track.track, open);
    }

    pub(super) async fn end(&mut self, track: &TrackView, reason: EndReason) {
        let mut left = self.open.remove(&track.track);
        if let Some(open) = &mut left {
            refresh(&mut open.event, track);
            self.shoot(track.track, open);
        }
        self.best.forget(track.track);
        let Some(mut open) = left else { return };
        self.wait_for_file(&mut open).await;
        let mut event = open.event;
        self.sinks.footage.event(mark(&event, true));
        event.has_clip = self.sinks.footage.has_clip(event.id);
        tracing::info!(event = %event.id, label = event.label, ?reason, "ended");
        metrics::counter!("watchtree_events_total", "phase" => "end").increment(1);
        self.push(ended(event, reason)).await;
    }

    /// So late is it: events that have gone on for a while get their first snapshot.
    pub(super) fn tick(&mut self, at: Timestamp) {
        let mut open = std::mem::take(&mut self.open);
        for (track, open) in &mut open {
            if !open.early && at.since(open.began) >= EARLY_AFTER {
                open.early = true;
                self.shoot(*track, open);
            }
        }
        self.open = open;
    }

    /// Has the best frame written, if it is not yet.
    fn shoot(&mut self, track: u64, open: &mut Open) {
        open.settle();
        let Some((frame, area)) = self.best.take(track) else { return };
        let shot = Shot { camera: self.camera.clone(), event: open.event.id, frame, area };
        open.writing = Some(self.sinks.snapshots.take(shot));
    }

    /// An event has no revision after its last, so that one is worth a short wait; not at a disk that does not answer.
    async fn wait_for_file(&mut self, open: &mut Open) {
        open.settle();
        if open.event.has_snapshot || self.disk_is_slow {
            return;
        }
        if let Some(writing) = open.writing.take() {
            let answer = tokio::time::timeout(FILE_WITHIN, writing).await;
            self.disk_is_slow = answer.is_err();
            open.event.has_snapshot = matches!(answer, Ok(Ok(true)));
        }
    }

    fn enter(&self, event: &mut Event, zones: Vec<String>) {
        for zone in zones.iter().skip(event.zones.len()) {
            let (camera, zone) = (self.camera.to_string(), zone.clone());
            metrics::counter!("watchtree_zone_entries_total", "camera" => camera, "zone" => zone).increment(1);
        }
        event.zones = zones;
    }

    /// Until the outbox has it: an outbox that is being restarted is worth waiting for. One that died
    /// may have taken the event without saying so; it is asked before the event is pushed again.
    async fn push(&self, event: Event) {
        while self.sinks.outbox.push(event.clone()).await.is_err() {
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
            match self.sinks.outbox.open_events(self.camera.clone()).await {
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

impl Open {
    /// Looks whether the snapshot is there by now.
    fn settle(&mut self) {
        let Some(writing) = &mut self.writing else { return };
        match writing.try_recv() {
            Ok(there) => {
                self.event.has_snapshot |= there;
                self.writing = None;
            }
            Err(TryRecvError::Closed) => self.writing = None,
            Err(TryRecvError::Empty) => {}
        }
    }
}

fn mark(event: &Event, ended: bool) -> EventMark {
    EventMark { event: event.id, label: event.label.clone(), begin: event.begin, last_seen: event.end, ended }
}

fn refresh(event: &mut Event, track: &TrackView) {
    event.label.clone_from(&track.label);
    (event.score, event.top_score) = (track.score, track.top_score);
    event.area = track.area;
    event.end = track.last_seen;
}

fn ended(mut event: Event, reason: EndReason) -> Event {
    event.phase = Phase::End;
    event.revision += 1;
    event.reason = Some(reason);
    event
}
