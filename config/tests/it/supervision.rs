//! `[supervision]`: the same section on every node.

use super::{EDGE, check, read, vars};
use config::{Supervision, gpu_from, relay_from};
use std::path::Path;
use std::time::Duration;

/// All keys, each away from its default.
const ALL: &str = "[supervision]\nrestarts_max = 0\nrestarts_within_s = 10\nhang_ms = 500\nstore_hang_ms = 500\n\
    resume_after_s = 5\nresume_after_max_s = 5\nport_memory_mib = 64\nallow_faults = true\n";

fn changed() -> Supervision {
    Supervision {
        restarts_max: 0,
        restarts_within: Duration::from_secs(10),
        hang: Duration::from_millis(500),
        store_hang: Duration::from_millis(500),
        resume_after: Duration::from_secs(5),
        resume_after_max: Duration::from_secs(5),
        port_memory_mib: 64,
        allow_faults: true,
    }
}

#[test]
fn every_node_reads_every_key() {
    let edge = read(&format!("{EDGE}{ALL}"), &[]).expect("it is right");
    assert_eq!(edge.supervision, changed());
    assert_eq!(edge.supervision.port_memory_bytes(), 64 * 1024 * 1024);
    let other = EDGE[..EDGE.find("[[cameras]]").expect("it has cameras")].replace("\"edge\"", "\"gpu\"") + ALL;
    let gpu = gpu_from(&other, Path::new("/etc"), &vars(&[])).expect("it is right");
    assert_eq!(gpu.supervision, changed());
    let other = EDGE[..EDGE.find("[link]").expect("it has a link")].replace("\"edge\"", "\"relay\"") + ALL;
    let relay = relay_from(&other, Path::new("/etc"), &vars(&[])).expect("it is right");
    assert_eq!(relay.supervision, changed());
}

#[test]
fn without_the_section_faults_are_not_allowed_and_a_camera_has_five_restarts_a_minute() {
    let supervision = read(EDGE, &[]).expect("it is right").supervision;
    assert_eq!(supervision, Supervision::default());
    assert_eq!((supervision.restarts_max, supervision.restarts_within.as_secs()), (5, 60));
    assert_eq!((supervision.hang.as_millis(), supervision.store_hang.as_millis()), (2000, 10_000));
    assert_eq!((supervision.resume_after.as_secs(), supervision.resume_after_max.as_secs()), (60, 1800));
    assert_eq!((supervision.port_memory_mib, supervision.allow_faults), (1024, false));
}

#[test]
fn every_key_can_be_set_by_the_environment() {
    let name = |key: &str| format!("WATCHTREE_EDGE__SUPERVISION__{}", key.to_ascii_uppercase());
    let pairs: Vec<(String, &str)> =
        ALL.lines().filter_map(|line| line.split_once(" = ")).map(|(key, value)| (name(key), value)).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(pairs.len(), 8);
    assert_eq!(read(EDGE, &pairs).expect("it is right").supervision, changed());
    let found = read(EDGE, &[("WATCHTREE_EDGE__SUPERVISION__ALLOW_FAULTS", "yes")]).expect_err("it is neither");
    assert_eq!(
        found.to_string(),
        "supervision.allow_faults is \"yes\"; use true or false (set by WATCHTREE_EDGE__SUPERVISION__ALLOW_FAULTS)"
    );
}

#[test]
fn all_that_is_out_of_range_is_told_at_once() {
    let wrong = "[supervision]\nrestarts_max = 1001\nrestarts_within_s = 0\nhang_ms = 199\nstore_hang_ms = 600001\n\
        resume_after_s = 0\nresume_after_max_s = 604801\nport_memory_mib = 63\nallow_faults = \"true\"\nhang_s = 2\n";
    let lines = [
        "supervision.restarts_max is 1001; use a whole number from 0 to 1000",
        "supervision.restarts_within_s is 0; use a whole number from 1 to 86400",
        "supervision.hang_ms is 199; use a whole number from 200 to 60000",
        "supervision.store_hang_ms is 600001; use a whole number from 200 to 600000",
        "supervision.resume_after_s is 0; use a whole number from 1 to 604800",
        "supervision.resume_after_max_s is 604801; use a whole number from 1 to 604800",
        "supervision.port_memory_mib is 63; use a whole number from 64 to 1048576",
        "supervision.allow_faults is \"true\"; use true or false, without quotes",
        "supervision.hang_s is not a key that is known here; did you mean `hang_ms`?",
    ];
    check("[[cameras]]", &format!("{wrong}[[cameras]]"), &lines);
}

#[test]
fn pauses_and_limits_that_contradict_each_other_are_refused() {
    let lines = [
        "supervision.store_hang_ms is 10000; use 20000 or more: hang_ms is 20000",
        "supervision.resume_after_max_s is 30; use 60 or more: resume_after_s is 60",
    ];
    let wrong = "[supervision]\nhang_ms = 20000\nresume_after_max_s = 30\n[[cameras]]";
    check("[[cameras]]", wrong, &lines);
}
