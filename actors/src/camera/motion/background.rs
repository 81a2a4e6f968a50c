//! What the camera usually shows: one running average a pixel of the shrunk picture.

use super::areas::{CELL_PX, Grid};
use std::time::Duration;

/// The average moves by 1/32 of the difference, of frames that are [`PACE`] apart: settled after some 6 s.
const USUAL_SHIFT: u32 = 5;

/// Where something differs it moves by 1/512: who stands still for a minute is still seen, and a bench that
/// was put there belongs to the picture after some minutes.
const MOVING_SHIFT: u32 = 9;

/// Of frames twice as far apart, each moves the average by twice as much; of those half as far, by half.
pub(super) const PACE: Duration = Duration::from_millis(200);

/// Never more than half of the difference, and no less than a slow average can be told of.
const USUAL_SHIFTS: [u32; 2] = [1, 8];
const MOVING_SHIFTS: [u32; 2] = [5, 12];

/// While learning it moves by half.
const LEARN_SHIFT: u32 = 1;

#[derive(Default)]
pub(super) struct Background {
    factor: usize,
    width: usize,
    height: usize,
    /// Grey levels times 256.
    average: Vec<u16>,
    /// One shrunk row of the picture at hand, as sums of four pixels.
    row: Vec<u16>,
}

impl Background {
    pub(super) fn new(width: usize, height: usize, factor: usize) -> Self {
        let factor = factor.max(1);
        let (width, height) = ((width / factor).max(1), (height / factor).max(1));
        Self { factor, width, height, average: vec![0; width * height], row: vec![0; width] }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// Takes the picture for the background.
    pub(super) fn reset(&mut self, y: &[u8], full_width: usize) {
        self.each_row(y, full_width, |_, average, row| {
            for (average, sum) in average.iter_mut().zip(row) {
                *average = *sum << 6;
            }
        });
    }

    pub(super) fn learn(&mut self, y: &[u8], full_width: usize) {
        self.each_row(y, full_width, |_, average, row| {
            for (average, sum) in average.iter_mut().zip(row) {
                let off = i32::from(*sum << 6) - i32::from(*average);
                *average = (i32::from(*average) + (off >> LEARN_SHIFT)) as u16;
            }
        });
    }

    /// Counts in each cell the pixels that differ, and lets the average follow. `after`: since the last frame.
    pub(super) fn compare(&mut self, y: &[u8], full_width: usize, threshold: u8, after: Duration, grid: &mut Grid) {
        let threshold = i32::from(threshold) << 8;
        let [usual_shift, moving_shift] = shifts(after);
        grid.clear();
        self.each_row(y, full_width, |row_index, average, row| {
            let counts = grid.row_mut(row_index);
            for ((averages, sums), count) in average.chunks_mut(CELL_PX).zip(row.chunks(CELL_PX)).zip(counts) {
                let mut differing = 0;
                for (average, sum) in averages.iter_mut().zip(sums) {
                    let off = i32::from(*sum << 6) - i32::from(*average);
                    let differs = off.abs() > threshold;
                    let shift = if differs { moving_shift } else { usual_shift };
                    *average = (i32::from(*average) + (off >> shift)) as u16;
                    differing += u8::from(differs);
                }
                *count += differing;
            }
        });
    }

    /// Shrinks the picture row by row; gives the row's number, its averages and its sums of four pixels.
    fn each_row(&mut self, y: &[u8], full_width: usize, mut each: impl FnMut(usize, &mut [u16], &[u16])) {
        // Four pixels of each block, spread over it: as good against noise as what it costs allows, and the
        // cost does not grow with the picture.
        let (near, far) = (self.factor / 4, self.factor * 3 / 4);
        let blocks = y.chunks_exact(full_width * self.factor);
        let rows = self.average.chunks_exact_mut(self.width);
        for (index, (block, average)) in blocks.zip(rows).enumerate() {
            let upper = &block[near * full_width..][..full_width];
            let lower = &block[far * full_width..][..full_width];
            // Spelt out: an iterator's sum costs eight times as much where the crate is optimised only a little.
            for (sum, start) in self.row.iter_mut().zip((0..).step_by(self.factor)) {
                let luma = |row: &[u8], at: usize| u16::from(row[start + at]);
                *sum = luma(upper, near) + luma(upper, far) + luma(lower, near) + luma(lower, far);
            }
            each(index, average, &self.row);
        }
    }
}

/// How much less than the whole difference the average moves, usually and where something differs.
fn shifts(after: Duration) -> [u32; 2] {
    // Two of the same moment, as a replayed frame is, are as of a fast camera.
    let doublings = (after.as_secs_f32() / PACE.as_secs_f32()).max(0.01).log2().round() as i32;
    let shift = |at_pace: u32, [min, max]: [u32; 2]| at_pace.saturating_add_signed(-doublings).clamp(min, max);
    [shift(USUAL_SHIFT, USUAL_SHIFTS), shift(MOVING_SHIFT, MOVING_SHIFTS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_farther_apart_count_for_more() {
        let at = |ms| shifts(Duration::from_millis(ms));
        assert_eq!(at(200), [USUAL_SHIFT, MOVING_SHIFT]);
        assert_eq!([at(100), at(400), at(4000)], [[6, 10], [4, 8], [1, 5]]);
        assert_eq!([at(0), at(3_600_000)], [[8, 12], [1, 5]], "there are limits");
    }
}
