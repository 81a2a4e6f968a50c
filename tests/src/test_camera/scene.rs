//! Pictures drawn by ourselves, in I420: what a test expects to be seen is then known exactly.

use super::squares::{Rng, Schedule, Size, Square};
use std::time::Duration;

/// RGB of the background, darker than every square.
const BACKGROUND_GREY: u8 = 32;

/// Sensor noise on the background, in luma steps to either side.
const SENSOR_NOISE: u8 = 2;

/// Noise of the scene `noise`: everything moves, all the time.
const STORM_NOISE: u8 = 60;

/// Sensor noise of a camera at dusk, in luma steps to either side; steps near the middle are the frequent ones.
const DUSK_NOISE: u8 = 8;

/// The large object goes there and back in about so long.
const BUSY_ROUND_S: f64 = 8.0;

/// By so much it is brighter than what it hides.
const BUSY_BRIGHTER: u8 = 70;

#[derive(Debug, Clone, PartialEq)]
pub enum Scene {
    Squares(Schedule),
    /// Nothing but the background.
    Still {
        length: Duration,
    },
    Noise {
        length: Duration,
    },
    /// What a camera sees at dusk when nothing happens: textured, noisy, still.
    Quiet {
        length: Duration,
    },
    /// The same, and something large in it that moves all the time.
    Busy {
        length: Duration,
    },
}

impl Scene {
    pub fn length(&self) -> Duration {
        match self {
            Self::Squares(schedule) => schedule.length(),
            Self::Still { length } | Self::Noise { length } | Self::Quiet { length } | Self::Busy { length } => *length,
        }
    }

    /// The same, drawn larger or smaller.
    pub fn at_size(&self, size: Size) -> Self {
        match self {
            Self::Squares(schedule) => Self::Squares(schedule.at_size(size)),
            other => other.clone(),
        }
    }
}

/// Draws one scene at one size.
pub struct Painter {
    scene: Scene,
    size: Size,
    rng: Rng,
    /// Longer than a picture: each takes its luma from another place of it, which is cheaper than fresh noise.
    noise: Vec<u8>,
    /// What the noise lies on, less its half; empty where that is flat.
    ground: Vec<u8>,
}

/// How much longer the noise is than a picture, in bytes: that many different backgrounds.
const NOISE_SLACK: usize = 1 << 16;

impl Painter {
    /// Both sides of `size` must be even.
    pub fn new(scene: Scene, size: Size, seed: u64) -> Self {
        let mut rng = Rng::new(seed, u64::MAX);
        let noise_bytes = (size.width * size.height) as usize + NOISE_SLACK;
        if matches!(scene, Scene::Quiet { .. } | Scene::Busy { .. }) {
            let half = u64::from(DUSK_NOISE) + 1;
            let noise = (0..noise_bytes).map(|_| (rng.draw() % half + rng.draw() % half) as u8).collect();
            let ground = texture(size, &mut rng);
            return Self { scene, size, rng, noise, ground };
        }
        let (middle, spread) = match scene {
            Scene::Noise { .. } => (128, STORM_NOISE),
            _ => (ycbcr([BACKGROUND_GREY; 3])[0], SENSOR_NOISE),
        };
        let steps = u64::from(spread) * 2 + 1;
        let noise = (0..noise_bytes).map(|_| middle - spread + (rng.draw() % steps) as u8).collect();
        Self { scene, size, rng, noise, ground: Vec::new() }
    }

    /// The picture at `at` since the scene's start.
    pub fn paint(&mut self, at: Duration) -> Vec<u8> {
        let luma_bytes = (self.size.width * self.size.height) as usize;
        let from = self.rng.draw() as usize % NOISE_SLACK;
        let mut picture = Vec::with_capacity(luma_bytes * 3 / 2);
        let noise = &self.noise[from..from + luma_bytes];
        if self.ground.is_empty() {
            picture.extend_from_slice(noise);
        } else {
            picture.extend(self.ground.iter().zip(noise).map(|(ground, noise)| ground + noise));
        }
        picture.resize(luma_bytes * 3 / 2, 128);
        if let Scene::Busy { length } = self.scene {
            self.brighten(&mut picture, busy_at(self.size, length, at));
        }
        if let Scene::Squares(schedule) = &self.scene {
            for square in schedule.squares_at(at) {
                self.draw(&mut picture, square);
            }
        }
        picture
    }

