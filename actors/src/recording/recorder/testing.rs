//! A recorder whose turns are calls.

use super::writer::{Turn, Writer};
use crate::recording::footage::{Footage, FootageSettings};
use crate::recording::library::Library;
use crate::recording::space::Limits;
use crate::recording::testing::{Pictures, camera, format, seconds};
use config::recording::RecordMode;
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
pub(in crate::recording) const SEGMENT: Duration = Duration::from_secs(10);

/// One camera's recorder without its actors: each turn is a call.
pub(in crate::recording) struct Bench {
    pub library: Library,
    pub footage: Footage,
    writer: Writer,
    pub pictures: Pictures,
    pub unit_bytes: u64,
}

impl Bench {
    /// Everything is young: the made-up camera's time is not ours.
    pub fn limits() -> Limits {
        let long = DAY * 365 * 100;
        Limits { continuous: long, motion: long, events: long, bytes_max: None, free_bytes_min: 0 }
    }

    pub fn new(root: &Path, mode: RecordMode, limits: Limits) -> Self {
        let library = Library::new(root.to_owned(), limits);
        library.tend_now().expect("the disk is well");
        Self::on(library, mode)
    }

    pub fn on(library: Library, mode: RecordMode) -> Self {
        let footage = Footage::new(&settings(mode, 32 << 20));
        let writer = Writer::new(camera(), footage.clone(), library.clone(), SEGMENT);
        footage.format(format(640));
        let pictures = Pictures { bytes: 20_000, ..Pictures::default() };
        Self { library, footage, writer, pictures, unit_bytes: 0 }
    }

    pub fn play(&mut self, until: f64) {
        for unit in self.pictures.until(until) {
            self.unit_bytes += unit.data.0.len() as u64;
            self.footage.unit(unit);
        }
        self.turn(until);
    }

    pub fn turn(&mut self, at: f64) {
        while let Turn::More = self.writer.turn(seconds(at), false).expect("the disk is well") {}
    }

    pub fn end(mut self, at: f64) -> Library {
        self.footage.cut();
        self.turn(at);
        self.writer.close(seconds(at)).expect("the disk is well");
        self.library
    }
}

pub(in crate::recording) fn settings(mode: RecordMode, ring_bytes_max: usize) -> FootageSettings {
    let roll = Duration::from_secs(5);
    FootageSettings { mode, pre_roll: roll, post_roll: roll, ring_bytes_max }
}
