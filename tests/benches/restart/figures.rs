//! Figures: many times become a few numbers, and a bar is met or not.

use serde_json::{Value, json};
use std::fmt;

/// What is told of many measurements.
pub struct Summary {
    pub n: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Summary {
    /// Too few measurements are none.
    pub fn of(mut took: Vec<f64>, n_min: usize) -> Result<Self, String> {
        let n = took.len();
        if n < n_min {
            return Err(format!("{n} measurements are there, {n_min} are due"));
        }
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took[(n * percent / 100).min(n - 1)];
        Ok(Self { n, p50: at(50), p99: at(99), max: at(100) })
    }

    pub fn json(&self) -> Value {
        json!({ "n": self.n, "p50": round(self.p50), "p99": round(self.p99), "max": round(self.max) })
    }
}

/// To hundredths: more is noise.
pub fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// The most that a figure may be.
pub struct Bar {
    what: &'static str,
    is: f64,
    most: f64,
}

impl Bar {
    pub fn new(what: &'static str, is: f64, most: f64) -> Self {
        Self { what, is, most }
    }

    fn met(&self) -> bool {
        self.is <= self.most
    }

    pub fn json(&self) -> Value {
        json!({ "what": self.what, "is": round(self.is), "most": self.most, "met": self.met() })
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met() { "met    " } else { "NOT MET" };
        write!(f, "{verdict}  {}: {:.2}, bar {}", self.what, self.is, self.most)
    }
}
