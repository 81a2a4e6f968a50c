//! Tidiness is a test: what holds for every file, whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tests::harness::programs::project;

const LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Whom each of our packages may name, as DESIGN draws them.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("protocol", "protocol", &[]),
    ("supervision", "supervision", &[]),
    ("config", "config", &["protocol"]),
    ("actors", "actors", &["protocol", "supervision", "config"]),
    ("actors/ports/camera", "watchtree-camera-port", &["protocol", "supervision"]),
    ("actors/ports/model", "watchtree-model-port", &["protocol", "supervision"]),
    ("nodes", "nodes", &["protocol", "supervision", "config", "actors"]),
    ("tests", "tests", &["protocol", "supervision", "config", "actors", "nodes"]),
];

/// What may lie at the top beside dot files and licences.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "actors",
    "nodes",
    "protocol",
    "supervision",
    "config",
    "tests",
    "grafana",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Makefile",
    "rustfmt.toml",
    "deny.toml",
    "target",
];

/// Metrics that no dashboard shows, for whoever looks closer.
const SPARE: &[&str] = &[];

struct Source {
    name: String,
    text: String,
}

/// All files of ours below the top that end in `extension`, sorted.
fn files(extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = EDGES.iter().map(|(folder, ..)| project().join(folder)).collect();
    folders.push(project().join("grafana"));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let name = path.strip_prefix(project()).expect("it lies in the project").display().to_string();
                found.push(Source { name, text: std::fs::read_to_string(&path).expect("sources are UTF-8") });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    found
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn packages_name_only_those_below_them() {
    let mut faults = Vec::new();
    let ours: BTreeSet<&str> = EDGES.iter().map(|(_, name, _)| *name).collect();
    for (folder, name, may) in EDGES {
        let manifest = std::fs::read_to_string(project().join(folder).join("Cargo.toml")).expect("each has a manifest");
        let manifest: toml::Table = manifest.parse().expect("manifests are TOML");
        assert_eq!(manifest["package"]["name"].as_str(), Some(*name));
        // Tests of a package may look further: cargo keeps those out of what is shipped.
        for table in ["dependencies", "build-dependencies"] {
            let named = manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten();
            let wrong = named.map(|(dep, _)| dep.as_str()).filter(|dep| ours.contains(dep) && !may.contains(dep));
            faults.extend(wrong.map(|dep| format!("{folder} depends on {dep}")));
        }
    }
    none(faults);
}

#[test]
fn only_ports_and_the_test_camera_link_native_libraries() {
    let native = |dep: &str| dep.starts_with("gstreamer") || dep == "rten" || dep == "ort" || dep == "tch";
    let mut faults = Vec::new();
    for (folder, name, _) in EDGES.iter().filter(|(folder, ..)| !folder.contains("ports") && *folder != "tests") {
        let manifest = std::fs::read_to_string(project().join(folder).join("Cargo.toml")).expect("each has a manifest");
        let manifest: toml::Table = manifest.parse().expect("manifests are TOML");
        let named = manifest["dependencies"].as_table().expect("a table");
        faults.extend(named.keys().filter(|dep| native(dep)).map(|dep| format!("{name} links {dep}: a port must")));
    }
    none(faults);
}

#[test]
fn the_top_level_stays_as_it_is() {
    let entries = std::fs::read_dir(project()).expect("the project is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let known = |name: &str| name.starts_with('.') || name.starts_with("LICENSE") || TOP.contains(&name);
    none(names.filter(|name| !known(name)).map(|name| format!("{name} is new at the top level")).collect());
}

#[test]
fn each_file_says_first_what_it_is() {
    let silent = files("rs").into_iter().filter(|file| !file.text.starts_with("//! "));
    none(silent.map(|file| format!("{} does not open with //!", file.name)).collect());
}

#[test]
fn no_file_is_a_mod_rs() {
    none(files("rs").into_iter().map(|file| file.name).filter(|name| name.ends_with("/mod.rs")).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not accuse itself.
    let marks = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let mut faults = Vec::new();
    for file in files("rs") {
        for (number, line) in (1..).zip(file.text.lines()) {
            let code = line.trim_start();
            if marks.iter().any(|mark| code.contains(mark.as_str())) && !code.starts_with("//") {
                faults.push(format!("{}:{number}: {code}", file.name));
            }
            if code.starts_with(&["#[", "ignore"].concat()) && !code.contains('=') {
                faults.push(format!("{}:{number}: a test is ignored without a reason", file.name));
            }
        }
    }
    none(faults);
}

#[test]
fn no_file_is_too_long_to_read_down() {
    let length = |file: &Source| file.text.lines().count();
    let long = files("rs").into_iter().filter(|file| length(file) > LINES_MAX);
    none(long.map(|file| format!("{} has {} lines, the limit is {LINES_MAX}", file.name, length(&file))).collect());
}

#[test]
fn no_function_is_too_long_to_see_at_once() {
    let mut faults = Vec::new();
    for file in files("rs") {
        for (name, line, lines) in functions(&file.text).into_iter().filter(|(.., lines)| *lines > FUNCTION_LINES_MAX) {
            faults.push(format!("{}:{line}: {name} has {lines} lines, the limit is {FUNCTION_LINES_MAX}", file.name));
        }
    }
    none(faults);
}

/// Name, first line and length of each function, by rustfmt's indentation: it ends where a brace stands under it.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let indent = line.len() - line.trim_start().len();
        if line.trim_end() == format!("{}}}", " ".repeat(indent)) && open.last().is_some_and(|(.., at)| *at == indent) {
            let (name, first, _) = open.pop().expect("the line above looked");
            found.push((name, first, number - first + 1));
        } else if let Some(name) = function_name(line.trim_start()).filter(|_| !line.trim_end().ends_with([';', '}'])) {
            open.retain(|(.., at)| *at < indent);
            open.push((name.to_owned(), number, indent));
        }
    }
    found
}

fn function_name(code: &str) -> Option<&str> {
    let mut words = code
        .split(' ')
        .skip_while(|word| matches!(*word, "pub" | "async" | "const" | "extern") || word.starts_with("pub("));
    let name = words.next().filter(|word| *word == "fn").and_then(|_| words.next())?;
    name.split(['(', '<']).next()
}

#[test]
fn functions_are_measured_from_their_first_line_to_their_brace() {
    let text = "impl A {\n    pub(crate) async fn one(\n        &self,\n    ) -> B {\n        C {\n        }\n    }\n    fn two();\n}\nfn three<T>() {\n}\n";
    let wanted = [("one".to_owned(), 2, 6), ("three".to_owned(), 10, 2)];
    assert_eq!(functions(text), wanted);
}

#[test]
fn each_metric_is_described_and_each_description_is_used() {
    let described: BTreeSet<String> = actors::telemetry::metric_names().map(str::to_owned).collect();
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    for file in files("rs").into_iter().filter(|file| !file.name.starts_with("tests/")) {
        for mark in ["counter!(", "gauge!(", "histogram!(", "exposed("] {
            for call in file.text.split(mark).skip(1) {
                if let Some(name) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                    used.insert(name.to_owned(), file.name.clone());
                }
            }
        }
    }
    let mut faults = Vec::new();
    let unknown = used.iter().filter(|(name, _)| !described.contains(*name));
    faults.extend(
        unknown.map(|(name, file)| format!("{file} counts {name}, which actors/src/telemetry.rs does not describe")),
    );
    let unused = described.iter().filter(|name| !used.contains_key(*name));
    faults.extend(unused.map(|name| format!("nothing counts {name}; remove it from actors/src/telemetry.rs")));
    none(faults);
}

