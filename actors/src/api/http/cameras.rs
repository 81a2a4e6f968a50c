//! How each camera of this edge is: `GET /api/v1/cameras`.

use super::{Http, problem};
use crate::camera::board::Shown;
use crate::camera::desk::Desk;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::{Identity, Timestamp};
use serde::Serialize;

#[derive(Serialize)]
struct Cameras<'a> {
    node: &'a Identity,
    at: Timestamp,
    cameras: Vec<Shown>,
}

pub(super) async fn cameras(State(http): State<Http>) -> Response {
    let Some(edge) = &http.edge else { return problem(StatusCode::NOT_FOUND, "this node has no cameras") };
    let facts = &http.site.facts;
    for (camera, _) in facts.coverage.iter() {
        edge.board.of(&camera).disabled(false);
    }
    let disabled = facts.desk.as_ref().map(Desk::disabled).unwrap_or_default();
    for camera in disabled {
        edge.board.of(&camera).disabled(true);
    }
    let cameras = edge.board.shown(|camera| facts.coverage.of(camera), |camera| (edge.parked)(camera));
    Json(Cameras { node: &facts.node, at: Timestamp::now(), cameras }).into_response()
}
