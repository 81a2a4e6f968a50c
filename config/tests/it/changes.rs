//! What a changed configuration concerns.

use super::{EDGE, read};
use config::{Change, Edge, Part, as_far_as_possible, changes};
use proptest::prelude::*;
use protocol::CameraId;

/// The edge above with two more cameras; `keys` are those of the one in the middle, `sections` stand before them all.
fn edge(sections: &str, keys: &str) -> Edge {
    let camera = |id: &str, keys: &str| format!("[[cameras]]\nid = \"{id}\"\nurl = \"rtsp://10.0.0.9/{id}\"\n{keys}\n");
    let text = EDGE.replace("[[cameras]]", &format!("{sections}\n[[cameras]]"));
    read(&format!("{text}{}{}", camera("gate", keys), camera("roof", "")), &[])
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn id(id: &str) -> CameraId {
    id.parse().expect("a name")
}

/// From one set of the gate's keys to another, and back, these of its parts are concerned and nothing else.
fn check(before: &str, after: &str, parts: &[Part]) {
    let wanted = match parts.is_empty() {
        true => Vec::new(),
        false => vec![Change::Changed { camera: id("gate"), parts: parts.to_vec() }],
    };
    assert_eq!(changes(&edge("", before), &edge("", after)), wanted, "{before} -> {after}");
    assert_eq!(changes(&edge("", after), &edge("", before)), wanted, "{after} -> {before}");
}

const ALL: &[Part] = &[Part::Recorder, Part::Tracking, Part::Watch, Part::Session];

#[test]
fn a_key_of_a_camera_concerns_the_actors_that_are_made_from_it() {
    check("", "", &[]);
    check("", "[[cameras.zones]]\nname = \"a\"\nline = [[0, 0], [1, 1]]", &[Part::Tracking]);
    check("", "[[cameras.filters]]\nscore_min = 0.6", &[Part::Tracking]);
    check("", "[[cameras.object_masks]]\npolygon = [[0, 0], [1, 0], [1, 1]]", &[Part::Tracking]);
    check("", "labels = [\"person\"]", &[Part::Tracking]);
    check("schedule = [\"mon 08:00-09:00\"]", "schedule = [\"mon 08:00-10:00\"]", &[Part::Tracking]);
    check("", "motion_masks = [[[0, 0], [1, 0], [1, 1]]]", &[Part::Watch]);
    check("", "model = \"yolox-nano\"", &[Part::Watch]);
    check("", "priority = \"high\"", &[Part::Watch]);
    check("", "transport = \"udp\"", &[Part::Session]);
    check("", "user = \"a\"\npassword = \"b\"", &[Part::Session]);
    check("", "detect_url = \"rtsp://10.0.0.9/small\"", &[Part::Session]);
    check("", "stall_ms = 3000", &[Part::Session]);
    check("", "frames_per_s = 2", &[Part::Watch, Part::Session]);
    check("", "gear = \"awake\"", &[Part::Watch, Part::Session]);
    check("", "record = \"all\"", ALL);
}

#[test]
fn a_section_concerns_all_cameras_or_the_node() {
    let told = |sections: &str| changes(&edge("", ""), &edge(sections, ""));
    let all = |parts: &[Part]| -> Vec<Change> {
        let changed = |camera: &str| Change::Changed { camera: id(camera), parts: parts.to_vec() };
        ["yard", "gate", "roof"].map(changed).into()
    };
    assert_eq!(told("[motion]\nthreshold = 20"), all(&[Part::Watch]));
    assert_eq!(told("[track]\nlost_after_ms = 3000"), all(&[Part::Tracking]));
    assert_eq!(told("[sources]\nallow = [\"loopback\"]"), all(&[Part::Session]));
    assert_eq!(told("[snapshots]\nquality = 70"), [Change::Snapshots]);
    assert_eq!(told("[record]\npre_roll_s = 9"), all(ALL));
    assert_eq!(told("[retain]\nevents_days = 60"), [Change::Retention]);
    let restart = |section| [Change::Restart(section)];
    assert_eq!(told("[outbox]\nentries_max = 5"), restart("[outbox]"));
    assert_eq!(told("[supervision]\nhang_ms = 3000"), restart("[supervision]"));
    assert_eq!(told("[record]\ndir = \"/srv\""), restart("record.dir"), "the rest of it goes on as it is");
    let (old, new) = (edge("", ""), edge("[supervision]\nhang_ms = 3000\n[motion]\nthreshold = 20", ""));
    let runs = as_far_as_possible(&old, &new);
    assert_eq!((&runs.supervision, &runs.motion), (&old.supervision, &new.motion));
    assert_eq!(changes(&runs, &new), restart("[supervision]"), "it is told again until the node is started again");
}

#[test]
fn cameras_open_and_close_as_they_come_and_go_and_are_enabled() {
    let (there, away) = (edge("", ""), edge("", "enabled = false"));
    assert_eq!(changes(&there, &away), [Change::Closed(id("gate"))]);
    assert_eq!(changes(&away, &there), [Change::Opened(id("gate"))]);
    let only = read(EDGE, &[]).expect("it is right");
    assert_eq!(changes(&there, &only), [Change::Closed(id("gate")), Change::Closed(id("roof"))]);
    assert_eq!(changes(&only, &away), [Change::Opened(id("roof"))]);
    let changed_while_away = edge("", "enabled = false\npriority = \"high\"");
    assert_eq!(changes(&away, &changed_while_away), [], "nothing of it runs");
}

/// Keys of a camera with values that differ.
fn keys() -> impl Strategy<Value = String> {
    let keys: &'static [&'static str] = &[
        "frames_per_s = 2",
        "stall_ms = 3000",
        "model = \"x\"",
        "labels = [\"car\"]",
        "priority = \"low\"",
        "enabled = false",
        "transport = \"udp\"",
        "repeat = true",
        "record = \"off\"",
        "gear = \"passthrough\"",
        "schedule = [\"daily 08:00-09:00\"]",
        "motion_masks = [[[0, 0], [1, 0], [1, 1]]]",
        "[[cameras.zones]]\nname = \"a\"\nline = [[0, 0], [1, 1]]",
        "[[cameras.filters]]\nlabel = \"car\"",
    ];
    proptest::sample::subsequence(keys, 0..keys.len()).prop_map(|keys| keys.join("\n"))
}

proptest! {
    #[test]
    fn a_change_of_one_camera_concerns_no_other(before in keys(), after in keys()) {
        for change in changes(&edge("", &before), &edge("", &after)) {
            let concerned = match change {
                Change::Opened(camera) | Change::Closed(camera) | Change::Changed { camera, .. } => camera,
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(concerned, id("gate"));
        }
        prop_assert_eq!(changes(&edge("", &after), &edge("", &after)), []);
    }
}
