//! Tracking through its handle: what reaches the outbox, and the disk.

use super::*;
use crate::events::outbox::Outbox;
use crate::events::testing::{camera_id, run};
use crate::recording::Footage;
use crate::recording::snapshots::{Cut, Snapshots};
use config::watching::{Polygon, Shape, Zone};
use protocol::codec::Blob;
use protocol::{Event, Phase};
use std::num::NonZeroU64;
use supervision::{Root, service};
use tempfile::TempDir;
use tracker::tests::{HEIGHT, WIDTH, at_ms, person};

const FRAME_MS: i64 = 200;

struct Site {
    dir: TempDir,
    outbox: Outbox,
    snapshots: Snapshots,
    tracking: Tracking,
    root: Root,
    now_ms: i64,
}

impl Site {
    async fn start(rules: RulesSettings) -> Self {
        let dir = TempDir::new().expect("a directory");
        let (outbox, tracking) = (Outbox::new(), Tracking::default());
        let snapshots = Snapshots::new(dir.path().join("recordings"), config::recording::Snapshots::default());
        let settings = TrackingSettings {
            camera: camera_id(0),
            tracker: TrackerSettings::default(),
            lost_after: Duration::from_millis(2500),
            update_every: Duration::from_secs(3600),
            rules,
        };
        let sinks = Sinks { outbox: outbox.clone(), footage: Footage::default(), snapshots: snapshots.clone() };
        let serving = snapshots.clone();
        let root = run(vec![
            outbox.child(dir.path().join("outbox.redb"), NonZeroU64::new(1000).expect("is not zero")),
            service("snapshots", move |cx| serving.clone().run(cx)),
            tracking.child(move || (settings.clone(), sinks.clone())),
        ])
        .await;
        Self { dir, outbox, snapshots, tracking, root, now_ms: 0 }
    }

    /// So many frames with a person whose box's left edge is there, or with nobody.
    async fn see(&mut self, frames: usize, x: Option<f32>) {
        for _ in 0..frames {
            let frame = grey(self.now_ms);
            let detections = x.map(|x| person(0.9, [x, 100.0, x + 60.0, 280.0])).into_iter().collect();
            let (model, node) = ("mock".to_owned(), "gpu".to_owned());
            let judgement = Judgement {
                at: at_ms(self.now_ms),
                model,
                node,
                detections,
                width: WIDTH,
                height: HEIGHT,
                looked: Vec::new(),
                frame: Some(frame),
            };
            self.tracking.sight(Sight::Judged(judgement)).await;
            self.now_ms += FRAME_MS;
        }
    }

    /// So many seconds in which nobody is asked, as nothing moves.
    async fn still(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.tracking.sight(Sight::Still { at: at_ms(self.now_ms), moving: Vec::new() }).await;
            self.now_ms += 1000;
        }
    }

    /// So many frames with motion, in one place, or without.
    async fn moves(&mut self, frames: usize, area: Option<[f32; 4]>) {
        for _ in 0..frames {
            let frame = Some(grey(self.now_ms));
            let sight = Sight::Motion { at: at_ms(self.now_ms), areas: Vec::from_iter(area), frame };
            self.tracking.sight(sight).await;
            self.now_ms += FRAME_MS;
        }
    }

    /// All that was told, up to the first end.
    async fn told(&self) -> Vec<Event> {
        let mut newest = self.outbox.newest();
        loop {
            newest.borrow_and_update();
            let entries = self.outbox.next(0).await.expect("it answers");
            let events: Vec<Event> = entries.into_iter().map(|entry| entry.event).collect();
            if events.iter().any(|event| event.phase == Phase::End) {
                return events;
            }
            newest.changed().await.expect("the outbox lives");
        }
    }

    fn has_picture(&self, event: &Event) -> bool {
        self.snapshots.path(&event.camera, event.id, Cut::Whole).is_some_and(|path| path.is_file())
    }
}

