//! The impairment proxy: a network that is as bad as it is told to be, between two ends of UDP.
//!
//!   client ══▶ [proxy] ── up: line ──▶ flight ══▶ upstream       one line a client and way: what becomes of a packet
//!          ◀══         ◀── flight ◀── line: down ══             flight: what is on its way, by the time it arrives
//!
//! It needs nothing of the kernel, so it works where there is no netem and no root. What a [`Line`] does is decided by
//! a seed and by the packets that come; when they come is the machine's doing.

pub mod conditions;
mod flight;
pub mod line;
mod proxy;
pub mod tally;

pub use conditions::{Conditions, Impairment, Rate, Way};
pub use line::Line;
pub use proxy::{Limits, Proxy};
pub use tally::{Stats, Tally};

/// As Ethernet carries it over IPv4. A longer one is dropped and counted, as routers do.
pub const PACKET_BYTES_MAX: usize = 1472;
