//! One event as one line. Columns have fixed widths: the next line is not known yet.

use super::{Cell, Paint, Style, time};
use protocol::admin::RecordedEvent;
use protocol::{EndReason, Event, Evidence, Phase, TenantId};

/// Blank-padded widths; what is longer moves the rest of its line.
const WIDTHS: [usize; COLUMNS] = [20, 22, 10, 5, 4, 6, 8, 7, 32, 12, 8];
const HEADINGS: [&str; COLUMNS] =
    ["BEGIN", "CAMERA", "LABEL", "SCORE", "TOP", "PHASE", "DURATION", "REASON", "ID", "KEPT", "ZONES"];
const COLUMNS: usize = 11;

pub(in super::super) fn heading(style: Style) -> String {
    aligned(&HEADINGS.map(|text| Cell::painted(Paint::Heading, text)), style)
}

pub(in super::super) fn line(recorded: &RecordedEvent, style: Style) -> String {
    let event = &recorded.event;
    let duration = time::exact(event.end.since(event.begin));
    let (phase, paint) = match event.phase {
        Phase::Start => ("start", Paint::Good),
        Phase::Update => ("update", Paint::Normal),
        Phase::End => ("end", Paint::Aside),
    };
    let cells = [
        Cell::new(time::clock(event.begin)),
        Cell::new(place(recorded)),
        label(event),
        score(event, event.score),
        score(event, event.top_score),
        Cell::painted(paint, phase),
        Cell::new(duration),
        reason(event.reason),
        Cell::painted(Paint::Aside, event.id.to_string()),
        kept(event),
        zones(event),
    ];
    aligned(&cells, style)
}

/// What an edge gave up, or did not see, is missing from all that is shown here.
fn label(event: &Event) -> Cell {
    let paint = if is_missing(event) { Paint::Warning } else { Paint::Normal };
    Cell::painted(paint, event.title())
}

fn score(event: &Event, score: f32) -> Cell {
    if is_missing(event) { Cell::new("-") } else { Cell::new(format!("{score:.2}")) }
}

fn is_missing(event: &Event) -> bool {
    matches!(event.evidence, Evidence::Dropped { .. } | Evidence::Blind { .. })
}

/// What its edge keeps of it.
fn kept(event: &Event) -> Cell {
    Cell::new(match (event.has_clip, event.has_snapshot) {
        (true, true) => "clip,picture",
        (true, false) => "clip",
        (false, true) => "picture",
        (false, false) => "-",
    })
}

fn zones(event: &Event) -> Cell {
    if event.zones.is_empty() { Cell::new("-") } else { Cell::new(event.zones.join(",")) }
}

/// `yard/door`; with the tenant in front where there is more than the usual one.
fn place(recorded: &RecordedEvent) -> String {
    let RecordedEvent { tenant, edge, event, .. } = recorded;
    if *tenant == TenantId::default() {
        format!("{edge}/{}", event.camera)
    } else {
        format!("{tenant}/{edge}/{}", event.camera)
    }
}

fn reason(reason: Option<EndReason>) -> Cell {
    match reason {
        None => Cell::new("-"),
        Some(EndReason::Left) => Cell::new("left"),
        // Not an end that was seen: the truth after it is unknown.
        Some(EndReason::Blind) => Cell::painted(Paint::Warning, "blind"),
        Some(EndReason::Restart) => Cell::painted(Paint::Warning, "restart"),
        Some(EndReason::Stopped) => Cell::new("stopped"),
    }
}

fn aligned(cells: &[Cell; COLUMNS], style: Style) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line.push_str(&style.paint(cell.paint, &cell.text));
        line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + super::table::GAP.len()));
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::super::samples::event;
    use super::*;

    #[test]
    fn an_event_is_one_line_below_its_headings() {
        let text = [heading(Style::Plain), line(&event(0xab, 0, 2, Phase::End), Style::Plain)].join("\n");
        let expected = "\
BEGIN                 CAMERA                  LABEL       SCORE  TOP   PHASE   DURATION  REASON   ID                                KEPT          ZONES
2026-11-20T18:30:00Z  yard/door               person      0.87   0.92  end     4.2s      left     000000000000000000000000000000ab  clip,picture  drive,porch";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_an_edge_gave_up_is_said_with_its_number_and_severity() {
        let mut dropped = event(0xab, 0, 0, Phase::End);
        dropped.event.camera = protocol::CameraId::outbox();
        dropped.event.label = protocol::event::DROPPED_LABEL.to_owned();
        dropped.event.evidence = Evidence::Dropped { entries: 1234, severity: protocol::Severity::Low };
        (dropped.event.reason, dropped.event.zones) = (None, Vec::new());
        (dropped.event.has_clip, dropped.event.has_snapshot) = (false, false);
        let expected = "\
2026-11-20T18:30:00Z  yard/outbox             events-dropped 1234 low  -      -     end     4.2s      -        000000000000000000000000000000ab  -             -";
        assert_eq!(line(&dropped, Style::Plain), expected);
    }

    #[test]
    fn that_nobody_looked_is_said_with_the_reason() {
        let mut blind = event(0xab, 0, 0, Phase::Start);
        blind.event.label = protocol::event::BLIND_LABEL.to_owned();
        blind.event.evidence = Evidence::Blind { reason: "no frames".to_owned() };
        let line = line(&blind, Style::Plain);
        assert!(line.contains("yard/door               blind: no frames  -      -     start"), "{line}");
    }

    #[test]
    fn an_event_that_goes_on_has_no_reason() {
        assert!(line(&event(1, 0, 0, Phase::Start), Style::Plain).contains("start   4.2s      -"));
    }

    #[test]
    fn another_tenant_is_named() {
        let mut other = event(1, 0, 0, Phase::Start);
        other.tenant = "acme".parse().expect("a tenant");
        assert!(line(&other, Style::Plain).contains("acme/yard/door"));
    }
}
