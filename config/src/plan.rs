//! The plan: an edge's configuration as it counts, how each camera of it is written, and what a change would make of it.
//!
//!   edge.toml, overlay ──▶ [plan] ──changed──▶ the next plan and overlay, or every fault at once

use crate::edge::{self, Edge};
use crate::fault::{Faults, HIDDEN};
use crate::overlay::Overlay;
use crate::reader::Reader;
use crate::{Kind, camera::url};
use protocol::CameraId;
use protocol::cameras::CameraChange;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Cheap enough to clone for each change: some hundred cameras.
#[derive(Clone)]
pub struct Plan {
    pub edge: Edge,
    file: PathBuf,
    /// What was in it: what the user has written since does not count before he says so.
    text: String,
    overlay: Overlay,
    /// The cameras' sections as they count.
    sections: BTreeMap<CameraId, Section>,
    /// Cameras that the user's file has and operators removed.
    pub removed: Vec<CameraId>,
    /// Cameras that operators changed and the user's file does not have any more.
    pub orphans: Vec<CameraId>,
    own: Vec<CameraId>,
}

#[derive(Clone)]
struct Section {
    keys: Table,
    /// Those that are not the user's own.
    changed: Vec<String>,
}

impl Plan {
    /// Reads the file, the environment and the overlay in the edge's data directory.
    pub fn read(file: &Path) -> Result<Self, Faults> {
        let text = Reader::text(file)?;
        let reader = Reader::of(&text, file, Some(Kind::Edge))?;
        let data_dir = reader.table().get("node").and_then(|node| node.get("data_dir")).and_then(Value::as_str);
        let overlay = data_dir.map(|dir| Overlay::load(&reader.dir().join(dir))).transpose()?.unwrap_or_default();
        Self::of(text, file, overlay)
    }

    /// Reads the file anew, with this plan's overlay.
    pub fn again(&self) -> Result<Self, Faults> {
        Self::of(Reader::text(&self.file)?, &self.file, self.overlay.clone())
    }

    fn of(text: String, file: &Path, overlay: Overlay) -> Result<Self, Faults> {
        let mut reader = Reader::of(&text, file, Some(Kind::Edge))?;
        reader.lay(&overlay);
        let read = edge::read(&reader);
        let ids = |ids: &std::collections::BTreeSet<String>| ids.iter().filter_map(|id| id.parse().ok()).collect();
        let (removed, orphans, own) =
            (ids(&reader.laid().removed), ids(&reader.laid().orphans), ids(&reader.laid().own));
        let (sections, names) = sections(&reader);
        let edge = reader.finish(read).map_err(|faults| by_name(faults, &names))?;
        Ok(Self { edge, file: file.to_owned(), text, overlay, sections, removed, orphans, own })
    }

    /// What this change makes of it. `None`: all that was ever changed is taken back. Nothing is written.
    pub fn changed(&self, camera: Option<&CameraId>, change: &CameraChange) -> Result<Self, Faults> {
        let mut overlay = self.overlay.clone();
        match camera {
            Some(camera) => {
                let before = self.sections.get(camera).map(|section| &section.keys);
                overlay.change(camera, change, before, self.own.contains(camera))?;
            }
            None => overlay.clear(),
        }
        let plan = Self::of(self.text.clone(), &self.file, overlay)?;
        match camera.filter(|camera| plan.orphans.contains(camera)) {
            Some(camera) => Err(Faults::one(
                &format!("cameras.{camera}"),
                "not there",
                "`watchtree camera list` shows those that are; a new one needs its url",
            )),
            None => Ok(plan),
        }
    }

    /// The file beside the user's, and what is to be in it.
    pub fn overlay_file(&self) -> (PathBuf, String) {
        (Overlay::path(&self.edge.node.data_dir), self.overlay.text())
    }

    /// Keys of this camera that were changed through the API.
    pub fn changed_keys(&self, camera: &CameraId) -> &[String] {
        self.sections.get(camera).map_or(&[], |section| &section.changed)
    }

    /// A camera's URL for people.
    pub fn shown_url(url: &str) -> String {
        url::shown(url)
    }

    /// The camera's section as it counts, without secrets.
    pub fn shown(&self, camera: &CameraId) -> Option<String> {
        let mut keys = self.sections.get(camera)?.keys.clone();
        if keys.contains_key("password") {
            keys.insert("password".to_owned(), HIDDEN.into());
        }
        for key in ["url", "detect_url"] {
            if let Some(text) = keys.get(key).and_then(Value::as_str) {
                let shown = url::shown(text);
                keys.insert(key.to_owned(), shown.into());
            }
        }
        toml::to_string(&keys).ok()
    }
}

/// By id; and what each camera's place in the list is called in faults.
fn sections(reader: &Reader) -> (BTreeMap<CameraId, Section>, BTreeMap<String, String>) {
    let (mut sections, mut names) = (BTreeMap::new(), BTreeMap::new());
    let cameras = reader.table().get("cameras").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let laid = reader.laid();
    for (index, camera) in cameras.iter().enumerate() {
        let Some(keys) = camera.as_table() else { continue };
        let Some(id) = keys.get("id").and_then(Value::as_str).and_then(|id| id.parse::<CameraId>().ok()) else {
            continue;
        };
        if laid.removed.contains(id.as_str()) {
            continue;
        }
        let at = format!("cameras.{index}");
        let changed = match laid.keys.contains(&at) {
            true => keys.keys().filter(|key| *key != "id").cloned().collect(),
            false => {
                laid.keys.iter().filter_map(|key| key.strip_prefix(&at)?.strip_prefix('.').map(str::to_owned)).collect()
            }
        };
        names.insert(at, format!("cameras.{id}"));
        sections.insert(id, Section { keys: keys.clone(), changed });
    }
    (sections, names)
}

/// `cameras.yard.url` in place of `cameras.3.url`: whoever asks from afar counts nothing.
fn by_name(mut faults: Faults, names: &BTreeMap<String, String>) -> Faults {
    for fault in &mut faults.0 {
        let place: String = fault.key.split('.').take(2).collect::<Vec<_>>().join(".");
        if let Some(name) = names.get(&place) {
            fault.key = format!("{name}{}", &fault.key[place.len()..]);
        }
    }
    faults
}
