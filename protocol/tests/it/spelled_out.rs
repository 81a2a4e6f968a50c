//! The role table a second time, by hand: what is listed here is allowed, and all the rest is not.
//!
//! The table's own tests and the authorisation matrix expect what stands here, and not what the table says.

use protocol::Role;
use protocol::roles::Who;

/// What, on a node of which role, by whom.
pub const ALLOWED: &[(&str, &[(&str, &str)])] = &[
    ("stream control", &[("relay", "edge gpu relay"), ("gpu", "edge")]),
    ("stream events", &[("relay", "edge")]),
    ("stream verdicts", &[("gpu", "edge")]),
    ("stream frame", &[("gpu", "edge")]),
    ("stream admin", &[("relay", "operator viewer"), ("gpu", "operator viewer")]),
    ("stream renew", &[("relay", "edge gpu relay")]),
    ("stream core", &[("relay", "gpu relay")]),
    ("stream clip", &[("edge", "relay")]),
    ("up hello", &[("relay", "edge gpu relay"), ("gpu", "edge")]),
    ("up snapshot", &[("relay", "edge gpu relay"), ("gpu", "edge")]),
    ("up bye", &[("relay", "edge gpu relay"), ("gpu", "edge")]),
    ("up steered", &[("relay", "edge gpu relay"), ("gpu", "edge")]),
    ("up failures", &[("relay", "edge gpu relay"), ("gpu", "edge")]),
    ("up ping", &[("relay", "edge gpu relay"), ("gpu", "edge")]),
    ("up telemetry", &[("relay", "edge gpu relay")]),
    ("up cameras", &[("relay", "edge")]),
    ("down welcome", &[("edge", "relay gpu"), ("relay", "relay"), ("gpu", "relay")]),
    ("down snapshot", &[("edge", "relay gpu"), ("relay", "relay"), ("gpu", "relay")]),
    ("down steer", &[("edge", "relay"), ("relay", "relay"), ("gpu", "relay")]),
    ("down failures", &[("edge", "relay gpu"), ("relay", "relay"), ("gpu", "relay")]),
    ("down pong", &[("edge", "relay gpu"), ("relay", "relay"), ("gpu", "relay")]),
    ("down directory", &[("edge", "relay")]),
    ("down cameras", &[("edge", "relay")]),
    ("down change-camera", &[("edge", "relay")]),
    ("events-up outbox", &[("relay", "edge")]),
    ("events-up old-entries", &[("relay", "edge")]),
    ("events-up entries", &[("relay", "edge")]),
    ("events-down resume", &[("edge", "relay")]),
    ("events-down ack", &[("edge", "relay")]),
    ("asker-up bye", &[("gpu", "edge")]),
    ("asker-down verdict", &[("edge", "gpu")]),
    ("clip begins", &[("relay", "edge")]),
    ("clip refused", &[("relay", "edge")]),
    ("join join", &[("relay", "stranger")]),
    ("join joined", &[("edge", "relay"), ("relay", "relay"), ("gpu", "relay")]),
    ("join refused", &[("edge", "relay"), ("relay", "relay"), ("gpu", "relay")]),
    ("renew renew", &[("relay", "edge gpu relay")]),
    ("renew renewed", &[("edge", "relay"), ("relay", "relay"), ("gpu", "relay")]),
    ("renew refused", &[("edge", "relay"), ("relay", "relay"), ("gpu", "relay")]),
    ("request nodes", &[("relay", "operator viewer"), ("gpu", "operator viewer")]),
    ("request tree", &[("relay", "operator viewer"), ("gpu", "operator viewer")]),
    ("request events", &[("relay", "operator viewer")]),
    ("request record", &[("relay", "operator viewer")]),
    ("request failures", &[("relay", "operator viewer"), ("gpu", "operator viewer")]),
    ("request steer", &[("relay", "operator"), ("gpu", "operator")]),
    ("request create-token", &[("relay", "operator")]),
    ("request revoke", &[("relay", "operator"), ("gpu", "operator")]),
    ("request revoked", &[("relay", "operator viewer"), ("gpu", "operator viewer")]),
    ("request fleet", &[("relay", "operator viewer")]),
    ("request cameras", &[("relay", "operator viewer")]),
    ("request change-camera", &[("relay", "operator")]),
    ("request timeline", &[("relay", "operator viewer")]),
    ("datagram beat", &[("relay", "edge gpu relay")]),
    ("datagram gauge", &[("relay", "edge gpu relay")]),
    ("tell load", &[("relay", "gpu")]),
    ("tell revoked", &[("relay", "relay gpu"), ("gpu", "relay")]),
    ("ask describe", &[("relay", "relay gpu"), ("gpu", "relay")]),
    ("ask revoked", &[("relay", "relay gpu"), ("gpu", "relay")]),
    ("http /health", PAGE),
    ("http /health/live", PAGE),
    ("http /health/ready", PAGE),
    ("http /health/deep", PAGE),
    ("http /metrics", PAGE),
    ("http /api/v1/tree", PAGE),
    ("http /api/v1/failures", PAGE),
    ("http /api/v1/inference", PAGE),
    ("http /api/v1/events", &[("relay", "local operator viewer")]),
    ("http /api/v1/timeline", &[("edge", "local"), ("relay", "local operator viewer")]),
    ("http /api/v1/cameras", &[("edge", "local")]),
    ("http /api/v1/events/{id}/clip.mp4", &[("edge", "local")]),
    ("http /api/v1/events/{id}/snapshot.jpg", &[("edge", "local")]),
    ("http /api/v1/events/{id}/crop.jpg", &[("edge", "local")]),
    ("http /api/v1/events/{id}/thumb.jpg", &[("edge", "local")]),
    ("http /api/v1/core", &[("relay", "local"), ("gpu", "local")]),
    ("http /api/v1/nodes", PAGE),
    ("http /api/v1/nodes/history", &[("relay", "local operator viewer")]),
];

const PAGE: &[(&str, &str)] =
    &[("edge", "local"), ("relay", "local operator viewer"), ("gpu", "local operator viewer")];

/// Whether the list above allows it.
pub fn is_allowed(what: &str, here: Role, peer: Who) -> bool {
    let on = ALLOWED.iter().find(|(listed, _)| *listed == what).map_or(&[][..], |(_, on)| on);
    let peers = on.iter().find(|(role, _)| *role == here.as_str()).map_or("", |(_, peers)| peers);
    peers.split(' ').any(|listed| listed == peer.as_str())
}
