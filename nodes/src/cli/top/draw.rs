//! The screen of `watchtree top`: a line about all, the table, a line about keys. Pure.

use super::model::Model;
use crate::cli::render::top::{self, Shown};
use crate::cli::render::{Paint, time};
use protocol::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::time::Duration;

/// Views come each second; an older one means that somebody takes his time.
const STALE_S: u64 = 3;

const KEYS: &str = "q quit   ↑↓ PgUp PgDn Home End   f ";

pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, now: Timestamp) {
    let thirds = [Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)];
    let [head, headings, body, foot] = Layout::vertical(thirds).areas(frame.area());
    frame.render_widget(Paragraph::new(about(model, now)), head);
    let view = top::View { rates: &model.rates, shown: model.shown, now };
    let table = top::table(&model.view.nodes, &model.view.absent, view);
    let mut lines = table.cut_to(Some(usize::from(body.width))).lines().into_iter();
    let heading = lines.next().map(painted).unwrap_or_default();
    frame.render_widget(Paragraph::new(heading.style(Modifier::REVERSED)).style(Modifier::REVERSED), headings);
    let rows: Vec<_> = lines.collect();
    model.fit(rows.len(), usize::from(body.height));
    draw_rows(frame, body, rows, model.offset);
    frame.render_widget(Paragraph::new(keys(model)), foot);
}

fn draw_rows(frame: &mut Frame<'_>, body: Rect, rows: Vec<Vec<(Paint, String)>>, offset: usize) {
    let shown: Vec<Line<'_>> = rows.into_iter().skip(offset).take(usize::from(body.height)).map(painted).collect();
    frame.render_widget(Paragraph::new(shown), body);
}

/// Whom we ask, how much there is, and how new it is.
fn about(model: &Model, now: Timestamp) -> Line<'static> {
    let ((actors, down), nodes) = (model.counts(), model.view.nodes.len() + model.view.absent.len());
    let mut spans = vec![
        Span::styled("watchtree top ", style(Paint::Heading)),
        Span::raw(format!("{}   {}, {}, ", model.title, count(nodes, "node"), count(actors, "actor"))),
        Span::styled(format!("{down} not running"), style(if down == 0 { Paint::Good } else { Paint::Bad })),
    ];
    let age_s = model.age_s(now);
    let age = time::round(Duration::from_secs(age_s));
    match &model.lost {
        Some(why) => {
            spans.push(Span::styled(format!("   reconnecting, as seen {age} ago: {why}"), style(Paint::Bad)));
        }
        None if age_s >= STALE_S => {
            spans.push(Span::styled(format!("   waiting for an answer, as seen {age} ago"), style(Paint::Warning)));
        }
        // What those know is not on the screen.
        None if !model.view.silent.is_empty() => {
            let silent = model.view.silent.join("; ");
            spans.push(Span::styled(format!("   reconnecting: {silent}"), style(Paint::Bad)));
        }
        None => {}
    }
    Line::from(spans)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn keys(model: &Model) -> Line<'static> {
    let f = match model.shown {
        Shown::All => "only what is not running",
        Shown::NotRunning => "all again",
    };
    let place = match model.rows > model.page {
        true => format!("rows {} to {} of {}   ", model.offset + 1, model.offset + model.page, model.rows),
        false => String::new(),
    };
    Line::styled(format!("{place}{KEYS}{f}"), style(Paint::Aside))
}

fn painted(pieces: Vec<(Paint, String)>) -> Line<'static> {
    pieces.into_iter().map(|(paint, text)| Span::styled(text, style(paint))).collect()
}

fn style(paint: Paint) -> Style {
    match paint {
        Paint::Normal => Style::new(),
        Paint::Heading => Style::new().add_modifier(Modifier::BOLD),
        Paint::Good => Style::new().fg(Color::Green),
        Paint::Warning => Style::new().fg(Color::Yellow),
        Paint::Bad => Style::new().fg(Color::Red),
        Paint::Aside => Style::new().add_modifier(Modifier::DIM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::gather::View;
    use crate::cli::render::samples::{actor, now, snapshot};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use tokio::time::Instant;

    fn model() -> Model {
        let mut door = actor("yard/door");
        (door.state, door.restarts, door.last_reason) = ("parked".to_owned(), 6, Some("hang: silent".to_owned()));
        let mut outbox = actor("yard/outbox");
        (outbox.waiting, outbox.waiting_max) = (Some(3), Some(1024));
        let mut yard = snapshot("main/edge/yard", vec![actor("yard"), door, outbox]);
        (yard.ready, yard.notes) = (false, vec!["relay link is down".to_owned()]);
        let view = View { nodes: vec![yard], absent: vec![], silent: vec![], at: now(), taken: Instant::now() };
        Model::new(&["hub:7443".parse().expect("an address")], None, view)
    }

    /// The screen's lines, without the blanks at their ends.
    fn screen(model: &mut Model, width: u16, height: u16, age_s: u64) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        let now = now().plus(Duration::from_secs(age_s));
        terminal.draw(|frame| draw(frame, model, now)).expect("it is drawn");
        let cells: Vec<&str> = terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(usize::from(width.max(1))).map(|line| line.concat().trim_end().to_owned()).collect()
    }

    #[test]
    fn the_screen_has_a_head_the_tree_and_the_keys() {
        let expected = [
            "watchtree top hub:7443   1 node, 3 actors, 1 not running",
            "ACTOR           STATE      RESTARTS  MAILBOX  RATE/S   CPU   MEMORY  FOR  WHAT IT SAYS",
            "main/edge/yard  not ready                                            2h   watchtree 0.1.0",
            "│  ! relay link is down",
            "├─ door         parked            6                                  3m   hang: silent; resumed by hand only",
            "└─ outbox       running               3/1024                         3m",
            "",
            "q quit   ↑↓ PgUp PgDn Home End   f only what is not running",
        ];
        assert_eq!(screen(&mut model(), 120, 8, 0), expected);
    }

    #[test]
    fn the_filter_leaves_what_is_not_running() {
        let mut model = model();
        model.shown = Shown::NotRunning;
        let text = screen(&mut model, 120, 8, 0).join("\n");
        assert!(text.contains("└─ door") && !text.contains("outbox") && text.contains("f all again"), "{text}");
    }

    #[test]
    fn a_small_screen_scrolls_and_says_where_it_is() {
        let mut model = model();
        (model.offset, model.rows, model.page) = (2, 4, 2);
        let lines = screen(&mut model, 120, 5, 0);
        assert!(lines[2].starts_with("├─ door"), "{lines:?}");
        assert!(lines[4].starts_with("rows 3 to 4 of 4   q quit"), "{lines:?}");
    }

    #[test]
    fn an_old_view_says_how_old_and_a_lost_node_why() {
        let mut model = model();
        assert!(screen(&mut model, 160, 8, 4)[0].ends_with("waiting for an answer, as seen 4s ago"));
        model.view.silent = vec!["two:7443 cannot be reached".to_owned()];
        assert!(screen(&mut model, 160, 8, 0)[0].ends_with("1 not running   reconnecting: two:7443 cannot be reached"));
        model.lose("hub at hub:7443 is lost: timed out".to_owned());
        let head = screen(&mut model, 160, 8, 4).remove(0);
        assert!(head.ends_with("reconnecting, as seen 4s ago: hub at hub:7443 is lost: timed out"), "{head}");
    }

    #[test]
    fn no_screen_is_too_small_to_be_drawn() {
        for (width, height) in [(0, 0), (1, 1), (3, 2), (500, 3), (10, 200)] {
            screen(&mut model(), width, height, 0);
        }
    }
}
