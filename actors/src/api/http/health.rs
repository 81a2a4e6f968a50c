//! Health over HTTP: live, ready, and deep with every reason.

use super::{Caller, Http};
use crate::api::health::{self, Check};
use crate::fabric::site::Sees;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use protocol::{Identity, limits};
use serde_json::{Value, json};

/// To answer is to be live: this runs on the event loop, and the watchdog ends a process whose loop stands.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

pub(super) async fn ready(State(http): State<Http>) -> Response {
    let facts = &http.site.facts;
    let failing: Vec<_> = facts.health.needed().into_iter().filter(|check| !check.ok).collect();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if failing.is_empty() { "ready" } else { "not ready" };
    let body = json!({ "status": word, "node": facts.node.to_string(), "failing": failing });
    (status, Json(body)).into_response()
}

pub(super) async fn deep(State(http): State<Http>, Extension(caller): Extension<Caller>) -> Response {
    let (facts, sees) = (&http.site.facts, caller.sees());
    let mut checks = facts.health.checks();
    let ready = health::ready(&checks);
    checks.retain(|check| may_see(&sees, check));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // All rows: what does not run must not be what no message has room for.
    let idle: Vec<Value> = (facts.roll.snapshot().into_iter())
        .filter(|(path, actor)| actor.state != supervision::State::Running && sees.row(&facts.node, path))
        .map(|(path, actor)| {
            let reason = actor.last.map(|failure| limits::short_text(&failure.to_string()));
            json!({ "path": path, "state": actor.state.as_str(), "reason": reason })
        })
        .collect();
    let well = idle.is_empty() && checks.iter().all(|check| check.ok);
    let word = if well { "ok" } else { "degraded" };
    let body = json!({
        "status": word, "ready": ready, "node": facts.node.to_string(),
        "checks": checks, "actors_not_running": idle,
    });
    (status, Json(body)).into_response()
}

/// Another node is named after its identity; one that is not named so is nobody's to see.
fn may_see(sees: &Sees, check: &Check) -> bool {
    let node = || check.name.strip_prefix("peer ")?.parse::<Identity>().ok();
    !check.is_a_node || *sees == Sees::All || node().is_some_and(|node| sees.node(&node))
}
