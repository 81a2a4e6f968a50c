//! OTP's rules, each with the test that shows it. The words are those of Erlang's supervisor documentation.
//!
//! `file::test` is a test of another file, here or in `src`. That each is there is a test too.
//!
//! | rule | test |
//! |---|---|
//! | one_for_one: only the one that failed is restarted | `each_strategy_restarts_whom_it_says` |
//! | one_for_all: all others are terminated and all restarted | `each_strategy_restarts_whom_it_says` |
//! | rest_for_one: those after it in start order are | `each_strategy_restarts_whom_it_says` |
//! | siblings are terminated in reverse start order, restarted in start order | `siblings_go_down_in_reverse_and_come_up_in_order` |
//! | permanent: always restarted | `when_a_child_comes_back` |
//! | transient: only after an abnormal end | `when_a_child_comes_back` |
//! | temporary: never, not with its siblings either | `when_a_child_comes_back`, `with_its_siblings_a_temporary_child_stays_away_and_a_finished_transient_one_comes_back` |
//! | a transient one that ended well starts with its siblings | `with_its_siblings_a_temporary_child_stays_away_and_a_finished_transient_one_comes_back` |
//! | more than MaxR restarts in MaxT: all terminated, the supervisor fails | `escalation::exactly_the_budget_is_survived`, `escalation::one_more_than_the_budget_fails_the_tree_with_the_innermost_reason` |
//! | intensity 0 allows none | `escalation::the_innermost_reason_passes_through_every_supervisor` |
//! | restarts outside MaxT are forgotten | `groups::restarts_longer_ago_than_the_period_are_forgotten`, `policy::too_many_is_exactly_more_than_n_in_the_window` |
//! | a restart of siblings with the one that failed is one restart of the intensity | `groups::a_group_that_goes_down_together_spends_one_restart` |
//! | start in list order | `stopping::start_is_in_list_order_and_stop_the_reverse_through_all_levels` |
//! | a failed start terminates those started, in reverse | `stopping::a_failed_start_undoes_the_earlier_ones_in_reverse_and_closes_every_mailbox` |
//! | stop in reverse order | `stopping::start_is_in_list_order_and_stop_the_reverse_through_all_levels` |
//! | each within its shutdown time, then kill | `stopping::a_child_that_does_not_stop_in_time_is_killed_and_the_others_stop_in_good_order` |
//! | a failed restart counts and is tried again | `restarts::a_restart_that_fails_to_start_is_tried_again`, `groups::a_restart_of_a_group_that_fails_counts_once_and_is_tried_again` |
//! | auto_shutdown never, any_significant, all_significant | `a_supervisor_ends_with_its_significant_children` |
//! | a transient significant child that fails is restarted, which ends nobody | `a_significant_child_that_fails_is_restarted_and_ends_nobody` |
//! | a temporary significant child ends its supervisor however it ends | `a_temporary_significant_child_ends_its_supervisor_however_it_ends` |
//! | one that its supervisor stops, with its siblings, ends nobody | `groups::a_significant_child_that_is_stopped_with_its_siblings_ends_nobody` |
//! | a supervisor that ended so is restarted or not by its own restart type | `a_supervisor_ends_with_its_significant_children` |
//! | simple_one_for_one, dynamic children: `start_child`, `terminate_child` | `dynamic::a_child_comes_is_restarted_and_goes`, `dynamic::there_is_a_limit_and_a_name_is_taken_once` |
//! | a dynamic supervisor that is restarted begins without children | `dynamic::a_dynamic_supervisor_that_gives_up_begins_again_without_children` |

use crate::helpers::*;
use std::path::Path;
use supervision::{AutoShutdown, Mailbox, Node, Roll, Root, State, Strategy};

