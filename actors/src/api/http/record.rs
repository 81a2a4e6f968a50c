//! The record over HTTP: `GET /api/v1/events`, page by page.

use super::{Caller, Http, problem};
use crate::events::store::Page;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use protocol::admin::{EventFilter, RecordedEvent};
use protocol::{CameraId, EventId, Timestamp};
use serde::{Deserialize, Serialize};

/// Events in one answer; the cursor leads to the next.
const EVENTS_MAX: u32 = 1000;
const EVENTS_DEFAULT: u32 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    camera: Option<String>,
    label: Option<String>,
    from: Option<String>,
    until: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn events(
    State(http): State<Http>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Some(store) = &http.store else {
        return problem(StatusCode::NOT_FOUND, "this node keeps no record of events; ask a relay");
    };
    let store = match caller {
        Caller::Local => store.clone(),
        Caller::Peer(peer) => store.for_tenant(peer.tenant),
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