    /// The large object: see-through, so that it has texture and noise of its own.
    fn brighten(&self, picture: &mut [u8], [left, top, width, height]: [usize; 4]) {
        for row in top..top + height {
            let from = row * self.size.width as usize + left;
            picture[from..from + width].iter_mut().for_each(|luma| *luma += BUSY_BRIGHTER);
        }
    }

    fn draw(&self, picture: &mut [u8], square: Square) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let [y, cb, cr] = ycbcr(square.colour.rgb());
        let (luma, chroma) = picture.split_at_mut(width * height);
        let (plane_cb, plane_cr) = chroma.split_at_mut(width * height / 4);
        fill(luma, width, height, square, 1, y);
        fill(plane_cb, width / 2, height / 2, square, 2, cb);
        fill(plane_cr, width / 2, height / 2, square, 2, cr);
    }
}

/// Left, top, width and height of the large object. It is where it began when `length` is over.
fn busy_at(size: Size, length: Duration, at: Duration) -> [usize; 4] {
    let (width, height) = (size.width as usize / 4, size.height as usize / 3);
    let length_s = length.as_secs_f64();
    let round_s = length_s / (length_s / BUSY_ROUND_S).round().max(1.0);
    let turn = (at.as_secs_f64() / round_s).fract();
    let way = 1.0 - (2.0 * turn - 1.0).abs();
    [((size.width as usize - width) as f64 * way) as usize, height, width, height]
}

/// Patches of several sizes on top of each other, from 40 to 150 or so.
fn texture(size: Size, rng: &mut Rng) -> Vec<u8> {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut luma = vec![40.0f32; width * height];
    for (patch_px, spread) in [(96, 50.0), (24, 30.0), (6, 24.0), (2, 8.0)] {
        let columns = width / patch_px + 2;
        let corners: Vec<f32> = (0..columns * (height / patch_px + 2)).map(|_| (rng.unit() * spread) as f32).collect();
        for (y, row) in luma.chunks_exact_mut(width).enumerate() {
            let (upper, down) = (y / patch_px * columns, (y % patch_px) as f32 / patch_px as f32);
            for (x, value) in row.iter_mut().enumerate() {
                let (corner, right) = (upper + x / patch_px, (x % patch_px) as f32 / patch_px as f32);
                let mix = |at: usize| corners[at] * (1.0 - right) + corners[at + 1] * right;
                *value += mix(corner) * (1.0 - down) + mix(corner + columns) * down;
            }
        }
    }
    luma.into_iter().map(|luma| luma as u8 - DUSK_NOISE).collect()
}

/// Fills what lies inside a plane that is `shrink` times smaller than the picture.
fn fill(plane: &mut [u8], width: usize, height: usize, square: Square, shrink: i64, value: u8) {
    let clip = |at: i64, end: usize| usize::try_from((at / shrink).max(0)).unwrap_or(0).min(end);
    let (left, right) = (clip(square.x, width), clip(square.x + square.side, width));
    for row in clip(square.y, height)..clip(square.y + square.side, height) {
        plane[row * width + left..row * width + right].fill(value);
    }
}

