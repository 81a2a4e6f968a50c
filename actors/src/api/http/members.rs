//! The core over HTTP: who is in which group, as this node sees it, and what a relay tells its edges.

use super::{Http, problem};
use crate::fabric::core::Group;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

pub(super) async fn core(State(http): State<Http>) -> Response {
    let facts = &http.site.facts;
    let Some(core) = &facts.core else {
        return problem(StatusCode::NOT_FOUND, "this node is in no core: edges are told of gpu nodes by their relay");
    };
    let names = |group: Group| core.members(group).iter().map(ToString::to_string).collect::<Vec<_>>();
    let members: Map<String, Value> =
        Group::ALL.into_iter().map(|group| (group.as_str().to_owned(), json!(names(group)))).collect();
    let directory = core.directory().list().borrow().clone();
    let body = json!({
        "node": facts.node.to_string(), "members": members, "directory": &*directory,
        "reachable_actors": core.reachable_actors(),
    });
    Json(body).into_response()
}