#[test]
fn each_metric_on_a_dashboard_exists() {
    let described: BTreeSet<String> = actors::telemetry::metric_names().map(str::to_owned).collect();
    let mut faults = Vec::new();
    for file in files("json").into_iter().chain(files("yml")).filter(|file| file.name.starts_with("grafana/")) {
        for name in metrics_in(&file.text) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            if !described.contains(base) && !described.contains(&name) {
                faults.push(format!("{} shows {name}, which nothing counts", file.name));
            }
        }
    }
    none(faults);
}

#[test]
fn each_metric_is_on_a_dashboard_or_spare() {
    let dashboards = files("json").into_iter().filter(|file| file.name.starts_with("grafana/dashboards/"));
    let shown: BTreeSet<String> = dashboards.flat_map(|file| metrics_in(&file.text)).collect();
    let mut faults = Vec::new();
    for name in actors::telemetry::metric_names() {
        let is_shown = ["", "_bucket", "_sum", "_count"].iter().any(|end| shown.contains(&format!("{name}{end}")));
        if !is_shown && !SPARE.contains(&name) {
            faults.push(format!("{name} is on no dashboard; show it, or add it to SPARE"));
        } else if is_shown && SPARE.contains(&name) {
            faults.push(format!("{name} is on a dashboard and not spare"));
        }
    }
    none(faults);
}

