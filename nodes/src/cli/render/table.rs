//! Table: rows whose columns line up, within the width of the terminal.
//!
//!   wide     ACTOR  STATE    MEMORY  WHAT IT SAYS
//!            door   backoff  84 MiB  refused: nobody listens
//!   narrow   ACTOR  STATE    WHAT IT SAYS       columns that yield are left out, and words
//!            door   backoff                     without room beside their row stand below it
//!              refused: nobody listens
//!
//! No line is wider than the terminal: one that wraps hides how the others line up, and moves a screen.

use super::{Paint, Style};
use protocol::limits::short_text;
use unicode_width::UnicodeWidthChar;

/// Between two columns.
pub(super) const GAP: &str = "  ";

/// With less room for its last column, a table leaves it out: what is shorter says nothing.
const WORDS_MIN: usize = 12;

/// Text of one line in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Cell {
    pub(super) text: String,
    pub(super) paint: Paint,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::painted(Paint::Normal, text)
    }

    /// A node may say anything: control characters would move the cursor, long text would hide the rest.
    pub fn painted(paint: Paint, text: impl AsRef<str>) -> Self {
        Self { text: short_text(text.as_ref()), paint }
    }

    pub(super) fn width(&self) -> usize {
        columns(&self.text)
    }

    fn piece(&self) -> Piece {
        (self.paint, self.text.clone())
    }
}

/// A part of a line that is painted alike.
pub(in super::super) type Piece = (Paint, String);

enum Row {
    Cells {
        cells: Vec<Cell>,
        /// The last cell for where it has no room beside the others.
        below: Option<Cell>,
    },
    /// Runs across the columns and does not widen them.
    Across(Cell),
}

/// The last column is words: it takes what the others leave.
pub(in super::super) struct Table {
    rows: Vec<Row>,
    /// Columns of numbers.
    right: &'static [usize],
    /// Columns left out when they have nothing but a heading.
    spare: &'static [usize],
    /// Columns left out, one after the other, until the words have so much room.
    yielding: (&'static [usize], usize),
    columns_max: usize,
}

impl Table {
    pub fn new(headings: &[&str], right: &'static [usize]) -> Self {
        let cells = headings.iter().map(|text| Cell::painted(Paint::Heading, text)).collect();
        let rows = vec![Row::Cells { cells, below: None }];
        Self { rows, right, spare: &[], yielding: (&[], 0), columns_max: usize::MAX }
    }

    pub fn without_empty(mut self, columns: &'static [usize]) -> Self {
        self.spare = columns;
        self
    }

    /// On a narrow terminal these are left out, the first of them first, until words have room of `enough` columns.
    pub fn yielding(mut self, columns: &'static [usize], enough: usize) -> Self {
        self.yielding = (columns, enough);
        self
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row::Cells { cells, below: None });
    }

    /// `below` says the same as the last cell, and is drawn instead where that one has no room.
    pub fn row_or_below(&mut self, cells: Vec<Cell>, below: Cell) {
        self.rows.push(Row::Cells { cells, below: Some(below) });
    }

    pub fn across(&mut self, cell: Cell) {
        self.rows.push(Row::Across(cell));
    }

    /// For a terminal of this width.
    pub fn cut_to(mut self, columns_max: Option<usize>) -> Self {
        self.columns_max = columns_max.unwrap_or(usize::MAX);
        self
    }

    pub fn render(&self, style: Style) -> String {
        let mut text = String::new();
        for line in self.lines() {
            text.extend(line.iter().map(|(paint, piece)| style.paint(*paint, piece)));
            text.push('\n');
        }
        text
    }

