//! `watchtree nodes`, where a relay judges: a line a node, and below it what is not well.

use super::{Cell, Paint, Table, amount, nodes::rtt, state_paint, time};
use protocol::Timestamp;
use protocol::admin::{HealthState, NodeHealth};
use protocol::telemetry::Telemetry;
use serde::Serialize;

/// From here on a clock that is off shows; what is less is the network's doing.
const SKEW_SHOWN_MS: u64 = 1000;

/// With the key that programs look at most.
#[derive(Serialize)]
pub(in super::super) struct Told<'a> {
    #[serde(flatten)]
    health: &'a NodeHealth,
    /// Whether it does its job; `None` where nobody knows.
    ready: Option<bool>,
}

pub(in super::super) fn told(nodes: &[NodeHealth]) -> Vec<Told<'_>> {
    let ready = |health: &NodeHealth| health.telemetry.as_ref().map(|telemetry| telemetry.ready);
    let told = |health| Told { health, ready: ready(health).filter(|_| health.state != HealthState::Down) };
    nodes.iter().map(told).collect()
}

/// Columns that yield on a narrow terminal, and those without a figure of any node.
const HEADINGS: [&str; 10] = ["NODE", "STATE", "SINCE", "RTT", "CPU", "MEM", "FREE", "CAMERAS", "SPOOL", "SKEW"];
const NUMBERS: &[usize] = &[3, 4, 5, 6, 7, 8, 9];
const YIELDING: &[usize] = &[5, 4, 3, 6, 2];
const SPARE: &[usize] = &[7, 8, 9];

pub(in super::super) fn table(nodes: &[NodeHealth], now: Timestamp) -> Table {
    let mut table = Table::new(&HEADINGS, NUMBERS).without_empty(SPARE).yielding(YIELDING, usize::MAX);
    for health in nodes {
        table.row(cells(health, now));
        let paint = if health.state == HealthState::Healthy { Paint::Aside } else { Paint::Warning };
        for reason in &health.reasons {
            table.across(Cell::painted(paint, format!("  {reason}")));
        }
    }
    table
}

fn cells(health: &NodeHealth, now: Timestamp) -> Vec<Cell> {
    // What a node that is down said last is no longer so; what waits on it still does.
    let last = health.telemetry.as_deref();
    let told = last.filter(|_| health.state != HealthState::Down);
    let figure = |of: &dyn Fn(&Telemetry) -> String| Cell::new(told.map(of).unwrap_or_default());
    let skew = health.clock_skew_ms.filter(|ms| ms.unsigned_abs() >= SKEW_SHOWN_MS && told.is_some());
    vec![
        Cell::new(health.node.to_string()),
        Cell::painted(state_paint(health.state.as_str()), health.state.as_str()),
        Cell::new(time::ago(health.since, now)),
        Cell::new(health.rtt_us.map(rtt).unwrap_or_default()),
        figure(&|told| amount::percent(told.system.cpu_pct.into())),
        figure(&|told| share(told.system.memory_used_bytes, told.system.memory_total_bytes)),
        figure(&|told| amount::bytes(told.system.disk_free_bytes)),
        cameras(last, health.state),
        spool(last),
        Cell::painted(Paint::Warning, skew.map(|ms| format!("{:+.1} s", ms as f64 / 1e3)).unwrap_or_default()),
    ]
}

/// Those that see, of all: `3/4`.
fn cameras(last: Option<&Telemetry>, state: HealthState) -> Cell {
    let Some(last) = last.filter(|last| !last.cameras.is_empty()) else { return Cell::new("") };
    if state == HealthState::Down {
        return Cell::painted(Paint::Bad, format!("?/{}", last.cameras.len()));
    }
    let on_line = last.cameras.iter().filter(|camera| camera.on_line).count();
    let paint = if on_line < last.cameras.len() { Paint::Bad } else { Paint::Normal };
    Cell::painted(paint, format!("{on_line}/{}", last.cameras.len()))
}

fn spool(last: Option<&Telemetry>) -> Cell {
    Cell::new(last.and_then(|last| last.spool).map(|spool| spool.waiting.to_string()).unwrap_or_default())
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { amount::percent(part as f64 * 100.0 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::samples::{health, now, telemetry};
    use super::*;
    use protocol::telemetry::SpoolFigures;

    fn nodes() -> Vec<NodeHealth> {
        let mut hub = health("main/relay/hub", HealthState::Healthy);
        let mut own = telemetry();
        (own.cameras, own.spool) = (Vec::new(), None);
        hub.telemetry = Some(Box::new(own));
        let mut yard = health("main/edge/yard", HealthState::Degraded);
        (yard.rtt_us, yard.clock_skew_ms) = (Some(12_345), Some(-612_000));
        yard.reasons = vec!["camera gate is blind: refused".to_owned(), "its clock is 612.0 s behind".to_owned()];
        let mut told = telemetry();
        (told.cameras[1].on_line, told.system.disk_free_bytes) = (false, 40 << 30);
        told.spool = Some(SpoolFigures { waiting: 17, oldest_ms: 900, dropped: 0 });
        yard.telemetry = Some(Box::new(told));
        let mut barn = health("main/edge/barn", HealthState::Down);
        barn.reasons = vec!["nothing was heard of it for 200 s".to_owned()];
        barn.telemetry = Some(Box::new(telemetry()));
        vec![hub, yard, barn]
    }

    #[test]
    fn each_node_is_a_line_and_what_is_not_well_stands_below_it() {
        let expected = "\
NODE            STATE     SINCE       RTT  CPU  MEM      FREE  CAMERAS  SPOOL      SKEW
main/relay/hub  healthy   3m ago           12%  25%  2048 MiB
main/edge/yard  degraded  3m ago  12.3 ms  12%  25%    40 GiB      1/2     17  -612.0 s
  camera gate is blind: refused
  its clock is 612.0 s behind
main/edge/barn  down      3m ago                                  ?/2      0
  nothing was heard of it for 200 s
";
        let table = table(&nodes(), now());
        assert_eq!(table.render(Style::Plain), expected.replace("       ?/2", "           ?/2"));
    }

    #[test]
    fn it_fits_eighty_columns_and_what_matters_least_goes_first() {
        let text = table(&nodes(), now()).cut_to(Some(80)).render(Style::Plain);
        let (first, widest) =
            (text.lines().next().expect("headings"), text.lines().map(|line| line.chars().count()).max());
        assert!(widest <= Some(80) && !first.contains("MEM") && first.ends_with("SKEW"), "{text}");
        let narrow = table(&nodes()[..1], now()).cut_to(Some(80)).render(Style::Plain);
        assert!(narrow.contains("MEM") && !narrow.contains("SKEW") && !narrow.contains("CAMERAS"), "{narrow}");
    }

    #[test]
    fn a_program_meets_the_whole_of_it_and_whether_each_is_ready() {
        let json = serde_json::to_value(told(&nodes())).expect("it is JSON");
        assert_eq!((&json[1]["state"], &json[1]["ready"]), (&"degraded".into(), &true.into()));
        assert_eq!(json[1]["telemetry"]["cameras"][1]["camera"], "gate");
        assert_eq!((&json[2]["state"], &json[2]["ready"]), (&"down".into(), &serde_json::Value::Null));
    }
}
