//! When somebody looked at a camera, over HTTP: `GET /api/v1/timeline?camera=EDGE/ID&from=&to=`; of each camera of an edge
//! with `camera=EDGE`. A relay tells from its record, an edge of itself.

use super::{Caller, Http, problem};
use crate::events::store::Lines;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use protocol::limits::TIMELINE_CAMERAS_MAX;
use protocol::timeline::Timeline;
use protocol::{CameraId, Identity, NodeName, Role, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const SPAN_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// What is asked for at once; the rest is another question.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    camera: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Serialize)]
struct Told {
    timelines: Vec<Timeline>,
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    edge: NodeName,
    camera: Option<CameraId>,
    from: Timestamp,
    to: Timestamp,
}

pub(super) async fn timeline(
    State(http): State<Http>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<TimelineQuery>, QueryRejection>,
) -> Response {
    let here = &http.site.facts.node;
    let query = query.map_err(|_| "parameters are camera, from and to".to_owned());
    let asked = match query.and_then(|Query(query)| parse(query, here, Timestamp::now())) {
        Ok(asked) => asked,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    if here.role == Role::Edge { own(&http, asked) } else { recorded(&http, caller, asked).await }
}

/// Of this edge's cameras.
fn own(http: &Http, Asked { edge, camera, from, to }: Asked) -> Response {
    let Some(book) = http.edge.as_ref().map(|edge| &edge.book) else {
        return problem(StatusCode::NOT_FOUND, "this node has no cameras");
    };
    if edge != http.site.facts.node.name {
        return problem(StatusCode::NOT_FOUND, &format!("this is {}; ask {edge} or its relay", http.site.facts.node));
    }
    let cameras = camera.as_ref().map_or_else(|| book.cameras(), |camera| vec![camera.clone()]);
    let now = Timestamp::now();
    let line = |camera: &CameraId| book.timeline(&edge, camera, (from, to), now);
    let timelines: Vec<_> = cameras.iter().take(TIMELINE_CAMERAS_MAX).filter_map(line).collect();
    match (camera, timelines.is_empty()) {
        (Some(camera), true) => problem(StatusCode::NOT_FOUND, &format!("no camera {camera} was ever looked at here")),
        _ => Json(Told { timelines }).into_response(),
    }
}

async fn recorded(http: &Http, caller: Caller, Asked { edge, camera, from, to }: Asked) -> Response {
    let Some(store) = &http.store else {
        return problem(StatusCode::NOT_FOUND, "this node keeps no record of events; ask a relay");
    };
    let tenant = match caller {
        Caller::Local => TenantId::default(),
        Caller::Peer(peer) => peer.tenant,
    };
    let heard = http.site.facts.fleet.heard(&Identity { tenant: tenant.clone(), role: Role::Edge, name: edge.clone() });
    let store = store.for_tenant(tenant);
    let lines = Lines { edge, from, to, heard };
    match store.timelines(&lines, camera).await {
        Ok(timelines) => Json(Told { timelines }).into_response(),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}; see /health/deep for its state")),
    }
}

fn parse(query: TimelineQuery, here: &Identity, now: Timestamp) -> Result<Asked, String> {
    let time = |key: &str, text: Option<String>| {
        text.map(|text| text.parse::<Timestamp>().map_err(|why| format!("{key}: {why}"))).transpose()
    };
    let to = time("to", query.to)?.unwrap_or(now);
    let from = time("from", query.from)?.unwrap_or_else(|| to.minus(SPAN_DEFAULT));
    if from >= to {
        return Err(format!("from={from} is not before to={to}; change them over"));
    }
    if to.since(from) > SPAN_MAX {
        return Err(format!("from={from} is more than 366 days before to={to}; ask for less at once"));
    }
    let (edge, camera) = match query.camera.as_deref() {
        None if here.role == Role::Edge => (here.name.clone(), None),
        None => return Err("camera: is missing; use EDGE/CAMERA, or EDGE for all of its cameras".to_owned()),
        Some(text) => match text.split_once('/') {
            Some((edge, camera)) => (named(edge)?, Some(named(camera)?)),
            // An edge knows its own cameras by their names alone.
            None if here.role == Role::Edge && text != here.name.as_str() => (here.name.clone(), Some(named(text)?)),
            None => (named(text)?, None),
        },
    };
    Ok(Asked { edge, camera, from, to })
}

fn named<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|why| format!("camera: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-20T18:30:00Z";

    fn check(here: &str, query: [Option<&str>; 3], expected: Result<(&str, Option<&str>, &str), &str>) {
        let [camera, from, to] = query.map(|text| text.map(str::to_owned));
        let here = here.parse().expect("an identity");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        match (parse(TimelineQuery { camera, from, to }, &here, at(NOW)), expected) {
            (Ok(asked), Ok((edge, camera, from))) => {
                assert_eq!((asked.edge.as_str(), asked.camera.as_ref().map(CameraId::as_str)), (edge, camera));
                assert_eq!((asked.from, asked.to), (at(from), at(NOW)));
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_question_has_defaults_and_a_wrong_one_is_named() {
        const DAY_BEFORE: &str = "2026-11-19T18:30:00Z";
        let (hub, yard) = ("main/relay/hub", "main/edge/yard");
        check(hub, [Some("yard/door"), None, None], Ok(("yard", Some("door"), DAY_BEFORE)));
        check(hub, [Some("yard"), None, None], Ok(("yard", None, DAY_BEFORE)));
        check(yard, [Some("door"), None, None], Ok(("yard", Some("door"), DAY_BEFORE)));
        check(yard, [Some("yard"), None, None], Ok(("yard", None, DAY_BEFORE)));
        check(yard, [None, Some("2026-11-20T10:00:00Z"), None], Ok(("yard", None, "2026-11-20T10:00:00Z")));
        check(hub, [None, None, None], Err("use EDGE/CAMERA"));
        check(hub, [Some("Yard/door"), None, None], Err("camera: `Yard`"));
        check(hub, [Some("yard"), Some(NOW), None], Err("change them over"));
        check(hub, [Some("yard"), Some("2020-11-20T10:00:00Z"), None], Err("ask for less"));
    }
}
