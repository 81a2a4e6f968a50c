//! Links between nodes: one side dials, the other accepts, both know whom they speak to.
//!
//!   edge, gpu:    [link] ══QUIC══▶ relay, gpu
//!   relay, gpu:   [gateway] ◀══QUIC══ edges, gpu nodes, operators
//!                    ├─control──▶ peers        who is here
//!                    ├─events───▶ events       (relay)
//!                    ├─frames───▶ inference    (gpu)
//!                    └─admin────▶ api
//!
//! What a peer may open stands in one table, `protocol::link::may_open`.

mod asks;
pub mod clips;
mod echo;
pub mod facts;
pub mod gateway;
pub mod link;
pub mod peers;
pub mod site;
#[cfg(test)]
pub(crate) mod testing;
