//! The programs under test: those that lie beside this one, and none that is older than its sources.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub const PROGRAMS: [&str; 7] = [
    "watchtree-edge",
    "watchtree-relay",
    "watchtree-gpu",
    "watchtree",
    "watchtree-camera-port",
    "watchtree-model-port",
    "watchtree-test-camera",
];

/// The directory of this workspace.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the workspace")
}

/// Where cargo puts programs: beside this one, or above it if this is a test.
pub fn dir() -> PathBuf {
    let me = std::env::current_exe().expect("the system knows its running programs");
    let dir = me.parent().expect("a program lies in a directory");
    if dir.ends_with("deps") { dir.parent().expect("deps lies in a profile's directory") } else { dir }.to_owned()
}

pub fn path(name: &str) -> PathBuf {
    dir().join(name)
}

/// Refuses programs that do not do what the sources say.
pub fn check_fresh() -> Result<(), String> {
    check_fresh_of(&PROGRAMS)
}

/// The same, where not all of them are used.
pub fn check_fresh_of(names: &[&str]) -> Result<(), String> {
    names.iter().try_for_each(|name| check_one(&dir(), name))
}

fn check_one(dir: &Path, name: &str) -> Result<(), String> {
    let program = dir.join(name);
    let built = modified(&program).ok_or_else(|| format!("{} is missing: run `make build`", program.display()))?;
    // Cargo's own list of what went into it. Manifests are not in it: cargo compares their meaning, not their age.
    let list = dir.join(format!("{name}.d"));
    let list = std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}: run `make build`", list.display()))?;
    let newer = sources(&list).into_iter().find(|source| modified(source).is_none_or(|changed| changed > built));
    match newer {
        Some(source) => Err(format!("{name} is older than {}: run `make build`", source.display())),
        None => Ok(()),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// `program: source source\ with\ spaces`, as make reads it.
fn sources(list: &str) -> Vec<PathBuf> {
    let names = list.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, names)| names);
    let names = names.replace("\\ ", "\0");
    names.split(' ').filter(|name| !name.is_empty()).map(|name| PathBuf::from(name.replace('\0', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temp dir");
        let source = dir.path().join("my main.rs");
        std::fs::write(&source, "").expect("written");
        std::fs::write(dir.path().join("prog"), "").expect("written");
        let list =
            format!("{}: {}\n", dir.path().join("prog").display(), source.display().to_string().replace(' ', "\\ "));
        std::fs::write(dir.path().join("prog.d"), list).expect("written");
        (dir, source)
    }

    #[test]
    fn a_program_newer_than_its_sources_is_taken() {
        let (dir, _) = fixture();
        assert_eq!(check_one(dir.path(), "prog"), Ok(()));
    }

    #[test]
    fn a_program_older_than_one_of_its_sources_is_refused_by_name() {
        let (dir, source) = fixture();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::open(&source).and_then(|file| file.set_modified(later)).expect("touched");
        let refused = check_one(dir.path(), "prog").expect_err("it is stale");
        assert!(refused.contains("my main.rs") && refused.contains("make build"), "{refused}");
    }

    #[test]
    fn a_missing_program_is_refused_with_the_way_out() {
        let (dir, _) = fixture();
        assert!(check_one(dir.path(), "other").expect_err("it is not there").contains("make build"));
    }
}
