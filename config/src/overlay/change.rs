//! What one change of the API does to the overlay.

use super::{BYTES_MAX, Layer, Overlay, name_of, zones_of};
use crate::fault::{Faults, HIDDEN, shown};
use protocol::CameraId;
use protocol::cameras::CameraChange;
use protocol::limits::{CAMERA_TOML_BYTES_MAX, short_text};
use toml::{Table, Value};

/// Of which neither another can be set in its place, nor none.
const NEEDED: [&str; 2] = ["id", "url"];

impl Overlay {
    /// `before` is the camera as it was read until now, if there is one; `own`: the user's file has it. Nothing is
    /// changed if it is refused.
    pub(crate) fn change(
        &mut self,
        camera: &CameraId,
        change: &CameraChange,
        before: Option<&Table>,
        own: bool,
    ) -> Result<(), Faults> {
        let mut layer = self.cameras.get(camera.as_str()).cloned().unwrap_or_default();
        let at = |key: &str| format!("cameras.{camera}{}{key}", if key.is_empty() { "" } else { "." });
        let outcome = match change {
            CameraChange::Set { toml } => layer.set(camera, toml),
            CameraChange::Remove { .. } if before.is_none() => Err(absent()),
            CameraChange::Remove { keys } if keys.is_empty() => {
                layer = Layer { removed: own, ..Layer::default() };
                Ok(())
            }
            CameraChange::Remove { keys } => keys.iter().try_for_each(|key| layer.remove(key, before)),
            CameraChange::Reset { keys } => layer.reset(keys),
        };
        outcome.map_err(|wrong| one(at(&wrong.key), wrong.value, wrong.way_out))?;
        let mut changed = self.clone();
        match layer.is_empty() {
            true => drop(changed.cameras.remove(camera.as_str())),
            false => drop(changed.cameras.insert(camera.to_string(), layer)),
        }
        let bytes = changed.text().len() as u64;
        if bytes > BYTES_MAX {
            let way_out = format!("write some of it into the edge's own file: an overlay has {BYTES_MAX} B at most");
            return Err(one(at(""), format!("one change too much, {bytes} B"), way_out));
        }
        *self = changed;
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.cameras.clear();
    }
}

/// A fault whose key is within the camera.
struct Wrong {
    key: String,
    value: String,
    way_out: String,
}

fn wrong(key: impl Into<String>, value: impl Into<String>, way_out: impl Into<String>) -> Wrong {
    Wrong { key: key.into(), value: value.into(), way_out: way_out.into() }
}

fn absent() -> Wrong {
    wrong("", "not there", "`watchtree camera list` shows those that are")
}

fn one(key: String, value: String, way_out: String) -> Faults {
    Faults::one(&short_text(&key), &short_text(&value), &way_out)
}

impl Layer {
    fn set(&mut self, camera: &CameraId, text: &str) -> Result<(), Wrong> {
        if text.len() > CAMERA_TOML_BYTES_MAX {
            let way_out = format!("set {CAMERA_TOML_BYTES_MAX} B at once, at most");
            return Err(wrong("", format!("{} B of keys", text.len()), way_out));
        }
        // Only the parser's message: its full text quotes the line, and a password may be on it.
        let parsed = text.parse::<Table>();
        let keys = parsed.map_err(|error| wrong("", "not TOML", format!("correct it: {}", error.message())))?;
        if keys.is_empty() {
            return Err(wrong("", "set to nothing", "name a key and its value, such as labels=[\"person\"]"));
        }
        for (key, value) in keys {
            if key.as_str() == "zones" {
                self.set_zones(value)?;
                continue;
            }
            check(camera, &key, &value)?;
            self.unset.remove(&key);
            if key.as_str() != "id" {
                self.keys.insert(key, value);
            }
        }
        self.removed = false;
        Ok(())
    }

    /// Each in place of the one of its name, or beside the others.
    fn set_zones(&mut self, value: Value) -> Result<(), Wrong> {
        let way_out = "write one section [[zones]] for each, with its name";
        let Value::Array(new) = value else { return Err(wrong("zones", shown(&value), way_out)) };
        for zone in new {
            let name = name_of(&zone).ok_or_else(|| wrong("zones", "one without a name", way_out))?.to_owned();
            self.unset_zones.remove(&name);
            self.drop_zone(&name);
            if let Value::Array(zones) = self.keys.entry("zones").or_insert_with(|| Value::Array(Vec::new())) {
                zones.push(zone);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &str, before: Option<&Table>) -> Result<(), Wrong> {
        if NEEDED.contains(&key) {
            return Err(wrong(key, "needed", "set another, or remove the camera as a whole"));
        }
        let zones = || before.map(zones_of).unwrap_or_default().iter().filter_map(name_of);
        if let Some(zone) = key.strip_prefix("zones.") {
            if !zones().any(|name| name == zone) {
                let there = zones().collect::<Vec<_>>().join(", ");
                let there = if there.is_empty() { "it has none".to_owned() } else { format!("there are: {there}") };
                return Err(wrong(key, "not there", there));
            }
            self.drop_zone(zone);
            self.unset_zones.insert(zone.to_owned());
            return Ok(());
        }
        if !before.is_some_and(|before| before.contains_key(key)) {
            return Err(wrong(key, "not set", "its default counts already"));
        }
        self.keys.remove(key);
        self.unset.insert(key.to_owned());
        Ok(())
    }

    fn reset(&mut self, keys: &[String]) -> Result<(), Wrong> {
        if self.is_empty() {
            return Err(wrong("", "as the edge's own file says", "there is nothing to take back"));
        }
        if keys.is_empty() {
            *self = Self::default();
        }
        for key in keys {
            let before = self.clone();
            match key.strip_prefix("zones.") {
                Some(zone) => {
                    self.drop_zone(zone);
                    self.unset_zones.remove(zone);
                }
                None => {
                    self.keys.remove(key);
                    self.unset.remove(key);
                    if key == "zones" {
                        self.unset_zones.clear();
                    }
                }
            }
            if *self == before {
                return Err(wrong(key, "as the edge's own file says", "`watchtree camera show` marks what is changed"));
            }
        }
        Ok(())
    }

    fn drop_zone(&mut self, name: &str) {
        if let Some(Value::Array(zones)) = self.keys.get_mut("zones") {
            zones.retain(|zone| name_of(zone) != Some(name));
            if zones.is_empty() {
                self.keys.remove("zones");
            }
        }
    }
}

/// What must not come from afar: whoever may change cameras may not read the edge's files.
fn check(camera: &CameraId, key: &str, value: &Value) -> Result<(), Wrong> {
    let own = "write it into the edge's own file: through the API no file of the edge is named";
    match key {
        "id" if value.as_str() != Some(camera.as_str()) => {
            Err(wrong(key, shown(value), format!("leave it out: this is {camera}")))
        }
        "password_file" => Err(wrong(key, HIDDEN, format!("set password, or {own}"))),
        "url" | "detect_url" if value.as_str().is_some_and(|url| url.trim_start().starts_with("file:")) => {
            Err(wrong(key, shown(value), own))
        }
        _ => Ok(()),
    }
}
