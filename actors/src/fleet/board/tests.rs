//! What happens to a node, one thing after the other.

use super::*;
use crate::fleet::samples::{id, telemetry};
use HealthState::{Degraded, Down, Healthy};

const YARD: &str = "main/edge/yard";
const WALL: i64 = 1_795_199_400_000_000;

fn at(ms: u64) -> Now {
    let mono = Duration::from_millis(ms);
    Now { mono, wall: Timestamp::from_micros(WALL).plus(mono) }
}

fn hello(boot: u64, tells: bool) -> Hello {
    Hello { boot: Epoch(boot), software: "watchtree 0.1.0".to_owned(), tells }
}

fn beat(seq: u64) -> Beat {
    Beat { boot: Epoch(1), seq, ready: true }
}

/// A relay's, with a linked yard of boot 1.
fn board() -> Board {
    let mut board = Board::new(id("main/relay/hub"), "watchtree 0.1.0", at(0));
    assert_eq!(board.arrive(&id(YARD), 7, hello(1, true), at(0)), None);
    board
}

fn yard(board: &mut Board, now: Now) -> NodeHealth {
    board.page(None, 9, |seen| *seen == id(YARD), now).remove(0)
}

fn state(board: &mut Board, ms: u64) -> HealthState {
    yard(board, at(ms)).state
}

#[test]
fn a_silent_node_goes_down_at_a_sweep_and_is_back_with_its_next_beat() {
    let mut board = board();
    assert_eq!(board.beat(&id(YARD), beat(1), at(1000)), None);
    assert!(board.sweep(Duration::from_secs(1), at(5900)).is_empty());
    // Whoever looks between two sweeps is told what is so.
    assert_eq!((state(&mut board, 5999), state(&mut board, 6000)), (Healthy, Down));
    let changes = board.sweep(Duration::from_secs(1), at(6900));
    let why = "nothing was heard of it for 5 s".to_owned();
    assert_eq!(changes, [Change { node: id(YARD), from: Healthy, to: Down, why }]);
    let health = yard(&mut board, at(9000));
    assert_eq!((health.since, health.reasons), (at(6900).wall, vec!["nothing was heard of it for 8 s".to_owned()]));
    let back = board.beat(&id(YARD), beat(2), at(9500)).expect("a change");
    assert_eq!((back.from, back.to, back.why.as_str()), (Down, Healthy, ""));
}

#[test]
fn a_beat_that_is_late_or_of_another_process_is_no_sign_of_life() {
    let mut board = board();
    board.beat(&id(YARD), beat(5), at(1000));
    board.beat(&id(YARD), beat(5), at(5000));
    board.beat(&id(YARD), beat(4), at(5000));
    board.beat(&id(YARD), Beat { boot: Epoch(2), seq: 9, ready: true }, at(5000));
    assert_eq!(state(&mut board, 6000), Down);
    board.arrive(&id(YARD), 8, hello(2, true), at(7000));
    assert_eq!(
        board.beat(&id(YARD), Beat { boot: Epoch(2), seq: 1, ready: false }, at(8000)).expect("new").to,
        Degraded
    );
}

#[test]
fn a_node_is_down_when_the_last_of_its_links_is_gone() {
    let mut board = board();
    board.arrive(&id(YARD), 8, hello(1, true), at(1000));
    assert_eq!(board.leave(&id(YARD), 7, Ended::Lost("replaced".to_owned()), at(1100)), None);
    let gone = board.leave(&id(YARD), 8, Ended::Lost("timed out".to_owned()), at(2000)).expect("a change");
    assert_eq!((gone.to, gone.why.as_str()), (Down, "nothing was heard of it for 1 s; its link ended: timed out"));
    // The control stream's end is told twice, with what is known then.
    assert_eq!(board.leave(&id(YARD), 8, Ended::InGoodOrder, at(2000)), None);
    assert!(yard(&mut board, at(2000)).reasons[0].ends_with("timed out"));
    assert_eq!(yard(&mut board, at(2000)).rtt_us, None);

    board.arrive(&id(YARD), 9, hello(1, true), at(3000));
    board.leave(&id(YARD), 9, Ended::InGoodOrder, at(4000));
    assert_eq!(yard(&mut board, at(90_000)).reasons, ["it stopped in good order"]);
}

