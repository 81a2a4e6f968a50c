//! What is told of cameras and of their changes.

use super::Parked;
use crate::camera::coverage::Coverages;
use config::{Change, Part, Plan};
use protocol::cameras::{CameraChange, CameraSheet};
use protocol::{CameraId, limits};

/// Without sections. In the configuration's order, then those that do not count.
pub(super) fn sheets(plan: &Plan, coverage: &Coverages, parked: &Parked) -> Vec<CameraSheet> {
    let blank = |camera: &CameraId, state: &str| CameraSheet {
        camera: camera.clone(),
        state: state.to_owned(),
        reason: None,
        url: String::new(),
        changed: plan.changed_keys(camera).to_vec(),
        toml: None,
    };
    let there = plan.edge.cameras.iter().map(|camera| {
        let (state, reason) = if camera.enabled { sight(&camera.id, coverage, parked) } else { ("disabled", None) };
        CameraSheet { reason, url: Plan::shown_url(&camera.source_url), ..blank(&camera.id, state) }
    });
    let removed = plan.removed.iter().map(|camera| blank(camera, "removed"));
    let orphans = plan.orphans.iter().map(|camera| blank(camera, "incomplete"));
    there.chain(removed).chain(orphans).map(CameraSheet::short).collect()
}

fn sight(camera: &CameraId, coverage: &Coverages, parked: &Parked) -> (&'static str, Option<String>) {
    let Some(coverage) = coverage.of(camera) else { return ("blind", Some("it was not opened".to_owned())) };
    match coverage.blind() {
        Some(blind) => ("blind", Some(parked(camera).unwrap_or(blind))),
        None => ("sees", None),
    }
}

/// For the log and for whoever asked.
pub(super) fn change(change: &Change) -> String {
    match change {
        Change::Opened(camera) => format!("{camera} is opened"),
        Change::Closed(camera) => format!("{camera} is closed"),
        Change::Changed { camera, parts } if parts.contains(&Part::Recorder) => format!("{camera} starts anew"),
        Change::Changed { camera, parts } => {
            let parts = parts.iter().map(|part| part.as_str()).collect::<Vec<_>>();
            let verb = if parts.len() == 1 { "starts" } else { "start" };
            format!("{} of {camera} {verb} anew", parts.join(" and "))
        }
        Change::Retention => "recordings are kept as [retain] says now".to_owned(),
        Change::Snapshots => "pictures are taken as [snapshots] says now".to_owned(),
        Change::Restart(section) => format!("{section} has changed and counts after the node's next start"),
    }
}

/// Those that are set, removed or reset.
pub(super) fn keys(change: &CameraChange) -> String {
    match change {
        CameraChange::Set { toml } => match toml.parse::<toml::Table>() {
            Ok(table) => table.keys().map(|key| limits::short_text(key)).collect::<Vec<_>>().join(" "),
            Err(_) => "not TOML".to_owned(),
        },
        CameraChange::Remove { keys } | CameraChange::Reset { keys } => keys.join(" "),
    }
}
