//! Changed cells, and the areas they form.

use super::mask;
use config::watching::Polygon;

/// A cell's side in pixels of the shrunk picture: about a hand's width of a person who fills a third of it.
pub(super) const CELL_PX: usize = 8;

/// Pixels of a cell that have to differ; noise makes one or two.
const CELL_PIXELS_MIN: u8 = 12;

/// The cells of a picture, row by row, with the number of differing pixels in each.
#[derive(Default)]
pub(super) struct Grid {
    columns: usize,
    counts: Vec<u8>,
    /// For each cell; empty if nothing is masked.
    masked: Vec<bool>,
    /// Cells that are not masked.
    open: usize,
    picture_px: (usize, usize),
    /// Cells still to be visited, kept to spare an allocation a frame.
    ahead: Vec<usize>,
}

impl Grid {
    pub(super) fn new(width_px: usize, height_px: usize, masks: &[Polygon]) -> Self {
        let (columns, rows) = (width_px.div_ceil(CELL_PX), height_px.div_ceil(CELL_PX));
        let (picture_px, counts) = ((width_px, height_px), vec![0; columns * rows]);
        let masked = mask::masked(masks, CELL_PX, picture_px);
        let open = counts.len() - masked.iter().filter(|masked| **masked).count();
        Self { columns, counts, masked, open, picture_px, ahead: Vec::new() }
    }

    /// Cells that may count.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Forgets what was counted in masked cells.
    pub(super) fn apply_masks(&mut self) {
        for (count, _) in self.counts.iter_mut().zip(&self.masked).filter(|(_, masked)| **masked) {
            *count = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// The cells to which a row of pixels belongs.
    pub(super) fn row_mut(&mut self, row_px: usize) -> &mut [u8] {
        let start = row_px / CELL_PX * self.columns;
        &mut self.counts[start..start + self.columns]
    }

    pub(super) fn changed(&self) -> usize {
        self.counts.iter().filter(|count| **count >= CELL_PIXELS_MIN).count()
    }

    /// Boxes as fractions around each group of `cells_min` touching cells or more, and the cells in them.
    /// Groups whose boxes overlap are one. Takes the counts away.
    pub(super) fn areas(&mut self, cells_min: u32) -> (Vec<[f32; 4]>, u32) {
        let mut spans: Vec<Span> = Vec::new();
        let mut cells_all = 0;
        for start in 0..self.counts.len() {
            let (mut span, cells) = self.visit(start);
            if cells == 0 || cells < cells_min {
                continue;
            }
            cells_all += cells;
            // A grown box may overlap one that was passed before, so all are looked at again.
            while let Some(index) = spans.iter().position(|other| other.overlaps(span)) {
                span = span.around(spans.swap_remove(index));
            }
            spans.push(span);
        }
        (spans.into_iter().map(|span| span.fractions(self.picture_px)).collect(), cells_all)
    }

    /// The group of changed cells around one cell, and how many; each is visited once.
    fn visit(&mut self, start: usize) -> (Span, u32) {
        let mut span = Span::of_cell(start % self.columns, start / self.columns);
        let mut cells = 0;
        self.ahead.push(start);
        while let Some(cell) = self.ahead.pop() {
            if self.counts[cell] < CELL_PIXELS_MIN {
                continue;
            }
            self.counts[cell] = 0;
            cells += 1;
            let (column, row) = (cell % self.columns, cell / self.columns);
            span = span.around(Span::of_cell(column, row));
            let rows = self.counts.len() / self.columns;
            for row in row.saturating_sub(1)..(row + 2).min(rows) {
                for column in column.saturating_sub(1)..(column + 2).min(self.columns) {
                    self.ahead.push(row * self.columns + column);
                }
            }
        }
        (span, cells)
    }
}

/// A rectangle of cells; the ends are not part of it.
#[derive(Clone, Copy)]
struct Span {
    columns: (usize, usize),
    rows: (usize, usize),
}

impl Span {
    fn of_cell(column: usize, row: usize) -> Self {
        Self { columns: (column, column + 1), rows: (row, row + 1) }
    }

    fn around(self, other: Self) -> Self {
        let around = |one: (usize, usize), other: (usize, usize)| (one.0.min(other.0), one.1.max(other.1));
        Self { columns: around(self.columns, other.columns), rows: around(self.rows, other.rows) }
    }

    fn overlaps(self, other: Self) -> bool {
        let overlap = |one: (usize, usize), other: (usize, usize)| one.0 < other.1 && other.0 < one.1;
        overlap(self.columns, other.columns) && overlap(self.rows, other.rows)
    }

    fn fractions(self, (width_px, height_px): (usize, usize)) -> [f32; 4] {
        let part = |cells: usize, whole_px: usize| ((cells * CELL_PX) as f32 / whole_px as f32).min(1.0);
        [
            part(self.columns.0, width_px),
            part(self.rows.0, height_px),
            part(self.columns.1, width_px),
            part(self.rows.1, height_px),
        ]
    }
}
