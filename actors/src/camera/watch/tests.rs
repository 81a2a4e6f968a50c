//! What a watch makes of frames, without a model or with one that cannot be asked.

use super::*;
use crate::fabric::link::Link;
use config::watching::Gears;
use protocol::codec::Blob;
use protocol::{Epoch, Role};

const LEARN_FRAMES: u64 = 5;

fn watch(model: Option<Model>) -> Watch {
    Watch {
        camera: "door".parse().expect("a name"),
        slot: Slot::default(),
        coverage: Coverage::default(),
        motion: MotionSettings { threshold: 18, cells_min: 3 },
        masks: Vec::new(),
        regions: Regions::default(),
        gears: Gearbox::default(),
        footage: Footage::default(),
        tracking: Tracking::default(),
        model,
    }
}

/// Nobody listens to its questions.
fn model() -> Option<Model> {
    let links = ["gpu", "standby"].map(|label| Link::labelled(Vec::new(), Role::Gpu, label));
    let asker = Asker::new(Epoch(1), "main/edge/yard".to_owned(), links);
    Some(Model { asker, name: None, deadline: Duration::from_secs(1), priority: Priority::Normal })
}

struct Scene {
    watch: Watch,
    eyes: Eyes,
    size: (u32, u32),
    frames: u64,
}

impl Scene {
    fn new(watch: Watch, size: (u32, u32)) -> Self {
        let motion = Motion::new(watch.motion, watch.masks.clone());
        Self { watch, eyes: Eyes { motion, moved: None, whole_next: false, asked: 0 }, size, frames: 0 }
    }

    /// One that has learnt its background.
    fn settled(watch: Watch, size: (u32, u32)) -> Self {
        let mut scene = Self::new(watch, size);
        (0..LEARN_FRAMES).for_each(|_| drop(scene.see(None)));
        scene
    }

    /// A grey picture with a dark patch: x0, y0, x1, y1 in pixels.
    fn frame(&mut self, patch: Option<[u32; 4]>) -> Arc<Frame> {
        let (width, height) = self.size;
        self.frames += 1;
        let dark = |at: u32| {
            patch.is_some_and(|[x0, y0, x1, y1]| (x0..x1).contains(&(at % width)) && (y0..y1).contains(&(at / width)))
        };
        let luma = (0..width * height).map(|at| if dark(at) { 60 } else { 130 });
        let pixels = luma.chain(std::iter::repeat_n(128, (width * height / 2) as usize)).collect();
        let (pts_us, captured_us) = (self.frames * 200_000, self.frames as i64 * 200_000);
        let (index, pixels) = (self.frames, Blob(pixels));
        Arc::new(Frame { index, pts_us, captured_us, replayed: false, width, height, pixels })
    }

    fn see(&mut self, patch: Option<[u32; 4]>) -> Question {
        let frame = self.frame(patch);
        self.watch.question(&mut self.eyes, &frame)
    }

    fn parts(&mut self, patch: Option<[u32; 4]>) -> Option<Vec<Part>> {
        match self.see(patch) {
            Question::Ask { parts, .. } => Some(parts),
            Question::Later | Question::Still(_) | Question::Motion(_) => None,
        }
    }
}

const SMALL: [u32; 4] = [600, 300, 640, 380];

#[tokio::test]
async fn while_nothing_moves_nobody_is_asked_and_that_is_a_judgement() {
    let mut scene = Scene::settled(watch(model()), (320, 180));
    assert!(scene.watch.coverage.blind().is_some(), "to learn is not to judge");
    assert!(matches!(scene.see(None), Question::Still(areas) if areas.is_empty()));
    assert_eq!(scene.watch.coverage.blind(), None);
}

#[tokio::test]
async fn while_motion_is_learnt_the_whole_frame_is_asked_about() {
    let mut scene = Scene::new(watch(model()), (1280, 720));
    assert_eq!(scene.parts(Some(SMALL)), Some(Vec::new()));
}

#[tokio::test]
async fn a_small_thing_in_a_large_frame_is_asked_about_alone() {
    let mut scene = Scene::settled(watch(model()), (1280, 720));
    let parts = scene.parts(Some(SMALL)).expect("it moves");
    assert_eq!(parts.len(), 1);
    let [x0, y0, x1, y1] = parts[0].fractions((1280, 720));
    assert!(x0 < 600.0 / 1280.0 && x1 > 640.0 / 1280.0 && y0 < 300.0 / 720.0 && y1 > 380.0 / 720.0);
    assert_eq!(scene.parts(None).map(|parts| parts.len()), Some(1), "it has only just gone");
    scene.eyes.whole_next = true;
    assert_eq!(scene.parts(Some(SMALL)), Some(Vec::new()), "something reached beyond");
    assert_eq!(scene.parts(Some(SMALL)).map(|parts| parts.len()), Some(1));
}

#[tokio::test]
async fn a_small_frame_is_asked_about_as_a_whole() {
    let mut scene = Scene::settled(watch(model()), (320, 180));
    assert_eq!(scene.parts(Some([100, 50, 140, 120])), Some(Vec::new()));
}

#[tokio::test]
async fn the_frame_that_wakes_a_camera_is_put_aside_until_what_led_to_it_has_come() {
    // Without sizes, it idles as soon as its background is learnt and nothing moves.
    let gears = Gears { idle_after: Duration::ZERO, size_ratio: 0.0, ..Gears::default() };
    let watch = Watch { gears: Gearbox::new(gears), ..watch(None) };
    let mut scene = Scene::settled(watch, (320, 180));
    assert!(matches!(scene.see(None), Question::Motion(areas) if areas.is_empty()));
    assert!(matches!(scene.watch.gears.gear(), Gear::Idle { .. }));
    let patch = Some([100, 50, 140, 120]);
    assert!(matches!(scene.see(patch), Question::Later));
    assert_eq!(scene.watch.gears.gear(), Gear::Awake);
    assert!(matches!(scene.see(patch), Question::Motion(areas) if areas.len() == 1));
}

#[tokio::test]
async fn without_a_model_motion_is_what_is_told() {
    let mut scene = Scene::settled(watch(None), (320, 180));
    assert!(matches!(scene.see(None), Question::Motion(areas) if areas.is_empty()));
    assert!(matches!(scene.see(Some([100, 50, 140, 120])), Question::Motion(areas) if areas.len() == 1));
    assert_eq!(scene.watch.coverage.blind(), None);
}

#[tokio::test]
async fn frames_are_told_in_their_order_and_a_question_that_failed_judges_none() {
    let mut scene = Scene::settled(watch(model()), (1280, 720));
    let mut answers = FuturesOrdered::new();
    for patch in [None, Some(SMALL), None] {
        let frame = scene.frame(patch);
        answers.push_back(scene.watch.look(&mut scene.eyes, frame));
    }
    assert_eq!(scene.eyes.asked, 2);
    let told: Vec<Answer> = answers.collect().await;
    assert!(matches!(&told[0], Answer::Still { at, .. } if at.micros() == 6 * 200_000));
    for (answer, captured_us) in told[1..].iter().zip([7 * 200_000, 8 * 200_000]) {
        let Answer::Asked { frame, outcome, looked, .. } = answer else { panic!("it was asked about") };
        assert_eq!((frame.captured_us, looked.len()), (captured_us, 1));
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }
    let Some(Answer::Asked { frame, looked, node, outcome, .. }) = told.into_iter().nth(1) else { panic!("asked") };
    let sight = scene.watch.told(&frame, looked, node, outcome);
    assert!(matches!(sight, Sight::Unjudged { .. }));
}