/// A rule with a test that is not there has none.
#[test]
fn each_rule_names_tests_that_there_are() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = include_str!("otp.rs").lines().map_while(|line| line.strip_prefix("//!"));
    let rows: Vec<&str> = table.filter_map(|line| line.strip_prefix(" | ")).skip(1).collect();
    assert!(rows.len() > 20, "the table was not read: {rows:?}");
    for row in rows {
        let (rule, tests) = row.split_once(" | ").unwrap_or_else(|| panic!("no test in: {row}"));
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test for: {rule}");
        for name in names {
            let (file, test) = name.split_once("::").unwrap_or(("otp", name));
            let places = [format!("tests/it/{file}.rs"), format!("src/{file}.rs")];
            let texts = places.iter().filter_map(|place| std::fs::read_to_string(crate_dir.join(place)).ok());
            let declared = format!("fn {test}(");
            assert!(texts.into_iter().any(|text| text.contains(&declared)), "no test {name} for: {rule}");
        }
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Site {
    boxes: [Mailbox<Msg>; 3],
    journal: Journal,
    root: Root,
    roll: Roll,
}

/// Three puppets; the middle one is configured.
async fn three(strategy: Strategy, middle: fn(Node) -> Node) -> Site {
    let (boxes, journal) = ([mailbox(), mailbox(), mailbox()], Journal::default());
    let nodes = NAMES.iter().zip(&boxes).map(|(name, mailbox)| {
        let node = puppet(name, mailbox, &journal);
        if *name == "b" { middle(node) } else { node }
    });
    let (root, roll) = start(tree("top", strategy, 5, nodes.collect())).await;
    Site { boxes, journal, root, roll }
}

impl Site {
    fn made(&self) -> [usize; 3] {
        NAMES.map(|name| self.journal.count(&format!("{name} made")))
    }

    async fn eventually_made(&self, times: [usize; 3]) {
        eventually(&format!("made {times:?} times"), || self.made() == times).await;
        for (name, mailbox) in NAMES.iter().zip(&self.boxes) {
            // Whoever answers has settled; a further restart would show here.
            if state(&self.roll, &format!("top/{name}")) == Some(State::Running) {
                assert!(count(mailbox).await.is_ok());
            }
        }
        assert_eq!(self.made(), times);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_strategy_restarts_whom_it_says() {
    let table = [(Strategy::OneForOne, [1, 2, 1]), (Strategy::OneForAll, [2, 2, 2]), (Strategy::RestForOne, [1, 2, 2])];
    for (strategy, made) in table {
        let site = three(strategy, |node| node).await;
        tell(&site.boxes[1], Msg::Panic("b".to_owned()));
        site.eventually_made(made).await;
        site.root.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_go_down_in_reverse_and_come_up_in_order() {
    let site = three(Strategy::OneForAll, |node| node).await;
    tell(&site.boxes[1], Msg::Panic("b".to_owned()));
    site.eventually_made([2, 2, 2]).await;
    let at = |entry: &str| site.journal.position(entry);
    assert!(at("c stopping") < at("a stopping"));
    assert_eq!(site.journal.count("b stopping"), 0, "what has failed cannot be stopped");
    let made: Vec<String> = site.journal.read().into_iter().filter(|entry| entry.ends_with("made")).collect();
    assert_eq!(made, ["a made", "b made", "c made", "a made", "b made", "c made"]);
    site.root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_child_comes_back() {
    type Configure = fn(Node) -> Node;
    // How it is configured, whether it comes back after a failure, and after it has finished.
    let table: [(&str, Configure, bool, bool); 3] = [
        ("permanent", |node| node, true, true),
        ("transient", Node::transient, true, false),
        ("temporary", Node::temporary, false, false),
    ];
    for (name, configure, after_failure, after_finish) in table {
        for (finishes, comes_back) in [(false, after_failure), (true, after_finish)] {
            let site = three(Strategy::OneForOne, configure).await;
            tell(&site.boxes[1], if finishes { Msg::Finish } else { Msg::Panic("b".to_owned()) });
            if comes_back {
                site.eventually_made([1, 2, 1]).await;
            } else {
                let end = if finishes { State::Stopped } else { State::Failed };
                eventually(&format!("a {name} child is gone"), || state(&site.roll, "top/b") == Some(end)).await;
                assert!(count(&site.boxes[1]).await.is_err(), "who asks is told at once");
                site.eventually_made([1, 1, 1]).await;
            }
            site.root.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_siblings_a_temporary_child_stays_away_and_a_finished_transient_one_comes_back() {
    let site = three(Strategy::OneForAll, Node::temporary).await;
    tell(&site.boxes[0], Msg::Panic("a".to_owned()));
    site.eventually_made([2, 1, 2]).await;
    site.root.stop().await;

    let site = three(Strategy::OneForAll, Node::transient).await;
    tell(&site.boxes[1], Msg::Finish);
    eventually("it has finished", || state(&site.roll, "top/b") == Some(State::Stopped)).await;
    tell(&site.boxes[0], Msg::Panic("a".to_owned()));
    site.eventually_made([2, 2, 2]).await;
    site.root.stop().await;
}

/// `a` and `b` are significant; `c` is not. The tree itself is transient: it does not come back.
async fn significant(when: AutoShutdown, kind: fn(Node) -> Node) -> Site {
    let (boxes, journal) = ([mailbox(), mailbox(), mailbox()], Journal::default());
    let nodes = NAMES.iter().zip(&boxes).map(|(name, mailbox)| {
        let node = puppet(name, mailbox, &journal);
        if *name == "c" { node } else { kind(node).significant() }
    });
    let inner = Node::from(tree("inner", Strategy::OneForOne, 5, nodes.collect())).auto_shutdown(when).transient();
    let other = puppet("other", &mailbox(), &journal);
    let (root, roll) = start(tree("top", Strategy::OneForOne, 5, vec![inner, other])).await;
    Site { boxes, journal, root, roll }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_ends_with_its_significant_children() {
    // After the end of the first and of the second of them.
    let table = [
        (AutoShutdown::Never, [false, false]),
        (AutoShutdown::AnySignificant, [true, true]),
        (AutoShutdown::AllSignificant, [false, true]),
    ];
    for (when, ends) in table {
        let site = significant(when, Node::transient).await;
        for (index, ends) in ends.into_iter().enumerate() {
            if site.boxes[index].tell(Msg::Finish).is_err() {
                continue;
            }
            let path = format!("top/inner/{}", NAMES[index]);
            eventually("it has finished", || state(&site.roll, &path) == Some(State::Stopped)).await;
            if ends {
                eventually("its supervisor ends", || state(&site.roll, "top/inner") == Some(State::Stopped)).await;
                eventually("its sibling is stopped", || site.journal.count("c stopping") == 1).await;
            } else {
                assert!(count(&site.boxes[2]).await.is_ok(), "{when:?}");
                assert_eq!(state(&site.roll, "top/inner"), Some(State::Running), "{when:?}");
            }
        }
        assert_eq!(state(&site.roll, "top/other"), Some(State::Running));
        site.root.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_significant_child_that_fails_is_restarted_and_ends_nobody() {
    let site = significant(AutoShutdown::AnySignificant, Node::transient).await;
    tell(&site.boxes[0], Msg::Panic("a".to_owned()));
    site.eventually_made([2, 1, 1]).await;
    assert_eq!(state(&site.roll, "top/inner"), Some(State::Running));
    site.root.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_significant_child_ends_its_supervisor_however_it_ends() {
    let site = significant(AutoShutdown::AnySignificant, Node::temporary).await;
    tell(&site.boxes[0], Msg::Panic("a".to_owned()));
    eventually("its supervisor ends", || state(&site.roll, "top/inner") == Some(State::Stopped)).await;
    site.root.stop().await;
}
