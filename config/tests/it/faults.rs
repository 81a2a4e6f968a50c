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
        ("rtsp://", "ftp://watch:hunter2@"),
        ("id =", "detect_url = \"ftp://watch:hunter2@cam\"\nid ="),
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

/// What the keys of a camera, or of the sections beside it, leave.
fn check_camera(keys: &str, lines: &[&str]) {
    check("[[cameras]]", &format!("{keys}[[cameras]]"), lines);
}

#[test]
fn sources_gears_recording_and_retention_are_read_with_their_limits() {
    check_camera(
        "[sources]\nallow = [\"loopback\", \"lan\"]\n[gears]\nmode = \"fast\"\nsize_ratio = 0.5\nlook_every_s = 0\n",
        &[
            "sources.allow.1 is \"lan\"; list \"loopback\" for cameras of this machine, \"link_local\" for those with a \
             169.254 or fe80 address, or remove it",
            "gears.size_ratio is 0.5; use more than 1, or 0 to turn it off: every frame is so large",
            "gears.mode is \"fast\"; use one of `auto`, `awake`, `passthrough`",
            "gears.look_every_s is 0; use a whole number from 1 to 60",
        ],
    );
    check_camera(
        "[detect]\nregion_px = 10\nregions_max = 0\n[record]\nmode = \"some\"\nring_mib = 0\n[snapshots]\nquality = 0\n",
        &[
            "detect.region_px is 10; use 64 or more, or 0 to send the whole frame always",
            "detect.regions_max is 0; use a whole number from 1 to 16",
            "record.mode is \"some\"; use one of `off`, `events`, `motion`, `all`",
            "record.ring_mib is 0; use a whole number from 1 to 4096",
            "snapshots.quality is 0; use a whole number from 1 to 100",
        ],
    );
    check_camera(
        "[retain]\ncontinuous_days = 10\nmotion_days = 2\n",
        &["retain.motion_days is 2; use 10 or more: continuous_days is 10, and is of less worth"],
    );
}

#[test]
fn masks_zones_and_filters_name_what_is_wrong_with_them() {
    let keys = "transport = \"tls\"\nschedule = [\"mon 8-9\"]\nmotion_masks = [[[0, 0], [1, 0]], [[0, 0], [2, 0], [1, 1]]]\n\
        [[cameras.object_masks]]\nlabels = [\"car\"]\n\
        [[cameras.zones]]\nname = \"Gate\"\npolygon = [[0, 0], [0.5, 0.5], [1, 1]]\nline = [[0, 0], [1, 1]]\n\
        [[cameras.zones]]\nname = \"a\"\nline = [[0, 0], [1, 1]]\ndwell_s = 2\ndirection = \"up\"\n\
        [[cameras.zones]]\nname = \"a\"\npolygon = [[0, 0], [1, 0], [1, 1]]\ndirection = \"any\"\n\
        [[cameras.zones]]\nname = \"b\"\n\
        [[cameras.filters]]\nlabel = \"car\"\narea_min = 0.5\narea_max = 0.1\n[[cameras.filters]]\nlabel = \"car\"\n";
    let text = format!("{EDGE}{keys}");
    let found = read(&text, &[]).expect_err("all of it is wrong").to_string();
    let expected = [
        "cameras.0.transport is \"tls\"; use `tcp` or `udp`",
        "cameras.0.motion_masks.0 is 2 points; use three points or more, as fractions of the picture: [[0.1, 0.5], \
         [0.9, 0.5], [0.5, 1.0]]; 64 at most",
        "cameras.0.motion_masks.1.1 is [2, 0]; use [x, y], each from 0 to 1, from the picture's upper left corner",
        "cameras.0.object_masks.0.polygon is missing; name the part of the picture that is not looked at",
        "cameras.0.zones.0.name is \"Gate\"; name it with 1 to 48 of a-z, 0-9 and -, such as driveway",
        "cameras.0.zones.0.line is set as well as polygon; keep one of the two: two zones can have two names",
        "cameras.0.zones.0.polygon is a line; use three points or more, as fractions of the picture: [[0.1, 0.5], \
         [0.9, 0.5], [0.5, 1.0]]",
        "cameras.0.zones.1.direction is \"up\"; use one of `any`, `left-to-right`, `right-to-left`",
        "cameras.0.zones.1.dwell_s is set for a line; remove it: a line is crossed at once; or give a polygon in place \
         of the line",
        "cameras.0.zones.2.direction is set without a line; remove it, or set line in place of polygon",
        "cameras.0.zones.2.name is \"a\"; choose another: this camera has a zone of this name",
        "cameras.0.zones.3.polygon is missing; set polygon, an area, or line, which is crossed",
        "cameras.0.filters.0.area_max is 0.1; use 0.5 or more: area_min is 0.5",
        "cameras.0.filters.1.label is \"car\"; keep one filter a label, and one without: another one has this",
        "cameras.0.schedule is \"mon 8-9\"; list parts of a week, such as [\"mon-fri 08:00-18:00\", \"sat 22:00-06:00\"], \
         or remove it for always",
    ];
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_second_stream_is_another_one_and_lists_have_an_end() {
    let same = "url = \"rtsp://10.0.0.5/live\"\ndetect_url = \"rtsp://10.0.0.5/live\"";
    let line = "cameras.0.detect_url is the same as url; name another stream of this camera, or remove it";
    check("url = \"rtsp://10.0.0.5/live\"", same, &[line]);
    let zone = |n: usize| format!("[[cameras.zones]]\nname = \"z{n}\"\nline = [[0, 0], [1, 1]]\n");
    let zones: String = (0..33).map(zone).collect();
    let found = read(&format!("{EDGE}{zones}"), &[]).expect_err("too many").to_string();
    assert_eq!(found, "cameras.0.zones is 33 of them; use 32 at most");
    let camera = |n: usize| format!("[[cameras]]\nid = \"c{n}\"\nurl = \"test:ball\"\n");
    let cameras: String = (0..128).map(camera).collect();
    let found = read(&format!("{EDGE}{cameras}"), &[]).expect_err("too many").to_string();
    assert_eq!(found, "cameras is 129 of them; use 128 at most; a second edge takes the others");
}
