//! How an overlay is laid over the table that was read.

use super::{Layer, Overlay, name_of, zones_of};
use crate::camera::url;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// What an overlay did to a table.
#[derive(Debug, Default)]
pub(crate) struct Laid {
    /// Full paths of the keys that it set or took away.
    pub keys: BTreeSet<String>,
    /// Cameras of the table that are away.
    pub removed: BTreeSet<String>,
    /// Cameras that the table does not have, and of which there is too little here.
    pub orphans: BTreeSet<String>,
    /// Cameras that the user's own file has.
    pub own: BTreeSet<String>,
}

impl Overlay {
    pub(crate) fn lay(&self, root: &mut Table) -> Laid {
        let mut laid = Laid::default();
        let cameras = root.entry("cameras").or_insert_with(|| Value::Array(Vec::new()));
        // What is no list is a fault of the user's file, and found as one.
        let Value::Array(cameras) = cameras else { return laid };
        laid.own = cameras.iter().filter_map(id_of).map(str::to_owned).collect();
        for (id, layer) in &self.cameras {
            let index = cameras.iter().position(|camera| id_of(camera) == Some(id));
            match (index, layer.removed) {
                (Some(_), true) => drop(laid.removed.insert(id.clone())),
                (Some(index), false) => {
                    if let Value::Table(camera) = &mut cameras[index] {
                        let keys = layer.lay(camera);
                        laid.keys.extend(keys.into_iter().map(|key| format!("cameras.{index}.{key}")));
                    }
                }
                (None, false) if layer.keys.contains_key("url") => {
                    laid.keys.insert(format!("cameras.{}", cameras.len()));
                    let mut camera = layer.keys.clone();
                    camera.insert("id".to_owned(), id.clone().into());
                    cameras.push(Value::Table(camera));
                }
                (None, _) => drop(laid.orphans.insert(id.clone())),
            }
        }
        laid
    }
}

fn id_of(camera: &Value) -> Option<&str> {
    camera.get("id")?.as_str()
}

impl Layer {
    /// The keys that are no longer the camera's own.
    fn lay(&self, camera: &mut Table) -> BTreeSet<String> {
        let mut changed = self.give_login_up(camera);
        for key in &self.unset {
            camera.remove(key);
            changed.insert(key.clone());
        }
        for (key, value) in self.keys.iter().filter(|(key, _)| *key != "zones") {
            camera.insert(key.clone(), value.clone());
            changed.insert(key.clone());
        }
        if self.lay_zones(camera) {
            changed.insert("zones".to_owned());
        }
        changed
    }

    /// The login of the user's file is for the camera that it names: it is not sent to another host, and not beside
    /// another login.
    fn give_login_up(&self, camera: &mut Table) -> BTreeSet<String> {
        let mut given_up = BTreeSet::new();
        let text = |table: &Table, key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
        let (own, new) = (text(camera, "url"), text(&self.keys, "url"));
        let moved = new.as_ref().is_some_and(|new| {
            let has_login = url::parse(new).is_ok_and(|source| source.login.is_some());
            has_login || own.as_deref().and_then(url::host_port) != url::host_port(new)
        });
        let has_login = ["user", "password"].iter().any(|key| self.keys.contains_key(*key));
        if moved || has_login {
            for key in ["user", "password", "password_file"] {
                if camera.remove(key).is_some() {
                    given_up.insert(key.to_owned());
                }
            }
        }
        if has_login
            && new.is_none()
            && let Some(source) = own.and_then(|own| url::parse(&own).ok()).filter(|source| source.login.is_some())
        {
            camera.insert("url".to_owned(), source.url.into());
            given_up.insert("url".to_owned());
        }
        given_up
    }

    fn lay_zones(&self, camera: &mut Table) -> bool {
        let new = zones_of(&self.keys);
        if new.is_empty() && self.unset_zones.is_empty() {
            return false;
        }
        let zones = camera.entry("zones").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(zones) = zones else { return false };
        zones.retain(|zone| name_of(zone).is_none_or(|name| !self.unset_zones.contains(name)));
        for zone in new {
            match zones.iter_mut().find(|own| name_of(own) == name_of(zone)) {
                Some(own) => *own = zone.clone(),
                None => zones.push(zone.clone()),
            }
        }
        true
    }
}
