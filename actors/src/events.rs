//! Events on their way to the record: outbox ▸ forwarder ══▶ receiver ▸ store.
//!
//!   edge:   tracking ──▶ outbox ──▶ forwarder ══QUIC══▶ receiver ──▶ store ──▶ api   :relay
//!                           └──────◀── ack ──◀═══════════════◀────────┘
//!
//! At least once on the wire, exactly once on the record: (edge, outbox epoch, seq) against a mark.

pub(crate) mod disk;
pub mod forwarder;
#[cfg(test)]
mod link_tests;
pub mod outbox;
pub mod receiver;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod timeline;
