//! The tree and its failures over HTTP: of this node, and of those linked to it.
//!
//!   /api/v1/tree?path=yard/cameras     what is at or below a path, of the node that the path names
//!   /api/v1/tree?node=yard             one node; `node=all` is a list of this one and all that are linked
//!
//! What is missing in a list of nodes or of failures stands in headers, `watchtree-missing: main/edge/yard: why`.

use super::{Caller, Http, problem, problem_with};
use crate::fabric::site::{Failures, Sees, Shown, Site};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::StreamExt;
use protocol::{Identity, limits};
use serde::Deserialize;
use serde_json::Value;
use std::pin::pin;

const MISSING: HeaderName = HeaderName::from_static("watchtree-missing");
/// Of these headers in one answer.
const MISSING_TOLD_MAX: usize = 20;
const FAILURES_DEFAULT: usize = 100;
const FAILURES_MAX: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeQuery {
    path: Option<String>,
    node: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailuresQuery {
    path: Option<String>,
    node: Option<String>,
    limit: Option<usize>,
}

/// Which part of which node is meant.
enum Part {
    Everything,
    At(String),
}

pub(super) async fn tree(
    State(http): State<Http>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<TreeQuery>, QueryRejection>,
) -> Response {
    let sees = caller.sees();
    let Ok(Query(TreeQuery { path, node })) = query else {
        return problem(StatusCode::BAD_REQUEST, "parameters are path and node");
    };
    match part(&http.site, path, node) {
        Ok(Part::Everything) => every_tree(&http, &sees).await,
        Ok(Part::At(path)) => match http.site.tree_at(&path, &sees).await {
            Ok(Shown::Tree(tree)) => Json(tree).into_response(),
            Ok(Shown::Missing { node, why }) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{node}: {why}")),
            Err(why) => not_found(&http.site, &sees, &why),
        },
        Err(why) => problem(StatusCode::BAD_REQUEST, &why),
    }
}

async fn every_tree(http: &Http, sees: &Sees) -> Response {
    // They are in memory together. Nobody closes the semaphore.
    let _turn = http.looks.acquire().await;
    let (mut trees, mut missing) = (Vec::new(), Vec::new());
    let mut shown = pin!(http.site.trees(sees));
    while let Some(shown) = shown.next().await {
        match shown {
            Shown::Tree(tree) => trees.push(tree),
            Shown::Missing { node, why } => missing.push((node, why)),
        }
    }
    // This node first; the others come as they answer.
    trees.sort_by_key(|tree| (tree.node != http.site.facts.node, tree.node.clone()));
    (incomplete(missing), Json(trees)).into_response()
}

pub(super) async fn failures(
    State(http): State<Http>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<FailuresQuery>, QueryRejection>,
) -> Response {
    let sees = caller.sees();
    let Ok(Query(FailuresQuery { path, node, limit })) = query else {
        return problem(StatusCode::BAD_REQUEST, "parameters are path, node and limit, a whole number");
    };
    let limit = limit.unwrap_or(FAILURES_DEFAULT);
    if !(1..=FAILURES_MAX).contains(&limit) {
        return problem(StatusCode::BAD_REQUEST, &format!("limit: is {limit}; use 1 to {FAILURES_MAX}"));
    }
    let found = match part(&http.site, path, node) {
        Ok(Part::Everything) => http.site.failures(None, limit, &sees).await,
        Ok(Part::At(path)) => http.site.failures(Some(&path), limit, &sees).await,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    match found {
        Ok(Failures { records, missing }) => (incomplete(missing), Json(records)).into_response(),
        Err(why) => not_found(&http.site, &sees, &why),
    }
}

/// One header for each node that has more to tell, or did not answer.
fn incomplete(missing: Vec<(Identity, String)>) -> HeaderMap {
    let texts =
        missing.into_iter().take(MISSING_TOLD_MAX).map(|(node, why)| limits::short_text(&format!("{node}: {why}")));
    texts.filter_map(|text| Some((MISSING, HeaderValue::from_str(&text).ok()?))).collect()
}

/// Without parameters it is this node. A path names its node; `node` beside it would say it twice.
fn part(site: &Site, path: Option<String>, node: Option<String>) -> Result<Part, String> {
    match (path, node) {
        (None, None) => Ok(Part::At(site.facts.node.to_string())),
        (Some(path), None) => Ok(Part::At(path)),
        (None, Some(node)) if node == "all" => Ok(Part::Everything),
        (None, Some(node)) => Ok(Part::At(node)),
        (Some(path), Some(_)) => Err(format!("path={path} names its node; leave node out")),
    }
}

/// With the names there are.
fn not_found(site: &Site, sees: &Sees, why: &str) -> Response {
    let nodes = site.lines(sees).into_iter().map(|line| Value::from(line.node.to_string())).collect();
    problem_with(StatusCode::NOT_FOUND, why, &[("nodes", Value::Array(nodes))])
}
