//! HTTP on loopback: health, metrics, the tree, the record.
//!
//!   GET /health /health/live /health/ready /health/deep     GET /metrics
//!   GET /api/v1/tree   GET /api/v1/inference   GET /api/v1/events (relay)
//!
//! Stops when: its port cannot be had.  Loopback alone until it knows users.

use crate::api::health;
use crate::events::store::{EventStore, Page};
use crate::fabric::facts::Facts;
use crate::telemetry::Recorder;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use protocol::admin::{EventFilter, RecordedEvent};
use protocol::{CameraId, EventId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::SocketAddr;
use supervision::{Failure, ServiceCx};
use tokio::net::TcpListener;

/// Events in one answer; the cursor leads to the next.
const EVENTS_MAX: u32 = 1000;
const EVENTS_DEFAULT: u32 = 100;

#[derive(Clone)]
pub struct Http {
    pub addr: SocketAddr,
    pub facts: Facts,
    pub recorder: Recorder,
    /// On a relay.
    pub store: Option<EventStore>,
}

impl Http {
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let addr = self.addr;
        let busy = |error| Failure::start(format!("http {addr}: {error}; set node.http to a free loopback port"));
        let listener = TcpListener::bind(addr).await.map_err(busy)?;
        let addr = listener.local_addr().map_err(Failure::error)?;
        tracing::info!(%addr, "serving http");
        cx.place.note(format!("http://{addr}"));
        let stop = cx.stop.clone();
        let served = axum::serve(listener, self.router()).with_graceful_shutdown(async move { stop.cancelled().await });
        tokio::select! {
            served = served => served.map_err(Failure::error),
            // Open connections are not waited for: everything served here can be asked again.
            () = cx.stop.cancelled() => Ok(()),
        }
    }

    fn router(self) -> Router {
        let router = Router::new()
            .route("/health", get(ready))
            .route("/health/live", get(|| async { Json(json!({ "status": "live" })) }))
            .route("/health/ready", get(ready))
            .route("/health/deep", get(deep))
            .route("/metrics", get(metrics_text))
            .route("/api/v1/tree", get(tree))
            .route("/api/v1/inference", get(inference))
            .route("/api/v1/events", get(events))
            .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing at this path") });
        router.with_state(self)
    }
}

async fn ready(State(http): State<Http>) -> Response {
    let failing: Vec<_> = http.facts.health.checks().into_iter().filter(|check| check.needed && !check.ok).collect();
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if failing.is_empty() { "ready" } else { "not ready" };
    let body = json!({ "status": word, "node": http.facts.node.to_string(), "failing": failing });
    (status, Json(body)).into_response()
}

async fn deep(State(http): State<Http>) -> Response {
    let checks = http.facts.health.checks();
    let ready = health::ready(&checks);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if checks.iter().all(|check| check.ok) { "ok" } else { "degraded" };
    let actors: Vec<Value> = (http.facts.snapshot().await.actors.into_iter())
        .filter(|actor| actor.state != "running")
        .map(|actor| json!({ "path": actor.path, "state": actor.state, "reason": actor.last_reason }))
        .collect();
    let body = json!({
        "status": word, "ready": ready, "node": http.facts.node.to_string(),
        "checks": checks, "actors_not_running": actors,
    });
    (status, Json(body)).into_response()
}

async fn metrics_text(State(http): State<Http>) -> Response {
    http.facts.coverage.show();
    let text = http.recorder.render(&http.facts.roll);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn tree(State(http): State<Http>) -> Response {
    Json(http.facts.snapshot().await).into_response()
}

async fn inference(State(http): State<Http>) -> Response {
    Json(json!({ "node": http.facts.node.to_string(), "ledgers": (http.facts.ledgers)() })).into_response()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    camera: Option<String>,
    label: Option<String>,
    from: Option<String>,
    until: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

async fn events(
    State(http): State<Http>,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Some(store) = &http.store else {
        return problem(StatusCode::NOT_FOUND, "this node keeps no record of events; ask a relay");
    };
    let query = match query {
        Ok(Query(query)) => query,
        Err(_) => return problem(StatusCode::BAD_REQUEST, "parameters are camera, label, from, until, limit, cursor"),
    };
    let (filter, cursor) = match parse(query) {
        Ok(parsed) => parsed,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    match store.events(filter, cursor).await {
        Ok(Page { events, next }) => Json(EventsPage { events, next }).into_response(),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}; see /health/deep for its state")),
    }
}

#[derive(Serialize)]
struct EventsPage {
    events: Vec<RecordedEvent>,
    /// The cursor of the next page; null on the last.
    next: Option<EventId>,
}

fn parse(query: EventsQuery) -> Result<(EventFilter, Option<EventId>), String> {
    fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
        name: &str,
        text: Option<String>,
    ) -> Result<Option<T>, String> {
        text.map(|text| text.parse().map_err(|error| format!("{name}: {error}"))).transpose()
    }
    let limit = read::<u32>("limit", query.limit)?.unwrap_or(EVENTS_DEFAULT);
    if !(1..=EVENTS_MAX).contains(&limit) {
        return Err(format!("limit: is {limit}; use 1 to {EVENTS_MAX} and follow `next`"));
    }
    let filter = EventFilter {
        camera: read::<CameraId>("camera", query.camera)?,
        label: query.label,
        from: read::<Timestamp>("from", query.from)?,
        until: read::<Timestamp>("until", query.until)?,
        limit: Some(limit),
    };
    Ok((filter, read("cursor", query.cursor)?))
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_parameter_is_named() {
        let query = EventsQuery { camera: Some("Front Door".to_owned()), ..Default::default() };
        assert!(parse(query).expect_err("refused").starts_with("camera: `Front Door` is not a name"));
        let query = EventsQuery { from: Some("yesterday".to_owned()), ..Default::default() };
        assert!(parse(query).expect_err("refused").contains("use RFC 3339"));
        let query = EventsQuery { limit: Some("0".to_owned()), ..Default::default() };
        assert!(parse(query).expect_err("refused").contains("use 1 to 1000"));
    }

    #[test]
    fn all_parameters_are_optional() {
        let (filter, cursor) = parse(EventsQuery::default()).expect("accepted");
        assert_eq!((filter.limit, cursor), (Some(EVENTS_DEFAULT), None));
    }
}