#[test]
fn each_panel_says_what_it_shows_in_which_unit() {
    let mut faults = Vec::new();
    let mut titles = BTreeSet::new();
    for file in files("json").into_iter().filter(|file| file.name.starts_with("grafana/dashboards/")) {
        let board: serde_json::Value = serde_json::from_str(&file.text).expect("dashboards are JSON");
        let title = board["title"].as_str().unwrap_or_default();
        if !title.starts_with("Watchtree / ") || !titles.insert(title.to_owned()) {
            faults.push(format!("{} needs a title of its own after `Watchtree / `", file.name));
        }
        let panels = board["panels"].as_array().expect("a dashboard has panels");
        let places: BTreeSet<String> = panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
        if places.len() < panels.len() {
            faults.push(format!("{} has panels on top of each other", file.name));
        }
        for panel in panels {
            let say = |pointer: &str| panel.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
            let (title, description) = (say("/title"), say("/description"));
            if title.is_empty() || description.len() < 20 || say("/fieldConfig/defaults/unit").is_empty() {
                faults.push(format!("{}: `{title}` lacks its title, unit or description", file.name));
            }
        }
    }
    none(faults);
}

/// Without it a panel adds up what happens on all nodes, and a storm is seen and not where.
#[test]
fn each_panel_is_of_the_nodes_that_were_chosen() {
    let mut faults = Vec::new();
    for file in files("json").into_iter().filter(|file| file.name.starts_with("grafana/dashboards/")) {
        let board: serde_json::Value = serde_json::from_str(&file.text).expect("dashboards are JSON");
        let variables = board.pointer("/templating/list").and_then(|list| list.as_array()).expect("it has variables");
        if !variables.iter().any(|variable| variable["name"] == "node") {
            faults.push(format!("{} has no variable `node`", file.name));
        }
        for panel in board["panels"].as_array().expect("a dashboard has panels") {
            for target in panel["targets"].as_array().expect("a panel asks") {
                let asked = target["expr"].as_str().unwrap_or_default();
                if asked.matches("watchtree_").count() != asked.matches("{node=~\"$node\"").count() {
                    faults.push(format!("{}: {} is not of `$node`: {asked}", file.name, panel["title"]));
                }
            }
        }
    }
    none(faults);
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_to_do_and_is_tested() {
    let read = |name| std::fs::read_to_string(project().join("grafana").join(name)).expect("it is there");
    let (alerts, tested) = (read("alerts.yml"), read("alerts_test.yml"));
    let mut faults = Vec::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap_or_default();
        let lacks =
            ["for: ", "severity: ", "summary: ", "description: "].into_iter().filter(|key| !alert.contains(key));
        faults.extend(lacks.map(|key| format!("{name} lacks `{key}`")));
        // A step that an operator can take, not a wish.
        if !alert.contains("`watchtree") {
            faults.push(format!("{name} names no command of watchtree"));
        }
        if !tested.contains(&format!("alertname=\"{name}\"")) && !tested.contains(&format!("alertname: {name}\n")) {
            faults.push(format!("{name} is fired by no test of alerts_test.yml"));
        }
    }
    none(faults);
}

fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("watchtree_"));
    words.map(str::to_owned).collect()
}

#[test]
fn the_readme_names_only_files_and_targets_that_exist() {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("there is a README");
    let makefile = std::fs::read_to_string(project().join("Makefile")).expect("there is a Makefile");
    let mut faults = String::new();
    for quoted in readme.split('`').skip(1).step_by(2).filter(|quoted| !quoted.contains('\n')) {
        if let Some(target) = quoted.strip_prefix("make ") {
            let target = target.split(' ').next().unwrap_or_default();
            if !makefile.contains(&format!("\n{target}:")) {
                let _ = writeln!(faults, "README: `{quoted}`: the Makefile has no {target}");
            }
        } else if quoted.contains('/')
            && !quoted.contains([' ', '*', '$', '{', '<', ':'])
            && !quoted.starts_with(['/', '.'])
        {
            let is_there = Path::exists(&project().join(quoted)) || quoted.starts_with("target/");
            if !is_there {
                let _ = writeln!(faults, "README: `{quoted}` does not exist");
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}
