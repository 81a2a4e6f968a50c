//! Events on their way to the record: outbox ▸ forwarder ══▶ receiver ▸ store.
pub mod forwarder;
pub mod outbox;
pub mod receiver;
pub mod store;
