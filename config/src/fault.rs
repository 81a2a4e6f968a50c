//! What is wrong with a configuration, in words that say what to do about it.
//!
//!   link.relay is "x"; use host:port, such as 10.0.0.2:7443
//!   └── key ──┘   └ value └── way out ──┘

use std::fmt;
use toml::Value;

/// A longer value is cut where a fault shows it: enough to recognise it, and one line on a terminal.
const VALUE_CHARS_MAX: usize = 60;

/// Stands wherever a secret would.
pub(crate) const HIDDEN: &str = "***";

/// One thing wrong. The configuration it was found in is not used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, as it was named to us; empty for text that came from no file.
    pub file: String,
    /// `link.relay`, `cameras.0.url`; list items count from 0, as in the environment.
    pub key: String,
    /// What it is: the value as written, or `missing`, or `***`.
    pub value: String,
    /// What to do about it, an imperative.
    pub way_out: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}; {}", self.key, self.value, self.way_out)
    }
}

/// Everything wrong with one configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl std::error::Error for Faults {}

impl Faults {
    pub(crate) fn one(key: &str, value: &str, way_out: &str) -> Self {
        let (key, value, way_out) = (key.to_owned(), value.to_owned(), way_out.to_owned());
        Self(vec![Fault { file: String::new(), key, value, way_out }])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if !fault.file.is_empty() {
                write!(f, "{}: ", fault.file)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// `value` as a fault shows it: one line, cut, and without what may be a login.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        // What is inside is not shown: a login may be in there.
        Value::Table(_) => "a section".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => {
            let mut line: String = without_login(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            if line.chars().count() > VALUE_CHARS_MAX {
                line = line.chars().take(VALUE_CHARS_MAX).chain("...".chars()).collect();
            }
            format!("\"{line}\"")
        }
        other => other.to_string(),
    }
}

/// Hides `user:password@`, and all after the first `=`: some cameras take `password=` in their path.
fn without_login(text: &str) -> String {
    let (head, tail) = match text.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
            (format!("{scheme}{HIDDEN}@"), after)
        }
        None => (String::new(), text),
    };
    match tail.split_once('=') {
        Some((before, _)) => format!("{head}{before}={HIDDEN}"),
        None => format!("{head}{tail}"),
    }
}

/// The candidate that `word` was probably meant to be: its first part, or at most one slip for
/// each three letters begun.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = word.chars().count().div_ceil(3);
    let is_first_part = |candidate: &str| candidate.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'));
    candidates
        .map(|candidate| (if is_first_part(candidate) { 0 } else { slips(word, candidate) }, candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Letters to add, drop, change or swap with their neighbour to turn one word into the other.
fn slips(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (rows[i][j + 1] + 1).min(row[j] + 1).min(rows[i][j] + usize::from(a != b));
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(shown(&Value::String(text.to_owned())), expected);
    }

    #[test]
    fn a_login_in_a_value_is_hidden() {
        check("rtsp://admin:hunter2@10.0.0.5/live", "\"rtsp://***@10.0.0.5/live\"");
        check("rtsp://admin:hun@ter2@10.0.0.5/live", "\"rtsp://***@10.0.0.5/live\"");
        check("admin:hunter2@10.0.0.5", "\"***@10.0.0.5\"");
        check("rtsp://10.0.0.5/user=admin&password=hunter2", "\"rtsp://10.0.0.5/user=***\"");
    }

    #[test]
    fn a_value_is_shown_on_one_short_line() {
        check("a\nb", "\"a b\"");
        check(&"x".repeat(70), &format!("\"{}...\"", "x".repeat(60)));
    }

    #[test]
    fn two_swapped_letters_are_one_slip() {
        assert_eq!(slips("realy", "relay"), 1);
        assert_eq!(slips("", "url"), 3);
        assert_eq!(nearest("realy", ["gpu", "relay"].into_iter()), Some("relay"));
        assert_eq!(nearest("frames", ["frames_per_s", "fumes"].into_iter()), Some("frames_per_s"));
        assert_eq!(nearest("banana", ["gpu", "relay"].into_iter()), None);
    }

    #[test]
    fn faults_are_one_line_each_and_name_their_file() {
        let fault = |key: &str| Fault {
            file: "edge.toml".to_owned(),
            key: key.to_owned(),
            value: "missing".to_owned(),
            way_out: "set it".to_owned(),
        };
        let text = Faults(vec![fault("a"), fault("b")]).to_string();
        assert_eq!(text, "edge.toml: a is missing; set it\nedge.toml: b is missing; set it");
    }
}