#[test]
fn its_newest_telemetry_is_kept_until_another_process_speaks() {
    let mut board = board();
    let mut blind = telemetry(at(0).wall);
    blind.cameras[0].on_line = false;
    let change = board.telemetry(&id(YARD), Box::new(blind.clone()), at(2000)).expect("a change");
    assert_eq!((change.to, change.why.as_str()), (Degraded, "camera door is blind"));
    blind.boot = Epoch(3);
    assert_eq!(board.telemetry(&id(YARD), Box::new(blind), at(2000)), None, "nobody of that name is here");
    board.leave(&id(YARD), 7, Ended::InGoodOrder, at(3000));
    assert!(yard(&mut board, at(3000)).telemetry.is_some(), "what a node that is down said last is of use");
    board.arrive(&id(YARD), 8, hello(2, true), at(4000));
    assert_eq!(yard(&mut board, at(4000)).telemetry, None);
    assert_eq!(state(&mut board, 4000), Healthy);
}

#[test]
fn the_skew_of_a_clock_is_that_of_the_message_which_was_held_up_least() {
    let mut board = board();
    board.look(&id(YARD), 1, Duration::from_millis(100), at(0));
    let mut told = |sent_ms: u64, came_ms: u64| {
        let ahead = Duration::from_secs(600);
        let mut telemetry = telemetry(at(sent_ms).wall.plus(ahead));
        telemetry.boot = Epoch(1);
        board.telemetry(&id(YARD), Box::new(telemetry), at(came_ms));
        yard(&mut board, at(came_ms)).clock_skew_ms
    };
    assert_eq!(told(1000, 1050), Some(600_000));
    assert_eq!(told(2000, 4050), Some(600_000), "two seconds on the way");
    assert_eq!(told(5000, 5050), Some(600_000));
}

#[test]
fn packets_buy_a_node_one_beat() {
    let mut board = board();
    (1..=6).for_each(|s| board.look(&id(YARD), s, Duration::from_millis(1), at(s * 1000)));
    assert_eq!((state(&mut board, 6000), state(&mut board, 7000)), (Healthy, Down));
}

#[test]
fn this_node_is_on_its_board_and_judges_itself() {
    let mut board = board();
    let mut own = telemetry(at(0).wall);
    (own.boot, own.ready) = (Epoch(77), false);
    assert_eq!(board.own_telemetry(Box::new(own), at(1000)).expect("a change").to, Degraded);
    let hub = board.page(None, 1, |seen| *seen != id(YARD), at(9000)).remove(0);
    assert_eq!((hub.node, hub.reasons), (id("main/relay/hub"), vec!["it is not ready".to_owned()]));
}

#[test]
fn a_list_is_read_in_pages_of_what_may_be_seen() {
    let mut board = board();
    for node in ["acme/edge/shed", "main/edge/barn"] {
        board.arrive(&id(node), 1, hello(1, true), at(0));
    }
    let ours = |node: &Identity| node.tenant == id(YARD).tenant;
    let first = board.page(None, 2, ours, at(0));
    let names = |page: &[NodeHealth]| page.iter().map(|health| health.node.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&first), ["main/edge/barn", "main/edge/yard"]);
    assert_eq!(names(&board.page(Some(&first[1].node), 2, ours, at(0))), ["main/relay/hub"]);
}

#[test]
fn when_it_is_full_the_node_that_has_been_gone_for_longest_is_forgotten() {
    let mut board = board();
    for nth in 0..NODES_MAX as u64 {
        let node = id(&format!("main/edge/n{nth}"));
        board.arrive(&node, 1, hello(1, true), at(nth));
        // Those that are linked stay.
        (nth > 0).then(|| board.leave(&node, 1, Ended::InGoodOrder, at(nth)));
    }
    let left: Vec<_> = board.each().map(|(id, ..)| id.name.to_string()).collect();
    let has = |name: &str| left.iter().any(|known| known == name);
    assert!(left.len() == NODES_MAX && has("hub") && has("yard") && has("n0") && !has("n1"), "{}", left.len());
}

#[test]
fn a_minute_has_the_time_that_each_state_took() {
    let mut board = board();
    (1..=60).for_each(|s| drop(board.sweep(Duration::from_secs(1), at(s * 1000))));
    let points = board.minute();
    let row = points.iter().find(|(node, _)| *node == id(YARD)).expect("it was there").1.row();
    assert_eq!((row.healthy_s, row.down_s), (4.0, 56.0));
    assert!(board.minute().is_empty(), "the next begins with nothing");
}
