//! Motion on drawn pictures: a textured wall, sensor noise, and dark patches that pass.

use super::*;
use proptest::prelude::*;
use std::time::Instant;

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const SETTINGS: MotionSettings = MotionSettings { threshold: 18, cells_min: 3 };

/// x0, y0, x1, y1 in pixels.
type Patch = [usize; 4];

/// A camera with noise of its own.
struct Scene {
    motion: Motion,
    random: u64,
    /// Between two frames, and when the last one was.
    pace: Duration,
    at: Duration,
    noise: i32,
    light: i32,
    size: (usize, usize),
}

impl Scene {
    fn new(noise: i32) -> Self {
        Self::masked(noise, Vec::new())
    }

    fn masked(noise: i32, masks: Vec<Polygon>) -> Self {
        let (motion, at) = (Motion::new(SETTINGS, masks), Duration::ZERO);
        Self { motion, random: 1, pace: PACE, at, noise, light: 0, size: (WIDTH, HEIGHT) }
    }

    /// One that has learnt its background.
    fn settled() -> Self {
        let mut scene = Self::new(6);
        scene.watch(10, &[]);
        scene
    }

    fn noise(&mut self) -> i32 {
        // Four uniform numbers make nearly a bell.
        let mut sum = 0;
        for _ in 0..4 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            sum += (self.random >> 32) as i32 % (self.noise + 1);
        }
        sum / 2
    }

    fn picture(&mut self, patches: &[Patch]) -> Vec<u8> {
        let (width, height) = self.size;
        let mut picture = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let dark = patches.iter().any(|[x0, y0, x1, y1]| (*x0..*x1).contains(&x) && (*y0..*y1).contains(&y));
                let wall = 110 + ((x / 20 + y / 20) % 3) as i32 * 15;
                picture.push((wall + self.light - i32::from(dark) * 60 + self.noise()).clamp(0, 255) as u8);
            }
        }
        picture
    }

    fn see(&mut self, patches: &[Patch]) -> MotionVerdict {
        let picture = self.picture(patches);
        self.at += self.pace;
        self.motion.judge(self.at, self.size.0, self.size.1, &picture)
    }

    /// So many frames; how many of them moved.
    fn watch(&mut self, frames: usize, patches: &[Patch]) -> usize {
        (0..frames).filter(|_| self.see(patches).moving).count()
    }
}

const PERSON: Patch = [300, 100, 360, 250];

#[test]
fn sensor_noise_is_no_motion() {
    // Up to 24 grey levels, a standard deviation of some 7: an indoor camera at night.
    let mut scene = Scene::new(12);
    assert_eq!(scene.watch(100, &[]), 0);
    assert!(!scene.see(&[]).learning);
}

#[test]
fn a_person_is_found_where_it_is() {
    let verdict = Scene::settled().see(&[PERSON]);
    assert_eq!((verdict.moving, verdict.areas.len()), (true, 1));
    let wanted = [300.0 / 640.0, 100.0 / 360.0, 360.0 / 640.0, 250.0 / 360.0];
    for (found, wanted) in verdict.areas[0].iter().zip(wanted) {
        assert!((found - wanted).abs() < 0.05, "{:?}", verdict.areas);
    }
    assert!((20..=60).contains(&verdict.cells), "{} cells", verdict.cells);
}

#[test]
fn two_things_apart_are_two_areas() {
    assert_eq!(Scene::settled().see(&[PERSON, [500, 40, 560, 120]]).areas.len(), 2);
}

#[test]
fn fewer_cells_than_the_limit_are_no_motion() {
    let mut scene = Scene::settled();
    assert!(!scene.see(&[[304, 112, 316, 124]]).moving);
    scene.motion.settings.cells_min = 1;
    assert!(scene.see(&[[304, 112, 316, 124]]).moving);
}

#[test]
fn who_stands_still_for_ten_seconds_is_still_seen_and_leaves_no_ghost() {
    let mut scene = Scene::settled();
    assert_eq!(scene.watch(50, &[PERSON]), 50);
    assert_eq!(scene.watch(20, &[]), 0);
}

#[test]
fn what_stays_for_minutes_belongs_to_the_picture() {
    let mut scene = Scene::settled();
    scene.watch(5 * 240, &[PERSON]);
    assert_eq!(scene.watch(20, &[PERSON]), 0);
}

#[test]
fn the_first_second_only_learns() {
    let mut scene = Scene::new(6);
    for frame in 0..LEARN_FRAMES as usize {
        let verdict = scene.see(&[[frame * 40, 100, frame * 40 + 60, 250]]);
        assert!(verdict.learning && !verdict.moving);
    }
    assert!(!scene.see(&[]).learning);
}

#[test]
fn a_change_of_light_is_learnt_and_motion_is_found_after_it() {
    let mut scene = Scene::settled();
    for light in [50, -20] {
        scene.light = light;
        assert!(scene.see(&[]).learning);
        assert_eq!(scene.watch(10, &[]), 0);
        assert_eq!(scene.watch(10, &[PERSON]), 10);
        scene.watch(10, &[]);
    }
}

#[test]
fn key_frames_seconds_apart_are_judged_like_those_of_an_awake_camera() {
    let mut scene = Scene::settled();
    for pace_s in [2, 4, 10] {
        scene.pace = Duration::from_secs(pace_s);
        assert_eq!(scene.watch(50, &[]), 0, "every {pace_s} s");
        assert!(scene.see(&[PERSON]).moving);
        assert_eq!(scene.watch(10, &[]), 0, "it has left no ghost");
    }
}

