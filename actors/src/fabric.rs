//! Links between nodes: one side dials, the other accepts, both know whom they speak to.
//!
//!   edge, gpu:    [link] ══QUIC══▶ relay, gpu
//!   relay, gpu:   [gateway] ◀══QUIC══ edges, gpu nodes, operators
//!                    ├─control──▶ peers        who is here
//!                    ├─events───▶ events       (relay)
//!                    ├─frames───▶ inference    (gpu)
//!                    ├─admin────▶ api
//!                    └─join, renew──▶ enrolment     who is let in, who is revoked
//!
//! What a peer may open and say stands in one table, `protocol::roles`; what it may not is told by [`refusals`].

mod asks;
pub mod clips;
pub mod core;
pub mod directory;
mod echo;
pub mod enrolment;
pub mod facts;
pub mod gateway;
pub mod link;
pub mod peers;
pub mod refusals;
pub mod renewal;
pub mod site;
#[cfg(test)]
pub(crate) mod testing;
