//! Gate: who asks over HTTP, and whether the role table lets him.

use super::{problem, problem_with};
use crate::fabric::refusals;
use crate::fabric::site::Sees;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::Body;
use protocol::roles::{self, Denied, Listed, Route, Who};
use protocol::{Identity, Role};
use serde_json::Value;
use std::fmt;

/// Who asks, known before the request is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Whoever is on this machine.
    Local,
    /// The holder of this certificate.
    Peer(Identity),
}

impl Caller {
    fn who(&self) -> Who {
        match self {
            Self::Local => Who::Local,
            Self::Peer(peer) => peer.role.into(),
        }
    }

    pub(super) fn sees(&self) -> Sees {
        match self {
            Self::Local => Sees::All,
            Self::Peer(peer) => Sees::Tenant(peer.tenant.clone()),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

/// Before one route.
#[derive(Clone)]
pub(super) struct Gate {
    pub here: Role,
    pub caller: Caller,
    pub route: Route,
}

pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if let Err(denied) = roles::check(gate.here, gate.caller.who(), gate.route.row()) {
        refusals::denied(&gate.caller, &denied);
        return forbidden(&denied);
    }
    // Nothing here takes one: not to read it is the limit.
    if !request.body().is_end_stream() {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "nothing here takes a body; ask with GET alone");
    }
    next.run(request).await
}

fn forbidden(denied: &Denied) -> Response {
    let may = denied.row.peers(denied.here).iter().map(|who| Value::from(who.as_str())).collect();
    problem_with(StatusCode::FORBIDDEN, &denied.to_string(), &[("roles", Value::Array(may))])
}

/// For a path that this node does not serve: one that others do is named with them.
pub(super) fn nothing(here: Role, path: &str) -> Response {
    let elsewhere = Route::ALL.into_iter().find(|route| route.path() == path).map(|route| {
        // Nobody may here: the row says where it is served.
        Denied { here, peer: Who::Local, row: route.row() }.to_string()
    });
    problem(StatusCode::NOT_FOUND, elsewhere.as_deref().unwrap_or("there is nothing at this path"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn a_path_that_another_role_serves_is_answered_with_that_role() {
        let answer = nothing(Role::Gpu, "/api/v1/events");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let body = to_bytes(answer.into_body(), 1024).await.expect("is short");
        assert!(String::from_utf8_lossy(&body).contains("a node of role relay does"), "{body:?}");
        let answer = to_bytes(nothing(Role::Gpu, "/api/v2").into_body(), 1024).await.expect("is short");
        assert!(String::from_utf8_lossy(&answer).contains("nothing at this path"), "{answer:?}");
    }
}
