//! What the camera usually shows: one running average a pixel of the shrunk picture.

use super::areas::{CELL_PX, Grid};

/// The average moves by 1/32 of the difference: settled after some 6 s at five frames a second.
const USUAL_SHIFT: u32 = 5;

/// Where something differs it moves by 1/512: who stands still for a minute is still seen, and a bench that
/// was put there belongs to the picture after some minutes.
const MOVING_SHIFT: u32 = 9;

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

    /// Counts in each cell the pixels that differ, and lets the average follow.
    pub(super) fn compare(&mut self, y: &[u8], full_width: usize, threshold: u8, grid: &mut Grid) {
        let threshold = i32::from(threshold) << 8;
        grid.clear();
        self.each_row(y, full_width, |row_index, average, row| {
            let counts = grid.row_mut(row_index);
            for ((averages, sums), count) in average.chunks_mut(CELL_PX).zip(row.chunks(CELL_PX)).zip(counts) {
                let mut differing = 0;
                for (average, sum) in averages.iter_mut().zip(sums) {
                    let off = i32::from(*sum << 6) - i32::from(*average);
                    let differs = off.abs() > threshold;
                    let shift = if differs { MOVING_SHIFT } else { USUAL_SHIFT };
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