    /// Each line as pieces that are painted alike; the headings first.
    pub fn lines(&self) -> Vec<Vec<Piece>> {
        let widths = self.widths();
        let last = widths.len().saturating_sub(1);
        let room = self.columns_max.saturating_sub(taken(&widths[..last]));
        let mut lines = Vec::new();
        for row in &self.rows {
            match row {
                Row::Across(cell) => lines.push(vec![cell.piece()]),
                Row::Cells { cells, below } => {
                    let has_room = |words: &Cell| widths[last].is_some() && words.width() <= room;
                    let words = cells.get(last).filter(|words| !words.text.is_empty());
                    match below.as_ref().filter(|_| words.is_some_and(|words| !has_room(words))) {
                        Some(below) => {
                            lines.extend([self.aligned(&cells[..last], &widths), vec![below.piece()]]);
                        }
                        None => lines.push(self.aligned(cells, &widths)),
                    }
                }
            }
        }
        lines.into_iter().map(|line| cut(line, self.columns_max)).collect()
    }

    /// Of each column; `None` for those that are left out.
    fn widths(&self) -> Vec<Option<usize>> {
        let mut widths: Vec<Option<usize>> = Vec::new();
        for row in &self.rows {
            let Row::Cells { cells, .. } = row else { continue };
            widths.resize(widths.len().max(cells.len()), None);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(Some(cell.width()));
            }
        }
        for column in self.spare.iter().filter(|column| self.is_empty(**column)) {
            widths[*column] = None;
        }
        let last = widths.len().saturating_sub(1);
        let words = widths.last().copied().flatten().unwrap_or(0);
        let lacks = |widths: &[Option<usize>], enough: usize| {
            let room = words.min(enough);
            // Without words, no gap stands before them.
            taken(&widths[..last]) + room > self.columns_max.saturating_add(if room == 0 { GAP.len() } else { 0 })
        };
        let (columns, enough) = self.yielding;
        for column in columns {
            if lacks(&widths, enough) {
                widths[*column] = None;
            }
        }
        if lacks(&widths, WORDS_MIN) {
            widths[last] = None;
        }
        widths
    }

    /// Whether only its heading says anything.
    fn is_empty(&self, column: usize) -> bool {
        self.rows.iter().skip(1).all(|row| match row {
            Row::Cells { cells, .. } => cells.get(column).is_none_or(|cell| cell.text.is_empty()),
            Row::Across(_) => true,
        })
    }

    fn aligned(&self, cells: &[Cell], widths: &[Option<usize>]) -> Vec<Piece> {
        let shown = cells.iter().zip(widths).enumerate();
        let shown: Vec<_> = shown.filter_map(|(index, (cell, width))| Some((index, cell, (*width)?))).collect();
        // No blanks at a line's end: they would wrap on a narrow terminal.
        let end = shown.iter().rposition(|(_, cell, _)| !cell.text.is_empty()).map_or(0, |nth| nth + 1);
        let mut line = Vec::new();
        for (nth, (index, cell, width)) in shown[..end].iter().enumerate() {
            if nth > 0 {
                line.push((Paint::Normal, GAP.to_owned()));
            }
            let blanks = (Paint::Normal, " ".repeat(width - cell.width()));
            if self.right.contains(index) {
                line.extend([blanks, cell.piece()]);
            } else if nth + 1 == end {
                line.push(cell.piece());
            } else {
                line.extend([cell.piece(), blanks]);
            }
        }
        line
    }
}

/// What these columns take from a line, each with the gap behind it.
fn taken(widths: &[Option<usize>]) -> usize {
    widths.iter().flatten().map(|width| width + GAP.len()).sum()
}

/// What a text takes on a terminal: there, some characters are two columns wide, and some none.
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

pub(in super::super) fn width(line: &[Piece]) -> usize {
    line.iter().map(|(_, text)| columns(text)).sum()
}

/// A line that is no wider than that; what is cut off leaves a mark.
pub(in super::super) fn cut(line: Vec<Piece>, columns_max: usize) -> Vec<Piece> {
    if width(&line) <= columns_max {
        return line;
    }
    let (mut kept, mut left) = (Vec::new(), columns_max.saturating_sub(1));
    for (paint, text) in line {
        let head = head(&text, left);
        left -= columns(head);
        if head.len() < text.len() {
            kept.push((paint, format!("{head}…")));
            break;
        }
        kept.push((paint, text));
    }
    kept
}

/// As much of it as fits.
fn head(text: &str, columns_max: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken > columns_max
    });
    end.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests;
