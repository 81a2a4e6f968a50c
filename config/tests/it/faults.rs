//! What is refused, and in which words. The words are the product: each test spells them out.

use super::{EDGE, check, read};
use std::path::Path;

#[test]
fn all_faults_are_told_at_once() {
    let text = EDGE.replace("\"10.0.0.2:7443\"", "\"x\"").replace("ca = \"ca.pem\"", "").replace("yard", "The Yard");
    let text = text + "priority = \"urgent\"\n[detect]\nframes_per_s = 99\n[outbox]\nentries_max = 0\n";
    let found = read(&text, &[]).expect_err("it is wrong").to_string();
    let expected = [
        "tls.ca is missing; name the authority's certificate, such as tls/ca.pem",
        "link.relay is \"x\"; use host:port, such as 10.0.0.2:7443",
        "outbox.entries_max is 0; use a whole number from 1 to 1000000000",
        "detect.frames_per_s is 99; use a number from 0.1 to 30",
        "cameras.0.id is \"The Yard\"; name it with 1 to 48 of a-z, 0-9 and -, such as front-door",
        "cameras.0.priority is \"urgent\"; use one of `low`, `normal`, `high`, `critical`",
    ];
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_misspelt_key_is_a_fault_that_suggests_the_right_one() {
    check(
        "relay = \"10.0.0.2:7443\"",
        "realy = \"10.0.0.2:7443\"",
        &[
            "link.relay is missing; use host:port, such as 10.0.0.2:7443",
            "link.realy is not a key that is known here; did you mean `relay`?",
        ],
    );
    check(
        "id = \"yard\"",
        "id = \"yard\"\nlable = []",
        &["cameras.0.lable is not a key that is known here; did you mean `labels`?"],
    );
    check("[link]", "[camera]\n[link]", &["camera is not a key that is known here; did you mean `cameras`?"]);
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_its_own() {
    let item = read(&EDGE.replace("id =", "name ="), &[]).expect_err("cameras have ids").to_string();
    assert!(item.contains("cameras.0.name is not a key that is known here; remove it, or use one of"), "{item}");

    let lines = ["tls.data_dir is not a key that is known here; did you mean `node.data_dir`?"];
    check("ca = \"ca.pem\"", "ca = \"ca.pem\"\ndata_dir = \"x\"", &lines);
}

#[test]
fn a_key_like_no_other_gets_the_list() {
    let lines = ["link.zebra is not a key that is known here; remove it, or use one of gpu, relay"];
    check("[link]", "[link]\nzebra = 1", &lines);
}

#[test]
fn a_value_of_the_wrong_kind_is_a_fault() {
    check("\"10.0.0.2:7443\"", "7443", &["link.relay is 7443; use host:port, such as 10.0.0.2:7443"]);
    check(
        "[link]",
        "[motion]\nthreshold = \"18\"\n[link]",
        &["motion.threshold is \"18\"; use a whole number from 1 to 255, without quotes"],
    );
    check("[link]", "[motion]\nthreshold = -1\n[link]", &["motion.threshold is -1; use a whole number from 1 to 255"]);
    check("[link]", "[detect]\nscore_min = nan\n[link]", &["detect.score_min is nan; use a number from 0 to 1"]);
    check("[node]", "motion = 5\n[node]", &["motion is 5; write a section, [motion]"]);
    check("[[cameras]]", "[cameras]", &["cameras is a section; write one section [[cameras]] for each"]);
    check(
        "id = \"yard\"",
        "id = \"yard\"\nlabels = [\"car\", 5]",
        &["cameras.0.labels.1 is 5; list labels in quotes, such as [\"person\", \"car\"], or remove it for all"],
    );
}

#[test]
fn a_file_for_another_node_is_refused_with_that_reason_alone() {
    let text = EDGE.replace("\"edge\"", "\"gpu\"") + "[batcher]\nbatch_max = 2\n";
    assert_eq!(read(&text, &[]).expect_err("it is a gpu node's").0.len(), 1);

    check(
        "\"edge\"",
        "\"gpu\"",
        &["node.role is \"gpu\"; start watchtree-gpu with this file, or write role = \"edge\""],
    );
    check("role = \"edge\"", "", &["node.role is missing; write role = \"edge\""]);
    check("\"edge\"", "\"box\"", &["node.role is \"box\"; write role = \"edge\""]);
}

#[test]
fn http_beyond_this_machine_is_refused() {
    check(
        "[tls]",
        "http = \"0.0.0.0:9601\"\n[tls]",
        &["node.http is \"0.0.0.0:9601\"; the HTTP port has no login yet: use a loopback address, \
             such as 127.0.0.1:9601"],
    );
}

#[test]
fn two_cameras_cannot_share_an_id() {
    let text = format!("{EDGE}[[cameras]]\nid = \"yard\"\nurl = \"rtsp://10.0.0.6/live\"\n");
    let found = read(&text, &[]).expect_err("the id is taken").to_string();
    assert_eq!(found, "cameras.1.id is \"yard\"; choose another: cameras.0 has this id");
}

#[test]
fn broken_toml_is_a_fault_with_its_place_and_without_its_line() {
    let text = format!("{EDGE}password = \"hunter2\nmore = 1\n");
    let found = read(&text, &[]).expect_err("a quote is missing").to_string();
    assert!(found.starts_with("line 14, column "), "{found}");
    assert!(!found.contains("hunter2") && found.lines().count() == 1, "{found}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let found = config::edge(Path::new("/nowhere/edge.toml")).expect_err("it is not there").to_string();
    assert!(found.starts_with("/nowhere/edge.toml is unreadable (No such file"), "{found}");
}

#[test]
fn a_fault_from_the_environment_names_its_variable() {
    let found = read(EDGE, &[("WATCHTREE_EDGE__MOTION__THRESHOLD", "x"), ("WATCHTREE_EDGE__LNK__RELAY", "x")]);
    let expected = [
        "motion.threshold is \"x\"; use a whole number from 1 to 255 (set by WATCHTREE_EDGE__MOTION__THRESHOLD)",
        "lnk is not a key that is known here; did you mean `link`? (set by WATCHTREE_EDGE__LNK__RELAY)",
    ];
    assert_eq!(found.expect_err("it is wrong").to_string().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn no_fault_ever_shows_a_secret() {
    for (from, to) in [
        ("rtsp://", "http://watch:hunter2@"),
        ("rtsp://10", "rtsp://watch:hunter2/x@10"),
        ("\"rtsp://10.0.0.5/live\"", "\"watch:hunter2@10.0.0.5\""),
        ("\"rtsp://10.0.0.5/live\"", "\"rtsp://watch:hunter2\""),
        ("\"rtsp://10.0.0.5/live\"", "[\"hunter2\"]"),
        ("id =", "user = \"watch\"\npasword = \"hunter2\"\nid ="),
        ("id =", "user = \"watch\"\npassword = [\"hunter2\"]\nid ="),
        ("id =", "user = 5\npassword = \"hunter2\"\nid ="),
        ("id =", "user = \"watch\"\npassword = \"hunter2\"\npassword = \"hunter2\"\nid ="),
        ("id =", "user = \"watch\"\npassword = hunter2\nid ="),
        ("[[cameras]]", "[[camera]]\npassword = \"hunter2\""),
        ("\"10.0.0.2:7443\"", "\"rtsp://watch:hunter2@10.0.0.5/?password=hunter2\""),
    ] {
        let text = EDGE.replace(from, to);
        let found = read(&text, &[]).expect_err(to);
        assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
    }
    let found = read(EDGE, &[("WATCHTREE_EDGE__CAMERAS__0__URL__PASSWORD", "hunter2")]).expect_err("it fits nowhere");
    assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
}

#[test]
fn no_camera_has_the_id_under_which_the_edge_tells_of_its_outbox() {
    check(
        "id = \"yard\"",
        "id = \"outbox\"",
        &["cameras.0.id is \"outbox\"; choose another: what the edge says of its outbox has this id"],
    );
}
