//! What crosses a process or a host: ids, messages, limits, the codec, the transport, identity.
//!
//!   ids ▸ time ▸ codec ▸ limits        what everything is made of
//!   event · frame · model · camera     the messages, by topic
//!   link · admin ▸ steer               who says what on which stream
//!   identity ▸ ca ▸ transport          who may say it, over QUIC with mutual TLS
//!
//! No behaviour lives here: a type, how it looks as bytes, and what is refused.

pub mod admin;
pub mod ca;
pub mod camera;
pub mod codec;
pub mod event;
pub mod frame;
pub mod id;
pub mod identity;
pub mod limits;
pub mod link;
pub mod model;
pub mod steer;
pub mod time;
pub mod transport;

pub use event::{EndReason, Entry, Event, Evidence, Phase};
pub use frame::{Detection, FrameHeader, Outcome, Priority, Verdict};
pub use id::{CameraId, Epoch, EventId, NodeName, TenantId};
pub use identity::{Identity, Role};
pub use steer::{Act, Fault};
pub use time::Timestamp;
