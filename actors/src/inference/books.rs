//! Books: what became of each asker's frames, per epoch.
//!
//! The edge keeps its own on disk ([`Journal`]): an epoch that a later start finds open was cut.
//! The gpu node keeps its askers' in memory ([`Books`]).

use protocol::frame::{Ledger, LedgerState};
use protocol::{Epoch, Identity, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Epochs kept; the oldest is forgotten when another one begins.
const EPOCHS_MAX: usize = 64;

/// The edge's books of its own epochs, oldest first, the running one last. Cheap to clone.
#[derive(Clone)]
pub struct Journal(Arc<Mutex<File>>);

struct File {
    path: PathBuf,
    earlier: Vec<Ledger>,
    written: Option<Ledger>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u8,
    epochs: Vec<Ledger>,
}

const VERSION: u8 = 1;

impl Journal {
    /// Reads what earlier processes left. A file that cannot be read is set aside: it is lost
    /// history, and no reason to stop.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("askers.json");
        let mut earlier = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Stored>(&bytes) {
                Ok(stored) if stored.version == VERSION => stored.epochs,
                _ => {
                    tracing::warn!(file = %path.display(), "books of earlier epochs are unreadable and set aside");
                    std::fs::rename(&path, path.with_extension("unreadable"))?;
                    Vec::new()
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        for ledger in earlier.iter_mut().filter(|ledger| ledger.state == LedgerState::Open) {
            tracing::warn!(asker = %ledger.asker, in_flight = ledger.tally.in_flight, "an earlier epoch was cut");
            ledger.state = LedgerState::Cut;
        }
        Ok(Self(Arc::new(Mutex::new(File { path, earlier, written: None }))))
    }

    /// The epochs before this process's.
    pub fn earlier(&self) -> Vec<Ledger> {
        self.lock().earlier.clone()
    }

    pub fn write(&self, ledger: Ledger) -> io::Result<()> {
        let mut file = self.lock();
        if file.written.as_ref() == Some(&ledger) {
            return Ok(());
        }
        let excess = (file.earlier.len() + 1).saturating_sub(EPOCHS_MAX);
        file.earlier.drain(..excess);
        let mut epochs = file.earlier.clone();
        epochs.push(ledger.clone());
        write_whole(&file.path, &serde_json::to_vec(&Stored { version: VERSION, epochs })?)?;
        file.written = Some(ledger);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Either the old file or the new one is there, never half of one.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(bytes)?;
    std::fs::rename(&fresh, path)
}

/// The gpu node's books of those who ask it. Cheap to clone.
///
/// Kept by edge and epoch: the edge is what its certificate says, so no edge writes in another's books.
#[derive(Clone, Default)]
pub struct Books(Arc<Mutex<Shelf>>);

/// Who asks: the edge's identity and its process's epoch.
pub type Asking = (Identity, Epoch);

#[derive(Default)]
struct Shelf {
    kept: BTreeMap<Asking, Kept>,
    /// Counts ledgers begun: their age.
    begun: u64,
}

struct Kept {
    ledger: Ledger,
    begun: u64,
    /// Who serves this asker now: after a reconnect the old desk may still be there.
    desks: usize,
}

impl Kept {
    /// Nobody will write in it, unless the asker comes back.
    fn is_done(&self) -> bool {
        self.desks == 0 && self.ledger.tally.in_flight == 0
    }
}

impl Books {
    /// The asker is linked (again). Each `open` has its `end`.
    ///
    /// Ledgers in use are never forgotten: while more than [`EPOCHS_MAX`] are, all of them stay.
    pub fn open(&self, asking: &Asking) {
        let shelf = &mut *self.lock();
        while shelf.kept.len() >= EPOCHS_MAX && !shelf.kept.contains_key(asking) {
            let done = shelf.kept.iter().filter(|(_, kept)| kept.is_done());
            let Some(oldest) = done.min_by_key(|(_, kept)| kept.begun).map(|(key, _)| key.clone()) else { break };
            shelf.kept.remove(&oldest);
        }
        let (edge, asker) = (asking.0.to_string(), asking.1);
        let begun = &mut shelf.begun;
        let kept = shelf.kept.entry(asking.clone()).or_insert_with(|| {
            *begun += 1;
            let ledger = Ledger { asker, edge, state: LedgerState::Open, tally: Default::default() };
            Kept { ledger, begun: *begun, desks: 0 }
        });
        kept.desks += 1;
        kept.ledger.state = LedgerState::Open;
    }

    pub fn submit(&self, asking: &Asking) {
        if let Some(kept) = self.lock().kept.get_mut(asking) {
            kept.ledger.tally.submit();
        }
    }

    pub fn settle(&self, asking: &Asking, outcome: &Outcome) {
        if let Some(kept) = self.lock().kept.get_mut(asking) {
            kept.ledger.tally.settle(outcome);
        }
    }

    /// `Closed` if it said goodbye, else `Cut` until it is back. While another desk serves it, it stays open.
    pub fn end(&self, asking: &Asking, state: LedgerState) {
        if let Some(kept) = self.lock().kept.get_mut(asking) {
            kept.desks = kept.desks.saturating_sub(1);
            if kept.desks == 0 {
                kept.ledger.state = state;
            }
        }
    }

    pub fn all(&self) -> Vec<Ledger> {
        self.lock().kept.values().map(|kept| kept.ledger.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::frame::Tally;

    fn ledger(asker: u64) -> Ledger {
        Ledger { asker: Epoch(asker), edge: "yard".to_owned(), state: LedgerState::Open, tally: Tally::default() }
    }

    #[test]
    fn an_epoch_that_was_not_closed_is_reported_as_cut() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let first = Journal::open(dir.path()).expect("opens");
        first.write(ledger(1)).expect("written");
        let second = Journal::open(dir.path()).expect("opens");
        assert_eq!(second.earlier(), [Ledger { state: LedgerState::Cut, ..ledger(1) }]);
    }

    #[test]
    fn a_closed_epoch_stays_closed() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let closed = Ledger { state: LedgerState::Closed, ..ledger(1) };
        Journal::open(dir.path()).expect("opens").write(closed.clone()).expect("written");
        assert_eq!(Journal::open(dir.path()).expect("opens").earlier(), [closed]);
    }

    #[test]
    fn unreadable_books_are_set_aside() {
        let dir = tempfile::tempdir().expect("a temp dir");
        std::fs::write(dir.path().join("askers.json"), b"{").expect("written");
        assert!(Journal::open(dir.path()).expect("opens").earlier().is_empty());
        assert!(dir.path().join("askers.unreadable").exists());
    }

    #[test]
    fn books_balance_whatever_the_outcomes() {
        let books = Books::default();
        let yard = ("main/edge/yard".parse().expect("an identity"), Epoch(7));
        books.open(&yard);
        let outcomes =
            [Outcome::Shed, Outcome::Expired, Outcome::Failed { reason: String::new() }].into_iter().cycle().take(10);
        for outcome in outcomes {
            books.submit(&yard);
            books.submit(&yard);
            books.settle(&yard, &outcome);
        }
        let tally = books.all()[0].tally;
        assert!(tally.balances());
        assert_eq!((tally.submitted, tally.in_flight), (20, 10));
    }

    fn yard(epoch: u64) -> Asking {
        ("main/edge/yard".parse().expect("an identity"), Epoch(epoch))
    }

    #[test]
    fn a_ledger_is_open_while_any_desk_serves_its_asker() {
        let books = Books::default();
        books.open(&yard(7));
        books.open(&yard(7));
        books.end(&yard(7), LedgerState::Cut);
        assert_eq!(books.all()[0].state, LedgerState::Open);
        books.end(&yard(7), LedgerState::Closed);
        assert_eq!(books.all()[0].state, LedgerState::Closed);
    }

    #[test]
    fn the_oldest_that_is_done_is_forgotten_and_never_one_with_frames_out() {
        let books = Books::default();
        // The oldest has a frame out, the next is served; epochs fall, so that age is not the order of keys.
        let epoch = |age: usize| yard((EPOCHS_MAX - age) as u64);
        for age in 0..EPOCHS_MAX {
            books.open(&epoch(age));
            if age != 1 {
                books.end(&epoch(age), LedgerState::Cut);
            }
        }
        books.submit(&epoch(0));
        books.open(&yard(1000));
        let left: Vec<Epoch> = books.all().iter().map(|ledger| ledger.asker).collect();
        assert_eq!(left.len(), EPOCHS_MAX);
        assert!(left.contains(&epoch(0).1) && left.contains(&epoch(1).1) && !left.contains(&epoch(2).1), "{left:?}");
        books.settle(&epoch(0), &Outcome::Shed);
        assert!(books.all().iter().all(|ledger| ledger.tally.balances() && ledger.tally.in_flight == 0));
    }

    #[test]
    fn more_ledgers_than_the_limit_stay_while_all_are_in_use() {
        let books = Books::default();
        for epoch in 0..=EPOCHS_MAX as u64 {
            books.open(&yard(epoch));
        }
        assert_eq!(books.all().len(), EPOCHS_MAX + 1);
        (0..=EPOCHS_MAX as u64).for_each(|epoch| books.end(&yard(epoch), LedgerState::Cut));
        books.open(&yard(1000));
        assert_eq!(books.all().len(), EPOCHS_MAX);
    }
}
