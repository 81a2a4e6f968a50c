//! Which files there are, and what they are by their names.

use crate::media::fmp4::TakeId;
use crate::recording::rows::SNAPSHOTS;
use protocol::{CameraId, EventId};
use std::io;
use std::path::{Path, PathBuf};

pub enum What {
    Take(TakeId),
    Clip,
    Picture,
    Other,
}

/// Below `root`, in the order of their names. What stands beside the days (the index) is not looked at.
pub fn files(root: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut files = Vec::new();
    for day in names(root)?.into_iter().filter(|name| is_day(name)) {
        for camera in names(&root.join(&day))? {
            let folder = Path::new(&day).join(&camera);
            if camera.parse::<CameraId>().is_err() || !root.join(&folder).is_dir() {
                files.push(folder);
                continue;
            }
            files.extend(names(&root.join(&folder))?.into_iter().map(|name| folder.join(name)));
        }
    }
    Ok(files)
}

fn names(folder: &Path) -> Result<Vec<String>, (PathBuf, io::Error)> {
    let failed = |error| (folder.to_owned(), error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

fn is_day(name: &str) -> bool {
    let shape = name.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq(*b"0000-00-00")
}

/// By its name. A link or a folder is no recording.
pub fn what(root: &Path, file: &Path) -> What {
    if !root.join(file).symlink_metadata().is_ok_and(|found| found.is_file()) {
        return What::Other;
    }
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return What::Other };
    if let Some(id) = name.strip_suffix(".mp4").and_then(|stem| stem.parse().ok()) {
        return What::Take(id);
    }
    let is_event = |ending: &str| name.strip_suffix(ending).is_some_and(|stem| stem.parse::<EventId>().is_ok());
    if is_event(".json") {
        What::Clip
    } else if SNAPSHOTS.into_iter().any(is_event) {
        What::Picture
    } else {
        What::Other
    }
}

/// It lies in its camera's folder.
pub fn is_at_home(file: &Path, camera: &CameraId) -> bool {
    let folder = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder == Some(camera.as_str())
}
