//! Pictures drawn by ourselves, in I420: what a test expects to be seen is then known exactly.

use super::squares::{Rng, Schedule, Size, Square};
use std::time::Duration;

/// RGB of the background, darker than every square.
const BACKGROUND_GREY: u8 = 32;

/// Sensor noise on the background, in luma steps to either side.
const SENSOR_NOISE: u8 = 2;

/// Noise of the scene `noise`: everything moves, all the time.
const STORM_NOISE: u8 = 60;

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
}

impl Scene {
    pub fn length(&self) -> Duration {
        match self {
            Self::Squares(schedule) => schedule.length(),
            Self::Still { length } | Self::Noise { length } => *length,
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
}

/// How much longer the noise is than a picture, in bytes: that many different backgrounds.
const NOISE_SLACK: usize = 1 << 16;

impl Painter {
    /// Both sides of `size` must be even.
    pub fn new(scene: Scene, size: Size, seed: u64) -> Self {
        let mut rng = Rng::new(seed, u64::MAX);
        let (middle, spread) = match scene {
            Scene::Noise { .. } => (128, STORM_NOISE),
            _ => (ycbcr([BACKGROUND_GREY; 3])[0], SENSOR_NOISE),
        };
        let luma_bytes = (size.width * size.height) as usize;
        let steps = u64::from(spread) * 2 + 1;
        let noise = (0..luma_bytes + NOISE_SLACK).map(|_| middle - spread + (rng.draw() % steps) as u8).collect();
        Self { scene, size, rng, noise }
    }

    /// The picture at `at` since the scene's start.
    pub fn paint(&mut self, at: Duration) -> Vec<u8> {
        let luma_bytes = (self.size.width * self.size.height) as usize;
        let from = self.rng.draw() as usize % NOISE_SLACK;
        let mut picture = Vec::with_capacity(luma_bytes * 3 / 2);
        picture.extend_from_slice(&self.noise[from..from + luma_bytes]);
        picture.resize(luma_bytes * 3 / 2, 128);
        if let Scene::Squares(schedule) = &self.scene {
            for square in schedule.squares_at(at) {
                self.draw(&mut picture, square);
            }
        }
        picture
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
    use super::*;

    const SIZE: Size = Size { width: 640, height: 360 };

    fn squares(seed: u64) -> (Schedule, Painter) {
        let schedule = Schedule::new(seed, 3, 8.0, SIZE, Duration::from_secs(30));
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
}
