//! What people and programs ask a node: over HTTP on loopback, and over QUIC with an operator's certificate.

pub mod admin;
pub mod health;
pub mod http;