#[test]
fn light_that_changes_slowly_is_no_motion_however_seldom_it_is_seen() {
    for (pace_ms, frames) in [(200, 3000), (4000, 150)] {
        let mut scene = Scene::settled();
        scene.pace = Duration::from_millis(pace_ms);
        let mut moving = 0;
        for frame in 0..frames {
            // Ten minutes from the dark to the light.
            scene.light = -50 + 100 * frame / frames;
            moving += usize::from(scene.see(&[]).moving);
        }
        assert_eq!(moving, 0, "every {pace_ms} ms");
    }
}

#[test]
fn a_group_of_pictures_that_is_replayed_is_judged_as_it_was() {
    let mut scene = Scene::settled();
    scene.pace = Duration::from_secs(4);
    assert_eq!(scene.watch(5, &[]), 0);
    // Woken in the middle: the key frame again, and all that came after it.
    (scene.at, scene.pace) = (scene.at - PACE, PACE);
    assert_eq!(scene.watch(6, &[]), 0);
    assert_eq!(scene.watch(6, &[PERSON]), 6);
}

#[test]
fn nothing_in_a_mask_moves() {
    let masks = || vec![Polygon(vec![[0.0, 0.0], [0.6, 0.0], [0.6, 1.0], [0.0, 1.0]])];
    let mut scene = Scene::masked(6, masks());
    scene.watch(10, &[]);
    assert_eq!(scene.watch(10, &[PERSON]), 0);
    assert!(scene.see(&[[500, 100, 560, 250]]).moving);
    // Half of the rest is a change of light there, however little it is of the whole.
    assert!(scene.see(&[[384, 0, 640, 300]]).learning);
    let mut blind = Scene::masked(6, vec![Polygon(vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])]);
    blind.watch(10, &[]);
    assert_eq!(blind.watch(10, &[[0, 0, 640, 360]]), 0);
}

#[test]
fn a_picture_that_never_settles_is_motion() {
    let mut scene = Scene::settled();
    let mut moving = 0;
    for flash in 0..40 {
        scene.light = if flash % 2 == 0 { 60 } else { 0 };
        moving += scene.watch(5, &[]);
    }
    assert!(moving > 10, "{moving} frames");
}

#[test]
fn another_size_is_learnt_anew() {
    let mut scene = Scene::settled();
    scene.size = (320, 240);
    assert!(scene.see(&[]).learning);
    assert_eq!(scene.watch(10, &[]), 0);
    assert!(scene.see(&[[100, 60, 140, 160]]).moving);
}

#[test]
fn a_broken_picture_says_nothing() {
    let mut scene = Scene::settled();
    for (width, height, bytes) in [(0, 0, 0), (640, 360, 100), (0, 360, 5), (usize::MAX, 2, 5)] {
        let verdict = scene.motion.judge(PACE, width, height, &vec![0; bytes]);
        assert!(verdict.learning && !verdict.moving);
    }
    assert!(scene.see(&[PERSON]).moving);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_picture_of_any_size_gets_a_sound_verdict(
        width in 1..900usize, height in 1..200usize, threshold: u8, cells_min in 0..9u32, seed: u64,
    ) {
        let mut motion = Motion::new(MotionSettings { threshold, cells_min }, Vec::new());
        let mut random = seed | 1;
        let mut picture = vec![0u8; width * height];
        for frame in 0..12 {
            // Half of the pixels change each time.
            for pixel in &mut picture[frame % 2 * (width * height / 2)..] {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *pixel = (random >> 56) as u8;
            }
            let verdict = motion.judge(PACE * frame as u32, width, height, &picture);
            prop_assert_eq!(verdict.moving, !verdict.areas.is_empty());
            prop_assert_eq!(verdict.moving, verdict.cells > 0);
            for [x0, y0, x1, y1] in verdict.areas {
                prop_assert!(0.0 <= x0 && x0 < x1 && x1 <= 1.0 && 0.0 <= y0 && y0 < y1 && y1 <= 1.0);
            }
        }
        // The same picture again and again is no motion, once it was learnt or has settled.
        motion.size = (0, 0);
        for _ in 0..12 {
            prop_assert!(!motion.judge(PACE, width, height, &picture).moving);
        }
    }
}

#[test]
#[ignore = "a measurement, not a check: cargo test -p actors motion -- --ignored --nocapture"]
fn what_a_frame_costs() {
    for (width, height) in [(640, 360), (768, 432), (1920, 1080)] {
        let mut scene = Scene { size: (width, height), ..Scene::new(6) };
        let pictures: Vec<Vec<u8>> = (0..8).map(|x| scene.picture(&[[x * 20, 100, x * 20 + 90, 300]])).collect();
        let mut costs_us = Vec::new();
        for frame in 0..800 {
            let began = Instant::now();
            let verdict = scene.motion.judge(PACE * frame as u32, width, height, &pictures[frame % pictures.len()]);
            costs_us.push(began.elapsed().as_micros());
            std::hint::black_box(verdict);
        }
        costs_us.sort_unstable();
        println!("{width}x{height}: quartile {} us, median {} us", costs_us[200], costs_us[400]);
    }
}
