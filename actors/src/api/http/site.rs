//! The tree and its failures over HTTP: of this node, and of those linked to it.
//!
//!   /api/v1/tree?path=yard/cameras     what is at or below a path, of the node that the path names
//!   /api/v1/tree?node=yard             one node; `node=all` is a list of this one and all that are linked

use super::{Http, problem, problem_with};
use crate::fabric::site::{Sees, Site};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

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

pub(super) async fn tree(State(http): State<Http>, query: Result<Query<TreeQuery>, QueryRejection>) -> Response {
    let Ok(Query(TreeQuery { path, node })) = query else {
        return problem(StatusCode::BAD_REQUEST, "parameters are path and node");
    };
    let all = node.as_deref() == Some("all") && path.is_none();
    let found = match part(&http.site, path, node) {
        Ok(Part::Everything) => http.site.trees(None, &Sees::All).await,
        Ok(Part::At(path)) => http.site.trees(Some(&path), &Sees::All).await,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    match found {
        Ok(trees) if all => Json(trees).into_response(),
        Ok(mut trees) if !trees.is_empty() => Json(trees.remove(0)).into_response(),
        Ok(_) => not_found(&http.site, "no tree is there"),
        Err(why) => not_found(&http.site, &why),
    }
}

pub(super) async fn failures(
    State(http): State<Http>,
    query: Result<Query<FailuresQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(FailuresQuery { path, node, limit })) = query else {
        return problem(StatusCode::BAD_REQUEST, "parameters are path, node and limit, a whole number");
    };
    let limit = limit.unwrap_or(FAILURES_DEFAULT);
    if !(1..=FAILURES_MAX).contains(&limit) {
        return problem(StatusCode::BAD_REQUEST, &format!("limit: is {limit}; use 1 to {FAILURES_MAX}"));
    }
    let found = match part(&http.site, path, node) {
        Ok(Part::Everything) => http.site.failures(None, limit, &Sees::All).await,
        Ok(Part::At(path)) => http.site.failures(Some(&path), limit, &Sees::All).await,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    match found {
        Ok(failures) => Json(failures).into_response(),
        Err(why) => not_found(&http.site, &why),
    }
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
fn not_found(site: &Site, why: &str) -> Response {
    let nodes = site.lines(&Sees::All).into_iter().map(|line| Value::from(line.node.to_string())).collect();
    problem_with(StatusCode::NOT_FOUND, why, &[("nodes", Value::Array(nodes))])
}
