//! What crosses a process or a host: ids, messages, limits, the codec, the transport, identity.
//!
//!   ids ▸ time ▸ codec ▸ limits        what everything is made of
//!   event · frame · model · camera     the messages, by topic
//!   telemetry · datagram               how a node is
//!   cameras                            how an edge's cameras are configured
//!   link · core · admin ▸ steer        who says what on which stream
//!   enrol · revoked                    how a node gets its certificate, and who lost it
//!   identity ▸ certificate ▸ csr ▸ ca  who somebody is, and who says so
//!   transport                          who says it, over QUIC with mutual TLS
//!   roles                              who may: one table for all of it
//!
//! No behaviour lives here: a type, how it looks as bytes, and what is refused.

pub mod admin;
pub mod ca;
pub mod camera;
pub mod cameras;
pub mod certificate;
pub mod codec;
pub mod core;
pub mod csr;
pub mod datagram;
pub mod enrol;
pub mod event;
pub mod frame;
pub mod id;
pub mod identity;
pub mod limits;
pub mod link;
pub mod model;
pub mod revoked;
pub mod roles;
pub mod steer;
pub mod telemetry;
pub mod time;
pub mod timeline;
pub mod transport;

pub use certificate::Certificate;
pub use event::{EndReason, Entry, Event, Evidence, Phase, Severity};
pub use frame::{Detection, FrameHeader, Outcome, Priority, Verdict};
pub use id::{CameraId, Epoch, EventId, NodeName, TenantId};
pub use identity::{Identity, Role};
pub use steer::{Act, Fault};
pub use time::Timestamp;
