//! The actors, in the order in which data flows.
//!
//!   edge:   camera ──frame──▶ motion ──asks──▶ inference/asker ══QUIC══▶ gpu
//!                                                    │ verdict
//!           relay ◀══QUIC══ forwarder ◀── outbox ◀── tracking
//!   gpu:    fabric/gateway ──▶ inference/pool (batcher ▸ worker ▸ model port)
//!   relay:  fabric/gateway ──▶ events/receiver ──▶ events/store ──▶ api
//!   all:    telemetry/sampler ──▶ fleet (this node), fabric/link ══QUIC══▶ the relay's fleet ──▶ api
//!
//! One actor, one file. Pure cores (motion, tracker, batcher) know neither I/O nor clocks.

pub mod camera;
pub mod inference;
pub mod media;
pub mod recording;
pub mod tracking;

pub mod events;

pub mod fabric;
pub mod fleet;

pub mod api;
pub mod telemetry;
