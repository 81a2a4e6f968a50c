//! How rows are aligned, cut and folded.

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

/// Its words are 41 columns wide.
fn talkative(columns_max: usize, enough: usize) -> String {
    let mut table = Table::new(&["ACTOR", "MEMORY", "SINCE", "WHAT IT SAYS"], &[1]).yielding(&[1], enough);
    let words = "error: refused: nobody listens at 10.0.0.5";
    let cells = ["door", "84 MiB", "3m", words].map(Cell::new).to_vec();
    table.row_or_below(cells, Cell::new(format!("  {words}")));
    table.row(["gate", "84 MiB", "3m", "1280x720 h264, 5.0 fps"].map(Cell::new).to_vec());
    table.cut_to(Some(columns_max)).render(Style::Plain)
}

#[test]
fn words_without_room_stand_below_their_row() {
    let expected = "\
ACTOR  MEMORY  SINCE  WHAT IT SAYS
door   84 MiB  3m
  error: refused: nobody listens at 10.0.0.5
gate   84 MiB  3m     1280x720 h264, 5.0 fps
";
    assert_eq!(talkative(55, 30), expected);
    assert!(talkative(64, 30).contains("door   84 MiB  3m     error: refused: nobody listens at 10.0.0.5\n"));
}

#[test]
fn on_a_narrow_terminal_columns_yield_to_words_and_words_to_the_others() {
    let expected = "\
ACTOR  SINCE  WHAT IT SAYS
door   3m
  error: refused: nobody liste…
gate   3m     1280x720 h264, 5…
";
    assert_eq!(talkative(31, 30), expected);
    let expected = "\
ACTOR  SINCE
door   3m
  error: refused: nob…
gate   3m
";
    assert_eq!(talkative(22, 30), expected);
}

#[test]
fn a_table_of_numbers_keeps_them_until_they_have_no_room() {
    let heading = |columns_max: usize| talkative(columns_max, 0).lines().next().map(str::to_owned);
    assert_eq!(heading(34).as_deref(), Some("ACTOR  MEMORY  SINCE  WHAT IT SAYS"));
    assert_eq!(heading(33).as_deref(), Some("ACTOR  MEMORY  SINCE"));
    assert_eq!(heading(20).as_deref(), Some("ACTOR  MEMORY  SINCE"));
    assert_eq!(heading(19).as_deref(), Some("ACTOR  SINCE"));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for columns_max in 1..80 {
        for line in sample().cut_to(Some(columns_max)).render(Style::Plain).lines() {
            assert!(columns(line) <= columns_max, "{columns_max}: {line}");
        }
        assert!(
            talkative(columns_max, columns_max % 7).lines().all(|line| columns(line) <= columns_max),
            "{columns_max}"
        );
    }
    let text = sample().cut_to(Some(24)).render(Style::Plain);
    assert!(text.contains("\na line that runs across…\n"), "{text}");
}

#[test]
fn wide_characters_take_two_columns() {
    let mut table = Table::new(&["NAME", "N"], &[]);
    table.row(vec![Cell::new("門番"), Cell::new("1")]);
    table.row(vec![Cell::new("gate"), Cell::new("2")]);
    assert_eq!(table.render(Style::Plain), "NAME  N\n門番  1\ngate  2\n");
    let line = cut(vec![(Paint::Normal, "門番".to_owned())], 3);
    assert_eq!(line, [(Paint::Normal, "門…".to_owned())]);
}

#[test]
fn a_node_cannot_steer_the_terminal() {
    let mut table = Table::new(&["A"], &[]);
    table.row(vec![Cell::new("\x1b[2Jgone\r\n")]);
    assert_eq!(table.render(Style::Plain), "A\n [2Jgone  \n");
}
