//! The samples are right, and what they call a default is one.

use config::{Edge, Gpu, Kind, Relay, Vars, edge_from, gpu_from, relay_from};
use std::path::{Path, PathBuf};

fn sample(kind: Kind) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(kind.as_str()).with_extension("toml");
    let text = std::fs::read_to_string(&path).expect("the sample is there");
    (path, text)
}

/// The sample with every key that it shows as a default taken out of its comment.
fn uncommented(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let is_key = |rest: &str| rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        match line.strip_prefix("# ").filter(|rest| is_key(rest) && !is_example(&lines)) {
            Some(key) => lines.push(key.to_owned()),
            None => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// Whether the comment above the last lines calls what follows an example.
fn is_example(above: &[String]) -> bool {
    let prose = above.iter().rev().find(|line| !line.starts_with("# ") || !line.contains(" = "));
    prose.is_some_and(|line| line.contains("(example"))
}

#[test]
fn the_samples_are_right_and_what_they_call_defaults_are() {
    let none = Vars::new();
    let dir = Path::new("/etc");
    let texts = [Kind::Edge, Kind::Relay, Kind::Gpu].map(|kind| sample(kind).1);
    let edge = |text: &str| edge_from(text, dir, &none).unwrap_or_else(|faults| panic!("{faults}"));
    let relay = |text: &str| relay_from(text, dir, &none).unwrap_or_else(|faults| panic!("{faults}"));
    let gpu = |text: &str| gpu_from(text, dir, &none).unwrap_or_else(|faults| panic!("{faults}"));
    let (plain, full): (Edge, Edge) = (edge(&texts[0]), edge(&uncommented(&texts[0])));
    assert_eq!(plain, full);
    let (plain, full): (Relay, Relay) = (relay(&texts[1]), relay(&uncommented(&texts[1])));
    assert_eq!(plain, full);
    let (plain, full): (Gpu, Gpu) = (gpu(&texts[2]), gpu(&uncommented(&texts[2])));
    assert_eq!(plain, full);
    let shown = texts.iter().map(|text| uncommented(text).lines().zip(text.lines()).filter(|(a, b)| a != b).count());
    assert_eq!(shown.collect::<Vec<_>>(), [50, 13, 20], "a default is no longer shown, or a new one is");
}

#[test]
fn check_knows_which_node_a_file_is_for() {
    assert_eq!(config::check(&sample(Kind::Edge).0), Ok(Kind::Edge));
    assert_eq!(config::check(&sample(Kind::Relay).0), Ok(Kind::Relay));
    assert_eq!(config::check(&sample(Kind::Gpu).0), Ok(Kind::Gpu));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("x.toml");
    std::fs::write(&path, "[node]\nrole = \"fridge\"").expect("written");
    let found = config::check(&path).expect_err("there is no such node").to_string();
    assert!(
        found.ends_with("node.role is \"fridge\"; write role = \"edge\", \"relay\" or \"gpu\" in the section [node]")
    );
}

#[test]
fn every_model_spec_in_the_repository_can_be_loaded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let files = std::fs::read_dir(dir).expect("the directory is there").map(|file| file.expect("it is listed").path());
    let specs: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    assert!(!specs.is_empty(), "no spec was found");
    for path in specs {
        let spec = config::model::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(Path::new(&spec.path).is_absolute());
    }
}

#[test]
fn check_reads_the_specs_of_a_gpu_node() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, spec) = (dir.path().join("gpu.toml"), dir.path().join("m.toml"));
    let text = sample(Kind::Gpu).1.replace("../models/yolox-nano.toml", "m.toml");
    std::fs::write(&path, format!("{text}\n[[models]]\nspec = \"m.toml\"\n")).expect("written");
    let found = config::check(&path).expect_err("there is no spec").to_string();
    assert!(found.starts_with(&format!("{} is unreadable", spec.display())), "{found}");
    let squares = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/squares.toml");
    std::fs::copy(squares, &spec).expect("copied");
    let found = config::check(&path).expect_err("it is there twice").to_string();
    assert!(found.contains("models.1.spec is a second model named \"squares\"; remove it"), "{found}");
}
