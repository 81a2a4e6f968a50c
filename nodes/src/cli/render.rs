//! Render: answers as text for people. Pure: data and the time in, text out.
//!
//!   nodes · tree ─▶ Table of rows of cells ─▶ aligned lines, coloured where a person looks
//!   top ─▶ the same rows as spans, which a screen scrolls
//!   event ─▶ one line, aligned without knowing the next

pub(super) mod amount;
pub(super) mod branches;
pub(super) mod changes;
pub(super) mod event;
pub(super) mod failures;
pub(super) mod nodes;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod time;
pub(super) mod top;
pub(super) mod tree;

use protocol::limits::short_text;

/// Between two columns.
const GAP: &str = "  ";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Coloured,
}

/// What a piece of text means; the style knows what that looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Paint {
    #[default]
    Normal,
    Heading,
    Good,
    Warning,
    Bad,
    Aside,
}

impl Style {
    /// Colour on a terminal, unless `NO_COLOR` has a value (no-color.org) or the terminal knows none.
    pub fn of(is_terminal: bool, env: impl Fn(&str) -> Option<String>) -> Self {
        let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env("TERM").is_some_and(|term| term == "dumb");
        if is_terminal && !refused && !dumb { Self::Coloured } else { Self::Plain }
    }

    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Normal => return text.to_owned(),
            Paint::Heading => "1",
            Paint::Good => "32",
            Paint::Warning => "33",
            Paint::Bad => "31",
            Paint::Aside => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// How an actor's or a node's state reads.
pub(super) fn state_paint(state: &str) -> Paint {
    match state {
        "running" | "ready" | "self" | "linked" => Paint::Good,
        "starting" | "backoff" | "stopped" => Paint::Warning,
        _ => Paint::Bad,
    }
}

/// Text of one line in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::painted(Paint::Normal, text)
    }

    /// A node may say anything: control characters would move the cursor, long text would hide the rest.
    pub fn painted(paint: Paint, text: impl AsRef<str>) -> Self {
        Self { text: short_text(text.as_ref()), paint }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

enum Row {
    Cells(Vec<Cell>),
    /// Runs across the columns and does not widen them.
    Across(Cell),
}

/// Rows whose columns line up.
pub(super) struct Table {
    rows: Vec<Row>,
    /// Columns of numbers.
    right: &'static [usize],
    /// Columns left out when they have nothing but a heading.
    spare: &'static [usize],
    /// Lines are cut to this many characters.
    chars_max: usize,
}

impl Table {
    pub fn new(headings: &[&str], right: &'static [usize]) -> Self {
        let heading = headings.iter().map(|text| Cell::painted(Paint::Heading, text)).collect();
        Self { rows: vec![Row::Cells(heading)], right, spare: &[], chars_max: usize::MAX }
    }

    pub fn without_empty(mut self, columns: &'static [usize]) -> Self {
        self.spare = columns;
        self
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row::Cells(cells));
    }

    pub fn across(&mut self, cell: Cell) {
        self.rows.push(Row::Across(cell));
    }

    /// For a terminal of this width: a line that wraps hides how the others line up.
    pub fn cut_to(mut self, chars_max: Option<usize>) -> Self {
        self.chars_max = chars_max.unwrap_or(usize::MAX);
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
    pub fn lines(&self) -> Vec<Vec<(Paint, String)>> {
        let widths = self.widths();
        let line = |row: &Row| match row {
            Row::Across(cell) => vec![(cell.paint, cut(&cell.text, self.chars_max))],
            Row::Cells(cells) => self.aligned(cells, &widths),
        };
        self.rows.iter().map(line).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            let Row::Cells(cells) = row else { continue };
            widths.resize(widths.len().max(cells.len()), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.width().max(*width);
            }
        }
        for column in self.spare.iter().filter(|column| self.is_empty(**column)) {
            widths[*column] = 0;
        }
        widths
    }

    /// Whether only its heading says anything.
    fn is_empty(&self, column: usize) -> bool {
        self.rows.iter().skip(1).all(|row| match row {
            Row::Cells(cells) => cells.get(column).is_none_or(|cell| cell.text.is_empty()),
            Row::Across(_) => true,
        })
    }

    fn aligned(&self, cells: &[Cell], widths: &[usize]) -> Vec<(Paint, String)> {
        // No blanks at a line's end: they would wrap on a narrow terminal.
        let last = cells.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |index| index + 1);
        let (mut line, mut left) = (Vec::new(), self.chars_max);
        for (index, (cell, width)) in cells[..last].iter().zip(widths).enumerate() {
            if *width == 0 && self.spare.contains(&index) {
                continue;
            }
            let blanks = " ".repeat(width - cell.width());
            if index > 0 {
                line.push((Paint::Normal, GAP.to_owned()));
                left = left.saturating_sub(GAP.len());
            }
            if self.right.contains(&index) {
                line.extend([(Paint::Normal, blanks), (cell.paint, cell.text.clone())]);
            } else if index + 1 == last {
                line.push((cell.paint, cut(&cell.text, left)));
            } else {
                line.extend([(cell.paint, cell.text.clone()), (Paint::Normal, blanks)]);
            }
            left = left.saturating_sub(*width);
        }
        line
    }
}

/// What is shorter says nothing: better a line that wraps.
const CUT_CHARS_MIN: usize = 20;

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max || chars_max < CUT_CHARS_MIN {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["NAME", "N", "NOTE"], &[1]);
        table.row(vec![Cell::painted(Paint::Good, "gate"), Cell::new("7"), Cell::new("a note")]);
        table.across(Cell::new("a line that runs across the columns"));
        table.row(vec![Cell::new("front-door"), Cell::new("1200"), Cell::new("")]);
        table
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let expected = "\
NAME           N  NOTE
gate           7  a note
a line that runs across the columns
front-door  1200
";
        assert_eq!(sample().render(Style::Plain), expected);
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut coloured = sample().render(Style::Coloured);
        assert!(coloured.contains("\x1b[32mgate\x1b[0m"));
        for code in ["\x1b[1m", "\x1b[32m", "\x1b[0m"] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(coloured, sample().render(Style::Plain));
    }

    #[test]
    fn colour_is_for_a_terminal_that_wants_it() {
        let with =
            |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
        assert_eq!(Style::of(true, with("TERM", "xterm")), Style::Coloured);
        assert_eq!(Style::of(true, with("NO_COLOR", "")), Style::Coloured);
        assert_eq!(Style::of(false, with("TERM", "xterm")), Style::Plain);
        assert_eq!(Style::of(true, with("NO_COLOR", "1")), Style::Plain);
        assert_eq!(Style::of(true, with("TERM", "dumb")), Style::Plain);
    }

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        let text = sample().cut_to(Some(24)).render(Style::Plain);
        assert!(text.contains("\na line that runs across…\n"), "{text}");
        let chars = |chars_max: usize| {
            let mut table = Table::new(&["A", "B"], &[]).cut_to(Some(chars_max));
            table.row(vec![Cell::new("12345"), Cell::new("x".repeat(50))]);
            table.render(Style::Plain).lines().last().map(|line| line.chars().count())
        };
        assert_eq!(chars(40), Some(40));
        assert_eq!(chars(20), Some(57), "too narrow to say anything");
    }

    #[test]
    fn a_node_cannot_steer_the_terminal() {
        let mut table = Table::new(&["A"], &[]);
        table.row(vec![Cell::new("\x1b[2Jgone\r\n")]);
        assert_eq!(table.render(Style::Plain), "A\n [2Jgone  \n");
    }
}
