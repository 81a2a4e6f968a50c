//! Motion: where a picture differs from what this camera usually shows. Pure: no clock, no I/O.
//!
//!   Y plane ──▶ shrunk to ~320 wide ──▶ |pixel - background| > threshold ──▶ 8x8 cells ──▶ areas
//!                                            ▲    │
//!                                       [background: running average, 8.8 fixed point]
//!
//! A running average and cell counts instead of a mixture of Gaussians and labelled pixels: a twentieth of
//! the time, and it only decides whether a model is asked. It says "moving" too often rather than too seldom.

mod areas;
mod background;
mod mask;

#[cfg(test)]
mod tests;

use areas::Grid;
use background::{Background, PACE};
use config::watching::Polygon;
use std::time::Duration;

/// The picture is shrunk by a whole factor until it is no wider.
const WIDTH_PX_MAX: usize = 320;

/// Frames that only learn, about a second at five a second: at the start, and after a change of light.
const LEARN_FRAMES: u32 = 5;

/// More of the picture than this percentage changed at once: the light did, or the camera was turned.
const CHANGED_PERCENT_MAX: usize = 60;

/// Changes of light in a row, after which it is called motion: a picture that never settles must not pass
/// for one in which nothing happens.
const RELEARNS_MAX: u32 = 3;

/// Calm frames after which a further change of light is again the first in a row.
const CALM_FRAMES: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MotionSettings {
    /// By how many grey levels a pixel has to differ.
    pub threshold: u8,
    /// Fewer changed cells side by side are not an area.
    pub cells_min: u32,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct MotionVerdict {
    pub moving: bool,
    /// Where: x0, y0, x1, y1 as fractions of the frame, one box for each group of cells.
    pub areas: Vec<[f32; 4]>,
    /// Changed cells in all areas together.
    pub cells: u32,
    /// Nothing can be said yet: the background is being learnt.
    pub learning: bool,
}

pub struct Motion {
    settings: MotionSettings,
    masks: Vec<Polygon>,
    /// When the last frame was shown, in the stream's time.
    shown: Option<Duration>,
    size: (usize, usize),
    background: Background,
    grid: Grid,
    /// Frames that are still to be learnt from.
    learn_left: u32,
    relearns: u32,
    calm: u32,
}

impl Motion {
    /// Nothing inside `masks` counts.
    pub fn new(settings: MotionSettings, masks: Vec<Polygon>) -> Self {
        Self {
            settings,
            masks,
            shown: None,
            size: (0, 0),
            background: Background::default(),
            grid: Grid::default(),
            learn_left: 0,
            relearns: 0,
            calm: 0,
        }
    }

    /// `y` is the picture's luma without padding. A plane that is too short is no picture: nothing is said of it.
    /// `shown` is when, in the stream's time: frames may be seconds apart, or of a moment that was judged already.
    pub fn judge(&mut self, shown: Duration, width: usize, height: usize, y: &[u8]) -> MotionVerdict {
        // Before the last one: of another life of the stream, or replayed.
        let after = self.shown.replace(shown).map_or(PACE, |last| shown.checked_sub(last).unwrap_or(PACE));
        let bytes = width.saturating_mul(height);
        let learning = MotionVerdict { learning: true, ..MotionVerdict::default() };
        let Some(y) = y.get(..bytes).filter(|y| !y.is_empty()) else { return learning };
        if self.size != (width, height) {
            self.resize(width, height);
            self.background.reset(y, width);
            return learning;
        }
        if self.learn_left > 0 {
            self.learn_left -= 1;
            self.background.learn(y, width);
            return learning;
        }
        self.background.compare(y, width, self.settings.threshold, after, &mut self.grid);
        self.grid.apply_masks();
        if self.grid.changed() * 100 > self.grid.len() * CHANGED_PERCENT_MAX {
            return self.light_changed(y, width);
        }
        self.calm = self.calm.saturating_add(1);
        if self.calm >= CALM_FRAMES {
            self.relearns = 0;
        }
        self.found()
    }

    fn resize(&mut self, width: usize, height: usize) {
        let factor = width.div_ceil(WIDTH_PX_MAX);
        self.size = (width, height);
        self.background = Background::new(width, height, factor);
        self.grid = Grid::new(self.background.width(), self.background.height(), &self.masks);
        (self.learn_left, self.relearns, self.calm) = (LEARN_FRAMES - 1, 0, 0);
    }

    fn light_changed(&mut self, y: &[u8], width: usize) -> MotionVerdict {
        self.background.reset(y, width);
        self.learn_left = LEARN_FRAMES - 1;
        self.calm = 0;
        self.relearns = self.relearns.saturating_add(1);
        if self.relearns > RELEARNS_MAX {
            let cells = u32::try_from(self.grid.changed()).unwrap_or(u32::MAX);
            return MotionVerdict { moving: true, areas: vec![[0.0, 0.0, 1.0, 1.0]], cells, learning: true };
        }
        MotionVerdict { learning: true, ..MotionVerdict::default() }
    }

    fn found(&mut self) -> MotionVerdict {
        let (areas, cells) = self.grid.areas(self.settings.cells_min.max(1));
        MotionVerdict { moving: !areas.is_empty(), areas, cells, learning: false }
    }
}
