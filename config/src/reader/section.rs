//! One table of a configuration, and the typed values in it.
//!
//! Each taker asks for one key. A value it cannot use leaves a fault; the walk goes on, so that
//! one reading finds all faults.

use super::{Reader, SECRET_BYTES_MAX, read_text};
use crate::fault::{HIDDEN, shown};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as ChoiceError};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use toml::{Table, Value};

/// One table of the configuration. When it goes out of scope, keys that nobody asked for become faults.
pub(crate) struct Section<'r> {
    reader: &'r Reader,
    path: String,
    table: Table,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let strays: Vec<String> = self.table.keys().map(|key| self.at(key)).collect();
        self.reader.strays.borrow_mut().extend(strays);
    }
}

impl<'r> Section<'r> {
    pub(super) fn root(reader: &'r Reader, table: Table) -> Self {
        Section { reader, path: String::new(), table }
    }

    /// Text that `parse` understands; a fault with `way_out` if it does not.
    pub(crate) fn opt_with<T>(&mut self, key: &str, way_out: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.take(key)?;
        let parsed = value.as_str().and_then(parse);
        if parsed.is_none() {
            self.refuse(key, &value, way_out);
        }
        parsed
    }

    pub(crate) fn opt<T: FromStr>(&mut self, key: &str, way_out: &str) -> Option<T> {
        self.opt_with(key, way_out, |text| text.parse().ok())
    }

    pub(crate) fn or<T: FromStr>(&mut self, key: &str, default: T, way_out: &str) -> T {
        self.opt(key, way_out).unwrap_or(default)
    }

    pub(crate) fn must<T: FromStr>(&mut self, key: &str, way_out: &str) -> Option<T> {
        self.require(key, way_out).opt(key, way_out)
    }

    /// Text with something in it.
    pub(crate) fn text(&mut self, key: &str, way_out: &str) -> Option<String> {
        self.opt_with(key, way_out, |text| (!text.trim().is_empty()).then(|| text.to_owned()))
    }

    pub(crate) fn must_text(&mut self, key: &str, way_out: &str) -> Option<String> {
        self.require(key, way_out).text(key, way_out)
    }

    /// A path; a relative one starts at the configuration's directory.
    pub(crate) fn path(&mut self, key: &str, way_out: &str) -> Option<PathBuf> {
        Some(self.reader.dir.join(self.text(key, way_out)?))
    }

    pub(crate) fn must_path(&mut self, key: &str, way_out: &str) -> Option<PathBuf> {
        self.require(key, way_out).path(key, way_out)
    }

