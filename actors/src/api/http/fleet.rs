//! How the nodes are, and how they were, over HTTP.
//!
//!   /api/v1/nodes                                                  this node and those linked to it, and their sums
//!   /api/v1/nodes/history?node=main/edge/yard&from=&to=&step=      of one node, or of this one; a minute or an hour a row

use super::{Caller, Http, problem};
use crate::fleet::history::{ROWS_MAX, Step};
use crate::fleet::{HistoryRow, Sums};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use protocol::admin::NodeHealth;
use protocol::{Identity, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// For a disk that is slow: whoever asks is told.
const HISTORY_WITHIN: Duration = Duration::from_secs(5);
/// Rows told where no span is asked for: an hour of minutes, two days of hours.
const ROWS_DEFAULT: [u32; 2] = [60, 48];

#[derive(Serialize)]
struct Nodes<'a> {
    /// Who judges.
    node: &'a Identity,
    at: Timestamp,
    nodes: Vec<NodeHealth>,
    sums: Sums,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    node: Option<String>,
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
}

#[derive(Serialize)]
struct Told {
    node: Identity,
    step: &'static str,
    rows: Vec<HistoryRow>,
    /// From where to ask for what did not fit; `None` if all is here.
    next: Option<Timestamp>,
}

pub(super) async fn nodes(State(http): State<Http>, Extension(caller): Extension<Caller>) -> Response {
    let (facts, sees) = (&http.site.facts, caller.sees());
    // All of them are in memory together. Nobody closes the semaphore.
    let _turn = http.looks.acquire().await;
    let seen = |node: &Identity| http.site.sees(&sees, node);
    let (nodes, sums) = (facts.fleet.page(None, usize::MAX, seen), facts.fleet.sums(seen));
    Json(Nodes { node: &facts.node, at: Timestamp::now(), nodes, sums }).into_response()
}

pub(super) async fn history(
    State(http): State<Http>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Response {
    let query = query.map_err(|_| "parameters are node, from, to and step".to_owned());
    let asked = query.and_then(|Query(query)| asked(&http, &query));
    let (node, Span { step, from, to }) = match asked {
        Ok(asked) => asked,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    if !http.site.sees(&caller.sees(), &node) {
        return problem(StatusCode::NOT_FOUND, &format!("no node is called {node}"));
    }
    // One reads at a time, so that a slow disk holds one thread. Nobody closes the semaphore.
    let _turn = http.looks.acquire().await;
    let (fleet, of) = (http.site.facts.fleet.clone(), node.clone());
    let reading = tokio::task::spawn_blocking(move || fleet.history(&of, step, from, to));
    match timeout(HISTORY_WITHIN, reading).await {
        Ok(Ok(Ok(rows))) => {
            let full = rows.len() >= ROWS_MAX;
            let next = rows.last().filter(|_| full).map(|row| row.at.plus(Duration::from_secs(step.seconds())));
            let step = if step == Step::Minute { "minute" } else { "hour" };
            Json(Told { node, step, rows, next }).into_response()
        }
        Ok(Ok(Err(why))) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        Ok(Err(failed)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &failed.to_string()),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "the disk with the history does not answer; ask again"),
    }
}

fn asked(http: &Http, query: &HistoryQuery) -> Result<(Identity, Span), String> {
    let node = match &query.node {
        Some(node) => node.parse().map_err(|why| format!("node: {why}"))?,
        None => http.site.facts.node.clone(),
    };
    Ok((node, span(query, Timestamp::now())?))
}

#[derive(Debug, PartialEq, Eq)]
struct Span {
    step: Step,
    from: Timestamp,
    to: Timestamp,
}

fn span(query: &HistoryQuery, now: Timestamp) -> Result<Span, String> {
    let (step, rows) = match query.step.as_deref() {
        None | Some("minute") => (Step::Minute, ROWS_DEFAULT[0]),
        Some("hour") => (Step::Hour, ROWS_DEFAULT[1]),
        Some(_) => return Err("step: use minute or hour".to_owned()),
    };
    let time = |key: &str, text: &Option<String>| {
        text.as_deref().map(|text| text.parse::<Timestamp>().map_err(|why| format!("{key}: {why}"))).transpose()
    };
    let to = time("to", &query.to)?.unwrap_or(now);
    let from = time("from", &query.from)?.unwrap_or_else(|| to.minus(Duration::from_secs(step.seconds()) * rows));
    if from > to {
        return Err(format!("from={from} is after to={to}; change them over"));
    }
    Ok(Span { step, from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-20T18:30:00Z";

    fn check(from: Option<&str>, to: Option<&str>, step: Option<&str>, expected: Result<(Step, &str, &str), &str>) {
        let [from, to, step] = [from, to, step].map(|text| text.map(str::to_owned));
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        match (span(&HistoryQuery { node: None, from, to, step }, at(NOW)), expected) {
            (Ok(found), Ok((step, from, to))) => assert_eq!(found, Span { step, from: at(from), to: at(to) }),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_span_has_defaults_and_a_wrong_one_is_named() {
        check(None, None, None, Ok((Step::Minute, "2026-11-20T17:30:00Z", NOW)));
        check(
            None,
            Some("2026-11-20T12:00:00Z"),
            Some("hour"),
            Ok((Step::Hour, "2026-11-18T12:00:00Z", "2026-11-20T12:00:00Z")),
        );
        check(None, None, Some("day"), Err("use minute or hour"));
        check(Some("yesterday"), None, None, Err("from: `yesterday`"));
        check(Some(NOW), Some("2026-11-20T12:00:00Z"), None, Err("change them over"));
    }
}