/// BT.601, studio range: what decoders assume of small pictures.
fn ycbcr([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (r, g, b) = (f64::from(r), f64::from(g), f64::from(b));
    let y = 16.0 + 0.257 * r + 0.504 * g + 0.098 * b;
    let cb = 128.0 - 0.148 * r - 0.291 * g + 0.439 * b;
    let cr = 128.0 + 0.439 * r - 0.368 * g - 0.071 * b;
    [y.round() as u8, cb.round() as u8, cr.round() as u8]
}

#[cfg(test)]
mod tests {
    use super::super::squares::Habits;
    use super::*;

    const SIZE: Size = Size { width: 640, height: 360 };

    fn squares(seed: u64) -> (Schedule, Painter) {
        let schedule = Schedule::new(seed, 3, Habits { lifetime_s: 8.0, pause_s: 2.0 }, SIZE, Duration::from_secs(30));
        (schedule.clone(), Painter::new(Scene::Squares(schedule), SIZE, seed))
    }

    #[test]
    fn the_same_seed_paints_the_same_pictures() {
        let (mut one, mut two, mut other) = (squares(1).1, squares(1).1, squares(2).1);
        for second in [0, 5, 10] {
            let at = Duration::from_secs(second);
            let picture = one.paint(at);
            assert_eq!(picture, two.paint(at));
            assert_ne!(picture, other.paint(at));
        }
    }

    #[test]
    fn a_square_is_drawn_where_the_schedule_says() {
        let (schedule, mut painter) = squares(4);
        let visit = &schedule.visits()[0];
        let at = (visit.begin + visit.end) / 2;
        let square = schedule.squares_at(at)[0];
        let picture = painter.paint(at);
        let luma = |x: i64, y: i64| picture[(y * 640 + x) as usize];
        let middle = luma(square.x + square.side / 2, square.y + square.side / 2);
        assert_eq!(middle, ycbcr(square.colour.rgb())[0]);
        assert!(luma(square.x + square.side / 2, square.y - 2) <= 46, "the background is dark");
    }

    #[test]
    fn every_colour_stands_out_from_the_background_in_luma() {
        use super::super::squares::Colour::{Blue, Green, Red};
        let ground = ycbcr([BACKGROUND_GREY; 3])[0];
        for colour in [Red, Green, Blue] {
            assert!(ycbcr(colour.rgb())[0] >= ground + 30, "{colour:?} is too dark");
        }
    }

    #[test]
    fn a_still_scene_moves_by_no_more_than_sensor_noise() {
        let mut painter = Painter::new(Scene::Still { length: Duration::from_secs(1) }, SIZE, 1);
        let (one, two) = (painter.paint(Duration::ZERO), painter.paint(Duration::from_millis(100)));
        assert!(one.iter().zip(&two).all(|(a, b)| a.abs_diff(*b) <= 2 * SENSOR_NOISE));
        assert_ne!(one, two);
    }

    #[test]
    fn a_quiet_scene_is_textured_and_moves_by_no_more_than_its_noise() {
        let mut painter = Painter::new(Scene::Quiet { length: Duration::from_secs(1) }, SIZE, 1);
        let (one, two) = (painter.paint(Duration::ZERO), painter.paint(Duration::from_millis(100)));
        assert!(one.iter().zip(&two).all(|(a, b)| a.abs_diff(*b) <= 2 * DUSK_NOISE));
        let luma = &one[..640 * 360];
        let (least, most) = (luma.iter().min().expect("some"), luma.iter().max().expect("some"));
        assert!(most - least > 60, "{least} to {most}");
    }

    #[test]
    fn something_large_moves_all_the_time_and_ends_where_it_began() {
        let length = Duration::from_secs(12);
        let left = |ms| busy_at(SIZE, length, Duration::from_millis(ms))[0];
        for ms in (0..12_000).step_by(200) {
            assert!(left(ms).abs_diff(left(ms + 200)) > 2, "it stands still at {ms} ms");
        }
        assert_eq!(left(0), left(12_000));
        let mut painter = Painter::new(Scene::Busy { length }, SIZE, 1);
        let (one, two) = (painter.paint(Duration::ZERO), painter.paint(Duration::from_millis(500)));
        let moved = one.iter().zip(&two).filter(|(a, b)| a.abs_diff(**b) > 40).count();
        assert!(moved > 3000, "{moved} pixels moved");
    }

    #[test]
    fn a_smaller_picture_shows_the_same_at_the_same_time() {
        let (large, small) = (squares(6).0, Size { width: 320, height: 180 });
        for second in 0..30 {
            let at = Duration::from_secs(second);
            let (large, small) = (large.squares_at(at), large.at_size(small).squares_at(at));
            assert_eq!(large.len(), small.len());
            for (large, small) in large.iter().zip(&small) {
                assert!((large.x - 2 * small.x).abs() <= 2 && (large.y - 2 * small.y).abs() <= 2);
            }
        }
    }
}
