//! A node's metrics as they are at one moment.

use super::{Cluster, http};

pub struct Counters(String);

impl Counters {
    pub async fn read(site: &Cluster, node: &str) -> Result<Self, String> {
        Ok(Self(http::get(site.node(node).http, "/metrics").await?.body))
    }

    /// The sum of all series called `name` whose labels have each of these, as `camera="front-door"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.each(name, labels).sum()
    }

    /// Whether there is a series like that.
    pub fn has(&self, name: &str, labels: &[&str]) -> bool {
        self.each(name, labels).next().is_some()
    }

    fn each<'a>(&'a self, name: &str, labels: &[&str]) -> impl Iterator<Item = f64> + 'a {
        let (name, labels) = (name.to_owned(), labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>());
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(&name).filter(|rest| rest.starts_with(['{', ' ']))?;
            let (of, value) = rest.rsplit_once(' ')?;
            if labels.iter().all(|label| of.contains(label.as_str())) { value.parse::<f64>().ok() } else { None }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let text = "# TYPE a counter\na{camera=\"x\",by=\"y\"} 2\na{camera=\"z\"} 0.5\na_b{camera=\"x\"} 7\nc 3";
        let counters = Counters(text.to_owned());
        assert_eq!(counters.sum("a", &[]), 2.5);
        assert_eq!(counters.sum("a", &["camera=\"x\""]), 2.0);
        assert_eq!((counters.sum("c", &[]), counters.has("a", &["by=\"q\""])), (3.0, false));
    }
}
