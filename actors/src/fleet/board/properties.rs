//! Whatever happens in whatever order: the board says what a slow and simple reckoning says.

use super::*;
use crate::fleet::samples::{id, telemetry};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Arrive { boot: u64, tells: bool },
    LeaveOldest { in_good_order: bool },
    Beat { boot: u64, newer: bool, ready: bool },
    Telemetry { boot: u64, blind: bool },
    Packets,
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..4000_u64).prop_map(Step::Pass),
        1 => (1..3_u64, prop::bool::weighted(0.8)).prop_map(|(boot, tells)| Step::Arrive { boot, tells }),
        1 => any::<bool>().prop_map(|in_good_order| Step::LeaveOldest { in_good_order }),
        4 => (1..3_u64, prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(boot, newer, ready)| Step::Beat { boot, newer, ready }),
        2 => (1..3_u64, any::<bool>()).prop_map(|(boot, blind)| Step::Telemetry { boot, blind }),
        3 => Just(Step::Packets),
        2 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..120)
}

/// The reckoning: when what was last heard, and of whom.
#[derive(Default)]
struct Model {
    links: usize,
    tells: bool,
    boot: u64,
    seq: u64,
    heard: u64,
    packets: u64,
    in_good_order: bool,
}

impl Model {
    fn is_down(&self, now: u64) -> bool {
        let (silent, packets) = (now - self.heard, now - self.packets);
        match (self.links, self.tells) {
            (0, _) => true,
            (_, false) => packets >= 5000,
            (_, true) => silent >= if packets <= 2000 { 7000 } else { 5000 },
        }
    }
}

struct Run {
    board: Board,
    model: Model,
    now_ms: u64,
    next_link: usize,
    packets: u64,
}

impl Run {
    fn now(&self) -> Now {
        let mono = Duration::from_millis(self.now_ms);
        Now { mono, wall: Timestamp::from_micros(1_795_199_400_000_000).plus(mono) }
    }

    fn step(&mut self, step: Step) -> Vec<Change> {
        let (yard, now) = (id("main/edge/yard"), self.now());
        let (board, model) = (&mut self.board, &mut self.model);
        match step {
            Step::Pass(ms) => {
                self.now_ms += ms;
                Vec::new()
            }
            Step::Arrive { boot, tells } if model.links < LINKS_MAX => {
                if boot != model.boot {
                    model.seq = 0;
                }
                (model.boot, model.tells, model.links) = (boot, tells, model.links + 1);
                (model.heard, model.packets) = (self.now_ms, self.now_ms);
                let hello = Hello { boot: Epoch(boot), software: String::new(), tells };
                self.next_link += 1;
                board.arrive(&yard, self.next_link, hello, now).into_iter().collect()
            }
            Step::LeaveOldest { in_good_order } if model.links > 0 => {
                let ended = if in_good_order { Ended::InGoodOrder } else { Ended::Lost("lost".to_owned()) };
                let oldest = self.next_link + 1 - model.links;
                (model.links, model.in_good_order) = (model.links - 1, in_good_order);
                board.leave(&yard, oldest, ended, now).into_iter().collect()
            }
            Step::Beat { boot, newer, ready } => {
                let seq = if newer { model.seq + 1 } else { model.seq };
                if boot == model.boot && newer {
                    (model.seq, model.heard) = (seq, self.now_ms);
                }
                board.beat(&yard, Beat { boot: Epoch(boot), seq, ready }, now).into_iter().collect()
            }
            Step::Telemetry { boot, blind } => {
                let mut told = telemetry(now.wall);
                (told.boot, told.cameras[0].on_line) = (Epoch(boot), !blind);
                if boot == model.boot {
                    model.heard = self.now_ms;
                }
                board.telemetry(&yard, Box::new(told), now).into_iter().collect()
            }
            Step::Packets => {
                self.packets += 1;
                model.packets = self.now_ms;
                board.look(&yard, self.packets, Duration::from_millis(1), now);
                Vec::new()
            }
            Step::Sweep => board.sweep(Duration::from_secs(1), now),
            Step::Arrive { .. } | Step::LeaveOldest { .. } => Vec::new(),
        }
    }
}

proptest! {
    #[test]
    fn a_node_is_down_just_when_the_reckoning_says_so_and_each_change_is_told_once(steps in steps()) {
        let mut run = Run {
            board: Board::new(id("main/relay/hub"), "", Now { mono: Duration::ZERO, wall: Timestamp::from_micros(0) }),
            model: Model::default(), now_ms: 0, next_link: 0, packets: 0,
        };
        run.step(Step::Arrive { boot: 1, tells: true });
        let (yard, mut told) = (id("main/edge/yard"), HealthState::Healthy);
        for step in steps {
            for change in run.step(step).into_iter().filter(|change| change.node == yard) {
                prop_assert_eq!(change.from, told);
                prop_assert_ne!(change.from, change.to);
                prop_assert_eq!(change.why.is_empty(), change.to == HealthState::Healthy);
                told = change.to;
            }
            let now = run.now();
            let health = run.board.page(None, 1, |node| *node == yard, now).remove(0);
            prop_assert_eq!(health.state == HealthState::Down, run.model.is_down(run.now_ms), "{:?}", health);
            let is_said = health.state == HealthState::Healthy || !health.reasons.is_empty();
            prop_assert!(is_said && health.since <= now.wall, "{:?}", health);
            if run.model.links == 0 {
                let stopped = health.reasons[0] == "it stopped in good order";
                prop_assert_eq!(stopped, run.model.in_good_order);
            }
        }
    }
}