    /// One of an enum's names, as serde knows them.
    pub(crate) fn choice<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.take(key)?;
        let chosen: Result<T, ChoiceError> = T::deserialize(value.as_str().unwrap_or("").into_deserializer());
        chosen
            .map_err(|error| {
                let text = error.to_string();
                let names = text.rsplit_once("expected ").map_or("another", |(_, names)| names);
                self.refuse(key, &value, &format!("use {names}"));
            })
            .ok()
    }

    /// A whole number; `hint` says what an end of the range means, or is empty.
    pub(crate) fn int<T: FromStr>(&mut self, key: &str, range: RangeInclusive<u64>, hint: &str) -> Option<T> {
        let value = self.take(key)?;
        let number = self.whole(key, &value);
        // Every whole-number type reads its own digits, so the NonZero ones need no case of their own.
        let parsed = number.filter(|number| range.contains(number)).and_then(|number| number.to_string().parse().ok());
        if parsed.is_none() {
            let quotes = self.quotes_note(key, &value);
            self.refuse(
                key,
                &value,
                &format!("use a whole number from {} to {}{quotes}{hint}", range.start(), range.end()),
            );
        }
        parsed
    }

    fn whole(&self, key: &str, value: &Value) -> Option<u64> {
        match value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::String(text) if self.by_env(key) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A list of whole numbers, not empty.
    pub(crate) fn ints(&mut self, key: &str, range: RangeInclusive<u32>, way_out: &str) -> Option<Vec<u32>> {
        let value = self.take(key)?;
        let Value::Array(items) = &value else {
            self.refuse(key, &value, way_out);
            return None;
        };
        if items.is_empty() {
            self.fault(key, "empty", way_out);
        }
        let mut numbers = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let number = self.whole(key, item).and_then(|number| u32::try_from(number).ok());
            match number.filter(|number| range.contains(number)) {
                Some(number) => numbers.push(number),
                None => {
                    let way_out = format!("use a whole number from {} to {}", range.start(), range.end());
                    self.refuse(&format!("{key}.{index}"), item, &way_out);
                }
            }
        }
        Some(numbers)
    }

    pub(crate) fn millis(&mut self, key: &str, default_ms: u64, range_ms: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.int(key, range_ms, "").unwrap_or(default_ms))
    }

    pub(crate) fn seconds(&mut self, key: &str, default: Duration, range_s: RangeInclusive<u64>) -> Duration {
        self.int(key, range_s, "").map_or(default, Duration::from_secs)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.take(key)?;
        let flag = match &value {
            Value::Boolean(flag) => Some(*flag),
            Value::String(text) if self.by_env(key) => text.trim().parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            let quotes = self.quotes_note(key, &value);
            self.refuse(key, &value, &format!("use true or false{quotes}"));
        }
        flag
    }

    pub(crate) fn number(&mut self, key: &str, range: RangeInclusive<f32>) -> Option<f32> {
        let value = self.take(key)?;
        let number = match &value {
            Value::Integer(number) => Some(*number as f32),
            Value::Float(number) => Some(*number as f32),
            Value::String(text) if self.by_env(key) => text.trim().parse().ok(),
            _ => None,
        };
        let fitting = number.filter(|number| range.contains(number));
        if fitting.is_none() {
            let quotes = self.quotes_note(key, &value);
            self.refuse(key, &value, &format!("use a number from {} to {}{quotes}", range.start(), range.end()));
        }
        fitting
    }

    /// A list of texts; in the environment, also one text with commas.
    pub(crate) fn texts(&mut self, key: &str, way_out: &str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let split = |text: &str| text.split(',').map(|part| Value::String(part.trim().to_owned())).collect();
        let items: Vec<Value> = match &value {
            Value::Array(items) => items.clone(),
            Value::String(text) if self.by_env(key) => split(text),
            _ => {
                self.refuse(key, &value, way_out);
                return None;
            }
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str().filter(|text| !text.trim().is_empty()) {
                Some(text) => texts.push(text.to_owned()),
                None => self.refuse(&format!("{key}.{index}"), item, way_out),
            }
        }
        Some(texts)
    }

    /// One text, or a list of them that is not empty; each is understood by `T`. In the environment, one with commas.
    pub(crate) fn some<T: FromStr>(&mut self, key: &str, max: usize, way_out: &str) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let items: Vec<Value> = match &value {
            Value::Array(items) => items.clone(),
            Value::String(text) if self.by_env(key) => text.split(',').map(|part| part.trim().into()).collect(),
            one => vec![one.clone()],
        };
        if items.is_empty() || items.len() > max {
            self.fault(key, &format!("{} of them", items.len()), &format!("{way_out}; 1 to {max} of them"));
            return None;
        }
        let mut parsed = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str().and_then(|text| text.parse().ok()) {
                Some(one) => parsed.push(one),
                None if items.len() == 1 => self.refuse(key, item, way_out),
                None => self.refuse(&format!("{key}.{index}"), item, way_out),
            }
        }
        (parsed.len() == items.len()).then_some(parsed)
    }

    /// Takes `key` if it is this word; anything else is left for another taker.
    pub(crate) fn takes(&mut self, key: &str, word: &str) -> bool {
        let is_it = self.table.get(key).and_then(Value::as_str) == Some(word);
        if is_it {
            self.take(key);
        }
        is_it
    }

    /// A secret, given as text under `key` or as a file under `key_file`, whose last line break is cut.
    pub(crate) fn secret(&mut self, key: &str) -> Option<String> {
        let key_file = format!("{key}_file");
        let (text, file) = (self.take(key), self.take(&key_file));
        if text.is_some() && file.is_some() {
            self.fault(&key_file, "set as well", &format!("keep either {key} or {key_file}"));
        }
        if let Some(value) = text {
            if let Value::String(secret) = value {
                return Some(secret);
            }
            self.fault(key, HIDDEN, "put it in quotes: it has to be text");
        }
        let Some(path) = file.as_ref()?.as_str().filter(|path| !path.is_empty()) else {
            self.refuse(&key_file, file.as_ref()?, "name the file that holds it");
            return None;
        };
        match read_text(&self.reader.dir.join(path), SECRET_BYTES_MAX) {
            Ok(secret) => {
                Some(secret.strip_suffix('\n').map_or(&*secret, |s| s.strip_suffix('\r').unwrap_or(s)).to_owned())
            }
            Err(why) => {
                self.fault(&key_file, &format!("\"{path}\", {why}"), "name a file that this user may read");
                None
            }
        }
    }

    /// The section `[key]`; an empty one if it is not there, so that its own keys are missed by name.
    pub(crate) fn section(&mut self, key: &str) -> Section<'r> {
        let table = match self.take(key) {
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.refuse(key, &other, &format!("write a section, [{}]", self.at(key)));
                Table::new()
            }
            None => Table::new(),
        };
        Section { reader: self.reader, path: self.at(key), table }
    }

    /// The sections `[[key]]`, in order.
    pub(crate) fn sections(&mut self, key: &str) -> Vec<Section<'r>> {
        let way_out = format!("write one section [[{}]] for each", self.at(key));
        let items = match self.take(key) {
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.refuse(key, &other, &way_out);
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let key = format!("{key}.{index}");
            match item {
                Value::Table(table) => sections.push(Section { reader: self.reader, path: self.at(&key), table }),
                other => self.refuse(&key, &other, &way_out),
            }
        }
        sections
    }

    pub(crate) fn is_one_of(&self, key: &str, texts: &BTreeSet<String>) -> bool {
        self.table.get(key).and_then(Value::as_str).is_some_and(|text| texts.contains(text))
    }

    /// Its keys are nobody's, and no fault.
    pub(crate) fn ignore(mut self) {
        self.table.clear();
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Leaves a fault if `key` is not there.
    pub(crate) fn require(&mut self, key: &str, way_out: &str) -> &mut Self {
        if !self.has(key) {
            self.fault(key, "missing", way_out);
        }
        self
    }

    pub(crate) fn fault(&self, key: &str, value: &str, way_out: &str) {
        self.reader.fault(&self.at(key), value, way_out);
    }

    /// As `fault`, when this section shows that the file is for another node: no other fault is told.
    pub(crate) fn fault_misplaced(&self, key: &str, value: &str, way_out: &str) {
        self.fault(key, value, way_out);
        self.reader.misplaced.set(true);
    }

    fn refuse(&self, key: &str, value: &Value, way_out: &str) {
        self.fault(key, &shown(value), way_out);
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.reader.known.borrow_mut().insert(self.at(key));
        self.table.remove(key)
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn by_env(&self, key: &str) -> bool {
        self.reader.origins.contains_key(&self.at(key))
    }

    fn quotes_note(&self, key: &str, value: &Value) -> &'static str {
        if value.is_str() && !self.by_env(key) { ", without quotes" } else { "" }
    }
}
