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
    noise: i32,
    light: i32,
    size: (usize, usize),
}

impl Scene {
    fn new(noise: i32) -> Self {
        Self { motion: Motion::new(SETTINGS), random: 1, noise, light: 0, size: (WIDTH, HEIGHT) }
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
        self.motion.judge(self.size.0, self.size.1, &picture)
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
        let verdict = scene.motion.judge(width, height, &vec![0; bytes]);
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
        let mut motion = Motion::new(MotionSettings { threshold, cells_min });
        let mut random = seed | 1;
        let mut picture = vec![0u8; width * height];
        for frame in 0..12 {
            // Half of the pixels change each time.
            for pixel in &mut picture[frame % 2 * (width * height / 2)..] {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *pixel = (random >> 56) as u8;
            }
            let verdict = motion.judge(width, height, &picture);
            prop_assert_eq!(verdict.moving, !verdict.areas.is_empty());
            prop_assert_eq!(verdict.moving, verdict.cells > 0);
            for [x0, y0, x1, y1] in verdict.areas {
                prop_assert!(0.0 <= x0 && x0 < x1 && x1 <= 1.0 && 0.0 <= y0 && y0 < y1 && y1 <= 1.0);
            }
        }
        // The same picture again and again is no motion, once it was learnt or has settled.
        motion.size = (0, 0);
        for _ in 0..12 {
            prop_assert!(!motion.judge(width, height, &picture).moving);
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
            let verdict = scene.motion.judge(width, height, &pictures[frame % pictures.len()]);
            costs_us.push(began.elapsed().as_micros());
            std::hint::black_box(verdict);
        }
        costs_us.sort_unstable();
        println!("{width}x{height}: quartile {} us, median {} us", costs_us[200], costs_us[400]);
    }
}
