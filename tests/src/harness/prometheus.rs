//! Prometheus: the real one, with the project's own scrape file and alerts, asked over its HTTP API.
//!
//!   nodes ◀──scrapes── [prometheus] ◀──queries── a test
//!
//! Only targets, intervals and the place of the rules differ from `grafana/prometheus.yml`: it is tested too.

use super::{Cluster, http, ports, programs::project};
use protocol::Role;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// What to do about a program that is not there.
const WAY_OUT: &str = "run `make setup`, which installs Debian's prometheus";

/// Lines of its log that a failure shows.
const TAIL_LINES: usize = 10;

/// Running; dropped, it is killed and what it stored is removed.
pub struct Prometheus {
    addr: SocketAddr,
    child: Child,
    dir: TempDir,
}

/// One series of an answer, with its value now.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// It is no query, or not one of these series: to ask again would not help.
    Refused(String),
    /// Ask again: it starts, or is busy.
    NoAnswer(String),
}

impl From<QueryError> for String {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Refused(text) | QueryError::NoAnswer(text) => text,
        }
    }
}

impl Prometheus {
    /// Scrapes the nodes of `site`. Must be called from a thread that outlives it: it dies with that thread.
    pub fn start(site: &Cluster) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let config = dir.path().join("prometheus.yml");
        std::fs::write(&config, config_for(site)).expect("the directory is ours");
        let log = File::create(dir.path().join("log")).expect("the directory is ours");
        // Killed with its parent, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "prometheus", "--log.level=warn"]);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address={addr}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("setpriv of util-linux does not start: {e}"));
        Self { addr, child, dir }
    }

    /// The value of each series that `expression` gives now.
    pub async fn query(&mut self, expression: &str) -> Result<Vec<Sample>, QueryError> {
        let Vector { result } = self.ask(&format!("/api/v1/query?query={}", encoded(expression))).await?;
        result.into_iter().map(|series| Sample::try_from(series).map_err(QueryError::NoAnswer)).collect()
    }

    /// Rules that Prometheus could not evaluate, with what it says of them, and how many it has evaluated.
    pub async fn rule_faults(&mut self) -> Result<(usize, Vec<String>), String> {
        let Rules { groups } = self.ask("/api/v1/rules").await?;
        let rules: Vec<Rule> = groups.into_iter().flat_map(|group| group.rules).collect();
        let evaluated = rules.iter().filter(|rule| rule.health == "ok").count();
        let faults = rules.into_iter().filter(|rule| rule.health == "err");
        Ok((evaluated, faults.map(|rule| format!("{}: {}", rule.name, rule.last_error)).collect()))
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&mut self, path: &str) -> Result<T, QueryError> {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("prometheus ended ({status}); if it is missing, {WAY_OUT}\n{}", self.log_tail());
        }
        let answer = http::get(self.addr, path).await.map_err(QueryError::NoAnswer)?;
        let read = serde_json::from_str::<Answer<T>>(&answer.body);
        let read = read.map_err(|error| QueryError::NoAnswer(format!("{path}: {error} in {:.200}", answer.body)))?;
        let text = |error: Option<String>| format!("{path}: {}", error.unwrap_or(answer.body));
        match read {
            Answer { data: Some(data), .. } => Ok(data),
            Answer { error, kind, .. } if ["bad_data", "execution"].contains(&kind.as_str()) => {
                Err(QueryError::Refused(text(error)))
            }
            Answer { error, .. } => Err(QueryError::NoAnswer(text(error))),
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Fails if it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files that operators are given.
pub fn grafana() -> PathBuf {
    project().join("grafana")
}

/// Runs promtool with `input` as its standard input; or what it complains of.
pub fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(grafana());
    let mut child = (command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn())
        .map_err(|error| format!("promtool does not start: {error}; {WAY_OUT}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    // It reads all of it before it says anything; one that ends early says why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Err(format!("promtool {}: {}\n{}", arguments.join(" "), output.status, said.concat()))
}

/// The project's file with the site's targets, and as quick as a test wants it.
fn config_for(site: &Cluster) -> String {
    let path = grafana().join("prometheus.yml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let http = |role| site.nodes().iter().find(|node| node.role == role).expect("one node of each role").http;
    let alerts = grafana().join("alerts.yml");
    replaced(
        &text,
        &[
            ("127.0.0.1:9601", http(Role::Edge).to_string()),
            ("127.0.0.1:9602", http(Role::Relay).to_string()),
            ("127.0.0.1:9603", http(Role::Gpu).to_string()),
            ("scrape_interval: 5s", "scrape_interval: 1s".to_owned()),
            ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
            ("- alerts.yml", format!("- {}", Path::display(&alerts))),
        ],
    )
}

fn replaced(text: &str, changes: &[(&str, String)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "the scrape file does not have `{old}`");
        text.replace(old, new)
    })
}

/// As a part of a query string.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    error: Option<String>,
    #[serde(default, rename = "errorType")]
    kind: String,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    name: String,
    health: String,
    #[serde(default, rename = "lastError")]
    last_error: String,
}

impl TryFrom<Series> for Sample {
    type Error = String;

    fn try_from(Series { metric, value: (_, value) }: Series) -> Result<Self, String> {
        let number = value.parse().map_err(|error| format!("`{value}` is no value: {error}"))?;
        Ok(Self { labels: metric, value: number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_travels_as_a_part_of_a_query_string() {
        assert_eq!(encoded("up == 1 & x{a=\"b\"}"), "up%20%3D%3D%201%20%26%20x%7Ba%3D%22b%22%7D");
    }

    #[test]
    fn a_value_may_be_no_number_or_infinite() {
        let sample = |value: &str| Sample::try_from(Series { metric: BTreeMap::new(), value: (0.0, value.to_owned()) });
        assert!(sample("NaN").expect("a float").value.is_nan());
        assert_eq!(sample("+Inf").expect("a float").value, f64::INFINITY);
        assert!(sample("many").is_err());
    }

    #[test]
    #[should_panic(expected = "does not have `b`")]
    fn a_scrape_file_that_was_rewritten_is_noticed() {
        replaced("a c", &[("a", String::new()), ("b", String::new())]);
    }
}
