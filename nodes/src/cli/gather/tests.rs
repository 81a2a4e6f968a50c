//! Who is believed, and what a path cuts out.

use super::super::render::absent::Absence;
use super::super::render::samples::{actor, line, snapshot};
use super::*;

fn telling(by: &str, trees: Vec<NodeSnapshot>) -> Telling {
    Telling { by: by.parse().expect(by), lines: vec![line(by, "self")], trees, missing: BTreeMap::new(), hint: None }
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
fn a_node_by_its_whole_identity_is_shown_as_it_was_sent() {
    let path = Some("main/gpu/barn/workers");
    let hub = telling("main/relay/hub", vec![snapshot("main/gpu/barn", vec![actor("barn/workers")])]);
    let view = merged(vec![hub], vec![], path).found(path).expect("it was sent");
    assert_eq!(view.nodes[0].actors[0].path, "barn/workers");
}

#[test]
fn a_path_leads_to_one_node_by_its_name_or_identity() {
    let leads = |path: &str| is_of(path, &"main/gpu/barn".parse().expect("an identity"));
    assert!(["barn", "barn/workers", "main/gpu/barn", "main/gpu/barn/workers"].map(leads).iter().all(|leads| *leads));
    assert!(!["barn-2", "main/edge/barn", "main/gpu/barn-2", "main/gpu", "hub/barn"].map(leads).contains(&true));
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
fn a_node_that_does_not_show_its_tree_is_found_by_its_path() {
    for (state, path) in [("gone", "yard/cameras"), ("linked", "yard"), ("linked", "main/edge/yard/cameras")] {
        let mut hub = telling("main/relay/hub", vec![]);
        hub.lines.push(line("main/edge/yard", state));
        // Asked as well, and knows of no yard.
        let one = Telling { hint: Some("no node is called yard".to_owned()), ..telling("main/gpu/one", vec![]) };
        let view = merged(vec![one, hub], vec![], Some(path)).found(Some(path)).expect(path);
        let told = |Absence { line, .. }: &Absence| format!("{} {}", line.node, line.state);
        let absent: Vec<String> = view.absent.iter().map(told).collect();
        assert_eq!(absent, [format!("main/edge/yard {state}")], "{path}");
    }
}

#[test]
fn a_node_that_does_not_show_its_tree_is_told_with_the_reason() {
    let mut hub = telling("main/relay/hub", vec![]);
    hub.lines.push(line("main/edge/yard", "linked"));
    let yard = "main/edge/yard".parse().expect("an identity");
    hub.missing.insert(yard, "it has too many calls to answer".to_owned());
    let look = merged(vec![hub], vec![], None);
    let yard = look.view.absent.iter().find(|absence| absence.line.node.name.as_str() == "yard");
    assert_eq!(yard.map(Absence::why), Some("it has too many calls to answer"));
}

#[test]
fn a_node_without_such_a_part_is_not_absent() {
    let mut hub = Telling { hint: Some("nothing is at yard/camras".to_owned()), ..telling("main/relay/hub", vec![]) };
    hub.lines.push(line("main/edge/yard", "linked"));
    let path = Some("yard/camras");
    let Err(Failure::Failed(text)) = merged(vec![hub], vec![], path).found(path) else { panic!("it is there") };
    assert_eq!(text, "nothing is at yard/camras");
}
