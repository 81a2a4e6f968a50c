//! Whole configurations, as a node would read them.

mod changes;
mod faults;
mod garbage;
mod overlay;
mod samples;
mod supervision;
mod values;

use config::{Edge, Faults, Vars, edge_from};
use std::path::Path;

const EDGE: &str = r#"
[node]
role = "edge"
data_dir = "data"
[tls]
ca = "ca.pem"
cert = "edge.pem"
key = "edge.key"
[link]
relay = "10.0.0.2:7443"
[[cameras]]
id = "yard"
url = "rtsp://10.0.0.5/live"
"#;

fn vars(pairs: &[(&str, &str)]) -> Vars {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn read(text: &str, pairs: &[(&str, &str)]) -> Result<Edge, Faults> {
    edge_from(text, Path::new("/etc/watchtree"), &vars(pairs))
}

/// The edge above with `from` replaced by `to` leaves exactly these lines.
fn check(from: &str, to: &str, lines: &[&str]) {
    assert!(EDGE.contains(from), "{from}");
    let found = read(&EDGE.replace(from, to), &[]).expect_err(to).to_string();
    assert_eq!(found.lines().collect::<Vec<_>>(), lines);
}