fn grey(index: i64) -> Arc<Frame> {
    let pixels = Blob(vec![128; (WIDTH * HEIGHT * 3 / 2) as usize]);
    let (width, height) = (WIDTH, HEIGHT);
    Arc::new(Frame { index: index as u64, pts_us: 0, captured_us: 0, replayed: false, width, height, pixels })
}

fn left_half(name: &str, required: bool) -> RulesSettings {
    let shape = Shape::Area(Polygon(vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]));
    let (name, labels) = (name.to_owned(), Vec::new());
    let zone = Zone { name, shape, inertia: 2, dwell: Duration::ZERO, labels, required, schedule: None };
    RulesSettings { zones: vec![zone], ..RulesSettings::default() }
}

fn phases(events: &[Event]) -> Vec<(Phase, &[String])> {
    events.iter().map(|event| (event.phase, event.zones.as_slice())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_tells_of_a_zone_as_soon_as_it_is_entered() {
    let mut site = Site::start(left_half("yard", false)).await;
    site.see(5, Some(400.0)).await;
    site.see(3, Some(330.0)).await;
    site.see(5, Some(270.0)).await;
    site.see(15, None).await;
    let (events, yard) = (site.told().await, ["yard".to_owned()]);
    assert_eq!(phases(&events), [(Phase::Start, &[][..]), (Phase::Update, &yard), (Phase::End, &yard)]);
    let end = &events[2];
    assert_eq!((end.begin, end.end, end.reason), (at_ms(0), at_ms(12 * FRAME_MS), Some(EndReason::Left)));
    assert_eq!((end.score, end.top_score, end.revision), (0.9, 0.9, 2));
    site.root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_enters_a_required_zone_late_is_an_event_from_when_it_came() {
    let mut site = Site::start(left_half("yard", true)).await;
    site.see(10, Some(400.0)).await;
    site.see(3, Some(330.0)).await;
    site.see(3, Some(270.0)).await;
    site.see(15, None).await;
    let events = site.told().await;
    let yard = ["yard".to_owned()];
    assert_eq!(phases(&events), [(Phase::Start, &yard[..]), (Phase::End, &yard)]);
    assert_eq!((events[0].begin, events[0].end), (at_ms(0), at_ms(14 * FRAME_MS)));
    site.root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_event_has_its_picture_when_it_ends() {
    let mut site = Site::start(RulesSettings::default()).await;
    site.see(4, Some(300.0)).await;
    site.see(15, None).await;
    let events = site.told().await;
    let (start, end) = (&events[0], &events[events.len() - 1]);
    assert_eq!((start.has_snapshot, end.has_snapshot), (false, true));
    assert!(site.has_picture(end), "in {}", site.dir.path().display());
    site.root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn motion_is_an_event_with_zones_and_a_picture_too() {
    let mut site = Site::start(left_half("yard", true)).await;
    site.moves(5, Some([0.6, 0.6, 0.8, 0.9])).await;
    site.moves(5, Some([0.2, 0.6, 0.4, 0.9])).await;
    site.moves(15, None).await;
    let events = site.told().await;
    let yard = ["yard".to_owned()];
    assert_eq!(phases(&events), [(Phase::Start, &yard[..]), (Phase::End, &yard)]);
    assert_eq!((events[1].label.as_str(), events[1].begin), ("motion", at_ms(0)));
    assert!(events[1].has_snapshot && site.has_picture(&events[1]));
    site.root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_needs_nobody_and_is_told_of_seldom() {
    let mut site = Site::start(RulesSettings::default()).await;
    site.see(55, Some(300.0)).await;
    site.still(40).await;
    let stood_until = site.now_ms - 1000;
    site.see(15, None).await;
    let events = site.told().await;
    let end = events.last().expect("it ended");
    assert_eq!((events.len(), end.end), (2, at_ms(stood_until)), "update_every is an hour");
    assert!(!site.tracking.live());
    assert_eq!(site.tracking.attention(), Attention::default());
    site.root.stop().await;
}
