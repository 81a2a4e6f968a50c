//! What people and programs ask a node: over HTTP on loopback, and over HTTPS and QUIC with a person's certificate.
//!
//!   health ▸ readiness ▸ sd_notify      whether this node does its job, and who is told
//!   http ▸ https · admin                who asks

pub mod admin;
pub mod health;
pub mod http;
pub mod https;
pub mod readiness;
pub mod sd_notify;
