//! The environment, laid over the file: any key can be set by a variable.
//!
//!   WATCHTREE_EDGE__CAMERAS__0__URL = rtsp://…   ▸   cameras.0.url
//!   └── prefix ──┘  └─ levels, split at `__` ─┘
//!
//! The next free index adds an item to a list.

use crate::fault::{Fault, HIDDEN};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The deepest key has three levels (`cameras.0.url`); a variable with more than this is refused, not followed.
const LEVELS_MAX: usize = 8;

/// Variables by name.
pub type Vars = BTreeMap<String, String>;

/// This process's variables for a node, such as all that begin with `WATCHTREE_EDGE__`.
pub(crate) fn ours(prefix: &str) -> Vars {
    std::env::vars_os()
        .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()))
        .filter(|(name, _)| levels(prefix, name).is_some())
        .collect()
}

/// What an overlay did.
#[derive(Default)]
pub(crate) struct Overlay {
    /// Keys that variables set, and by which: their texts may stand for numbers.
    pub(crate) origins: BTreeMap<String, String>,
    pub(crate) faults: Vec<Fault>,
}

/// Sets in `table` what `vars` say.
pub(crate) fn overlay(table: &mut Table, prefix: &str, vars: &Vars) -> Overlay {
    let mut found: Vec<(Vec<String>, &String, &String)> =
        vars.iter().filter_map(|(name, text)| Some((levels(prefix, name)?, name, text))).collect();
    // By number, not by letter: item 2 has to exist before item 10 can follow it.
    found
        .sort_by_key(|(levels, ..)| levels.iter().map(|l| l.parse::<u32>().map_err(|_| l.clone())).collect::<Vec<_>>());

    let mut root = Value::Table(std::mem::take(table));
    let mut done = Overlay::default();
    for (levels, name, text) in found {
        match put_checked(&mut root, &levels, text) {
            Ok(()) => {
                done.origins.insert(levels.join("."), name.clone());
            }
            // The text may be a secret on its way to the wrong key.
            Err(way_out) => {
                done.faults.push(Fault { file: String::new(), key: name.clone(), value: HIDDEN.to_owned(), way_out })
            }
        }
    }
    if let Value::Table(laid) = root {
        *table = laid;
    }
    done
}

/// `cameras`, `0`, `url` of a variable that is ours.
fn levels(prefix: &str, name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix(prefix)?.strip_prefix("__")?;
    Some(rest.split("__").map(str::to_ascii_lowercase).collect())
}

fn put_checked(root: &mut Value, levels: &[String], text: &str) -> Result<(), String> {
    if levels.iter().any(String::is_empty) {
        return Err("name a key, with two underscores before each level".to_owned());
    }
    if levels.len() > LEVELS_MAX {
        return Err(format!("shorten it: no key has more than {LEVELS_MAX} levels"));
    }
    // The way the standard library marks bytes that were no text; guessing at them would alter a password.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err("set it to UTF-8 text".to_owned());
    }
    put(root, levels, text)
}

fn put(slot: &mut Value, levels: &[String], text: &str) -> Result<(), String> {
    let Some((level, rest)) = levels.split_first() else {
        *slot = Value::String(text.to_owned());
        return Ok(());
    };
    match slot {
        Value::Table(table) => put(table.entry(level.clone()).or_insert_with(|| room_for(rest)), rest, text),
        Value::Array(items) => {
            let count = items.len();
            let wrong = || format!("use an item from 0 to {count} in place of {}", level.to_ascii_uppercase());
            let index = level.parse::<usize>().ok().filter(|index| *index <= count).ok_or_else(wrong)?;
            if index == count {
                items.push(room_for(rest));
            }
            put(&mut items[index], rest, text)
        }
        _ => Err(format!("end the name before __{}: that key is a single value", level.to_ascii_uppercase())),
    }
}

/// What a level that is not there yet has to be, for the levels after it to fit.
fn room_for(rest: &[String]) -> Value {
    match rest.first() {
        None => Value::String(String::new()),
        Some(next) if next.parse::<usize>().is_ok() => Value::Array(Vec::new()),
        Some(_) => Value::Table(Table::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(text: &str, vars: &[(&str, &str)]) -> (Table, Overlay) {
        let mut table = text.parse().expect("the test's TOML is right");
        let vars = vars.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let done = overlay(&mut table, "WATCHTREE_EDGE", &vars);
        (table, done)
    }

    #[test]
    fn a_variable_wins_over_the_file() {
        let (table, done) = laid("[link]\nrelay = \"a:1\"", &[("WATCHTREE_EDGE__LINK__RELAY", "b:2")]);
        assert_eq!(table["link"]["relay"].as_str(), Some("b:2"));
        assert_eq!(done.origins["link.relay"], "WATCHTREE_EDGE__LINK__RELAY");
    }

    #[test]
    fn items_are_added_in_the_order_of_their_numbers() {
        let names: Vec<String> = (0..12).map(|i| format!("WATCHTREE_EDGE__CAMERAS__{i}__ID")).collect();
        let vars: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let (table, done) = laid("", &vars);
        assert_eq!(table["cameras"].as_array().map(Vec::len), Some(12));
        assert!(done.faults.is_empty());
    }

    #[test]
    fn a_variable_that_fits_nowhere_is_a_fault_without_its_text() {
        for name in ["CAMERAS__7__URL", "CAMERAS__X", "LINK__RELAY__PORT", "LINK____RELAY", ""] {
            let name = format!("WATCHTREE_EDGE__{name}");
            let text = "cameras = [{ id = \"a\" }]\n[link]\nrelay = \"a:1\"";
            let (_, done) = laid(text, &[(&name, "hunter2")]);
            assert_eq!(done.faults.len(), 1, "{name} was accepted");
            assert!(!done.faults[0].to_string().contains("hunter2"));
        }
    }

    #[test]
    fn other_variables_are_left_alone() {
        let (table, done) =
            laid("", &[("WATCHTREE_EDGE_CONFIG", "x"), ("WATCHTREE_GPU__NODE__NAME", "x"), ("HOME", "x")]);
        assert!(table.is_empty() && done.faults.is_empty());
    }
}
