//! No text and no environment makes the reader panic, and what it refuses has a reason.

use config::{Faults, Vars, edge_from, gpu_from, model, relay_from};
use proptest::prelude::*;
use std::path::Path;

const SAMPLES: [&str; 3] = [
    include_str!("../../samples/edge.toml"),
    include_str!("../../samples/relay.toml"),
    include_str!("../../samples/gpu.toml"),
];

/// Names of variables after their prefix, most of them almost right.
const LEVELS: &str = "(NODE|LINK|CAMERAS|MODELS|TLS|0|1|99|ID|_|)(__(NODE|CERT|RELAY|0|1|URL|SPEC|X|)){0,4}";

/// Reads `text` as everything that there is; whatever is refused says why, one line a fault.
fn check(text: &str, vars: &Vars) {
    // An absent directory, so that no secret's file is ever found.
    let dir = Path::new("/nowhere");
    reasons(edge_from(text, dir, vars));
    reasons(relay_from(text, dir, vars));
    reasons(gpu_from(text, dir, vars));
    reasons(model::spec_from(text, dir, None));
}

fn reasons<T>(read: Result<T, Faults>) {
    if let Err(faults) = read {
        assert!(!faults.0.is_empty());
        assert_eq!(faults.to_string().lines().count(), faults.0.len(), "{faults}");
    }
}

/// Values of every kind, right and wrong, for any key.
fn value() -> impl Strategy<Value = String> {
    let fixed: &'static [&'static str] =
        &["0", "-1", "1e400", "nan", "true", "[]", "{}", "[[1]]", "9223372036854775807", "1979-05-27", "\"\"", "''"];
    prop_oneof![
        proptest::sample::select(fixed).prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        "[a-zé:/@%=.\\[\\]0-9 ]{0,30}".prop_map(|text| format!("'{text}'")),
        "[a-z:@%]{0,20}".prop_map(|text| format!("'rtsp://{text}'")),
    ]
}

/// A sample with some of its values, and of those that it shows in comments, replaced.
fn mutated() -> impl Strategy<Value = String> {
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), value()), 1..8);
    (proptest::sample::select(&SAMPLES[..]), changes).prop_map(|(sample, changes)| {
        let mut lines: Vec<String> = sample.lines().map(str::to_owned).collect();
        for (index, value) in changes {
            let keyed: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].contains(" = ")).collect();
            let line = &mut lines[*index.get(&keyed)];
            let key = line.trim_start_matches("# ").split(" = ").next().unwrap_or("").to_owned();
            *line = format!("{key} = {value}");
        }
        lines.join("\n")
    })
}

proptest! {
    #[test]
    fn no_change_of_a_value_panics(text in mutated()) {
        check(&text, &Vars::new());
    }

    #[test]
    fn no_text_panics(text in "[a-z_.\\[\\]{}=\"'#,0-9\\n é]{0,200}") {
        check(&text, &Vars::new());
    }

    #[test]
    fn no_environment_panics(
        sample in proptest::sample::select(&SAMPLES[..]),
        pairs in proptest::collection::btree_map(LEVELS, "\\PC{0,20}", 0..6),
    ) {
        for prefix in ["WATCHTREE_EDGE__", "WATCHTREE_RELAY__", "WATCHTREE_GPU__"] {
            check(sample, &pairs.iter().map(|(name, text)| (format!("{prefix}{name}"), text.clone())).collect());
        }
    }
}

#[test]
fn a_key_with_a_line_break_leaves_one_line() {
    check("\"a\\nb\" = 1", &Vars::new());
}

#[test]
fn a_deep_nest_is_refused_and_does_not_exhaust_the_stack() {
    check(&format!("x = {}", "[".repeat(100_000)), &Vars::new());
    check(&format!("[{}]", vec!["a"; 20_000].join(".")), &Vars::new());
    let name = format!("WATCHTREE_EDGE{}", "__A".repeat(20_000));
    check("", &Vars::from([(name, "x".to_owned())]));
}
