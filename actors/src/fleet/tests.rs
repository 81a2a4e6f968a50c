//! The board behind its handle: what is told of it, and where it is kept.

use super::*;
use crate::fabric::testing::Pair;
use samples::{id, telemetry};
use tempfile::TempDir;

fn fleet() -> Fleet {
    Fleet::new(id("main/relay/hub"), "watchtree 0.1.0")
}

fn yard(fleet: &Fleet) -> NodeHealth {
    fleet.page(None, 1, |node| *node == id("main/edge/yard")).remove(0)
}

#[tokio::test]
async fn a_link_a_beat_and_a_message_make_a_node_and_its_goodbye_takes_it_down() {
    let (pair, fleet) = (Pair::new(), fleet());
    let (_edge, relay) = pair.connect().await;
    fleet.arrived(&relay, Epoch(1), "software\u{202e}");
    fleet.beat(relay.peer(), Beat { boot: Epoch(1), seq: 1, ready: false });
    assert_eq!((yard(&fleet).state, yard(&fleet).software.as_str()), (HealthState::Degraded, "software "));
    let mut told = telemetry(Timestamp::now());
    told.notes = vec!["\u{1f980}".repeat(1000)];
    fleet.telemetry(relay.peer(), Box::new(told));
    let note = yard(&fleet).telemetry.expect("it was told").notes.remove(0);
    assert_eq!(note.chars().count(), limits::TELEMETRY_TEXT_CHARS_MAX, "a peer's words are cut");
    let sums = fleet.sums(|_| true);
    assert_eq!((sums.site.degraded, sums.site.cameras_on_line, sums.site.spool_waiting), (1, 1, 3));
    fleet.left(&relay, Ended::InGoodOrder);
    assert_eq!(
        (yard(&fleet).state, yard(&fleet).reasons),
        (HealthState::Down, vec!["it stopped in good order".to_owned()])
    );
}

#[tokio::test]
async fn an_edge_at_a_gpu_node_is_judged_by_its_link_alone() {
    let (pair, fleet) = (Pair::new(), Fleet::new(id("main/gpu/hub"), ""));
    let (_edge, accepted) = pair.connect().await;
    fleet.arrived(&accepted, Epoch(1), "");
    let health = yard(&fleet);
    assert!(health.state == HealthState::Healthy && health.reasons[0].contains("by its link alone"), "{health:?}");
}

#[tokio::test]
async fn the_minute_under_way_is_part_of_the_history() {
    let (pair, fleet, dir) = (Pair::new(), fleet(), TempDir::new().expect("a directory"));
    let span = || (Timestamp::from_micros(0), Timestamp::now().plus(Duration::from_secs(60)));
    let rows = |fleet: &Fleet, step| fleet.history(&id("main/edge/yard"), step, span().0, span().1);
    assert!(rows(&fleet, Step::Minute).expect_err("it keeps none").contains("ask its relay"));
    fleet.keeps_history(dir.path().join("telemetry"));
    let (_edge, relay) = pair.connect().await;
    fleet.arrived(&relay, Epoch(1), "");
    fleet.telemetry(relay.peer(), Box::new(telemetry(Timestamp::now())));
    let under_way = rows(&fleet, Step::Minute).expect("it is readable");
    assert_eq!((under_way.len(), under_way[0].row.messages), (1, 1));
    fleet.keep(Step::Minute.index(Timestamp::now()), None).expect("it is written").await.expect("no panic");
    fleet.telemetry(relay.peer(), Box::new(telemetry(Timestamp::now())));
    for step in [Step::Minute, Step::Hour] {
        let rows = rows(&fleet, step).expect("it is readable");
        assert_eq!(rows.iter().map(|row| row.row.messages).sum::<u32>(), 2, "{step:?}: {rows:?}");
    }
}
