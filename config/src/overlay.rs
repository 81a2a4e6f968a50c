//! The overlay: what operators changed of an edge's cameras through the API, kept beside the user's file.
//!
//!   edge.toml ◂─ WATCHTREE_EDGE__* ◂─ data_dir/overlay.toml ─▸ table ─▸ reader
//!
//! The user's file is never rewritten. A camera is what its section says, with the overlay's keys in place of its own:
//! zones one by one, by their names, everything else key by key. What is written here is not read from anywhere else,
//! so whoever may change cameras never reads a file of the edge through it.

mod change;
mod lay;
mod typed;

use crate::fault::Faults;
use crate::reader::read_text;
pub(crate) use lay::Laid;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};
pub use typed::camera_keys;

/// In an edge's data directory.
const FILE: &str = "overlay.toml";

/// A larger overlay is refused: it is one message and one small file.
const BYTES_MAX: u64 = 256 * 1024;

const HEAD: &str =
    "# What was changed through the API: `watchtree camera`. watchtree-edge rewrites this file; comments are lost.\n\n";

/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Overlay {
    cameras: BTreeMap<String, Layer>,
}

/// What lies over one camera.
#[derive(Clone, PartialEq, Default)]
struct Layer {
    /// The camera as a whole is away.
    removed: bool,
    /// In place of the section's own; zones by their names.
    keys: Table,
    /// Keys of the section that are as if they were not there.
    unset: BTreeSet<String>,
    unset_zones: BTreeSet<String>,
}

/// Passwords are in there.
impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({})", self.keys.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
    }
}

impl Overlay {
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// Empty if there is none.
    pub(crate) fn load(data_dir: &Path) -> Result<Self, Faults> {
        let path = Self::path(data_dir);
        let wrong = |why: String| {
            let way_out = "correct it, or remove it: then the cameras are as the node's own file says";
            Faults::one(&path.display().to_string(), &why, way_out)
        };
        match std::fs::exists(&path) {
            Ok(false) => Ok(Self::default()),
            _ => read_text(&path, BYTES_MAX).and_then(|text| Self::parse(&text)).map_err(wrong),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| format!("not TOML ({})", error.message()))?;
        let mut cameras = BTreeMap::new();
        for (key, value) in table {
            let Value::Table(layers) = value else { return Err(format!("of another shape at {key}")) };
            if key != "cameras" {
                return Err(format!("of another shape at {key}"));
            }
            for (id, layer) in layers {
                let layer = Layer::parse(layer).ok_or_else(|| format!("of another shape at cameras.{id}"))?;
                cameras.insert(id, layer);
            }
        }
        Ok(Self { cameras })
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let layers: Table = self.cameras.iter().map(|(id, layer)| (id.clone(), Value::Table(layer.table()))).collect();
        let root = Table::from_iter([("cameras".to_owned(), Value::Table(layers))]);
        format!("{HEAD}{root}")
    }
}

impl Layer {
    fn parse(value: Value) -> Option<Self> {
        let Value::Table(mut table) = value else { return None };
        let names = |value: Option<Value>| match value {
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
            None => Some(BTreeSet::new()),
        };
        let layer = Self {
            removed: table.remove("removed").map_or(Some(false), |removed| removed.as_bool())?,
            unset: names(table.remove("unset"))?,
            unset_zones: names(table.remove("unset_zones"))?,
            keys: match table.remove("keys") {
                Some(Value::Table(keys)) => keys,
                Some(_) => return None,
                None => Table::new(),
            },
        };
        (table.is_empty() && zones_of(&layer.keys).iter().all(|zone| name_of(zone).is_some())).then_some(layer)
    }

    fn table(&self) -> Table {
        let names = |names: &BTreeSet<String>| Value::Array(names.iter().cloned().map(Value::String).collect());
        let mut table = Table::new();
        if self.removed {
            table.insert("removed".to_owned(), true.into());
        }
        for (key, set) in [("unset", &self.unset), ("unset_zones", &self.unset_zones)] {
            if !set.is_empty() {
                table.insert(key.to_owned(), names(set));
            }
        }
        if !self.keys.is_empty() {
            table.insert("keys".to_owned(), Value::Table(self.keys.clone()));
        }
        table
    }

    fn is_empty(&self) -> bool {
        !self.removed && self.keys.is_empty() && self.unset.is_empty() && self.unset_zones.is_empty()
    }
}

fn zones_of(camera: &Table) -> &[Value] {
    camera.get("zones").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn name_of(zone: &Value) -> Option<&str> {
    zone.get("name")?.as_str()
}
