//! Takes typed values out of a table, section by section, and keeps every fault on the way.
//!
//!   file ─▸ table ◂─ environment ◂─ overlay
//!             │
//!           Section ── must, or, int, path, … ──▸ typed values
//!             └─ keys nobody asked for ─▸ faults
//!
//! Plain serde stops at the first fault and shows what it refused; here a password could be in it.

mod section;
mod shapes;

pub(crate) use section::Section;

use crate::Kind;
use crate::env::{self, Vars};
use crate::fault::{Fault, Faults, nearest, shown};
use crate::overlay::{Laid, Overlay};
use protocol::limits::short_text;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::Table;

/// A configuration or a model spec; a larger file is refused: it must be something else.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A secret's file; a larger one is refused: it must be something else.
const SECRET_BYTES_MAX: u64 = 4096;

/// Says which node a file is for.
const ROLE_KEY: &str = "node.role";

/// One configuration while it is read.
pub(crate) struct Reader {
    file: String,
    dir: PathBuf,
    table: Table,
    origins: BTreeMap<String, String>,
    laid: Laid,
    faults: RefCell<Vec<Fault>>,
    /// Every key that was asked for, as a full path: what a misspelt one is compared with.
    known: RefCell<BTreeSet<String>>,
    strays: RefCell<Vec<String>>,
    /// The file is for another node: all else that is wrong with it follows from that.
    misplaced: Cell<bool>,
}

impl Reader {
    /// Reads a file; relative paths in it start at its directory. Without a kind, no variables lie over it.
    pub(crate) fn open(path: &Path, kind: Option<Kind>) -> Result<Self, Faults> {
        Self::of(&Self::text(path)?, path, kind)
    }

    pub(crate) fn text(path: &Path) -> Result<String, Faults> {
        let file = path.display().to_string();
        read_text(path, FILE_BYTES_MAX)
            .map_err(|why| one(&file, &file, &why, "name a TOML file that this user may read"))
    }

    /// As [`Self::open`], of a file that was read already.
    pub(crate) fn of(text: &str, path: &Path, kind: Option<Kind>) -> Result<Self, Faults> {
        let file = path.display().to_string();
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let dir = absolute.parent().unwrap_or(Path::new("/"));
        let vars = kind.map(|kind| env::ours(kind.prefix())).unwrap_or_default();
        Self::new(text, &file, dir, kind, &vars)
    }

    pub(crate) fn new(text: &str, file: &str, dir: &Path, kind: Option<Kind>, vars: &Vars) -> Result<Self, Faults> {
        let mut table: Table = text.parse().map_err(|error| syntax(file, text, &error))?;
        let overlay = kind.map(|kind| env::overlay(&mut table, kind.prefix(), vars)).unwrap_or_default();
        Ok(Self {
            file: file.to_owned(),
            dir: dir.to_owned(),
            table,
            origins: overlay.origins,
            laid: Laid::default(),
            faults: RefCell::new(overlay.faults),
            known: RefCell::default(),
            strays: RefCell::default(),
            misplaced: Cell::new(false),
        })
    }

    /// What operators changed through the API counts over the file and over the environment.
    pub(crate) fn lay(&mut self, overlay: &Overlay) {
        self.laid = overlay.lay(&mut self.table);
        let is_laid = |path: &str| self.laid.keys.iter().any(|key| is_at_or_below(path, key));
        self.origins.retain(|path, _| !is_laid(path));
    }

    pub(crate) fn laid(&self) -> &Laid {
        &self.laid
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn root(&self) -> Section<'_> {
        Section::root(self, self.table.clone())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was read, if nothing was wrong.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Faults> {
        for stray in self.strays.take() {
            let way_out = self.way_home(&stray);
            // Its value is not shown: `pasword` holds a password.
            self.fault(&stray, "not a key that is known here", &way_out);
        }
        let mut faults = self.faults.into_inner();
        if self.misplaced.get() {
            faults.retain(|fault| fault.key == ROLE_KEY);
        }
        match value {
            Some(value) if faults.is_empty() => Ok(value),
            _ => {
                debug_assert!(!faults.is_empty(), "a value was missing and no fault says so");
                Err(Faults(faults))
            }
        }
    }

    fn fault(&self, key: &str, value: &str, way_out: &str) {
        let inside = format!("{key}.");
        let below = || self.origins.iter().find(|(path, _)| path.starts_with(&inside)).map(|(_, variable)| variable);
        let way_out = match self.origins.get(key).or_else(below) {
            Some(variable) => format!("{way_out} (set by {variable})"),
            None if self.laid.keys.iter().any(|laid| is_at_or_below(key, laid)) => {
                format!("{way_out} (set through the API; `watchtree camera reset` takes it back)")
            }
            None => way_out.to_owned(),
        };
        // A quoted key can hold anything, line breaks too; a fault is one line.
        let (file, key, value) = (self.file.clone(), short_text(key), short_text(value));
        self.faults.borrow_mut().push(Fault { file, key, value, way_out });
    }

    /// Where the key `stray` should have been.
    fn way_home(&self, stray: &str) -> String {
        let known = self.known.borrow();
        let (section, name) = stray.rsplit_once('.').unwrap_or(("", stray));
        let siblings = || known.iter().filter_map(|path| sibling(path, section));
        // Not for an item of a list: what it lacks is its own, never another section's.
        let is_item = section.contains('.');
        let elsewhere = || known.iter().find(|path| !is_item && path.rsplit('.').next() == Some(name));
        if let Some(meant) = nearest(name, siblings()) {
            format!("did you mean `{meant}`?")
        } else if let Some(path) = elsewhere() {
            format!("did you mean `{path}`?")
        } else {
            let all: Vec<&str> = siblings().collect();
            format!("remove it, or use one of {}", all.join(", "))
        }
    }
}

fn is_at_or_below(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `path`'s own name, if it lies directly in `section`.
fn sibling<'a>(path: &'a str, section: &str) -> Option<&'a str> {
    let (its_section, name) = path.rsplit_once('.').unwrap_or(("", path));
    (its_section == section).then_some(name)
}

/// The kind of node that a file's `node.role` names.
pub(crate) fn role(path: &Path) -> Result<Kind, Faults> {
    // Whose variables count is not known yet.
    let reader = Reader::open(path, None)?;
    let way_out = "write role = \"edge\", \"relay\" or \"gpu\" in the section [node]";
    let role = reader.table.get("node").and_then(|node| node.get("role"));
    let kind = role.and_then(|role| role.as_str()?.parse().ok());
    kind.ok_or_else(|| one(&reader.file, ROLE_KEY, &role.map_or("missing".to_owned(), shown), way_out))
}

fn one(file: &str, key: &str, value: &str, way_out: &str) -> Faults {
    // The key is the file itself: once is enough.
    let file = if file == key { "" } else { file };
    let (file, key, value, way_out) = (file.to_owned(), key.to_owned(), value.to_owned(), way_out.to_owned());
    Faults(vec![Fault { file, key, value, way_out }])
}

fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Faults {
    let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    // Only the parser's message: its full text quotes the line, and a password may be on it.
    let reason = error.message().replace('\n', ", ");
    one(file, &format!("line {line}, column {column}"), "not TOML", &format!("correct it there: {reason}"))
}

pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("unreadable ({error})"))?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| format!("unreadable ({error})"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("larger than {bytes_max} B"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}
