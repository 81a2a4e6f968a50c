//! Who is believed, and what a path cuts out.

use super::super::render::samples::{actor, line, snapshot};
use super::*;

fn telling(by: &str, trees: Vec<NodeSnapshot>) -> Telling {
    Telling { by: by.parse().expect(by), lines: vec![line(by, "self")], trees, hint: None }
}

#[test]
fn what_a_node_says_of_itself_wins() {
    let merged = merge_lines([line("main/relay/hub", "linked"), line("main/relay/hub", "self")].into_iter());
    assert_eq!(merged.iter().map(|line| line.state.as_str()).collect::<Vec<_>>(), ["self"]);
}

#[test]
fn a_node_linked_to_one_relay_is_not_gone() {
    let merged = merge_lines([line("main/edge/yard", "linked"), line("main/edge/yard", "gone")].into_iter());
    assert_eq!(merged[0].state, "linked");
}

#[test]
fn relays_come_first() {
    let lines = ["main/edge/yard", "main/gpu/one", "main/relay/hub"].map(|node| line(node, "linked"));
    assert_eq!(merge_lines(lines.into_iter())[0].node.to_string(), "main/relay/hub");
}

#[test]
fn a_tree_from_its_own_node_wins() {
    let with = |by: &str, note: &str| {
        let mut tree = snapshot("main/relay/hub", vec![]);
        tree.notes = vec![note.to_owned()];
        telling(by, vec![tree])
    };
    let merged = merge_trees(vec![with("main/gpu/one", "hearsay"), with("main/relay/hub", "own word")]);
    assert_eq!(merged[0].notes, ["own word"]);
}

#[test]
fn a_path_ends_between_two_names() {
    let tree = snapshot("main/edge/yard", vec![actor("yard/cam"), actor("yard/cam/port"), actor("yard/camera")]);
    let paths = |path: &str| {
        below(path, tree.clone()).map(|node| node.actors.iter().map(|a| a.path.clone()).collect::<Vec<_>>())
    };
    assert_eq!(paths("yard/cam"), Some(vec!["yard/cam".to_owned(), "yard/cam/port".to_owned()]));
    assert_eq!(paths("yard/ca"), None);
}

#[test]
fn a_path_where_nothing_is_fails_with_the_nodes_suggestion() {
    let hub = Telling { hint: Some("did you mean yard/cameras?".to_owned()), ..telling("main/relay/hub", vec![]) };
    let Err(Failure::Failed(text)) = merged(vec![hub], vec![], Some("hub/camras")).found(Some("hub/camras")) else {
        panic!("nothing was found")
    };
    assert_eq!(text, "did you mean yard/cameras?");
}

#[test]
fn one_that_knows_the_path_is_enough() {
    let hub = Telling { hint: Some("did you mean hub?".to_owned()), ..telling("main/relay/hub", vec![]) };
    let one = telling("main/gpu/one", vec![snapshot("main/gpu/one", vec![actor("one/pool")])]);
    let view = merged(vec![hub, one], vec![], Some("one/pool")).found(Some("one/pool")).expect("it is there");
    assert_eq!((view.nodes.len(), view.absent.len()), (1, 0));
}

#[test]
fn a_node_that_is_gone_is_found_by_its_path() {
    let mut hub = Telling { hint: Some("nothing is there".to_owned()), ..telling("main/relay/hub", vec![]) };
    hub.lines.push(line("main/edge/yard", "gone"));
    let view = merged(vec![hub], vec![], Some("yard/cameras")).found(Some("yard/cameras")).expect("it is gone");
    assert_eq!(view.absent[0].node.to_string(), "main/edge/yard");
}
